"""Sessions of a link to one order: what they are told, what they may say, and whom they do not disturb."""

import json
from typing import Any

import pytest

from core.ids import UserId
from core.principal import Principal
from geo.point import Frame
from realtime.attention import Level
from realtime.session import State
from realtime.settings import RealtimeSettings, SessionSettings
from tests.unit.realtime.hub_world import START, TENANT, HubWorld, Peer


class OfOrders:
    """Rights to rows: those of an order are for whoever has a link to it, without the address."""

    def current(self, who: Principal, body: bytes) -> bytes:
        return body

    def of_order(self, who: Principal, body: bytes) -> bytes | None:
        fields = json.loads(body)
        if fields.pop("order", None) != who.order:
            return None
        fields.pop("address", None)
        return json.dumps(fields).encode()


def linked(world: HubWorld, device: str = "lnk_1", **more: Any) -> Peer:
    world.ports.rows = OfOrders()
    return world.join("cus@ord_1", "customer", device=device, **more)


def test_a_link_has_no_streams_and_hears_of_its_order_alone() -> None:
    world = HubWorld()
    page, phone = linked(world), world.join("cus", "customer", device="phone")
    (welcome,) = page.read()
    assert (welcome["streams"], welcome["restricted"]) == ({}, False)
    assert page.session.state is State.FOR_ORDER
    phone.read()
    world.deliver(world.outbox.commit("cus", {"type": "order", "order": "ord_2", "address": "x"}))
    world.deliver(world.outbox.commit("cus", {"type": "incident", "incident": "inc_1"}))
    world.deliver(world.outbox.commit("cus", {"type": "order", "order": "ord_1", "address": "x"}))
    assert page.read() == [{"type": "order"}], "without number and address"
    assert len(phone.read()) == 3


@pytest.mark.parametrize(
    "said",
    [
        {"type": "duty", "on": True, "city": "sh"},
        {"type": "offer.accept", "offer": "ofr_1"},
        {"type": "incident.ack", "incident": "inc_1"},
        {"type": "checkin.answer", "checkin": "chk_1", "answer": "ok"},
        {"type": "ping", "seq": 1, "fixed_at": 1.0, "sent_at": 1.0, "lat": 1, "lng": 1, "accuracy_m": 5},
        {"type": "hello", "token": "cus:customer:3600", "device": "phone"},
    ],
)
def test_whatever_is_not_made_for_links_is_forbidden(said: dict[str, Any]) -> None:
    world = HubWorld()
    page = linked(world)
    page.read()
    page.say(**said)
    assert [frame["code"] for frame in page.read()] == ["forbidden"]
    assert world.domains.commands == []


def test_an_sos_of_a_link_is_taken_and_its_answers_come_back() -> None:
    world = HubWorld()
    page = linked(world)
    page.read()
    page.say(type="sos", key="k")
    ((who, *_),) = world.domains.sos_frames
    assert (who.user, who.order) == ("cus", "ord_1")
    world.engine.send_direct(TENANT, UserId("cus"), b'{"type":"sos_ack"}', world.now, restricted=True)
    world.engine.send_direct(TENANT, UserId("cus"), b'{"type":"care.news"}', world.now)
    assert page.read_types() == ["sos_ack"]
    page.say(type="sos.cancel", incident="inc_1", pin="4821")
    assert [type(command).__name__ for _, command, _ in world.domains.commands] == ["SosCancel"]


def test_a_link_is_renewed_by_a_token_of_its_order_alone() -> None:
    world = HubWorld()
    page = linked(world)
    page.read()
    for token in ("cus:customer:7200", "cus@ord_2:customer:7200", "other@ord_1:customer:7200"):
        page.say(type="refresh", token=token)
        assert page.read()[-1]["code"] == "token_invalid"
    page.say(type="refresh", token="cus@ord_1:customer:7200")
    assert page.read_types() == ["ok"]
    assert page.session.state is State.FOR_ORDER
    # Nor does a whole session become one of a link.
    phone = world.join("cus", "customer", device="phone")
    phone.read()
    phone.say(type="refresh", token="cus@ord_1:customer:7200")
    assert phone.read()[-1]["code"] == "token_invalid"


def test_a_link_whose_token_ends_in_an_sos_stays_for_it_and_comes_back_as_a_link() -> None:
    world = HubWorld()
    page = linked(world, expires_in=60)
    world.engine.attend(TENANT, UserId("cus"), "inc_1", Level.SOS, keep=False, now=world.now)
    while page.session.state is State.FOR_ORDER and world.now < START + 120:
        page.say(type="heartbeat")
        world.advance(4, step=1)
    assert page.session.state is State.RESTRICTED
    page.read()
    page.say(type="refresh", token="cus@ord_1:customer:7200")
    assert page.session.state.name == "FOR_ORDER"
    world.deliver(world.outbox.commit("cus", {"type": "order", "order": "ord_2"}))
    assert page.read_types() == ["ok"]
    assert page.wire.is_open


def test_links_keep_nobody_out_and_make_nobody_look_present() -> None:
    world = HubWorld(RealtimeSettings(frame=Frame.WGS84, sessions=SessionSettings(sessions_per_user_max=1)))
    page = linked(world)
    assert not world.engine.online(TENANT, UserId("cus"))
    phone = world.join("cus", "customer", device="phone")
    assert phone.wire.is_open
    assert page.wire.is_open
    assert world.engine.online(TENANT, UserId("cus"))
    assert linked(world, device="lnk_2").wire.closed_with == 4429
