"""The way before a tap is frozen once, silence is told once, and the counterpart's rights are not touched."""

import json
from dataclasses import replace
from typing import Any, cast

import numpy as np

from core.ids import CityId, IncidentId, TenantId, UserId
from core.shard import Shard
from geo.pings import FRAME_CODES, PingBatch
from geo.point import Frame
from geo.settings import PositionSettings
from geo.shard_positions import ShardPositions
from safety.holds import Holds
from safety.model import Incident, IncidentState, Target
from safety.settings import SafetySettings
from server.raisers import RaiserWatch
from store.memory_evidence import MemoryHoldStore
from tests.contract.store_values import ManualClock, make_incident

ACME, CITY, ANNA = TenantId("acme"), CityId("hangzhou"), UserId("tec_1")
SHARD = Shard(ACME, CITY)


class Others:
    """Fleet, hub and position log in one: what they were told."""

    def __init__(self) -> None:
        self.attended: list[str] = []
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.kept: list[tuple[str, list[float]]] = []

    def incident_changed(self, incident: Incident) -> None:
        self.attended.append("changed")

    def attend_raiser(self, incident: Incident) -> None:
        self.attended.append("again")

    def is_followed(self, incident: Incident) -> bool:
        return incident.is_active

    def heard_in(self, tenant: TenantId, user: UserId) -> Shard | None:
        return SHARD if user == ANNA else None

    def send_direct(self, tenant: TenantId, user: UserId, body: bytes) -> int:
        self.sent.append((user, json.loads(body)))
        return 1

    def append(self, shard: Shard, user: UserId, cause: str, columns: dict[str, list[float]]) -> None:
        self.kept.append((cause, columns["fixed_at"]))


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.others = cast(Any, Others())
        self.positions = ShardPositions(PositionSettings(), Frame.WGS84)
        self.positions.claim(ANNA)
        self.watch = RaiserWatch(
            self.others,
            {SHARD: self.positions},
            self.others,
            self.others,
            SafetySettings(),
            Frame.WGS84,
            self.clock,
            Holds(MemoryHoldStore(dict), 1.0),
        )

    def ping(self, at: float, seq: int) -> None:
        one = np.array
        self.positions.ingest(
            PingBatch(
                slot=self.positions.slots([ANNA]), device=one([0]), seq=one([seq]), fixed_at=one([at]),
                lat=one([30.0 + seq * 1e-5]), lng=one([120.0]), accuracy_m=one([8.0]), speed_mps=one([1.0]),
                heading_deg=one([0.0]), sent_at=one([at]), received_at=one([at]),
                crs=one([FRAME_CODES[Frame.WGS84]], np.uint8), clock_rate=one([1.0]),
            ),
            at,
        )  # fmt: skip

    def raised(self, **changes: Any) -> Incident:
        incident = make_incident(
            subject=ANNA, raised_at=self.clock.now(), targets=(Target(UserId("ops_1"), "ops", 0),), **changes
        )
        return replace(incident, state=IncidentState.OPEN)


def test_a_minute_before_the_tap_is_frozen_once() -> None:
    world = World()
    start = world.clock.now()
    for seq in range(1, 51):
        world.ping(start + 2.0 * seq, seq)
    world.clock.at = start + 101.0
    incident = world.raised()
    world.watch.incident_changed(incident)
    world.watch.incident_changed(replace(incident, version=2))
    assert [cause for cause, _ in world.others.kept] == [incident.incident_id]
    times = world.others.kept[0][1]
    assert (min(times) - start, max(times) - start) == (42.0, 100.0)
    assert world.others.attended == ["changed", "changed"]


def test_a_raiser_who_is_not_on_duty_has_no_way_that_could_be_kept() -> None:
    world = World()
    world.watch.incident_changed(replace(world.raised(), subject=UserId("cus_1")))
    world.watch.turn(world.clock.now() + 100)
    assert (world.others.kept, world.others.sent) == ([], [])


def test_silence_is_told_once_and_so_is_its_end() -> None:
    world = World()
    start = world.clock.now()
    world.ping(start, 1)
    incident = world.raised()
    world.watch.incident_changed(incident)
    for after_s in (5, 19, 25, 30, 300):
        world.watch.turn(start + after_s)
    assert world.watch.lost_at(ACME, incident.incident_id) == start
    world.ping(start + 400, 2)
    for after_s in (401, 402):
        world.watch.turn(start + after_s)
    told = [(user, m["type"], m["lost"], m["heard_at"] - start) for user, m in world.others.sent]
    assert told == [("ops_1", "incident.contact", True, 0.0), ("ops_1", "incident.contact", False, 400.0)]
    assert world.watch.lost_at(ACME, incident.incident_id) is None


def test_an_incident_that_has_ended_is_watched_no_longer() -> None:
    world = World()
    start = world.clock.now()
    world.ping(start, 1)
    incident = world.raised()
    world.watch.incident_changed(incident)
    world.watch.incident_changed(replace(incident, state=IncidentState.RESOLVED, version=2))
    world.watch.turn(start + 100)
    assert world.others.sent == []
    assert world.watch.lost_at(ACME, IncidentId(incident.incident_id)) is None


def test_who_raised_it_without_a_connection_was_heard_at_their_tap() -> None:
    world = World()
    start = world.clock.now()
    incident = world.raised(last_trigger_at=start)
    world.watch.incident_changed(incident)
    world.watch.turn(start + 19)
    assert world.others.sent == []
    world.watch.turn(start + 25)
    assert world.watch.lost_at(ACME, incident.incident_id) == start


def test_phones_have_time_to_come_back_after_a_restart() -> None:
    world = World()
    now = world.clock.now()
    incident = world.raised(last_trigger_at=now - 500)
    world.watch.incident_changed(incident)
    world.watch.turn(now + 19)
    assert world.others.sent == []
    world.watch.turn(now + 25)
    assert world.watch.lost_at(ACME, incident.incident_id) == now - 500


def test_nobody_is_lost_whose_phone_never_spoke() -> None:
    world = World()
    incident = world.raised(cause="checkin_missed", last_trigger_at=world.clock.now())
    world.watch.incident_changed(incident)
    world.watch.turn(world.clock.now() + 100)
    assert world.others.sent == []
