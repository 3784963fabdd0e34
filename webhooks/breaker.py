"""Whether an endpoint is worth trying now: after failures in a row it is left alone, then tried once. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from webhooks.settings import WebhookSettings


class BreakerState(StrEnum):
    """How an endpoint is treated."""

    CLOSED = "closed"
    """Tried as usual."""
    OPEN = "open"
    """Left alone."""
    HALF_OPEN = "half_open"
    """Tried with one event."""


class BreakerEvent(StrEnum):
    """What can happen to it."""

    WORKED = "worked"
    TRIPPED = "tripped"
    COOLED = "cooled"


_S, _E = BreakerState, BreakerEvent
TRANSITIONS: Final[dict[tuple[BreakerState, BreakerEvent], BreakerState]] = {
    (_S.CLOSED, _E.WORKED): _S.CLOSED,
    (_S.CLOSED, _E.TRIPPED): _S.OPEN,
    (_S.OPEN, _E.COOLED): _S.HALF_OPEN,
    # An attempt that was under way when the others failed.
    (_S.OPEN, _E.WORKED): _S.CLOSED,
    (_S.OPEN, _E.TRIPPED): _S.OPEN,
    (_S.HALF_OPEN, _E.WORKED): _S.CLOSED,
    (_S.HALF_OPEN, _E.TRIPPED): _S.OPEN,
}


@dataclass(slots=True)
class Breaker:
    """One endpoint's breaker.

    Attributes:
        failures: In a row.
        times_open: In a row without a success between.
        open_until: Only while open, UTC epoch seconds.
    """

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    times_open: int = 0
    open_until: float = 0.0

    def room(self, in_flight: int, most: int, now: float) -> int:
        """How many attempts may begin now."""
        if self.state is _S.OPEN:
            if now < self.open_until:
                return 0
            self._move(_E.COOLED)
        return max(0, (1 if self.state is _S.HALF_OPEN else most) - in_flight)

    def worked(self) -> None:
        """The endpoint answered as one that lives."""
        self.failures = self.times_open = 0
        self._move(_E.WORKED)

    def failed(self, now: float, settings: WebhookSettings) -> None:
        """The endpoint failed once more."""
        self.failures += 1
        if self.state is _S.OPEN or (self.state is _S.CLOSED and self.failures < settings.breaker_failures):
            return
        wait_s = min(settings.breaker_first_s * 2 ** min(self.times_open, 30), settings.breaker_longest_s)
        self.open_until = now + wait_s
        self.times_open += 1
        self._move(_E.TRIPPED)

    def _move(self, event: BreakerEvent) -> None:
        self.state = TRANSITIONS[self.state, event]
