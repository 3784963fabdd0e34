"""Technicians who go to some zones of the city only, or do some services only."""

from dataclasses import replace
from typing import Any

import pytest

from core.errors import Conflict, Invalid
from core.ids import CityId, UserId
from dispatch import events as e
from dispatch import explaining, what_if
from dispatch.model import Mode, Order
from dispatch.name_bits import EVERYTHING, LIMITS_MAX, OTHERS, NameBits
from dispatch.problem import Exclusion
from dispatch.settings import DispatchSettings, RoundSettings
from tests.unit.dispatch.world import ANNA, OPS, SHARD, World, draft

LI, WU = UserId("tec_li"), UserId("tec_wu")


def zones(*names: str, city: CityId = SHARD.city) -> dict[str, Any]:
    return {"zones": {city: names}}


def reasons(w: World, order: Order) -> dict[str, str]:
    """Why each technician was no candidate in the order's last stored round, recomputed."""
    stored = [r for r in w.ledger.rounds if order.order_id in r.orders][-1]
    return {who.technician: who.reason for who in explaining.explain(stored, order.order_id).excluded}


def test_an_order_goes_to_whoever_goes_to_its_zone_and_the_others_are_told_why() -> None:
    w = World()
    w.join("tec_li", 100, **zones("centre", "airport"))
    w.join("tec_wu", 2_000, **zones("lake"))
    w.join("tec_zo", 2_500)
    order = w.place(zone="lake")
    assert w.offer_of("tec_wu").order_id == order.order_id
    assert reasons(w, order) == {"tec_li": "zone"}


def test_whoever_is_limited_to_zones_takes_nothing_outside_of_all_zones() -> None:
    w = World()
    w.join("tec_li", 100, **zones("lake"))
    order = w.place()
    assert w.engine.live_offer(LI) is None
    assert reasons(w, order) == {"tec_li": "zone"}
    w.join("tec_wu", 2_000, **zones("lake", city=CityId("sh")))
    w.tick(2.5)
    assert w.offer_of("tec_wu").order_id == order.order_id, "limits of another city say nothing here"


def test_a_service_is_done_by_those_who_list_it_or_list_none() -> None:
    w = World()
    w.join("tec_li", 100, services=("facial", "nails"))
    w.join("tec_wu", 2_000, services=("massage",))
    first = w.place()
    assert w.offer_of("tec_wu").order_id == first.order_id
    assert reasons(w, first)["tec_li"] == "service"
    second = w.place(service="yoga", by=UserId("cus_bob"))
    assert reasons(w, second) | {"tec_wu": "service"} == {"tec_li": "service", "tec_wu": "service"}
    w.join("tec_zo", 2_500)
    w.tick(2.5)
    assert w.offer_of("tec_zo").order_id == second.order_id


@pytest.mark.parametrize("wrong", [zones("lake"), {"services": ("nails",)}], ids=["zone", "service"])
def test_people_of_other_zones_and_services_do_not_hide_those_behind_them(wrong: dict[str, Any]) -> None:
    w = World()
    for i in range(40):
        w.join(f"tec_{i:02}", 100 + i, **wrong)
    w.join("tec_wu", 2_500)
    assert w.place(zone="centre").order_id == w.offer_of("tec_wu").order_id


def test_a_round_in_columns_keeps_to_limits_too() -> None:
    w = World(DispatchSettings(round=replace(RoundSettings(), slice_orders_max=1)))
    w.join("tec_li", 100, **zones("lake"))
    w.join("tec_wu", 2_000, services=("nails",))
    places = [
        e.OrderPlaced(draft(customer=ANNA, zone=zone, service=s), ANNA) for zone, s in (("centre", "massage"),) * 2
    ]
    w.batch(places)
    assert w.engine.live_offers() == []
    told = reasons(w, w.engine.open_orders()[0])
    assert told == {"tec_li": "zone", "tec_wu": "service"}


def test_limits_hold_after_a_restart_and_when_they_change() -> None:
    w = World()
    w.join("tec_li", 100, **zones("lake"))
    order = w.place(zone="centre")
    w.restart()
    w.tick(2.5)
    assert w.order(order.order_id).zone == "centre"
    assert w.engine.live_offer(LI) is None
    w.put("tec_li", **zones("lake", "centre"))
    w.tick(4.9)
    assert w.offer_of("tec_li").order_id == order.order_id


