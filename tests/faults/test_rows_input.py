"""Rows 38, 39, 45 to 49, 55 and 56: whatever stands in an SOS, it is acknowledged, stored, and told.

Each input goes through both encodings, over the hub and over HTTP.
"""

import time
from typing import Any

import aiohttp
import msgspec
import pytest
from doorstep_client.events import IncidentRaised, IncidentUpdated, UnknownMessage
from doorstep_client.settings import Encoding as ClientEncoding

from core.principal import Role
from tests.faults.town import CITY, DOORS, Both, Tap, Town, hold
from tests.hostile.attacker import attacker
from tests.unit.client.test_protocol import Hub, client

pytestmark = pytest.mark.slow
DAY_S = 86_400.0
LAT, LNG = 31.2, 121.4
AT: dict[str, Any] = {"lat": LAT, "lng": LNG, "accuracy_m": 8.0}
HERE = (LAT, LNG)


def fields(*names: str) -> frozenset[str]:
    return frozenset(names)


# -- other versions -----------------------------------------------------------------------------------------


async def test_row_38_fields_that_this_version_does_not_know_are_ignored(town: Town) -> None:
    newer = {
        "lat_lng_v2": [1, 2],
        "mood": {"deep": [{"er": None}]},
        "kind": "panic",
        "level": 3,
        "": 1,
        "x" * 300: True,
    }
    await hold(town, "row38", [Tap("newer", AT | newer, HERE), Tap("older")])


async def test_row_38_a_newer_client_says_hello_and_what_is_not_known_costs_no_connection(town: Town) -> None:
    async with town.session("row38_newer", Role.CUSTOMER, wants={"video": 1}, v=9, app="doorstep 99.0") as one:
        await one.send("sos.video", ref="v", stream_url="x")
        assert (await one.until("error", ref="v"))["code"] == "unknown_type"
        await one.send("sos", key="after", **AT, video=True)
        assert (await one.until("sos_ack", key="after"))["durable"] is True


@pytest.mark.parametrize("encoding", list(ClientEncoding))
def test_row_38_an_older_client_understands_what_a_newer_server_tells_of_an_incident(encoding: ClientEncoding) -> None:
    hub = Hub(client(encoding=encoding))
    hub.welcome(streams={"safety": {"epoch": "s1", "seq": 0, "how": "fresh"}}, features={"video": True})
    newer = {"threat": {"level": "x", "trail": [[1, 2]]}, "kind": "panic", "": None}
    view = {"incident": "inc_1", "state": "under_way", "level": 9, "stream": "safety", "epoch": "s1", **newer}
    (event,) = hub.say(type="incident", seq=1, **view)
    assert isinstance(event, IncidentRaised)
    assert (event.incident, event.state, event.body["threat"]) == ("inc_1", "under_way", newer["threat"])
    (unknown,) = hub.say(type="incident.video", seq=2, **view)
    assert isinstance(unknown, UnknownMessage)
    (event,) = hub.say(type="incident.update", seq=3, **view)
    assert isinstance(event, IncidentUpdated)
    acked = [frame for frame in hub.said() if frame["type"] == "ack"]
    assert acked[-1]["safety"] == 3, "what it does not know is acknowledged too, or it would come again for ever"


# -- clocks -------------------------------------------------------------------------------------------------


async def test_row_39_whatever_the_phones_clock_says_the_servers_time_counts(town: Town) -> None:
    now = time.time()
    clocks = {"a day ahead": now + DAY_S, "a day behind": now - DAY_S, "1970": 0.0, "1970 and a bit": 5.0,
              "2038": 2.0**31, "9999": 253_402_300_799.0, "milliseconds": now * 1000}  # fmt: skip
    taps = [Tap(name, AT | {"fixed_at": at - 4.0, "sent_at": at}, HERE) for name, at in clocks.items()]
    taps += [Tap(f"{name}, alone", AT | {"fixed_at": at}, HERE) for name, at in clocks.items()]
    await hold(town, "row39", taps)
    stored = town.stored()
    for door in DOORS:
        for tap in taps:
            trigger = stored.taps[f"row39_{door.name}", f"{tap.name}/{door.name}"]
            assert abs(trigger["received_at"] - now) < 60, tap.name
            age_s = trigger["received_at"] - trigger["report"]["fix"]["fixed_at"]
            # With both times the age is exact however wrong the clock is, unless they are no times at all.
            assert -0.001 <= age_s <= DAY_S + 60, (tap.name, age_s)
            if tap.name in ("a day ahead", "a day behind", "2038"):
                assert age_s == pytest.approx(4.0, abs=0.01), tap.name


