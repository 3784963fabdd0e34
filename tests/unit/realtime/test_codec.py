import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ids import TenantId, UserId
from core.outbox import OutboxRow, Stream
from geo.frames import convert_point
from geo.point import Frame, LatLng
from realtime.codec import (
    DECODE_ERRORS,
    ECHO_LEN_MAX,
    JSON_CODEC,
    MSGPACK_CODEC,
    Codec,
    SosIn,
    codec_for,
    refresh_offer,
    row_frame,
    splice,
    transcode,
)
from realtime.errors import Unreadable
from realtime.messages import Ping

BOTH = pytest.mark.parametrize("codec", [JSON_CODEC, MSGPACK_CODEC], ids=["json", "msgpack"])
PING = {"type": "ping", "seq": 7, "fixed_at": 1.7e9, "lat": 31.2, "lng": 121.4, "accuracy_m": 5.0}
ROW = [7, 1.7e9, 31.2, 121.4, 5.0, None, None]


def pack(codec: Codec, message: Any) -> bytes:
    return bytes(codec.encode(message))


def refused(codec: Codec, payload: bytes) -> Unreadable:
    with pytest.raises(DECODE_ERRORS) as caught:
        codec.decode(payload)
    return codec.unreadable(payload, caught.value)


@BOTH
def test_a_ping_is_read_in_either_encoding(codec: Codec) -> None:
    assert codec.decode(pack(codec, PING)) == Ping(seq=7, fixed_at=1.7e9, lat=31.2, lng=121.4, accuracy_m=5.0)


def test_a_connection_without_a_subprotocol_speaks_json() -> None:
    assert codec_for("") is JSON_CODEC
    assert codec_for("doorstep.v1.msgpack") is MSGPACK_CODEC


@BOTH
@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "31.2", 91.0, None, [31.2], 2**63])
def test_a_latitude_that_is_none_is_named_in_the_error(codec: Codec, value: Any) -> None:
    error = refused(codec, pack(codec, PING | {"lat": value}))
    assert error.code in ("invalid", "malformed")
    if error.code == "invalid":
        assert error.field == "lat"


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"ping","seq":7,"fixed_at":1.7e9,"lat":NaN,"lng":1,"accuracy_m":1}',
        b'{"type":"ping","seq":7,"fixed_at":1.7e9,"lat":1e999,"lng":1,"accuracy_m":1}',
        b'{"type":"ping","seq":7,"fixed_at":1.7e9,"lat":1' + b"0" * 30 + b',"lng":1,"accuracy_m":1}',
        b'{"type":"ping","seq":' + b"9" * 5000 + b',"fixed_at":1.7e9,"lat":1,"lng":1,"accuracy_m":1}',
        b'{"type":"job.step","order":"\\ud800","step":"arrived"}',
        b'{"type":"watch","topic":"x","junk":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"type":"watch","topic":"x","cells":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"type":"watch","topic":"\xff\xfe"}',
        b"\x00\x01\x02",
        b"",
        b"[]",
        b"null",
        b'"ping"',
    ],
    ids=range(13),
)
def test_hostile_json_ends_in_a_named_error(payload: bytes) -> None:
    error = refused(JSON_CODEC, payload)
    assert error.code in ("invalid", "malformed")
    assert len(error.message) <= ECHO_LEN_MAX
    error.message.encode()
    assert JSON_CODEC.sos_encoding(payload) is None


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\x90",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa4type\xa4pin",
        b"\x82\xa4type\xa5watch\xa5topic\xa2\xff\xfe",
        b"\x82\xa4type\xa5watch\xa5cells" + b"\x91" * 30_000,
        b"\x91" * 60_000,
    ],
    ids=range(8),
)
def test_hostile_messagepack_ends_in_a_named_error(payload: bytes) -> None:
    error = refused(MSGPACK_CODEC, payload)
    assert error.code in ("invalid", "malformed")
    assert len(error.message) <= ECHO_LEN_MAX


@BOTH
def test_an_unknown_type_is_told_as_such_with_the_ref(codec: Codec) -> None:
    error = refused(codec, pack(codec, {"type": "dance", "ref": "r9"}))
    assert (error.code, error.field, error.ref) == ("unknown_type", "type", "r9")


@BOTH
def test_where_names_are_expected_the_error_tells_them(codec: Codec) -> None:
    error = refused(codec, pack(codec, {"type": "job.step", "order": "ord_1", "step": "ARRIVED", "ref": "r9"}))
    assert (error.code, error.field, error.ref) == ("invalid", "step", "r9")
    assert "must be one of en_route, arrived, in_service, finished, departed_safe, no_show" in error.message
    assert len(error.message) <= ECHO_LEN_MAX


@BOTH
def test_what_a_decoder_quotes_is_cut(codec: Codec) -> None:
    error = refused(codec, pack(codec, {"type": "x" * 5_000}))
    assert len(error.message) <= ECHO_LEN_MAX


