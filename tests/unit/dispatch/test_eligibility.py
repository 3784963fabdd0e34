"""Who may not be asked because of who they are: each filter in a round, in its explanation, and after a restart."""

from dataclasses import replace
from datetime import UTC
from typing import Any

import numpy as np
import pytest

from core.errors import Invalid
from core.ids import CityId, UserId
from dispatch import eligibility, explaining, rounds
from dispatch import events as e
from dispatch.calendar import Hours
from dispatch.events import CloseReason
from dispatch.model import Order
from dispatch.pairs import Pairs
from dispatch.problem import Exclusion, PersonColumns
from dispatch.settings import DispatchSettings, EligibilitySettings, RoundSettings, ScheduleSettings
from geo.position_index import Flag
from tests.unit.dispatch.problems import excluded, orders, problem, technicians
from tests.unit.dispatch.world import T0, World, asks, closes, heard, north

LI, WU = UserId("tec_li"), UserId("tec_wu")


def world(**rules: Any) -> World:
    return World(DispatchSettings(eligibility=EligibilitySettings(**rules)))


def reasons(w: World, order: Order) -> dict[str, str]:
    """Why each technician was no candidate in the order's last stored round, recomputed."""
    stored = [r for r in w.ledger.rounds if order.order_id in r.orders][-1]
    return {who.technician: who.reason for who in explaining.explain(stored, order.order_id).excluded}


def alarm(w: World, user: UserId, *, on: bool = True) -> None:
    """What the fleet does when an incident of this person opens or ends."""
    slot = w.index.slot(user)
    assert slot is not None
    bit = int(Flag.ALARM)
    w.index.set_flags(slot, set=bit if on else 0, clear=0 if on else bit)


def test_an_order_for_gold_is_offered_to_gold_only_however_near_the_others_are() -> None:
    w = world()
    w.join("tec_li", 100, tier="silver")
    w.join("tec_no", 200)
    w.join("tec_wu", 2_000, tier="gold")
    order = w.place(tier_min="gold")
    assert w.offer_of("tec_wu").order_id == order.order_id
    assert reasons(w, order) == {"tec_li": "tier", "tec_no": "tier"}


def test_the_tier_asked_for_or_a_better_one_will_do() -> None:
    w = world()
    w.join("tec_li", 100, tier="gold")
    assert w.place(tier_min="silver").order_id == w.offer_of("tec_li").order_id


def test_a_tier_that_is_not_ranked_cannot_be_asked_for() -> None:
    with pytest.raises(Invalid) as refused:
        world().place(tier_min="platinum")
    assert (refused.value.code, refused.value.field) == ("tier_unknown", "tier_min")


def test_whoever_is_below_the_tier_does_not_hide_those_behind_them() -> None:
    w = world()
    for i in range(40):
        w.join(f"tec_{i:02}", 100 + i)
    w.join("tec_wu", 2_500, tier="gold")
    assert w.place(tier_min="gold").order_id == w.offer_of("tec_wu").order_id


def test_papers_must_be_there_and_in_date_until_the_end_of_the_service() -> None:
    w = world(papers=("health",))
    w.join("tec_li", 100)
    w.join("tec_no", 200, papers={"health": T0 - 1.0, "other": T0 + 1e6})
    w.join("tec_wu", 2_000, papers={"health": T0 + 3_600.0 + 560.0 + 10.0})
    first = w.place()
    assert w.offer_of("tec_wu").order_id == first.order_id
    assert reasons(w, first) == {"tec_li": "papers", "tec_no": "papers"}
    w.feed(e.OfferDeclined(w.offer_of("tec_wu").offer_id, WU))
    w.tick(11)
    w.seen(WU, north(2_000))
    second = w.place()
    assert w.engine.live_offer(WU) is None
    assert reasons(w, second)["tec_wu"] == "papers"


def test_a_city_may_need_other_papers() -> None:
    rules = EligibilitySettings(papers=("health",), papers_of_city={"hz": ("health", "police"), "sh": ()})
    assert eligibility.papers_needed(CityId("hz"), rules) == ("health", "police")
    assert eligibility.papers_needed(CityId("sh"), rules) == ()
    assert eligibility.papers_needed(CityId("bj"), rules) == ("health",)


