"""What a message that was stored earlier may say to its reader now."""

import json
from dataclasses import replace
from typing import Any, cast

import msgspec
import pytest

from api.replay import ReplayedRows
from api.views import Reader, incident_update, incident_view, job_news, order_view
from core.ids import CityId, DeviceId, IncidentId, OrderId, TenantId, UserId
from core.principal import Principal, Role
from dispatch.events import JobNews, News
from dispatch.model import Order, OrderState
from geo.point import Frame
from realtime.messages import ReliableMessage
from safety.model import Incident, IncidentState
from tests.unit.api.test_outbound import CITY, CUSTOMER, NOW, ORDER, RECORD, SECRETS, TECHNICIAN, TENANT
from tests.unit.api.test_rights import INCIDENT


class _Kept:
    """Orders and incidents in memory."""

    def __init__(self) -> None:
        self.kept: Order | None = None
        self.active: Incident | None = None

    def order(self, tenant: TenantId, order_id: OrderId) -> tuple[None, Order] | None:
        return None if self.kept is None else (None, self.kept)

    def incident(self, tenant: TenantId, incident_id: IncidentId) -> Incident | None:
        return self.active


def _who(user: str, *roles: Role, city: CityId = CITY) -> Principal:
    return Principal(TENANT, UserId(user), roles[0], frozenset(roles), frozenset({city}), DeviceId("d"), NOW)


TEC = _who(TECHNICIAN, Role.TECHNICIAN)
JOB = replace(ORDER, state=OrderState.ASSIGNED, technician=TECHNICIAN)


def _sent(kept: _Kept, who: Principal, body: bytes) -> dict[str, Any]:
    again = ReplayedRows(cast(Any, kept), cast(Any, kept)).current(who, body)
    msgspec.json.decode(again, type=ReliableMessage)
    return cast(dict[str, Any], json.loads(again))


def _knows(message: dict[str, Any]) -> bool:
    return any(secret in json.dumps(message) for secret in SECRETS)


@pytest.mark.parametrize("state", list(OrderState))
def test_a_technician_reads_an_old_address_only_while_they_have_the_job(state: OrderState) -> None:
    body = msgspec.json.encode(order_view(JOB, Reader.TECHNICIAN, Frame.GCJ02))
    kept = _Kept()
    assert not _knows(_sent(kept, TEC, body)), "long settled"
    kept.kept = replace(JOB, state=state)
    has_it = state in (
        OrderState.ASSIGNED, OrderState.EN_ROUTE, OrderState.ARRIVED, OrderState.IN_SERVICE, OrderState.FINISHED,
    )  # fmt: skip
    again = _sent(kept, TEC, body)
    assert _knows(again) is has_it
    assert (again["order"], again["state"]) == (JOB.order_id, "assigned"), "the news itself stays"
    kept.kept = replace(JOB, state=state, technician=UserId("tec_2"))
    assert not _knows(_sent(kept, TEC, body)), "somebody else has it"


def test_a_technician_who_was_freed_reads_an_old_address_no_more() -> None:
    body = msgspec.json.encode(order_view(JOB, Reader.TECHNICIAN, Frame.GCJ02))
    kept = _Kept()
    kept.kept = replace(JOB, state=OrderState.FINISHED, freed_at=NOW)
    assert not _knows(_sent(kept, TEC, body))


def test_an_order_written_for_ops_says_little_to_somebody_who_is_ops_no_longer() -> None:
    body = msgspec.json.encode(order_view(JOB, Reader.STAFF, Frame.GCJ02, RECORD, 4.5))
    kept = _Kept()
    assert _knows(_sent(kept, _who("ops_1", Role.OPS), body))
    for who in (_who("ops_1", Role.CUSTOMER), _who("ops_1", Role.OPS, city=CityId("shanghai")), TEC):
        again = _sent(kept, who, body)
        assert not _knows(again)
        assert not {"customer", "technician"} & set(again)


def test_a_customer_reads_their_own_order_however_old() -> None:
    body = msgspec.json.encode(order_view(JOB, Reader.CUSTOMER, Frame.GCJ02, RECORD, 4.5))
    assert _knows(_sent(_Kept(), _who(CUSTOMER, Role.CUSTOMER), body))


@pytest.mark.parametrize("writer", [CUSTOMER, TECHNICIAN, "ops_1"])
def test_old_words_are_read_again_by_staff_and_by_who_wrote_them_alone(writer: str) -> None:
    words = "she is a creep"
    order = replace(JOB, reason="reassigned", said=words, said_by=UserId(writer))
    kept = _Kept()
    kept.kept = JOB
    readers = (
        _who("ops_1", Role.OPS), _who("ops_2", Role.OPS), _who(CUSTOMER, Role.CUSTOMER), TEC,
        _who("ops_1", Role.CUSTOMER), _who("ops_2", Role.OPS, city=CityId("shanghai")),
    )  # fmt: skip
    sides = {Reader.CUSTOMER: CUSTOMER, Reader.TECHNICIAN: TECHNICIAN}
    for reader in Reader:
        body = msgspec.json.encode(order_view(order, reader, Frame.GCJ02, RECORD, 4.5))
        for who in readers:
            again = _sent(kept, who, body)
            may = who.user == writer or (who.holds(Role.OPS) and CITY in who.cities)
            is_there = reader is Reader.STAFF or sides.get(reader) == writer
            assert (words in str(again)) is (may and is_there)
            assert again["reason"] == "reassigned"


