from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ids import CityId, DeviceId, UserId
from core.shard import Shard
from geo.pings import Verdict
from geo.point import Frame
from geo.shard_positions import ShardPositions
from realtime.attention import Level
from realtime.ledger import DiskDebt, PingLedger
from realtime.messages import Ping, Pings
from realtime.settings import PositionSettings, RealtimeSettings, SessionSettings
from tests.unit.realtime.hub_world import CITY, TENANT, HubWorld, Peer

BOTH = pytest.mark.parametrize("subprotocol", ["doorstep.v1.json", "doorstep.v1.msgpack"])
LIVE = int(Verdict.LIVE)


def row(seq: int, at: float, lat: Any = 31.2) -> list[Any]:
    return [seq, at, lat, 121.4, 10.0, None, None]


def acks(peer: Peer) -> list[dict[str, Any]]:
    return [frame for frame in peer.read() if frame["type"] == "ping_ack"]


def total(frames: list[dict[str, Any]]) -> dict[str, int]:
    out: dict[str, int] = {}
    for frame in frames:
        for word, number in frame["verdicts"].items():
            out[word] = out.get(word, 0) + number
    return out


# -- the ledger -----------------------------------------------------------------------------------------


@given(st.permutations(range(10, 40)), st.integers(1, 5))
def test_what_may_be_forgotten_never_passes_a_missing_number(seqs: list[int], frame_len: int) -> None:
    ledger = PingLedger(DeviceId("d"))
    ledger.miss(10)
    judged: set[int] = set()
    for start in range(0, len(seqs), frame_len):
        part = seqs[start : start + frame_len]
        ledger.note_many(part, [LIVE] * len(part), 1000)
        judged |= set(part)
        expected = 9
        while expected + 1 in judged:
            expected += 1
        assert ledger.stored_seq == expected
    assert ledger.stored_seq == 39


def test_a_number_that_never_comes_is_given_up_in_the_end() -> None:
    ledger = PingLedger(DeviceId("d"))
    ledger.note(1, LIVE, 10)
    for seq in range(3, 20):
        ledger.note(seq, LIVE, 10)
    assert ledger.stored_seq == 19


def test_what_waits_for_the_disk_may_not_be_forgotten() -> None:
    ledger = PingLedger(DeviceId("d"))
    ledger.note(1, LIVE, 10)
    assert ledger.take(0.0).stored_seq == 1
    debt = ledger.debt = DiskDebt()
    tickets = []
    for seq in (2, 3):
        ledger.note(seq, LIVE, 10)
        tickets.append(debt.hand_over(ledger.judged))
    assert ledger.take(0.0).stored_seq == 1
    debt.on_disk(tickets[0])
    assert ledger.is_dirty
    assert ledger.take(0.0).stored_seq == 2
    debt.on_disk(tickets[1])
    assert ledger.take(0.0).stored_seq == 3
    assert not ledger.is_dirty


def test_a_batch_that_the_log_dropped_is_not_awaited_for_ever() -> None:
    debt = DiskDebt()
    first, second, third = (debt.hand_over(seq) for seq in (5, 9, 12))
    debt.on_disk(second)
    assert (debt.stored, debt.is_open) == (9, True)
    debt.on_disk(first)
    debt.on_disk(third)
    assert (debt.stored, debt.is_open) == (12, False)


# -- the path -------------------------------------------------------------------------------------------


@BOTH
def test_a_ping_moves_the_live_position_and_is_acknowledged(subprotocol: str) -> None:
    world = HubWorld()
    peer = world.join("tec", subprotocol=subprotocol)
    world.on_duty("tec")
    peer.ping(41, lat=31.25)
    world.tick()
    assert acks(peer) == [{"type": "ping_ack", "seq": 41, "verdicts": {"live": 1}, "stored_seq": 41}]
    live = world.positions[CITY].live(UserId("tec"))
    assert live is not None
    assert live.point.lat_deg == 31.25


