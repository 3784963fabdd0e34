"""The send queue against a modelled link: lanes, conflation, credit, bounds. Pure; time is a number."""

from collections import deque
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from realtime.send_queue import CLOSE_TOO_SLOW, ENTRY_BYTES, SendQueue, SendQueueSettings

SETTINGS = SendQueueSettings()
KIB = 1_024


class Link:
    """A connection with a clock: bytes leave at ``bytes_per_s``, pongs come back ``rtt_s`` after their ping was read.

    Everything written is on its way in one order, as in the kernel's buffers; the transport never pauses by itself.
    """

    def __init__(self, bytes_per_s: float = 1e9, rtt_s: float = 0.0) -> None:
        self.bytes_per_s = bytes_per_s
        self.rtt_s = rtt_s
        self.now = 1_000.0
        self.written: list[bytes] = []
        self.pings: list[bytes] = []
        self.read: list[tuple[float, bytes]] = []
        self.closed: int | None = None
        self.is_reading = True
        self._free_at = 0.0
        self._wire: deque[tuple[bytes, bool, float]] = deque()
        self._pongs: deque[tuple[float, bytes]] = deque()

    peer = "203.0.113.1"
    subprotocol = "doorstep.v1.json"

    @property
    def is_open(self) -> bool:
        return self.closed is None

    def send(self, payload: bytes) -> None:
        assert self.is_open
        self.written.append(payload)
        self._wire.append((payload, False, self.now))

    def send_ping(self, payload: bytes) -> None:
        assert self.is_open
        assert len(payload) <= 125
        self.pings.append(payload)
        self._wire.append((payload, True, self.now))

    def close(self, code: int, reason: str = "") -> None:
        self.closed = self.closed or code

    def abort(self) -> None:
        self.closed = self.closed or 1006

    @property
    def hidden_bytes(self) -> int:
        """What was written and the reader has not read."""
        return sum(len(payload) for payload, _, _ in self._wire)

    def run(self, queue: SendQueue, seconds: float, step_s: float = 0.01) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self.now < until:
            self.now += step_s
            self._carry()
            while self._pongs and self._pongs[0][0] <= self.now:
                queue.on_pong(self._pongs.popleft()[1], self.now)

    def _carry(self) -> None:
        if not self.is_reading:
            self._free_at = self.now
            return
        while self._wire:
            payload, is_ping, put_at = self._wire[0]
            done_at = max(self._free_at, put_at) + (len(payload) + 4) / self.bytes_per_s
            if done_at > self.now:
                return
            self._free_at = done_at
            self._wire.popleft()
            if is_ping:
                self._pongs.append((done_at + self.rtt_s, payload))
            else:
                self.read.append((done_at, payload))


def queue_on(link: Link, **changes: float) -> SendQueue:
    return SendQueue(link, replace(SETTINGS, **changes))  # type: ignore[arg-type]