def test_somebody_with_an_open_alarm_loses_their_offer_and_gets_no_other() -> None:
    w = world()
    w.join("tec_li", 100)
    w.join("tec_wu", 2_000)
    order = w.place()
    assert w.offer_of("tec_li").order_id == order.order_id
    alarm(w, LI)
    assert heard(w.feed(e.AlarmRaised(LI))) == [closes("tec_li", CloseReason.REVOKED), asks("tec_wu")]
    assert reasons(w, order)["tec_li"] == "sos"
    w.feed(e.OfferDeclined(w.offer_of("tec_wu").offer_id, WU))
    w.tick(5)
    assert w.engine.live_offer(LI) is None
    alarm(w, LI, on=False)
    w.seen(LI, north(100))
    assert asks("tec_li", order__order_id=order.order_id) in w.tick(9)  # a revoked offer is no refusal


def test_an_alarm_raised_while_a_thread_solves_wins_over_its_answer() -> None:
    w = World(replace(DispatchSettings(), round=replace(DispatchSettings().round, inline_cells_max=1)))
    w.solve_later = True
    w.join("tec_li", 100)
    w.join("tec_wu", 200)
    w.place()
    alarm(w, LI)
    alarm(w, WU)
    w.feed(e.AlarmRaised(LI))
    w.solve()
    assert w.engine.live_offers() == []


NIGHT = 3_600.0 * (24 - (T0 / 3600) % 24)
"""Seconds from the world's beginning to the next local midnight."""


@pytest.mark.parametrize(
    ("own", "metres", "is_asked"), [(False, 4_000, False), (False, 2_000, True), (True, 4_000, True)]
)
def test_at_night_only_those_with_their_own_transport_go_far(own: bool, metres: float, is_asked: bool) -> None:
    w = world(night_walk_max_m=3_000.0)
    w.tick(NIGHT)
    w.join("tec_li", metres, own_transport=own)
    order = w.place()
    assert (w.engine.live_offer(LI) is not None) is is_asked
    if not is_asked:
        assert reasons(w, order) == {"tec_li": "night_transport"}


def test_a_paper_that_lapses_before_a_later_service_ends_does_not_count() -> None:
    w = World(eligibility=EligibilitySettings(papers=("health",)), schedule=ScheduleSettings(lead_s=604_800.0))
    five_days = T0 + 5 * 86_400.0
    w.join("tec_li", 100, papers={"health": five_days + 3_599.0})
    w.join("tec_wu", 2_000, papers={"health": five_days + 3_600.0})
    order = w.place(scheduled_for=five_days)
    assert w.offer_of("tec_wu").order_id == order.order_id
    assert reasons(w, order) == {"tec_li": "papers"}


def test_staff_see_papers_that_are_valid_of_somebody_whose_place_is_not_known() -> None:
    w = world(papers=("health",))
    w.put("tec_li", papers={"health": T0 + 3_600.0})
    order = w.place()
    known = w.engine.technician(LI)
    assert known is not None

    def against() -> list[Exclusion]:
        pairs = Pairs(w.engine._book, w.places, w.travel, w.engine._calendars, w.settings)
        return pairs.against_now(order, known, w.now)[0]

    assert Exclusion.PAPERS not in against()
    w.tick(1)
    assert Exclusion.PAPERS in against()


EVENING = 3_600.0 * 22 - T0 % 86_400
"""Seconds from the world's beginning to 22:00 of the same day."""


@pytest.mark.parametrize(
    ("begins_s", "is_asked"),
    [
        (-3_600 * 3, True),  # 19:00 to 20:00
        (-4_000, False),  # home at 22:03, and it is 10 minutes' walk there and back
        (-5_000, True),
        (0, False),
        (3_600 * 8 + 300, False),  # 6:05, and they set out at night
        (3_600 * 8 + 1_000, True),
    ],
)
def test_night_is_judged_by_the_way_there_the_service_and_the_way_home(begins_s: float, is_asked: bool) -> None:
    rules = EligibilitySettings(night_walk_max_m=1_000.0, night_begins_h=22.0, night_ends_h=6.0)
    w = World(eligibility=rules, schedule=ScheduleSettings(lead_s=86_400.0))
    w.tick(EVENING - 3_600 * 4 if EVENING > 3_600 * 4 else EVENING + 3_600 * 20)
    six_pm = w.now
    w.join("tec_li", 2_200)  # 60 s to set out, and a quarter of a second for each metre: 610 s
    order = w.place(scheduled_for=six_pm + 3_600 * 4 + begins_s)
    assert (w.engine.live_offer(LI) is not None) is is_asked
    if not is_asked:
        assert reasons(w, order) == {"tec_li": "night_transport"}


def test_a_night_that_ends_when_it_begins_and_one_that_is_not_configured_are_none() -> None:
    w = World()
    order = w.place()
    for rules in (
        EligibilitySettings(),
        EligibilitySettings(night_walk_max_m=1.0, night_begins_h=6.0, night_ends_h=6.0),
    ):
        assert eligibility.nights([order], T0, Hours(UTC), 7_200.0, rules) == []


