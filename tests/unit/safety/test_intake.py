"""An SOS is read field by field; damage costs the field, never the alarm."""

import json
import math
import struct
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.units import ACCURACY_M_MAX
from geo.distance import distance_m
from geo.point import Frame, LatLng
from safety.intake import FRAME_UNKNOWN_M, NOTE_LEN_MAX, decode_sos
from safety.model import KEY_MADE_PREFIX, FixSource, SosReport

T0 = 1_800_000_000.0
GOOD: dict[str, Any] = {
    "type": "sos", "key": "tap-1", "lat": 31.23, "lng": 121.47, "accuracy_m": 8.5,
    "fixed_at": T0 - 7, "sent_at": T0 - 4, "order": "ord_x", "silent": True, "battery": 0.5, "note": "help",
}  # fmt: skip


def read(fields: object, *, is_json: bool = True, frame: Frame = Frame.WGS84) -> SosReport:
    payload = json.dumps(fields).encode() if is_json else msgspec.msgpack.encode(fields)
    return decode_sos(payload, is_json, T0, frame)


def text(**changes: str) -> bytes:
    """A frame with raw JSON in place of some values."""
    parts = {name: json.dumps(value) for name, value in GOOD.items()} | changes
    return ("{" + ",".join(f'"{name}":{value}' for name, value in parts.items()) + "}").encode()


@pytest.mark.parametrize("is_json", [True, False])
def test_a_whole_report_is_read_whole(is_json: bool) -> None:
    report = read(GOOD, is_json=is_json)
    assert report.ignored == ()
    assert report.key == "tap-1"
    assert report.fix is not None
    assert report.fix.point == LatLng(31.23, 121.47)
    assert report.fix.accuracy_m == 8.5
    assert report.fix.source is FixSource.SOS
    assert report.fix.fixed_at == T0 - 3
    assert (report.order_id, report.silent, report.battery, report.note) == ("ord_x", True, 0.5, "help")


@pytest.mark.parametrize("is_json", [True, False])
def test_a_key_alone_is_an_sos(is_json: bool) -> None:
    assert read({"type": "sos", "key": "k"}, is_json=is_json) == SosReport(key="k")


BAD_VALUES: list[tuple[str, object]] = [
    ("lat", True), ("lat", "31.2"), ("lat", [31.2]), ("lat", {"deg": 1}), ("lng", 180.0001), ("lat", -90.0001),
    ("lat", 10**17), ("accuracy_m", -1), ("accuracy_m", "close"), ("fixed_at", "now"), ("fixed_at", 4e10),
    ("sent_at", False), ("order", 7), ("order", "o" * 65), ("silent", 1), ("silent", "yes"), ("battery", 55),
    ("note", 5), ("note", ["a"]), ("crs", "wgs-84"), ("crs", 84), ("crs", {}),
]  # fmt: skip


@pytest.mark.parametrize("is_json", [True, False])
@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
def test_an_unreadable_field_costs_only_itself(name: str, value: object, is_json: bool) -> None:
    report = read(GOOD | {name: value}, is_json=is_json)
    assert report.key == "tap-1"
    assert name in report.ignored
    others = {"order": report.order_id, "note": report.note, "battery": report.battery, "silent": report.silent}
    for field, got in others.items():
        if field != name:
            assert got == GOOD[field]
    assert (report.fix is None) == (name in ("lat", "lng"))


@pytest.mark.parametrize(
    "raw", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 5_000, "-" + "9" * 400, "1" * 30 + ".5e-9999"]
)
@pytest.mark.parametrize("name", ["lat", "accuracy_m", "battery", "fixed_at"])
def test_numbers_that_json_should_not_hold_are_dropped(name: str, raw: str) -> None:
    report = decode_sos(text(**{name: raw}), True, T0, Frame.WGS84)
    assert report.key == "tap-1"
    assert report.note == "help"
    if raw.endswith("e-9999"):
        return  # a roundabout zero is a number
    assert name in report.ignored
    assert "frame" not in report.ignored


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2**63, -(2**63)])
def test_numbers_that_messagepack_lets_through_are_dropped(value: float) -> None:
    report = read(GOOD | {"lat": value, "battery": value}, is_json=False)
    assert report.fix is None
    assert report.battery is None
    assert report.ignored == ("lat", "lng", "battery")


def test_swapped_coordinates_are_named_and_not_put_right() -> None:
    report = read(GOOD | {"lat": 121.47, "lng": 31.23})
    assert report.fix is None
    assert report.ignored == ("lat/lng swapped",)


