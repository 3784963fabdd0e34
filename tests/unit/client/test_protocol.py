import random
from typing import Any

import msgspec
import pytest
from doorstep_client.events import (
    CareNews,
    CheckinChanged,
    Disconnected,
    DrillChanged,
    Event,
    IncidentContact,
    IncidentRaised,
    IncidentUpdated,
    OfferReceived,
    OrderChanged,
    PingsJudged,
    ProtocolFault,
    RequestDone,
    RequestFailed,
    SnapshotReceived,
    SosAcked,
    SosNotReceived,
    TokenNeeded,
    UnknownMessage,
    Welcomed,
)
from doorstep_client.ping_buffer import Fix
from doorstep_client.protocol import ClientProtocol, State
from doorstep_client.settings import ClientSettings, Encoding
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_000_000.0


class Hub:
    """Speaks to one client as the server would, by hand."""

    def __init__(self, client: ClientProtocol, now: float = NOW) -> None:
        self.client = client
        self.now = now
        self.encoding = client.is_text

    def said(self) -> list[dict[str, Any]]:
        decode = msgspec.json.decode if self.encoding else msgspec.msgpack.decode
        return [decode(frame) for frame in self.client.frames_to_send(self.now)]

    def say(self, **body: Any) -> list[Event]:
        encode = msgspec.json.encode if self.encoding else msgspec.msgpack.encode
        return self.client.receive(encode(body), self.now)

    def welcome(self, role: str = "technician", **more: Any) -> list[Event]:
        self.client.connected(self.now)
        body: dict[str, Any] = {
            "type": "welcome",
            "session": "ses_1",
            "user": "tec_1",
            "role": role,
            "roles": [role],
            "server_at": self.now,
            "heartbeat_s": 30,
            "limits": {"message_bytes": 65536, "pings_per_s": 100, "messages_per_s": 20, "ping_batch": 50},
            "restricted": False,
            "streams": {"main": {"epoch": "e1", "seq": 0, "how": "fresh"}},
        }
        return self.say(**(body | more))

    def order(self, seq: int, epoch: str = "e1", order: str = "ord_1") -> list[Event]:
        return self.say(type="order", order=order, state="placed", stream="main", seq=seq, epoch=epoch)


def client(**more: Any) -> ClientProtocol:
    return ClientProtocol(device="phone", token="jwt", rng=random.Random(1), first_seq=1, **more)


def types(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["type"] for frame in frames]


@pytest.mark.parametrize("encoding", list(Encoding))
def test_hello_is_first_and_the_welcome_makes_it_ready(encoding: Encoding) -> None:
    hub = Hub(client(encoding=encoding))
    hub.client.send_ping(Fix(1, 2, NOW), NOW)
    hub.client.connected(NOW)
    (hello,) = hub.said()
    assert hello == {"type": "hello", "device": "phone", "app": "doorstep-client-python", "token": "jwt"}
    assert [type(e) for e in hub.welcome()] == [Welcomed]
    assert hub.client.state is State.READY


def test_reliable_messages_are_acked_cumulatively_at_once_and_repetitions_are_dropped() -> None:
    hub = Hub(client())
    hub.welcome()
    hub.said()
    assert [type(e) for e in hub.order(1)] == [OrderChanged]
    hub.order(2)
    assert hub.said() == [{"type": "ack", "main": 2}]
    assert hub.order(2) == []
    assert hub.said() == [{"type": "ack", "main": 2}]


def test_after_a_reconnect_it_resumes_where_it_stood() -> None:
    hub = Hub(client())
    hub.welcome()
    hub.order(1)
    hub.client.lost(1006, NOW)
    hub.client.connected(NOW + 1)
    assert hub.said()[0]["resume"] == {"main": {"epoch": "e1", "seq": 1}}


def test_a_gap_in_a_stream_ends_the_connection_and_is_not_acked() -> None:
    hub = Hub(client())
    hub.welcome()
    hub.said()
    assert isinstance(hub.order(2)[0], ProtocolFault)
    assert hub.client.must_close
    assert hub.client.streams["main"].seq == 0


def test_a_snapshot_may_jump_ahead_and_a_new_epoch_starts_over() -> None:
    hub = Hub(client())
    hub.welcome()
    hub.say(type="snapshot", orders=[{"order": "ord_1"}], stream="main", seq=9, epoch="e1")
    assert len(hub.order(10)) == 1
    assert len(hub.order(1, epoch="e2")) == 1
    assert hub.client.streams["main"].epoch == "e2"