@pytest.mark.parametrize(("level", "interval_s"), [(None, 5.0), (Level.JOB, 1.0)])
def test_acknowledgements_are_gathered(level: Level | None, interval_s: float) -> None:
    world = HubWorld()
    peer = world.join("tec")
    world.on_duty("tec")
    if level is not None:
        world.engine.attend(TENANT, UserId("tec"), "c", level, keep=False, now=world.now)
    peer.read()
    at, frames = [], []
    for seq in range(1, 101):
        peer.ping(seq, lat=31.2 + seq * 1e-5)
        world.advance(0.2)
        for frame in acks(peer):
            at.append(world.now)
            frames.append(frame)
    assert all(later - earlier >= interval_s - 0.01 for earlier, later in pairwise(at))
    assert len(at) >= 20 / interval_s - 1
    world.advance(6)
    assert total(frames + acks(peer)) == {"live": 100}


def test_a_backlog_is_acknowledged_at_once() -> None:
    world = HubWorld()
    peer = world.join("tec")
    world.on_duty("tec")
    peer.ping(1)
    world.tick()
    peer.read()
    peer.say(type="pings", sent_at=world.now, pings=[row(seq, world.now - 20 + seq) for seq in range(2, 12)])
    world.tick()
    ack = acks(peer)
    assert len(ack) == 1
    assert sum(ack[0]["verdicts"].values()) == 10
    assert ack[0]["stored_seq"] == 11


def test_many_pings_are_judged_without_waiting_for_the_tick() -> None:
    settings = RealtimeSettings(frame=Frame.WGS84, positions=PositionSettings(batch_len_max=8))
    world = HubWorld(settings)
    peer = world.join("tec")
    world.on_duty("tec")
    for seq in range(1, 9):
        peer.ping(seq)
    assert world.positions[CITY].live(UserId("tec")) is not None


@BOTH
def test_every_row_of_a_poisoned_batch_gets_one_verdict(subprotocol: str) -> None:
    world = HubWorld()
    peer = world.join("tec", subprotocol=subprotocol)
    world.on_duty("tec")
    peer.read()
    now = world.now
    rows = [row(1, now - 3), row(2, now - 2, lat=True), row(3, now - 1, lat=99.0), ["?"], row(5, now)]
    peer.say(type="pings", sent_at=now, pings=rows)
    world.tick()
    frames = peer.read()
    assert [frame["type"] for frame in frames] == ["ping_ack"]
    assert frames[0]["verdicts"] == {"live": 2, "invalid": 3}
    assert frames[0]["stored_seq"] == 5


@BOTH
def test_a_single_bad_ping_is_invalid_and_may_be_forgotten(subprotocol: str) -> None:
    world = HubWorld()
    peer = world.join("tec", subprotocol=subprotocol)
    world.on_duty("tec")
    peer.read()
    peer.ping(1)
    peer.ping(2, lat=float("nan") if subprotocol.endswith("msgpack") else 91.0)
    peer.ping(3)
    world.advance(6)
    assert total(frames := acks(peer)) == {"live": 2, "invalid": 1}
    assert frames[-1]["stored_seq"] == 3


@BOTH
def test_a_charge_and_a_made_up_position_change_no_verdict(subprotocol: str) -> None:
    world = HubWorld()
    world.on_duty("tec")
    peer = world.join("tec", subprotocol=subprotocol)
    peer.ping(1, battery=0.0, mock=True)
    peer.ping(2, battery=1.0, mock=False)
    peer.ping(3, battery=1.5)
    world.advance(6.0)
    assert total(acks(peer)) == {"live": 2, "invalid": 1}


