import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ids import UserId
from geo.position_index import Flag
from realtime.attention import Causes, Level, level_settings
from realtime.presence import Sweep
from realtime.session import Session
from realtime.settings import AttentionSettings, LevelSettings
from tests.unit.realtime.hub_world import CITY, START, TENANT, HubWorld, Peer, Wire


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([None, *Level])), max_size=20))
def test_the_level_is_the_highest_of_the_causes_that_stand(steps: list[tuple[str, Level | None]]) -> None:
    causes, model = Causes(), {}
    for cause, level in steps:
        causes.put(cause, level, keep=level is Level.JOB)
        model[cause] = level
        standing = [level for level in model.values() if level is not None]
        assert causes.level == max(standing, default=Level.IDLE)
        assert bool(causes) == bool(standing)
        assert set(causes.kept_as) == {cause for cause, level in model.items() if level is Level.JOB}


def test_each_level_has_its_row() -> None:
    settings = AttentionSettings()
    assert level_settings(Level.SOS, settings).interval_s == 2.0
    assert level_settings(Level.IDLE, settings).interval_s > level_settings(Level.JOB, settings).interval_s


def test_a_heartbeat_must_come_before_death() -> None:
    with pytest.raises(ValueError, match="dead_after_s"):
        LevelSettings(1.0, 0.0, "best", 10.0, 10.0)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_the_sweep_yields_each_session_once_in_time_and_not_before(delays: list[float]) -> None:
    sweep = Sweep(0.25)
    settings = HubWorld().settings.queue
    due = {}
    for delay in delays:
        session = Session(None, Wire(), settings, START)
        sweep.put(session, START + delay)
        due[session] = START + delay
    now, seen = START, set()
    while now < START + 101:
        for session in sweep.due(now):
            assert due[session] <= now <= due[session] + 0.5
            assert session not in seen
            seen.add(session)
        now += 0.25
    assert seen == set(due)
    assert len(sweep) == 0


def test_a_session_put_again_is_seen_at_its_new_time_only() -> None:
    sweep = Sweep(0.25)
    session = Session(None, Wire(), HubWorld().settings.queue, START)
    sweep.put(session, START + 20)
    sweep.put(session, START + 1)
    assert list(sweep.due(START + 1.5)) == [session]
    assert list(sweep.due(START + 30)) == []


def silence_until_gone(world: HubWorld, peer: Peer) -> float:
    began = world.now
    while peer.wire.is_open and world.now - began < 100:
        world.advance(0.1)
    return world.now - began


@pytest.mark.parametrize(
    ("roles", "level", "low", "high"),
    [
        ("technician", None, 40, 45),
        ("customer", None, 40, 45),
        ("technician", Level.JOB, 5, 10),
        ("customer", Level.SOS, 5, 10),
        ("ops", None, 5, 10),
        ("technician+responder", None, 5, 10),
    ],
)
def test_a_dead_peer_is_noticed_in_time(roles: str, level: Level | None, low: float, high: float) -> None:
    world = HubWorld()
    peer = world.join("u", roles)
    if level is not None:
        world.engine.attend(TENANT, UserId("u"), "c", level, keep=False, now=world.now)
    assert low <= silence_until_gone(world, peer) <= high
    assert peer.wire.aborted
    assert peer.wire.pings
    assert world.domains.presence[-1][0] == "lost"


def test_a_peer_that_answers_pings_lives_and_costs_few_of_them() -> None:
    world = HubWorld()
    peer = world.join("tec")
    for _ in range(600):
        world.advance(0.2)
        if peer.wire.pings:
            answered = peer.wire.pings.pop()
            world.engine.on_pong(peer.session, answered, world.now)
    assert peer.wire.is_open
    assert world.engine.counts().get("dead_peer", 0) == 0


def test_any_frame_counts_as_a_sign_of_life() -> None:
    world = HubWorld()
    peer = world.join("ops", "ops")
    for _ in range(20):
        world.advance(3)
        peer.say(type="heartbeat")
    assert peer.wire.is_open
    assert peer.wire.pings == []