def test_a_snapshot_lost_with_its_connection_is_asked_for_again() -> None:
    hub = Hub(client())
    hub.welcome()
    hub.order(1)
    for _ in range(2):
        hub.client.lost(1006, NOW)
        hub.welcome(streams={"main": {"epoch": "e2", "seq": 9, "how": "snapshot"}})
        assert hub.said()[0]["resume"] == {"main": {"epoch": "e1", "seq": 1}}
    hub.say(type="snapshot", stream="main", seq=9, epoch="e2")
    assert hub.said() == [{"type": "ack", "main": 9}]
    hub.client.lost(1006, NOW)
    hub.client.connected(NOW + 1)
    assert hub.said()[0]["resume"] == {"main": {"epoch": "e2", "seq": 9}}


def test_a_snapshot_says_how_much_it_leaves_out() -> None:
    hub = Hub(client())
    hub.welcome("ops")
    (whole,) = hub.say(type="snapshot", orders=[{"order": "ord_1"}], stream="main", seq=1, epoch="e1")
    (cut,) = hub.say(type="snapshot", orders_left_out=4_893, stream="main", seq=1, epoch="e1")
    (most,) = hub.say(type="snapshot", incidents_left_out=7, stream="safety", seq=1, epoch="s1")
    assert isinstance(whole, SnapshotReceived)
    assert isinstance(cut, SnapshotReceived)
    assert isinstance(most, SnapshotReceived)
    assert [(e.orders_left_out, e.incidents_left_out) for e in (whole, cut, most)] == [(0, 0), (4_893, 0), (0, 7)]


def test_pings_are_kept_until_stored_and_sent_again_in_a_batch_after_a_reconnect() -> None:
    hub = Hub(client())
    hub.welcome()
    hub.said()
    for n in range(3):
        hub.client.send_ping(Fix(1.0, 2.0, NOW + n, speed_mps=3.0), NOW)
    (pings,) = hub.said()
    assert [row[0] for row in pings["pings"]] == [1, 2, 3]
    events = hub.say(type="ping_ack", seq=3, verdicts={"live": 2}, stored_seq=2)
    assert events == [PingsJudged(3, {"live": 2}, 2)]
    hub.client.lost(1006, NOW)
    hub.client.send_ping(Fix(1.0, 2.0, NOW + 5), NOW)
    hub.welcome()
    assert [row[0] for row in hub.said()[-1]["pings"]] == [3, 4]


def test_one_ping_goes_as_ping_with_the_phones_own_clock() -> None:
    hub = Hub(client(phone_clock=lambda now: now + 777.0, crs="gcj02"))
    hub.welcome()
    hub.said()
    hub.client.send_ping(Fix(1.0, 2.0, NOW + 776.0, battery=0.5, mock=True), NOW)
    (ping,) = hub.said()
    assert ping["type"] == "ping"
    assert (ping["sent_at"], ping["crs"], ping["mock"], ping["battery"]) == (NOW + 777.0, "gcj02", True, 0.5)


def test_a_batch_says_that_one_of_its_positions_was_made_up() -> None:
    hub = Hub(client())
    hub.client.send_ping(Fix(1.0, 2.0, NOW, mock=True), NOW)
    hub.client.send_ping(Fix(1.0, 2.0, NOW + 1), NOW)
    hub.welcome()
    assert hub.said()[-1]["mock"] is True


def test_a_backlog_leaves_within_the_servers_allowance() -> None:
    hub = Hub(client())
    for n in range(300):
        hub.client.send_ping(Fix(1.0, 2.0, NOW + n), NOW)
    hub.welcome()
    first = [f for f in hub.said() if f["type"] == "pings"]
    assert [len(f["pings"]) for f in first] == [50, 50]
    hub.now += 1.0
    assert hub.client.next_deadline() is not None
    assert sum(len(f["pings"]) for f in hub.said()) == 100


def test_a_ping_not_stored_in_time_is_sent_again() -> None:
    hub = Hub(client())
    hub.welcome()
    hub.client.send_ping(Fix(1.0, 2.0, NOW), NOW)
    hub.said()
    hub.now = NOW + 20.0
    hub.client.on_deadline(hub.now)
    assert [f["seq"] for f in hub.said() if f["type"] == "ping"] == [1]


def test_shed_pings_come_again_soon_and_not_at_once() -> None:
    hub = Hub(client())
    hub.welcome()
    hub.client.send_ping(Fix(1.0, 2.0, NOW), NOW)
    hub.said()
    hub.say(type="ping_ack", seq=0, verdicts={"shed": 1}, stored_seq=0)
    assert hub.said() == []
    due = hub.client.next_deadline()
    assert due is not None
    assert NOW < due <= NOW + 20.0