@BOTH
@pytest.mark.parametrize("how", ["ping", "batch", "poisoned", "unreadable"])
def test_a_made_up_position_stays_marked_until_a_later_one_comes(subprotocol: str, how: str) -> None:
    world = HubWorld()
    world.on_duty("tec")
    peer = world.join("tec", subprotocol=subprotocol)
    now = world.now
    bad = [["?"]] if how in ("poisoned", "unreadable") else []
    if how == "ping":
        peer.ping(1, mock=True)
    else:
        peer.say(type="pings", sent_at=now, pings=[row(1, now), *bad], mock="yes" if how == "unreadable" else True)
    world.tick()
    index = world.positions[CITY].index
    slot = index.slot(UserId("tec"))
    assert slot is not None
    assert index.seen_at[slot] <= index.mocked_at[slot]
    world.advance(3.0)
    peer.say(type="pings", sent_at=world.now, pings=[row(9, world.now), *bad])
    world.tick()
    assert index.seen_at[slot] > index.mocked_at[slot]


def test_a_made_up_position_over_http_is_marked_too() -> None:
    world = HubWorld()
    world.on_duty("tec")
    person = world.engine.people.meet(TENANT, UserId("tec"))
    world.engine._pings.judge_now(
        person, DeviceId("d"), Pings([(1, world.now, 31.2, 121.4, 9.0, None, None)], mock=True), world.now
    )
    index = world.positions[CITY].index
    slot = index.slot(UserId("tec"))
    assert slot is not None
    assert index.seen_at[slot] <= index.mocked_at[slot]


def test_a_ping_from_somebody_off_duty_is_judged_so_and_not_stored() -> None:
    world = HubWorld()
    peer = world.join("tec")
    peer.ping(1)
    peer.say(type="pings", pings=[row(2, world.now), row(3, world.now)])
    world.tick()
    frames = acks(peer)
    assert total(frames) == {"off_duty": 3}
    assert frames[-1]["stored_seq"] == 3
    assert world.positions[CITY].live(UserId("tec")) is None


def test_whoever_is_heard_quietly_is_answered_like_anybody_off_duty() -> None:
    frames: dict[bool, list[bytes]] = {}
    for quiet in (False, True):
        world = HubWorld()
        peer = world.join("tec")
        if quiet:
            world.positions[CITY].claim(UserId("tec"))
            world.engine.duty_changed(TENANT, UserId("tec"), CITY, world.now, quiet=True)
            world.engine.attend(TENANT, UserId("tec"), "inc_1", Level.IDLE, keep=True, owed=False, now=world.now)
        for seq in range(1, 4):
            peer.ping(seq)
            world.advance(1.0)
        peer.ping(9, lat=60.0)  # a jump that a second one confirms
        peer.say(type="pings", pings=[row(10, world.now, 60.0), row(11, world.now, 60.0)])
        world.advance(15.0)
        world.tracks.write()
        world.advance(15.0)
        ledger = world.engine.ingest_http(
            peer.session.principal, Pings(pings=[(12, world.now, 60.0, 121.4, 10.0, None, None)]), world.now
        )
        assert ledger.unwritten is None
        frames[quiet] = [msgspec.json.encode(frame) for frame in [*peer.read(), ledger.take(world.now)]]
        world.tick()
        live = world.positions[CITY].live(UserId("tec"))
        assert (live is not None) == quiet
        assert bool(world.tracks.rows) == quiet
    assert frames[True] == frames[False]
    assert len(frames[True]) > 4


def test_who_goes_off_duty_before_the_tick_leaves_no_ghost() -> None:
    world = HubWorld()
    peer = world.join("tec")
    world.on_duty("tec")
    peer.ping(1)
    world.off_duty("tec")
    slot = world.on_duty("other")
    world.tick()
    assert total(acks(peer)) == {"off_duty": 1}
    assert world.positions[CITY].live(UserId("other")) is None
    assert world.positions[CITY].index.slot(UserId("other")) == slot


def test_the_last_pings_before_a_connection_is_lost_count() -> None:
    world = HubWorld()
    peer = world.join("tec")
    world.on_duty("tec")
    peer.ping(1)
    peer.lose()
    world.tick()
    assert world.positions[CITY].live(UserId("tec")) is not None


