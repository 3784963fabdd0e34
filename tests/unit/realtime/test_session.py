import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Conflict, Unavailable
from core.ids import UserId
from core.outbox import Stream
from core.principal import Principal, Role
from geo.point import Frame
from realtime.attention import Level
from realtime.codec import JSON_CODEC
from realtime.errors import CloseCode
from realtime.messages import OfferAccept
from realtime.session import ARROWS, Event, Session, State, Story, take_tokens
from realtime.settings import PositionSettings, RealtimeSettings, SessionSettings
from tests.unit.realtime.hub_world import START, TENANT, HubWorld, Wire

BOTH = pytest.mark.parametrize("subprotocol", ["doorstep.v1.json", "doorstep.v1.msgpack"])


def world_with(**limits: float) -> HubWorld:
    return HubWorld(RealtimeSettings(frame=Frame.WGS84, sessions=SessionSettings(**limits)))  # type: ignore[arg-type]


# -- the table ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "event"), [pair for pair in product(State, Event) if pair not in ARROWS])
def test_a_step_that_the_table_lacks_raises_with_the_story(state: State, event: Event) -> None:
    session = Session(None, Wire(), HubWorld().settings.queue, START)
    session.state = state
    with pytest.raises(AssertionError, match=f"{state.name}\\+{event.name}"):
        session.step(event, Story())


def test_every_state_can_be_closed() -> None:
    assert {state for state, event in ARROWS if event is Event.CLOSED} == set(State)


@given(st.floats(0.1, 1000), st.floats(1, 1000), st.lists(st.tuples(st.floats(0, 5), st.integers(1, 3)), max_size=60))
def test_a_bucket_never_gives_more_than_its_rate_and_burst(
    rate: float, burst: float, wants: list[tuple[float, int]]
) -> None:
    now, state, taken = START, 0.0, 0
    for wait_s, count in wants:
        now += wait_s
        after = take_tokens(state, now, count, rate, burst)
        if after >= 0.0:
            state, taken = after, taken + count
        assert taken <= burst + rate * (now - START) + rate * 1e-4 + 1e-6


def test_a_fresh_bucket_gives_its_whole_burst() -> None:
    assert take_tokens(0.0, START, 10, 1.0, 10.0) > 0
    assert take_tokens(0.0, START, 11, 1.0, 10.0) < 0


# -- hello ----------------------------------------------------------------------------------------------


@BOTH
def test_hello_is_answered_by_welcome_in_the_same_encoding(subprotocol: str) -> None:
    peer = HubWorld().join("tec", subprotocol=subprotocol)
    welcome = peer.read()[0]
    assert welcome["type"] == "welcome"
    assert welcome["user"] == "tec"
    assert not welcome["restricted"]
    assert set(welcome["streams"]) == {"main", "safety"}


def test_silence_before_hello_ends_after_five_seconds_and_not_before() -> None:
    world = HubWorld()
    peer = world.connect()
    world.advance(4.9)
    assert peer.wire.is_open
    world.advance(0.5)
    assert peer.wire.closed_with == CloseCode.TOO_SLOW


@pytest.mark.parametrize(
    "frame", [b"{}", b"nonsense", b'{"type":"heartbeat"}', b'{"type":"dance"}', b'{"type":"ping"}']
)
def test_whatever_comes_first_and_is_no_hello_ends_the_connection(frame: bytes) -> None:
    peer = HubWorld().connect()
    peer.say_bytes(frame)
    assert peer.wire.closed_with == CloseCode.PROTOCOL
    assert peer.read_types() == ["error"]


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        ({"token": "garbage"}, CloseCode.BAD_TOKEN),
        ({"token": "tec:technician:-90000"}, CloseCode.TOKEN_EXPIRED),
        ({"ticket": "used"}, CloseCode.BAD_TOKEN),
        ({}, CloseCode.PROTOCOL),
        ({"token": "tec:technician:10", "ticket": "one-time"}, CloseCode.PROTOCOL),
        ({"token": "tec:technician:10", "clock_rate": 60}, CloseCode.PROTOCOL),
    ],
)
def test_a_refused_hello_is_told_why_and_closed(hello: dict[str, object], code: CloseCode) -> None:
    peer = HubWorld().connect()
    peer.say(type="hello", device="d1", **hello)
    assert peer.wire.closed_with == code
    assert peer.read()[0]["type"] == "error"