def test_a_stored_round_of_the_earlier_rules_is_night_all_over() -> None:
    people = PersonColumns(walks=np.array([True, False]))
    p = replace(problem(orders([0.0]), technicians([50.0, 50.0]), walk_max_m=10.0), people=people)
    assert excluded(p, np.array([0]))[0].tolist() == [Exclusion.NIGHT_TRANSPORT, 0]


def test_those_on_foot_do_not_hide_those_with_a_car_behind_them() -> None:
    w = world(night_walk_max_m=1_000.0)
    w.tick(NIGHT)
    for i in range(40):
        w.join(f"tec_{i:02}", 1_100 + i)
    w.join("tec_wu", 2_500, own_transport=True)
    assert w.place().order_id == w.offer_of("tec_wu").order_id


def test_a_round_with_these_columns_is_stored_whole() -> None:
    people = PersonColumns(
        tier_min=np.array([2]),
        tier=np.array([2, 1, 2, 2, 2]),
        lapsed=np.array([False, False, True, False, False]),
        alarmed=np.array([False, False, False, True, False]),
        walks=np.array([True] * 5),
        barred_order=np.array([0]),
        barred_technician=np.array([4]),
    )
    p = replace(problem(orders([0.0]), technicians([0.0] * 5), walk_max_m=10.0), people=people)
    expected = [0, Exclusion.TIER, Exclusion.PAPERS, Exclusion.SOS, Exclusion.BLOCKED]
    assert excluded(p, np.array([0]))[0].tolist() == expected
    again = rounds.decode(rounds.encode(p))
    assert excluded(again, np.array([0]))[0].tolist() == expected
    assert again.policy.walk_max_m == 10.0


def test_the_codes_of_exclusions_are_stored_and_stay() -> None:
    stored = {"PAPERS": 20, "SOS": 21, "TIER": 22, "BLOCKED": 23, "NIGHT_TRANSPORT": 24}
    assert {name: Exclusion[name].value for name in stored} == stored


def test_whoever_holds_an_offer_gets_no_second_one_and_the_reason_says_so() -> None:
    w = world()
    w.join("tec_li", 100)
    first, second = w.place(), w.place(by=UserId("cus_bob"))
    assert w.offer_of("tec_li").order_id == first.order_id
    w.tick(1)
    assert len(w.engine.live_offers()) == 1
    assert reasons(w, second) == {"tec_li": "offered"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"tiers": ("a", "a")},
        {"night_begins_h": 25.0},
        {"night_walk_max_m": -1.0},
        {"papers": ("p",) * 33},
    ],
)
def test_rules_outside_their_ranges_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EligibilitySettings(**wrong)


# -- records that change while somebody is asked ------------------------------------------------------------

CHANGES = [
    {"verified": False},
    {"cities": ("elsewhere",)},
    {"skills": frozenset({"nails"})},
    {"papers": {}},
    {"services": ("nails",)},
]


@pytest.mark.parametrize("change", CHANGES)
def test_an_offer_is_withdrawn_when_the_technicians_record_does_not_allow_it_any_more(change: dict[str, Any]) -> None:
    w = world(papers=("licence",))
    papers = {"licence": T0 + 1e6}
    w.join(LI, papers=papers)
    w.place()
    assert w.engine.live_offer(LI) is not None
    assert closes(LI, CloseReason.REVOKED) in heard(w.put(LI, **({"papers": papers} | change)))
    assert w.engine.live_offer(LI) is None
    w.tick(30.0)
    assert w.engine.live_offer(LI) is None


def test_an_offer_stays_when_something_else_in_the_record_changes() -> None:
    w = world()
    w.join(LI)
    w.place()
    w.put(LI, skills=frozenset({"massage", "nails"}), tier="gold")
    assert w.engine.live_offer(LI) is not None


@pytest.mark.parametrize("change", CHANGES)
def test_a_round_solved_off_the_loop_asks_nobody_whose_record_changed_meanwhile(change: dict[str, Any]) -> None:
    rules = EligibilitySettings(papers=("licence",))
    w = World(DispatchSettings(eligibility=rules, round=RoundSettings(inline_cells_max=1)))
    papers = {"licence": T0 + 1e6}
    w.join(LI, papers=papers)
    w.join(WU, 900.0, papers=papers)
    w.solve_later = True
    w.place()
    w.put(LI, **({"papers": papers} | change))
    assert not [x for x in w.solve() if asks(LI) == x]
    assert w.engine.live_offer(LI) is None