def test_too_many_pings_are_refused_and_must_come_again() -> None:
    limits = SessionSettings(pings_per_s=1, pings_burst=3)
    world = HubWorld(RealtimeSettings(frame=Frame.WGS84, sessions=limits))
    peer = world.join("tec")
    world.on_duty("tec")
    for seq in range(1, 6):
        peer.ping(seq)
    peer.say(type="pings", pings=[row(6, world.now), row(7, world.now)])
    world.advance(6)
    frames = acks(peer)
    assert total(frames) == {"live": 3, "rate_limited": 4}
    assert frames[-1]["stored_seq"] == 3


def test_each_position_says_its_own_frame_and_the_hello_the_default() -> None:
    world = HubWorld(RealtimeSettings(frame=Frame.GCJ02))
    plain, chinese = world.join("a"), world.join("b", crs="gcj02")
    world.on_duty("a"), world.on_duty("b")
    plain.ping(1, lat=31.2)
    chinese.ping(1, lat=31.2)
    world.tick()
    a, b = world.positions[CITY].live(UserId("a")), world.positions[CITY].live(UserId("b"))
    assert a is not None
    assert b is not None
    assert b.point.lat_deg == 31.2
    assert abs(a.point.lat_deg - 31.2) > 1e-4


def test_a_teleport_confirmed_later_is_corrected_in_a_later_ack() -> None:
    world = HubWorld()
    peer = world.join("tec")
    world.on_duty("tec")
    frames = []
    for seq, lat in ((1, 31.2), (2, 31.2001), (3, 32.2), (4, 32.2001)):
        peer.ping(seq, lat=lat)
        world.advance(6)
        frames += acks(peer)
    counted = total(frames)
    assert counted["teleport"] == 1
    assert sum(counted.values()) == 4
    corrected = [frame["corrected"] for frame in frames if "corrected" in frame]
    assert len(corrected) == 1
    assert sum(corrected[0].values()) == 1


# -- shedding -------------------------------------------------------------------------------------------


@BOTH
def test_a_lagging_loop_sheds_pings_and_nothing_else(subprotocol: str) -> None:
    world = HubWorld()
    peer = world.join("tec", subprotocol=subprotocol)
    world.on_duty("tec")
    crowd = world.join("crowd")
    world.on_duty("crowd")
    for tick in range(6):
        for n in range(450):
            crowd.ping(450 * tick + n)
        world.tick(lag_s=0.2)
    peer.read()
    peer.ping(100)
    peer.say(type="pings", pings=[row(101, world.now), row(102, world.now)])
    peer.say(type="offer.accept", offer="o", ref="r")
    peer.say(type="sos", key="k")
    peer.say(type="heartbeat")
    world.tick(lag_s=0.2)
    assert len(world.domains.commands) == 1
    assert len(world.domains.sos_frames) == 1
    frames = peer.read()
    assert [frame["type"] for frame in frames] == ["heartbeat", "ping_ack"]
    assert frames[1]["verdicts"] == {"shed": 3}
    assert frames[1]["stored_seq"] == 99
    assert world.positions[CITY].live(UserId("tec")) is None
    for _ in range(50):
        world.tick(lag_s=0.001)
    for seq in (100, 101, 102):
        peer.ping(seq)
    world.advance(6)
    assert acks(peer)[-1]["stored_seq"] == 102


def test_one_slow_tick_sheds_nothing() -> None:
    world = HubWorld()
    peer = world.join("tec")
    world.on_duty("tec")
    world.tick(lag_s=5.0)
    peer.ping(1)
    world.tick()
    assert total(acks(peer)) == {"live": 1}


@pytest.mark.parametrize("is_batch", [False, True])
def test_pings_of_people_off_duty_bring_shedding_as_well(is_batch: bool) -> None:
    world = HubWorld()
    crowd = world.join("crowd")
    for tick in range(8):
        for n in range(450):
            if is_batch:
                crowd.say(type="pings", pings=[row(450 * tick + n, world.now)])
            else:
                crowd.ping(450 * tick + n)
        world.tick(lag_s=0.05)
    assert world.engine.shedding.taken < 1.0