def test_a_ticket_stands_for_a_token() -> None:
    world = HubWorld()
    peer = world.connect()
    peer.say(type="hello", device="d1", ticket="one-time")
    world.read_all()
    assert peer.read()[0]["user"] == "web"


def test_a_faster_clock_is_taken_where_replays_are_allowed() -> None:
    world = HubWorld(RealtimeSettings(frame=Frame.WGS84, positions=PositionSettings(clock_rate_max=100)))
    welcome = world.join("tec", clock_rate=60.0).read()[0]
    assert welcome["limits"]["pings_per_s"] == 60 * world.settings.sessions.pings_per_s


def test_a_hello_that_holds_a_member_twice_ends_the_connection() -> None:
    world = HubWorld()
    peer = world.connect()
    peer.say_bytes(b'{"type":"hello","device":"d","token":"tec:technician:3600","token":"ops:ops:3600"}')
    assert [(frame["code"], frame["field"]) for frame in peer.read()] == [("member_repeated", "token")]
    assert not peer.wire.is_open


def test_a_request_that_holds_a_member_twice_is_refused_and_returns_its_ref() -> None:
    peer = HubWorld().join("tec")
    peer.read()
    peer.say_bytes(b'{"type":"duty","on":true,"on":false,"city":"sh","ref":"r"}')
    assert [(frame["code"], frame["ref"]) for frame in peer.read()] == [("member_repeated", "r")]


def test_an_sos_before_hello_leaves_the_line_open_for_it() -> None:
    world = HubWorld()
    peer = world.connect()
    peer.say(type="sos", key="k")
    peer.say_bytes(b'{"type":"sos')
    assert peer.wire.is_open
    assert {frame["code"] for frame in peer.read()} <= {"hello_first", "malformed"}


DAMAGED_SOS = [
    b'{"type":"sos","key":"k","note":"\xff"}',
    b'{"type":"sos","key":"k","note":"' + b"x" * 70_000 + b'"}',
    b'{"type":"sos","key":"k","note":"' + b"x" * 70_000,
    b"\x83\xa4type\xa3sos\xa3key\xa1k\xa4note\xdb\x00\x01\x86\xa0" + b"x" * 70_000,
]


@pytest.mark.parametrize("payload", DAMAGED_SOS, ids=["not UTF-8", "long", "long and cut", "long and cut MessagePack"])
@pytest.mark.parametrize("subprotocol", ["doorstep.v1.json", "doorstep.v1.msgpack"])
def test_an_sos_that_the_transport_would_refuse_is_raised(payload: bytes, subprotocol: str) -> None:
    world = HubWorld()
    peer = world.join("tec", subprotocol=subprotocol)
    assert peer.say_damaged(payload)
    who, taken, is_json, send, _ = world.domains.sos_frames[0]
    assert (who.user, taken, is_json) == ("tec", payload, payload.startswith(b"{"))
    peer.read()
    send(b'{"type":"sos_ack","key":"k"}')
    assert peer.read() == [{"type": "sos_ack", "key": "k"}]
    assert world.engine.outcomes["sos_damaged"] == 1


def test_what_the_transport_would_refuse_is_refused_when_it_is_no_sos() -> None:
    world = HubWorld()
    peer = world.join("tec")
    for payload in (b'{"type":"ping","note":"\xff"}', b"x" * 70_000, b'{"type":"heartbeat","in":{"type":"sos"}}', b""):
        assert not peer.say_damaged(payload)
    assert world.domains.sos_frames == []


@pytest.mark.parametrize("payload", DAMAGED_SOS, ids=range(len(DAMAGED_SOS)))
def test_of_somebody_unknown_no_damaged_sos_is_taken(payload: bytes) -> None:
    world = HubWorld()
    assert not world.connect().say_damaged(payload)
    assert world.domains.sos_frames == []


@pytest.mark.parametrize("expires_in", [3600, -10], ids=["while the streams are looked up", "after the token's end"])
def test_a_damaged_sos_is_taken_from_whoever_said_hello(expires_in: float) -> None:
    world = HubWorld()
    world.hold_reads = True
    peer = world.join("tec", expires_in=expires_in)
    assert peer.say_damaged(DAMAGED_SOS[0])
    assert len(world.domains.sos_frames) == 1