async def test_row_39_the_skew_of_the_phones_clock_is_shown(town: Town) -> None:
    user = "row39_skew"
    status, ack = await town.post(user, msgspec.json.encode({"key": "k", **AT, "sent_at": time.time() - DAY_S}))
    assert status == 200
    status, told = await town.call("GET", f"/v1/incidents/{ack['incident']}/timeline", "ops_1", Role.OPS)
    assert status == 200
    (raised,) = (entry for entry in told["events"] if entry["what"] == "raised")
    assert "clock -86400 s" in raised["detail"]


# -- late ---------------------------------------------------------------------------------------------------


async def test_row_45_an_sos_that_comes_hours_or_days_late_is_raised_with_its_age(town: Town) -> None:
    now = time.time()
    for late_s in (2 * 3600.0, 3 * DAY_S):
        user = f"row45_{late_s:.0f}"
        async with town.console() as console, town.caller(user) as one:
            await one.say("sos", key="old", **AT, fixed_at=now - late_s, sent_at=now)
            ack = await one.until("sos_ack", key="old")
            assert ack["durable"] is True
            told = await console.until("incident", subject=user)
            assert (told["state"], told["incident"]) == ("open", ack["incident"])
            assert told["fix"]["age_s"] == pytest.approx(late_s, abs=30)
            assert (told["fix"]["lat"], told["fix"]["lng"]) == HERE


async def test_row_45_an_sos_behind_newer_positions_of_the_same_phone_is_raised(town: Town) -> None:
    user = "row45_behind"
    await town.put_technician(user)
    now = time.time()
    async with town.console() as console, town.caller(user, role=Role.TECHNICIAN) as one:
        await one.say("duty", on=True, city=CITY, ref="d")
        await one.until("ok", ref="d")
        await one.say("ping", seq=9, fixed_at=now, sent_at=now, lat=LAT + 0.1, lng=LNG, accuracy_m=9)
        await one.until("ping_ack")
        await one.say("sos", key="old", **AT, fixed_at=now - 7200, sent_at=now)
        ack = await one.until("sos_ack", key="old")
        assert ack["durable"] is True
        told = await console.until("incident", subject=user)
        # Shown is where the phone is now; where it was is kept with the tap.
        assert told["fix"]["lat"] == pytest.approx(LAT + 0.1)
        stored = town.stored()
        assert stored.place(user, "old") == HERE
        assert stored.incidents[ack["incident"]]["triggers"] == 1


# -- positions ----------------------------------------------------------------------------------------------


async def test_row_46_without_a_position_it_is_unknown_and_a_coarse_one_is_coarse(town: Town) -> None:
    taps = [
        Tap("nothing", {}, None),
        Tap("null", {"lat": None, "lng": None, "accuracy_m": None}, None),
        Tap("half", {"lat": LAT}, None, fields("lat", "lng")),
        Tap("5 km", AT | {"accuracy_m": 5_000.0}, HERE),
        Tap("no accuracy", {"lat": LAT, "lng": LNG}, HERE),
    ]
    await hold(town, "row46", taps)
    stored = town.stored()
    for door in DOORS:
        fix = stored.taps[f"row46_{door.name}", f"5 km/{door.name}"]["report"]["fix"]
        assert fix["accuracy_m"] == 5_000.0
        unknown = stored.taps[f"row46_{door.name}", f"no accuracy/{door.name}"]["report"]["fix"]
        assert unknown["accuracy_m"] > 5_000.0


NO_NUMBERS = {
    "NaN": Both(b"NaN", b"\xcb\x7f\xf8" + bytes(6)),
    "Infinity": Both(b"Infinity", b"\xcb\x7f\xf0" + bytes(6)),
    "-Infinity": Both(b"-Infinity", b"\xcb\xff\xf0" + bytes(6)),
    "1e999": Both(b"1e999", b"\xca\x7f\x80\x00\x00"),
    "text": Both(b'"31.2"', b"\xa431.2"),
    "true": Both(b"true", b"\xc3"),
    "false": Both(b"false", b"\xc2"),
    "list": Both(b"[31.2]", b"\x91\x1f"),
    "5,000 digits": Both(b"9" * 5_000, b"\xcf" + b"\xff" * 8),
}


@pytest.mark.parametrize("name", ["lat", "lng"])
async def test_row_47_what_is_no_number_is_no_position_and_still_an_sos(town: Town, name: str) -> None:
    taps = [Tap(value, AT | {name: both}, None, fields("lat", "lng")) for value, both in NO_NUMBERS.items()]
    await hold(town, f"row47_{name}", taps)


