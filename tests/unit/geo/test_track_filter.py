import itertools
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.ids import DeviceId
from geo.pings import Correction, JudgedBatch, PingBatch, Verdict, device_number
from geo.settings import PositionSettings
from geo.track_filter import TrackFilter
from geo.trail import TrailFix, live_fix

SETTINGS = PositionSettings()
EPOCH = 1_700_000_000.0
LAT, LNG = 22.5, 114.0
STEP_DEG = 0.0001  # 11 m


class Ping(NamedTuple):
    """A ping of a test; times are seconds after EPOCH."""

    seq: int
    at: float
    north: float = 0.0
    slot: int = 0
    device: int = 1
    accuracy_m: float = 5.0
    clock_off_s: float = 0.0
    """How far the phone's clock is ahead."""
    late_s: float = 0.0
    """From the fix to the moment of sending."""
    received: float | None = None
    rate: float = 1.0


def batch_of(pings: list[Ping]) -> PingBatch:
    sent = [EPOCH + p.at + p.late_s + p.clock_off_s for p in pings]
    return PingBatch.of(
        slot=[p.slot for p in pings],
        device=[p.device for p in pings],
        seq=[p.seq for p in pings],
        fixed_at=[EPOCH + p.at + p.clock_off_s for p in pings],
        sent_at=sent,
        received_at=[EPOCH + (p.at + p.late_s if p.received is None else p.received) for p in pings],
        lat=[LAT + p.north * STEP_DEG for p in pings],
        lng=[LNG] * len(pings),
        accuracy_m=[p.accuracy_m for p in pings],
        clock_rate=[p.rate for p in pings],
    )


class Watched:
    """A filter and the live positions that follow from what it says."""

    def __init__(self, limits: PositionSettings = SETTINGS) -> None:
        self.filter = TrackFilter(limits, capacity=8)
        self.live: dict[int, tuple[int, int]] = {}
        self.corrections: list[Correction] = []

    def judge(self, *pings: Ping) -> list[str]:
        judged = self.filter.judge(batch_of(list(pings)))
        self.note(judged)
        return [Verdict(value).word for value in judged.verdict.tolist()]

    def note(self, judged: JudgedBatch) -> None:
        slots = judged.live_slots.tolist()
        assert len(set(slots)) == len(slots) == len(judged.live)
        for slot, row in zip(slots, judged.live, strict=True):
            self.live[slot] = (int(row["device"]), int(row["seq"]))
        self.corrections += judged.corrections


def test_pings_in_order_are_live() -> None:
    watched = Watched()
    assert watched.judge(Ping(1, 0), Ping(2, 5, 1), Ping(3, 10, 2)) == ["live"] * 3
    assert watched.judge(Ping(4, 15, 3)) == ["live"]
    assert watched.live[0] == (1, 4)