def test_null_island_is_nowhere_but_its_neighbourhood_is_a_place() -> None:
    assert read(GOOD | {"lat": 0, "lng": -0.0}).ignored == ("null_island",)
    assert read(GOOD | {"lat": 0.0001, "lng": 0}).fix is not None


def test_half_a_position_is_none() -> None:
    report = read({"key": "k", "lat": 31.2})
    assert report.fix is None
    assert set(report.ignored) == {"lat", "lng"}


def test_positions_end_up_in_the_platforms_frame() -> None:
    raw = LatLng(31.23, 121.47)
    report = read(GOOD, frame=Frame.GCJ02)
    assert report.fix is not None
    assert 200 < distance_m(report.fix.point, raw) < 1_400
    same = read(GOOD | {"crs": "gcj02"}, frame=Frame.GCJ02)
    assert same.fix is not None
    assert same.fix.point == raw


def test_an_unknown_frame_widens_the_radius_instead_of_being_guessed() -> None:
    report = read(GOOD | {"crs": "mars"})
    assert report.fix is not None
    assert report.fix.accuracy_m == FRAME_UNKNOWN_M
    assert report.ignored == ("crs",)


def test_without_an_accuracy_the_radius_is_unknown() -> None:
    report = read({"key": "k", "lat": 31.2, "lng": 121.4})
    assert report.fix is not None
    assert report.fix.accuracy_m == ACCURACY_M_MAX


@pytest.mark.parametrize(
    ("times", "age_s", "ignored"),
    [
        ({"fixed_at": 1_000.0, "sent_at": 1_005.0}, 5.0, ()),  # a phone in 1970
        ({"fixed_at": T0 + 1e6, "sent_at": T0 + 1e6 + 3_600}, 3_600.0, ()),  # a phone in the future, an old fix
        ({"fixed_at": T0 - 60}, 60.0, ()),
        ({"fixed_at": T0 + 60}, 0.0, ("fixed_at",)),
        ({"fixed_at": T0 - 90_000}, 0.0, ("fixed_at",)),
        ({"fixed_at": 5_000.0, "sent_at": 4_000.0}, 0.0, ("fixed_at",)),
        ({"sent_at": T0}, 0.0, ()),
        ({"fixed_at": T0 - 259_200, "sent_at": T0}, 259_200.0, ()),  # three days offline
    ],
)
def test_the_age_of_a_fix_survives_wrong_clocks(times: dict[str, float], age_s: float, ignored: tuple[str]) -> None:
    report = read({"key": "k", "lat": 31.2, "lng": 121.4, **times})
    assert report.fix is not None
    assert report.fix.fixed_at == pytest.approx(T0 - age_s)
    assert report.ignored == ignored


@pytest.mark.parametrize(
    ("key", "is_json"),
    [
        *((key, is_json) for key in (None, 5, "", "k" * 65, ["k"], True, "a\x00b") for is_json in (True, False)),
        ("a\ud800", True),
    ],
)
def test_without_a_usable_key_the_bytes_make_one(key: object, is_json: bool) -> None:
    first, again = (read(GOOD | {"key": key}, is_json=is_json) for _ in range(2))
    other = read(GOOD | {"key": key, "note": "other"}, is_json=is_json)
    assert first.key.startswith(KEY_MADE_PREFIX)
    assert len(first.key) <= 64
    assert first == again
    assert first.key != other.key
    assert "key" in first.ignored
    assert first.note == "help"


def test_text_is_made_fit_for_every_encoder() -> None:
    report = decode_sos(text(note='"\\ud800 a\\u0000b \\ud83d\\ude00"'), True, T0, Frame.WGS84)
    assert report.note == "? ab 😀"
    json.dumps(report.note).encode()


def test_a_long_note_is_cut_and_said_so() -> None:
    report = read(GOOD | {"note": "x" * 65_536})
    assert report.note == "x" * NOTE_LEN_MAX
    assert report.ignored == ("note (cut)",)


def test_a_note_keeps_its_lines_and_loses_what_no_screen_should_obey() -> None:
    report = read(GOOD | {"note": "\x1b[2Jat\tthe door\nhe \u202ehas\x07 a knife\x9f\r\n"})
    assert report.note == "[2Jat\tthe door\nhe has a knife\n"
    assert report.ignored == ()


def test_invalid_utf8_in_messagepack_text_costs_the_letters_only() -> None:
    payload = msgspec.msgpack.encode(GOOD).replace(b"help", b"h\xff\xfep")
    report = decode_sos(payload, False, T0, Frame.WGS84)
    assert report.ignored == ()
    assert report.note == "h��p"
    assert report.fix is not None