@given(st.binary(max_size=400))
def test_any_bytes_end_in_a_message_or_a_named_error(payload: bytes) -> None:
    for codec in (JSON_CODEC, MSGPACK_CODEC):
        try:
            codec.decode(payload)
        except DECODE_ERRORS as error:
            told = codec.unreadable(payload, error)
        else:
            continue
        assert told.code in ("invalid", "malformed", "unknown_type")
        codec.sos_encoding(payload)
        codec.salvage_pings(payload)
        codec.count_if_pings(payload)
        codec.reads_as_ping(payload)


# -- members given twice --------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [b"\x83", b"\xde\x00\x03", b"\xdf\x00\x00\x00\x03"])
def test_a_member_given_twice_in_messagepack_is_refused(head: bytes) -> None:
    parts = b"\xa4type\xa9heartbeat\xa1x\x01"
    MSGPACK_CODEC.check_members(head[:-1] + bytes((head[-1] - 1,)) + parts)
    with pytest.raises(Unreadable) as caught:
        MSGPACK_CODEC.check_members(head + parts + b"\xa1x\x02")
    assert caught.value.code == "member_repeated"


# -- SOS ------------------------------------------------------------------------------------------------


@BOTH
def test_an_sos_is_known_by_its_type_whatever_its_fields_hold(codec: Codec) -> None:
    payload = pack(codec, {"type": "sos", "key": 7, "lat": "here", "note": ["x"] * 100})
    assert isinstance(codec.decode(payload), SosIn)


DAMAGED = [
    b'{"type":"sos","key":"k1","lat":NaN}',
    b'{"type":"sos","key":"k1"',
    b'{"type":"sos',
    b"{'type':'sos','key':'k1'}",
    b'{"key":"k1", "type" : "SOS", "lat": }',
    b'{"type":"sos","note":"\xff\xfe"}',
    b'{"type":"sos","junk":' + b"[" * 30_000 + b"}",
    b'{"type":"ping","type":"sos","key":"k"}',
    rb'{"type":"\u0073os","key":"k1"',
    rb'{"key":"k1","\u0074y\u0070e":"s\u006F\u0053","lat":',
    b"\x82\xa4type\xa3sos\xa3key",
    b"\x82\xd9\x04type\xd9\x03sos\xa3key\xc1",
]


@pytest.mark.parametrize("payload", DAMAGED, ids=range(len(DAMAGED)))
@BOTH
def test_a_damaged_frame_that_names_sos_is_an_sos_on_either_connection(codec: Codec, payload: bytes) -> None:
    try:
        assert isinstance(codec.decode(payload), SosIn)
    except DECODE_ERRORS:
        assert codec.sos_encoding(payload) is not None


@pytest.mark.parametrize(
    "payload",
    [b'{"type":"sos.cancel","incident":1}', b'{"type":"sos_ack"', b'{"note":"sos"', b'{"type":"ping","note":"a sos"'],
)
def test_what_only_mentions_sos_is_none(payload: bytes) -> None:
    assert JSON_CODEC.sos_encoding(payload) is None


@pytest.mark.parametrize("head", [b'"type":', b'"type"', b'type="'])
def test_looking_for_an_sos_takes_time_linear_in_the_bytes(head: bytes) -> None:
    # Spaces that two repetitions share among themselves took half a minute of the loop's time.
    started_at = time.thread_time()
    assert JSON_CODEC.sos_encoding(head + b" " * 130_000 + b"x") is None
    assert JSON_CODEC.sos_encoding((head + b" " * 30) * 3_500) is None
    assert JSON_CODEC.sos_encoding(head + rb"\u0074" * 20_000) is None
    assert time.thread_time() - started_at < 0.2


# -- telling pings without decoding them ----------------------------------------------------------------


@BOTH
def test_a_ping_is_told_by_its_first_bytes(codec: Codec) -> None:
    batch = pack(codec, {"type": "pings", "pings": [ROW, ROW]})
    assert codec.count_if_pings(pack(codec, PING)) == 1
    assert codec.count_if_pings(batch) == 2
    assert codec.first_seq(batch) == 7
    assert codec.ping_seq(pack(codec, PING)) == 7


@BOTH
@pytest.mark.parametrize(
    "message",
    [
        {"type": "sos", "key": "k"},
        {"type": "heartbeat"},
        {"type": "ack", "main": 1},
        {"type": "offer.accept", "offer": "o"},
        {"type": "pin"},
        {"type": "ping", "note": "type sos"},
        {"seq": 1, "type": "ping"},
    ],
    ids=range(7),
)
def test_nothing_but_a_ping_is_taken_for_one(codec: Codec, message: dict[str, Any]) -> None:
    assert codec.count_if_pings(pack(codec, message)) == 0


@BOTH
def test_a_ping_that_hides_an_sos_is_decoded(codec: Codec) -> None:
    if codec is JSON_CODEC:
        payload = b'{"type":"ping","type":"sos","key":"k"}'
    else:
        payload = b"\x83\xa4type\xa4ping\xa4type\xa3sos\xa3key\xa1k"
    assert codec.count_if_pings(payload) == 0


