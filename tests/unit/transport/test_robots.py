"""What the chat services take: signatures by their published recipes, sizes, and what their answers mean."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from core.ids import IncidentId, TenantId
from safety.model import CapStatus
from safety.page_text import PageMessage
from safety.pages import PageOutcome
from safety.reach import RobotKind
from transport.robots import TEXT_BYTES_MAX, Robot, cut, dingtalk_sign, feishu_sign, verdict
from webhooks.model import Answer, Outcome


class FixedClock:
    def __init__(self, now: float) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    monotonic = now


class Asked:
    """An ``Asker`` that keeps what it is given."""

    def __init__(self, answer: bytes = b'{"errcode":0}', reached: Outcome = Outcome.DELIVERED) -> None:
        self.said: list[tuple[str, bytes]] = []
        self.reached_urls: list[str] = []
        self._answer = answer
        self._reached = reached

    async def ask(self, url: str, headers: object, body: bytes) -> Answer:
        self.said.append((url, body))
        return Answer(Outcome.DELIVERED, 200, None, self._answer)

    async def reach(self, url: str) -> Outcome:
        self.reached_urls.append(url)
        return self._reached


def message(text: str = "somebody needs help", title: str = "SOS · shenzhen") -> PageMessage:
    return PageMessage(
        event_id="evt_1",
        tenant=TenantId("demo"),
        recipient="robot:hq",
        user="",
        phone="",
        email="ops@example.com",
        title=title,
        lines=(text,),
        url="https://console.example/inc_1",
        incidents=(IncidentId("inc_1"),),
        reason="raised",
        level=0,
        cap_status=CapStatus.ACTUAL,
        at=1_800_000_000.0,
    )


def robot(kind: RobotKind, secret: str = "", now: float = 1_577_262_236.757, asker: Asked | None = None) -> Robot:
    return Robot(asker or Asked(), FixedClock(now), kind=kind, token="to ken", secret=secret, mobiles=("13800001111",))


def test_the_signature_of_dingtalk() -> None:
    signed = dingtalk_sign("this is secret", 1577262236757)
    assert signed == "hmPWwU%2B7lVdm3ZZz0r9tSfx0L4Q26jWOZr9%2BGs6EZQM%3D"


def test_the_signature_of_feishu() -> None:
    assert feishu_sign("demo", 1599360473) == "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8="


def test_what_dingtalk_gets() -> None:
    url, body = robot(RobotKind.DINGTALK, "this is secret").request(message())
    query = parse_qs(urlsplit(url).query)
    assert url.startswith("https://oapi.dingtalk.com/robot/send?access_token=to%20ken&")
    assert query["timestamp"] == ["1577262236757"]
    assert query["sign"] == ["hmPWwU+7lVdm3ZZz0r9tSfx0L4Q26jWOZr9+Gs6EZQM="]
    said = json.loads(body)
    assert said["msgtype"] == "markdown"
    assert said["markdown"]["title"] == "SOS · shenzhen"
    assert "https://console.example/inc_1" in said["markdown"]["text"]
    assert "@13800001111" in said["markdown"]["text"]
    assert said["at"] == {"atMobiles": ["13800001111"], "isAtAll": False}


def test_what_wecom_gets() -> None:
    url, body = robot(RobotKind.WECOM).request(message())
    assert url == "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=to%20ken"
    said = json.loads(body)
    assert said["msgtype"] == "text"
    assert said["text"]["mentioned_mobile_list"] == ["13800001111"]


def test_what_feishu_gets() -> None:
    url, body = robot(RobotKind.FEISHU, "demo", now=1_599_360_473.9).request(message())
    assert url == "https://open.feishu.cn/open-apis/bot/v2/hook/to%20ken"
    said = json.loads(body)
    assert (said["timestamp"], said["sign"]) == ("1599360473", "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8=")
    assert said["msg_type"] == "text"


@pytest.mark.parametrize("kind", RobotKind)
def test_a_long_text_is_cut_between_characters(kind: RobotKind) -> None:
    _, body = robot(kind).request(message("救命" * 20_000))
    said = json.loads(body)
    text = {
        RobotKind.DINGTALK: lambda: said["markdown"]["text"],
        RobotKind.WECOM: lambda: said["text"]["content"],
        RobotKind.FEISHU: lambda: said["content"]["text"],
    }[kind]()
    assert "…" in text
    assert len(text.encode()) <= TEXT_BYTES_MAX[kind] + 100
    assert kind is not RobotKind.WECOM or len(text.encode()) <= 2_048
    assert len(body) <= 20_000


@pytest.mark.parametrize("bytes_max", range(4, 14))
def test_a_cut_is_never_longer_and_never_tears_a_character(bytes_max: int) -> None:
    short = cut("a救b命c😀d", bytes_max)
    assert len(short.encode()) <= bytes_max
    assert "�" not in short


@pytest.mark.parametrize(
    ("kind", "body", "outcome"),
    [
        (RobotKind.DINGTALK, b'{"errcode":0,"errmsg":"ok"}', PageOutcome.TAKEN),
        (RobotKind.DINGTALK, b'{"errcode":310000,"errmsg":"sign not match"}', PageOutcome.REFUSED),
        (RobotKind.DINGTALK, b'{"errcode":130101,"errmsg":"send too fast"}', PageOutcome.THROTTLED),
        (RobotKind.WECOM, b'{"errcode":45009}', PageOutcome.THROTTLED),
        (RobotKind.WECOM, b'{"errcode":40058}', PageOutcome.REFUSED),
        (RobotKind.WECOM, b'{"errcode":-1}', PageOutcome.FAILED),
        (RobotKind.FEISHU, b'{"code":0}', PageOutcome.TAKEN),
        (RobotKind.FEISHU, b'{"StatusCode":0}', PageOutcome.TAKEN),
        (RobotKind.FEISHU, b'{"code":19021}', PageOutcome.REFUSED),
        (RobotKind.FEISHU, b'{"code":11232}', PageOutcome.THROTTLED),
        (RobotKind.DINGTALK, b"<html>", PageOutcome.FAILED),
        (RobotKind.DINGTALK, b'{"errcode":"0"}', PageOutcome.FAILED),
        (RobotKind.DINGTALK, b'{"errcode":true}', PageOutcome.FAILED),
        (RobotKind.DINGTALK, b"[]", PageOutcome.FAILED),
        (RobotKind.WECOM, b"", PageOutcome.FAILED),
    ],
)
def test_only_the_services_own_zero_is_success(kind: RobotKind, body: bytes, outcome: PageOutcome) -> None:
    assert verdict(kind, Answer(Outcome.DELIVERED, 200, None, body)) is outcome


def test_what_http_says_counts_before_the_body() -> None:
    assert verdict(RobotKind.FEISHU, Answer(Outcome.THROTTLED, 429, None, b'{"code":0}')) is PageOutcome.THROTTLED
    assert verdict(RobotKind.WECOM, Answer(Outcome.REDIRECTED, 301)) is PageOutcome.REDIRECTED


async def test_a_dry_attempt_says_nothing_to_anybody() -> None:
    asker = Asked()
    assert await robot(RobotKind.WECOM, asker=asker).send(message(), dry=True) is PageOutcome.WITHHELD
    assert asker.said == []
    assert asker.reached_urls[0].startswith("https://qyapi.weixin.qq.com/")
    away = Asked(reached=Outcome.UNREACHABLE)
    assert await robot(RobotKind.WECOM, asker=away).send(message(), dry=True) is PageOutcome.UNREACHABLE
    assert await robot(RobotKind.WECOM, asker=asker).send(message(), dry=False) is PageOutcome.TAKEN
