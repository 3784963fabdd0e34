"""Safety profiles on a real server: what is kept, who may say what, and that PINs are nowhere to be read."""

import asyncio
import time
from pathlib import Path

import pytest

from core.ids import IncidentId, TenantId
from tests.integration.served import served

pytestmark = pytest.mark.slow

OWN = {
    "name": "Li",
    "phone": "+86 138-0000-0001",
    "email": "li@example.org",
    "emergency_contacts": [{"name": "Mum", "phone": "13900000000"}, {"name": "Wang", "email": "w@example.org"}],
    "consents_to_respond": True,
    "pins": {"pin": "482193", "duress_pin": "730568"},
}


async def test_a_profile_outlives_the_server_and_its_pins_are_never_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served(tmp_path) as server:
        token = server.token("tec_1", "technician")
        status, empty, headers = await server.call("GET", "/v1/me/safety", token)
        assert (status, empty["pins_set"], empty["changed_at"]) == (200, False, None)
        assert headers["Cache-Control"] == "no-store"
        status, put, _ = await server.call("PUT", "/v1/me/safety", token, OWN)
        assert (status, put["pins_set"], put["consents_to_respond"]) == (200, True, True)
    async with served(tmp_path) as server:
        token = server.token("tec_1", "technician")
        _, read, _ = await server.call("GET", "/v1/me/safety", token)
        assert read == put
        assert not [value for value in ("482193", "730568", "argon2") if value in str(read)]
        # Without PINs in the body those that are set stay.
        without = {name: value for name, value in OWN.items() if name != "pins"}
        _, kept, _ = await server.call("PUT", "/v1/me/safety", token, without)
        assert kept["pins_set"]
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("safety.db*"))
    assert b"482193" not in stored
    assert "482193" not in "".join(capsys.readouterr())


async def test_a_profile_that_is_changed_during_an_alarm_is_answered_as_always_and_counts_after_it(
    tmp_path: Path,
) -> None:
    """Row 71's attacker writes their own number in: they see nothing, and are not called."""
    quick = {"safety__pins__memory_kib": "8", "safety__pins__answer_after_s": "0.05"}
    async with served(tmp_path, **quick) as server:
        own, ops = server.token("cus_1", "customer"), server.token("ops_1", "ops")
        body = {name: value for name, value in OWN.items() if name != "consents_to_respond"}
        await server.call("PUT", "/v1/me/safety", own, body)
        _, tap, _ = await server.call("POST", "/v1/sos", own, {"key": "help"})
        path = f"/v1/sos/{tap['incident']}/cancel"
        assert (await server.call("POST", path, own, {"pin": "730568"}))[0] == 200
        theirs = {"name": "Nobody", "phone": "666", "emergency_contacts": [{"name": "He", "phone": "667"}]}
        status, put, _ = await server.call("PUT", "/v1/me/safety", own, theirs)
        _, read, _ = await server.call("GET", "/v1/me/safety", own)
        assert (status, put["name"], put["emergency_contacts"][0]["phone"], read) == (200, "Nobody", "667", put)
        frozen = server.app.house.safety.incident(TenantId("demo"), IncidentId(tap["incident"]))
        assert frozen is not None
        assert frozen.contact is not None
        assert [one.phone or one.email for one in frozen.contact.emergency] == ["13900000000", "w@example.org"]
        _, said, _ = await server.call("GET", f"/v1/incidents/{tap['incident']}/call-text", ops)
        assert (" 138-0000-0001" in said["text"], "666" in said["text"]) == (True, False)
        # The audit has who and what, never the numbers (tests/unit/safety/test_profiles.py).


async def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        token = server.token("tec_1", "technician")
        for change, code, field in (
            ({"phone": "help"}, "invalid", "phone"),
            ({"email": "li at example"}, "invalid", "email"),
            ({"emergency_contacts": [{"name": "Mum"}]}, "invalid", "emergency_contacts.0"),
            ({"emergency_contacts": OWN["emergency_contacts"] * 3}, "invalid", "emergency_contacts"),  # type: ignore[operator]
            ({"pins": {"pin": "1234", "duress_pin": "730568"}}, "pin_weak", "pins.pin"),
            ({"pins": {"pin": "482193", "duress_pin": "482194"}}, "pin_weak", "pins.duress_pin"),
        ):
            status, answer, _ = await server.call("PUT", "/v1/me/safety", token, {**OWN, **change})
            assert (status, answer["code"], answer.get("field")) == (422, code, field), change
            assert "1234" not in str(answer["detail"])