@pytest.mark.parametrize(
    "nested", [b"[" * 60_000 + b"]" * 60_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b"[" * 60_000]
)
def test_deep_nesting_costs_the_frame_its_wholeness_and_nothing_else(nested: bytes) -> None:
    report = decode_sos(text(extra=nested.decode()), True, T0, Frame.WGS84)
    assert report.key == "tap-1"
    assert report.fix is not None
    assert report.fix.point == LatLng(31.23, 121.47)
    assert report.silent
    assert report.note == "help"


def test_deep_nesting_in_messagepack_is_survived() -> None:
    payload = msgspec.msgpack.encode(GOOD)
    nested = bytes((payload[0] + 1,)) + payload[1:] + b"\xa5extra" + b"\x91" * 60_000 + b"\x01"
    report = decode_sos(nested, False, T0, Frame.WGS84)
    assert report.key == "tap-1"
    assert report.fix is not None


def test_duplicate_keys_are_survived() -> None:
    report = decode_sos(b'{"type":"sos","key":"a","key":"b"}', True, T0, Frame.WGS84)
    assert report.key == "b"


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"sos","key":"k","lat":31.2,"lng":121.4,"note":"cut of',
        b'{"type":"sos","key":"k","lat":31.2,"lng":121.4,,}',
        b'\xef\xbb\xbf{"type":"sos" "key":"k","lat":31.2,"lng":121.4}',
        b'[{"type":"sos","key":"k","lat":31.2,"lng":121.4}]',
        b'{"type":"sos","key":"k","lat":31.2,"lng":121.4}{"type":"ping"}',
        b'\x00\xff{"type":"sos","key" : "k", "lat"\n:31.2 ,"lng":\t121.4 }',
        rb'{"type":"\u0073os","\u006b\u0065y":"\u006B","lat":31.2,"\u006cng":121.4,',
    ],
)
def test_a_damaged_frame_is_searched_for_its_fields(payload: bytes) -> None:
    report = decode_sos(payload, True, T0, Frame.WGS84)
    assert report.key == "k"
    assert report.fix is not None
    assert report.fix.point == LatLng(31.2, 121.4)
    assert report.ignored[0] == "frame"


def test_a_number_cut_in_the_middle_is_not_another_place() -> None:
    report = decode_sos(b'{"type":"sos","key":"k","lat":31.2,"lng":12', True, T0, Frame.WGS84)
    assert report.fix is None
    assert set(report.ignored) == {"frame", "lat", "lng"}


def test_a_key_cut_in_the_middle_is_not_another_key() -> None:
    report = decode_sos(b'{"type":"sos","key":"abcde', True, T0, Frame.WGS84)
    assert report.key.startswith(KEY_MADE_PREFIX)


@pytest.mark.parametrize("length", range(10, 60, 7))
def test_messagepack_cut_anywhere_still_raises(length: int) -> None:
    payload = msgspec.msgpack.encode({"type": "sos", "key": "k", "lat": 31.2, "lng": 121.4, "note": "n" * 40})
    report = decode_sos(payload[:length], False, T0, Frame.WGS84)
    assert report.key == "k" or report.key.startswith(KEY_MADE_PREFIX)
    assert (report.fix is not None) == (length >= payload.index(b"\xa4note"))


def test_a_frame_in_the_other_encoding_is_searched_too() -> None:
    as_json, as_msgpack = json.dumps(GOOD).encode(), msgspec.msgpack.encode(GOOD)
    for payload, is_json in ((as_json, False), (as_msgpack, True)):
        report = decode_sos(payload, is_json, T0, Frame.WGS84)
        assert report.key == "tap-1"
        assert report.fix is not None


def test_maps_with_odd_keys_are_searched() -> None:
    payload = b"\x83\x01\x02\xa3key\xa1k\xa4note\xa2hi"
    report = decode_sos(payload, False, T0, Frame.WGS84)
    assert (report.key, report.note) == ("k", "hi")


NASTY = [b'"key"' * 12_000, b'"lat":' * 10_000, b'"note":"' + b"\\" * 65_000, b'"lat":' + b"1" * 65_000,
         b'"lat"' + b" " * 65_000 + b":", b'"note":"' + b'\\"' * 32_000, b"\xa3key" * 16_000]  # fmt: skip


@pytest.mark.parametrize("payload", NASTY)
@pytest.mark.parametrize("is_json", [True, False])
def test_the_search_is_linear(payload: bytes, is_json: bool) -> None:
    began = time.thread_time()
    decode_sos(payload, is_json, T0, Frame.WGS84)
    assert time.thread_time() - began < 0.2


