"""Why a round decided as it did, for each who was in reach."""

from dataclasses import replace

from core.ids import UserId
from dispatch import events as e
from dispatch import explaining, not_offered, rounds
from dispatch.explaining import Explanation
from dispatch.model import DutyState, Order, Rest, Shift
from dispatch.settings import DispatchSettings, RoundSettings, ScheduleSettings
from tests.unit.dispatch.world import ANNA, T0, World, draft, north


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


def test_a_calendar_is_told_by_what_is_in_it_and_who_told_the_ways_too() -> None:
    world = World(DispatchSettings(schedule=ScheduleSettings(lead_s=12 * 3_600.0)))
    world.join("tec_booked", 100)
    world.place(scheduled_for=T0 + 3_600.0)
    world.accept("tec_booked")
    world.join("tec_rests", 200)
    world.feed(e.CalendarSet(UserId("tec_rests"), (), (Rest(T0 + 1_000, T0 + 9_000),)))
    world.join("tec_off", 300)
    soon_min = int((T0 % 86_400) // 60) + 20
    world.feed(e.CalendarSet(UserId("tec_off"), (Shift(tuple(range(7)), soon_min - 300, soon_min),), ()))
    order = world.place(by=UserId("cus_bob"))
    told = explaining.explain(world.ledger.rounds[-1], order.order_id)
    assert {who.technician: (who.reason, who.detail) for who in told.excluded} == {
        "tec_booked": ("calendar", "booking"),
        "tec_rests": ("calendar", "rest"),
        "tec_off": ("calendar", "off_shift"),
    }
    seen = not_offered.look(world.ledger.rounds[-1], UserId("tec_rests"))
    assert isinstance(seen, not_offered.RoundSeen)
    assert next(order.detail for order in seen.nearest) == "rest"
    problem = rounds.decode(world.ledger.rounds[-1].inputs)
    # A round of an earlier version knows that there is something, and not what.
    blocks = replace(problem.blocks, kind=problem.blocks.kind[:0])
    _, excluded = explaining.judge(replace(problem, blocks=blocks), problem.orders.ids.index(order.order_id), 3_000.0)
    assert {(who.reason, who.detail) for who in excluded} == {("calendar", "")}
    asked = explaining.explain_problem(
        replace(problem, ways_from="osrm"), explaining.recomputed(problem), order.order_id
    )
    assert (told.ways_from, asked.ways_from) == ("", "osrm")


def test_who_would_come_too_late_is_told_so() -> None:
    world = World(DispatchSettings(schedule=ScheduleSettings(late_max_s=0.0)))
    world.join("tec_far", 2_500)
    order = world.place(scheduled_for=T0 + 300.0)
    told = explaining.explain(world.ledger.rounds[-1], order.order_id)
    assert [(who.reason, who.detail) for who in told.excluded] == [("calendar", "too_late")]
