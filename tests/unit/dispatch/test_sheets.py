"""Rows of orders and technicians are what working them out anew would give, whatever has changed since."""

import random
from dataclasses import fields
from datetime import UTC
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.ids import UserId
from dispatch import events as e
from dispatch import reach
from dispatch.calendar import Hours
from dispatch.model import DutyState, Gender, OrderState, Rest, Shift
from dispatch.problem import Problem
from dispatch.settings import DispatchSettings, EligibilitySettings
from dispatch.sheets import Sheet, Sheets
from tests.unit.dispatch.world import T0, World, draft, north

NAMES = [f"t{number}" for number in range(6)]


def built(world: World, sheets: Sheets | None) -> Problem:
    book = world.engine._book
    return reach.build(
        [book.orders[i] for i in book.searching],
        book,
        world.places,
        now=world.now,
        seed=1,
        travel=(60.0, 0.25),
        hours=Hours(UTC),
        settings=world.settings,
        users=reach.everybody(book, world.places),
        sheets=sheets,
    )


def columns(part: Any) -> dict[str, Any]:
    found = {}
    for field in fields(part):
        value = getattr(part, field.name)
        found[field.name] = value.tolist() if isinstance(value, np.ndarray) else value
    return found


def assert_same(kept: Problem, anew: Problem) -> None:
    for part in ("orders", "technicians", "blocks", "people"):
        assert columns(getattr(kept, part)) == columns(getattr(anew, part)), part
    assert kept.refused_order.tolist() == anew.refused_order.tolist()
    assert kept.own_technician.tolist() == anew.own_technician.tolist()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_round_of_kept_rows_is_that_of_rows_worked_out_anew(seed: int) -> None:
    rng = random.Random(seed)
    rules = EligibilitySettings(papers=("health",), tiers=("silver", "gold"))
    world = World(DispatchSettings(eligibility=rules))
    sheets = Sheets(world.engine._book, ("health",))

    def put() -> None:
        world.put(
            rng.choice(NAMES),
            skills=frozenset(rng.sample(["massage", "yoga", "cupping"], rng.randrange(3))),
            gender=rng.choice([Gender.FEMALE, Gender.MALE]),
            tier=rng.choice(["", "silver", "gold"]),
            verified=rng.random() < 0.8,
            papers={"health": world.now + rng.choice([-1.0, 1e6])},
            services=tuple(rng.sample(["massage", "facial"], rng.randrange(3))),
        )

    def live() -> None:
        offers = world.engine.live_offers()
        if offers:
            offer = rng.choice(offers)
            world.turn([rng.choice([e.OfferAccepted, e.OfferDeclined])(offer.offer_id, offer.technician)])

    def duty() -> None:
        user = UserId(rng.choice(NAMES))
        known = world.engine.technician(user)
        if known is not None and known.work.value == "idle":
            on = known.duty is DutyState.OFF
            world.turn([e.DutySet(user, DutyState.ON if on else DutyState.OFF)])
            now_known = world.engine.technician(user)
            if on and now_known is not None and now_known.duty is DutyState.ON:
                world.seen(user, north(rng.uniform(0, 3_000)))

    def calendar() -> None:
        user = UserId(rng.choice(NAMES))
        if world.engine.technician(user) is not None:
            shifts = (Shift((0, 1, 2, 3, 4, 5, 6), 0, rng.choice([600, 1_439])),) if rng.random() < 0.5 else ()
            rests = (Rest(world.now + 3_600.0, world.now + 7_200.0),) if rng.random() < 0.5 else ()
            world.turn([e.CalendarSet(user, shifts, rests)])

    def order() -> None:
        wanted = draft(
            north(rng.uniform(0, 3_000)),
            UserId(rng.choice(["t1", "anna", "bob"])),
            skills=rng.choice([(), ("massage",), ("massage", "cupping"), ("unheard_of",)]),
            scheduled_for=world.now + 1_800.0 if rng.random() < 0.3 else None,
            tier_min=rng.choice(["", "gold"]),
            gender_preference=rng.choice([None, Gender.MALE]),
        )
        world.turn([e.OrderPlaced(wanted, wanted.customer)])

    def cancel() -> None:
        open_ = [o for o in world.engine.open_orders() if o.state is OrderState.MATCHING]
        if open_:
            chosen = rng.choice(open_)
            world.turn([e.OrderCancelled(chosen.order_id, chosen.customer)])

    def wait() -> None:
        world.tick(world.now - T0 + rng.uniform(0, 60))

    acts = [put, put, duty, duty, calendar, order, order, live, cancel, wait]
    for _ in range(40):
        rng.choice(acts)()
        if rng.random() < 0.5:
            assert_same(built(world, sheets), built(world, None))
            sheets.check()


def test_a_row_is_worked_out_once_for_each_record_and_rows_that_are_given_up_are_used_again() -> None:
    worked_out: list[float] = []

    def numbers(record: list[float]) -> tuple[float]:
        worked_out.append(record[0])
        return (record[0],)

    sheet: Sheet[str, list[float]] = Sheet(np.dtype([("x", np.float64)]), numbers)
    a, b, c = [1.0], [2.0], [3.0]
    assert sheet.take(["a", "b"], [a, b])["x"].tolist() == [1.0, 2.0]
    assert sheet.take(["b", "a"], [b, a])["x"].tolist() == [2.0, 1.0]
    assert worked_out == [1.0, 2.0]
    assert sheet.take(["a"], [[9.0]])["x"].tolist() == [9.0]
    sheet.keep(lambda: {"a"}, 1)
    assert len(sheet) == 1
    sheet.take(["c"], [c])
    assert len(sheet) == 2
    assert len(sheet._records) == 2
    for number in range(200):
        sheet.take([f"n{number}"], [[float(number)]])
    assert sheet.take(["n150", "c"], [sheet._records[sheet._row_of["n150"]] or [], c])["x"].tolist() == [150.0, 3.0]
    sheet.check()


def test_rows_that_do_not_say_what_their_records_say_are_found() -> None:
    world = World()
    world.join("t1")
    sheets = Sheets(world.engine._book, ())
    known = world.engine._book.technicians[UserId("t1")]
    sheets.technicians([UserId("t1")], [known])
    sheets.check()
    sheets._technicians._table["rating_sum"][0] += 1.0
    with pytest.raises(AssertionError):
        sheets.check()


def test_a_name_that_gets_its_bit_later_makes_rows_stale() -> None:
    world = World()
    world.join("t1", skills=frozenset({"massage"}))
    order = world.place(skills=("cupping",))
    sheets = Sheets(world.engine._book, ())
    assert sheets.orders([world.order(order.order_id)])["skill_unknown"].tolist() == [True]
    world.join("t2", skills=frozenset({"cupping"}))
    again = world.engine._book.orders[order.order_id]
    assert sheets.orders([again])["skill_unknown"].tolist() == [False]
