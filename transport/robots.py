"""Group robots of DingTalk, WeCom and Feishu: what they take, how it is signed, what their answers mean.

All three answer 200 to nearly everything; only the code in the body tells whether the group has heard.
Source: the services' own pages on custom robots (open.dingtalk.com, developer.work.weixin.qq.com, open.feishu.cn).
"""

import base64
import hmac
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote, quote_plus

import msgspec

from core.clock import Clock
from safety.page_text import PageMessage
from safety.pages import PageOutcome
from safety.reach import RobotKind
from transport.page_channel import PAGE_OUTCOMES, Asker, withheld
from webhooks.model import Answer, Outcome

URLS: Final = {
    RobotKind.DINGTALK: "https://oapi.dingtalk.com/robot/send",
    RobotKind.WECOM: "https://qyapi.weixin.qq.com/cgi-bin/webhook/send",
    RobotKind.FEISHU: "https://open.feishu.cn/open-apis/bot/v2/hook",
}
TEXT_BYTES_MAX: Final = {RobotKind.DINGTALK: 18_000, RobotKind.WECOM: 2_048, RobotKind.FEISHU: 18_000}
"""WeCom refuses a longer text (40058); the others count the whole body, up to 20 KB."""
_THROTTLED: Final = {
    RobotKind.DINGTALK: frozenset({130101, 410100}),
    RobotKind.WECOM: frozenset({45009}),
    RobotKind.FEISHU: frozenset({11232}),
}
"""Too many messages for the robot just now."""
_JSON: Final = {"Content-Type": "application/json; charset=utf-8"}


def dingtalk_sign(secret: str, sent_at_ms: int) -> str:
    """``sign`` of the address, escaped: HMAC-SHA256 of time and secret, with the secret as its key."""
    said = f"{sent_at_ms}\n{secret}".encode()
    return quote_plus(base64.b64encode(hmac.new(secret.encode(), said, sha256).digest()))


def feishu_sign(secret: str, sent_at_s: int) -> str:
    """``sign`` of the body: HMAC-SHA256 of nothing, with time and secret as its key."""
    return base64.b64encode(hmac.new(f"{sent_at_s}\n{secret}".encode(), b"", sha256).digest()).decode()


def cut(text: str, bytes_max: int) -> str:
    """The text, or its beginning and a mark where it is longer than so many bytes of UTF-8; no character is torn."""
    raw = text.encode()
    if len(raw) <= bytes_max:
        return text
    mark = "…"
    return raw[: bytes_max - len(mark.encode())].decode("utf-8", "ignore") + mark


class Robot:
    """One robot as a channel.

    Args:
        asker: Posts.
        clock: Signatures hold the time.
        kind: Whose robot.
        token: What the service gave: ``access_token``, ``key`` or the end of the hook's address.
        secret: Of its signature, "" when it has none.
        mobiles: Members of the group who are mentioned.
        url: Where the robots of this kind are, "" for the service's own address.
    """

    def __init__(
        self,
        asker: Asker,
        clock: Clock,
        *,
        kind: RobotKind,
        token: str,
        secret: str = "",
        mobiles: Sequence[str] = (),
        url: str = "",
    ) -> None:
        self._asker = asker
        self._clock = clock
        self._kind = kind
        self._token = token
        self._secret = secret
        self._mobiles = mobiles
        self._base = url or URLS[kind]

    async def send(self, message: PageMessage, *, dry: bool) -> PageOutcome:
        """See the port."""
        url, body = self.request(message)
        if dry:
            return withheld(await self._asker.reach(url))
        return verdict(self._kind, await self._asker.ask(url, _JSON, body))

    def request(self, message: PageMessage) -> tuple[str, bytes]:
        """Address and body of one message as of now."""
        now = self._clock.now()
        text = cut(message.text, TEXT_BYTES_MAX[self._kind])
        token = quote(self._token, safe="")
        match self._kind:
            case RobotKind.DINGTALK:
                url = f"{self._base}?access_token={token}"
                if self._secret:
                    sent_at_ms = int(now * 1000)
                    url += f"&timestamp={sent_at_ms}&sign={dingtalk_sign(self._secret, sent_at_ms)}"
                return url, _encoded(self._dingtalk(message, text))
            case RobotKind.WECOM:
                # Only a text can mention by mobile number.
                mentioned = {"mentioned_mobile_list": list(self._mobiles)} if self._mobiles else {}
                return f"{self._base}?key={token}", _encoded(
                    {"msgtype": "text", "text": {"content": text, **mentioned}}
                )
            case RobotKind.FEISHU:
                body: dict[str, Any] = {"msg_type": "text", "content": {"text": text}}
                if self._secret:
                    sent_at_s = int(now)
                    body = {"timestamp": str(sent_at_s), "sign": feishu_sign(self._secret, sent_at_s), **body}
                return f"{self._base}/{token}", _encoded(body)

    def _dingtalk(self, message: PageMessage, text: str) -> dict[str, Any]:
        """Markdown, in which a mentioned number must stand as well to be highlighted."""
        mentions = " ".join(f"@{mobile}" for mobile in self._mobiles)
        lines = [f"### {message.title}", *text.split("\n")[1:], *([mentions] if mentions else [])]
        return {
            "msgtype": "markdown",
            "markdown": {"title": cut(message.title, 200), "text": "\n\n".join(lines)},
            "at": {"atMobiles": list(self._mobiles), "isAtAll": False},
        }


def verdict(kind: RobotKind, answer: Answer) -> PageOutcome:
    """What an answer means: only the service's own zero says that the group has heard."""
    if answer.outcome is not Outcome.DELIVERED:
        return PAGE_OUTCOMES[answer.outcome]
    try:
        said = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return PageOutcome.FAILED
    code = _code(kind, said)
    if code == 0:
        return PageOutcome.TAKEN
    if code in _THROTTLED[kind]:
        return PageOutcome.THROTTLED
    return PageOutcome.FAILED if code is None or code < 0 else PageOutcome.REFUSED


def _code(kind: RobotKind, said: object) -> int | None:
    names = ("code", "StatusCode") if kind is RobotKind.FEISHU else ("errcode",)
    found = [said[name] for name in names if name in said] if isinstance(said, Mapping) else []
    return found[0] if found and type(found[0]) is int else None


def _encoded(body: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(body)
