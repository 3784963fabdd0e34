"""Rows 41, 42, 44 and 52 over the wire: taps and positions that come too often, twice, late, or once more."""

import asyncio
import json
import time
from typing import Any

import pytest

from core.principal import Role
from tests.faults.town import CITY, Town, json_bytes
from tests.integration.served import Session

pytestmark = pytest.mark.slow
LAT, LNG = 31.2, 121.4
AT: dict[str, Any] = {"lat": LAT, "lng": LNG, "accuracy_m": 8.0}


async def told_of(console: Session, incident: str, **fields: Any) -> dict[str, Any]:
    """The next message of any kind about an incident, with these fields."""
    kinds = ("incident", "incident.update")
    async with asyncio.timeout(10):
        while True:
            for message in console.seen:
                if message["type"] in kinds and message["incident"] == incident and fields.items() <= message.items():
                    console.seen.remove(message)
                    return message
            message = json.loads(await console.socket.recv())
            if "stream" in message:
                await console.send("ack", **{message["stream"]: message["seq"]})
            console.seen.append(message)


async def test_row_41_fifty_taps_in_two_seconds_are_one_incident_and_nobody_is_flooded(town: Town) -> None:
    user = "row41"
    async with town.console("row41_ops") as console, town.session(user, Role.CUSTOMER) as phone:
        for n in range(50):
            await phone.send("sos", key=f"t{n}", **AT)
            await asyncio.sleep(0.04)
        acks = [await phone.until("sos_ack", key=f"t{n}") for n in range(50)]
        (incident,) = {ack["incident"] for ack in acks}
        assert all(ack["durable"] for ack in acks)
        assert (await console.until("incident", subject=user))["incident"] == incident
        last = await told_of(console, incident, triggers=50)
        assert last["level"] >= 1, "a burst of taps widens the circle"
        rest = [m for m in console.seen if m["type"].startswith("incident") and m["incident"] == incident]
        assert len(rest) <= 10, "each tap counts, not each rings"
    stored = town.stored()
    assert stored.incidents[incident]["triggers"] == 50
    assert sum(subject == user for subject, _ in stored.taps) == 50


async def test_row_42_the_same_key_with_another_payload_is_merged_and_never_refused(town: Town) -> None:
    user = "row42"
    async with town.console("row42_ops") as console, town.session(user, Role.CUSTOMER) as phone:
        await phone.send("sos", key="k")
        first = await phone.until("sos_ack", key="k")
        told = await console.until("incident", subject=user)
        assert "fix" not in told
        await phone.send("sos", key="k", **AT, note="the door is locked", silent=True, battery="x")
        again = await phone.until("sos_ack", key="k", ignored=["battery"])
        assert (again["incident"], again["durable"]) == (first["incident"], True)
        status, ack = await town.post(user, json_bytes({"key": "k", "lat": -LAT, "lng": -LNG}))
        assert (status, ack["incident"]) == (200, first["incident"])
    incident = town.stored().incidents[first["incident"]]
    assert incident["triggers"] == 1
    assert (incident["fix"]["point"], incident["note"]) == ([LAT, LNG], "the door is locked")


async def test_row_44_a_tap_is_accepted_and_told_whatever_the_incident_before_it_is(town: Town) -> None:
    user = "row44"
    async with town.console("row44_ops") as console, town.session(user, Role.CUSTOMER) as phone:

        async def tap(key: str) -> dict[str, Any]:
            await phone.send("sos", key=key, **AT)
            ack = await phone.until("sos_ack", key=key)
            assert ack["durable"] is True
            return ack

        async def say(kind: str, **fields: Any) -> None:
            assert (await console.ask(kind, incident=incident, **fields))["ref"]

        incident = (await tap("first"))["incident"]
        await console.until("incident", incident=incident)
        assert (await tap("open"))["incident"] == incident
        await told_of(console, incident, triggers=2)
        await say("incident.ack")
        assert (await tap("acknowledged"))["incident"] == incident
        await told_of(console, incident, triggers=3)
        await say("incident.ack")  # a tap may have taken it out of everybody's hands
        await say("incident.resolve", disposition="false_test")
        after = await tap("resolved")
        assert town.stored().incidents[after["incident"]]["state"] == "open", "somebody hears of it"
        if after["incident"] != incident:
            await console.until("incident", incident=after["incident"])


async def test_row_52_no_fix_that_is_old_early_or_repeated_overwrites_a_newer_one(town: Town) -> None:
    user = "row52"
    await town.put_technician(user)
    now = time.time()
    fixes = {
        "duplicate": (5, now),
        "late": (3, now - 60),
        "late again": (6, now - 3 * 86_400),
        "future": (7, now + 86_400),
        "late with a number from long ago": (1, now - 5),
    }
    async with town.session(user, Role.TECHNICIAN) as phone:
        await phone.ask("duty", on=True, city=CITY)
        await phone.send("ping", seq=5, fixed_at=now, sent_at=now, **AT)
        assert (await phone.until("ping_ack"))["verdicts"] == {"live": 1}
        for name, (seq, fixed_at) in fixes.items():
            await phone.send("ping", seq=seq, fixed_at=fixed_at, sent_at=now, **(AT | {"lat": LAT + 0.0005}))
            (verdict,) = (await phone.until("ping_ack"))["verdicts"]
            assert verdict == name.split()[0], name
        await phone.send("sos", key="k")
        ack = await phone.until("sos_ack", key="k")
    assert town.stored().incidents[ack["incident"]]["fix"]["point"] == [LAT, LNG]
