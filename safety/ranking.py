"""In which order those are told of an incident who may go there. Pure.

Own staff come before technicians who agreed to help, and within each group whoever would be there first even if all
that is not known about them is to their disadvantage. Whose phone is quiet comes behind all of whom something is heard:
they are told nevertheless (``escalation.py``), but take nobody's place.
"""

from enum import StrEnum
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.ids import UserId
from core.units import ACCURACY_M_MAX
from safety.freshness import R95_PER_R68, RECENT_S
from safety.model import Approach

Seconds = TypeVar("Seconds", float, "NDArray[np.float64]")

ACCURACY_ASSUMED_M: Final = 500.0
"""Taken for the accuracy of a position that came without one: about that of a cell tower in a town."""
QUIET_S: Final = RECENT_S
"""Age of a position from which on its phone counts as quiet."""


class Group(StrEnum):
    """As what somebody is asked; in this order."""

    STAFF = "staff"
    """People whose role it is to respond."""
    CONSENTING = "consenting"
    """Technicians who agreed to be asked, have no job under way and no open alarm of their own."""


_GROUPS: Final = {group.value: nth for nth, group in enumerate(Group)}


def pessimistic_eta_s(
    distance_m: Seconds, r95_m: Seconds, age_s: Seconds, *, person_r95_m: float, speed_mps: float
) -> Seconds:
    """Seconds until they are there if both are at the far edge of where they may be, and the position is old.

    The age is added as it is: so long they may have gone the wrong way, and as long the news may take to reach them.
    """
    return (distance_m + r95_m + person_r95_m) / speed_mps + age_s


def assumed_r95_m(accuracy_m: float) -> float:
    """Radius in which somebody is with 95 %, an assumed one where the phone said nothing of its accuracy."""
    return R95_PER_R68 * (accuracy_m if accuracy_m < ACCURACY_M_MAX else ACCURACY_ASSUMED_M)


def place_in_line(user: UserId, distance_m: float | None, approach: Approach | None) -> tuple[bool, int, float, UserId]:
    """Sort by it: those who are heard, staff, the soonest there. Who has no estimate is last of their group."""
    if approach is None:
        return (False, 0, np.inf if distance_m is None else distance_m, user)
    return (not approach.is_live, _GROUPS[approach.group], np.inf if approach.eta_s is None else approach.eta_s, user)
