"""What goes over HTTP when the socket cannot be had, and when."""

from typing import Any

from doorstep_client.events import PingsJudged, SosProgress
from doorstep_client.fallback import POSITIONS_PATH, SOS_PATH, Post
from doorstep_client.ping_buffer import Fix
from doorstep_client.ping_file import KeptPings
from doorstep_client.protocol import ClientProtocol
from doorstep_client.settings import ClientSettings

from tests.unit.client.test_protocol import NOW, Hub, client

OVER_HTTP = ClientSettings(pings_over_http=True)
FIX = Fix(31.2, 121.4, NOW)


def ack(**more: Any) -> dict[str, Any]:
    return {"incident": "inc_1", "durable": True, "delivered": 0, "seen": False, "key": "k"} | more


def due(phone: ClientProtocol, now: float) -> list[str]:
    return [post.path for post in phone.fallback.take(now)]


def test_a_tap_without_a_session_goes_over_http_at_once_and_again_for_ever_with_the_same_key() -> None:
    phone, now = client(), NOW
    phone.send_sos(now, key="k", lat=1.0)
    for _ in range(1_000):
        at = phone.fallback.next_at()
        assert at is not None
        assert at - now <= 10.0
        now = max(at, now)
        (post,) = phone.fallback.take(now)
        assert (post.path, post.body["key"], post.body["lat"]) == (SOS_PATH, "k", 1.0)
        assert due(phone, now + 60.0) == [], "one is under way"
        phone.fallback.failed(post, now)
    (post,) = phone.fallback.take(now + 10.0)
    events = phone.fallback.answered(post, ack(), now)
    assert [e.stage.value for e in events if isinstance(e, SosProgress)] == ["received", "durable"]
    assert phone.fallback.next_at() is None


def test_a_session_that_answers_is_left_to_itself_and_one_that_does_not_is_doubted_after_a_while() -> None:
    phone = client()
    hub = Hub(phone)
    hub.welcome()
    phone.send_sos(NOW, key="k")
    assert due(phone, NOW + 2.9) == []
    assert phone.fallback.next_at() == NOW + 3.0
    hub.say(type="sos_ack", **ack())
    assert due(phone, NOW + 60.0) == []
    phone.send_sos(NOW + 60.0, key="k2")
    assert due(phone, NOW + 63.0) == [SOS_PATH]


def test_who_was_stored_over_http_says_so_once_to_the_next_session_which_then_tells_what_becomes_of_it() -> None:
    phone = client()
    phone.send_sos(NOW, key="k")
    (post,) = phone.fallback.take(NOW)
    phone.fallback.answered(post, ack(), NOW)
    hub = Hub(phone)
    safety = {"safety": {"epoch": "s1", "seq": 0, "how": "fresh"}}
    hub.welcome(streams=safety)
    assert [frame["key"] for frame in hub.said() if frame["type"] == "sos"] == ["k"]
    events = hub.say(type="sos_ack", **ack(delivered=2))
    assert [e.stage.value for e in events if isinstance(e, SosProgress)] == ["delivered"]
    phone.lost(1006, NOW)
    hub.welcome(streams=safety)
    assert [frame for frame in hub.said() if frame["type"] == "sos"] == []


def test_pings_go_over_http_only_if_asked_and_after_a_while_without_a_session() -> None:
    unasked = client()
    unasked.send_ping(FIX, NOW)
    unasked.fallback.no_session(NOW)
    assert unasked.fallback.next_at() is None
    phone = client(settings=OVER_HTTP)
    hub = Hub(phone)
    hub.welcome()
    phone.send_ping(FIX, NOW)
    assert due(phone, NOW + 100.0) == []
    phone.lost(1006, NOW)
    assert due(phone, NOW + 14.9) == []
    assert due(phone, NOW + 15.0) == [POSITIONS_PATH]


def posted(phone: ClientProtocol, now: float) -> Post:
    (post,) = phone.fallback.take(now)
    assert post.body["device"] == "phone"
    return post


def test_only_what_is_stored_is_forgotten_and_what_did_not_arrive_is_posted_again_with_its_numbers() -> None:
    phone = client(settings=OVER_HTTP)
    for _ in range(3):
        phone.send_ping(FIX, NOW)
    phone.fallback.no_session(NOW)
    post = posted(phone, NOW + 15.0)
    assert [row[0] for row in post.body["pings"]] == [1, 2, 3]
    phone.fallback.failed(post, NOW + 16.0)
    again = posted(phone, NOW + 60.0)
    assert again.body["pings"] == post.body["pings"]
    body = {"seq": 3, "verdicts": {"live": 3}, "stored_seq": 2}
    assert phone.fallback.answered(again, body, NOW + 61.0) == [PingsJudged(3, {"live": 3}, 2)]
    assert phone.pings_waiting == 1
    assert [row[0] for row in posted(phone, NOW + 61.0).body["pings"]] == [3]


def test_a_body_never_holds_a_gap_in_the_numbers() -> None:
    phone = client(settings=ClientSettings(pings_over_http=True, ping_batch_max=2))
    phone.restore_pings(KeptPings([(n, FIX) for n in (1, 2, 3, 7, 8)], 100, is_clean=True), NOW)
    phone.fallback.no_session(NOW)
    sizes = []
    while phone.pings_waiting:
        post = posted(phone, NOW + 15.0)
        sizes.append(len(post.body["pings"]))
        last = post.body["pings"][-1][0]
        phone.fallback.answered(post, {"seq": last, "verdicts": {}, "stored_seq": last}, NOW + 15.0)
    assert sizes == [2, 1, 2]