def test_a_newer_connection_of_the_device_replaces_the_older() -> None:
    world = HubWorld()
    old = world.join("tec")
    new = world.join("tec")
    assert old.wire.closed_with == CloseCode.REPLACED
    assert new.wire.is_open
    assert {what for what, *_ in world.domains.presence} == {"opened"}
    old.lose(4509)
    assert world.engine.online(TENANT, UserId("tec"))
    new.lose()
    assert world.domains.presence[-1] == ("lost", "tec", "d1")
    assert not world.engine.online(TENANT, UserId("tec"))


def test_another_device_of_the_user_is_a_session_of_its_own() -> None:
    world = HubWorld()
    phone, tablet = world.join("tec"), world.join("tec", device="d2")
    assert phone.wire.is_open
    assert tablet.wire.is_open


def test_the_last_places_are_kept_for_who_answers_an_sos_or_is_in_one() -> None:
    world = world_with(sessions_max=10, sessions_reserved_share=0.2)
    world.engine.attend(TENANT, UserId("anna"), "inc", Level.SOS, keep=True, now=world.now)
    for number in range(8):
        assert world.join(f"cus_{number}", "customer").wire.is_open
    crowd = world.join("cus_8", "customer")
    assert crowd.wire.closed_with == CloseCode.TOO_MANY
    assert world.join("ops", "ops").wire.is_open
    assert world.join("anna", "customer").wire.is_open


def test_one_device_too_many_is_sent_away_with_advice() -> None:
    world = world_with(sessions_per_user_max=1)
    world.join("tec")
    second = world.join("tec", device="d2")
    assert second.wire.closed_with == CloseCode.TOO_MANY
    assert second.read_types() == ["error", "reconnect"]


def test_a_full_hub_admits_nobody() -> None:
    world = world_with(sessions_max=1)
    assert world.engine.admit("1.2.3.4") is None
    peer = world.connect()
    refusal = world.engine.admit("1.2.3.4")
    assert isinstance(refusal, Unavailable)
    peer.lose()
    assert world.engine.admit("1.2.3.4") is None


# -- attaching ------------------------------------------------------------------------------------------


def test_frames_that_come_while_streams_are_looked_up_wait_in_order_but_an_sos_does_not() -> None:
    world = HubWorld()
    world.hold_reads = True
    peer = world.join("tec")
    peer.say(type="offer.accept", offer="o1", ref="a")
    peer.say_bytes(b"junk")
    peer.say(type="offer.accept", offer="o2", ref="b")
    peer.say(type="sos", key="k")
    assert len(world.domains.sos_frames) == 1
    assert world.domains.commands == []
    assert peer.read() == []
    world.read_all()
    assert [message for _, message, _ in world.domains.commands] == [OfferAccept("o1", "a"), OfferAccept("o2", "b")]
    assert peer.read_types() == ["welcome", "ping_policy", "error"]


@pytest.mark.parametrize("expires_in", [3600, -60], ids=["full", "restricted"])
def test_an_sos_comes_with_the_frame_that_hello_named(expires_in: float) -> None:
    world = HubWorld()
    for crs in (None, "gcj02", "bd09"):
        world.join(f"tec-{crs}", expires_in=expires_in, crs=crs).say(type="sos", key="k", lat=31.2, lng=121.4)
    assert world.domains.sos_crs == [Frame.WGS84, Frame.GCJ02, Frame.BD09]


def test_too_many_frames_before_welcome_are_refused_by_name() -> None:
    world = world_with(attach_queue_len_max=2)
    world.hold_reads = True
    peer = world.join("tec")
    for _ in range(3):
        peer.say(type="heartbeat")
    assert peer.read_one("error")["code"] == "overloaded"
    assert peer.wire.is_open


@pytest.mark.parametrize("count", [1, 3])
def test_pings_that_find_no_room_before_welcome_are_shed_one_or_many(count: int) -> None:
    world = world_with(attach_queue_len_max=1)
    world.on_duty("tec")
    world.hold_reads = True
    peer = world.join("tec")
    peer.say(type="heartbeat")
    rows = [[seq, world.now, 31.2, 121.4, 10.0, None, None] for seq in range(1, count + 1)]
    if count == 1:
        peer.ping(1)
    else:
        peer.say(type="pings", pings=rows)
    world.hold_reads = False
    world.read_all()
    world.advance(6)
    frames = peer.read()
    assert "error" not in {frame["type"] for frame in frames}
    assert [frame["verdicts"] for frame in frames if frame["type"] == "ping_ack"] == [{"shed": count}]


