"""The doors to the one rule of who may do what: a round's columns, one pair by itself, and pairs found before."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from core.ids import UserId
from dispatch import candidates, chaining, reach
from dispatch import events as e
from dispatch.exclusions import RULES, Moment
from dispatch.model import BlockSide, Gender, Order, OrderState, Rest, Technician
from dispatch.pairs import Pairs
from dispatch.problem import Exclusion, Pair
from dispatch.settings import DispatchSettings, EligibilitySettings, RoundSettings, ScheduleSettings
from tests.unit.dispatch.world import ALL_STEPS, ANNA, CENTRE, T0, World, north

HOUR = 3_600.0
SETTINGS = DispatchSettings(
    eligibility=EligibilitySettings(papers=("health",), night_walk_max_m=900.0),
    schedule=ScheduleSettings(lead_s=80 * HOUR),
    # Rounds wait for a thread that never answers, so that orders stay without offers.
    round=replace(RoundSettings(), inline_cells_max=1),
)
AT_ANY_MOMENT = Moment.ACCEPT | Moment.CHANGE | Moment.SET_OUT | Moment.TIME
METRES = (100.0, 800.0, 1_500.0, 19_000.0, 25_000.0)


def somebody(w: World, name: str, rng: Random) -> None:
    user = UserId(name)
    if rng.random() < 0.15:
        w.put(name, **_record(rng))
        return
    w.join(name, rng.choice(METRES), papers={"health": T0 + 500 * HOUR})
    if rng.random() < 0.3:
        order = w.place(by=UserId(f"cus_of_{name}"), duration_s=rng.choice([600.0, 3_600.0]))
        w.feed(e.OrderAssigned(order.order_id, user, ANNA, "regular", ("too_far", "night_transport", "disconnected")))
        if rng.random() < 0.7:
            w.steps(order, *ALL_STEPS[: rng.randint(1, 3)])
    w.put(name, **_record(rng))
    if rng.random() < 0.2:
        w.feed(e.CalendarSet(user, (), (Rest(T0 + rng.choice([0.2, 2.0, 29.0]) * HOUR, T0 + 31 * HOUR),)))
    if rng.random() < 0.1:
        w.alarm(user, is_open=True)
    if rng.random() < 0.2:
        w.feed(e.PairBlocked(ANNA, user, rng.choice(list(BlockSide)), ANNA))
    if rng.random() < 0.15:
        w.seen(user, None, connected=False)


def _record(rng: Random) -> dict[str, object]:
    return {
        "verified": rng.random() < 0.9,
        "cities": ("hz",) if rng.random() < 0.9 else ("sh",),
        "skills": frozenset({"massage"} if rng.random() < 0.85 else {"nails"}),
        "gender": rng.choice([Gender.FEMALE, Gender.FEMALE, Gender.MALE]),
        "tier": rng.choice(["", "gold"]),
        "papers": {"health": T0 + rng.choice([0.5, 20.0, 500.0, 500.0]) * HOUR},
        "services": rng.choice([(), (), ("massage",), ("nails",)]),
        "own_transport": rng.random() < 0.5,
    }


def orders_of(w: World, names: list[str], rng: Random) -> list[Order]:
    return [
        w.place(
            north(rng.choice([0.0, 400.0])),
            by=rng.choice([ANNA, ANNA, UserId("cus_bob"), UserId(rng.choice(names))]),
            scheduled_for=rng.choice([None, None, T0 + 3 * HOUR, T0 + 30 * HOUR]),
            gender_preference=rng.choice([None, None, Gender.FEMALE]),
            tier_min=rng.choice(["", "", "silver"]),
        )
        for _ in range(4)
    ]


@pytest.mark.parametrize("seed", range(25))
def test_the_doors_agree_about_pairs_made_at_random(seed: int) -> None:
    rng, w = Random(seed), World(SETTINGS)
    w.solve_later = True
    names = [f"t{n}" for n in range(8)]
    for name in names:
        somebody(w, name, rng)
    orders = orders_of(w, names, rng)
    if seed % 5 == 0:
        w.now += SETTINGS.position_fresh_s + 5.0
        w.seen(UserId(names[0]), CENTRE)
    told = _columns(w, orders)
    pairs, standing = _pairs(w), w.engine._standing
    for order in orders:
        for who in w.engine.technicians():
            reasons, travel_s = pairs.against_now(order, who, w.now)
            asked = [reason for reason in reasons if RULES[reason].asked]
            assert standing.against(order, who.technician, w.now, AT_ANY_MOMENT) == asked
            if who.technician not in w.index:
                assert travel_s is None
                continue
            near = [reason for reason in reasons if reason is not Exclusion.TOO_FAR]
            first = near[0] if near else Exclusion.NONE
            assert told[order.order_id, who.technician] is first, (reasons, who)
            assert travel_s is not None
            found = Pair(order.order_id, who.technician, 0.0, travel_s, 0.0, ())
            holds = {(order.order_id, who.technician)} if not near else set()
            assert w.engine.order(order.order_id).state is OrderState.MATCHING  # type: ignore[union-attr]
            assert standing.holding([found], w.now) == holds, reasons


def _columns(w: World, orders: list[Order]) -> dict[tuple[str, str], Exclusion]:
    """What a round tells of each pair of those who are in the index, by its columns."""
    engine = w.engine
    users = [who.technician for who in engine.technicians() if who.technician in w.index]
    problem = reach.build(
        orders,
        engine._book,
        w.places,
        now=w.now,
        seed=0,
        travel=w.travel.rate(w.now),
        hours=engine._hours,
        settings=w.settings,
        users=users,
        finishing=chaining.finishing(engine._book, w.now, w.settings.schedule.chain_s),
    )
    rows = np.arange(len(orders))
    codes = candidates.exclusions(problem, rows, candidates.distances_m(problem, rows))
    return {
        (order.order_id, user): Exclusion(int(codes[row, column]))
        for row, order in enumerate(orders)
        for column, user in enumerate(users)
    }


def _pairs(w: World) -> Pairs:
    engine = w.engine
    return Pairs(engine._book, w.places, w.travel, engine._calendars, w.settings)


def test_the_random_pairs_meet_every_reason_that_is_said_of_a_pair() -> None:
    met: set[Exclusion] = set()
    fitting = 0
    for seed in range(25):
        rng, w = Random(seed), World(SETTINGS)
        w.solve_later = True
        names = [f"t{n}" for n in range(8)]
        for name in names:
            somebody(w, name, rng)
        for order in orders_of(w, names, rng):
            for who in w.engine.technicians():
                reasons = _pairs(w).against_now(order, who, w.now)[0]
                met.update(reasons)
                fitting += not reasons
    rare = {Exclusion.OFFERED, Exclusion.REFUSED, Exclusion.UNHEARD, Exclusion.STALE_POSITION, Exclusion.ZONE}
    assert fitting > 20
    assert set(RULES) - met <= rare | {Exclusion.NOT_PICKED, Exclusion.FARTHER}


def _joined(w: World) -> tuple[Order, Technician]:
    w.join("tina", own_transport=True)
    who = w.engine.technician(UserId("tina"))
    assert who is not None
    return w.place(scheduled_for=T0 + 30 * HOUR), who


def test_an_order_of_tomorrow_is_not_judged_by_what_is_now() -> None:
    w = World(schedule=ScheduleSettings(lead_s=HOUR))
    order, who = _joined(w)
    w.seen(who.technician, None, connected=False)
    assert _pairs(w).against(order, who, w.now) == ([], None)
    assert _pairs(w).against_now(order, who, w.now)[0] == [Exclusion.DISCONNECTED]


def test_of_somebody_off_duty_nothing_is_said_that_depends_on_their_place() -> None:
    w = World(SETTINGS)
    w.put("tina", papers={"health": T0 + 500 * HOUR})
    who = w.engine.technician(UserId("tina"))
    assert who is not None
    assert _pairs(w).against_now(w.place(), who, w.now) == ([Exclusion.OFF_DUTY], None)
