from dataclasses import replace
from typing import Any

import h3
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from core.ids import UserId
from core.shard import Shard
from geo.point import Frame, LatLng
from realtime.attention import Level
from realtime.settings import RealtimeSettings, WatchSettings
from tests.unit.realtime.hub_world import CITY, TENANT, HubWorld, Peer

BOTH = pytest.mark.parametrize("subprotocol", ["doorstep.v1.json", "doorstep.v1.msgpack"])


def moving(world: HubWorld, user: str = "tec", lat: float = 31.2) -> Peer:
    peer = world.join(user)
    world.on_duty(user)
    peer.ping(1, lat=lat)
    world.tick()
    return peer


def step(world: HubWorld, peer: Peer, seq: int, lat: float) -> None:
    """Go on to another place at a believable speed."""
    world.advance(3, step=0.5)
    peer.ping(seq, lat=lat)
    world.tick()


def watcher(world: HubWorld, topic: str = "order:1", user: str = "cus", roles: str = "customer", **more: Any) -> Peer:
    watch = {key: more.pop(key) for key in ("bbox", "cells") if key in more}
    peer = world.join(user, roles, **more)
    peer.read()
    peer.say(type="watch", topic=topic, ref="w", **watch)
    return peer


# -- one person -----------------------------------------------------------------------------------------


@BOTH
def test_a_watcher_gets_the_position_as_it_stands_and_then_each_change(subprotocol: str) -> None:
    world = HubWorld()
    tec = moving(world)
    world.rights.allow("order:1", "cus", "tec")
    cus = watcher(world, subprotocol=subprotocol)
    ok, first = cus.read()
    assert ok == {"type": "ok", "ref": "w"}
    assert (first["type"], first["topic"], first["lat"], first["crs"]) == ("position", "order:1", 31.2, "wgs84")
    assert first["technician"] == "tec"
    assert first["age_s"] >= 0
    step(world, tec, 2, 31.2002)
    assert [frame["lat"] for frame in cus.read()] == [31.2002]


def test_an_old_fix_says_its_age_by_the_servers_clock() -> None:
    world = HubWorld()
    tec = world.join("tec")
    world.on_duty("tec")
    tec.ping(1, age_s=30.0)
    world.tick()
    world.rights.allow("order:1", "cus", "tec")
    position = watcher(world).read()[1]
    assert position["age_s"] == pytest.approx(30.02, abs=0.01)


@pytest.mark.parametrize("topic", ["order:2", "technician:tec", "area:sh", "incident:1", "x", "area:"])
def test_a_topic_without_a_right_looks_like_one_that_does_not_exist(topic: str) -> None:
    world = HubWorld()
    moving(world)
    assert watcher(world, topic).read()[0]["code"] == "not_found"


def test_a_topic_with_nobody_to_show_yet_shows_them_when_they_come() -> None:
    world = HubWorld()
    world.rights.allow("order:1", "cus", None)
    cus = watcher(world)
    assert cus.read_types() == ["ok"]
    moving(world)
    assert cus.read() == []
    world.rights.allow("order:1", "cus", "tec")
    world.rights.bump("order:1")
    world.engine.rights_changed("order:1", world.now)
    assert cus.read_types() == ["position"]


def test_somebody_who_comes_on_duty_again_is_shown_again() -> None:
    world = HubWorld()
    tec = moving(world)
    world.rights.allow("order:1", "cus", "tec")
    cus = watcher(world)
    cus.read()
    world.off_duty("tec")
    moving(world, "other", lat=31.9)
    assert cus.read() == []
    world.on_duty("tec")
    step(world, tec, 2, 31.3)
    assert [frame["lat"] for frame in cus.read()] == [31.3]


def test_a_right_that_ends_purges_what_waits_and_says_so() -> None:
    world = HubWorld()
    tec = moving(world)
    world.rights.allow("order:1", "cus", "tec")
    cus = watcher(world)
    cus.read()
    world.engine.on_paused(cus.session)
    step(world, tec, 2, 31.2001)
    world.rights.deny("order:1", "cus")
    world.rights.bump("order:1")
    world.engine.rights_changed("order:1", world.now)
    step(world, tec, 3, 31.2002)
    world.engine.on_writable(cus.session, world.now)
    assert cus.read() == [{"type": "unwatched", "topic": "order:1", "reason": "ended"}]
    assert world.engine.counts()["topics"] == 0