def test_batches_are_looked_at_until_it_is_severe() -> None:
    world = HubWorld()
    peer = world.join("tec")
    world.on_duty("tec")
    world.engine.shedding.taken = 0.0
    world.tick(lag_s=0.09)
    peer.read()
    peer.say(type="pings", pings=[row(1, world.now), row(2, world.now)])
    peer.ping(3)
    world.tick(lag_s=0.3)
    peer.say(type="pings", pings=[row(4, world.now), row(5, world.now)])
    world.tick(lag_s=0.3)
    world.advance(6)
    assert total(acks(peer)) == {"live": 2, "shed": 3}


# -- many at once --------------------------------------------------------------------------------------


def test_acknowledgements_that_are_due_together_are_spread_over_ticks() -> None:
    world = HubWorld()
    peers = [world.join(f"tec{n}") for n in range(900)]
    for n, peer in enumerate(peers):
        world.on_duty(f"tec{n}")
        peer.read()
    for peer in peers:
        peer.ping(1)
    acked = [0] * 900
    in_ticks = []
    for _ in range(6):
        world.tick()
        came = [sum(frame["type"] == "ping_ack" for frame in peer.read()) for peer in peers]
        acked = [a + c for a, c in zip(acked, came, strict=True)]
        in_ticks.append(sum(came))
    assert max(in_ticks) <= 256
    assert acked == [1] * 900
    assert not world.engine.is_busy


def test_somebody_who_leaves_before_their_turn_is_passed_over() -> None:
    world = HubWorld()
    peers = [world.join(f"tec{n}") for n in range(900)]
    for n, peer in enumerate(peers):
        world.on_duty(f"tec{n}")
        peer.ping(1)
    for peer in peers[::2]:
        peer.lose()
    for _ in range(10):
        world.tick()
    assert all("ping_ack" in peer.read_types() for peer in peers[1::2])
    world.advance(60, 0.5)


# -- kept positions -------------------------------------------------------------------------------------


def test_positions_of_a_job_go_to_the_log_and_are_stored_when_it_says_so() -> None:
    world = HubWorld()
    peer = world.join("tec")
    world.on_duty("tec")
    peer.ping(1)
    world.advance(1)
    world.engine.attend(TENANT, UserId("tec"), "ord_1", Level.JOB, keep=True, now=world.now)
    world.engine.attend(TENANT, UserId("tec"), "ofr_9", Level.JOB, keep=False, now=world.now)
    peer.read()
    for seq in (2, 3):
        peer.ping(seq, lat=31.2001, speed_mps=2.0)
        peer.ping(seq, lat=31.2001)
        world.advance(2)
    assert [(who, order) for who, order, _ in world.tracks.rows] == [("tec", "ord_1")] * 2
    assert world.tracks.rows[0][2]["speed_mps"] == [2.0]
    assert acks(peer)[-1]["stored_seq"] == 1
    world.tracks.write()
    world.advance(2)
    assert acks(peer)[-1]["stored_seq"] == 3
    world.engine.attend(TENANT, UserId("tec"), "ord_1", None, keep=False, now=world.now)
    peer.ping(4, lat=31.2001)
    world.advance(2)
    assert len(world.tracks.rows) == 2


@pytest.mark.parametrize("offset_s", [3_600.0, 0.0])
def test_a_batch_without_anything_to_keep_from_somebody_on_a_job_is_judged_like_any_other(offset_s: float) -> None:
    world = HubWorld()
    peer = world.join("tec")
    world.on_duty("tec")
    world.engine.attend(TENANT, UserId("tec"), "ord_1", Level.JOB, keep=True, now=world.now)
    peer.read()
    here = {} if offset_s else {"lat": 0.0, "lng": 0.0}
    for seq in (1, 2):
        peer.ping(seq, age_s=-offset_s, **here)
    world.advance(2)
    assert total(acks(peer)) == {"future" if offset_s else "null_island": 2}
    who = world.tokens.verify("tec:technician:600", device=DeviceId("d1"), now=world.now)
    later = Ping(seq=3, fixed_at=world.now + 3_600.0, sent_at=world.now, lat=31.2, lng=121.4, accuracy_m=5.0)
    assert world.engine.ingest_http(who, later, world.now).take(world.now).verdicts == {"future": 1}
    assert world.tracks.rows == []
    peer.ping(4)
    world.advance(2)
    assert [columns["lat"] for _, _, columns in world.tracks.rows] == [[31.2]]


