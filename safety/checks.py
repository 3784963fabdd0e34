"""The life of a check: the stages it goes through by time, and what ends it. Pure.

Whoever is asked late is asked for the whole time all the same: what follows the question moves with it.
"""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from itertools import pairwise
from typing import Final

from core.ids import UserId
from safety.care_model import Answer, Cause, Check, CheckKind, CheckState, Gravity, Job
from safety.care_settings import CareSettings


class CheckStep(StrEnum):
    """What happens to a check."""

    REMIND = "remind"
    ASK = "ask"
    DOUBT = "doubt"
    ALARM = "alarm"
    ANSWER = "answer"
    DROP = "drop"


_OPEN: Final = (
    CheckState.PLANNED,
    CheckState.REMINDED,
    CheckState.ASKED,
    CheckState.UNCONFIRMED,
    CheckState.PANIC,
)
ARROWS: Final[Mapping[tuple[CheckState, CheckStep], CheckState]] = {
    (CheckState.PLANNED, CheckStep.REMIND): CheckState.REMINDED,
    (CheckState.PLANNED, CheckStep.ASK): CheckState.ASKED,
    (CheckState.REMINDED, CheckStep.ASK): CheckState.ASKED,
    (CheckState.ASKED, CheckStep.DOUBT): CheckState.UNCONFIRMED,
    (CheckState.UNCONFIRMED, CheckStep.ALARM): CheckState.PANIC,
    **{(state, CheckStep.ANSWER): CheckState.ANSWERED for state in _OPEN},
    **{(state, CheckStep.DROP): CheckState.DROPPED for state in _OPEN},
}
"""Every way a check can go; there is none out of ``answered`` and ``dropped``."""

_STAGES: Final = (
    (CheckStep.REMIND, "remind_at"),
    (CheckStep.ASK, "ask_at"),
    (CheckStep.DOUBT, "unconfirmed_at"),
    (CheckStep.ALARM, "panic_at"),
)
_MOMENTS: Final = tuple(name for _, name in _STAGES)
CAUSES: Final[Mapping[CheckKind, Cause]] = {
    CheckKind.CHECK_IN: Cause.CHECKIN_MISSED,
    CheckKind.OVERDUE: Cause.SERVICE_OVERDUE,
    CheckKind.ARRIVAL: Cause.ARRIVAL_OVERDUE,
    CheckKind.LEAVING: Cause.LOST_LEAVING,
    CheckKind.STOP: Cause.ABNORMAL_STOP,
    CheckKind.DETOUR: Cause.DETOUR,
    CheckKind.SILENCE: Cause.SILENCE,
}
"""What a check without an answer is raised as."""
GRAVITIES: Final[Mapping[CheckState, Gravity]] = {
    CheckState.UNCONFIRMED: Gravity.UNCONFIRMED,
    CheckState.PANIC: Gravity.PANIC,
}


def next_stage(check: Check) -> tuple[CheckStep, float] | None:
    """What time does to a check next, and when; None when only people can."""
    for step, name in _STAGES:
        at: float | None = getattr(check, name)
        if at is not None and (check.state, step) in ARROWS:
            return step, at
    return None


def follow(check: Check, step: CheckStep, now: float) -> Check:
    """The check one arrow further. Raises ``KeyError`` where there is none."""
    changed = replace(check, state=ARROWS[check.state, step], changed_at=now)
    if step is CheckStep.ASK and check.ask_at is not None and now > check.ask_at:
        return shifted(changed, now - check.ask_at)
    return changed


def shifted(check: Check, by_s: float) -> Check:
    """The check with every stage that is still to come later by ``by_s``."""
    names = [name for step, name in _STAGES if getattr(check, name) is not None and _is_to_come(check, step)]
    later = {name: getattr(check, name) + by_s for name in names}
    return replace(check, **later)


def _is_to_come(check: Check, step: CheckStep) -> bool:
    order = [CheckState.PLANNED, CheckState.REMINDED, CheckState.ASKED, CheckState.UNCONFIRMED, CheckState.PANIC]
    reached = {CheckStep.REMIND: 1, CheckStep.ASK: 2, CheckStep.DOUBT: 3, CheckStep.ALARM: 4}
    return check.state in order and order.index(check.state) < reached[step]


def answered(check: Check, who: UserId, answer: Answer, now: float) -> Check:
    """The check with an answer. Only the technician's settles it: the other side may be the danger."""
    if who != check.asked[0]:
        said = dict(check.said) | {who: answer}
        return replace(check, said=tuple(said.items()))
    return replace(follow(check, CheckStep.ANSWER, now), answer=answer)


# -- what is asked, and when ----------------------------------------------------------------------------


def check_in(check_id: str, job: Job, from_at: float, settings: CareSettings) -> Check:
    """The regular question of a service, an interval after ``from_at``."""
    ask_at = from_at + settings.interval_s(job.tenant, job.service)
    return Check(
        check_id,
        CheckKind.CHECK_IN,
        CheckState.PLANNED,
        (job.technician,),
        remind_at=ask_at - settings.reminder_s if settings.reminder_s else None,
        ask_at=ask_at,
        unconfirmed_at=ask_at + settings.unconfirmed_s,
        panic_at=ask_at + settings.panic_s,
        changed_at=from_at,
    )


def planned(check_id: str, kind: CheckKind, job: Job, ask_at: float, now: float, settings: CareSettings) -> Check:
    """A question of the plan: whether the service is over, the technician there, or gone safely."""
    asked = (job.technician, job.customer) if kind is CheckKind.OVERDUE else (job.technician,)
    return Check(
        check_id,
        kind,
        CheckState.PLANNED,
        asked,
        ask_at=ask_at,
        unconfirmed_at=ask_at + settings.unconfirmed_s,
        changed_at=now,
    )


def seen(check_id: str, kind: CheckKind, job: Job, now: float, settings: CareSettings, **where: object) -> Check:
    """A question about what positions show now."""
    return Check(
        check_id,
        kind,
        CheckState.PLANNED,
        (job.technician,),
        ask_at=now,
        unconfirmed_at=now + settings.way_answer_s,
        changed_at=now,
        **where,  # type: ignore[arg-type]  # a wrong name raises at once
    )


def unheard(check_id: str, job: Job, heard_at: float, now: float, settings: CareSettings) -> Check:
    """No sign of the phone: there is nobody to ask, so it stands as if it had been."""
    return Check(
        check_id,
        CheckKind.SILENCE,
        CheckState.ASKED,
        (job.technician,),
        unconfirmed_at=heard_at + settings.silence_unconfirmed_s,
        changed_at=now,
    )


def broken_rule(check: Check) -> str | None:
    """Which rule a check breaks, None for a sound one."""
    moments = [at for name in _MOMENTS if (at := getattr(check, name)) is not None]
    is_last = check.state is CheckState.PANIC or (check.state is CheckState.UNCONFIRMED and check.panic_at is None)
    rules = {
        "its stages come one after the other": all(a < b for a, b in pairwise(moments)),
        "an open check has a next stage until its last": not check.is_open or (next_stage(check) is None) == is_last,
        "exactly an answered check has an answer": (check.state is CheckState.ANSWERED) == (check.answer is not None),
        "somebody is asked": bool(check.asked),
    }
    return next((rule for rule, holds in rules.items() if not holds), None)
