"""Taps on their way to the engine: a stuck button waits in one place, and each tap gets an answer of its own. Pure."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from core.errors import DoorstepError
from core.ids import TenantId, UserId
from safety.events import AckRaiser, SosRaised
from safety.model import CapStatus

Answer = Callable[[AckRaiser], None]
Failed = Callable[[DoorstepError], None]


@dataclass(slots=True)
class TapsWaiting:
    """Taps of one person that the engine handles together: the newest, and those that came before it.

    Attributes:
        posted: What stands for them in the mailbox.
        answers: For each tap, the newest as well: whom to tell what became of it.
    """

    newest: SosRaised
    posted: SosRaised
    earlier: list[SosRaised] = field(default_factory=list)
    answers: list[tuple[SosRaised, Answer, Failed | None]] = field(default_factory=list)

    def answered(self, ack: AckRaiser) -> Iterator[tuple[Answer, AckRaiser]]:
        """Whom to tell that the newest got ``ack``: each tap hears it by its own key."""
        for tap, answer, _ in self.answers:
            if tap is self.newest:
                yield answer, ack
            else:
                report, device = tap.report, tap.who.device
                yield answer, AckRaiser(ack.incident, report.key, device, report.ignored, tap.received_at, answer=True)


class TapQueue:
    """The first ``waiting_max`` taps of a person have a place each in the mailbox; further ones share the last."""

    def __init__(self, waiting_max: int) -> None:
        """Nobody waits."""
        self._waiting_max = waiting_max
        self._taps: dict[tuple[TenantId, UserId, CapStatus], deque[TapsWaiting]] = {}

    def add(self, tap: SosRaised, answer: Answer, failed: Failed | None) -> TapsWaiting | None:
        """Take a tap; what has to go to the mailbox for it, None where it shares a place."""
        waiting = self._taps.setdefault(_place(tap), deque())
        if len(waiting) >= self._waiting_max:
            # Somebody's stuck button must not keep the next person, or whoever acknowledges, waiting.
            last = waiting[-1]
            last.earlier.append(last.newest)
            last.newest = tap
            last.answers.append((tap, answer, failed))
            return None
        own = TapsWaiting(tap, tap, answers=[(tap, answer, failed)])
        waiting.append(own)
        return own

    def gathered(self, event: SosRaised) -> SosRaised:
        """What waits behind one place in the mailbox, as one event; from now on others find a place of their own."""
        place = _place(event)
        waiting = self._taps.get(place)
        if waiting is None or waiting[0].posted is not event:
            return event
        waited = waiting.popleft()
        if not waiting:
            del self._taps[place]
        return replace(waited.newest, also=tuple(waited.earlier))


def _place(tap: SosRaised) -> tuple[TenantId, UserId, CapStatus]:
    """Taps that may wait together: of one person, and never a drill with an emergency."""
    return tap.who.tenant, tap.who.user, tap.cap_status