def fill(queue: SendQueue, link: Link, total_bytes: int, size: int = 200) -> None:
    """Offer positions of ever new keys."""
    for number in range(total_bytes // size):
        queue.offer_position(("area:sh", f"tec_{number}"), b"%06d" % number + b"p" * (size - 6), link.now)


def rate(link: Link, queue: SendQueue, seconds: float) -> float:
    """Bytes read per second while a reader with an endless appetite is offered more than it can get."""
    number = 0
    start, until = len(link.read), link.now + seconds
    while link.now < until:
        while queue.pending_bytes < 300_000:
            number += 1
            queue.offer_position(("area:sh", f"tec_{number}"), b"p" * 400, link.now)
        link.run(queue, 0.01)
    return sum(len(payload) for _, payload in link.read[start:]) / seconds


# -- lanes -----------------------------------------------------------------------------------------------


def test_everything_is_written_at_once_on_an_idle_connection() -> None:
    link = Link()
    queue = queue_on(link)
    queue.send_main(b"offer")
    queue.offer_position(("order:1", "t"), b"position", link.now)
    queue.send_safety(b"sos")
    assert link.written == [b"offer", b"position", b"sos"]
    assert queue.pending_bytes == 0


def test_safety_is_the_next_frame_written_and_read_in_time_behind_a_megabyte_of_positions() -> None:
    link = Link(bytes_per_s=8 * KIB, rtt_s=0.1)
    queue = queue_on(link)
    fill(queue, link, 1 << 20)
    assert queue.pending_bytes > 900_000
    for wait_s in (0.0, 0.3, 1.7, 5.0, 20.0):
        link.run(queue, wait_s)
        written = len(link.written)
        queue.send_safety(b"sos")
        sent_at = link.now
        assert link.written[written:] == [b"sos"]
        link.run(queue, 2.0)
        assert link.read[-1][1] != b"sos", "positions go on behind it"
        (read_at,) = (at for at, payload in link.read if payload == b"sos" and at > sent_at)
        assert read_at - sent_at <= 1.2


def test_main_waits_while_the_transport_is_paused_and_safety_does_not() -> None:
    link = Link()
    queue = queue_on(link)
    queue.on_paused()
    assert queue.send_main(b"offer")
    queue.offer_position(("order:1", "t"), b"position", link.now)
    assert queue.send_safety(b"sos")
    assert link.written == [b"sos"]
    queue.on_writable(link.now)
    assert link.written == [b"sos", b"offer", b"position"]


def test_main_keeps_its_order_when_the_transport_pauses_again_in_between() -> None:
    link = Link()
    queue = queue_on(link)
    queue.on_paused()
    for payload in (b"1", b"2", b"3"):
        queue.send_main(payload)
    written = link.send

    def send_and_pause(payload: bytes) -> None:
        written(payload)
        queue.on_paused()

    link.send = send_and_pause  # type: ignore[method-assign]
    queue.on_writable(link.now)
    assert link.written == [b"1"]
    queue.send_main(b"4")
    link.send = written  # type: ignore[method-assign]
    queue.on_writable(link.now)
    assert link.written == [b"1", b"2", b"3", b"4"]


def test_too_many_reliable_bytes_end_the_connection_with_too_slow() -> None:
    link = Link()
    queue = queue_on(link, reliable_bytes_max=65_536)
    queue.on_paused()
    assert all(queue.send_main(b"x" * KIB) for _ in range(64))
    assert not queue.send_main(b"x")
    assert link.closed == CLOSE_TOO_SLOW == 4408
    assert not queue.send_main(b"x")
    queue.offer_position(("order:1", "t"), b"x", link.now)
    assert (queue.pending_bytes, link.written) == (0, [])


def test_even_safety_does_not_pile_up_without_end() -> None:
    link = Link()
    queue = queue_on(link, reliable_bytes_max=65_536)
    queue.on_paused()
    assert all(queue.send_safety(b"x" * KIB) for _ in range(64))
    assert not queue.send_safety(b"x" * KIB)
    assert link.closed == CLOSE_TOO_SLOW


def test_bytes_written_to_safety_are_forgiven_once_the_transport_took_them() -> None:
    link = Link()
    queue = queue_on(link, reliable_bytes_max=65_536)
    for _ in range(10):
        queue.on_paused()
        assert all(queue.send_safety(b"x" * KIB) for _ in range(64))
        queue.on_writable(link.now)


# -- conflation ------------------------------------------------------------------------------------------


def test_the_newest_position_of_a_key_replaces_the_older_one_in_its_place() -> None:
    link = Link()
    queue = queue_on(link)
    queue.on_paused()
    for payload in (b"1", b"2"):
        for item in ("a", "b", "c"):
            queue.offer_position(("area:sh", item), item.encode() + payload, link.now)
    queue.offer_position(("area:sh", "a"), b"a3", link.now)
    assert queue.conflated == 4
    queue.on_writable(link.now)
    assert link.written == [b"a3", b"b2", b"c2"]


def test_a_purged_topic_is_not_sent_any_more() -> None:
    link = Link()
    queue = queue_on(link)
    queue.on_paused()
    for topic in ("order:1", "order:11", "order:2"):
        queue.offer_position((topic, "t"), topic.encode(), link.now)
    assert queue.purge("order:1") == 1
    assert queue.purge("order:3") == 0
    queue.on_writable(link.now)
    assert link.written == [b"order:11", b"order:2"]
    assert queue.pending_bytes == 0


def test_purging_everything_that_waits_leaves_the_lane_alive() -> None:
    link = Link(bytes_per_s=8 * KIB)
    queue = queue_on(link)
    fill(queue, link, 100_000)
    queue.purge("area:sh")
    assert queue.pending_bytes == 0
    link.run(queue, 3)
    written = len(link.written)
    queue.offer_position(("order:1", "t"), b"x", link.now)
    assert link.written[written:] == [b"x"]


# -- credit ----------------------------------------------------------------------------------------------


def test_at_most_the_window_is_unponged_and_a_quarter_of_it_between_pings() -> None:
    link = Link()
    queue = queue_on(link)
    fill(queue, link, 100_000)
    assert 7_900 < queue.in_flight_bytes <= 8_192
    assert len(link.pings) == 4
    assert queue.pending_bytes > 90_000


def test_no_pong_no_more() -> None:
    link = Link(bytes_per_s=8 * KIB)
    link.is_reading = False
    queue = queue_on(link)
    fill(queue, link, 1 << 20)
    written = len(link.written)
    link.run(queue, 60)
    assert len(link.written) == written
    assert link.hidden_bytes <= 8_192 + 4 * 10


def test_a_position_larger_than_the_window_goes_alone() -> None:
    link = Link(bytes_per_s=64 * KIB)
    queue = queue_on(link)
    for item in ("a", "b"):
        queue.offer_position(("area:sh", item), b"x" * 20_000, link.now)
    assert len(link.written) == 1
    link.run(queue, 1)
    assert len(link.written) == 2


def test_a_few_small_positions_are_never_held_back_by_a_missing_ping() -> None:
    link = Link(bytes_per_s=64 * KIB, rtt_s=0.05)
    queue = queue_on(link)
    for number in range(200):
        queue.offer_position(("order:1", "t"), b"p" * 190, link.now)
        assert link.written[-1] == b"p" * 190
        assert len(link.written) == number + 1
        link.run(queue, 1, step_s=0.05)


@pytest.mark.parametrize(
    "payload", [b"", b"q", b"q0", b"q2", b"q-1", b"q" + b"9" * 100, b"1", b"hub7", b"\xff", b"q\xc2\xb2"]
)
def test_pongs_that_answer_none_of_its_pings_earn_nothing(payload: bytes) -> None:
    link = Link()
    queue = queue_on(link, window_bytes=1_024)
    queue.offer_position(("order:1", "t"), b"p" * 300, link.now)
    assert link.pings == [b"q1"]
    assert not queue.on_pong(payload, link.now)
    assert queue.in_flight_bytes == 304


def test_a_pong_answers_every_ping_before_it_and_only_once() -> None:
    link = Link()
    queue = queue_on(link)
    fill(queue, link, 6_000)
    assert queue.on_pong(link.pings[-1], link.now + 0.2)
    assert queue.rtt_s == pytest.approx(0.2)
    assert not queue.on_pong(link.pings[-1], link.now)
    assert not queue.on_pong(link.pings[0], link.now)


def test_who_answers_no_pings_gets_one_window_of_positions_and_every_reliable_message() -> None:
    link = Link()
    queue = queue_on(link)
    fill(queue, link, 20_000)
    before = len(link.written)
    assert 0 < sum(map(len, link.written)) <= SETTINGS.window_bytes
    link.now += 3_600.0
    fill(queue, link, 20_000)
    assert len(link.written) == before
    assert queue.send_main(b"main")
    assert queue.send_safety(b"safety")
    assert link.written[before:] == [b"main", b"safety"]
    assert link.is_open


@pytest.mark.parametrize("rtt_s", [0.002, 0.02, 0.05, 0.15])
def test_a_console_on_a_fast_link_is_not_throttled_by_its_credit(rtt_s: float) -> None:
    link = Link(bytes_per_s=1_000_000, rtt_s=rtt_s)
    queue = queue_on(link)
    rate(link, queue, 3)
    assert rate(link, queue, 3) > 0.95 * 1_000_000


@pytest.mark.parametrize("rtt_s", [0.02, 0.1, 0.4, 1.0, 3.0])
@pytest.mark.parametrize("bytes_per_s", [8 * KIB, 16 * KIB, 64 * KIB, 256 * KIB])
def test_what_is_ahead_of_an_sos_is_read_within_a_second_and_the_round_trip(rtt_s: float, bytes_per_s: int) -> None:
    link = Link(bytes_per_s=bytes_per_s, rtt_s=rtt_s)
    queue = queue_on(link)
    for _ in range(6):
        rate(link, queue, 1)
        assert link.hidden_bytes / bytes_per_s <= 1.05


def test_the_window_follows_a_link_that_becomes_slow() -> None:
    link = Link(bytes_per_s=400_000, rtt_s=0.05)
    queue = queue_on(link)
    rate(link, queue, 3)
    assert queue.window_bytes > 100_000
    link.bytes_per_s = 8 * KIB
    # What was in flight was half a second of the fast link; the slow one needs its time for that, once.
    rate(link, queue, 30)
    assert queue.window_bytes == SETTINGS.window_bytes
    assert link.hidden_bytes <= 8_300


def test_a_reader_that_reads_in_gulps_does_not_look_fast() -> None:
    link = Link(bytes_per_s=1e9)
    queue = queue_on(link)
    fill(queue, link, 1 << 20)
    for _ in range(20):
        link.is_reading = False
        link.run(queue, 0.99)
        assert link.hidden_bytes <= 2 * 8_192 + 100
        # One gulp of what fits into a small receive buffer, once a second.
        gulp = 8_192
        while link._wire and gulp > 0:
            payload, is_ping, _ = link._wire.popleft()
            gulp -= len(payload) + 4
            if is_ping:
                queue.on_pong(payload, link.now)
    assert queue.window_bytes <= 2 * 8_192


def test_an_unused_window_shrinks_by_half_each_half_life() -> None:
    link = Link(bytes_per_s=1_000_000, rtt_s=0.05)
    queue = queue_on(link)
    rate(link, queue, 3)
    link.run(queue, 2)
    assert queue.pending_bytes == 0
    window = queue.window_bytes
    link.run(queue, 20, step_s=0.5)
    queue.offer_position(("order:1", "t"), b"x", link.now)
    assert queue.window_bytes == pytest.approx(window / 4, rel=0.01)
    link.run(queue, 600, step_s=5)
    queue.offer_position(("order:1", "t"), b"x", link.now)
    assert queue.window_bytes == SETTINGS.window_bytes


# -- bounds ----------------------------------------------------------------------------------------------


def test_a_reader_stalled_for_a_minute_costs_little_and_gets_the_newest_when_it_wakes() -> None:
    link = Link(bytes_per_s=1_000_000)
    link.is_reading = False
    queue = queue_on(link)
    for second in range(60):
        for number in range(1_000):
            payload = b"%d:%d" % (number, second)
            queue.offer_position(("area:sh", f"tec_{number}"), payload.ljust(200), link.now)
        link.run(queue, 1, step_s=0.5)
    assert queue.pending_bytes + link.hidden_bytes < 64 * KIB
    assert queue.dropped > 0
    stale = len(link.written)
    link.is_reading = True
    link.run(queue, 5)
    fresh = [payload.split(b":") for payload in link.written[stale:]]
    assert len(fresh) == len({number for number, _ in fresh})
    assert {int(second) for _, second in fresh} == {59}
    assert queue.pending_bytes == 0


def test_too_many_keys_drop_those_that_waited_longest() -> None:
    link = Link()
    queue = queue_on(link, positions_bytes_max=20_000)
    queue.on_paused()
    fill(queue, link, 100_000)
    assert queue.pending_bytes <= 20_000
    assert queue.dropped == 500 - 20_000 // (200 + ENTRY_BYTES)
    queue.on_writable(link.now)
    assert link.written[0].startswith(b"%06d" % queue.dropped)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"window_bytes": 0}, "window_bytes must be at least 1024, is 0"),
        ({"window_bytes_max": 4_096}, "window_bytes_max must be at least 8192, is 4096"),
        ({"epoch_s": float("nan")}, "epoch_s must be at least"),
        ({"reliable_bytes_max": 10}, "reliable_bytes_max must be at least 65536"),
    ],
)
def test_settings_out_of_range_are_named(changes: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        replace(SETTINGS, **changes)  # type: ignore[arg-type]


# -- laws over random histories --------------------------------------------------------------------------


class Histories(RuleBasedStateMachine):
    """Any order of calls: order, newest-wins, the window and the books hold."""

    def __init__(self) -> None:
        super().__init__()
        self.link = Link()
        self.queue = queue_on(self.link, window_bytes=1_024, stalled_bytes_max=1_024, reliable_bytes_max=65_536)
        self.counter = 0
        self.main: list[bytes] = []
        self.newest: dict[str, int] = {}
        self.is_paused = False
        self.ponged = 0

    def make(self, lane: bytes, size: int) -> bytes:
        self.counter += 1
        return b"%b%08d" % (lane, self.counter) + b"." * size

    @rule(size=st.integers(0, 400))
    def main_message(self, size: int) -> None:
        payload = self.make(b"m", size)
        if self.queue.send_main(payload):
            self.main.append(payload)

    @rule(size=st.integers(0, 400))
    def safety_message(self, size: int) -> None:
        written = len(self.link.written)
        payload = self.make(b"s", size)
        if self.queue.send_safety(payload):
            assert self.link.written[written:] == [payload]

    @rule(item=st.sampled_from("abcdefgh"), size=st.integers(0, 400))
    def position(self, item: str, size: int) -> None:
        payload = self.make(item.encode(), size)
        self.newest[item] = self.counter
        self.queue.offer_position(("topic", item), payload, self.link.now)

    @rule()
    def purge(self) -> None:
        self.queue.purge("topic")

    @rule()
    def pause(self) -> None:
        self.is_paused = True
        self.queue.on_paused()

    @rule()
    def resume(self) -> None:
        self.is_paused = False
        self.queue.on_writable(self.link.now)

    @rule(skip=st.integers(0, 3))
    def pong(self, skip: int) -> None:
        out = self.link.pings[self.ponged :]
        if out:
            index = min(skip, len(out) - 1)
            assert self.queue.on_pong(out[index], self.link.now)
            self.ponged += index + 1

    @rule(seconds=st.sampled_from([0.01, 0.3, 0.6, 6.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.link.now += seconds

    @invariant()
    def main_is_written_in_order(self) -> None:
        written = [payload for payload in self.link.written if payload[:1] == b"m"]
        assert written == self.main[: len(written)]
        if not self.is_paused and self.link.is_open:
            assert len(written) == len(self.main)

    @invariant()
    def positions_of_a_key_never_go_back(self) -> None:
        last: dict[bytes, int] = {}
        for payload in self.link.written:
            key, number = payload[:1], int(payload[1:9])
            assert number > last.get(key, 0)
            last[key] = number

    @invariant()
    def credit_is_kept(self) -> None:
        assert self.queue.in_flight_bytes <= max(self.queue.window_bytes, 1_024 * 1_024)
        assert self.queue.window_bytes >= 1_024

    @invariant()
    def whoever_waits_will_be_woken(self) -> None:
        if self.queue.pending_bytes and self.link.is_open:
            assert self.is_paused or len(self.link.pings) > self.ponged

    @invariant()
    def an_empty_queue_counts_nothing(self) -> None:
        assert self.queue.pending_bytes >= 0


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=20, stateful_step_count=30)


@pytest.mark.full
def test_the_laws_hold_over_many_long_histories() -> None:
    run_state_machine_as_test(Histories, settings=settings(max_examples=1_000, stateful_step_count=100))


@given(st.lists(st.integers(1, 3_000), min_size=1, max_size=60))
def test_the_books_balance_once_all_is_read(sizes: list[int]) -> None:
    link = Link(bytes_per_s=50_000, rtt_s=0.01)
    queue = queue_on(link)
    for number, size in enumerate(sizes):
        queue.offer_position(("area:sh", str(number)), b"p" * size, link.now)
    link.run(queue, 8, step_s=0.02)
    assert [len(payload) for payload in link.written] == sizes
    assert queue.pending_bytes == 0
    assert queue.in_flight_bytes < queue.window_bytes
