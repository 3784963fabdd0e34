"""Hard filters: who may be asked for an order at all, and for everyone else why not. Vectorised, pure.

Nothing here weighs; ``cost.py`` does. Filters that do not depend on the order (duty, work, papers, city) arrive
as ``TechnicianColumns.hard``.
"""

from typing import Final

import numpy as np

from dispatch.problem import BoolArray, CodeArray, Exclusion, FloatArray, IntArray, Problem
from geo.distance import EARTH_RADIUS_M

GENDER_CODES: Final = {"female": 1, "male": 2, "other": 3}
"""Codes of gender columns; 0 is no preference."""


def distances_m(problem: Problem, rows: IntArray) -> FloatArray:
    """Great-circle metres from each of these orders to each technician, shape (len(rows), m).

    By chords between unit vectors: the same to a nanometre as ``geo.distance.haversine_m``, and three times as
    fast, because sines are taken for each place and not for each pair.
    """
    o, t = problem.orders, problem.technicians
    square = np.zeros((len(rows), len(t.ids)))
    for here, there in zip(_unit(o.lat_deg[rows], o.lng_deg[rows]), _unit(t.lat_deg, t.lng_deg), strict=True):
        difference = here[:, None] - there[None, :]
        difference *= difference
        square += difference
    np.sqrt(square, out=square)
    square *= 0.5
    np.minimum(square, 1.0, out=square)
    np.arcsin(square, out=square)
    square *= 2.0 * EARTH_RADIUS_M
    return square


def _unit(lat_deg: FloatArray, lng_deg: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Places as points of the unit sphere."""
    lat, lng = np.radians(lat_deg), np.radians(lng_deg)
    ring = np.cos(lat)
    return ring * np.cos(lng), ring * np.sin(lng), np.sin(lat)


def exclusions(problem: Problem, rows: IntArray) -> CodeArray:
    """First reason against each pair, ``Exclusion`` codes of shape (len(rows), m); distance is not judged here.

    Cost:
        A handful of passes over a byte matrix.
    """
    o, t, at = problem.orders, problem.technicians, problem.at
    code = np.zeros((len(rows), len(t.ids)), dtype=np.uint8)
    # From the least to the most telling reason, so that the last one written is the one told.
    code[:, t.seen_at < at - problem.policy.position_fresh_s] = Exclusion.STALE_POSITION
    code[:, t.heard_at <= t.unheard_at] = Exclusion.UNHEARD
    code[:, ~t.connected] = Exclusion.DISCONNECTED
    row_of = np.full(len(o.ids), -1, dtype=np.int64)
    row_of[rows] = np.arange(len(rows))
    refused_row = row_of[problem.refused_order]
    known = refused_row >= 0
    code[refused_row[known], problem.refused_technician[known]] = Exclusion.REFUSED
    wanted = o.gender[rows]
    code[(wanted[:, None] != 0) & (wanted[:, None] != t.gender[None, :])] = Exclusion.GENDER
    need = o.skills[rows]
    code[(t.skills[None, :] & need[:, None]) != need[:, None]] = Exclusion.SKILL
    code[o.skill_unknown[rows], :] = Exclusion.SKILL
    own_row = row_of[problem.own_order]
    known = own_row >= 0
    code[own_row[known], problem.own_technician[known]] = Exclusion.OWN_ORDER
    hard = t.hard != 0
    code[:, hard] = t.hard[hard]
    return code


def widen(problem: Problem, rows: IntArray, eligible: BoolArray, distance_m: FloatArray) -> IntArray:
    """Radius step that each of these orders comes to: the first within which somebody is eligible.

    Returns:
        Shape (len(rows),); an order that finds nobody ends at its last permitted step.
    """
    steps_m = np.asarray(problem.policy.radius_steps_m, dtype=np.float64)
    nearest_m = np.where(eligible, distance_m, np.inf).min(axis=1, initial=np.inf)
    needed = np.searchsorted(steps_m, nearest_m, side="left")
    step: IntArray = np.minimum(needed, problem.orders.step_max[rows])
    return step
