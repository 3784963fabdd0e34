"""Questions about an open order: whom would a round choose under other numbers, or if a filter did not count?

Nothing is decided, offered or stored. The order is looked at alone: orders that wait beside it are not weighed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from math import inf
from typing import Any, Final

import numpy as np

from core.errors import Invalid
from dispatch.exclusions import WAIVABLE, by_label
from dispatch.explaining import Explanation, explain_problem, recomputed
from dispatch.model import Order
from dispatch.problem import BlockColumns, Exclusion, PersonColumns, Problem
from dispatch.settings import DispatchSettings

REACH_LEN_MAX: Final = 1_000
"""Technicians that an answer may name, the nearest."""
ROUND_NUMBERS: Final = frozenset({"radius_steps_m", "candidates_len_max", "unmatched_s"})
"""Numbers of ``dispatch.round`` that may be changed; of ``dispatch.head_start`` all may."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The answer: what a round for the order alone would decide now, as things are and as asked."""

    as_is: Explanation
    asked: Explanation


def changed_settings(settings: DispatchSettings, numbers: Mapping[str, Any]) -> DispatchSettings:
    """Settings with some numbers changed, by their names in the config.

    Raises:
        Invalid: No such number, or out of its range.
    """
    for name, value in numbers.items():
        try:
            if name in {f.name for f in fields(settings.head_start)}:
                settings = replace(settings, head_start=replace(settings.head_start, **{name: value}))
            elif name in ROUND_NUMBERS:
                kept: Any = tuple(value) if name == "radius_steps_m" else value
                settings = replace(settings, round=replace(settings.round, **{name: kept}))
            elif name == "position_fresh_s":
                settings = replace(settings, position_fresh_s=value)
            else:
                raise Invalid("is no number that a question may change", field=f"policy.{name}"[:64])
        except (ValueError, TypeError, AttributeError) as error:
            raise Invalid(str(error)[:200], field=f"policy.{name}") from error
    return replace(settings, round=replace(settings.round, reach_len_max=REACH_LEN_MAX))


def waivers(names: Collection[str]) -> frozenset[Exclusion]:
    """Filters by their names in explanations. Raises ``Invalid`` for one that cannot be left out."""
    known = by_label(WAIVABLE)
    for name in names:
        if name not in known:
            raise Invalid(f"must be one of {', '.join(known)}", field="waive")
    return frozenset(known[name] for name in names)


def waived_order(order: Order, waived: Collection[Exclusion]) -> Order:
    """The order without those of its own wishes that are waived."""
    if Exclusion.GENDER in waived:
        order = replace(order, gender_preference=None)
    if Exclusion.SKILL in waived:
        order = replace(order, skills=())
    if Exclusion.TIER in waived:
        order = replace(order, tier_min="")
    if Exclusion.NOT_PICKED in waived:
        order = replace(order, picked=None)
    return order


def waived_problem(problem: Problem, waived: Collection[Exclusion]) -> Problem:
    """The problem of such an order without the filters that lie between it and technicians."""
    nobody = np.zeros(0, dtype=np.int64)
    if Exclusion.REFUSED in waived:
        problem = replace(problem, refused_order=nobody, refused_technician=nobody)
    if Exclusion.OWN_ORDER in waived:
        problem = replace(problem, own_order=nobody, own_technician=nobody)
    if Exclusion.STALE_POSITION in waived:
        problem = replace(problem, policy=replace(problem.policy, position_fresh_s=inf))
    if Exclusion.CALENDAR in waived:
        problem = replace(problem, blocks=BlockColumns())
    if Exclusion.BLOCKED in waived:
        apart = replace(problem.people, barred_order=nobody, barred_technician=nobody)
        problem = replace(problem, people=apart)
    no_bits = PersonColumns().zone_bit
    if Exclusion.ZONE in waived:
        problem = replace(problem, people=replace(problem.people, zone_bit=no_bits, zones=no_bits))
    if Exclusion.SERVICE in waived:
        problem = replace(problem, people=replace(problem.people, service_bit=no_bits, services=no_bits))
    if Exclusion.PAPERS in waived:
        no_dates = PersonColumns().papers_until
        problem = replace(problem, people=replace(problem.people, papers_until=no_dates))
    if Exclusion.NIGHT_TRANSPORT in waived:
        problem = replace(problem, people=replace(problem.people, walks=PersonColumns().walks))
    people = problem.technicians
    if Exclusion.DISCONNECTED in waived:
        people = replace(people, connected=np.ones_like(people.connected))
    if Exclusion.UNHEARD in waived:
        people = replace(people, unheard_at=np.full_like(people.unheard_at, -inf))
    return replace(problem, technicians=people)


def answer(order: Order, as_is: Problem, asked: Problem) -> WhatIf:
    """Solve both and explain both. For a thread."""
    return WhatIf(*(explain_problem(p, recomputed(p), order.order_id) for p in (as_is, asked)))