async def test_row_47_what_is_no_number_costs_the_fix_and_not_its_accuracy_or_time(town: Town) -> None:
    taps = [
        Tap(f"{name} {value}", AT | {name: both}, HERE, fields(name))
        for name in ("accuracy_m", "fixed_at", "sent_at", "battery")
        for value, both in NO_NUMBERS.items()
    ]
    await hold(town, "row47", taps)


@pytest.mark.parametrize("is_json", [True, False])
async def test_row_47_a_ping_of_no_numbers_is_counted_as_invalid_or_refused_by_code(town: Town, is_json: bool) -> None:
    user = f"row47_pings_{is_json}"
    await town.put_technician(user)
    now = time.time()
    refused = 0
    encode: Any = msgspec.json.encode if is_json else msgspec.msgpack.encode
    async with town.caller(user, is_json=is_json, role=Role.TECHNICIAN) as one:
        await one.say("duty", on=True, city=CITY, ref="d")
        await one.until("ok", ref="d")
        for n, both in enumerate(NO_NUMBERS.values(), start=1):
            raw = msgspec.Raw(both.json if is_json else both.msgpack)
            good = {
                "type": "ping",
                "seq": n,
                "fixed_at": now,
                "sent_at": now,
                "accuracy_m": 9.0,
                "lng": LNG,
                "lat": raw,
            }
            answer = await one.answer(encode(good))
            if answer is not None:
                assert isinstance(answer, dict)
                assert answer["code"] in ("invalid", "malformed")
                refused += 1
        await one.say("ping", seq=99, fixed_at=now, sent_at=now, lat=LAT, lng=LNG, accuracy_m=9)
        while one.verdicts.total() < len(NO_NUMBERS) - refused + 1:
            await one.until("ping_ack")
    assert one.verdicts["live"] == 1
    assert one.verdicts["invalid"] + refused == len(NO_NUMBERS)


async def test_row_48_what_lies_off_the_globe_is_dropped_and_swapping_is_named(town: Town) -> None:
    taps = [
        Tap("90.0001", AT | {"lat": 90.0001}, None, fields("lat", "lng")),
        Tap("-91", AT | {"lat": -91.0}, None, fields("lat")),
        Tap("180.0001", AT | {"lng": 180.0001}, None, fields("lat", "lng")),
        Tap("-180.0001", AT | {"lng": -180.0001}, None, fields("lng")),
        Tap("1e300", AT | {"lat": 1e300}, None, fields("lat")),
        Tap("swapped", AT | {"lat": LNG, "lng": LAT}, None, fields("lat/lng swapped")),
        Tap("90", AT | {"lat": 90.0}, (90.0, LNG)),
        Tap("180", AT | {"lng": 180.0}, (LAT, 180.0)),
    ]
    await hold(town, "row48", taps)


async def test_row_49_null_island_is_nowhere_and_what_is_near_it_is_a_place(town: Town) -> None:
    taps = [
        Tap("0, 0", {"lat": 0.0, "lng": 0.0}, None, fields("null_island")),
        Tap("integers", {"lat": 0, "lng": 0}, None, fields("null_island")),
        Tap("-0.0", {"lat": -0.0, "lng": -0.0}, None, fields("null_island")),
        Tap("near", {"lat": 0.0001, "lng": 0.0001}, (0.0001, 0.0001)),
        Tap("on the equator", {"lat": 0.0, "lng": 9.4}, (0.0, 9.4)),
        Tap("on the meridian", {"lat": 51.5, "lng": 0.0}, (51.5, 0.0)),
    ]
    await hold(town, "row49", taps)


# -- text and form ------------------------------------------------------------------------------------------

TEXTS = {
    "invalid UTF-8": Both(b'"he\xff\xfelp"', b"\xa6he\xff\xfelp"),
    "lone surrogate": Both(rb'"he\ud800lp"', b"\xa7he\xed\xa0\x80lp"),
    "NUL": Both(rb'"he\u0000lp"', b"\xa5he\x00lp"),
    "right to left": Both('"he\u202elp"'.encode(), b"\xa7" + "he\u202elp".encode()),
    "isolates": Both('"he\u2066lp\u2069"'.encode(), b"\xaa" + "he\u2066lp\u2069".encode()),
    "escape of a terminal": Both(rb'"he\u001b[2Jlp"', b"\xa8he\x1b[2Jlp"),
}


async def test_row_55_text_that_no_screen_should_see_is_cleaned_and_the_sos_kept(town: Town) -> None:
    await hold(town, "row55", [Tap(name, AT | {"note": both}, HERE) for name, both in TEXTS.items()])
    stored = town.stored()
    for door in DOORS:
        for name in TEXTS:
            note = stored.taps[f"row55_{door.name}", f"{name}/{door.name}"]["report"]["note"]
            assert note.startswith("he"), (name, door.name, note)
            assert note.rstrip("\ufffd?").endswith("lp"), (name, door.name, note)
            assert not set(note) & set("\x00\x1b\u202e\u2066\u2069"), name
            note.encode()