def test_a_session_waits_for_an_outbox_that_is_down_and_takes_an_sos_meanwhile() -> None:
    world = HubWorld()
    world.outbox.is_down = True
    peer = world.join("tec")
    world.advance(3)
    peer.say(type="sos", key="k")
    assert len(world.domains.sos_frames) == 1
    world.outbox.is_down = False
    world.advance(2)
    assert "welcome" in peer.read_types()


def test_a_session_that_waits_too_long_is_sent_away() -> None:
    world = HubWorld()
    world.outbox.is_down = True
    peer = world.join("tec")
    world.advance(12)
    assert peer.wire.closed_with == CloseCode.DRAINING
    assert peer.read()[-1]["type"] == "reconnect"


OTHER = {Stream.MAIN: Stream.SAFETY, Stream.SAFETY: Stream.MAIN}


def rows_of(frames: list[dict[str, Any]], stream: Stream) -> list[int]:
    return [f["seq"] for f in frames if f.get("stream") == stream.value and f["type"] != "snapshot"]


@pytest.mark.parametrize("down", list(Stream))
def test_a_session_begins_with_the_stream_that_can_be_read_and_the_other_follows_without_a_gap(down: Stream) -> None:
    world = HubWorld()
    for stream in Stream:
        world.outbox.commit("tec", {"type": "order"}, stream)
        world.outbox.commit("tec", {"type": "order"}, stream)
    world.outbox.down = {down}
    peer = world.join("tec", resume={stream.value: {"epoch": "e1", "seq": 1} for stream in Stream})
    frames = peer.read()
    assert set(frames[0]["streams"]) == {OTHER[down].value}
    assert (rows_of(frames, OTHER[down]), rows_of(frames, down)) == ([2], [])
    peer.say(type="heartbeat", ref="a")
    world.deliver(world.outbox.commit("tec", {"type": "order"}, OTHER[down]))
    assert rows_of(peer.read(), OTHER[down]) == [3]
    for _ in range(30):  # far longer than a session waits for its first stream
        world.advance(1.0)
        peer.say(type="heartbeat")
    assert peer.wire.is_open
    world.deliver(world.outbox.commit("tec", {"type": "order"}, down))
    assert rows_of(peer.read(), down) == []
    world.outbox.down = set()
    world.advance(1.5)
    frames = peer.read()
    assert rows_of(frames, down) == [2, 3]
    assert not {"welcome", "snapshot"} & {frame["type"] for frame in frames}
    world.deliver(world.outbox.commit("tec", {"type": "order"}, down))
    assert rows_of(peer.read(), down) == [4]


def test_a_late_stream_of_a_device_that_knew_nothing_begins_with_a_snapshot_even_an_empty_one() -> None:
    world = HubWorld()
    world.outbox.commit("tec", {"type": "order"})
    world.outbox.down = {Stream.MAIN}
    peer = world.join("tec")
    world.outbox.down = set()
    world.advance(1.5)
    assert peer.read_one("snapshot") == {"type": "snapshot", "stream": "main", "seq": 1, "epoch": "e1"}


def test_those_who_lack_a_stream_look_for_it_one_at_a_time_and_all_find_it_soon() -> None:
    world = HubWorld()
    world.outbox.down = {Stream.MAIN}
    peers = [world.join(f"ops{i}", "ops") for i in range(200)]
    looks = world.looks
    world.advance(7)
    assert 5 <= world.looks - looks <= 7
    peers[0].lose()
    world.outbox.down = set()
    world.advance(2)
    assert all(peer.session.main is not None and peer.session.main.ready for peer in peers[1:])
    looks = world.looks
    world.advance(5)
    assert world.looks == looks


def test_a_late_stream_is_looked_for_in_the_roles_that_the_session_has_by_then() -> None:
    world = HubWorld()
    world.outbox.down = {Stream.MAIN}
    peer = world.join("tec", "technician+ops")
    peer.say(type="refresh", token="tec:technician:3600", ref="r")
    world.hold_reads = True
    world.advance(1.5)
    assert [job.who.roles for job in world.jobs] == [frozenset({Role.TECHNICIAN})]


