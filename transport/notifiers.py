"""Ways to wake a phone: ``dispatch.ports.Notifier`` through a webhook of the platform's push service, or not at all."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from core.clock import Clock
from dispatch.model import Wake, WakeOutcome
from webhooks.model import Outcome
from webhooks.ports import Poster
from webhooks.signature import sign

_log = logging.getLogger(__name__)
_EVENT: Final = "wake"


class NoNotifier:
    """Wakes nobody, and says so."""

    def wake(self, wake: Wake, done: Callable[[WakeOutcome], None]) -> None:
        """See the port."""
        done(WakeOutcome.OFF)


class WakeOut(msgspec.Struct, frozen=True):
    """The body that the push service gets. Who is woken learns the rest from the hub."""

    id: str
    type: str
    at: float
    tenant: str
    user: str
    reason: str
    offer: str
    expires_at: float


class PushWebhook:
    """Tells the platform's push service, once for each wake, signed like every webhook. ``close`` ends it.

    There is no second attempt: the next offer brings its own, and an offer is over before a pause would be.
    """

    def __init__(self, poster: Poster, clock: Clock, *, url: str, secrets: Sequence[bytes], timeout_s: float) -> None:
        self._poster = poster
        self._clock = clock
        self._url = url
        self._secrets = secrets
        self._timeout_s = timeout_s
        self._tasks: set[asyncio.Task[None]] = set()

    def wake(self, wake: Wake, done: Callable[[WakeOutcome], None]) -> None:
        """See the port."""
        task = asyncio.get_running_loop().create_task(self._send(wake, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def renew_secrets(self, secrets: Sequence[bytes]) -> None:
        """Sign with these from the next wake on."""
        self._secrets = secrets

    async def close(self) -> None:
        """Give up what is under way. Idempotent."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self, wake: Wake, done: Callable[[WakeOutcome], None]) -> None:
        outcome = WakeOutcome.FAILED
        try:
            outcome = await self._posted(wake)
        except Exception:  # noqa: BLE001 - whatever it is, a wake must not end anything else
            _log.exception("waking a phone broke")
        finally:
            done(outcome)

    async def _posted(self, wake: Wake) -> WakeOutcome:
        name = f"{wake.tenant}/{wake.offer_id}/{wake.reason}"
        event_id = f"evt_{blake2b(name.encode(), digest_size=16).hexdigest()}"
        body = msgspec.json.encode(
            WakeOut(
                event_id,
                _EVENT,
                round(wake.at, 3),
                wake.tenant,
                wake.technician,
                wake.reason.value,
                wake.offer_id,
                round(wake.expires_at, 3),
            )
        )
        now = self._clock.now()
        headers = {
            "Content-Type": "application/json",
            "Doorstep-Event": _EVENT,
            "Doorstep-Delivery": event_id,
            "Doorstep-Attempt": "1",
            "Doorstep-Signature": sign(body, int(now), self._secrets),
        }
        try:
            async with asyncio.timeout(min(self._timeout_s, wake.expires_at - now)):
                answer = await self._poster.post(self._url, headers, body)
        except TimeoutError:
            return WakeOutcome.FAILED
        if answer.outcome is Outcome.DELIVERED:
            return WakeOutcome.SENT
        _log.warning("a phone could not be woken", extra={"outcome": answer.outcome.value, "status": answer.status})
        return WakeOutcome.FAILED
