"""Owning an incident, joining it, and writing down what was done: what those do who handle it."""

from core.errors import Invalid
from core.ids import UserId
from core.principal import Principal
from safety import access
from safety.case import Case
from safety.errors import AlreadyAcknowledged
from safety.events import CallOutcome, CallTo, IncidentAcknowledged, NoteTaken, Reason
from safety.incident import SYSTEM, Step
from safety.model import IncidentState, SlotState, Target
from safety.settings import SafetySettings

NOTE_LEN_MAX = 500
"""Characters of one note in an incident's history."""
CONFIRMED_AGAIN_SHARE = 0.05
"""Share of ``ack_stale_s`` within which a further confirmation of the owner says nothing new."""
JOINED = "joined"
"""Why somebody is told who asked for it."""


class Handling:
    """Works on cases of active incidents whose handler has been checked."""

    def __init__(self, settings: SafetySettings) -> None:
        self._settings = settings

    def acknowledge(self, case: Case, event: IncidentAcknowledged, now: float) -> bool:
        """Own it, or go on owning it; whether anything changed.

        Raises:
            AlreadyAcknowledged: Somebody else owns it.
        """
        user, incident = event.who.user, case.now
        if incident.owner is None:
            self.own(case, user, now)
            case.update = Reason.ACKNOWLEDGED
            return True
        if incident.owner != user:
            raise AlreadyAcknowledged(incident.owner)
        return self.confirm(case, user, now)

    def confirm(self, case: Case, user: UserId, now: float) -> bool:
        """Whoever has it in hand, or is there, still is; whether that is new."""
        renewed_by_s = now + self._settings.ack_stale_s - (case.now.stale_at or now)
        if renewed_by_s < self._settings.ack_stale_s * CONFIRMED_AGAIN_SHARE:
            return False  # a button held down must not write a row each time
        case.step(Step.CONFIRMED, user, now)
        self.touch(case, user, now)
        return True

    def own(self, case: Case, user: UserId, now: float) -> None:
        """Somebody has it in hand: nobody is rung any more, and the owner is watched."""
        settings, waits = self._settings, case.now.state is IncidentState.CANCEL_PENDING
        case.change(targets=with_target(case.now.targets, user, "owner", case.now.level))
        case.step(
            Step.ACKNOWLEDGED,
            user,
            now,
            owner=user,
            acknowledged_at=now,
            repeat_at=None,
            widen_at=None,
            gentle_until=None,
            fence=case.now.fence + 1,
            look_at=now + settings.look_s,
            stale_at=None if waits else now + settings.ack_stale_s,
            assign_by=None if waits else now + settings.assign_within_s,
        )
        self.settle(case, now)

    def settle(self, case: Case, now: float) -> None:
        """Who went there before somebody owned it still does."""
        if case.now.state is not IncidentState.ACKNOWLEDGED or not case.now.coming:
            return
        is_there = any(slot.state is SlotState.ON_SCENE for slot in case.now.slots)
        case.step(Step.STILL_THERE if is_there else Step.STILL_COMING, SYSTEM, now, assign_by=None)

    def touch(self, case: Case, user: UserId, now: float, *, is_ops: bool = False) -> None:
        """The owner did something: their acknowledgement holds for longer.

        On the scene anybody who is there may be that one, and so may ops: they can ask.
        """
        incident = case.now
        slot = incident.slot_of(user)
        is_there = slot is not None and slot.state is SlotState.ON_SCENE
        counts = incident.owner == user
        if incident.state is IncidentState.ON_SCENE:
            counts = counts or is_there or is_ops
        if counts and incident.stale_at is not None:
            case.change(stale_at=now + self._settings.ack_stale_s, quiet_since=None)

    def join(self, case: Case, who: Principal, now: float) -> bool:
        """Hear of all that becomes of it; whether they did not before."""
        targets = with_target(case.now.targets, who.user, JOINED, case.now.level)
        if targets == case.now.targets:
            return False
        case.change(targets=targets)
        case.step(Step.JOINED, who.user, now)
        case.update = Reason.JOINED
        return True

    def note(self, case: Case, event: NoteTaken, now: float) -> None:
        """Write down what was done.

        Raises:
            Invalid: Nothing is said; a call without its outcome, or an outcome without a call.
        """
        text = event.text.strip()[:NOTE_LEN_MAX]
        if (event.call_to is None) != (event.outcome is None):
            raise Invalid("a call is noted with whom and what came of it, both", field="outcome")
        if not text and event.call_to is None:
            raise Invalid("must say something, or be a call", field="text")
        user = event.who.user
        if event.call_to is None:
            case.step(Step.NOTED, user, now, text)
            case.update = Reason.NOTED
        else:
            case.step(Step.CALLED, user, now, f"{event.call_to} {event.outcome} {text}".strip())
            case.update = Reason.CALLED
        if event.call_to is CallTo.SUBJECT:
            is_reached = event.outcome is CallOutcome.REACHED
            case.change(
                called_at=now, call_back_by=None, reached_at=now if is_reached else case.now.reached_at
            )  # fmt: skip
        self.touch(case, user, now, is_ops=access.is_ops_of(case.now, event.who))


def with_target(targets: tuple[Target, ...], user: UserId, why: str, level: int) -> tuple[Target, ...]:
    """The targets, and one more unless they are among them."""
    if any(target.user == user for target in targets):
        return targets
    return (*targets, Target(user, why, level))
