"""The life of an incident: one table of arrows, and the law that its history folds to its state.

No arrow lets the system end an incident: only a human's ``RESOLVED`` does. ``CANCEL_PENDING``, ``RESPONDING``,
``ON_SCENE`` and ``CLOSED`` have no arrows yet; a new one is a line in ``MOVES``.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

from safety.model import IncidentEvent, IncidentState

LEVEL_LAST: Final = 3
"""Everyone is told; repeats go on without limit."""

SYSTEM: Final = "system"
"""Who acts when a timer does."""

DISPOSITIONS: Final = (
    "real_handled", "real_handed_over", "false_accident", "false_test", "duplicate", "unreachable",
)  # fmt: skip
"""How an incident can have ended; the words of the wire."""


class Step(StrEnum):
    """What can happen to an incident."""

    RAISED = "raised"
    TAPPED = "tapped"
    WIDENED = "widened"
    REPEATED = "repeated"
    ACKNOWLEDGED = "acknowledged"
    CONFIRMED = "confirmed"
    """The owner is still on it."""
    WENT_STALE = "went_stale"
    RESOLVED = "resolved"


_S = IncidentState

MOVES: Final[dict[tuple[IncidentState, Step], IncidentState]] = {
    (_S.OPEN, Step.TAPPED): _S.OPEN,
    (_S.OPEN, Step.WIDENED): _S.OPEN,
    (_S.OPEN, Step.REPEATED): _S.OPEN,
    (_S.OPEN, Step.ACKNOWLEDGED): _S.ACKNOWLEDGED,
    (_S.ACKNOWLEDGED, Step.TAPPED): _S.ACKNOWLEDGED,
    (_S.ACKNOWLEDGED, Step.WIDENED): _S.ACKNOWLEDGED,
    (_S.ACKNOWLEDGED, Step.REPEATED): _S.ACKNOWLEDGED,
    (_S.ACKNOWLEDGED, Step.CONFIRMED): _S.ACKNOWLEDGED,
    (_S.ACKNOWLEDGED, Step.WENT_STALE): _S.OPEN,
    (_S.ACKNOWLEDGED, Step.RESOLVED): _S.RESOLVED,
}
"""Every arrow there is. An incident begins ``OPEN`` with ``Step.RAISED``."""


class ImpossibleStep(AssertionError):
    """The code tried an arrow that does not exist, or a history does not fold; holds the story."""

    def __init__(self, what: str, story: Sequence[str]) -> None:
        """Join the facts into one text: this one is for whoever repairs the server."""
        super().__init__("\n  ".join((what, *story)))


def advance(state: IncidentState, step: Step, story: Sequence[str] = ()) -> IncidentState:
    """The state after ``step``.

    Raises:
        ImpossibleStep: There is no such arrow; the message ends with ``story``, the last events.
    """
    try:
        return MOVES[state, step]
    except KeyError:
        raise ImpossibleStep(f"no arrow for {step} in {state}", story) from None


def tell(event: IncidentEvent) -> str:
    """One event as a line of a story."""
    detail = f" ({event.detail})" if event.detail else ""
    return f"{event.seq}. at {event.at:.3f} {event.what} by {event.who}: {event.state} level {event.level}{detail}"


def fold(events: Iterable[IncidentEvent]) -> tuple[IncidentState, int]:
    """State and level that a history leads to.

    Args:
        events: All events of one incident, in order.

    Raises:
        ImpossibleStep: A number is missing, an arrow does not exist, an event claims another state than its
            arrow leads to, or a level sank.
    """
    story: list[str] = []
    state: IncidentState | None = None
    level = 0
    for number, event in enumerate(events, start=1):
        story.append(tell(event))
        step = Step(event.what)
        if event.seq != number:
            raise ImpossibleStep(f"event {number} is missing", story)
        if state is None:
            if step is not Step.RAISED:
                raise ImpossibleStep("a history begins with raised", story)
            state = IncidentState.OPEN
        else:
            state = advance(state, step, story)
        if event.state is not state or event.level < level:
            raise ImpossibleStep(f"the history says {state} at level {level} or higher", story)
        level = event.level
    if state is None:
        raise ImpossibleStep("no history", story)
    return state, level
