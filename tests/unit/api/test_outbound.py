"""Who is told what: every message that an effect becomes, searched for what its reader must not know."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import msgspec
import pytest

from api.outbound import DispatchOutbound, SafetyOutbound
from core.ids import CityId, DeviceId, IncidentId, OfferId, OrderId, TenantId, UserId
from core.outbox import Stream
from core.principal import Role
from dispatch import events
from dispatch.model import Fallback, Gender, Mode, Offer, OfferState, Order, OrderReason, OrderState, Site, Technician
from geo.point import Frame, LatLng
from realtime.messages import OrderView, ReliableMessage, SosAck
from safety import events as safety_events
from safety.drills import DRILL_CAUSE
from safety.model import (
    BookedPlace,
    CapStatus,
    FixSource,
    Incident,
    IncidentFix,
    IncidentState,
    SubjectView,
    Target,
)

NOW = 1.8e9
TENANT, CITY = TenantId("acme"), CityId("shenzhen")
CUSTOMER, TECHNICIAN = UserId("cus_1"), UserId("tec_1")
POINT = LatLng(22.54321, 114.05432)
ORDER = Order(
    tenant=TENANT, city=CITY, order_id=OrderId("ord_1"), version=1, state=OrderState.MATCHING, mode=Mode.AUTO,
    customer=CUSTOMER, service="massage", skills=("massage",), duration_s=3600,
    site=Site(POINT, POINT, "gcj02", "1 Secret Road", "7B", "gate code 4711", "Nanshan"), contact_name="Li Secret",
    contact_phone="138-secret", gender_preference=None, service_fen=20_000, travel_fen=500, placed_at=NOW,
    changed_at=NOW, placed_by=CUSTOMER,
)  # fmt: skip
RECORD = Technician(TENANT, TECHNICIAN, "Wang", frozenset(), Gender.FEMALE, "gold", (CITY,), True, 1, NOW)
OFFER = Offer(
    TENANT, CITY, OfferId("ofr_1"), ORDER.order_id, TECHNICIAN, 1, OfferState.PENDING, NOW, NOW + 20, NOW, "rnd_1",
    300.0, 280.0, 1_500.0,
)  # fmt: skip
SECRETS = ("Secret", "4711", "138-secret", "7B", "22.5432", "114.0543")


class _Staff:
    def users(self, tenant: TenantId, role: Role, city: CityId | None, now: float) -> Sequence[UserId]:
        return [UserId("ops_1"), UserId("ops_2")] if role is Role.OPS else []


def _told(*effects: events.Effect) -> dict[str, dict[str, Any]]:
    drafts = DispatchOutbound(Frame.GCJ02, _Staff()).drafts(effects, NOW)
    for draft in drafts:
        assert draft.stream is Stream.MAIN
        assert draft.body.startswith(b'{"type":')
        msgspec.json.decode(draft.body, type=ReliableMessage)
    return {draft.recipient: json.loads(draft.body) for draft in drafts}


def _knows(message: dict[str, Any]) -> bool:
    return any(secret in json.dumps(message) for secret in SECRETS)


@pytest.mark.parametrize("state", list(OrderState))
def test_the_technician_knows_the_address_from_assigned_to_finished_only(state: OrderState) -> None:
    told = _told(events.OrderChanged(replace(ORDER, state=state, technician=TECHNICIAN), state, RECORD))
    needs = state in (
        OrderState.ASSIGNED, OrderState.EN_ROUTE, OrderState.ARRIVED, OrderState.IN_SERVICE, OrderState.FINISHED,
    )  # fmt: skip
    assert _knows(told[TECHNICIAN]) is needs
    assert _knows(told[CUSTOMER])
    assert _knows(told["ops_1"])
    assert told["ops_1"] == told["ops_2"]


def test_who_was_freed_after_the_job_is_told_the_order_without_its_address() -> None:
    freed = replace(ORDER, state=OrderState.FINISHED, technician=TECHNICIAN, freed_at=NOW)
    told = _told(events.OrderChanged(freed, events.OrderFact.TECHNICIAN_FREED, RECORD))
    assert set(told) == {"ops_1", "ops_2", TECHNICIAN}, "the customer has nothing to know of it"
    assert not _knows(told[TECHNICIAN])
    assert _knows(told["ops_1"])
    told = _told(events.OrderChanged(freed, events.OrderFact.TIME_EXPIRED, RECORD))
    assert not _knows(told[TECHNICIAN]), "nor by any later news"


def test_who_lost_an_order_learns_nothing_but_that() -> None:
    changed = events.OrderChanged(ORDER, events.OrderFact.REASSIGNED, None, None, TECHNICIAN)
    told = _told(changed)
    assert not _knows(told[TECHNICIAN])
    assert (told[TECHNICIAN]["state"], told[TECHNICIAN]["reason"]) == ("cancelled", "reassigned")


def test_an_offer_names_a_cell_a_band_and_a_district_and_waits_for_its_receipt() -> None:
    drafts = DispatchOutbound(Frame.GCJ02, _Staff()).drafts([events.SendOffer(OFFER, ORDER, ("near",))], NOW)
    assert [(draft.recipient, draft.receipt) for draft in drafts] == [(TECHNICIAN, "ofr_1")]
    message = json.loads(drafts[0].body)
    assert not _knows(message)
    assert message["remaining_ms"] == 20_000
    assert message["district"] == "Nanshan"
    assert message["distance_band"] == "1-2 km"
    assert message["fee_fen"] == 20_500


def test_answers_and_repeats_are_nobodys_news() -> None:
    assert not _told(events.OfferAnswered(OFFER), events.OrderRepeated(ORDER.order_id, ORDER))


INCIDENT = Incident(
    tenant=TENANT, city=CITY, incident_id=IncidentId("inc_1"), version=1, state=IncidentState.OPEN, level=1,
    subject=TECHNICIAN, subject_role="technician", raised_at=NOW, changed_at=NOW, silent=True, restricted=False,
    triggers=2, last_trigger_at=NOW, fix=IncidentFix(POINT, 12.0, NOW - 5, FixSource.SOS), order_id=ORDER.order_id,
    note="n", targets=(Target(UserId("res_1"), "near", 0, 400.4, NOW, NOW), Target(UserId("ops_1"), "ops", 0)),
    repeat_at=NOW, widen_at=NOW, avoid=(CUSTOMER,),
    booked=BookedPlace(ORDER.order_id, CITY, POINT, "1 Secret Road", "7B", "", CUSTOMER),
)  # fmt: skip


def test_each_target_gets_the_case_with_their_own_distance_and_reason() -> None:
    effect = safety_events.NotifyTargets(INCIDENT, INCIDENT.targets, safety_events.Reason.RAISED)
    outbound = SafetyOutbound(Frame.GCJ02)
    drafts = outbound.drafts([effect], NOW)
    assert [(d.recipient, d.stream, d.receipt) for d in drafts] == [
        ("res_1", Stream.SAFETY, "inc_1"),
        ("ops_1", Stream.SAFETY, "inc_1"),
    ]
    first = json.loads(drafts[0].body)
    assert (first["distance_m"], first["why"], first["fix"]["age_s"], first["fix"]["source"]) == (
        400,
        "near",
        5.0,
        "sos",
    )
    assert first["booked"]["address"] == "1 Secret Road"
    for draft, (tenant, user, body) in zip(drafts, outbound.direct([effect], NOW), strict=True):
        assert (draft.tenant, draft.recipient, draft.body) == (tenant, user, body)
        msgspec.json.decode(body, type=ReliableMessage)


@pytest.mark.parametrize(("cause", "told"), [("", ["res_1", "ops_1"]), (DRILL_CAUSE, [])])
def test_an_exercise_rings_people_by_its_name_and_who_tries_the_alarm_calls_nobody(cause: str, told: list[str]) -> None:
    incident = replace(INCIDENT, cap_status=CapStatus.EXERCISE, cause=cause)
    effects: list[safety_events.Effect] = [
        safety_events.NotifyTargets(incident, incident.targets, safety_events.Reason.RAISED),
        safety_events.UpdateTargets(incident, incident.targets, safety_events.Reason.NOTED),
    ]
    drafts = SafetyOutbound(Frame.GCJ02).drafts(effects, NOW)
    assert [draft.recipient for draft in drafts] == 2 * told
    assert all(json.loads(draft.body)["cap_status"] == "exercise" for draft in drafts if draft.receipt)


def test_the_ack_says_how_far_the_tap_has_come() -> None:
    ack = safety_events.AckRaiser(INCIDENT, "k", DeviceId("d"), ("lat", "x" * 200), NOW, answer=True)
    message = msgspec.json.decode(SafetyOutbound(Frame.GCJ02).sos_ack(ack, durable=False), type=SosAck)
    assert (message.key, message.durable, message.delivered, message.seen, message.level) == ("k", False, 1, False, 1)


def test_the_ack_tells_who_took_it_back_what_they_are_to_hear_and_not_the_truth() -> None:
    forced = replace(INCIDENT, level=3, owner=UserId("ops_1"), shown=SubjectView(0, 0, seen=False))
    ack = safety_events.AckRaiser(forced, "k", DeviceId("d"), (), NOW, answer=False)
    message = msgspec.json.decode(SafetyOutbound(Frame.GCJ02).sos_ack(ack, durable=True), type=SosAck)
    assert (message.level, message.delivered, message.seen) == (0, 0, False)


def _news(what: events.News, technician: UserId | None = TECHNICIAN) -> dict[str, dict[str, Any]]:
    order = replace(ORDER, state=OrderState.EN_ROUTE, technician=technician)
    within_m = 100.0 if what is events.News.NEAR else None
    return _told(events.JobNews(order, what, NOW, within_m=within_m, eta_s=61.23))


def test_only_the_customer_hears_how_near_the_technician_is_and_nobody_a_place() -> None:
    told = _news(events.News.NEAR)
    assert told == {
        CUSTOMER: {
            "type": "job.news", "order": "ord_1", "what": "near", "at": NOW, "technician": TECHNICIAN,
            "within_m": 100.0, "eta_s": 61.2,
        }
    }  # fmt: skip
    assert not _knows(told[CUSTOMER])


@pytest.mark.parametrize("what", [events.News.AT_PLACE, events.News.LEFT_PLACE, events.News.WAIT_OVER])
def test_whom_it_concerns_hears_what_positions_show(what: events.News) -> None:
    told = _news(what)
    assert set(told) == {CUSTOMER, TECHNICIAN, "ops_1", "ops_2"}
    assert {message["what"] for message in told.values()} == {what.value}


def test_a_photo_from_elsewhere_is_for_staff() -> None:
    order = replace(ORDER, state=OrderState.ARRIVED, technician=TECHNICIAN)
    told = _told(events.JobNews(order, events.News.FAR_PHOTO, NOW, far_m=1_400.3))
    assert set(told) == {"ops_1", "ops_2"}
    assert told["ops_1"]["far_m"] == 1_400.3


@pytest.mark.parametrize(
    ("news", "hear"),
    [(events.News.UNFIT, {"ops_1", "ops_2"}), (events.News.OVERDUE, {"ops_1", "ops_2", TECHNICIAN})],
    ids=["unfit", "overdue"],
)
def test_customers_hear_neither_of_records_nor_of_steps_that_are_late(news: events.News, hear: set[str]) -> None:
    order = replace(ORDER, state=OrderState.ASSIGNED, technician=TECHNICIAN)
    assert set(_told(events.JobNews(order, news, NOW))) == hear


def test_the_end_of_the_wait_stands_in_the_order_while_the_technician_waits() -> None:
    for state in (OrderState.ARRIVED, OrderState.IN_SERVICE):
        order = replace(ORDER, state=state, technician=TECHNICIAN, waits_until=NOW + 600)
        told = _told(events.OrderChanged(order, state, RECORD))
        assert told[CUSTOMER].get("waits_until") == (NOW + 600 if state is OrderState.ARRIVED else None)


def test_only_staff_hear_that_a_technician_is_lost() -> None:
    order = replace(ORDER, state=OrderState.EN_ROUTE, technician=TECHNICIAN, lost_at=NOW)
    told = _told(events.OrderChanged(order, events.OrderFact.TECHNICIAN_LOST, RECORD))
    assert {user: message["lost_at"] for user, message in told.items()} == {"ops_1": NOW, "ops_2": NOW}
    told = _told(events.OrderChanged(order, events.OrderFact.TIME_ADDED, RECORD))
    assert {"lost_at" in told[user] for user in (CUSTOMER, TECHNICIAN)} == {False}


def test_a_booking_says_when_and_not_how_long_the_way_would_take_now() -> None:
    booked = replace(ORDER, state=OrderState.ASSIGNED, technician=TECHNICIAN, eta_s=390.0, booked_for=NOW + 86_400)
    for order, eta_s in ((booked, None), (replace(booked, state=OrderState.EN_ROUTE, booked_for=None), 390.0)):
        told = _told(events.OrderChanged(order, order.state, RECORD))
        assert {message.get("eta_s") for message in told.values()} == {eta_s}
        assert {message.get("booked_for") for message in told.values()} == {order.booked_for}


def test_only_staff_hear_how_an_order_was_picked_and_given() -> None:
    picked = replace(ORDER, state=OrderState.MATCHING, mode=Mode.DIRECTED, picked=TECHNICIAN, fallback=Fallback.CANCEL)
    given = replace(
        ORDER,
        state=OrderState.ASSIGNED,
        mode=Mode.MANUAL,
        technician=TECHNICIAN,
        pinned_by=UserId("ops_9"),
        override=("gender", "too_far"),
    )
    names = ("picked", "fallback", "pinned_by", "override")
    for order, facts in (
        (picked, {"picked": TECHNICIAN, "fallback": "cancel"}),
        (given, {"pinned_by": "ops_9", "override": ["gender", "too_far"]}),
    ):
        told = _told(events.OrderChanged(order, events.OrderFact.SWITCHED))
        for user, message in told.items():
            seen = {name: message[name] for name in names if name in message}
            assert seen == (facts if user.startswith("ops") else {})


WORDS = "she is a creep"


@pytest.mark.parametrize("writer", [CUSTOMER, TECHNICIAN, UserId("ops_1"), UserId("ops_9")])
@pytest.mark.parametrize("state", [OrderState.CANCELLED, OrderState.ASSIGNED])
def test_what_somebody_wrote_is_for_staff_and_for_who_wrote_it_alone(writer: UserId, state: OrderState) -> None:
    order = replace(
        ORDER, state=state, technician=TECHNICIAN, reason="cancelled_by_customer", said=WORDS, said_by=writer
    )
    told = _told(events.OrderChanged(order, state, RECORD, None, UserId("tec_9")))
    assert {user for user, message in told.items() if WORDS in str(message)} == {"ops_1", "ops_2", writer} & set(told)
    assert {user for user, message in told.items() if "said_by" in message} == {"ops_1", "ops_2", writer} & set(told)
    assert {user: message["reason"] for user, message in told.items()} == {
        "ops_1": "cancelled_by_customer",
        "ops_2": "cancelled_by_customer",
        CUSTOMER: "cancelled_by_customer",
        TECHNICIAN: "cancelled_by_customer",
        "tec_9": "reassigned",
    }


def test_who_gave_an_order_away_is_not_quoted_to_its_customer_nor_to_who_has_it_now() -> None:
    order = replace(ORDER, reason="reassigned", said=WORDS, said_by=TECHNICIAN)
    for technician in (None, UserId("tec_2")):
        now = replace(order, technician=technician)
        told = _told(events.OrderChanged(now, events.OrderFact.REASSIGNED, None, None, TECHNICIAN))
        assert {user for user, message in told.items() if WORDS in str(message)} == {"ops_1", "ops_2"}
        assert told[CUSTOMER]["reason"] == "reassigned"


def test_words_that_an_earlier_version_stored_as_the_reason_are_nobodys() -> None:
    order = replace(ORDER, state=OrderState.CANCELLED, technician=TECHNICIAN, reason=WORDS)
    for message in _told(events.OrderChanged(order, order.state, RECORD)).values():
        assert "reason" not in message
        assert WORDS not in str(message)


def test_the_wire_knows_each_reason_that_an_order_may_have_and_no_other() -> None:
    (kind,) = [field.type for field in msgspec.structs.fields(OrderView) if field.name == "reason"]
    words = {word for part in get_args(kind) for word in get_args(part)}
    assert words == {reason.value for reason in OrderReason}


@pytest.mark.parametrize("state", list(OrderState))
def test_an_order_says_how_far_off_its_technician_is_only_until_they_are_there(state: OrderState) -> None:
    order = replace(ORDER, state=state, technician=TECHNICIAN, eta_s=301.2345678)
    told = _told(events.OrderChanged(order, state, RECORD))
    is_coming = state in (OrderState.ASSIGNED, OrderState.EN_ROUTE)
    assert {message.get("eta_s") for message in told.values()} == {301.2 if is_coming else None}
