"""Hard filters: who may be asked for an order at all, and for everyone else why not. Vectorised, pure.

Nothing here weighs; ``cost.py`` does. Filters that do not depend on the order (duty, work, papers, city) arrive
as ``TechnicianColumns.hard``.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from dispatch import calendar, cost, eligibility
from dispatch.problem import ANYBODY, BoolArray, CodeArray, Exclusion, FloatArray, IntArray, Problem
from geo.distance import table_m

GENDER_CODES: Final = {"female": 1, "male": 2, "other": 3}
"""Codes of gender columns; 0 is no preference."""


def distances_m(problem: Problem, rows: IntArray) -> FloatArray:
    """Great-circle metres from each of these orders to each technician, shape (len(rows), m)."""
    o, t = problem.orders, problem.technicians
    return table_m(o.lat_deg[rows], o.lng_deg[rows], t.lat_deg, t.lng_deg)


def exclusions(problem: Problem, rows: IntArray, distance_m: FloatArray) -> CodeArray:
    """First reason against each pair, ``Exclusion`` codes of shape (len(rows), m); distance is not judged here.

    Cost:
        A handful of passes over a byte matrix.
    """
    t = problem.technicians
    code = np.zeros((len(rows), len(t.ids)), dtype=np.uint8)
    told = dict(filters(problem, rows, distance_m))
    # The last one written is the one told; who was not to be asked at all is told nothing else.
    not_picked = told.pop(Exclusion.NOT_PICKED, None)
    for reason, against in told.items():
        np.copyto(code, np.uint8(reason), where=against)
    np.copyto(code, t.hard, where=t.hard != 0, casting="unsafe")
    if not_picked is not None:
        np.copyto(code, np.uint8(Exclusion.NOT_PICKED), where=not_picked)
    return code


def filters(problem: Problem, rows: IntArray, distance_m: FloatArray) -> Iterator[tuple[Exclusion, BoolArray]]:
    """Each filter that depends on the pair, with whom it speaks against, from the least to the most telling.

    Masks broadcast to (len(rows), m); filters that speak against nobody may be left out.

    Args:
        distance_m: ``distances_m`` of these orders.
    """
    o, t, at = problem.orders, problem.technicians, problem.at
    if len(o.begins_at):
        yield Exclusion.CALENDAR, calendar.clashes(problem, rows, distance_m)
    if len(problem.people.walks):
        yield Exclusion.NIGHT_TRANSPORT, eligibility.walks_at_night(problem, rows, distance_m)
    yield Exclusion.STALE_POSITION, _but_woken(problem, rows, t.seen_at < at - problem.policy.position_fresh_s)
    yield Exclusion.UNHEARD, t.heard_at <= t.unheard_at
    yield Exclusion.DISCONNECTED, _but_woken(problem, rows, ~t.connected)
    row_of = np.full(len(o.ids), -1, dtype=np.int64)
    row_of[rows] = np.arange(len(rows))
    shape = len(rows), len(t.ids)
    yield from _pairs(Exclusion.REFUSED, row_of[problem.refused_order], problem.refused_technician, shape)
    wanted = o.gender[rows]
    yield Exclusion.GENDER, (wanted[:, None] != 0) & (wanted[:, None] != t.gender[None, :])
    need = o.skills[rows]
    lacking = (t.skills[None, :] & need[:, None]) != need[:, None]
    yield Exclusion.SKILL, lacking | o.skill_unknown[rows][:, None]
    if len(problem.people.papers_until):
        _, ends_at = calendar.service_times(problem, rows, cost.ways_s(problem, rows, distance_m))
        yield Exclusion.PAPERS, problem.people.papers_until[None, :] < ends_at
    yield from eligibility.filters(problem, rows)
    if len(problem.people.spare):
        is_asked = o.wave[rows] > 0 if len(o.wave) else np.zeros(len(rows), dtype=np.bool_)
        yield Exclusion.OFFERED, is_asked[:, None] & problem.people.spare[None, :]
    yield from _pairs(Exclusion.OWN_ORDER, row_of[problem.own_order], problem.own_technician, shape)
    if len(o.only):
        only = o.only[rows]
        yield Exclusion.NOT_PICKED, (only[:, None] != ANYBODY) & (only[:, None] != np.arange(len(t.ids))[None, :])


def _but_woken(problem: Problem, rows: IntArray, against: BoolArray) -> BoolArray:
    """The filter without those pairs in which the order wakes its technician's phone."""
    o = problem.orders
    here = np.flatnonzero(o.woken[rows]) if len(o.woken) else ()
    if not len(here):
        return against
    wide = np.tile(against, (len(rows), 1))
    wide[here, o.only[rows][here]] = False
    return wide


def _pairs(
    reason: Exclusion, order: IntArray, technician: IntArray, shape: tuple[int, int]
) -> Iterator[tuple[Exclusion, BoolArray]]:
    here = order >= 0
    if here.any():
        against = np.zeros(shape, dtype=np.bool_)
        against[order[here], technician[here]] = True
        yield reason, against


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