def test_a_version_that_rose_without_a_word_stops_the_next_send() -> None:
    world = HubWorld()
    tec = moving(world)
    world.rights.allow("order:1", "cus", "tec")
    cus = watcher(world)
    cus.read()
    world.rights.deny("order:1", "cus")
    world.rights.bump("order:1")
    step(world, tec, 2, 31.2001)
    assert cus.read_types() == ["unwatched"]


def test_unwatch_ends_it_and_may_be_repeated() -> None:
    world = HubWorld()
    tec = moving(world)
    world.rights.allow("order:1", "cus", "tec")
    cus = watcher(world)
    cus.read()
    for _ in range(2):
        cus.say(type="unwatch", topic="order:1", ref="u")
        assert cus.read() == [{"type": "ok", "ref": "u"}]
    step(world, tec, 2, 31.2001)
    assert cus.read() == []


def test_watching_again_does_not_double_the_frames() -> None:
    world = HubWorld()
    tec = moving(world)
    world.rights.allow("order:1", "cus", "tec")
    cus = watcher(world)
    cus.say(type="watch", topic="order:1")
    cus.read()
    step(world, tec, 2, 31.2001)
    assert cus.read_types() == ["position"]


def test_one_topic_too_many_is_refused() -> None:
    world = HubWorld(RealtimeSettings(frame=Frame.WGS84, watching=WatchSettings(topics_max=1)))
    for topic in ("order:1", "order:2"):
        world.rights.allow(topic, "cus", None)
    cus = watcher(world)
    cus.read()
    cus.say(type="watch", topic="order:2")
    assert cus.read_one("error")["code"] == "too_many_topics"


def test_each_subscriber_gets_the_frame_and_the_words_it_may_have() -> None:
    class Ways:
        def eta_s(self, shard: Shard, origin: LatLng, destination: LatLng, now: float) -> float | None:
            return 120.0

    world = HubWorld(RealtimeSettings(frame=Frame.GCJ02))
    world.ports.arrivals = Ways()
    tec = moving(world)
    world.rights.allow("order:1", "ops", "tec")
    world.rights.allow("order:1", "cus", "tec", destination=LatLng(31.3, 121.4), names_subject=False)
    ops = watcher(world, user="ops", roles="ops", crs="wgs84")
    cus = watcher(world)
    ops.read(), cus.read()
    step(world, tec, 2, 31.2001)
    (staff,), (customer,) = ops.read(), cus.read()
    assert (staff["crs"], customer["crs"]) == ("wgs84", "gcj02")
    assert staff["lat"] == pytest.approx(31.2001, abs=1e-6)
    assert "technician" not in customer
    assert customer["eta_s"] == 120.0
    assert customer["arrives_at"] == pytest.approx(world.now + 120, abs=0.01)


def test_an_sos_does_not_show_in_a_faster_marker_of_the_other_party() -> None:
    world = HubWorld()
    tec = moving(world)
    world.rights.allow("order:1", "cus", "tec")
    world.rights.allow("order:1", "ops", "tec")
    cus, ops = watcher(world), watcher(world, user="ops", roles="ops")
    world.engine.attend(TENANT, UserId("tec"), "inc", Level.SOS, keep=False, now=world.now)
    cus.read(), ops.read()
    for seq in range(2, 22):
        tec.ping(seq, lat=31.2 + seq * 1e-5)
        world.advance(2.0, step=0.5)
        for peer in (cus, ops):
            peer.say(type="heartbeat")
    pace_s = world.settings.attention.job.interval_s
    seen = [frame for frame in cus.read() if frame["type"] == "position"]
    assert len(seen) <= 40 / pace_s + 1
    assert len([frame for frame in ops.read() if frame["type"] == "position"]) >= 19


