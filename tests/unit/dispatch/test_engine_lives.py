"""Long random lives of one shard: the machine of ``test_engine_machine.py`` without Hypothesis, for many steps."""

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from dispatch import events as e
from dispatch.model import BlockSide, DutyState, Fallback, Mode, OrderState
from dispatch.settings import RoundSettings
from tests.unit.dispatch.test_engine_machine import (
    LASTING_S,
    LIMITS,
    MAPS,
    NAMES,
    SERVICES,
    SETTINGS,
    SPOTS,
    DispatchMachine,
)
from tests.unit.dispatch.world import World

ACTIONS = (
    ("place", 10),
    ("phones_acknowledge", 12),
    ("accept_live", 8),
    ("decline_live", 4),
    ("cancel_while_asking", 2),
    ("everybody_is_here", 4),
    ("accept_at_the_deadline", 3),
    ("accept_right_behind_a_booking", 2),
    ("cancel", 1),
    ("take_back", 1),
    ("assign", 3),
    ("set_mode", 3),
    ("add_time", 3),
    ("ask_for_time", 2),
    ("reschedule", 3),
    ("rest", 1),
    ("step", 4),
    ("go_on", 20),
    ("confirm", 6),
    ("rate", 4),
    ("duty", 2),
    ("ping", 2),
    ("phone", 2),
    ("wait", 10),
    ("restart", 2),
    ("outage", 1),
    ("solve", 6),
    ("put", 2),
    ("block", 1),
    ("alarm", 1),
    ("rest_in_another_city", 1),
    ("say_twice", 3),
    ("whoever_fits_is_asked", 2),
    ("limit", 1),
    ("draw_zones_anew", 1),
    ("close_service", 1),
)


FREE = ("place", "everybody_is_here", "limit", "draw_zones_anew", "close_service")
"""What can happen without any order."""


def live(seed: int, steps: int, *, in_thread: bool) -> Counter[OrderState]:
    """A long random life of one shard, weighted towards what goes well; returns how its orders ended."""
    rng = Random(seed)
    machine = DispatchMachine()
    world = machine.world
    if in_thread:
        world = machine.world = World(**SETTINGS, round=replace(RoundSettings(), inline_cells_max=1))
    machine.begin(rng.random() < 0.5)
    world.solve_later = in_thread
    names, weights = zip(*ACTIONS, strict=True)
    for _ in range(steps):
        known = [o.order_id for o in world.engine.open_orders()] or sorted(world.ledger.orders)
        name = rng.choices(names, weights)[0]
        jobs = [o.order_id for o in world.engine.open_orders() if o.technician is not None]
        if jobs and name in ("go_on", "confirm", "rate", "step", "take_back", "add_time", "say_twice"):
            known = jobs
        order = rng.choice(known) if known else None
        arguments: dict[str, tuple[Any, ...]] = {
            "place": (
                rng.randrange(-2_000, 2_000),
                rng.choice(["", "", "", f"k{rng.randrange(12)}"]),
                rng.choice(list(Mode)),
                rng.choice([None, None, None, None, None, 90.0, 590.0, 700.0]),
                rng.choice(NAMES),
                rng.choice(list(Fallback)),
                rng.choice([*SERVICES[:1] * 4, *SERVICES]),
                rng.randrange(SPOTS),
            ),
            "limit": (
                rng.choice(NAMES),
                rng.choice([(), (), SERVICES, SERVICES[:1], SERVICES[1:]]),
                rng.choice(LIMITS),
            ),
            "draw_zones_anew": (rng.choice(MAPS),),
            "close_service": (rng.choice(SERVICES),),
            "cancel": (order, rng.random() < 0.3),
            "step": (order, rng.choice(list(e.Step)), rng.choice([None, *NAMES])),
            "rate": (order, rng.randint(1, 5)),
            "duty": (rng.choice(NAMES), rng.choice(list(DutyState))),
            "assign": (order, rng.choice(NAMES), rng.random() < 0.5),
            "set_mode": (order, rng.choice(list(Mode)), rng.choice(NAMES)),
            "add_time": (order, rng.choice([60.0, 180.0, 600.0, 7_200.0]), rng.choice(["", "x"])),
            "ask_for_time": (order, rng.random() < 0.5),
            "reschedule": (order, rng.choice([0.0, 100.0, 900.0, 4_000.0]), rng.random() < 0.7),
            "put": (
                rng.choice(NAMES),
                rng.random() < 0.7,
                rng.choice([("massage",), ("massage", "nails"), ("nails",)]),
                rng.random() < 0.7,
                rng.choice([LASTING_S, LASTING_S, 250.0, -1.0]),
            ),
            "accept_right_behind_a_booking": (
                rng.choice([o.technician for o in world.engine.open_orders() if o.technician] or NAMES),
                rng.choice([0.5, 5.0, 60.0]),
                rng.choice([0.0, 2.0, 10.0]),
            ),
            "block": (rng.choice(NAMES), rng.choice(list(BlockSide)), rng.random() < 0.4, rng.random() < 0.5),
            "alarm": (rng.choice(NAMES), rng.random() < 0.5),
            "rest_in_another_city": (rng.choice(NAMES), rng.choice([0.0, 100.0, 300.0])),
            "say_twice": (order, rng.randrange(5), rng.choice(list(e.Step)), rng.choice(list(DutyState))),
            "outage": (rng.choice([5.0, 70.0, 250.0, 700.0]), rng.random() < 0.5),
            "rest": (rng.choice(NAMES), rng.choice([None, None, 0.0, 100.0])),
            "ping": (rng.choice(NAMES), rng.random() < 0.8),
            "phone": (rng.choice(NAMES), rng.random() < 0.5),
            "wait": (rng.choice([0.001, 0.2, 1.0, 2.5, 3.0, 20.001]), rng.random() < 0.9),
            "accept_at_the_deadline": (rng.randrange(4), rng.choice([-0.0005, 0.0, 0.0005])),
        }
        if name in ("accept_live", "decline_live", "cancel_while_asking"):
            arguments[name] = (rng.randrange(4),)
        elif name == "take_back":
            arguments[name] = (order, rng.random() < 0.5)
        elif name in ("go_on", "confirm"):
            arguments[name] = (order,)
        if name == "solve":
            while world.to_solve:
                machine.witness.hear(world.solve())
        elif order is not None or name in FREE:
            getattr(DispatchMachine, name)(machine, *arguments.get(name, ()))
        machine.the_book_is_sound()
        machine.people_were_told_what_is_stored()
        machine.settled_offers_never_change()
        machine.nobody_is_asked_who_is_kept_apart()
        machine.the_store_holds_what_the_engine_holds()
    world.solve_later = False
    machine.teardown()
    return Counter(o.state for o in world.ledger.orders.values())


@pytest.mark.slow
@pytest.mark.parametrize("in_thread", [False, True])
def test_a_long_life_stays_sound(in_thread: bool) -> None:
    ends: Counter[OrderState] = Counter()
    for seed in range(3):
        ends += live(seed, 600, in_thread=in_thread)
    assert ends[OrderState.CONFIRMED] >= 10
    assert ends[OrderState.CANCELLED] > 0


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("in_thread", [False, True])
def test_many_long_lives_stay_sound(in_thread: bool) -> None:
    for seed in range(100):
        live(seed, 1_000, in_thread=in_thread)
