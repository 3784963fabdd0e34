"""Probable refusals, newcomers, and whether offers spread: what is counted, what it costs, what is explained."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ids import UserId
from dispatch import cost, explaining, matching, rating, reach, rounds, willing
from dispatch import events as e
from dispatch.model import Order, Technician
from dispatch.problem import PersonColumns
from dispatch.settings import DeclineSettings, DispatchSettings, NewcomerSettings, RatingSettings, ScheduleSettings
from tests.unit.dispatch.problems import orders, problem, technicians
from tests.unit.dispatch.world import T0, World, north

RULES = DeclineSettings()
DAY = 86_400.0
CELL = willing.cell_of("massage", 21.5)


def somebody() -> Technician:
    w = World()
    w.put("tec_li")
    known = w.engine.technician(UserId("tec_li"))
    assert known is not None
    return known


def after(refusals: int, accepts: int, *, service: str = "massage", hour: float = 21.5) -> Technician:
    who = somebody()
    for refused in [True] * refusals + [False] * accepts:
        who = willing.answered(who, service, hour, T0, RULES, refused=refused)
    return who


def terms(w: World, order: Order, technician: str) -> dict[str, float]:
    stored = [r for r in w.ledger.rounds if order.order_id in r.orders][-1]
    found = explaining.explain(stored, order.order_id)
    ranked = next(c for c in found.ranking if c.technician == technician)
    return {term.name: term.seconds for term in ranked.terms}


def test_somebody_new_is_expected_to_refuse_as_the_config_says() -> None:
    assert willing.probability(somebody(), CELL, T0, RULES) == RULES.prior_share


def test_a_few_answers_move_the_expectation_a_little_and_many_a_lot() -> None:
    few, many = (willing.probability(after(n, 0), CELL, T0, RULES) for n in (1, 40))
    assert RULES.prior_share < few < 0.4 < 0.9 < many < 1.0
    assert willing.probability(after(0, 40), CELL, T0, RULES) < 0.05


def test_the_service_and_the_hour_matter_more_than_the_rest() -> None:
    who = after(30, 0, hour=23.0)
    for _ in range(30):
        who = willing.answered(who, "massage", 12.0, T0, RULES, refused=False)
    late, noon, other = (
        willing.probability(who, willing.cell_of(service, hour), T0, RULES)
        for service, hour in (("massage", 23.0), ("massage", 12.0), ("cupping", 23.0))
    )
    assert noon < other < late


def test_answers_fade_to_the_expectation() -> None:
    who = after(20, 0)
    now, later, much_later = (willing.probability(who, CELL, T0 + d * DAY, RULES) for d in (0, 60, 3_000))
    assert now > later > much_later == pytest.approx(RULES.prior_share)


def test_fading_the_counts_is_fading_each_answer() -> None:
    who = willing.answered(after(1, 0), "massage", 21.5, T0 + 30 * DAY, RULES, refused=True)
    assert who.answers[CELL] == (1.5, 1.5, T0 + 30 * DAY)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 23), st.sampled_from("abc"), st.floats(0, 1e8)), max_size=40))
def test_a_probability_is_one_and_the_memory_is_bounded(answers: list[tuple[bool, int, str, float]]) -> None:
    who = somebody()
    for refused, hour, service, at in answers:
        who = willing.answered(who, service, float(hour), T0 + at, RULES, refused=refused)
        assert 0.0 < willing.probability(who, willing.cell_of(service, hour), T0 + at, RULES) < 1.0
    assert len(who.answers) <= willing.CELLS_LEN_MAX + 1


def test_the_cell_not_asked_about_for_longest_makes_place() -> None:
    who = somebody()
    for number in range(willing.CELLS_LEN_MAX + 5):
        who = willing.answered(who, f"s{number}", 1.0, T0 + number, RULES, refused=True)
    assert len(who.answers) == willing.CELLS_LEN_MAX + 1
    assert willing.cell_of("s4", 1.0) not in who.answers
    assert {willing.cell_of("s5", 1.0), willing.ALL} <= who.answers.keys()


def test_declines_and_silence_count_and_offers_that_never_arrived_do_not() -> None:
    w = World()
    w.join("tec_li")
    w.place()
    w.receive("tec_li")
    w.feed(e.OfferDeclined(w.offer_of("tec_li").offer_id, UserId("tec_li")))

    def counted() -> tuple[float, float]:
        who = w.ledger.technicians[UserId("tec_li")]
        return who.answers[willing.ALL][:2]

    assert counted() == (1.0, 1.0)
    w.place()
    w.tick(10)  # nobody acknowledged it
    assert counted() == pytest.approx((1.0, 1.0))
    w.seen(UserId("tec_li"), north(500))
    w.place(at=north(50))
    w.tick(12.5)
    w.receive("tec_li")
    w.tick(40)
    assert counted() == pytest.approx((2.0, 2.0), abs=1e-3)


def test_whoever_always_refuses_is_passed_over_for_an_equal_and_the_explanation_says_so() -> None:
    w = World()
    li, wu = w.join("tec_li", 500), w.join("tec_wu", 600)
    refusing = replace(after(40, 0, hour=reach_hour(w)), technician=li, name="Li")
    known = w.engine.technician(li)
    assert known is not None
    w.feed(e.TechnicianCopied(replace(known, answers=refusing.answers, version=known.version + 1)))
    order = w.place()
    assert w.offer_of("tec_wu").order_id == order.order_id
    assert terms(w, order, li)["decline"] > 40 > terms(w, order, wu)["decline"] == pytest.approx(12.0)


def test_an_answer_and_a_probable_refusal_count_by_the_hour_of_the_service() -> None:
    w = World(DispatchSettings(schedule=ScheduleSettings(lead_s=86_400.0)))
    w.join("tec_li", 500)
    later = w.place(scheduled_for=T0 + 5 * 3_600.0)
    w.receive("tec_li")
    w.feed(e.OfferDeclined(w.offer_of("tec_li").offer_id, UserId("tec_li")))
    who = w.engine.technician(UserId("tec_li"))
    assert who is not None
    cell = willing.cell_of("massage", (reach_hour(w) + 5) % 24)
    assert set(who.answers) == {willing.ALL, cell}
    soon = w.place()
    w.tick(1)
    assert terms(w, soon, "tec_li")["decline"] == pytest.approx(
        60.0 * willing.probability(who, willing.cell_of("massage", reach_hour(w)), w.now, RULES)
    )
    w.feed(e.OfferDeclined(w.offer_of("tec_li").offer_id, UserId("tec_li")))
    who = w.engine.technician(UserId("tec_li"))
    assert who is not None
    same_hour = w.place(scheduled_for=T0 + 5 * 3_600.0 + 60.0)
    w.tick(2)
    assert later.service == same_hour.service
    assert terms(w, same_hour, "tec_li")["decline"] == pytest.approx(
        60.0 * willing.probability(who, cell, w.now, RULES)
    )


def reach_hour(w: World) -> float:
    return w.now / 3_600 % 24


def test_a_refusal_costs_at_most_what_the_policy_says() -> None:
    people = PersonColumns(service=np.array([0, 1]), decline=np.array([0.0, 1.0, 0.5, 0.25]))
    p = replace(problem(orders([0.0, 0.0]), technicians([0.0, 0.0]), decline_max_s=60.0), people=people)
    assert cost.decline_s(p, np.array([0, 1])).tolist() == [[0.0, 60.0], [30.0, 15.0]]
    assert cost.decline_s(rounds.decode(rounds.encode(p)), np.array([1])).tolist() == [[30.0, 15.0]]
    assert dict(matching.solve(p).pairs[0].terms)["decline"] == 0.0


def test_the_share_of_rounds_that_prefer_newcomers_is_the_configured_one() -> None:
    for share in (0.0, 0.2, 1.0):
        found = np.mean([cost.prefers_newcomers(seed, share) for seed in range(4_000)])
        assert found == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize(("share", "first"), [(0.0, "tec_old"), (1.0, "tec_new")])
def test_somebody_new_gets_a_chance_in_some_rounds_only_and_it_is_stored(share: float, first: str) -> None:
    w = World(DispatchSettings(newcomer=NewcomerSettings(share=share)))
    w.join("tec_new", 500)
    old = w.join("tec_old", 500)
    known = w.engine.technician(old)
    assert known is not None
    rated = replace(known, rating_sum=96.0, rating_weight=20.0, rating_at=T0, version=known.version + 1)
    w.feed(e.TechnicianCopied(rated))
    order = w.place()
    assert w.offer_of(first).order_id == order.order_id
    assert terms(w, order, "tec_new").get("newcomer", 0.0) == (-60.0 if share else 0.0)
    assert terms(w, order, "tec_old").get("newcomer", 0.0) == 0.0


def test_somebody_new_has_the_mean_of_their_city() -> None:
    w = World()
    old = w.join("tec_old", 500)
    known = w.engine.technician(old)
    assert known is not None
    w.feed(e.TechnicianCopied(replace(known, rating_sum=300.0, rating_weight=100.0, rating_at=T0, version=9)))
    w.join("tec_new", 500)
    mean = rating.city_mean(rating.tally_of(replace(known, rating_sum=300.0, rating_weight=100.0)), RatingSettings())
    assert w.engine.rating(UserId("tec_new"), T0) == pytest.approx(mean)


def with_stars(stars: float, number: int) -> float:
    who = replace(somebody(), rating_sum=stars * number, rating_weight=float(number), rating_at=T0)
    return rating.mean(who, RatingSettings().city_mean, T0, RatingSettings())


def chosen_under_defaults(places: list[tuple[float, float]]) -> str:
    """Whom the default settings choose: (metres, mean stars) of each."""
    settings = DispatchSettings()
    policy = reach._policy(settings, (90.0, 0.27))
    t = technicians([metres for metres, _ in places], rating=[stars for _, stars in places])
    return matching.solve(replace(problem(orders([0.0]), t), policy=policy)).pairs[0].technician


def test_under_the_default_settings_a_five_far_away_loses_to_somebody_good_near_by() -> None:
    assert chosen_under_defaults([(6_000, 5.0), (500, 4.6)]) == "tec_1"


def test_under_the_default_settings_many_good_ratings_beat_one_perfect_one() -> None:
    assert with_stars(4.9, 200) > with_stars(5.0, 1)
    assert chosen_under_defaults([(500, with_stars(5.0, 1)), (500, with_stars(4.9, 200))]) == "tec_1"


def test_a_cells_offers_do_not_concentrate_while_equals_are_idle() -> None:
    w = World()
    names = [f"tec_{i}" for i in range(8)]
    for name in names:
        w.join(name, 500)
    asked: Counter[str] = Counter()
    for number in range(80):
        order = w.place(by=UserId(f"cus_{number}"))
        live = next(o for o in w.engine.live_offers() if o.order_id == order.order_id)
        asked[live.technician] += 1
        w.feed(e.OfferAccepted(live.offer_id, live.technician))
        w.feed(e.OrderCancelled(order.order_id, UserId(f"cus_{number}")))
        w.tick(60.0 * (number + 1))
        for name in names:
            w.seen(UserId(name), north(500))
    assert sum(asked.values()) == 80
    assert max(asked.values()) <= 2 * 80 / len(names)
    assert min(asked.values()) >= 80 / len(names) / 3
