"""Whose socket is not read for a moment, and for how long."""

import pytest

from geo.point import Frame
from realtime.settings import PositionSettings, RealtimeSettings
from tests.unit.realtime.hub_world import HubWorld, Peer

TICK_S = 0.02
REST_S = 0.2


def resting_world(tick_s: float = TICK_S) -> HubWorld:
    positions = PositionSettings(shed_rest_ms=REST_S * 1000, tick_ms=tick_s * 1000)
    return HubWorld(RealtimeSettings(frame=Frame.WGS84, positions=positions))


def overloaded(world: HubWorld) -> None:
    world.engine.shedding.taken = 0.0
    tick(world)


def tick(world: HubWorld, *, lag_s: float = 1.0, passed_s: float = TICK_S) -> None:
    world.now += passed_s
    world.engine.tick(world.now, lag_s)


def phones(world: HubWorld, number: int) -> list[Peer]:
    peers = []
    for n in range(number):
        world.on_duty(f"tec{n}")
        peers.append(world.join(f"tec{n}"))
    return peers


def chat(world: HubWorld, peers: list[Peer], first_seq: int = 1) -> None:
    """Two pings of each in one tick."""
    for peer in peers:
        peer.ping(first_seq)
        peer.ping(first_seq + 1)


def paused(peers: list[Peer]) -> int:
    return sum(not peer.wire.is_reading for peer in peers)


def test_a_phone_that_goes_on_while_its_pings_are_shed_is_not_read_for_a_moment() -> None:
    world = resting_world()
    (peer,) = phones(world, 1)
    overloaded(world)
    tick(world, passed_s=1.0)
    peer.ping(1)
    assert peer.wire.is_reading, "it was silent before"
    peer.ping(2)
    assert not peer.wire.is_reading
    assert world.engine.counts()["reading_paused"] == 1
    peer.ping(3)  # came in the same read
    for _ in range(11):
        tick(world)
    assert peer.wire.is_reading
    assert world.engine.counts()["reading_paused"] == 0


def test_a_phone_that_keeps_to_its_interval_is_read_at_once_every_time() -> None:
    world = resting_world()
    (peer,) = phones(world, 1)
    overloaded(world)
    for seq in range(1, 20):
        tick(world, passed_s=1.0)
        peer.ping(seq)
        assert peer.wire.is_reading


def test_nobody_is_paused_while_nothing_is_shed() -> None:
    world = resting_world()
    peers = phones(world, 3)
    tick(world, lag_s=0.0)
    chat(world, peers)
    assert paused(peers) == 0


def test_those_who_rest_come_back_evenly_and_each_after_about_one_rest() -> None:
    world = resting_world()
    peers = phones(world, 300)
    overloaded(world)
    seq = 1
    in_all = 0
    rested_since: dict[int, float] = {}
    rests: list[float] = []
    for _ in range(100):
        reading = [n for n, peer in enumerate(peers) if peer.wire.is_reading]
        rests.extend(world.now - rested_since.pop(n) for n in reading if n in rested_since)
        chat(world, [peers[n] for n in reading], seq)
        rested_since.update(dict.fromkeys(reading, world.now))
        seq += 2
        in_all += len(reading)
        tick(world)
        back = 300 - paused(peers)
        assert back <= 61, "after a stall not all may come back at once"
    assert sum(rests) / len(rests) == pytest.approx(REST_S, rel=0.2)
    assert max(rests) < 3 * REST_S


def test_a_long_stall_does_not_bring_all_back_in_one_turn() -> None:
    world = resting_world()
    peers = phones(world, 100)
    overloaded(world)
    chat(world, peers)
    assert paused(peers) == 100
    tick(world, passed_s=10.0)
    assert paused(peers) == 79  # two ticks' worth of a rest, and one


def test_a_clock_that_goes_back_ends_no_rest_for_ever() -> None:
    world = resting_world()
    peers = phones(world, 3)
    overloaded(world)
    chat(world, peers)
    tick(world, passed_s=-0.01)
    for _ in range(20):
        tick(world)
    assert paused(peers) == 0


def test_who_is_gone_is_forgotten() -> None:
    world = resting_world()
    (peer,) = phones(world, 1)
    overloaded(world)
    chat(world, [peer])
    world.engine.on_closed(peer.session, 1006, world.now)
    assert world.engine.counts()["reading_paused"] == 0


def test_at_the_end_everybody_is_read_again() -> None:
    world = resting_world()
    peers = phones(world, 5)
    overloaded(world)
    chat(world, peers)
    world.engine.drain_now(world.now)
    assert paused(peers) == 0


def test_without_a_rest_everybody_is_always_read() -> None:
    world = HubWorld(RealtimeSettings(frame=Frame.WGS84, positions=PositionSettings(shed_rest_ms=0.0)))
    peers = phones(world, 3)
    overloaded(world)
    world.now += TICK_S / 2  # heard after the tick whose time a shed frame is given
    for peer in peers:
        peer.say(type="heartbeat")
    chat(world, peers)
    assert paused(peers) == 0
    tick(world)
    assert paused(peers) == 0


@pytest.mark.parametrize(("tick_s", "within_s"), [(0.02, 0.42), (0.1, 0.62), (0.5, 1.1)])
def test_when_the_flood_ebbs_nobody_rests_for_long(tick_s: float, within_s: float) -> None:
    world = resting_world(tick_s)
    peers = phones(world, 1_000)
    overloaded(world)
    chat(world, peers)
    assert paused(peers) == 1_000
    waited_s = 0.0
    while paused(peers):
        tick(world, passed_s=tick_s)
        waited_s += tick_s
        assert waited_s < within_s