def test_only_the_rows_of_those_on_a_job_are_kept_whoever_has_moved_meanwhile() -> None:
    world = HubWorld()
    other = Shard(TENANT, CityId("hz"))
    world.positions[other] = ShardPositions(world.positions[CITY]._settings, Frame.WGS84)
    mover, stayer = world.join("mover"), world.join("stayer")
    world.positions[CITY].claim(UserId("first"))
    world.on_duty("mover")
    world.on_duty("stayer")
    world.engine.attend(TENANT, UserId("mover"), "ord_1", Level.JOB, keep=True, now=world.now)
    mover.ping(1)
    stayer.ping(1)
    # Their slot over there has the number of somebody else's here.
    stays = world.positions[CITY].index.slot(UserId("stayer"))
    world.off_duty("mover")
    for number in range(stays or 0):
        world.positions[other].claim(UserId(f"u{number}"))
    assert world.positions[other].claim(UserId("mover")) == stays
    world.engine.duty_changed(TENANT, UserId("mover"), other, world.now)
    world.advance(2)
    assert world.tracks.rows == []


def test_nothing_may_be_forgotten_before_it_is_on_disk_on_any_of_two_devices() -> None:
    world = HubWorld()
    one, two = world.join("tec", device="d1"), world.join("tec", device="d2")
    world.on_duty("tec")
    world.engine.attend(TENANT, UserId("tec"), "ord_1", Level.JOB, keep=True, now=world.now)
    one.ping(7)
    two.ping(9)
    world.advance(2)
    assert [acks(peer)[-1]["stored_seq"] for peer in (one, two)] == [0, 0]
    world.tracks.write()
    world.advance(2)
    assert [acks(peer)[-1]["stored_seq"] for peer in (one, two)] == [7, 9]


def test_a_repeated_ping_is_no_safer_than_its_first_copy() -> None:
    world = HubWorld()
    first = world.join("tec")
    world.on_duty("tec")
    world.engine.attend(TENANT, UserId("tec"), "ord_1", Level.JOB, keep=True, now=world.now)
    who = world.tokens.verify("tec:technician:600", device=DeviceId("d1"), now=world.now)
    batch = Pings(pings=[(seq, world.now, 31.2, 121.4, 5.0, None, None) for seq in range(1, 6)])
    for _ in range(2):
        assert world.engine.ingest_http(who, batch, world.now).take(world.now).stored_seq == 0
    first.lose()
    again = world.join("tec")
    again.ping(5)
    world.advance(2)
    assert [ack["stored_seq"] for ack in acks(again)] == [0]
    world.tracks.write()
    assert world.engine.ingest_http(who, batch, world.now).take(world.now).stored_seq == 5
    world.advance(2)
    assert acks(again)[-1]["stored_seq"] == 5
    assert world.engine._kept._debts == {}


# -- when our own code fails ----------------------------------------------------------------------------


