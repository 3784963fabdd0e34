"""Whose turn it is: offers made to technicians and work given to them, counted against those of their equals. Pure.

Head starts are bounded, so two who have both waited long are the same to them, and whoever stands a metre nearer would
be asked every time. A turn is an offer that its technician accepted, declined or let lapse, or work that staff gave
them; not an offer that was withdrawn or never arrived, nor work that was called off before it began. Turns fade by a
half-life, and going off duty does not wipe them out.

In a round a technician has as many turns too many as they have had more than the one with the fewest among their idle
equals: near by, with the same skills and gender, and with head starts for rating and tier that are at least theirs,
give or take ``EQUAL_S``. So turns never spoil the rank that a tier or a rating gives.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from dispatch.model import CancellationStage, Technician
from dispatch.problem import BoolArray, FloatArray, TechnicianColumns
from dispatch.settings import TurnSettings
from geo.distance import EARTH_RADIUS_M

NEAR_M: Final = 450.0
"""Who is no farther north or east than this is near by: more than an H3 cell of offers measures across. Twice that far
may be near by too, as the squares lie."""

EQUAL_S: Final = 15.0
"""Head starts that differ by less are the same: an eighth of a star under the default settings."""
BEFORE_SERVICE: Final = frozenset(
    {
        CancellationStage.ASSIGNED_EARLY,
        CancellationStage.ASSIGNED_LATE,
        CancellationStage.EN_ROUTE,
        CancellationStage.ARRIVED,
    }
)
"""An order called off there was no turn for its technician."""
_APART: Final = 2.0**14
"""Twice as much as any head start and any number of turns, and so small that thousands of it keep a millionth."""


def counted(technician: Technician, now: float, settings: TurnSettings) -> float:
    """Turns that a technician has had, faded."""
    age_s = max(now - technician.turns_at, 0.0)
    return float(technician.turns * 0.5 ** (age_s / (settings.half_life_min * 60.0)))


def had(technician: Technician, now: float, settings: TurnSettings) -> Technician:
    """The technician with one turn more."""
    return replace(technician, turns=counted(technician, now, settings) + 1.0, turns_at=now, changed_at=now)


def given_back(technician: Technician, now: float, settings: TurnSettings) -> Technician:
    """The technician with one turn less: it came to nothing, and not by their doing."""
    left = max(counted(technician, now, settings) - 1.0, 0.0)
    return replace(technician, turns=left, turns_at=now, changed_at=now)


def too_many(columns: TechnicianColumns, turns: FloatArray, merit_s: FloatArray, is_idle: BoolArray) -> FloatArray:
    """How many turns each has had more than the least served of their idle equals, >= 0.

    Args:
        columns: Places, skills and gender.
        turns: Turns of each, shape (m,).
        merit_s: Head starts for rating and tier, shape (m,).
        is_idle: Who could be asked, shape (m,); the turns of others are held against nobody.

    Returns:
        Shape (m,), or empty when it is 0 for all.

    Cost:
        Four sorts of m.
    """
    found = np.zeros(len(turns))
    if turns.any():
        north, east = _squares(columns)
        for shift in ((0.0, 0.0), (0.0, 0.5), (0.5, 0.0), (0.5, 0.5)):
            square = np.floor(north + shift[0]), np.floor(east + shift[1])
            np.maximum(found, _too_many(columns, turns, merit_s, is_idle, square), out=found)
    return found if found.any() else np.zeros(0)


def _squares(columns: TechnicianColumns) -> tuple[FloatArray, FloatArray]:
    """Places in sides of squares, north and east. Whoever is near each other shares a square of one of the shifts."""
    per_deg = EARTH_RADIUS_M * np.pi / 180.0 / (2.0 * NEAR_M)
    east = columns.lng_deg * (per_deg * np.cos(np.radians(np.median(columns.lat_deg))))
    return columns.lat_deg * per_deg, east


def _too_many(
    columns: TechnicianColumns,
    turns: FloatArray,
    merit_s: FloatArray,
    is_idle: BoolArray,
    square: tuple[FloatArray, FloatArray],
) -> FloatArray:
    kinds = (*square, columns.skills, columns.gender)
    by_rank = np.lexsort((merit_s, *kinds))
    begins = np.zeros(len(by_rank), dtype=np.bool_)
    for kind in kinds:
        begins[1:] |= kind[by_rank][1:] != kind[by_rank][:-1]
    # Groups lie so far apart that the least of all that follow is the least of the rest of the own group.
    offset = np.cumsum(begins) * _APART
    had_turns = np.where(is_idle, turns, _APART / 2.0)[by_rank] + offset
    least = np.minimum.accumulate(had_turns[::-1])[::-1]
    place = merit_s[by_rank] + offset
    first = np.searchsorted(place, place - EQUAL_S, side="left")
    found = np.zeros(len(turns))
    found[by_rank] = turns[by_rank] - (least[first] - offset)
    return found