def test_a_token_that_ends_before_a_stream_began_loses_no_place_in_it() -> None:
    world = HubWorld()
    for _ in range(3):
        world.outbox.commit("tec", {"type": "order"})
    world.outbox.down = {Stream.MAIN}
    peer = world.join("tec", expires_in=5, resume={"main": {"epoch": "e1", "seq": 1}})
    world.engine.attend(TENANT, UserId("tec"), "inc", Level.SOS, keep=True, now=world.now)
    for _ in range(60):
        world.advance(1.0)
        peer.say(type="heartbeat")
    assert peer.session.state is State.RESTRICTED
    world.outbox.down = set()
    peer.read()
    peer.say(type="refresh", token="tec:technician:9000", ref="r")
    world.advance(0.5)
    frames = peer.read()
    assert next(f for f in frames if f["type"] == "welcome")["streams"]["main"]["how"] == "replayed"
    assert rows_of(frames, Stream.MAIN) == [2, 3]


# -- tokens that end ------------------------------------------------------------------------------------


def test_a_token_that_expires_closes_after_its_end_and_never_before() -> None:
    world = HubWorld()
    peer = world.join("tec", expires_in=60)
    while world.now < START + 60:
        world.advance(1, step=0.25)
        peer.say(type="heartbeat")
        assert peer.wire.is_open
    for _ in range(12):
        world.advance(1, step=0.25)
        if peer.wire.is_open:
            peer.say(type="heartbeat")
    assert peer.wire.closed_with == CloseCode.TOKEN_EXPIRED


def test_a_token_renewed_in_time_keeps_the_session() -> None:
    world = HubWorld()
    peer = world.join("tec", expires_in=60)
    peer.read()
    peer.say(type="refresh", token="tec:technician:600", ref="r")
    assert peer.read() == [{"type": "ok", "ref": "r"}]
    for _ in range(100):
        world.advance(1, step=0.5)
        peer.say(type="heartbeat")
    assert peer.wire.is_open


def test_an_open_session_is_told_to_the_directory_in_the_roles_of_its_newest_token() -> None:
    world = HubWorld()
    peer = world.join("eve", "ops", expires_in=600)
    for _ in range(60):
        world.advance(1, step=0.5)
        peer.say(type="heartbeat")
    at, roles = world.outbox.alive[UserId("eve")]
    assert START + 50 <= at <= START + 60
    assert roles == {Role.OPS}
    peer.say(type="refresh", token="eve:responder:900")
    assert world.outbox.alive[UserId("eve")] == (world.now, frozenset({Role.RESPONDER}))


def test_a_restricted_session_is_no_sign_of_life_of_its_roles() -> None:
    world = HubWorld()
    peer = world.join("eve", "ops", expires_in=-5)
    for _ in range(60):
        world.advance(1, step=0.5)
        peer.say(type="heartbeat")
    assert peer.wire.is_open
    assert world.outbox.alive == {}


@pytest.mark.parametrize("token", ["other:technician:600", "garbage", "tec:technician:-5"])
def test_a_bad_renewal_changes_nothing(token: str) -> None:
    world = HubWorld()
    peer = world.join("tec")
    peer.read()
    peer.say(type="refresh", token=token, ref="r")
    assert peer.read_one("error")["ref"] == "r"
    assert peer.wire.is_open
    assert peer.session.principal.expires_at == START + 3600


def test_an_expired_token_opens_a_session_for_nothing_but_an_sos() -> None:
    world = HubWorld()
    world.outbox.commit("tec", {"type": "order"})
    peer = world.join("tec", expires_in=-10)
    welcome = peer.read()
    assert [frame["type"] for frame in welcome] == ["welcome"]
    assert welcome[0]["restricted"]
    assert welcome[0]["streams"] == {}
    peer.say(type="offer.accept", offer="o", ref="r")
    peer.ping(1)
    peer.say(type="watch", topic="order:1")
    assert [frame["code"] for frame in peer.read()] == ["token_restricted"] * 3
    world.deliver(world.outbox.commit("tec", {"type": "order"}))
    assert world.engine.send_direct(TENANT, UserId("tec"), b"{}", world.now) == 0
    assert peer.read() == []
    peer.say(type="sos", key="k")
    _, _, is_json, send, _ = world.domains.sos_frames[0]
    assert is_json
    send(b'{"type":"sos_ack","key":"k"}')
    peer.say(type="heartbeat")
    peer.say(type="ack", safety=1)
    assert peer.read_types() == ["sos_ack", "heartbeat"]
    assert world.domains.presence == []