def test_a_giant_frame_is_searched_in_its_beginning() -> None:
    report = decode_sos(text(note='"' + "x" * 2_000_000 + '"'), True, T0, Frame.WGS84)
    assert report.key == "tap-1"
    assert report.fix is not None


def sound(report: SosReport) -> None:
    """What every report must be, whatever it was made of."""
    assert 0 < len(report.key) <= 64
    json.dumps([report.key, report.note, report.order_id, report.ignored], ensure_ascii=False).encode()
    assert "\x00" not in report.key + report.note + (report.order_id or "")
    assert len(report.note) <= NOTE_LEN_MAX
    assert len(report.ignored) == len(set(report.ignored)) <= 16
    if report.fix is not None:
        assert abs(report.fix.point.lat_deg) <= 90.1
        assert abs(report.fix.point.lng_deg) <= 180.1
        assert 0 <= report.fix.accuracy_m <= ACCURACY_M_MAX
        assert 0 <= report.fix.fixed_at <= T0
    assert report.battery is None or 0 <= report.battery <= 1


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
reports = st.fixed_dictionaries({"type": st.just("sos")}, optional=dict.fromkeys([*GOOD, "crs"][1:], json_values))


def check_any_values(fields: dict[str, Any], is_json: bool) -> None:
    for frame in Frame:
        if is_json:
            sound(decode_sos(json.dumps(fields).encode(), True, T0, frame))
        else:
            plain = json.loads(json.dumps(fields).encode("utf-8", "replace").replace(b"\\ud", b"?"), strict=False)
            sound(decode_sos(msgspec.msgpack.encode(plain), False, T0, frame))


def check_damage(seed: bytes, cut: int, at: int, junk: bytes, is_json: bool) -> None:
    at %= len(seed)
    sound(decode_sos(seed[:at] + junk + seed[at + cut :], is_json, T0, Frame.GCJ02))


AS_JSON, AS_MSGPACK = json.dumps(GOOD).encode(), msgspec.msgpack.encode(GOOD)
damage = {"cut": st.integers(0, 40), "at": st.integers(0, 4_000), "junk": st.binary(max_size=12)}


@given(fields=reports, is_json=st.booleans())
@settings(max_examples=25)
def test_any_values_in_any_field_make_a_sound_report(fields: dict[str, Any], is_json: bool) -> None:
    check_any_values(fields, is_json)


@given(is_json=st.booleans(), **damage)
@settings(max_examples=150)
def test_any_damage_to_the_bytes_makes_a_sound_report(cut: int, at: int, junk: bytes, is_json: bool) -> None:
    check_damage(AS_JSON if is_json else AS_MSGPACK, cut, at, junk, is_json)


@given(payload=st.binary(max_size=400), is_json=st.booleans())
@settings(max_examples=100)
def test_any_bytes_make_a_sound_report(payload: bytes, is_json: bool) -> None:
    sound(decode_sos(payload, is_json, T0, Frame.WGS84))


@pytest.mark.slow
@pytest.mark.full
@given(fields=reports, is_json=st.booleans(), **damage)
@settings(max_examples=20_000)
def test_many_values_and_much_damage_make_sound_reports(
    fields: dict[str, Any], is_json: bool, cut: int, at: int, junk: bytes
) -> None:
    check_any_values(fields, is_json)
    check_damage(AS_JSON if is_json else AS_MSGPACK, cut, at, junk, is_json)


@pytest.mark.parametrize("tag", range(256))
def test_every_messagepack_tag_is_survived(tag: int) -> None:
    payload = b"\x82\xa3key\xa1k\xa3lat" + bytes((tag,)) + struct.pack(">d", 3.5)
    report = decode_sos(payload, False, T0, Frame.WGS84)
    assert report.key == "k"
    assert report.fix is None


SUITE = Path(__file__).parents[2] / "data" / "malformed"


@pytest.mark.slow
@pytest.mark.parametrize("is_json", [True, False])
def test_the_json_parsing_suite_inside_an_sos_still_raises_it(is_json: bool) -> None:
    for path in sorted(SUITE.glob("*.json")):
        damage = path.read_bytes()
        for payload in (
            damage,
            b'{"type":"sos","key":"k","extra":' + damage + b',"lat":31.2,"lng":121.4}',
            b'{"type":"sos","key":"k","lat":' + damage + b',"lng":121.4}',
            b'{"type":"sos","key":"k","note":"' + damage + b'"}',
        ):
            report = decode_sos(payload, is_json, T0, Frame.GCJ02)
            sound(report)
            # Damage may bring its own fields; it must never make the key of an SOS that has one unreadable.
            assert b'"key":"k"' not in payload or report.key == "k" or b'"key"' in damage, path.name