async def test_row_55_letters_under_a_heap_of_marks_are_kept_as_they_are(town: Town) -> None:
    zalgo = "h\u0351\u0352\u0363e\u0327\u0328l\u0334\u0335p"
    await hold(town, "row55_zalgo", [Tap("zalgo", AT | {"note": zalgo}, HERE)])
    stored = town.stored()
    assert {stored.taps[f"row55_zalgo_{door.name}", f"zalgo/{door.name}"]["report"]["note"] for door in DOORS} == {
        zalgo
    }


async def test_row_55_text_that_is_not_utf8_closes_with_1007_and_is_still_raised_as_an_sos(town: Town) -> None:
    async with town.caller("row55_bare") as one:
        assert await one.answer(b'{"type":"duty","on":true,"city":"\xff"}') == 1007
    async with town.caller("row55_bare") as one:
        await one.throw(b'{"type":"sos","key":"bare","note":"\xff"')
        assert (await one.until("sos_ack", key="bare"))["durable"] is True


DEEP = 50_000


async def test_row_56_nesting_and_endless_numbers_cost_the_field_and_never_the_worker(town: Town) -> None:
    opened, digits = b"[" * DEEP, b"1" * 5_000
    taps = [
        Tap("opened", AT | {"note": Both(opened, b"\x91" * DEEP)}),
        Tap("nested", AT | {"note": Both(opened + b"]" * 10_000, b"\x91" * DEEP + b"\x00")}),
        Tap("digits", AT | {"battery": Both(digits, b"\xcf" + b"\xff" * 8)}, HERE, fields("battery")),
        Tap("negative digits", AT | {"battery": Both(b"-" + digits, b"\xd3\x80" + bytes(7))}, HERE, fields("battery")),
    ]
    await hold(town, "row56", taps)


async def test_row_56_nesting_and_endless_numbers_elsewhere_are_a_named_error(town: Town) -> None:
    bad = (b"[" * DEEP, b'{"type":' * 8_000, b'{"type":"duty","on":true,"city":' + b"9" * 5_000 + b"}")
    async with town.caller("row56_frames") as one:
        for payload in bad:
            answer = await one.answer(payload)
            assert isinstance(answer, dict)
            assert answer["code"] in ("malformed", "invalid")
    for payload in bad:
        token = town.server.token("row56", Role.CUSTOMER)
        status, told = await _post(town, "/v1/orders", token, payload)
        assert (status, told["code"]) in ((400, "malformed"), (422, "invalid")), told


async def test_row_56_members_given_twice_cost_an_sos_nothing(town: Town) -> None:
    async with town.caller("row56_twice") as one:
        await one.throw(b'{"type":"sos","key":"a","key":"twice","lat":1,"lat":31.2,"lng":121.4}')
        assert (await one.until("sos_ack", key="twice"))["durable"] is True
    assert town.stored().place("row56_twice", "twice") == HERE


@pytest.mark.parametrize("is_json", [True, False])
async def test_row_56_a_token_given_twice_is_refused(town: Town, is_json: bool) -> None:
    mine, other = (town.server.token(user, Role.CUSTOMER) for user in ("row56_a", "row56_b"))
    async with town.caller("row56_hello", is_json=is_json) as refreshed:
        for kind, one in (("hello", None), ("refresh", refreshed)):
            payload = _twice(kind, mine, other, is_json=is_json)
            if one is not None:
                await one.throw(payload)
                assert (await one.until("error"))["code"] == "member_repeated"
                continue
            async with attacker(town.target, is_json=is_json, says_hello=False) as new:
                await new.throw(payload)
                assert (await new.until("error"))["code"] == "member_repeated"


def _twice(kind: str, first: str, second: str, *, is_json: bool) -> bytes:
    if is_json:
        return f'{{"type":"{kind}","device":"d","ref":"r","token":"{first}","token":"{second}"}}'.encode()
    parts = ["type", kind, "device", "d", "ref", "r", "token", first, "token", second]
    return b"\x85" + b"".join(msgspec.msgpack.encode(part) for part in parts)


async def _post(town: Town, path: str, token: str, body: bytes) -> tuple[int, dict[str, Any]]:
    async with (
        aiohttp.ClientSession(town.server.http_url) as http,
        http.post(path, data=body, headers={"Authorization": f"Bearer {token}"}) as answer,
    ):
        return answer.status, await answer.json()