@pytest.mark.parametrize("topic", ["technician:tec", "area:sh"])
def test_a_token_with_other_roles_keeps_no_watch_that_it_does_not_allow(topic: str) -> None:
    world = HubWorld()
    world.rights.allow(topic, "ops", "tec" if topic.startswith("tech") else None)
    peer = world.join("ops", "ops")
    peer.say(type="watch", topic=topic)
    peer.read()
    peer.say(type="refresh", token="ops:ops:7200", ref="r")
    assert peer.read_types() == ["ok"], "the same rights as before"
    world.rights.deny(topic, "ops")
    peer.say(type="refresh", token="ops:customer:7300", ref="r")
    assert [(frame["type"], frame.get("topic")) for frame in peer.read()] == [("ok", None), ("unwatched", topic)]
    assert not peer.session.watching
    assert not peer.session.owner.is_urgent


def test_a_restricted_session_becomes_a_full_one_by_refresh() -> None:
    world = HubWorld()
    peer = world.join("tec", expires_in=-10)
    peer.read()
    peer.say(type="refresh", token="tec:technician:600")
    world.read_all()
    assert peer.read_types() == ["ok", "welcome", "ping_policy"]
    assert world.domains.presence == [("opened", "tec", "d1")]


def test_a_token_that_expires_in_an_sos_leaves_the_line_for_the_sos() -> None:
    from realtime.attention import Level

    world = HubWorld()
    peer = world.join("tec", expires_in=30)
    world.engine.attend(TENANT, UserId("tec"), "inc_1", Level.SOS, keep=True, now=world.now)
    peer.read()
    for _ in range(60):
        world.advance(1, step=0.5)
        peer.say(type="heartbeat")
    assert peer.wire.is_open
    assert [frame["restricted"] for frame in peer.read() if frame["type"] == "welcome"] == [True]
    peer.say(type="offer.accept", offer="o")
    assert peer.read_one("error")["code"] == "token_restricted"
    peer.say(type="sos", key="k2")
    assert len(world.domains.sos_frames) == 1
    world.engine.attend(TENANT, UserId("tec"), "inc_1", None, keep=False, now=world.now)
    peer.say(type="refresh", token="tec:technician:600")
    world.read_all()
    assert [frame["streams"]["main"]["how"] for frame in peer.read() if frame["type"] == "welcome"] == ["replayed"]


def test_a_revoked_user_is_sent_away_for_good() -> None:
    world = HubWorld()
    peer = world.join("tec")
    assert world.engine.revoke(TENANT, UserId("tec"), lambda who: True, world.now) == 1
    assert peer.wire.closed_with == CloseCode.REVOKED
    assert "reconnect" not in peer.read_types()


# -- requests -------------------------------------------------------------------------------------------


def test_a_request_is_answered_with_its_ref_by_ok_or_error() -> None:
    world = HubWorld()
    peer = world.join("tec")
    peer.read()
    peer.say(type="offer.accept", offer="o", ref="r1")
    peer.say(type="job.step", order="o", step="arrived", ref="r2")
    assert peer.read() == []
    world.domains.commands[0][2]({"order": "ord_1"})
    late = Conflict("not for long", code="dwell_needed", field="step", facts={"retry_in_s": 6})
    world.domains.commands[1][2](late)
    ok, error = peer.read()
    assert ok == {"type": "ok", "ref": "r1", "result": {"order": "ord_1"}}
    assert error == {
        "type": "error",
        "code": "dwell_needed",
        "message": "not for long",
        "field": "step",
        "ref": "r2",
        "facts": {"retry_in_s": 6},
    }


@pytest.mark.parametrize("outcome", [None, {"offer": "o"}, Conflict("too late", code="offer_taken")])
@pytest.mark.parametrize("end", ["lost", "sent away"])
def test_an_answer_that_comes_after_the_end_is_written_nowhere_and_counted(
    end: str, outcome: dict[str, object] | Conflict | None
) -> None:
    world = HubWorld()
    peer = world.join("tec")
    peer.say(type="offer.accept", offer="o", ref="r")
    peer.say(type="sos", key="k")
    if end == "lost":
        peer.lose()
    else:
        world.engine.revoke(TENANT, UserId("tec"), lambda who: True, world.now)
    peer.read()
    world.domains.commands[0][2](outcome)
    _, _, _, send, reply = world.domains.sos_frames[0]
    send(b'{"type":"sos_ack","key":"k"}')
    reply(Conflict("no", code="invalid"))
    assert (peer.wire.late, peer.read()) == ([], [])
    assert world.engine.counts()["answer_late"] == 3


