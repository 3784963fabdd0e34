"""Bytes that clients must not send: generated from the catalogue, and the files of the JSON parsing suite."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
from msgspec import Raw, inspect

from api import bodies, care_bodies, incident_bodies, safety_bodies, sign_in_bodies, tracker_bodies
from api.exports import AllowExportIn, ExportIn
from api.holds import HoldIn
from realtime import messages

MALFORMED: Final = Path(__file__).parents[1] / "data" / "malformed"
NOW: Final = 1_800_000_000.0
DEEP: Final = 100_000


def malformed_files() -> dict[str, bytes]:
    """The whole suite: the files, and the two that are made here because they are large."""
    files = {path.name: path.read_bytes() for path in sorted(MALFORMED.glob("*.json"))}
    files["n_structure_100000_opening_arrays.json"] = b"[" * DEEP
    files["n_structure_open_array_object.json"] = b'[{"":' * 50_000 + b"\n"
    return files


# -- values ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """One hostile value in both encodings; ``is_poison`` when no field at all may take it."""

    name: str
    json: bytes
    msgpack: bytes
    is_poison: bool = False


def _plain(name: str, value: object) -> Value:
    return Value(name, msgspec.json.encode(value), msgspec.msgpack.encode(value))


def _text(name: str, raw_json: bytes, raw: bytes, *, is_poison: bool) -> Value:
    return Value(name, b'"' + raw_json + b'"', b"\xdb" + len(raw).to_bytes(4, "big") + raw, is_poison)


VALUES: Final = (
    Value("NaN", b"NaN", b"\xcb\x7f\xf8" + bytes(6), True),
    Value("Infinity", b"Infinity", b"\xcb\x7f\xf0" + bytes(6), True),
    Value("-Infinity", b"-Infinity", b"\xcb\xff\xf0" + bytes(6), True),
    Value("1e999", b"1e999", b"\xca\x7f\x80\x00\x00", True),
    Value("5,000 digits", b"9" * 5_000, b"\xcf" + b"\xff" * 8, True),
    Value("5,000 digits and a point", b"-" + b"9" * 5_000 + b".5", b"\xd3\x80" + bytes(7), True),
    Value("nested", b"[" * 5_000 + b"]" * 5_000, b"\x91" * 5_000 + b"\x90", True),
    Value("nested objects", b'{"a":' * 2_000 + b"1" + b"}" * 2_000, b"\x81\xa1a" * 2_000 + b"\x01", True),
    _text("lone surrogate", rb"\ud800", b"\xed\xa0\x80", is_poison=True),
    _text("surrogates reversed", rb"\udc00\ud800", b"\xed\xb0\x80\xed\xa0\x80", is_poison=True),
    _text("not UTF-8", b"\xff\xfe", b"\xff\xfe", is_poison=True),
    _text("9,000 characters", b"x" * 9_000, b"x" * 9_000, is_poison=True),
    _text("NUL", rb"a\u0000b", b"a\x00b", is_poison=False),
    Value("bytes and raw NUL", b'"a\x00b"', b"\xc4\x03a\x00b", True),
    Value("extension", b"-", b"\xc7\x04\x63abcd", True),
    Value("timestamp", b"01", b"\xd6\xff" + bytes(4), True),
    Value("nothing", b",", b"\xc1", True),
    _plain("null", None),
    _plain("true", True),
    _plain("false", False),
    _plain("a word", "here"),
    _plain("a number as text", "31.2"),
    _plain("empty text", ""),
    _plain("-1", -1),
    _plain("7", 7),
    _plain("181", 181),
    _plain("1.5", 1.5),
    _plain("1e300", 1e300),
    _plain("2**53", 2**53),
    _plain("empty list", []),
    _plain("list of lists", [[]]),
    _plain("list of numbers", [1, 2, 3]),
    _plain("empty object", {}),
    _plain("object", {"lat": 1, "": [None]}),
)
NOT_NUMBERS: Final = frozenset({"true", "false", "a word", "a number as text", "empty text", "empty list", "object"})
"""Values that no field of a number may take, however friendly the decoder."""


# -- messages -------------------------------------------------------------------------------------------

PING_ROW: Final = (7, NOW, 22.54, 114.05, 8.0, 3.0, 90.0)
EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "hello": {
        "device": "phone", "token": "a.b.c", "app": "test", "crs": "wgs84", "clock_rate": 1.0,
        "resume": {"main": {"epoch": "e", "seq": 1}, "safety": {"epoch": "e", "seq": 1}},
    },
    "refresh": {"token": "a.b.c"},
    "heartbeat": {},
    "ack": {"main": 0, "safety": 0},
    "ping": {
        "seq": 7, "fixed_at": NOW, "lat": 22.54, "lng": 114.05, "accuracy_m": 8.0, "sent_at": NOW, "speed_mps": 3.0,
        "heading_deg": 90.0, "battery": 0.5, "mock": False, "crs": "wgs84",
    },
    "pings": {"pings": [PING_ROW], "sent_at": NOW, "mock": False, "crs": "wgs84"},
    "watch": {"topic": "area:shenzhen", "bbox": [113.0, 22.0, 115.0, 23.0], "cells": ["891203b1a6bffff"]},
    "unwatch": {"topic": "area:shenzhen"},
    "duty": {"on": True, "city": "shenzhen"},
    "offer.accept": {"offer": "ofr_none"},
    "offer.decline": {"offer": "ofr_none", "reason": "busy"},
    "job.step": {"order": "ord_none", "step": "arrived", "evidence": "photo"},
    "drill.tap": {},
    "checkin.answer": {"checkin": "chk_none", "answer": "ok"},
    "sos.cancel": {"incident": "inc_none", "pin": "482193"},
    "incident.ack": {"incident": "inc_none"},
    "incident.join": {"incident": "inc_none"},
    "incident.note": {"incident": "inc_none", "text": "rang", "call_to": "subject", "outcome": "no_answer"},
    "incident.respond": {"incident": "inc_none", "fence": 1},
    "incident.decline": {"incident": "inc_none"},
    "incident.assign": {"incident": "inc_none", "responder": "tec_1"},
    "incident.on_scene": {"incident": "inc_none", "responder": "tec_1", "fence": 1},
    "incident.reopen": {"incident": "inc_none", "note": "not safe"},
    "incident.close": {"incident": "inc_none", "note": "reviewed"},
    "incident.resolve": {"incident": "inc_none", "disposition": "false_test", "note": "nothing"},
}  # fmt: skip
"""A good one of each message, with every field but ``ref``."""

STRUCTS: Final[dict[str, type[msgspec.Struct]]] = {
    str(struct.__struct_config__.tag): struct for struct in get_args(messages.ClientMessage)
}

REQUESTS: Final = frozenset(
    tag for tag, struct in STRUCTS.items() if "ref" in struct.__struct_fields__
)  # answered with their own ref

BODIES: Final[dict[tuple[str, str], tuple[type[msgspec.Struct] | None, dict[str, Any]]]] = {
    ("post", "/v1/orders"): (
        bodies.OrderIn,
        {
            "service": "massage", "duration_s": 3600.0, "customer": None, "skills": ["massage"], "mode": "auto",
            "technician": None, "fallback": "auto", "scheduled_for": None, "gender_preference": "female",
            "tier_min": "",
            "location": {
                "lat": 22.54, "lng": 114.05, "address": "1 Road", "crs": "wgs84", "unit": "7", "entrance_note": "",
            },
            "contact": {"name": "Li", "phone": "138"}, "price": {"service_fen": 1, "travel_fen": 0},
        },
    ),
    ("post", "/v1/orders/{id}/cancel"): (bodies.CancelIn, {"reason": "no", "fee_fen_max": None, "waive_fee": False}),
    ("post", "/v1/orders/{id}/confirm"): (None, {}),
    ("post", "/v1/orders/{id}/rating"): (bodies.RatingIn, {"stars": 5}),
    ("post", "/v1/orders/{id}/step"): (bodies.StepIn, {"step": "arrived", "evidence": "x", "reason": ""}),
    ("post", "/v1/orders/{id}/reassign"): (bodies.ReassignIn, {"reason": "ill"}),
    ("post", "/v1/orders/{id}/assign"): (
        bodies.AssignIn, {"technician": "tec_http", "reason": "asked for", "override": ["far"]},
    ),
    ("post", "/v1/orders/{id}/mode"): (
        bodies.ModeIn, {"mode": "auto", "technician": None, "fallback": "auto", "reason": ""},
    ),
    ("post", "/v1/orders/{id}/add-time"): (bodies.AddTimeIn, {"minutes": 30, "price_fen": None}),
    ("post", "/v1/orders/{id}/add-time/agree"): (bodies.TimeAnswerIn, {"request": "req_1"}),
    ("post", "/v1/orders/{id}/add-time/refuse"): (bodies.TimeAnswerIn, {"request": "req_1"}),
    ("post", "/v1/orders/{id}/schedule"): (bodies.ScheduleIn, {"scheduled_for": NOW + 600, "reason": ""}),
    ("post", "/v1/orders/{id}/what-if"): (
        bodies.WhatIfIn, {"policy": {"rating_max_s": 60.0}, "waive": ["gender"]},
    ),
    ("put", "/v1/technicians/{id}/calendar"): (
        bodies.CalendarIn,
        {
            "shifts": [{"days": ["mon"], "begins": "09:00", "ends": "18:00"}],
            "rests": [{"begins_at": NOW + 60, "ends_at": NOW + 3_600}],
        },
    ),
    ("put", "/v1/technicians/{id}"): (
        bodies.TechnicianIn,
        {
            "name": "Wang", "cities": ["shenzhen"], "skills": ["massage"], "gender": "female", "tier": "gold",
            "verified": True, "papers": {}, "own_transport": False,
            "services": ["massage"], "zones": {},
        },
    ),
    ("post", "/v1/technicians/{id}/duty"): (bodies.DutyIn, {"on": True, "city": "shenzhen"}),
    ("put", "/v1/customers/{id}/blocks/{technician}"): (bodies.BlockIn, {"reason": "rude"}),
    ("put", "/v1/technicians/{id}/blocks/{customer}"): (bodies.BlockIn, {"reason": "rude"}),
    ("post", "/v1/sign-out"): (None, {}),
    ("post", "/v1/sos"): (None, {"key": "k"}),
    ("post", "/v1/sign-in/codes"): (
        sign_in_bodies.CodeIn, {"user": "tec_http", "role": "technician", "also": ["responder"], "name": "Wang"}
    ),
    ("post", "/v1/sign-in"): (sign_in_bodies.SignInIn, {"code": "AAAAA-AAAAA", "page": "app", "device": "d"}),
    ("post", "/v1/session/token"): (sign_in_bodies.SessionTokenIn, {"page": "app"}),
    ("post", "/v1/orders/{id}/arrival-link"): (sign_in_bodies.ArrivalLinkIn, {"contact": "Ma", "expires_s": 600.0}),
    ("post", "/v1/arrivals"): (sign_in_bodies.ArrivalIn, {"token": "t", "device": "d"}),
    ("post", "/v1/sos/pass"): (None, {}),
    ("post", "/v1/orders/{id}/share"): (care_bodies.ShareIn, {"contact": "Ma", "expires_s": 600.0}),
    ("post", "/v1/drills"): (None, {}),
    ("post", "/v1/checkins/{id}"): (care_bodies.CheckinIn, {"answer": "ok"}),
    ("post", "/v1/incidents/{id}/ack"): (None, {}),
    ("post", "/v1/incidents/{id}/join"): (None, {}),
    ("post", "/v1/incidents/{id}/note"): (
        incident_bodies.NoteIn, {"text": "rang", "call_to": "subject", "outcome": "no_answer"}
    ),
    ("post", "/v1/incidents/{id}/respond"): (incident_bodies.RespondIn, {"fence": 1}),
    ("post", "/v1/incidents/{id}/decline"): (None, {}),
    ("post", "/v1/incidents/{id}/assign"): (incident_bodies.AssignResponderIn, {"responder": "tec_1"}),
    ("post", "/v1/incidents/{id}/on-scene"): (incident_bodies.OnSceneIn, {"responder": "tec_1", "fence": 1}),
    ("post", "/v1/incidents/{id}/reopen"): (incident_bodies.IncidentNoteIn, {"note": "not safe"}),
    ("post", "/v1/incidents/{id}/close"): (incident_bodies.IncidentNoteIn, {"note": "reviewed"}),
    ("post", "/v1/incidents/{id}/export"): (ExportIn, {"reason": "asked for"}),
    ("post", "/v1/incidents/{id}/export/allow"): (AllowExportIn, {"by": "ops_1"}),
    ("put", "/v1/incidents/{id}/hold"): (HoldIn, {"hold": True, "reason": "asked for"}),
    ("post", "/v1/incidents/{id}/resolve"): (bodies.ResolveIn, {"disposition": "false_test", "note": ""}),
    ("post", "/v1/positions"): (
        bodies.PositionsIn,
        {"device": "phone", "pings": [PING_ROW], "sent_at": NOW, "mock": False, "crs": "wgs84", "alarm": False},
    ),
    # Of devices that nobody has registered; what those may send that are is in test_hostile_http.py.
    **{("post", f"/in/{app}"): (None, {}) for app in ("osmand", "traccar", "owntracks", "overland", "gpslogger")},
    ("post", "/v1/technicians/{id}/trackers"): (tracker_bodies.TrackerIn, {"app": "overland", "name": "hers"}),
    ("post", "/v1/sos/{id}/cancel"): (safety_bodies.CancelSosIn, {"pin": "482193"}),
    ("put", "/v1/me/safety"): (
        safety_bodies.OwnSafetyIn,
        {
            "name": "Li", "phone": "138", "email": "li@example.org", "consents_to_respond": True,
            "emergency_contacts": [{"name": "Mum", "phone": "139", "email": ""}],
            "pins": {"pin": "482193", "duress_pin": "730568", "old_pin": ""},
        },
    ),
    ("post", "/v1/people/{id}/sos"): (
        safety_bodies.PersonSosIn,
        {
            "key": "k", "reason": "called", "note": "x", "order": None, "lat": 22.5, "lng": 114.0, "accuracy_m": 5.0,
            "crs": "wgs84", "exercise": False,
        },
    ),
    ("put", "/v1/people/{id}/safety"): (
        safety_bodies.PersonSafetyIn,
        {
            "name": "Li", "phone": "138", "email": "li@example.org",
            "emergency_contacts": [{"name": "Mum", "phone": "139", "email": ""}],
        },
    ),
    ("post", "/v1/tickets"): (bodies.TicketIn, {"device": "phone", "kind": "hub"}),
}  # fmt: skip
"""Struct and a good body of every POST and PUT route; None where the body is not decoded into one."""


@dataclass(frozen=True)
class Damaged:
    """A message with one bad value.

    Attributes:
        field: Path of the value, ``location.lat`` or ``pings[0][2]``.
        must_fail: No server may take it.
        is_valid: The catalogue takes it; what it leads to is the domain's business.
    """

    name: str
    field: str
    payload: bytes
    must_fail: bool
    is_valid: bool


def paths(value: Any, prefix: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every member and element, the containers too."""
    if prefix:
        yield prefix
    items: Sequence[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    for key, inner in items:
        yield from paths(inner, (*prefix, key))


def replaced(value: Any, path: tuple[str | int, ...], by: Any) -> Any:
    """A copy with another value at ``path``."""
    if not path:
        return by
    if isinstance(value, dict):
        return {key: replaced(inner, path[1:], by) if key == path[0] else inner for key, inner in value.items()}
    return [replaced(inner, path[1:], by) if n == path[0] else inner for n, inner in enumerate(value)]


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def spelled(path: tuple[str | int, ...]) -> str:
    """As the server names fields: ``location.lat``, ``pings[0][2]``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def damaged(struct: type[Any], good: dict[str, Any], *, is_json: bool) -> Iterator[Damaged]:
    """``good`` with every value of the list in every place."""
    codec: Any = msgspec.json if is_json else msgspec.msgpack
    for path in paths({name: value for name, value in good.items() if name not in ("type", "ref")}):
        was = at(good, path)
        is_number = type(was) in (int, float)
        for value in VALUES:
            payload = codec.encode(replaced(good, path, Raw(value.json if is_json else value.msgpack)))
            try:
                codec.decode(payload, type=struct)
                is_valid = True
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                is_valid = False
            yield Damaged(
                f"{spelled(path)} = {value.name}",
                spelled(path),
                payload,
                value.is_poison or (is_number and value.name in NOT_NUMBERS),
                is_valid,
            )


def fields_of(struct: type[msgspec.Struct]) -> set[str]:
    """Names of a struct's fields on the wire."""
    told = inspect.type_info(struct)
    assert isinstance(told, inspect.StructType)
    return {field.encode_name for field in told.fields}


# -- whole frames ---------------------------------------------------------------------------------------

_GOOD_JSON = json.dumps({"type": "watch", "topic": "area:shenzhen"}).encode()
_GOOD_MSGPACK = msgspec.msgpack.encode({"type": "watch", "topic": "area:shenzhen"})

FRAMES_JSON: Final[dict[str, bytes]] = {
    **{f"cut at {n}": _GOOD_JSON[:n] for n in range(0, len(_GOOD_JSON), 4)},
    "null": b"null", "a list": b"[]", "a word": b'"ping"', "a number": b"7", "no type": b"{}",
    "type is a number": b'{"type":7}', "type is null": b'{"type":null}', "type is a list": b'{"type":["ping"]}',
    "type is an object": b'{"type":{"type":"ping"}}', "unknown type": b'{"type":"dance"}',
    "a server's type": b'{"type":"welcome"}', "type with NUL": b'{"type":"ping\\u0000"}',
    "a huge type": b'{"type":"' + b"x" * 60_000 + b'"}', "two types": b'{"type":"watch","type":"dance"}',
    "deep": b"[" * 60_000, "deep and whole": b"[" * 30_000 + b"]" * 30_000,
    "deep junk": b'{"type":"watch","topic":"x","junk":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "two frames in one": _GOOD_JSON + _GOOD_JSON, "a BOM": b"\xef\xbb\xbf" + _GOOD_JSON,
    "a comment": b"/*x*/" + _GOOD_JSON, "single quotes": _GOOD_JSON.replace(b'"', b"'"),
    "5,000 digits": b"9" * 5_000, "NaN": b"NaN", "a lone surrogate": rb'"\ud800"', "NUL": b"\x00",
    "key twice": b'{"type":"watch","topic":"x","topic":NaN}',
    "many keys": b"{" + b",".join(b'"k%d":0' % n for n in range(6_000)) + b"}",
    "MessagePack": _GOOD_MSGPACK[:4].replace(b"\x82", b""),
}  # fmt: skip
FRAMES_MSGPACK: Final[dict[str, bytes]] = {
    **{f"cut at {n}": _GOOD_MSGPACK[:n] for n in range(0, len(_GOOD_MSGPACK), 3)},
    "nil": b"\xc0", "reserved": b"\xc1", "a list": b"\x90", "a word": b"\xa4ping", "no type": b"\x80",
    "type is a number": b"\x81\xa4type\x07", "type is bytes": b"\x81\xa4type\xc4\x04ping",
    "type is nil": b"\x81\xa4type\xc0", "unknown type": b"\x81\xa4type\xa5dance",
    "a server's type": b"\x81\xa4type\xa7welcome", "list of 2**32-1": b"\xdd\xff\xff\xff\xff",
    "map of 2**32-1": b"\xdf\xff\xff\xff\xff", "text of 2**32-1": b"\xdb\xff\xff\xff\xffx",
    "bytes of 2**32-1": b"\xc6\xff\xff\xff\xffx", "extension of 2**32-1": b"\xc9\xff\xff\xff\xff\x01x",
    "deep": b"\x91" * 60_000, "deep maps": b"\x81\xa1a" * 20_000, "keys are lists": b"\x81\x90\x01",
    "deep junk": b"\x83\xa4type\xa5watch\xa5topic\xa1x\xa4junk" + b"\x91" * 30_000 + b"\x90",
    "keys are numbers": b"\x81\x01\x02", "not UTF-8": b"\x81\xa4type\xa4\xff\xfe\xfd\xfc", "JSON": _GOOD_JSON,
    "two frames in one": _GOOD_MSGPACK + _GOOD_MSGPACK, "a timestamp": b"\xd6\xff" + bytes(4),
    "key twice": b"\x83\xa4type\xa5watch\xa5topic\xa1x\xa5topic\xcb\x7f\xf8" + bytes(6),
    "a huge type": b"\x81\xa4type\xda\xea\x60" + b"x" * 60_000,
}  # fmt: skip
