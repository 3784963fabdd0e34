"""Row 73: the other side of the booking learns nothing of an SOS, not even by what changes in their own stream.

The same journey is made twice on two fresh servers, once with an SOS in the middle and what follows from it: a phone
that reports more often, somebody who acknowledges, a responder who goes. What the customer's socket got is compared:
kinds and fields of frames, how many there were, and when the next one came.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from tests.integration.served import LAT, LNG, Session, order, served

pytestmark = pytest.mark.slow
QUIET_S: Final = 4.0
ALARM_S: Final = 7.0
PING_EVERY_S: Final = 0.5
"""As the phone reports on its way; after the tap it is asked for twice as many."""


@dataclass
class Heard:
    """What one socket got, with the time of each frame in seconds since the journey began."""

    frames: list[tuple[float, str]] = field(default_factory=list)

    def between(self, start_s: float, end_s: float) -> list[tuple[float, dict[str, Any]]]:
        return [(at, json.loads(text)) for at, text in self.frames if start_s <= at < end_s]


async def listen(session: Session, heard: Heard, began: float) -> None:
    while True:
        text = await session.socket.recv()
        message = json.loads(text)
        heard.frames.append((time.monotonic() - began, str(text)))
        if "stream" in message:
            await session.send("ack", **{message["stream"]: message["seq"]})


async def drive(phone: Session, *, alarm: bool) -> None:
    """Ride towards the customer; with an alarm, tap in the middle and report faster from then on."""
    began, seq = time.monotonic(), 10
    tapped = False
    while (passed_s := time.monotonic() - began) < QUIET_S + ALARM_S:
        if alarm and not tapped and passed_s >= QUIET_S:
            tapped = True
            await phone.send("sos", key="help", silent=True)
        seq += 1
        now = time.time()
        lat = LAT + 0.02 - 0.0001 * passed_s
        await phone.send("ping", seq=seq, fixed_at=now, sent_at=now, lat=lat, lng=LNG, accuracy_m=10)
        await asyncio.sleep(PING_EVERY_S / 2 if tapped else PING_EVERY_S)


async def journey(folder: Path, *, alarm: bool) -> Heard:
    async with served(folder, positions__speed_max_mps="1000") as server:
        ops = await server.session("ops_1", "ops")
        responder = await server.session("res_1", "responder")
        await responder.ask("duty", on=True, city="shenzhen")
        phone = await server.technician("tec_1", LAT + 0.02)
        customer = await server.session("cus_1", "customer")
        placed = (await server.call("POST", "/v1/orders", server.token("cus_1", "customer"), order()))[1]["order"]
        offer = await phone.until("offer")
        await phone.ask("offer.accept", offer=offer["offer"])
        await phone.ask("job.step", order=placed, step="en_route")
        await customer.until("order", state="en_route")
        await customer.send("watch", topic=f"order:{placed}", ref="w")
        await customer.until("ok", ref="w")
        heard, began = Heard(), time.monotonic()
        listening = asyncio.create_task(listen(customer, heard, began))
        driving = asyncio.create_task(drive(phone, alarm=alarm))
        if alarm:
            told = await ops.until("incident", timeout_s=20)
            await responder.until("incident", incident=told["incident"])
            await ops.ask("incident.ack", incident=told["incident"])
            await responder.ask("incident.respond", incident=told["incident"])
        await driving
        listening.cancel()
        return heard


def positions(heard: Heard, start_s: float, end_s: float) -> list[float]:
    return [at for at, frame in heard.between(start_s, end_s) if frame["type"] == "position"]


async def test_row_73_the_other_partys_stream_is_as_without_an_sos(tmp_path: Path) -> None:
    plain, alarmed = await asyncio.gather(
        journey(tmp_path / "plain", alarm=False), journey(tmp_path / "alarmed", alarm=True)
    )
    start_s, end_s = QUIET_S + 0.3, QUIET_S + ALARM_S - 0.3

    def shapes(heard: Heard) -> set[tuple[str, ...]]:
        ignored = {"heartbeat"}  # by the server's own clock
        found = [frame for _, frame in heard.between(0.0, end_s) if frame["type"] not in ignored]
        return {(frame["type"], *sorted(set(frame) - {"type"})) for frame in found}

    assert shapes(alarmed) == shapes(plain)
    before, after, without = (
        positions(alarmed, 0.3, QUIET_S), positions(alarmed, start_s, end_s), positions(plain, start_s, end_s)
    )  # fmt: skip
    assert before
    assert abs(len(after) - len(without)) <= 1, (len(before), len(after), len(without))
    gaps = [[b - a for a, b in pairwise(times)] for times in (before, after, without)]
    print(f"positions {[len(t) for t in (before, after, without)]}, shortest gaps {[round(min(g), 3) for g in gaps]} s")
    assert min(gaps[1]) >= min(*gaps[0], *gaps[2]) - 0.2
    texts = " ".join(text for _, text in alarmed.frames)
    assert not [word for word in ("inc_", "sos", "incident", "alarm", "res_1", "level") if word in texts]