def test_an_answer_goes_to_the_connection_that_asked_and_not_to_its_successor() -> None:
    world = HubWorld()
    first = world.join("tec")
    first.say(type="offer.accept", offer="o", ref="r")
    again = world.join("tec")
    again.read()
    world.domains.commands[0][2]({"offer": "o"})
    assert (first.wire.late, again.read()) == ([], [])


def test_an_unknown_type_is_an_error_and_not_the_end() -> None:
    peer = HubWorld().join("tec")
    peer.read()
    peer.say(type="dance", ref="r")
    error = peer.read_one("error")
    assert (error["code"], error["field"], error["ref"]) == ("unknown_type", "type", "r")
    assert peer.wire.is_open


def test_a_second_hello_is_refused() -> None:
    peer = HubWorld().join("tec")
    peer.read()
    peer.say(type="hello", token="tec:technician:10", device="d1")
    assert peer.read_one("error")["code"] == "unexpected"


def test_too_many_messages_are_refused_and_then_ended_but_never_an_sos() -> None:
    world = world_with(messages_per_s=1, messages_burst=5, violations_max=10)
    peer = world.join("tec")
    for i in range(30):
        peer.say(type="heartbeat")
        if i < 12:
            peer.say(type="sos", key=f"k{i}")
    assert len(world.domains.sos_frames) == 12
    assert peer.wire.closed_with == CloseCode.TOO_MANY
    assert "rate_limited" in {frame.get("code") for frame in peer.read()}


def test_the_bucket_fills_again_with_time_alone() -> None:
    world = world_with(messages_per_s=1, messages_burst=2)
    peer = world.join("tec")
    peer.read()
    for _ in range(3):
        peer.say(type="heartbeat")
    assert peer.read_types() == ["heartbeat", "heartbeat", "error"]
    world.advance(1.1)
    peer.say(type="heartbeat")
    assert peer.read_types() == ["heartbeat"]


@pytest.mark.parametrize("payload", [b'{"type":"sos","key":NaN', b"\x82\xa4type\xa3sos\xa3k"], ids=["json", "msgpack"])
@BOTH
def test_a_damaged_sos_reaches_safety_as_it_came(subprotocol: str, payload: bytes) -> None:
    world = HubWorld()
    peer = world.join("tec", subprotocol=subprotocol)
    peer.say_bytes(payload)
    _, raw, is_json, send, reply = world.domains.sos_frames[0]
    assert raw == payload
    assert is_json == payload.startswith(b"{")
    peer.read()
    send(b'{"type":"sos_ack","key":"k","incident":"i"}')
    reply(Unavailable("no"))
    assert peer.read_types() == ["sos_ack", "error"]


def test_positions_in_answers_come_in_the_frame_asked_for() -> None:
    world = HubWorld(RealtimeSettings(frame=Frame.GCJ02))
    peer = world.join("tec", crs="wgs84")
    peer.read()
    world.deliver(
        world.outbox.commit("tec", {"type": "order", "location": {"lat": 31.2, "lng": 121.4, "crs": "gcj02"}})
    )
    location = peer.read()[0]["location"]
    assert location["crs"] == "wgs84"
    assert abs(location["lat"] - 31.2) > 1e-4


def test_a_direct_message_reaches_all_devices_in_their_encodings() -> None:
    world = HubWorld()
    one, two = world.join("tec"), world.join("tec", device="d2", subprotocol="doorstep.v1.msgpack")
    one.read(), two.read()
    assert world.engine.send_direct(TENANT, UserId("tec"), b'{"type":"incident"}', world.now) == 2
    assert one.read() == two.read() == [{"type": "incident"}]
    assert world.engine.send_direct(TENANT, UserId("nobody"), b"{}", world.now) == 0


