"""Channels that are programs of the platform or of others, told by signed JSON, and the log.

One body for all: short messages, calls, push, other systems. What each makes of it is theirs; an ``id`` that they
have seen before is the same ring again.
"""

import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from core.clock import Clock
from safety.page_text import PageMessage
from safety.pages import PageOutcome
from transport.page_channel import PAGE_OUTCOMES, Asker, withheld
from webhooks.signature import sign

_log = logging.getLogger(__name__)
SMS_LEN_MAX: Final = 500
"""Characters of a short message; gateways split what is longer into many that cost each."""


class PageOut(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body that a gateway gets."""

    id: str
    type: str
    at: float
    tenant: str
    recipient: str
    title: str
    text: str
    incidents: list[str]
    reason: str
    level: int
    cap_status: str
    user: str = ""
    phone: str = ""
    url: str = ""


class Gateway:
    """A program that takes pages: ``sms``, ``voice``, ``sos`` (push) or ``incident`` (another system)."""

    def __init__(self, asker: Asker, clock: Clock, *, url: str, kind: str, secrets: Sequence[bytes]) -> None:
        """``kind`` is the body's ``type``; each of ``secrets`` signs."""
        self._asker = asker
        self._clock = clock
        self._url = url
        self._kind = kind
        self._secrets = secrets

    async def send(self, message: PageMessage, *, dry: bool) -> PageOutcome:
        """See the port."""
        headers, body = self.request(message)
        if dry:
            return withheld(await self._asker.reach(self._url))
        answer = await self._asker.ask(self._url, headers, body)
        return PAGE_OUTCOMES[answer.outcome]

    def request(self, message: PageMessage) -> tuple[dict[str, str], bytes]:
        """Headers and body of one message as of now."""
        text = message.text if self._kind == "incident" else message.text[:SMS_LEN_MAX]
        body = msgspec.json.encode(
            PageOut(
                id=message.event_id,
                type=self._kind,
                at=round(message.at, 3),
                tenant=message.tenant,
                recipient=message.recipient,
                title=message.title,
                text=text,
                incidents=list(message.incidents),
                reason=message.reason,
                level=message.level,
                cap_status=message.cap_status.value,
                user=message.user,
                phone=message.phone,
                url=message.url,
            )
        )
        headers = {
            "Content-Type": "application/json",
            "Doorstep-Event": self._kind,
            "Doorstep-Delivery": message.event_id,
            "Doorstep-Signature": sign(body, int(self._clock.now()), self._secrets),
        }
        return headers, body


class LogChannel:
    """A critical line in the server's log, without names and places."""

    async def send(self, message: PageMessage, *, dry: bool) -> PageOutcome:
        """See the port."""
        if dry:
            return PageOutcome.WITHHELD
        facts = {"incidents": list(message.incidents), "at_level": message.level, "reason": message.reason}
        _log.critical("an incident has nobody else left to call", extra=facts)
        return PageOutcome.TAKEN
