"""Why a round decided as it did, for each who was in reach."""

from dataclasses import replace

from core.ids import UserId
from dispatch import events as e
from dispatch import explaining
from dispatch.explaining import Explanation
from dispatch.model import DutyState, Order
from dispatch.settings import DispatchSettings, RoundSettings
from tests.unit.dispatch.world import ANNA, World, draft, north


def told_of(world: World, order: Order) -> list[Explanation]:
    return [explaining.explain(r, order.order_id) for r in world.ledger.rounds if order.order_id in r.orders]


def place_two(world: World) -> tuple[Order, Order]:
    effects = world.batch([e.OrderPlaced(draft(north(metres)), ANNA) for metres in (0, 1_000)])
    first, second = [x.order for x in effects if isinstance(x, e.OrderChanged) and x.what == "placed"]
    return first, second


def test_the_cheapest_is_chosen_and_the_others_are_dearer() -> None:
    world = World()
    world.join("near", 400)
    world.join("far", 2_000)
    (told,) = told_of(world, world.place())
    assert (told.chosen, told.why, told.solver) == (("near",), "cheapest", "exact")
    assert [(c.technician, c.outcome) for c in told.ranking] == [("near", "chosen"), ("far", "dearer")]


def test_who_was_cheaper_but_went_to_another_order_is_told_with_that_order() -> None:
    world = World(round=replace(RoundSettings(), round_min_ms=0))
    world.join("middle", 600)
    world.join("north", 2_500)
    first, second = place_two(world)
    # "middle" is nearer to both; "north" would have to go past the second order to reach the first.
    (told,) = told_of(world, second)
    assert (told.chosen, told.why) == (("north",), "cheapest_left")
    assert [(c.technician, c.outcome, c.other_order) for c in told.ranking] == [
        ("middle", "given", first.order_id),
        ("north", "chosen", None),
    ]


def test_an_order_whose_every_candidate_went_elsewhere_says_so() -> None:
    world = World(round=replace(RoundSettings(), round_min_ms=0))
    world.join("only", 100)
    first, second = place_two(world)
    (told, *_) = told_of(world, second)
    assert (told.chosen, told.why) == ((), "all_given")
    assert [(c.technician, c.outcome, c.other_order) for c in told.ranking] == [("only", "given", first.order_id)]


def test_nobody_eligible_and_nobody_in_reach_are_different_answers() -> None:
    world = World()
    world.join("stale", 100)
    world.tick(61)
    (told,) = told_of(world, world.place())
    assert (told.why, [x.reason for x in told.excluded]) == ("nobody_eligible", ["stale_position"])
    empty = World()
    (told,) = told_of(empty, empty.place())
    assert (told.why, told.ranking, told.excluded) == ("nobody_in_reach", (), ())


def test_a_choice_that_the_world_overtook_was_withdrawn() -> None:
    world = World(replace(DispatchSettings(), round=replace(RoundSettings(), inline_cells_max=1)))
    world.join("near", 400)
    world.join("far", 2_000)
    world.solve_later = True
    order = world.place()
    world.feed(e.DutySet(UserId("near"), DutyState.OFF))
    world.solve()
    (told, *_) = told_of(world, order)
    assert (told.chosen, told.why) == (("near",), "withdrawn")


def test_an_order_that_found_nobody_names_everyone_in_reach_with_one_reason_however_many_they_are() -> None:
    world = World()
    for number in range(50):
        world.join(f"t{number:02d}", 100 + 300 * number, skills=frozenset({"yoga"}))
    world.join("beyond", 25_000, skills=frozenset({"yoga"}))
    (told,) = told_of(world, world.place())
    assert [x.technician for x in told.excluded] == [f"t{number:02d}" for number in range(50)]
    assert {x.reason for x in told.excluded} == {"skill"}
    assert told.why == "nobody_eligible"


def test_an_order_that_lost_its_only_candidate_is_told_of_everyone_in_the_next_round() -> None:
    world = World(round=replace(RoundSettings(), round_min_ms=0))
    for number in range(50):
        world.join(f"t{number:02d}", 1_000 + 100 * number, skills=frozenset({"yoga"}))
    world.join("only", 300)
    _, second = place_two(world)
    world.tick(2)
    last = told_of(world, second)[-1]
    assert len(last.excluded) == 51
    assert {x.reason for x in last.excluded} == {"skill", "offered"}