def test_a_bit_given_up_may_stand_for_another_zone() -> None:
    w = World()
    w.join("tec_li", 100, **zones("lake"))
    w.put("tec_li", **zones("airport"))
    w.place(zone="lake")
    assert w.engine.live_offer(LI) is None
    w.place(zone="airport", by=UserId("cus_bob"))
    w.tick(2.5)
    assert w.offer_of("tec_li").technician == LI


def test_who_is_about_to_finish_is_asked_within_their_limits_only() -> None:
    w = World()
    w.join("tec_li", 100, **zones("lake"))
    order = w.place(zone="lake", duration_s=600.0)
    w.accept("tec_li")
    w.steps(order, e.Step.EN_ROUTE, e.Step.ARRIVED, e.Step.IN_SERVICE)
    w.place(zone="centre", by=UserId("cus_bob"))
    assert w.engine.live_offer(LI) is None
    w.place(zone="lake", by=UserId("cus_eve"))
    w.tick(2.5)
    assert w.offer_of("tec_li").technician == LI


def test_a_pick_outside_of_limits_is_refused_at_once() -> None:
    w = World()
    w.join("tec_li", 100, services=("nails",), **zones("lake"))
    with pytest.raises(Conflict, match="service, zone") as refused:
        w.place(zone="centre", mode=Mode.DIRECTED, technician=LI)
    assert refused.value.code == "filter_failed"


def test_staff_send_somebody_to_another_zone_by_name_but_never_to_a_service_they_do_not_do() -> None:
    w = World()
    w.join("tec_li", 100, **zones("lake"))
    w.join("tec_wu", 200, services=("nails",))
    order = w.place(zone="centre")
    give = e.OrderAssigned(order.order_id, LI, OPS, "they know")
    with pytest.raises(Conflict) as refused:
        w.feed(give)
    assert refused.value.code == "filter_failed"
    with pytest.raises(Conflict) as refused:
        w.feed(replace(give, technician=WU))
    assert refused.value.code == "filter_holds"
    with pytest.raises(Invalid) as named:
        w.feed(replace(give, technician=WU, override=("service",)))
    assert named.value.code == "filter_holds"
    w.feed(replace(give, override=("zone",)))
    assert w.order(order.order_id).technician == LI


def test_what_if_a_limit_did_not_count() -> None:
    w = World()
    w.join("tec_li", 100, services=("nails",), **zones("lake"))
    order = w.place(zone="centre")

    def asked(*names: str) -> tuple[str, ...]:
        waived = what_if.waivers(names)
        settings = what_if.changed_settings(w.settings, {})
        problem = what_if.waived_problem(w.engine.question(order, w.now, settings, waived), waived)
        return what_if.answer(order, problem, problem).asked.chosen

    assert asked("zone") == asked("service") == ()
    assert asked("zone", "service") == (LI,)


@pytest.mark.parametrize("field", ["zones", "services"])
def test_a_city_knows_so_many_names_and_the_next_one_is_refused_by_its_field(field: str) -> None:
    w = World()
    names = tuple(f"n{i:02}" for i in range(LIMITS_MAX))
    facts = zones(*names) if field == "zones" else {"services": names}
    w.join("tec_li", 100, **facts)
    more = zones("one more") if field == "zones" else {"services": ("one more",)}
    with pytest.raises(Invalid, match=f"at most {LIMITS_MAX} different {field}") as refused:
        w.put("tec_wu", **more)
    assert refused.value.field == field
    order = w.place(zone="nowhere", service="nothing")
    assert reasons(w, order) == {"tec_li": "zone" if field == "zones" else "service"}
    w.put("tec_li")
    w.put("tec_wu", **more)


def test_a_limit_without_names_is_no_limit_and_a_name_without_a_bit_is_nobodys_but_theirs() -> None:
    bits = NameBits("zones", LIMITS_MAX)
    assert (bits.wanted("lake"), bits.limit_mask(())) == (0, EVERYTHING)
    bits.change((), ["lake"])
    assert bits.limit_mask(["lake"]) & bits.wanted("lake")
    assert bits.wanted("centre") == OTHERS
    assert not bits.limit_mask(["lake"]) & bits.wanted("centre")
    assert EVERYTHING & bits.wanted("centre")


def test_the_codes_of_limits_are_stored_and_stay() -> None:
    assert (Exclusion["ZONE"].value, Exclusion["SERVICE"].value) == (25, 26)