def test_an_answer_to_an_sos_reaches_a_device_whose_token_has_expired() -> None:
    world = HubWorld()
    full, expired = world.join("cus", "customer"), world.join("cus", "customer", device="d2", expires_in=-5)
    full.read(), expired.read()
    assert world.engine.send_direct(TENANT, UserId("cus"), b'{"type":"incident"}', world.now) == 1
    assert expired.read() == [], "a case is not for somebody whose token has ended"
    assert world.engine.send_direct(TENANT, UserId("cus"), b'{"type":"sos_ack"}', world.now, restricted=True) == 2
    assert expired.read_types() == ["sos_ack"]


class Stripped:
    """Rights to rows: nobody may read a secret any more."""

    def __init__(self) -> None:
        self.asked = 0

    def current(self, who: Principal, body: bytes) -> bytes:
        self.asked += 1
        return body.replace(b"secret", b"gone")

    def of_order(self, who: Principal, body: bytes) -> bytes | None:
        fields = json.loads(body)
        return self.current(who, body) if fields.get("order") == who.order else None


def test_what_is_sent_again_says_only_what_its_reader_may_know_now() -> None:
    world = HubWorld()
    rights = world.ports.rows = Stripped()
    peer = world.join("tec")
    row = world.outbox.commit("tec", {"type": "order", "order": "o1", "location": "secret"})
    world.deliver(row)
    assert peer.read()[-1]["location"] == "secret"
    assert rights.asked == 0, "a row that was just committed is as its reader may see it"
    peer.lose()
    again = world.join("tec", resume={"main": {"epoch": "e1", "seq": 0}})
    (replayed,) = [frame for frame in again.read() if frame["type"] == "order"]
    assert (replayed["seq"], replayed["location"]) == (1, "gone")


def test_frames_before_the_welcome_wait_in_bounded_memory() -> None:
    world = HubWorld()
    world.hold_reads = True
    peer = world.join("tec")
    for _ in range(20):
        peer.say(type="watch", topic="t" * 60_000, ref="r")
    assert sum(map(len, peer.session.waiting or ())) <= world.settings.sessions.attach_queue_bytes_max
    assert [frame["code"] for frame in peer.read() if frame["type"] == "error"] == ["overloaded"] * 18


# -- draining -------------------------------------------------------------------------------------------


def test_draining_sends_the_idle_away_first_with_jittered_advice_and_takes_an_sos_to_the_end() -> None:
    from realtime.attention import Level

    world = HubWorld()
    peers = {name: world.join(name) for name in ("sos", "idle1", "job", "idle2")}
    world.engine.attend(TENANT, UserId("sos"), "i", Level.SOS, keep=False, now=world.now)
    world.engine.attend(TENANT, UserId("job"), "o", Level.JOB, keep=False, now=world.now)
    world.engine.drain(world.now, 3.0)
    assert isinstance(world.engine.admit("1.2.3.4"), Unavailable)
    order = []
    for _ in range(8):
        world.advance(0.5)
        for name, peer in peers.items():
            if not peer.wire.is_open and name not in order:
                order.append(name)
        if peers["sos"].wire.is_open:
            peers["sos"].say(type="sos", key="k")
    assert order == ["idle1", "idle2", "job", "sos"]
    assert len(world.domains.sos_frames) >= 5
    assert world.engine.draining_left == 0
    advice = [peer.read()[-1] for peer in peers.values()]
    assert {frame["type"] for frame in advice} == {"reconnect"}
    assert len({frame["reconnect_after_ms"] for frame in advice}) > 1
    assert {peer.wire.closed_with for peer in peers.values()} == {CloseCode.DRAINING}


def test_who_connects_while_draining_is_sent_away_at_once() -> None:
    world = HubWorld()
    world.engine.drain(world.now, 1.0)
    assert world.connect().wire.closed_with == CloseCode.DRAINING


def test_nothing_is_kept_of_people_who_left() -> None:
    world = HubWorld()
    for i in range(20):
        world.join(f"tec{i}").lose()
    counts = world.engine.counts()
    assert (counts["sessions"], counts["people"], counts["topics"]) == (0, 0, 0)
    assert JSON_CODEC.is_json


def test_what_cannot_be_read_of_a_restricted_session_is_answered_by_name() -> None:
    world = HubWorld()
    peer = world.join("tec", expires_in=-10)
    peer.read()
    peer.say_bytes(b'{"type":"heartbeat",')
    assert [frame["code"] for frame in peer.read()] == ["malformed"]
    assert world.domains.sos_frames == []
    assert peer.wire.is_open