def test_words_in_place_of_a_reason_in_a_row_of_an_earlier_version_are_for_staff_alone() -> None:
    kept = _Kept()
    kept.kept = JOB
    fields = json.loads(msgspec.json.encode(order_view(JOB, Reader.CUSTOMER, Frame.GCJ02, RECORD, 4.5)))
    body = json.dumps(fields | {"reason": "she is a creep"}, separators=(",", ":")).encode()
    rows = ReplayedRows(cast(Any, kept), cast(Any, kept))
    for who in (_who(CUSTOMER, Role.CUSTOMER), TEC):
        assert "reason" not in json.loads(rows.current(who, body))
    assert rows.current(_who("ops_1", Role.OPS), body) == body


def test_an_incident_tells_somebody_who_may_not_see_it_now_only_that_it_was() -> None:
    case = replace(INCIDENT, note="behind the Secret door")
    ring = msgspec.json.encode(incident_view(case, Frame.GCJ02, NOW, None, "near"))
    update = msgspec.json.encode(incident_update(replace(case, owner=UserId("ops_1")), "acknowledged"))
    responder = _who("res_1", Role.RESPONDER)
    kept = _Kept()
    kept.active = case
    assert _sent(kept, responder, ring)["note"] == case.note
    assert _sent(kept, responder, update)["owner"] == "ops_1"
    over = replace(case, state=IncidentState.RESOLVED, disposition="real_handled", owner=UserId("ops_1"))
    for now in (replace(case, avoid=(responder.user,)), over, None):
        kept.active = now
        for body in (ring, update):
            again = _sent(kept, responder, body)
            assert again["type"] == "incident.update", "and nothing rings"
            assert not {"fix", "booked", "note", "subject", "owner"} & set(again)
            assert (again["incident"], again["why"]) == (case.incident_id, "withdrawn")
            assert again.get("disposition") == ("real_handled" if now is over else None)


def test_other_messages_are_sent_as_they_were() -> None:
    body = b'{"type":"offer.closed","offer":"ofr_1","reason":"expired"}'
    assert ReplayedRows(cast(Any, _Kept()), cast(Any, _Kept())).current(TEC, body) is body


@pytest.mark.parametrize("who", [TEC, _who(CUSTOMER, Role.CUSTOMER), _who("ops_1", Role.OPS)])
def test_news_of_somebody_who_lost_the_order_are_withdrawn(who: Principal) -> None:
    body = msgspec.json.encode(job_news(JobNews(JOB, News.NEAR, NOW, within_m=40.0, eta_s=60.0)))
    kept = _Kept()
    kept.kept = JOB
    assert _sent(kept, who, body)["within_m"] == 40.0
    kept.kept = replace(JOB, technician=UserId("tec_2"))
    withdrawn = {"type": "job.news", "order": JOB.order_id, "what": "withdrawn", "at": NOW}
    assert _sent(kept, who, body) == withdrawn
    kept.kept = None
    assert _sent(kept, who, body) == withdrawn
    kept.kept = JOB
    assert _sent(kept, _who("cus_2", Role.CUSTOMER), body) == withdrawn


def test_whoever_has_a_link_is_told_of_its_order_alone_and_of_no_name_phone_or_address() -> None:
    rows = ReplayedRows(cast(Any, _Kept()), cast(Any, _Kept()))
    link = replace(_who(CUSTOMER, Role.CUSTOMER), order=JOB.order_id)
    body = msgspec.json.encode(order_view(JOB, Reader.CUSTOMER, Frame.GCJ02))
    told = rows.of_order(link, body)
    assert told is not None
    assert json.loads(told)["state"] == "assigned"
    assert not _knows(json.loads(told))
    assert "location" not in json.loads(told)
    assert rows.of_order(replace(link, order=OrderId("ord_other")), body) is None
    assert rows.of_order(replace(link, user=UserId("cus_other")), body) is None
    news = msgspec.json.encode(job_news(JobNews(JOB, News.NEAR, NOW)))
    assert rows.of_order(link, news) is None


def test_what_a_link_reads_of_an_order_holds_the_point_and_nothing_that_is_written_on_the_door() -> None:
    view = order_view(replace(JOB, said="words", said_by=CUSTOMER), Reader.LINK, Frame.GCJ02, RECORD, 4.5)
    told = json.loads(msgspec.json.encode(view))
    assert set(told["location"]) == {"lat", "lng", "crs"}
    assert told["technician"]["verified"] is RECORD.verified
    assert not {"contact_name", "contact_phone", "said", "said_by"} & told.keys()
    assert not _knows({name: value for name, value in told.items() if name != "location"})