def test_an_sos_overtakes_everything_and_is_repeated_until_it_is_stored() -> None:
    hub = Hub(client())
    hub.welcome()
    hub.said()
    hub.client.request("duty", NOW, on=True)
    hub.order(1)
    key = hub.client.send_sos(NOW, lat=1.0, lng=2.0)
    assert types(hub.said()) == ["sos", "ack", "duty"]
    hub.now = NOW + 2.0
    hub.client.on_deadline(hub.now)
    assert types(hub.said()) == ["sos"]
    hub.client.lost(1006, hub.now)
    hub.welcome()
    assert "sos" in types(hub.said())
    ack = {"type": "sos_ack", "key": key, "incident": "inc_1", "level": 1, "delivered": 0, "seen": False}
    assert not any(e.durable for e in hub.say(**ack, durable=False) if isinstance(e, SosAcked))
    hub.now += 30.0
    hub.client.on_deadline(hub.now)
    assert "sos" in types(hub.said())
    hub.say(**ack, durable=True)
    hub.now += 20.0
    hub.client.on_deadline(hub.now)
    assert "sos" not in types(hub.said())


def test_a_tap_that_nobody_receives_is_told_without_a_connection_before_a_welcome_and_with_one() -> None:
    hub = Hub(client())
    key = hub.client.send_sos(NOW)
    assert hub.client.next_deadline() == NOW + 5.0
    assert hub.client.on_deadline(NOW + 4.0) == []
    assert hub.client.on_deadline(NOW + 5.0) == [SosNotReceived(key, NOW)]
    assert hub.client.next_deadline() is None
    hub.client.connected(NOW + 6.0)
    second = hub.client.send_sos(NOW + 6.0)
    assert hub.client.next_deadline() == NOW + 11.0
    assert hub.client.on_deadline(NOW + 11.0) == [SosNotReceived(second, NOW + 6.0)]
    hub.now = NOW + 12.0
    hub.welcome()
    assert [frame["key"] for frame in hub.said() if frame["type"] == "sos"] == [key, second]
    third = hub.client.send_sos(hub.now)
    assert SosNotReceived(third, NOW + 12.0) in hub.client.on_deadline(NOW + 17.0)


def test_a_restored_server_is_offered_what_the_last_one_had_stored_by_its_welcome_or_its_first_row() -> None:
    for by_welcome in (True, False):
        hub = Hub(client())
        before = {"safety": {"epoch": "s1", "seq": 0, "how": "fresh"}}
        hub.welcome(streams=before)
        key = hub.client.send_sos(NOW)
        hub.say(type="sos_ack", key=key, incident="inc_1", durable=True, delivered=0, seen=False)
        hub.say(type="incident", incident="inc_1", state="open", version=9, stream="safety", seq=1, epoch="s1")
        hub.client.lost(1006, NOW)
        hub.welcome(streams={**before, "safety": {"epoch": "s1", "seq": 1, "how": "replayed"}})
        assert "sos" not in types(hub.said())
        hub.client.lost(1006, NOW)
        hub.welcome(streams={"safety": {"epoch": "s2", "seq": 5, "how": "snapshot"}} if by_welcome else {})
        row = {"incident": "inc_1", "state": "acknowledged", "version": 4}
        events = hub.say(type="snapshot", incidents=[row], stream="safety", seq=5, epoch="s2")
        assert [e.rings for e in events if isinstance(e, IncidentRaised)] == [False]
        assert [frame["key"] for frame in hub.said() if frame["type"] == "sos"] == [key]


def test_taps_of_an_earlier_process_are_sent_at_the_first_welcome() -> None:
    first, second = Hub(client()), Hub(client())
    key = first.client.send_sos(NOW, note="help")
    assert first.client.sos_revision > 0
    second.client.restore_sos(first.client.sos_kept(), NOW + 60)
    second.now = NOW + 61
    second.welcome()
    (sos,) = [frame for frame in second.said() if frame["type"] == "sos"]
    assert (sos["key"], sos["note"], sos["tapped_at"], sos["sent_at"]) == (key, "help", NOW, NOW + 61)


