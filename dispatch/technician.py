"""A technician's two states as tables: duty (do they take work) and work (what are they doing now)."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Final

from core.ids import CityId
from dispatch.errors import ImpossibleMove
from dispatch.model import DutyState, Technician, WorkState


class WorkMove(StrEnum):
    """What can happen to a technician on duty."""

    ASK = "ask"
    TAKE = "take"
    FREE = "free"


DUTY_TABLE: Final[frozenset[tuple[DutyState, DutyState]]] = frozenset(
    {
        (DutyState.OFF, DutyState.ON),
        (DutyState.ON, DutyState.OFF),
        (DutyState.ON, DutyState.PAUSED),
        (DutyState.PAUSED, DutyState.ON),
        (DutyState.PAUSED, DutyState.OFF),
        (DutyState.ON, DutyState.ENDING),
        (DutyState.PAUSED, DutyState.ENDING),
        (DutyState.ENDING, DutyState.ON),
        (DutyState.ENDING, DutyState.OFF),
    }
)
"""(from, to). A pause begins from duty only; who leaves while they have a job is ``ending`` first."""

WORK_TABLE: Final[dict[tuple[WorkState, WorkMove], WorkState]] = {
    (WorkState.IDLE, WorkMove.ASK): WorkState.OFFERED,
    (WorkState.OFFERED, WorkMove.TAKE): WorkState.BUSY,
    # They set out for a job that they had booked, or were given one by hand.
    (WorkState.IDLE, WorkMove.TAKE): WorkState.BUSY,
    # The job is over while they think about the next one.
    (WorkState.BUSY, WorkMove.ASK): WorkState.OFFERED,
    (WorkState.OFFERED, WorkMove.FREE): WorkState.IDLE,
    (WorkState.BUSY, WorkMove.FREE): WorkState.IDLE,
}


def can_set_duty(technician: Technician, duty: DutyState) -> bool:
    """Whether the table has this arrow."""
    return (technician.duty, duty) in DUTY_TABLE


def set_duty(technician: Technician, duty: DutyState, city: CityId, now: float) -> Technician:
    """The technician in another duty state; waiting for work is counted from here. Raises ``ImpossibleMove``."""
    if not can_set_duty(technician, duty):
        raise ImpossibleMove(f"technician {technician.technician}", technician.duty, duty)
    return replace(
        technician,
        duty=duty,
        duty_city=None if duty is DutyState.OFF else city,
        duty_at=now,
        idle_since=now if duty is DutyState.ON and technician.work is WorkState.IDLE else None,
        changed_at=now,
    )


def advance(technician: Technician, move: WorkMove, now: float, story: Sequence[str] = ()) -> Technician:
    """The technician after ``move``. A refused offer does not end the wait for work; a job does.

    Raises:
        ImpossibleMove: The table has no such arrow.
    """
    work = WORK_TABLE.get((technician.work, move))
    if work is None:
        raise ImpossibleMove(f"technician {technician.technician}", technician.work, move, story)
    idle_since = technician.idle_since
    if work is WorkState.BUSY:
        idle_since = None
    elif technician.work is WorkState.BUSY:
        idle_since = now
    return replace(technician, work=work, idle_since=idle_since, changed_at=now)
