"""Calls for help: each is sent again, ever less often, until the server has stored it, and offered again to a
server that was restored from before it.

Synchronous and without files: ``outbox.py`` keeps on a disk what ``kept`` gives.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct, structs

from doorstep_client.events import Event, SosAcked, SosNotReceived, SosProgress, SosStage
from doorstep_client.settings import ClientSettings


class KeptTap(Struct, frozen=True):
    """What of a tap outlives the process.

    Attributes:
        tapped_at: By the phone's clock.
        fields: Of the ``sos``, as far as they were known at the tap.
        epoch: Of the safety stream in which it was stored; None while it is not, "" where the server did not say.
        incident: The newest that the server named, "" for none yet.
    """

    key: str
    tapped_at: float
    fields: dict[str, Any] = {}
    epoch: str | None = None
    incident: str = ""


@dataclass(slots=True)
class Call:
    """One tap. What is durable stays for a while, for a server that forgets it.

    Attributes:
        tap: ``epoch`` and ``incident`` of it are as they were when it was kept; those of the call are newer.
        added_at: When it was tapped, or read back from the outbox; on the client's own time line.
    """

    tap: KeptTap
    added_at: float
    next_at: float
    wait_s: float
    is_heard: bool = False
    epoch: str | None = None
    incident: str = ""
    stages: set[SosStage] = field(default_factory=set)
    http_at: float = 0.0
    http_wait_s: float = 0.0
    is_posted: bool = False
    """A request over HTTP is under way."""
    is_followed: bool = False
    """A session knows it, and hears when it is delivered and seen. HTTP tells the first answer only."""
    is_told_off: bool = False
    """Whether the application knows that nobody has received it."""

    @property
    def is_waiting(self) -> bool:
        """Whether it is still sent."""
        return self.epoch is None


class SosCalls:
    """All taps of a device that are not stored, and the last that are.

    Args:
        phone_clock: Maps ``now`` to what the phone believes, for ``tapped_at`` and ``sent_at``.
    """

    def __init__(self, settings: ClientSettings, phone_clock: Callable[[float], float]) -> None:
        self._settings = settings
        self._phone_clock = phone_clock
        self._calls: dict[str, Call] = {}
        self._epoch: str | None = None
        self.revision = 0
        """Grows whenever ``kept`` changes: what lies on the disk is older."""

    # -- taps -----------------------------------------------------------------------------------------

    def add(self, key: str, fields: dict[str, Any], now: float) -> None:
        """Keep a tap, due at once."""
        self._put(KeptTap(key, round(self._phone_clock(now), 3), fields), now)
        self._forget(now)
        self.revision += 1

    def _put(self, tap: KeptTap, now: float) -> None:
        wait_s = self._settings.sos_retry_s
        self._calls[tap.key] = Call(
            tap, now, now, wait_s, epoch=tap.epoch, incident=tap.incident, http_at=now, http_wait_s=wait_s
        )

    def send(self, key: str, now: float) -> dict[str, Any]:
        """The frame of one tap, to be written now; it is due again after its wait."""
        call = self._calls[key]
        call.next_at = now + call.wait_s
        call.wait_s = min(call.wait_s * 2.0, self._settings.sos_retry_max_s)
        return self._frame(call, now)

    def _frame(self, call: Call, now: float) -> dict[str, Any]:
        times = {"tapped_at": call.tap.tapped_at, "sent_at": round(self._phone_clock(now), 3)}
        return {"type": "sos", "key": call.tap.key, **times, **call.tap.fields}

    def due(self, now: float) -> list[dict[str, Any]]:
        """Frames of all taps whose time has come."""
        return [self.send(key, now) for key, call in self._calls.items() if call.is_waiting and call.next_at <= now]

    def next_deadline(self) -> float | None:
        """When the next tap is due; None for none."""
        return min((call.next_at for call in self._calls.values() if call.is_waiting), default=None)

    def welcomed(self, now: float) -> list[dict[str, Any]]:
        """A new session: what nobody answered goes out at once and is repeated as in the beginning. What was stored
        over HTTP is sent once, for this session to hear what becomes of it."""
        for call in self._calls.values():
            if call.is_waiting and not call.is_heard:
                call.next_at, call.wait_s = now, self._settings.sos_retry_s
        known = [call for call in self._calls.values() if call.epoch and call.is_heard]
        return self.due(now) + [self._frame(call, now) for call in known if not call.is_followed]

    # -- over HTTP ------------------------------------------------------------------------------------

    def posts(self, now: float, *, is_ready: bool) -> list[dict[str, Any]]:
        """Bodies of ``POST /v1/sos`` to send now, each under way until ``posted`` or ``post_failed``."""
        due = [
            call for call in self._calls.values() if self._is_postable(call) and self._post_at(call, is_ready) <= now
        ]
        for call in due:
            call.is_posted = True
        return [self._frame(call, now) for call in due]

    def next_post_at(self, *, is_ready: bool) -> float | None:
        """When the next tap is to be sent over HTTP; None for none."""
        return min((self._post_at(c, is_ready) for c in self._calls.values() if self._is_postable(c)), default=None)

    @staticmethod
    def _is_postable(call: Call) -> bool:
        return call.is_waiting and not call.is_posted

    def _post_at(self, call: Call, is_ready: bool) -> float:
        # A session that answers is quicker; one that does not may be gone without a word.
        return max(call.http_at, call.added_at + self._settings.sos_http_after_s) if is_ready else call.http_at

    def posted(self, body: dict[str, Any], now: float) -> list[Event]:
        """An ``sos_ack`` came over HTTP."""
        self._post_ended(body["key"], now)
        return self._acked(body, is_followed=False)

    def post_failed(self, key: str, now: float) -> None:
        """No answer, or none that helps: again after a while, without end."""
        self._post_ended(key, now)

    def _post_ended(self, key: str, now: float) -> None:
        call = self._calls.get(key)
        if call is not None:
            call.is_posted, call.http_at = False, now + call.http_wait_s
            call.http_wait_s = min(call.http_wait_s * 2.0, self._settings.sos_retry_max_s)

    # -- how far each has come ------------------------------------------------------------------------

    def acked(self, body: dict[str, Any]) -> list[Event]:
        """What an ``sos_ack`` tells the application: itself, and each stage that is new. Only what is durable is at
        rest."""
        return self._acked(body, is_followed=True)

    def _acked(self, body: dict[str, Any], *, is_followed: bool) -> list[Event]:
        key, call = body["key"], self._calls.get(body["key"])
        ack = SosAcked(key, body["incident"], body["durable"], body["seen"], body["delivered"], body)
        if call is None:
            return [ack]
        call.is_heard = True
        call.is_followed = call.is_followed or is_followed
        if call.incident != ack.incident:
            call.incident = ack.incident
            call.stages.clear()  # a restored server made another one: what was said of the first is void
        if ack.durable and call.is_waiting:
            call.epoch = self._epoch or ""
            self.revision += 1
        reached = {
            SosStage.RECEIVED: True,
            SosStage.DURABLE: ack.durable,
            SosStage.DELIVERED: ack.delivered > 0,
            SosStage.SEEN: ack.seen,
        }
        new = [stage for stage, is_reached in reached.items() if is_reached and stage not in call.stages]
        call.stages.update(new)
        return [ack, *(SosProgress(key, ack.incident, stage) for stage in new)]

    def not_received_at(self) -> float | None:
        """When the next tap without any answer must be told to the application; None for none."""
        unheard = (call.added_at for call in self._calls.values() if self._is_unheard(call))
        at = min(unheard, default=None)
        return None if at is None else at + self._settings.sos_not_received_s

    def take_not_received(self, now: float) -> list[Event]:
        """Taps that nobody answered in time, each told once; they are sent on."""
        late = [
            (key, call)
            for key, call in self._calls.items()
            if self._is_unheard(call) and now >= call.added_at + self._settings.sos_not_received_s
        ]
        for _, call in late:
            call.is_told_off = True
        return [SosNotReceived(key, call.tap.tapped_at) for key, call in late]

    @staticmethod
    def _is_unheard(call: Call) -> bool:
        return call.is_waiting and not call.is_heard and not call.is_told_off

    # -- a server that forgets ------------------------------------------------------------------------

    def lives_in(self, epoch: str, now: float) -> list[dict[str, Any]]:
        """The server's safety stream has this epoch: what was stored in another one is offered again.

        Returns:
            Frames to send now. A server that still has a key answers with its incident; one that lost it raises it.
        """
        self._epoch = epoch
        self._forget(now)
        frames = []
        for key, call in self._calls.items():
            if call.epoch is not None and call.epoch != epoch:
                call.epoch, call.is_heard, call.is_followed = None, False, False
                call.is_told_off = True  # it was received once: nobody is told to call 110 for an old tap
                call.next_at, call.wait_s = now, self._settings.sos_retry_s
                frames.append(self.send(key, now))
        self.revision += bool(frames)
        return frames

    def _forget(self, now: float) -> None:
        """Let go of durable taps that are too old or too many; of one that is not durable, never."""
        durable = [key for key, call in self._calls.items() if not call.is_waiting]
        wall = self._phone_clock(now)
        keep_s = self._settings.sos_keep_s
        too_many = durable[: max(len(durable) - self._settings.sos_keys_kept, 0)]
        too_old = [key for key in durable if wall - self._calls[key].tap.tapped_at > keep_s]
        for key in {*too_many, *too_old}:
            del self._calls[key]

    # -- the outbox -----------------------------------------------------------------------------------

    def kept(self) -> list[KeptTap]:
        """What must outlive the process, oldest first."""
        return [structs.replace(c.tap, epoch=c.epoch, incident=c.incident) for c in self._calls.values()]

    def restore(self, kept: list[KeptTap], now: float) -> None:
        """Take up what an earlier process kept: what was not durable is due at once. Taps since then stay."""
        younger, self._calls = self._calls, {}
        for tap in kept:
            self._put(tap, now)
        self._calls |= younger