async def test_staff_say_whom_to_call_and_never_consent_or_pins(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        own = server.token("tec_1", "technician")
        await server.call("PUT", "/v1/me/safety", own, OWN)
        body = {"name": "Li Na", "phone": "137", "consents_to_respond": False, "pins": {"pin": "x", "duress_pin": "y"}}
        path = "/v1/people/tec_1/safety"
        status, answer, _ = await server.call("PUT", path, server.token("ops_1", "ops"), body)
        assert (status, answer["name"], answer["consents_to_respond"], answer["pins_set"]) == (200, "Li Na", True, True)
        status, _, _ = await server.call("PUT", path, server.token("ops_1", "ops", cities=()), body)
        assert status == 404


async def test_one_takes_all_that_is_kept_of_oneself_away_and_staff_erase_it(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        own, ops = server.token("tec_1", "technician"), server.token("ops_1", "ops")
        await server.call("PUT", "/v1/me/safety", own, OWN)
        await server.technician("tec_1")
        await server.call("GET", "/v1/technicians/tec_1/track?reason=asked+by+the+police", ops)
        await asyncio.sleep(1.3)
        status, told, headers = await server.call("GET", "/v1/me/safety/export", own)
        assert (status, headers["Cache-Control"]) == (200, "no-store")
        assert (told["profile"]["phone"], told["alarms"], told["shares"]) == (OWN["phone"], [], [])
        assert "asked by the police" in [look.get("reason") for look in told["looks"]]
        assert not [value for value in ("482193", "730568", "argon2") if value in str(told)]
        stale = server.token("tec_1", "technician", signed_in_at=time.time() - 700)
        status, refused, _ = await server.call("GET", "/v1/me/safety/export", stale)
        assert (status, refused["code"]) == (403, "sign_in_again")
        assert (await server.call("GET", "/v1/drills", own))[1]["own"]["state"] == "asked"
        path = "/v1/people/tec_1/safety"
        assert (await server.call("DELETE", path, server.token("ops_1", "ops", cities=("beijing",))))[0] == 404
        assert (await server.call("DELETE", path, ops))[0] == 200
        assert (await server.call("GET", "/v1/drills", own))[1].get("own") is None
        status, told, _ = await server.call("GET", "/v1/me/safety/export", own)
        assert (told["profile"]["phone"], told["profile"]["pins_set"], told["looks"]) == ("", False, [])


async def test_nothing_is_told_of_an_alarm_that_is_on_and_nothing_erased_that_is_held(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        own, ops = server.token("tec_1", "technician"), server.token("ops_1", "ops")
        await server.call("PUT", "/v1/me/safety", own, OWN)
        _, ack, _ = await server.call("POST", "/v1/sos", own, {"key": "k-1"})
        assert (await server.call("GET", "/v1/me/safety/export", own))[1]["alarms"] == []
        status, refused, _ = await server.call("DELETE", "/v1/people/tec_1/safety", ops)
        assert (status, refused["code"]) == (409, "evidence_held")
        body = {"disposition": "false_test", "note": "seen"}
        assert (await server.call("POST", f"/v1/incidents/{ack['incident']}/resolve", ops, body))[0] == 200
        alarms = (await server.call("GET", "/v1/me/safety/export", own))[1]["alarms"]
        assert [(one["incident"], one["ended"]) for one in alarms] == [(ack["incident"], True)]
        status, refused, _ = await server.call("DELETE", "/v1/people/tec_1/safety", ops)
        assert (status, refused["code"]) == (409, "evidence_held")
        assert (await server.call("GET", "/v1/me/safety", own))[1]["pins_set"]