class Revoking(RuleBasedStateMachine):
    """Rights come and go while frames wait; a watcher must never get a position that was made or queued before
    the right ended, nor one made without it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world = HubWorld()
        self.tec = moving(self.world)
        self.seq = 1
        self.lat = 31.2
        self.allowed = True
        self.is_paused = False
        self.waiting = 0
        """Revocations that found a frame waiting; counted so that a run which meets none is seen."""
        self.world.rights.allow("order:1", "cus", "tec")
        self.cus = watcher(self.world)
        self.take()

    def take(self) -> list[float]:
        """Latitudes that arrived since the last call; the watcher stays alive by speaking."""
        self.cus.say(type="ack")
        return [frame["lat"] for frame in self.cus.read() if frame["type"] == "position"]

    @rule(is_paused=st.booleans())
    def move(self, is_paused: bool) -> None:
        self.set_paused(is_paused)
        self.seq += 1
        self.lat = round(self.lat + 1e-5, 7)
        self.world.advance(1.0, step=0.5)
        self.tec.ping(self.seq, lat=self.lat)
        self.world.tick()
        arrived = self.take()
        assert not arrived or self.allowed

    def set_paused(self, is_paused: bool) -> None:
        if is_paused == self.is_paused:
            return
        self.is_paused = is_paused
        if is_paused:
            self.world.engine.on_paused(self.cus.session)
        else:
            self.world.engine.on_writable(self.cus.session, self.world.now)
            assert not (arrived := self.take()) or self.allowed, f"{arrived} came after the right had ended"

    @precondition(lambda self: self.allowed)
    @rule()
    def revoke(self) -> None:
        self.take()
        self.waiting += self.cus.session.queue.pending_bytes > 0
        self.world.rights.deny("order:1", "cus")
        self.world.rights.bump("order:1")
        self.world.engine.rights_changed("order:1", self.world.now)
        self.allowed = False
        assert self.take() == []
        self.set_paused(False)

    @precondition(lambda self: not self.allowed)
    @rule()
    def allow(self) -> None:
        self.set_paused(False)
        self.world.rights.allow("order:1", "cus", "tec")
        self.cus.say(type="watch", topic="order:1")
        self.allowed = True
        # What comes is the place as it stands now, made under the new right.
        assert self.take() == [self.lat]

    @rule()
    def watch_without_a_right(self) -> None:
        if not self.allowed:
            self.cus.say(type="watch", topic="order:1")
            assert self.take() == []


Revoking.TestCase.settings = settings(max_examples=20, stateful_step_count=25, suppress_health_check=list(HealthCheck))
TestRevoking = Revoking.TestCase


# -- areas ----------------------------------------------------------------------------------------------


class Map:
    """A console's picture, kept from the frames alone."""

    def __init__(self) -> None:
        self.at: dict[str, tuple[float, float]] = {}
        self.frames = 0
        self.snapshots = 0

    def take(self, frames: list[dict[str, Any]]) -> None:
        for frame in frames:
            if frame["type"] != "area":
                continue
            self.frames += 1
            if frame["snapshot"]:
                self.at = {}
                self.snapshots += 1
            columns = frame["columns"]
            assert len({len(column) for column in columns.values()}) == 1
            for name, lat, lng in zip(columns["technician"], columns["lat"], columns["lng"], strict=True):
                self.at[name] = (lat, lng)
            for name in frame.get("gone", []):
                self.at.pop(name, None)


@BOTH
def test_an_area_is_a_snapshot_and_then_changes(subprotocol: str) -> None:
    world = HubWorld()
    a, b = moving(world, "a"), moving(world, "b", lat=31.3)
    world.rights.allow("area:sh", "ops", None)
    ops = watcher(world, "area:sh", "ops", "ops", subprotocol=subprotocol)
    world.advance(0.3)
    seen = Map()
    seen.take(ops.read())
    assert seen.at == {"a": (31.2, 121.4), "b": (31.3, 121.4)}
    a.ping(2, lat=31.2001)
    world.advance(0.3)
    frames = ops.read()
    assert [frame["columns"]["technician"] for frame in frames] == [["a"]]
    seen.take(frames)
    world.off_duty("b")
    world.advance(0.3)
    seen.take(ops.read())
    assert seen.at == {"a": (31.2001, 121.4)}
    world.advance(1)
    assert ops.read() == []
    assert b.wire.is_open


def test_a_box_shows_who_comes_in_and_who_leaves() -> None:
    world = HubWorld()
    tec = moving(world, "a", lat=31.2)
    moving(world, "far", lat=39.0)
    world.rights.allow("area:sh", "ops", None)
    ops = watcher(world, "area:sh", "ops", "ops", bbox=[121.0, 31.0, 122.0, 31.205])
    seen = Map()
    for lat, expected in ((31.2, {"a"}), (31.21, set()), (31.204, {"a"})):
        world.now += 60
        world.tick()
        ops.say(type="heartbeat")
        tec.ping(int(world.now), lat=lat)
        world.advance(0.3)
        seen.take(ops.read())
        assert set(seen.at) == expected


