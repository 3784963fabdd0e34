"""A tick does a bounded part of what is due for everybody, and all of it in time."""

from tests.unit.realtime.hub_world import HubWorld

PEERS = 900
IN_A_TICK = 256


def test_heartbeats_that_are_due_together_are_spread_over_ticks() -> None:
    world = HubWorld()
    peers = [world.join(f"tec{n}") for n in range(PEERS)]
    sent_in_ticks = []
    for _ in range(4_000):
        before = sum(len(peer.wire.pings) for peer in peers)
        world.tick()
        sent = sum(len(peer.wire.pings) for peer in peers) - before
        if sent:
            sent_in_ticks.append(sent)
        if sum(sent_in_ticks) >= PEERS:
            break
    assert sum(sent_in_ticks) == PEERS
    assert max(sent_in_ticks) <= IN_A_TICK
    assert all(len(peer.wire.pings) == 1 for peer in peers)


def test_acknowledgements_that_are_due_together_are_spread_over_ticks() -> None:
    world = HubWorld()
    peers = [world.join(f"tec{n}") for n in range(PEERS)]
    for n, peer in enumerate(peers):
        world.on_duty(f"tec{n}")
        peer.read()
    for peer in peers:
        peer.ping(1)
    acked = [0] * PEERS
    in_ticks = []
    for _ in range(6):
        world.tick()
        came = [sum(frame["type"] == "ping_ack" for frame in peer.read()) for peer in peers]
        acked = [a + c for a, c in zip(acked, came, strict=True)]
        in_ticks.append(sum(came))
    assert max(in_ticks) <= IN_A_TICK
    assert acked == [1] * PEERS
    assert not world.engine.is_busy


def test_somebody_who_leaves_before_their_turn_is_passed_over() -> None:
    world = HubWorld()
    peers = [world.join(f"tec{n}") for n in range(PEERS)]
    for n, peer in enumerate(peers):
        world.on_duty(f"tec{n}")
        peer.ping(1)
    for peer in peers[::2]:
        peer.lose()
    for _ in range(10):
        world.tick()
    assert all("ping_ack" in peer.read_types() for peer in peers[1::2])
    world.advance(60, 0.5)