def test_an_answer_to_a_check_is_never_given_up_and_leaves_in_a_restricted_session_too() -> None:
    hub = Hub(client())
    hub.welcome(restricted=True)
    hub.said()
    hub.client.request("duty", NOW, on=True)
    ref = hub.client.answer_checkin("chk_1", "no", NOW)
    assert types(hub.said())[0] == "checkin.answer"
    assert hub.say(type="error", ref=ref, code="unavailable", message="later", retry=True) == []
    for n in range(1, 20):
        hub.now = NOW + 5.0 * n
        hub.say(type="heartbeat", server_at=hub.now)
        told = hub.client.on_deadline(hub.now)
        assert not any(isinstance(e, RequestFailed) and e.ref == ref for e in told)
        assert "checkin.answer" in types(hub.said())
    hub.client.lost(1006, hub.now)
    hub.welcome(restricted=True)
    assert types(hub.said())[-1] == "checkin.answer"
    assert hub.say(type="ok", ref=ref) == [RequestDone(ref, "checkin.answer", {})]
    hub.client.on_deadline(hub.now + 6.0)
    assert "checkin.answer" not in types(hub.said())


def test_what_people_are_told_of_safety_and_care_become_events_and_a_repeated_alarm_is_one() -> None:
    hub = Hub(client())
    hub.welcome()
    alarm = {"type": "incident", "incident": "inc_1", "state": "open", "version": 1}
    (raised,) = hub.say(**alarm)  # before it was stored, without a place in a stream
    assert isinstance(raised, IncidentRaised)
    assert raised.rings
    assert hub.say(**alarm, stream="safety", seq=1, epoch="s1") == []
    (updated,) = hub.say(**(alarm | {"type": "incident.update", "version": 2}), stream="safety", seq=2, epoch="s1")
    assert isinstance(updated, IncidentUpdated)
    assert not updated.rings
    told = [
        *hub.say(type="incident.contact", incident="inc_1", lost=True, heard_at=1),
        *hub.say(type="checkin", checkin="chk_1", order="ord_1", kind="check_in", state="asked", at=1),
        *hub.say(type="drill", drill="drl_1", state="asked", asked_at=1, until=2),
        *hub.say(type="care.news", order="ord_1", technician="tec_1", what="lost_contact", at=1),
    ]
    assert [type(event) for event in told] == [IncidentContact, CheckinChanged, DrillChanged, CareNews]
    hub.client.cancel_sos("inc_1", "1234", NOW)
    hub.client.tap_drill(NOW)
    assert types(hub.said())[-2:] == ["sos.cancel", "drill.tap"]


def test_an_unanswered_request_is_repeated_on_the_next_connection_and_an_answered_one_is_not() -> None:
    hub = Hub(client())
    hub.welcome()
    done = hub.client.accept("ofr_1", NOW)
    lost = hub.client.decline("ofr_2", NOW, "far")
    hub.said()
    assert hub.say(type="ok", ref=done) == [RequestDone(done, "offer.accept", {})]
    hub.client.lost(1006, NOW)
    hub.welcome()
    assert [(f["type"], f.get("ref")) for f in hub.said() if f["type"] != "hello"] == [("offer.decline", lost)]
    failed = hub.say(type="error", ref=lost, code="not_found", message="gone", retry=False, facts={"a": 1})
    assert failed == [RequestFailed(lost, "offer.decline", "not_found", "gone", retry=False, facts={"a": 1})]


def test_a_request_without_an_answer_times_out() -> None:
    hub = Hub(client(settings=ClientSettings(request_timeout_s=5)))
    hub.welcome()
    hub.client.accept("ofr_1", NOW)
    hub.said()
    (event,) = hub.client.on_deadline(NOW + 5)
    assert isinstance(event, RequestFailed)
    assert event.code == "timeout"


def test_watches_are_repeated_after_a_welcome_until_they_end() -> None:
    hub = Hub(client())
    hub.welcome()
    for topic in ("order:a", "order:b", "order:c"):
        hub.say(type="ok", ref=hub.client.watch(topic, NOW))
    hub.say(type="unwatched", topic="order:a", reason="finished")
    hub.say(type="error", ref=hub.client.watch("order:b", NOW), code="not_found", message="")
    hub.client.lost(1006, NOW)
    hub.welcome()
    assert [f["topic"] for f in hub.said() if f["type"] == "watch"] == ["order:c"]


def test_a_staff_responders_duty_is_repeated_and_a_technicians_is_stored_by_the_server() -> None:
    for role, repeated in (("responder", 1), ("technician", 0)):
        hub = Hub(client())
        hub.welcome(role=role)
        hub.say(type="ok", ref=hub.client.duty(True, NOW, "shanghai"))
        hub.said()
        hub.client.lost(1006, NOW)
        hub.welcome(role=role)
        assert types(hub.said()).count("duty") == repeated