def test_a_box_may_cross_the_antimeridian() -> None:
    world = HubWorld()
    for name, lng in (("east", 179.5), ("west", -179.5), ("home", 121.4)):
        peer = world.join(name)
        world.on_duty(name)
        peer.ping(1, lng=lng)
    world.rights.allow("area:sh", "ops", None)
    ops = watcher(world, "area:sh", "ops", "ops", bbox=[179.0, 31.0, -179.0, 32.0])
    world.advance(0.3)
    seen = Map()
    seen.take(ops.read())
    assert set(seen.at) == {"east", "west"}


def test_cells_choose_who_is_shown_and_must_be_cells() -> None:
    world = HubWorld()
    moving(world, "a", lat=31.2)
    moving(world, "b", lat=31.3)
    world.rights.allow("area:sh", "ops", None)
    ops = watcher(world, "area:sh", "ops", "ops", cells=[h3.latlng_to_cell(31.2, 121.4, 7)])
    world.advance(0.3)
    seen = Map()
    seen.take(ops.read())
    assert set(seen.at) == {"a"}
    for cells in ([], ["nonsense"], [h3.latlng_to_cell(31.2, 121.4, 7), h3.latlng_to_cell(31.2, 121.4, 8)]):
        ops.say(type="watch", topic="area:sh", cells=cells)
        assert ops.read_one("error")["field"] == "cells"


def test_a_position_that_grows_old_leaves_the_area() -> None:
    world = HubWorld()
    moving(world, "a")
    world.rights.allow("area:sh", "ops", None)
    ops = watcher(world, "area:sh", "ops", "ops")
    seen = Map()
    for _ in range(31):
        world.advance(4, step=0.5)
        ops.say(type="heartbeat")
        seen.take(ops.read())
    assert seen.at == {}


def test_many_people_come_in_several_frames() -> None:
    world = HubWorld()
    for i in range(450):
        world.positions[CITY].claim(UserId(f"t{i}"))
        world.positions[CITY].index.move(np.array([i]), [31.0 + i * 1e-4], [121.0], seen_at=world.now)
    world.rights.allow("area:sh", "ops", None)
    ops = watcher(world, "area:sh", "ops", "ops")
    world.advance(0.3)
    frames = [frame for frame in ops.read_answering_pings() if frame["type"] == "area"]
    assert [frame.get("more", False) for frame in frames] == [True] * 7 + [False]
    assert [frame["snapshot"] for frame in frames] == [True] + [False] * 7
    seen = Map()
    seen.take(frames)
    assert len(seen.at) == 450


def test_a_console_that_fell_behind_gets_a_snapshot_and_misses_nothing() -> None:
    world = HubWorld()
    tec = moving(world, "a")
    world.rights.allow("area:sh", "ops", None)
    ops = watcher(world, "area:sh", "ops", "ops")
    world.advance(0.3)
    seen = Map()
    seen.take(ops.read())
    world.engine.on_paused(ops.session)
    for seq in range(2, 12):
        tec.ping(seq, lat=31.2 + seq * 1e-5)
        world.advance(0.5)
    assert ops.read() == []
    world.engine.on_writable(ops.session, world.now)
    world.advance(0.3)
    seen.take(ops.read())
    assert seen.at == {"a": (31.20011, 121.4)}
    assert seen.snapshots == 2


def test_consoles_with_the_same_view_share_it() -> None:
    world = HubWorld()
    moving(world, "a")
    for user in ("ops1", "ops2"):
        world.rights.allow("area:sh", user, None)
    one = watcher(world, "area:sh", "ops1", "ops")
    world.advance(0.3)
    two = watcher(world, "area:sh", "ops2", "ops")
    assert world.engine.counts()["topics"] == 1
    world.advance(0.3)
    first, second = Map(), Map()
    first.take(one.read())
    second.take(two.read())
    assert first.at == second.at == {"a": (31.2, 121.4)}
    one.lose()
    two.lose()
    assert world.engine.counts()["topics"] == 0