def test_a_broken_batch_counts_no_pings() -> None:
    assert JSON_CODEC.count_if_pings(b'{"type":"pings","pings":[[1') == 0
    assert JSON_CODEC.first_seq(b'{"type":"pings","pings":[]}') is None


# -- bad rows -------------------------------------------------------------------------------------------


@BOTH
def test_bad_rows_are_set_aside_and_good_ones_live_on(codec: Codec) -> None:
    rows = [ROW, [8, 1.7e9, 95.0, 121.4, 5.0, None, None], ["x"], [10, *ROW[1:]], [], {"a": 1}]
    partial = codec.salvage_pings(pack(codec, {"type": "pings", "sent_at": 1.7e9, "crs": "gcj02", "pings": rows}))
    assert partial is not None
    assert [row[0] for row in partial.rows] == [7, 10]
    assert (partial.invalid, partial.invalid_seqs) == (4, [8, 9, 11, 12])
    assert (partial.sent_at, partial.crs) == (1.7e9, "gcj02")


@BOTH
@pytest.mark.parametrize("bad", [{"crs": "mars"}, {"sent_at": True}, {"crs": 7}])
def test_without_a_known_frame_or_clock_no_row_is_guessed(codec: Codec, bad: dict[str, Any]) -> None:
    partial = codec.salvage_pings(pack(codec, {"type": "pings", "pings": [ROW, ROW], **bad}))
    assert partial is not None
    assert (partial.rows, partial.invalid, partial.invalid_seqs) == ([], 2, [7, 7])


def test_nan_in_a_row_of_messagepack_spoils_that_row_only() -> None:
    rows = [ROW, [8, 1.7e9, float("nan"), 121.4, 5.0, None, None]]
    partial = MSGPACK_CODEC.salvage_pings(msgspec.msgpack.encode({"type": "pings", "pings": rows}))
    assert partial is not None
    assert (len(partial.rows), partial.invalid) == (1, 1)


def test_1e999_in_a_row_of_json_spoils_that_row_only() -> None:
    payload = b'{"type":"pings","pings":[[7,1.7e9,31,121,5,null,null],[8,1.7e9,1e999,121,5,null,null]]}'
    partial = JSON_CODEC.salvage_pings(payload)
    assert partial is not None
    assert (len(partial.rows), partial.invalid) == (1, 1)


@BOTH
@pytest.mark.parametrize("rows", [[], [ROW] * 513])
def test_a_batch_of_no_rows_or_too_many_is_no_batch(codec: Codec, rows: list[Any]) -> None:
    assert codec.salvage_pings(pack(codec, {"type": "pings", "pings": rows})) is None


# -- outgoing -------------------------------------------------------------------------------------------


def row(body: bytes) -> OutboxRow:
    return OutboxRow(TenantId("t"), UserId("u"), Stream.MAIN, 5, 'e"1', body, "", 0.0)


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=8), max_size=4))
def test_splicing_adds_members_and_changes_none(value: dict[str, Any]) -> None:
    value.pop("stream", None)
    value.pop("seq", None)
    spliced = json.loads(splice(json.dumps(value).encode(), stream="main", seq=3))
    assert spliced == value | {"stream": "main", "seq": 3}


def test_a_row_goes_out_with_its_place_in_the_stream() -> None:
    frame = json.loads(row_frame(row(b'{"type":"order","order":"o1"}'), 0.0))
    assert frame == {"type": "order", "order": "o1", "stream": "main", "seq": 5, "epoch": 'e"1'}


def test_an_offer_sent_again_says_what_remains_of_it_now() -> None:
    body = b'{"type":"offer","expires_at":100.0,"remaining_ms":20000}'
    assert json.loads(refresh_offer(body, 88.5))["remaining_ms"] == 11_500
    assert json.loads(refresh_offer(body, 200.0))["remaining_ms"] == 0
    assert refresh_offer(b'{"type":"offer.closed","offer":"o"}', 1.0) == b'{"type":"offer.closed","offer":"o"}'


def test_every_position_in_a_message_is_converted_to_the_frame_asked_for() -> None:
    place = {"lat": 31.2, "lng": 121.4, "crs": "gcj02", "address": "x"}
    body = msgspec.json.encode({"type": "snapshot", "orders": [{"location": place}], "fix": dict(place), "lat": 1})
    moved = msgspec.msgpack.decode(transcode(body, to_json=False, crs=Frame.WGS84))
    expected = convert_point(LatLng(31.2, 121.4), Frame.GCJ02, Frame.WGS84)
    for found in (moved["orders"][0]["location"], moved["fix"]):
        assert found["crs"] == "wgs84"
        assert found["lat"] == pytest.approx(expected.lat_deg, abs=1e-7)
        assert found["lng"] == pytest.approx(expected.lng_deg, abs=1e-7)
    assert moved["lat"] == 1


def test_what_needs_no_change_is_not_touched() -> None:
    body = b'{"type":"order"}'
    assert transcode(body, to_json=True, crs=None) is body