def test_it_sends_heartbeats_when_it_has_nothing_to_say_and_leaves_a_silent_server() -> None:
    hub = Hub(client())
    hub.welcome()
    hub.said()
    deadline = hub.client.next_deadline()
    assert deadline == NOW + 30.0
    hub.now = deadline
    hub.client.on_deadline(hub.now)
    assert types(hub.said()) == ["heartbeat"]
    hub.client.heard(NOW + 60.0)
    hub.client.on_deadline(NOW + 90.0)
    assert not hub.client.must_close
    hub.client.on_deadline(NOW + 150.0)
    assert hub.client.must_close


def test_a_missing_welcome_ends_the_connection() -> None:
    hub = Hub(client())
    hub.client.connected(NOW)
    hub.client.on_deadline(NOW + 10.0)
    assert hub.client.must_close


def test_the_servers_reconnect_advice_is_followed() -> None:
    hub = Hub(client())
    hub.welcome()
    hub.say(type="reconnect", reconnect_after_ms=4321, reason="draining")
    hub.client.lost(4403, NOW)
    assert hub.client.reconnect_at == NOW + 4.321


@pytest.mark.parametrize("code", [4500, 4509, 4510, 4526, 4999])
def test_it_stays_away_after_a_code_that_says_so(code: int) -> None:
    hub = Hub(client())
    hub.welcome()
    assert hub.client.lost(code, NOW) == [Disconnected(code, None)]
    assert hub.client.state is State.ENDED


@pytest.mark.parametrize("code", [4401, 4501])
def test_a_refused_token_waits_for_a_newer_one(code: int) -> None:
    hub = Hub(client())
    hub.welcome()
    events = hub.client.lost(code, NOW)
    assert isinstance(events[1], TokenNeeded)
    assert hub.client.reconnect_at is None
    hub.client.renew("newer", NOW + 5)
    assert hub.client.reconnect_at == NOW + 5
    hub.client.connected(NOW + 5)
    assert hub.said()[0]["token"] == "newer"


def test_a_running_session_renews_in_place() -> None:
    hub = Hub(client())
    hub.welcome()
    hub.said()
    hub.client.renew("newer", NOW)
    assert hub.said() == [{"type": "refresh", "token": "newer"}]


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_back_off_is_within_its_growing_bound(seed: int, failures: int) -> None:
    protocol = ClientProtocol(device="d", token="t", rng=random.Random(seed))
    for n in range(failures):
        (event,) = protocol.lost(1006, NOW)
        assert isinstance(event, Disconnected)
        assert event.retry_in_s is not None
        assert 0.0 <= event.retry_in_s <= min(30.0, 0.5 * 2**n)


def test_new_message_types_are_told_and_harmless() -> None:
    hub = Hub(client())
    hub.welcome()
    assert hub.say(type="coupon", n=1) == [UnknownMessage("coupon", {"type": "coupon", "n": 1})]
    assert not hub.client.must_close


@given(st.binary(max_size=60))
def test_noise_from_the_server_never_raises(noise: bytes) -> None:
    hub = Hub(client())
    hub.welcome()
    hub.client.receive(noise, NOW)


@given(st.lists(st.sampled_from(["deliver", "cut", "late"]), max_size=60))
def test_whatever_the_cuts_each_message_is_told_once_and_in_order(script: list[str]) -> None:
    """The server replays from the place in `hello`; repetitions on one connection are allowed."""
    hub = Hub(client())
    hub.welcome()
    written, told, sent = 0, [], 0
    for step in script:
        if step == "cut":
            hub.client.lost(1006, NOW)
            hub.client.connected(NOW)
            sent = hub.said()[0]["resume"]["main"]["seq"]
            hub.welcome(streams={"main": {"epoch": "e1", "seq": sent, "how": "replayed"}})
        elif step == "deliver":
            written += 1
        else:
            sent = max(sent - 1, 0)  # a repetition
        while sent < written:
            sent += 1
            told += [e.order for e in hub.order(sent, order=f"o{sent}") if isinstance(e, OrderChanged)]
    assert told == [f"o{n}" for n in range(1, written + 1)]


def test_an_offer_tells_how_long_it_lives() -> None:
    hub = Hub(client())
    hub.welcome()
    (event,) = hub.say(
        type="offer", offer="ofr_1", order="ord_1", remaining_ms=15_000, stream="main", seq=1, epoch="e1"
    )
    assert isinstance(event, OfferReceived)
    assert event.remaining_ms == 15_000


def test_a_full_buffer_drops_the_oldest_and_counts_them() -> None:
    protocol = client(settings=ClientSettings(ping_buffer_max=600))
    for n in range(700):
        protocol.send_ping(Fix(1.0, 2.0, NOW + n), NOW)
    assert (protocol.pings_waiting, protocol.pings_dropped) == (600, 100)
