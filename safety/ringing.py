"""Who hears of an incident now: everyone of its level, again or one level higher, and what its timers make of it.

Works on a case. Whom a level reaches, and after how long the next one follows, is in ``escalation.py``.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from core.ids import UserId
from safety.case import Case
from safety.escalation import Why, find_targets, level_gap_s, merge_targets, who_is_kept_apart, who_is_unwilling
from safety.events import Reason
from safety.incident import LEVEL_LAST, SYSTEM, Step
from safety.model import IncidentKind, IncidentState, OfferState, ResponderOffer, SlotState
from safety.ports import Surroundings
from safety.ranking import place_in_line
from safety.settings import SafetySettings
from safety.whereabouts import find_booking

NO_HANDS: Final[dict[str, Any]] = {
    "owner": None,
    "acknowledged_at": None,
    "stale_at": None,
    "quiet_since": None,
    "assign_by": None,
    "owner_here": False,
    "owner_lost_at": None,
    "reopen_at": None,
    "call_back_by": None,
    "proposal": None,
    "offers": (),
}
"""What an incident has no more when nobody has it in hand."""
NO_TIMERS: Final[dict[str, Any]] = {
    "repeat_at": None,
    "widen_at": None,
    "stale_at": None,
    "quiet_since": None,
    "assign_by": None,
    "look_at": None,
    "reopen_at": None,
    "call_back_by": None,
    "tell_at": None,
    "gentle_until": None,
    "proposal": None,
    "offers": (),
}
"""What an incident that has ended does no more."""
_RESPONDERS: Final = frozenset({Why.NEAREST, Why.NEARBY, Why.EVERYONE})
_OPS: Final = frozenset({Why.OPS_CITY, Why.OPS_ALL})


class Ringing:
    """Tells people of an incident, and more of them as time passes."""

    def __init__(self, settings: SafetySettings, surroundings: Surroundings) -> None:
        self._settings = settings
        self._surroundings = surroundings

    # -- telling --------------------------------------------------------------------------------------

    def ring_all(self, case: Case, now: float, reason: Reason, newcomers: Reason | None = None) -> None:
        """Tell everyone of the level, and those told before; widen at once while there is nobody to tell.

        Args:
            case: Its incident says the level.
            now: UTC epoch seconds.
            reason: Why those who know already are told again.
            newcomers: Why those are told who did not know; ``reason`` when not given.
        """
        before = {target.user for target in case.now.targets}
        self._look_up(case, now)
        while not case.now.targets and case.now.level < LEVEL_LAST:
            self.widen(case, SYSTEM, now, now, "nobody at this level")
            self._look_up(case, now)
        if not case.now.targets:
            case.alarms.append("nobody_to_tell")
            case.change(repeat_at=now + self._settings.unreached_repeat_s)
        for target in case.now.targets:
            why = reason if target.user in before or newcomers is None else newcomers
            case.ring.setdefault(why, []).append(target.user)
        case.change(targets=tuple(replace(target, told_at=now) for target in case.now.targets))
        self._ask_nearest(case, now)

    def ring(self, case: Case, now: float, users: Sequence[UserId], reason: Reason) -> None:
        """Tell these targets the whole case."""
        wanted = set(users)
        if not wanted:
            return
        case.ring.setdefault(reason, []).extend(user for user in users if user not in case.ring.get(reason, ()))
        case.change(
            targets=tuple(replace(t, told_at=now) if t.user in wanted else t for t in case.now.targets)
        )  # fmt: skip

    def ring_ops(self, case: Case, now: float, reason: Reason, but: UserId | None = None) -> None:
        """Tell those at the consoles and the owner; everyone, where there are none. ``but`` is whoever it is about."""
        told = [target for target in case.now.targets if target.user != but]
        ops = [t.user for t in told if t.why in _OPS or t.user == case.now.owner]
        self.ring(case, now, ops or [target.user for target in told], reason)

    def start_again(
        self, case: Case, step: Step, who: str, now: float, reason: Reason, detail: str = "", *, louder: bool = True
    ) -> None:
        """Nobody has it in hand any more: everyone is rung, one level higher unless a human only opened it again."""
        gap_s = level_gap_s(self._settings, case.now.level)
        case.step(
            step,
            who,
            now,
            detail,
            **NO_HANDS,
            resolved_by=None,
            resolved_at=None,
            disposition="",
            repeat_at=now + self._settings.repeat_s,
            widen_at=None if gap_s is None else now + gap_s,
        )
        self.look_on(case, now)
        if louder and case.now.level < LEVEL_LAST:
            self.widen(case, who, now, now)
        self.ring_all(case, now, reason)

    def look_on(self, case: Case, now: float) -> None:
        """Look after it as long as somebody owns it or is on the way, however slowly."""
        if case.now.owner is None and not case.now.slots:
            case.change(look_at=None)
        elif case.now.look_at is None:
            case.change(look_at=now + self._settings.look_s)

    def cry_for_help(self, case: Case, who: UserId, now: float) -> None:
        """The subject is forced: everyone is told, in a turn of its own, and the subject hears what they heard."""
        case.step(
            Step.DURESS,
            who,
            now,
            **NO_HANDS,
            kind=IncidentKind.DURESS,
            silent=True,
            level=LEVEL_LAST,
            shown=case.now.seen_by_subject,
            provisional_until=None,
            gentle_until=None,
            resolved_by=None,
            resolved_at=None,
            disposition="",
            repeat_at=now + self._settings.repeat_s,
            widen_at=None,
            tell_at=now,
        )
        self.look_on(case, now)

    def _ask_nearest(self, case: Case, now: float) -> None:
        """Those who were rung just now and are nearest are asked to go, unless somebody goes already."""
        incident, settings = case.now, self._settings
        if incident.coming or (incident.cancel_asked_at is not None and incident.reopen_at is not None):
            return
        kept = [offer for offer in incident.offers if offer.state in (OfferState.PENDING, OfferState.DECLINED)]
        asked = {offer.user for offer in kept} | {slot.user for slot in incident.slots}
        pending = sum(1 for offer in kept if offer.state is OfferState.PENDING)
        able = [t for t in incident.targets if t.why in _RESPONDERS and t.user not in asked]
        able.sort(key=lambda t: place_in_line(t.user, t.distance_m, t.approach))
        fence = incident.fence
        for target in able[: max(0, settings.offers_parallel - pending)]:
            fence += 1
            kept.append(ResponderOffer(target.user, fence, now + settings.offer_ttl_s))
        case.change(offers=tuple(kept), fence=fence)

    def start_level(self, case: Case, now: float) -> None:
        """Count the time to the next level and to the repeat from now."""
        gap_s = level_gap_s(self._settings, case.now.level)
        if case.now.owner is None:
            case.change(
                repeat_at=now + self._settings.repeat_s, widen_at=None if gap_s is None else now + gap_s
            )  # fmt: skip

    def let_go(self, case: Case, now: float) -> None:
        """Whoever turned out to be the other party is no target any more, goes nowhere and owns nothing."""
        avoid = case.now.avoid
        case.change(
            targets=merge_targets(case.now, ()),
            slots=tuple(slot for slot in case.now.slots if slot.user not in avoid),
            offers=tuple(offer for offer in case.now.offers if offer.user not in avoid),
        )
        incident = case.now
        is_there = any(slot.state is SlotState.ON_SCENE for slot in incident.slots)
        nobody_goes = (incident.state is IncidentState.RESPONDING and not incident.coming) or (
            incident.state is IncidentState.ON_SCENE and not is_there
        )
        if incident.is_active and (nobody_goes or incident.owner in avoid):
            if incident.state is IncidentState.CANCEL_PENDING:
                case.change(owner=None)
            else:
                case.step(Step.LET_GO, SYSTEM, now, **NO_HANDS)
            self.start_level(case, now)
        if incident.is_active:
            self.look_on(case, now)

    def ring_soon(self, case: Case, now: float) -> None:
        """Tell everyone of another tap: now, or once the quiet time since they were last told is over."""
        told_at = max((t.told_at for t in case.now.targets if t.told_at is not None), default=None)
        quiet_until = now if told_at is None else told_at + self._settings.retap_quiet_s
        if quiet_until <= now:
            self.ring_all(case, now, Reason.TAPPED_AGAIN)
        else:
            repeat_at = case.now.repeat_at
            case.change(repeat_at=quiet_until if repeat_at is None else min(repeat_at, quiet_until))

    def widen(self, case: Case, who: str, due_at: float, now: float, detail: str = "") -> None:
        """One level up; the next one is due from when this one was, so that lateness does not add up."""
        level = case.now.level + 1
        gap_s = level_gap_s(self._settings, level)
        widen_at = due_at + gap_s if case.now.owner is None and gap_s is not None else None
        case.step(Step.WIDENED, who, now, detail, level=level, widen_at=widen_at, gentle_until=None)

    def see_booking(self, case: Case, now: float) -> None:
        """Leave out whoever is the other side of the subject's booking by now, kept apart from them, or unwilling."""
        # A booking may have begun since the tap; its other side must not be told now.
        booked = find_booking(self._surroundings, case.now, case.alarms)
        told = [target.user for target in case.now.targets]
        apart = who_is_kept_apart(self._surroundings, case.now, told, case.alarms)
        unwilling = who_is_unwilling(self._surroundings, case.now, case.alarms)
        case.change(
            avoid=with_users(case.now.avoid, (*(booked.kept_out if booked else ()), *sorted(apart))),
            targets=tuple(target for target in case.now.targets if target.user not in unwilling),
            offers=tuple(offer for offer in case.now.offers if offer.user not in unwilling),
        )
        case.keep_orders(booked)
        self.let_go(case, now)

    def _look_up(self, case: Case, now: float) -> None:
        self.see_booking(case, now)
        found = find_targets(self._surroundings, self._settings, case.now, now)
        case.alarms.extend(failure for failure in found.failures if failure not in case.alarms)
        case.change(targets=merge_targets(case.now, found.targets))

    # -- timers ---------------------------------------------------------------------------------------

    def escalate(self, case: Case, now: float) -> None:
        """Nobody has acknowledged: the next level, the next repeat, or both."""
        level_before = case.now.level
        # After a long stop several levels may be due: each is written down, everyone is told once.
        while (widen_at := case.now.widen_at) is not None and widen_at <= now:
            self.widen(case, SYSTEM, widen_at, now)
        repeat_at = case.now.repeat_at
        is_repeat = repeat_at is not None and repeat_at <= now
        if repeat_at is not None and is_repeat:
            missed = (now - repeat_at) // self._settings.repeat_s
            case.step(
                Step.REPEATED, SYSTEM, now, repeat_at=repeat_at + (missed + 1) * self._settings.repeat_s
            )  # fmt: skip
        if is_repeat:
            self.ring_all(case, now, Reason.REPEATED, newcomers=Reason.WIDENED)
        elif case.now.level > level_before:
            told_before = case.now.targets
            self.ring_all(case, now, Reason.WIDENED)
            # Those who know already ring with the repeat; now they only learn the level.
            known = {target.user for target in told_before}
            new = [user for user in case.ring.pop(Reason.WIDENED, []) if user not in known]
            if new:
                case.ring[Reason.WIDENED] = new
            told_at = {target.user: target.told_at for target in told_before}
            case.change(targets=tuple(replace(t, told_at=told_at.get(t.user, now)) for t in case.now.targets))
            case.update = Reason.WIDENED


def with_users(avoid: tuple[UserId, ...], users: tuple[UserId, ...]) -> tuple[UserId, ...]:
    """Those who must not be told, and more of them, each once."""
    return tuple(dict.fromkeys((*avoid, *users)))