def test_pings_that_cannot_be_judged_are_shed_once_and_the_next_ones_are_judged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = HubWorld()
    single, batch = world.join("a"), world.join("b")
    world.on_duty("a"), world.on_duty("b")

    def fail(*_: Any) -> None:
        raise RuntimeError("a mistake of ours")

    def send() -> None:
        single.ping(10)
        single.ping(11)
        batch.say(type="pings", pings=[row(20, world.now - 1), row(21, world.now)])

    with monkeypatch.context() as patch:
        patch.setattr(world.positions[CITY], "ingest", fail)
        send()
        world.advance(6)
        frames = [acks(single)[-1], acks(batch)[-1]]
        assert [(f["verdicts"], f["stored_seq"]) for f in frames] == [({"shed": 2}, 9), ({"shed": 2}, 19)]
        who = world.tokens.verify("a:technician:600", device=DeviceId("d9"), now=world.now)
        by_http = Ping(seq=1, fixed_at=world.now, lat=31.2, lng=121.4, accuracy_m=5.0)
        assert world.engine.ingest_http(who, by_http, world.now).take(world.now).verdicts == {"shed": 1}
    counts = world.engine.counts()
    assert (counts["judging_failed"], counts["ping_shed"]) == (2, 5)
    assert "a mistake of ours" in caplog.text
    send()
    world.advance(6)
    frames = [acks(single)[-1], acks(batch)[-1]]
    assert [(f["verdicts"], f["stored_seq"]) for f in frames] == [({"live": 2}, 11), ({"live": 2}, 21)]


def test_a_failure_behind_the_verdicts_repeats_nothing_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = HubWorld()
    peer = world.join("tec")
    world.on_duty("tec")
    world.engine.attend(TENANT, UserId("tec"), "ord_1", Level.JOB, keep=True, now=world.now)
    peer.read()

    def fail(*_: Any) -> None:
        raise RuntimeError("a mistake of ours")

    with monkeypatch.context() as patch:
        patch.setattr(world.engine._watching, "moved", fail)
        peer.ping(1)
        world.advance(2)
    assert world.engine.counts()["passing_on_failed"] == 1
    assert len(world.tracks.rows) == 1, "the log does not depend on who watches"
    peer.ping(2)
    world.advance(2)
    assert total(acks(peer)) == {"live": 2}


# -- HTTP -----------------------------------------------------------------------------------------------


def test_positions_by_http_take_the_same_way_and_are_answered_at_once() -> None:
    world = HubWorld()
    who = world.tokens.verify("tec:technician:600", device=DeviceId("d1"), now=world.now)
    ping = Ping(seq=1, fixed_at=world.now, lat=31.2, lng=121.4, accuracy_m=5.0)
    assert world.engine.ingest_http(who, ping, world.now).take(world.now).verdicts == {"off_duty": 1}
    world.on_duty("tec")
    assert world.engine.ingest_http(who, ping, world.now).take(world.now).verdicts == {"live": 1}
    batch = Pings(pings=[(1, world.now, 31.2, 121.4, 5.0, None, None), (2, world.now, 31.2, 121.4, 5.0, None, None)])
    ack = world.engine.ingest_http(who, batch, world.now).take(world.now)
    assert sum(ack.verdicts.values()) == 2
    assert ack.verdicts["duplicate"] == 1
    assert ack.stored_seq == 2


@given(st.lists(st.tuples(st.integers(1, 30), st.floats(-60, 60), st.booleans()), max_size=40))
def test_every_ping_gets_exactly_one_verdict_and_the_live_position_equals_the_law(
    sends: list[tuple[int, float, bool]],
) -> None:
    world = HubWorld()
    peer = world.join("tec")
    world.on_duty("tec")
    frames, sent = [], 0
    for seq, offset, batched in sends:
        if batched:
            peer.say(type="pings", sent_at=world.now, pings=[row(seq, world.now + offset)] * 2)
            sent += 2
        else:
            peer.ping(seq, age_s=-offset)
            sent += 1
        world.tick()
        frames += acks(peer)
    world.advance(11, step=0.5)
    frames += acks(peer)
    assert sum(total(frames).values()) == sent


def test_messages_are_the_structs_that_the_catalogue_names() -> None:
    ack = PingLedger(DeviceId("d")).take(0.0)
    assert msgspec.json.decode(msgspec.json.encode(ack)) == {
        "type": "ping_ack", "seq": 0, "verdicts": {}, "stored_seq": 0,
    }  # fmt: skip
