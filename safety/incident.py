"""The life of an incident: one table of arrows, and the law that its history folds to its state.

Only a human's ``RESOLVED`` ends an incident; no timer does, and neither does the subject.
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
    LINKED = "linked"
    """The other side of the booking raised one too."""
    WIDENED = "widened"
    REPEATED = "repeated"
    ACKNOWLEDGED = "acknowledged"
    CONFIRMED = "confirmed"
    """The owner is still on it."""
    JOINED = "joined"
    NOTED = "noted"
    OFF_DUTY = "off_duty"
    """The subject went off duty, or whoever has their phone; where they are is known all the same."""
    CALLED = "called"
    WENT_STALE = "went_stale"
    """The owner did nothing for too long; of those on the scene nobody said anything though they were asked."""
    OWNER_LOST = "owner_lost"
    """The owner's connection is gone."""
    OFFERED = "offered"
    DECLINED = "declined"
    RESPONDED = "responded"
    """A responder goes there by their own word."""
    ASSIGNED = "assigned"
    """A responder was sent there by ops."""
    NOBODY_COMES = "nobody_comes"
    """It was acknowledged, and still nobody goes there."""
    ARRIVAL_SEEN = "arrival_seen"
    """A responder's position is at the place; whether they are there they say themselves."""
    ARRIVAL_CLAIMED = "arrival_claimed"
    """A responder says that they are there, and their position does not show it: ops have to confirm it."""
    ARRIVED = "arrived"
    STALLED = "stalled"
    """A responder does not come nearer, or their position is not known any more; others still come."""
    ALL_STALLED = "all_stalled"
    LET_GO = "let_go"
    """Whoever had it in hand turned out to be the other side of the booking."""
    MOVED_ON = "moved_on"
    """A responder who had stalled comes nearer again."""
    STILL_COMING = "still_coming"
    STILL_THERE = "still_there"
    CANCEL_ASKED = "cancel_asked"
    PIN_WRONG = "pin_wrong"
    DURESS = "duress"
    REOPENED = "reopened"
    RESOLUTION_PROPOSED = "resolution_proposed"
    RESOLVED = "resolved"
    CLOSED = "closed"


_S = IncidentState
_OPEN_LIKE: Final = (_S.OPEN, _S.ACKNOWLEDGED, _S.RESPONDING, _S.ON_SCENE, _S.CANCEL_PENDING)
_OWNED: Final = (_S.ACKNOWLEDGED, _S.RESPONDING, _S.ON_SCENE)

_STAYS: Final = (
    Step.TAPPED, Step.LINKED, Step.WIDENED, Step.REPEATED, Step.JOINED, Step.NOTED, Step.CALLED, Step.OFFERED,
    Step.DECLINED, Step.ARRIVAL_SEEN, Step.ARRIVAL_CLAIMED, Step.STALLED, Step.MOVED_ON, Step.OFF_DUTY,
    Step.PIN_WRONG, Step.RESOLUTION_PROPOSED,
)  # fmt: skip
"""What leaves an active incident where it is."""

MOVES: Final[dict[tuple[IncidentState, Step], IncidentState]] = {
    **{(state, step): state for state in _OPEN_LIKE for step in _STAYS},
    **{(state, Step.CONFIRMED): state for state in (*_OWNED, _S.CANCEL_PENDING)},
    **{(state, Step.CANCEL_ASKED): _S.CANCEL_PENDING for state in _OPEN_LIKE},
    **{(state, Step.DURESS): _S.OPEN for state in (*_OPEN_LIKE, _S.RESOLVED)},
    **{(state, Step.RESOLVED): _S.RESOLVED for state in (*_OWNED, _S.CANCEL_PENDING)},
    (_S.OPEN, Step.ACKNOWLEDGED): _S.ACKNOWLEDGED,
    (_S.ACKNOWLEDGED, Step.STILL_COMING): _S.RESPONDING,
    (_S.ACKNOWLEDGED, Step.STILL_THERE): _S.ON_SCENE,
    (_S.ACKNOWLEDGED, Step.NOBODY_COMES): _S.ACKNOWLEDGED,
    (_S.ACKNOWLEDGED, Step.RESPONDED): _S.RESPONDING,
    (_S.ACKNOWLEDGED, Step.ASSIGNED): _S.RESPONDING,
    (_S.RESPONDING, Step.RESPONDED): _S.RESPONDING,
    (_S.RESPONDING, Step.ASSIGNED): _S.RESPONDING,
    (_S.ON_SCENE, Step.RESPONDED): _S.ON_SCENE,
    (_S.ON_SCENE, Step.ASSIGNED): _S.ON_SCENE,
    (_S.CANCEL_PENDING, Step.RESPONDED): _S.CANCEL_PENDING,
    (_S.CANCEL_PENDING, Step.ASSIGNED): _S.CANCEL_PENDING,
    (_S.RESPONDING, Step.ARRIVED): _S.ON_SCENE,
    (_S.ON_SCENE, Step.ARRIVED): _S.ON_SCENE,
    (_S.CANCEL_PENDING, Step.ARRIVED): _S.CANCEL_PENDING,
    (_S.ACKNOWLEDGED, Step.WENT_STALE): _S.OPEN,
    (_S.RESPONDING, Step.WENT_STALE): _S.OPEN,
    (_S.ON_SCENE, Step.WENT_STALE): _S.OPEN,
    (_S.ACKNOWLEDGED, Step.OWNER_LOST): _S.OPEN,
    (_S.RESPONDING, Step.OWNER_LOST): _S.OPEN,
    (_S.RESPONDING, Step.ALL_STALLED): _S.OPEN,
    **{(state, Step.LET_GO): _S.OPEN for state in _OWNED},
    (_S.CANCEL_PENDING, Step.ACKNOWLEDGED): _S.CANCEL_PENDING,
    (_S.CANCEL_PENDING, Step.REOPENED): _S.OPEN,
    (_S.RESOLVED, Step.REOPENED): _S.OPEN,
    (_S.RESOLVED, Step.NOTED): _S.RESOLVED,
    (_S.RESOLVED, Step.CALLED): _S.RESOLVED,
    (_S.RESOLVED, Step.PIN_WRONG): _S.RESOLVED,
    (_S.RESOLVED, Step.CANCEL_ASKED): _S.RESOLVED,
    (_S.RESOLVED, Step.CLOSED): _S.CLOSED,
}
"""Every arrow there is. An incident begins ``OPEN`` with ``Step.RAISED``."""

BY_HUMANS_ONLY: Final = frozenset({Step.RESOLVED, Step.CLOSED})
"""What the system never does, whatever its timers say."""


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
            arrow leads to, a level sank, or the system ended it.
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
        if step in BY_HUMANS_ONLY and event.who == SYSTEM:
            raise ImpossibleStep("the system never ends an incident", story)
        level = event.level
    if state is None:
        raise ImpossibleStep("no history", story)
    return state, level