def test_a_right_to_an_area_that_ends_is_told_and_ends() -> None:
    world = HubWorld()
    tec = moving(world, "a")
    world.rights.allow("area:sh", "ops", None)
    ops = watcher(world, "area:sh", "ops", "ops")
    world.advance(0.3)
    ops.read()
    world.rights.deny("area:sh", "ops")
    world.rights.bump("area:sh")
    tec.ping(2, lat=31.2001)
    world.engine.rights_changed("area:sh", world.now)
    world.advance(0.5)
    assert ops.read() == [{"type": "unwatched", "topic": "area:sh", "reason": "ended"}]


def test_a_slot_that_changes_hands_between_two_batches_confuses_nobody() -> None:
    world = HubWorld()
    moving(world, "a")
    world.rights.allow("area:sh", "ops", None)
    ops = watcher(world, "area:sh", "ops", "ops")
    world.advance(0.3)
    seen = Map()
    seen.take(ops.read())
    world.off_duty("a")
    moving(world, "b", lat=31.25)
    world.advance(0.3)
    seen.take(ops.read())
    assert seen.at == {"b": (31.25, 121.4)}


class Picture(RuleBasedStateMachine):
    """A snapshot and every change since make the same picture as a fresh snapshot."""

    def __init__(self) -> None:
        super().__init__()
        self.world = HubWorld(
            replace(RealtimeSettings(frame=Frame.WGS84), watching=WatchSettings(area_interval_s=0.25))
        )
        self.world.rights.allow("area:sh", "ops", None)
        self.world.rights.allow("area:sh", "fresh", None)
        self.box = [121.0, 31.0, 122.0, 31.3]
        self.ops = watcher(self.world, "area:sh", "ops", "ops", bbox=self.box)
        self.map = Map()
        self.on: dict[str, Peer] = {}
        self.seq = 0

    @initialize()
    def begin(self) -> None:
        self.move("a", 31.28)
        self.move("b", 31.31)
        self.batch()

    def join(self, name: str) -> None:
        self.on[name] = self.world.join(name)
        self.world.on_duty(name)

    @rule(name=st.sampled_from("abc"), lat=st.sampled_from([31.28, 31.29, 31.31]))
    def move(self, name: str, lat: float) -> None:
        if name not in self.on:
            self.join(name)
        self.seq += 1
        self.world.now += 60  # at a believable speed
        self.on[name].ping(self.seq, lat=lat)
        self.world.tick()

    def go(self, which: int) -> None:
        name = sorted(self.on)[which % len(self.on)]
        del self.on[name]
        self.world.off_duty(name)

    @precondition(lambda self: self.on)
    @rule(which=st.integers(0, 2))
    def leave(self, which: int) -> None:
        self.go(which)

    @precondition(lambda self: 0 < len(self.on) < 3)
    @rule(which=st.integers(0, 2), lat=st.sampled_from([31.28, 31.31]))
    def hand_over(self, which: int, lat: float) -> None:
        """One leaves and another takes over the slot before the next batch."""
        other = min(set("abc") - set(self.on))
        self.batch()
        self.go(which)
        self.join(other)
        self.seq += 1
        self.on[other].ping(self.seq, lat=lat)
        self.world.tick()

    @rule()
    def stall(self) -> None:
        self.world.engine.on_paused(self.ops.session)

    @rule()
    def go_on(self) -> None:
        self.world.engine.on_writable(self.ops.session, self.world.now)

    @rule()
    def batch(self) -> None:
        self.ops.say(type="ack")
        self.world.advance(0.3)
        self.map.take(self.ops.read_answering_pings())

    def teardown(self) -> None:
        self.compare()

    @rule()
    def compare(self) -> None:
        self.world.engine.on_writable(self.ops.session, self.world.now)
        for _ in range(2):
            self.batch()
        # The other encoding, because the same view would be shared and agree with itself in its errors.
        fresh = watcher(
            self.world, "area:sh", "fresh", "ops", bbox=self.box, subprotocol="doorstep.v1.msgpack"
        )  # fmt: skip
        self.ops.say(type="ack")
        self.world.advance(0.3)
        self.map.take(self.ops.read_answering_pings())
        other = Map()
        other.take(fresh.read())
        assert self.map.at == other.at
        fresh.lose()


Picture.TestCase.settings = settings(max_examples=15, stateful_step_count=20, suppress_health_check=list(HealthCheck))
TestPicture = Picture.TestCase