def test_the_first_frame_of_somebody_is_judged_without_opening_a_trail(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an ordinary batch must not take the exact path")

    monkeypatch.setattr(TrackFilter, "judge_one", refuse)
    frame = [Ping(seq, seq * 1.0, seq, slot=slot, device=slot) for slot in range(4) for seq in range(41, 61)]
    assert watched.judge(*frame) == ["live"] * 80
    later = [ping._replace(seq=ping.seq + 20, at=ping.at + 20, north=ping.north + 20) for ping in frame]
    assert watched.judge(*later) == ["live"] * 80
    assert watched.live == {slot: (slot, 80) for slot in range(4)}
    assert [fix.seq for fix in watched.filter.trail(3)] == list(range(49, 81))
    monkeypatch.undo()
    assert watched.judge(Ping(45, 45, 45, slot=2, device=2), Ping(40, 40, slot=2, device=2)) == ["duplicate", "late"]


def test_a_first_frame_longer_than_the_trail_makes_older_fixes_late() -> None:
    alone, together = Watched(), Watched()
    frame = [Ping(seq, seq * 1.0, seq) for seq in (2, *range(4, 50))]
    assert together.judge(*frame) == [alone.judge(ping)[0] for ping in frame]
    assert together.filter.trail(0) == alone.filter.trail(0)
    for watched in (alone, together):
        assert watched.judge(Ping(3, 3.0, 3), Ping(2, 2.0, 2), Ping(1, 1.0, 1)) == ["late", "duplicate", "late"]


@pytest.mark.parametrize(("north", "verdict"), [(54.0, "live"), (56.0, "teleport")])
def test_a_diagonal_step_is_measured_along_the_great_circle(north: float, verdict: str) -> None:
    """Farther than the limit along meridian and parallel, nearer or farther on the straight way."""
    metre = 1.0 / 111_195.08
    side = north / 2**0.5
    batch = batch_of([Ping(1, 0), Ping(2, 1)])
    lat = batch.lat + np.array([0.0, side * metre])
    lng = batch.lng + np.array([0.0, side * metre / np.cos(np.radians(LAT))])
    judged = TrackFilter(SETTINGS).judge(batch.moved_to(lat, lng))
    assert [Verdict(value).word for value in judged.verdict.tolist()] == ["live", verdict]


def test_a_trail_left_open_by_a_late_ping_goes_on_the_same_whoever_else_is_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("geo.track_filter._OPEN_MAX", 2)
    watched, plain = Watched(), Watched()
    for slot in range(5):
        watched.judge(Ping(1, 0, slot=slot), Ping(3, 10, 2, slot=slot))
        assert watched.judge(Ping(2, 5, 1, slot=slot)) == ["late"]
    for seq in range(4, 60):
        assert watched.judge(*[Ping(seq, seq * 5, seq, slot=slot) for slot in range(5)]) == ["live"] * 5
    plain.judge(*[Ping(seq, [0, 0, 5, 10][seq] if seq < 4 else seq * 5, [0, 0, 1, 2][seq] if seq < 4 else seq)
                  for seq in range(1, 60)])  # fmt: skip
    for slot in range(5):
        assert watched.filter.trail(slot) == plain.filter.trail(0)
    assert not watched.filter._open
    watched.judge(Ping(58, 290.5, 58, slot=1, device=2))
    watched.filter.forget(1)
    assert watched.judge(Ping(1, 0, 9_000, slot=1)) == ["live"]
    assert len(watched.filter.trail(1)) == 1


def test_a_repeated_ping_is_a_duplicate_in_the_same_batch_and_later() -> None:
    watched = Watched()
    assert watched.judge(Ping(1, 0), Ping(1, 0), Ping(2, 5)) == ["live", "duplicate", "live"]
    assert watched.judge(Ping(2, 5), Ping(1, 0)) == ["duplicate", "duplicate"]


def test_a_long_backlog_sent_again_is_all_duplicates() -> None:
    watched = Watched()
    backlog = [Ping(seq, seq * 5.0) for seq in range(1, 201)]
    assert set(watched.judge(*backlog)) == {"live"}
    assert set(watched.judge(*backlog)) == {"duplicate"}
    assert watched.live[0] == (1, 200)


def test_a_repetition_is_known_across_gaps_in_the_numbers() -> None:
    watched = Watched()
    watched.judge(*[Ping(seq, seq * 5.0) for seq in (1, 2, 5, 6, 9)])
    watched.judge(Ping(20, 100))
    assert watched.judge(*[Ping(seq, seq * 5.0) for seq in (1, 2, 5, 6, 9, 20)]) == ["duplicate"] * 6
    assert watched.judge(Ping(3, 15), Ping(21, 105)) == ["late", "live"]


def test_two_devices_may_use_the_same_numbers() -> None:
    watched = Watched()
    assert watched.judge(Ping(1, 0), Ping(1, 5, device=2), Ping(2, 10), Ping(1, 5, device=2)) == [
        "live",
        "live",
        "live",
        "duplicate",
    ]


def test_an_older_fix_is_late_and_moves_nothing() -> None:
    watched = Watched()
    watched.judge(Ping(1, 0), Ping(3, 10))
    assert watched.judge(Ping(2, 5)) == ["late"]
    assert watched.live[0] == (1, 3)


def test_a_jump_is_quarantined_and_corrected_when_a_second_fix_agrees() -> None:
    watched = Watched()
    assert watched.judge(Ping(1, 0), Ping(2, 5, 10_000)) == ["live", "teleport"]
    assert watched.live[0] == (1, 1)
    assert watched.judge(Ping(3, 10, 10_001)) == ["live"]
    assert watched.live[0] == (1, 3)
    assert watched.corrections == [Correction(0, 1, 2, Verdict.LATE)]


def test_a_late_fix_may_confirm_a_jump_which_then_is_live() -> None:
    watched = Watched()
    watched.judge(Ping(1, 0), Ping(3, 10, 10_000))
    assert watched.judge(Ping(2, 9, 9_999)) == ["late"]
    assert watched.corrections == [Correction(0, 1, 3, Verdict.LIVE)]
    assert watched.live[0] == (1, 3)


def test_a_glitch_that_nothing_confirms_stays_a_teleport() -> None:
    watched = Watched()
    assert watched.judge(Ping(1, 0), Ping(2, 5, 10_000), Ping(3, 10, 1)) == ["live", "teleport", "teleport"]
    assert watched.judge(Ping(4, 15, 2)) == ["live"]
    assert watched.corrections == [Correction(0, 1, 3, Verdict.LATE)]


@pytest.mark.parametrize(
    ("ping", "verdict"),
    [
        (Ping(1, 0, slot=-1), "off_duty"),
        (Ping(1, 0, north=float("nan")), "invalid"),
        (Ping(1, 0, north=1e9), "invalid"),
        (Ping(1, float("inf")), "invalid"),
        (Ping(1, 0, accuracy_m=-1.0), "invalid"),
        (Ping(1, 0, accuracy_m=float("nan")), "invalid"),
        (Ping(1, 0, accuracy_m=201.0), "inaccurate"),
        (Ping(1, 0, late_s=-61.0), "future"),
        (Ping(1, 0, late_s=-59.0), "live"),
        (Ping(1, 0, accuracy_m=200.0), "live"),
    ],
)
def test_a_ping_alone_gets_the_verdict_it_deserves(ping: Ping, verdict: str) -> None:
    assert Watched().judge(ping) == [verdict]


def test_null_island_is_no_place() -> None:
    batch = batch_of([Ping(1, 0)]).moved_to(np.array([0.0]), np.array([0.0]))
    assert TrackFilter(SETTINGS).judge(batch).verdict.tolist() == [Verdict.NULL_ISLAND]


@pytest.mark.parametrize("off_s", [-86_400.0, -3_600.0, 3_600.0, 86_400.0 * 365])
def test_a_phone_with_a_wrong_clock_is_neither_hidden_nor_old(off_s: float) -> None:
    judged = TrackFilter(SETTINGS).judge(batch_of([Ping(1, 0, clock_off_s=off_s, late_s=7.0)]))
    assert judged.verdict.tolist() == [Verdict.LIVE]
    assert judged.seen_at[0] == pytest.approx(EPOCH)


@pytest.mark.parametrize("step_s", [-3_600.0, -31.0, 31.0, 3_600.0])
def test_a_clock_that_steps_freezes_nobody(step_s: float) -> None:
    watched = Watched()
    watched.judge(Ping(1, 0), Ping(2, 5, 1))
    assert watched.judge(Ping(3, 10, 2, clock_off_s=step_s)) == ["live"]
    assert watched.judge(Ping(4, 15, 3, clock_off_s=step_s)) == ["live"]
    assert watched.judge(Ping(5, 20, 4)) == ["live"]
    assert watched.live[0] == (1, 5)


def test_a_frame_delayed_on_its_way_is_no_clock_step() -> None:
    watched = Watched()
    watched.judge(Ping(1, 0), Ping(3, 100))
    assert watched.judge(Ping(2, 50, received=150.0)) == ["late"]
    assert watched.live[0] == (1, 3)


def test_a_phone_that_does_not_say_when_it_sent_is_taken_at_its_word() -> None:
    batch = batch_of([Ping(1, 0, late_s=30.0)])
    judged = TrackFilter(SETTINGS).judge(replace(batch, sent_at=np.array([np.nan])))
    assert judged.seen_at[0] == pytest.approx(EPOCH)


def test_a_replay_may_declare_a_faster_clock() -> None:
    watched = Watched(replace(SETTINGS, clock_rate_max=60.0))
    pings = [Ping(seq, seq * 60.0, seq, received=float(seq), rate=60.0) for seq in range(1, 10)]
    assert [watched.judge(ping)[0] for ping in pings] == ["live"] * 9
    assert watched.filter.trail(0)[-1].segment == 0
    judged = watched.filter.judge(batch_of([Ping(10, 600.0, 10, late_s=120.0, received=12.0, rate=60.0)]))
    assert judged.seen_at[0] == pytest.approx(EPOCH + 10.0)


def test_a_rate_above_the_limit_is_cut() -> None:
    watched = Watched()
    watched.judge(Ping(1, 60.0, received=1.0, rate=60.0))
    watched.judge(Ping(2, 120.0, 1, received=2.0, rate=60.0))
    assert watched.filter.trail(0)[-1].segment == 1


def test_a_forgotten_slot_begins_anew() -> None:
    watched = Watched()
    watched.judge(Ping(1, 1000), Ping(2, 1005))
    watched.filter.forget(0)
    assert watched.filter.trail(0) == []
    assert watched.judge(Ping(1, 0, 10_000)) == ["live"]


def test_each_slot_is_judged_for_itself() -> None:
    watched = Watched()
    pings = [Ping(1, 0, slot=0), Ping(1, 0, 9_000, slot=1), Ping(2, 5, 1, slot=0), Ping(2, 5, 9_001, slot=1)]
    assert watched.judge(*pings) == ["live"] * 4
    assert watched.judge(Ping(3, 10, 9_002, slot=0), Ping(3, 10, 9_002, slot=1)) == ["teleport", "live"]


def test_every_device_has_a_positive_number_of_its_own() -> None:
    numbers = {device_number(DeviceId(f"phone {n}")) for n in range(1_000)}
    assert len(numbers) == 1_000
    assert all(0 <= number < 2**63 for number in numbers)


# -- the law --------------------------------------------------------------------------------------------

moves = st.sampled_from([0.0, 0.0, 1.0, 3.0, 40.0, 200.0, 5_000.0])
gaps = st.sampled_from([0.0, 1.0, 5.0, 5.0, 30.0, 599.0, 601.0, 2_000.0])


@st.composite
def trails(draw: st.DrawFn, len_max: int) -> list[Ping]:
    """Fixes of one person on two devices: mostly believable, with jumps, glitches and silences."""
    pings, at, north = [], 0.0, 0.0
    seqs = {1: 0, 2: 0}
    for _ in range(draw(st.integers(1, len_max))):
        at += draw(gaps)
        north += draw(moves) * draw(st.sampled_from([-1.0, 1.0]))
        device = draw(st.sampled_from([1, 1, 1, 1, 2]))
        seqs[device] += draw(st.sampled_from([1, 1, 1, 2]))
        accuracy_m = draw(st.sampled_from([5.0, 5.0, 5.0, 300.0]))
        pings.append(Ping(seqs[device], at, north, device=device, accuracy_m=accuracy_m))
    return pings


def law(pings: list[Ping]) -> tuple[int, int] | None:
    batch = batch_of(pings)
    fix = live_fix(
        [
            TrailFix(0, *row)
            for ping, *row in zip(
                pings,
                batch.fixed_at.tolist(),
                batch.seq.tolist(),
                batch.device.tolist(),
                batch.lat.tolist(),
                batch.lng.tolist(),
                strict=True,
            )
            if ping.accuracy_m <= SETTINGS.accuracy_max_m
        ],
        SETTINGS,
    )
    return (fix.device, fix.seq) if fix is not None else None


def check_law(trail: list[Ping], arrival: list[int], cuts: list[int]) -> None:
    """Any order, any repetition, cut into any batches: the live position is the law's, each ping has one verdict."""
    watched = Watched()
    # Whatever arrives, arrives now: with the phone's clock right, the offset never steps.
    pings = [trail[number]._replace(slot=1) for number in arrival]
    received = max(ping.at for ping in trail) + 10.0
    pings = [ping._replace(received=received, late_s=received - ping.at) for ping in pings]
    bounds = sorted({0, *(cut % (len(pings) + 1) for cut in cuts), len(pings)})
    verdicts: list[str] = []
    for begin, end in itertools.pairwise(bounds):
        verdicts += watched.judge(*pings[begin:end])
    assert len(verdicts) == len(pings)
    assert watched.live.get(1) == law(trail)
    storable = {(p.device, p.seq) for p in trail if p.accuracy_m <= SETTINGS.accuracy_max_m}
    assert verdicts.count("inaccurate") == sum(p.accuracy_m > SETTINGS.accuracy_max_m for p in pings)
    assert sum(verdict in ("live", "late", "teleport") for verdict in verdicts) == len(storable)
    for correction in watched.corrections:
        assert correction.verdict in (Verdict.LIVE, Verdict.LATE)


def arrivals(draw: st.DataObject, n: int) -> list[int]:
    order = draw.draw(st.permutations(range(n)))
    again = draw.draw(st.lists(st.integers(0, n - 1), max_size=n))
    return [*order, *again]


@pytest.mark.slow
@given(trail=trails(24), draw=st.data(), cuts=st.lists(st.integers(0, 60), max_size=6))
@settings(max_examples=150)
def test_the_live_position_equals_the_law_in_any_order_and_repetition(
    trail: list[Ping], draw: st.DataObject, cuts: list[int]
) -> None:
    check_law(trail, arrivals(draw, len(trail)), cuts)


@pytest.mark.slow
@given(trail=trails(100), cuts=st.lists(st.integers(0, 100), max_size=8))
@settings(max_examples=60)
def test_in_order_the_law_holds_for_trails_longer_than_what_is_kept(trail: list[Ping], cuts: list[int]) -> None:
    check_law(trail, list(range(len(trail))), cuts)


@pytest.mark.full
@pytest.mark.timeout(1800)
@given(trail=trails(31), draw=st.data(), cuts=st.lists(st.integers(0, 60), max_size=6))
@settings(max_examples=10_000)
def test_the_law_holds_in_very_many_orders(trail: list[Ping], draw: st.DataObject, cuts: list[int]) -> None:
    check_law(trail, arrivals(draw, len(trail)), cuts)


@pytest.mark.slow
@given(trail=trails(40), cuts=st.lists(st.integers(0, 60), max_size=6))
@settings(max_examples=60)
def test_batches_change_nothing_but_speed(trail: list[Ping], cuts: list[int]) -> None:
    alone, together = Watched(), Watched()
    one_by_one = [alone.judge(ping)[0] for ping in trail]
    bounds = sorted({0, *(cut % (len(trail) + 1) for cut in cuts), len(trail)})
    batched: list[str] = []
    for begin, end in itertools.pairwise(bounds):
        batched += together.judge(*trail[begin:end])
    assert batched == one_by_one
    assert together.live == alone.live
    assert together.filter.trail(0) == alone.filter.trail(0)
    assert together.corrections == alone.corrections


@pytest.mark.slow
@given(
    trail=trails(30),
    steps=st.lists(
        st.sampled_from([0.0] * 8 + [-4_000.0, -40.0, -31.0, -30.0, 20.0, 30.0, 31.0, 40.0, 4_000.0]),
        min_size=30,
        max_size=30,
    ),
    again=st.lists(st.lists(st.integers(0, 29), max_size=3), min_size=30, max_size=30),
    ends=st.lists(st.booleans(), min_size=30, max_size=30),
)
@settings(max_examples=80)
def test_with_a_stepping_clock_the_law_holds_segment_by_segment(
    trail: list[Ping], steps: list[float], again: list[list[int]], ends: list[bool]
) -> None:
    watched, fixes, sent, frame, off_s, segment = Watched(), list[TrailFix](), list[Ping](), list[Ping](), 0.0, 0
    for number, (ping, step_s) in enumerate(zip(trail, steps, strict=False)):
        off_s += step_s
        segment += bool(fixes) and abs(step_s) > SETTINGS.clock_step_s
        sent.append(ping._replace(device=1, seq=number, accuracy_m=5.0, clock_off_s=off_s))
        batch = batch_of(sent[-1:])
        row = (batch.fixed_at, batch.seq, batch.device, batch.lat, batch.lng)
        fixes.append(TrailFix(segment, *(column.tolist()[0] for column in row)))
        # What was sent before may come again at any time.
        frame += [sent[-1], *(sent[back % len(sent)] for back in again[number])]
        if ends[number] or number == len(trail) - 1:
            watched.judge(*frame)
            frame.clear()
            fix = live_fix(fixes, SETTINGS)
            assert fix is not None
            assert watched.live[0] == (fix.device, fix.seq)
