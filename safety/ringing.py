"""Who hears of an incident now: everyone of its level, again or one level higher, and what its timers make of it.

Works on a case. Whom a level reaches, and after how long the next one follows, is in ``escalation.py``.
"""

from dataclasses import replace

from core.ids import UserId
from safety.case import Case
from safety.escalation import find_targets, level_gap_s, merge_targets
from safety.events import Reason
from safety.incident import LEVEL_LAST, SYSTEM, Step
from safety.model import IncidentState
from safety.ports import Surroundings
from safety.settings import SafetySettings
from safety.whereabouts import find_booking


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
        is_open = case.now.state is IncidentState.OPEN
        widen_at = due_at + gap_s if is_open and gap_s is not None else None
        case.step(Step.WIDENED, who, now, detail, level=level, widen_at=widen_at)

    def _look_up(self, case: Case, now: float) -> None:
        # A booking may have begun since the tap; its other side must not be told now.
        booked = find_booking(self._surroundings, case.now, case.alarms)
        case.change(avoid=with_user(case.now.avoid, booked.other_party if booked else None))
        found = find_targets(self._surroundings, self._settings, case.now, now)
        case.alarms.extend(failure for failure in found.failures if failure not in case.alarms)
        case.change(targets=merge_targets(case.now, found.targets))

    # -- timers ---------------------------------------------------------------------------------------

    def on_timers(self, case: Case, now: float) -> None:
        """Let an incident act on its timers that are due."""
        if case.now.stale_at is not None and case.now.stale_at <= now:
            self._go_stale(case, now)
        elif case.now.state is IncidentState.OPEN:
            self._escalate(case, now)
        elif case.now.repeat_at is not None and case.now.repeat_at <= now:
            # Acknowledged, and the subject tapped again within the quiet time: told now.
            case.step(Step.REPEATED, SYSTEM, now, repeat_at=None)
            self.ring_all(case, now, Reason.TAPPED_AGAIN)

    def _escalate(self, case: Case, now: float) -> None:
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

    def _go_stale(self, case: Case, now: float) -> None:
        """The owner did nothing for too long: open again, one level higher, everyone is told."""
        gone = case.now.owner
        case.step(
            Step.WENT_STALE,
            SYSTEM,
            now,
            f"owner {gone}",
            owner=None,
            acknowledged_at=None,
            stale_at=None,
            repeat_at=now + self._settings.repeat_s,
        )
        if case.now.level < LEVEL_LAST:
            self.widen(case, SYSTEM, now, now)
        self.ring_all(case, now, Reason.ACK_STALE)


def with_user(avoid: tuple[UserId, ...], user: UserId | None) -> tuple[UserId, ...]:
    """Those who must not be told, and one more if there is one."""
    return avoid if user is None or user in avoid else (*avoid, user)
