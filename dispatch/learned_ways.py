"""Fills a round's ways with what the city's own trips have taught of their places, as a road engine would. Pure.

What is filled in is stored with the round like an engine's answer, so the round is decided the same again whatever the
map has become since. Ways that are not filled in go by the city's rate at this hour, which was learned as well.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from dispatch import matching
from dispatch.ports import TravelRate
from dispatch.problem import IntArray, Problem, WayColumns

WAYS_MAX: Final = 2_000
"""Ways of one round that are looked up: 8 ms of the loop, 3 ms for the 720 of 24 orders. Rounds of more than this
decide among so many that the city's rate will do."""
CELLS_MAX: Final = 65_536
"""Orders times technicians up to which it is looked for the likely ones: 3 ms of the loop."""
SOURCE: Final = "learned"
"""What ``Problem.ways_from`` says."""


def fill(problem: Problem, travel: TravelRate) -> Problem:
    """The round with its likely ways filled in; unchanged while nothing is learned, or when they are too many."""
    if not travel.has_learned() or len(problem.orders.ids) * len(problem.technicians.ids) > CELLS_MAX:
        return problem
    order, technician = matching.likely(problem)
    return fill_pairs(problem, order, technician, travel) if 0 < len(order) <= WAYS_MAX else problem


def fill_pairs(problem: Problem, order: IntArray, technician: IntArray, travel: TravelRate) -> Problem:
    """The round with these ways filled in: rows of order and technician; unchanged while nothing is learned."""
    o, t = problem.orders, problem.technicians
    origins = np.stack([t.lat_deg[technician], t.lng_deg[technician]], axis=1)
    destinations = np.stack([o.lat_deg[order], o.lng_deg[order]], axis=1)
    seconds = travel.learned_s(origins, destinations, problem.at)
    if seconds is None:
        return problem
    return replace(problem, ways=WayColumns(order, technician, seconds), ways_from=SOURCE)
