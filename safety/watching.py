"""What an incident does by itself: nobody answers, the owner goes quiet, a responder does not come nearer.

Timers never end anything: each of them tells more people, or the same ones again.
"""

from dataclasses import replace

from geo.distance import distance_m
from geo.point import LatLng
from safety.cancelling import Cancelling
from safety.case import Case
from safety.escalation import guarded
from safety.events import Reason
from safety.handling import Handling
from safety.incident import LEVEL_LAST, SYSTEM, Step
from safety.model import IncidentState, Slot, SlotState
from safety.ports import Surroundings
from safety.ringing import Ringing
from safety.settings import SafetySettings
from safety.slots import Slots
from safety.whereabouts import best_place

NEARER_M = 20.0
"""Metres by which a responder must have come nearer to count as moving: less is the noise of a fix."""


class Watching:
    """Works on cases whose deadline has come."""

    def __init__(
        self,
        settings: SafetySettings,
        surroundings: Surroundings,
        *,
        ringing: Ringing,
        handling: Handling,
        slots: Slots,
        cancelling: Cancelling,
    ) -> None:
        self._settings = settings
        self._surroundings = surroundings
        self._ringing = ringing
        self._handling = handling
        self._slots = slots
        self._cancelling = cancelling

    def on_timers(self, case: Case, now: float) -> None:
        """Let an incident act on all its timers that are due."""
        if _is_due(case.now.tell_at, now):
            self._cancelling.tell(case, now)
        if _is_due(case.now.reopen_at, now):
            self._cancelling.reopen(case, now)
        elif _is_due(case.now.call_back_by, now):
            self._cancelling.remind(case, now)
        if _is_due(case.now.stale_at, now):
            self._go_stale(case, now)
        if _is_due(case.now.look_at, now):
            self._look(case, now)
        if _is_due(case.now.assign_by, now):
            self._nobody_comes(case, now)
        if case.now.owner is None:
            self._ringing.escalate(case, now)
        elif _is_due(case.now.repeat_at, now):
            # Somebody owns it, and the subject tapped again within the quiet time: told now.
            case.step(Step.REPEATED, SYSTEM, now, repeat_at=None)
            self._ringing.ring_all(case, now, Reason.TAPPED_AGAIN)
        if _is_due(case.now.offers_until, now):
            self._slots.expire(case, now)

    # -- the owner ------------------------------------------------------------------------------------

    def _go_stale(self, case: Case, now: float) -> None:
        """The owner did nothing for too long: open again, one level higher, everyone is told."""
        owner = case.now.owner
        if case.now.state is IncidentState.ON_SCENE:
            if case.now.quiet_since is None:
                # Somebody is there: those who are not ask how it goes.
                case.change(stale_at=now + self._settings.ack_stale_s, quiet_since=now)
                case.step(Step.REPEATED, SYSTEM, now, "quiet on scene")
                self._ringing.ring_ops(case, now, Reason.ACK_STALE)
                return
            # Nobody knows what became of them either: others go.
            for slot in case.now.slots:
                if slot.state is SlotState.ON_SCENE:
                    self._slots.replace_slot(case, replace(slot, state=SlotState.STALLED, is_silent=True))
        self._ringing.start_again(case, Step.WENT_STALE, SYSTEM, now, Reason.ACK_STALE, f"owner {owner}")

    def _look_for_owner(self, case: Case, now: float) -> bool:
        """Whether the owner still counts; one who was never connected is only expected to act."""
        owner = case.now.owner
        if owner is None or case.now.state not in (IncidentState.ACKNOWLEDGED, IncidentState.RESPONDING):
            return True
        is_here = guarded(
            case.alarms, "connected", lambda: self._surroundings.is_connected(case.now.tenant, owner), lambda: True
        )
        if is_here:
            case.change(owner_here=True, owner_lost_at=None)
            return True
        if not case.now.owner_here:
            return True
        lost_at = case.now.owner_lost_at
        case.change(owner_lost_at=now if lost_at is None else lost_at)
        return lost_at is None or now - lost_at < self._settings.owner_offline_s

    def _nobody_comes(self, case: Case, now: float) -> None:
        """Acknowledged, and nobody is on the way: more people are told, and the nearest are asked again."""
        case.step(
            Step.NOBODY_COMES, SYSTEM, now, assign_by=now + self._settings.assign_within_s, offers=()
        )  # fmt: skip
        if case.now.level < LEVEL_LAST:
            self._ringing.widen(case, SYSTEM, now, now)
        self._ringing.ring_all(case, now, Reason.NOBODY_COMES)
        case.alarms.append("nobody_comes")

    # -- those on their way ---------------------------------------------------------------------------

    def _look(self, case: Case, now: float) -> None:
        case.change(look_at=now + self._settings.look_s)
        if not self._look_for_owner(case, now):
            owner = case.now.owner
            self._ringing.start_again(case, Step.OWNER_LOST, SYSTEM, now, Reason.OWNER_LOST, f"owner {owner}")
            return
        best = best_place(self._surroundings, case.now, case.alarms, now)
        for slot in case.now.slots:
            if slot.state is not SlotState.ON_SCENE and not slot.is_silent:
                self._look_at(case, slot, best.point if best is not None else None, now)
        if case.now.state is IncidentState.RESPONDING and not case.now.coming:
            case.alarms.append("responders_stalled")
            self._ringing.start_again(case, Step.ALL_STALLED, SYSTEM, now, Reason.STALLED)

    def _look_at(self, case: Case, slot: Slot, place: LatLng | None, now: float) -> None:
        seen = self._seen(case, slot, place, now)
        self._slots.replace_slot(case, seen)
        is_near = seen.nearest_m is not None and seen.nearest_m <= self._settings.arrival_m
        if is_near and not seen.suggested:
            self._slots.replace_slot(case, replace(seen, suggested=True))
            case.step(Step.ARRIVAL_SEEN, SYSTEM, now, slot.user)
            self._ringing.ring(case, now, [slot.user], Reason.ARRIVAL_SEEN)
            case.update = Reason.ARRIVAL_SEEN
            return
        is_quiet = now - seen.seen_at > self._settings.stall_fix_s
        is_still = now - seen.nearer_at > self._settings.stall_nearer_s and not is_near
        if slot.state is SlotState.COMING and (is_quiet or is_still):
            self._stall(case, seen, now, "no position" if is_quiet else "not nearer")
        elif slot.state is SlotState.STALLED and not is_quiet and not is_still:
            self._move_on(case, seen, now)

    def _seen(self, case: Case, slot: Slot, place: LatLng | None, now: float) -> Slot:
        """What is known of them by now; an owner who comes nearer does something, without a word."""
        tenant = case.now.tenant
        found = guarded(
            case.alarms, "last_fix", lambda: self._surroundings.last_fix(tenant, slot.user, now), lambda: None
        )
        if found is None:
            return slot
        fix = found[1]
        seen = replace(slot, seen_at=max(slot.seen_at, fix.fixed_at))
        away_m = None if place is None else distance_m(fix.point, place)
        if away_m is None:
            return replace(seen, nearer_at=seen.seen_at)  # nobody knows whether they come nearer
        if seen.nearest_m is None or away_m <= seen.nearest_m - NEARER_M:
            self._handling.touch(case, slot.user, now)
            return replace(seen, nearest_m=away_m, nearer_at=now)
        return seen

    def _stall(self, case: Case, slot: Slot, now: float, why: str) -> None:
        self._slots.replace_slot(case, replace(slot, state=SlotState.STALLED))
        case.step(Step.STALLED, SYSTEM, now, f"{slot.user} {why}")
        if case.now.coming:
            self._ringing.ring_ops(case, now, Reason.STALLED)
            self._slots.ask_next(case, now)

    def _move_on(self, case: Case, slot: Slot, now: float) -> None:
        """They come nearer again: their place is theirs as long as it was not given away."""
        if len(case.now.coming) >= self._settings.responder_slots:
            return
        fence = case.now.fence + 1
        self._slots.replace_slot(case, replace(slot, state=SlotState.COMING, fence=fence))
        case.step(Step.MOVED_ON, SYSTEM, now, f"{slot.user} fence {fence}", fence=fence)
        if case.now.state is IncidentState.ACKNOWLEDGED:
            self._handling.settle(case, now)
        case.update = Reason.MOVED_ON


def _is_due(at: float | None, now: float) -> bool:
    return at is not None and at <= now