def test_somebody_who_gets_a_job_is_watched_more_closely_at_once() -> None:
    world = HubWorld()
    peer = world.join("tec")
    world.advance(15)
    world.engine.attend(TENANT, UserId("tec"), "ofr_1", Level.JOB, keep=False, now=world.now)
    world.advance(0.5)
    assert not peer.wire.is_open or peer.wire.pings


def test_a_stall_of_the_server_kills_nobody() -> None:
    world = HubWorld()
    peer = world.join("ops", "ops")
    world.advance(1)
    world.now += 30
    world.tick()
    assert peer.wire.is_open
    peer.say(type="heartbeat")
    world.advance(3)
    assert peer.wire.is_open


def test_the_ping_policy_follows_the_level() -> None:
    world = HubWorld()
    peer = world.join("tec")
    assert peer.read()[-1]["interval_s"] == 15.0
    for level, interval_s in ((Level.JOB, 4.0), (Level.SOS, 2.0), (None, 15.0)):
        world.engine.attend(TENANT, UserId("tec"), "c", level, keep=False, now=world.now)
        assert peer.read_one("ping_policy")["interval_s"] == interval_s
    world.engine.attend(TENANT, UserId("tec"), "c", None, keep=False, now=world.now)
    assert peer.read() == []


def test_a_customer_is_told_how_to_report_in_their_own_alarm_and_once_when_it_is_over() -> None:
    world = HubWorld()
    peer = world.join("cus", "customer")
    assert peer.read_types() == ["welcome"]
    for level, told in ((Level.JOB, []), (Level.SOS, [2.0]), (Level.SOS_LATE, [5.0]), (None, [15.0])):
        world.engine.attend(TENANT, UserId("cus"), "c", level, keep=False, now=world.now)
        assert [frame["interval_s"] for frame in peer.read()] == told
    world.engine.attend(TENANT, UserId("cus"), "c", Level.SOS, keep=False, now=world.now)
    assert world.join("cus", "customer", device="other").read_types() == ["welcome", "ping_policy"]


def test_the_index_knows_who_is_connected_and_when_they_were_heard() -> None:
    world = HubWorld()
    slot = world.on_duty("tec")
    index = world.positions[CITY].index
    assert not index.flags[slot] & Flag.CONNECTED
    peer = world.join("tec")
    assert index.flags[slot] & Flag.CONNECTED
    assert index.heard_at[slot] == world.now
    world.advance(3)
    world.engine.on_pong(peer.session, b"h", world.now)
    assert index.heard_at[slot] == world.now
    world.advance(1)
    peer.ping(1)
    world.tick()
    assert index.heard_at[slot] == world.now
    peer.lose()
    assert not index.flags[slot] & Flag.CONNECTED


def test_somebody_connected_who_comes_on_duty_counts_as_connected() -> None:
    world = HubWorld()
    world.join("tec")
    slot = world.on_duty("tec")
    assert world.positions[CITY].index.flags[slot] & Flag.CONNECTED


def test_heartbeats_that_are_due_together_are_spread_over_ticks() -> None:
    world = HubWorld()
    peers = [world.join(f"tec{n}") for n in range(900)]
    sent_in_ticks = []
    for _ in range(4_000):
        before = sum(len(peer.wire.pings) for peer in peers)
        world.tick()
        sent = sum(len(peer.wire.pings) for peer in peers) - before
        if sent:
            sent_in_ticks.append(sent)
        if sum(sent_in_ticks) >= 900:
            break
    assert sum(sent_in_ticks) == 900
    assert max(sent_in_ticks) <= 256
    assert all(len(peer.wire.pings) == 1 for peer in peers)


def test_a_part_of_the_tick_that_breaks_silences_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    world = HubWorld()
    peer = world.join("tec")
    world.on_duty("tec")
    peer.ping(1)
    peer.read()

    def broken(now: float) -> None:
        raise ValueError("a defect")

    engine = world.engine
    monkeypatch.setattr(engine, "_parts", (broken, *engine._parts, broken))
    with pytest.raises(ExceptionGroup) as raised:
        world.tick()
    assert len(raised.value.exceptions) == 2
    assert [frame["verdicts"] for frame in peer.read() if frame["type"] == "ping_ack"] == [{"live": 1}]
