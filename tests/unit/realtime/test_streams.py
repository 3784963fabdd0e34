from collections import deque
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from core.ids import TenantId, UserId
from core.outbox import OutboxRow, Stream
from geo.point import Frame
from realtime.messages import Snapshot, StreamPosition
from realtime.ports import StreamHead
from realtime.settings import RealtimeSettings, SessionSettings, StreamSettings
from realtime.streams import Flight, StreamCursor, decide_start
from tests.unit.realtime.hub_world import HubWorld, Peer

SETTINGS = StreamSettings(window_len=4, ahead_len_max=2, page_len=3, gap_wait_s=0.1, ack_timeout_s=10)


def row(seq: int, receipt: str = "", epoch: str = "e") -> OutboxRow:
    return OutboxRow(TenantId("t"), UserId("u"), Stream.MAIN, seq, epoch, b"{}", receipt, 0.0)


def cursor(at: int = 0, head: int | None = None) -> StreamCursor:
    made = StreamCursor(Stream.MAIN, SETTINGS)
    made.begin(StreamHead("e", at if head is None else head), at)
    return made


def seqs(rows: object) -> list[int]:
    assert isinstance(rows, list | tuple)
    return [found.seq for found in rows]


@pytest.mark.parametrize(
    ("resume", "how"),
    [
        (None, "fresh"),
        (StreamPosition("e", 10), "replayed"),
        (StreamPosition("e", 4), "replayed"),
        (StreamPosition("e", 3), "snapshot"),
        (StreamPosition("e", 11), "snapshot"),
        (StreamPosition("f", 10), "snapshot"),
    ],
)
def test_how_a_stream_begins_depends_on_what_the_outbox_still_holds(resume: StreamPosition | None, how: str) -> None:
    assert decide_start(resume, StreamHead("e", 10, first_seq=5)) == how


def test_the_next_row_is_sent_at_once_and_a_repeated_one_never() -> None:
    one = cursor()
    assert seqs(one.offer(row(1), 0.0)) == [1]
    assert seqs(one.offer(row(1), 0.0)) == []
    assert seqs(one.offer(row(2), 0.0)) == [2]


def test_rows_that_come_in_any_order_leave_in_theirs() -> None:
    one = cursor()
    assert seqs(one.offer(row(3), 0.0)) == []
    assert seqs(one.offer(row(2), 0.0)) == []
    assert seqs(one.offer(row(1), 0.0)) == [1, 2, 3]
    assert not one.wants_read(1.0)


def test_a_gap_is_read_from_the_outbox_after_a_moment() -> None:
    one = cursor()
    one.offer(row(2), 0.0)
    assert not one.wants_read(0.05)
    assert one.wants_read(0.11)
    one.reading = True
    page = one.page([row(1), row(2)], 0.2, after_seq=0)
    assert seqs(page.rows) == [1, 2]
    assert not one.wants_read(1.0)


def test_live_rows_go_on_while_a_page_is_read() -> None:
    one = cursor(0, head=2)
    one.reading = True
    assert seqs(one.offer(row(1), 0.0)) == [1]
    assert seqs(one.page([row(1), row(2)], 0.0, after_seq=0).rows) == [2]


def test_a_full_window_waits_for_acks_and_then_goes_on() -> None:
    one = cursor()
    for seq in range(1, 7):
        one.offer(row(seq), 0.0)
    assert (one.sent, one.head) == (4, 6)
    assert not one.wants_read(1.0)
    one.ack(2, 0.0)
    assert seqs(one.resume_sending(1.0)) == [5, 6]


def test_a_window_full_for_too_long_is_stuck_and_an_ack_frees_it() -> None:
    one = cursor()
    for seq in range(1, 6):
        one.offer(row(seq), 0.0)
    assert not one.is_stuck(9.9)
    assert one.is_stuck(10.0)
    one.ack(1, 0.0)
    assert not one.is_stuck(30.0)


def test_unacknowledged_bytes_of_main_are_bounded_and_a_large_row_goes_alone() -> None:
    one = StreamCursor(Stream.MAIN, StreamSettings(window_bytes=2_000))
    one.begin(StreamHead("e", 0), 0)
    for seq in range(1, 9):
        one.offer(replace(row(seq), body=b"x" * 936), 0.0)
    assert one.sent == 2, "1,000 bytes each"
    one.ack(1, 0.1)
    assert seqs(one.resume_sending(0.1)) == [3]
    for seq in range(4, 9):
        one.ack(seq - 1, 0.1)
        assert seqs(one.resume_sending(0.1)) == ([seq, seq + 1] if seq == 4 else [seq + 1] if seq < 8 else [])
    one.offer(replace(row(9), body=b"x" * 60_000), 0.1)
    assert one.sent == 9
    one.offer(row(10), 0.1)
    assert one.sent == 9
    safety = StreamCursor(Stream.SAFETY, StreamSettings(window_bytes=2_000))
    safety.begin(StreamHead("e", 0), 0)
    for seq in range(1, 9):
        safety.offer(replace(row(seq), body=b"x" * 936), 0.0)
    assert safety.sent == 8


@pytest.mark.parametrize(
    ("bytes_per_s", "rtt_s", "least", "most"),
    [(8_192, 0.05, 8_000, 8_300), (2_000_000, 0.1, 200_000, 1_048_576), (2_000_000, 2.0, 8_000, 8_300)],
    ids=["slow", "fast", "far"],
)
def test_the_window_follows_what_the_link_carries(bytes_per_s: float, rtt_s: float, least: int, most: int) -> None:
    flight, now, seq, free_at = Flight(StreamSettings()), 0.0, 0, 0.0
    acks: deque[tuple[float, int]] = deque()
    while now < 20.0:
        while not flight.is_full:
            seq += 1
            flight.add(seq, 1_000)
            free_at = max(free_at, now) + 1_000 / bytes_per_s
            acks.append((free_at + rtt_s, seq))
        flight.wait(now)
        now, acked = acks.popleft()
        flight.ack(acked, now)
    assert least <= flight.window <= most


def test_rows_of_a_page_that_the_window_has_no_room_for_are_not_read_again() -> None:
    one = StreamCursor(Stream.MAIN, StreamSettings(window_bytes=2_000))
    one.begin(StreamHead("e", 5), 0)
    rows = [replace(row(seq), body=b"x" * 936) for seq in range(1, 6)]
    assert seqs(one.page(rows, 0.0, after_seq=0).rows) == [1, 2]
    one.ack(2, 0.1)
    assert seqs(one.resume_sending(0.1)) == [3, 4]
    assert not one.wants_read(0.1)
    one.ack(4, 0.2)
    assert seqs(one.resume_sending(0.2)) == [5]


def test_receipts_are_reported_once_with_the_cumulative_ack() -> None:
    one = cursor()
    for seq, receipt in ((1, "a"), (2, ""), (3, "b")):
        one.offer(row(seq, receipt), 0.0)
    assert one.ack(2, 0.0) == ["a"]
    assert one.ack(2, 0.0) == ()
    assert one.ack(99, 0.0) == ["b"]
    assert one.acked == 3


def test_the_receipts_of_rows_that_the_device_had_before_are_reported_again() -> None:
    one = cursor(2, head=3)
    page = one.page([row(1), row(2, "ofr"), row(3, "new")], 0.0, after_seq=0)
    assert page.receipts == ["ofr"]
    assert seqs(page.rows) == [3]


def test_a_hole_in_the_outbox_is_broken_and_an_empty_page_too() -> None:
    assert cursor(1, head=5).page([row(4), row(5)], 0.0, after_seq=1).broken
    assert cursor(1, head=5).page([], 0.0, after_seq=1).broken
    assert not cursor(5).page([], 0.0, after_seq=3).broken


def test_a_snapshot_is_acknowledged_like_a_row() -> None:
    one = StreamCursor(Stream.MAIN, SETTINGS)
    one.begin_with_snapshot(StreamHead("e", 7), ["ofr_1"])
    assert one.ack(7, 0.0) == ["ofr_1"]
    empty = StreamCursor(Stream.MAIN, SETTINGS)
    empty.begin_with_snapshot(StreamHead("e", 0), ["ofr_2"])
    assert empty.ack(0, 0.0) == ["ofr_2"]


def test_rows_offered_before_the_beginning_are_read_later() -> None:
    one = StreamCursor(Stream.MAIN, SETTINGS)
    assert one.offer(row(8), 0.0) == ()
    one.begin(StreamHead("e", 7), 7)
    assert one.wants_read(0.0)


def test_a_failed_read_is_tried_again_later() -> None:
    one = cursor(0, head=3)
    one.reading = True
    one.read_failed(1.0)
    assert not one.wants_read(1.5)
    assert one.wants_read(2.0)


class DeviceOfAUser(RuleBasedStateMachine):
    """A device through everything that can happen; what it has received is checked against what was committed."""

    def __init__(self) -> None:
        super().__init__()
        streams = replace(SETTINGS, receipt_lookback=2)
        limits = SessionSettings(messages_per_s=10_000, messages_burst=10_000)
        self.world = HubWorld(RealtimeSettings(frame=Frame.WGS84, streams=streams, sessions=limits))
        self.peer: Peer | None = None
        self.place: dict[str, tuple[str, int]] = {}
        self.got: dict[str, list[int]] = {"main": [], "safety": []}
        self.base: dict[str, int] = {}
        self.committed = {"main": 0, "safety": 0}
        self.held: list[OutboxRow] = []

    @initialize()
    def begin(self) -> None:
        self.connect()

    def store(self, stream: Stream, many: int) -> list[OutboxRow]:
        rows = [
            self.world.outbox.commit("tec", {"type": "order", "order": "o"}, stream, receipt=f"{stream}{i}")
            for i in range(many)
        ]
        self.committed[stream.value] += many
        return rows

    @rule(data=st.data(), stream=st.sampled_from(list(Stream)), many=st.integers(1, 6))
    def commit(self, data: st.DataObject, stream: Stream, many: int) -> None:
        self.world.deliver(*data.draw(st.permutations(self.store(stream, many))))

    @rule(stream=st.sampled_from(list(Stream)), many=st.integers(1, 6))
    def crash(self, stream: Stream, many: int) -> None:
        """A crash between commit and delivery loses the call and the connections, never the rows."""
        self.world.deliver(*self.store(stream, many)[1:])
        if self.peer is not None:
            self.peer.lose()
            self.peer = None

    @rule()
    def connect(self) -> None:
        if self.peer is not None:
            return
        resume = {name: {"epoch": epoch, "seq": seq} for name, (epoch, seq) in self.place.items()}
        self.peer = self.world.join("tec", resume=resume)
        self.read()

    @rule(after_read=st.booleans())
    def lose(self, after_read: bool) -> None:
        if self.peer is None:
            return
        if after_read:
            self.read()
        self.peer.lose()
        self.peer = None

    @rule(seconds=st.sampled_from([0.05, 0.2, 1.2]))
    def wait(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule()
    def hold_reads(self) -> None:
        self.world.hold_reads = True

    @rule()
    def release_reads(self) -> None:
        self.world.hold_reads = False
        self.world.read_all()

    @rule(down=st.sets(st.sampled_from(list(Stream))))
    def store_fails(self, down: set[Stream]) -> None:
        self.world.outbox.down = down

    @rule()
    def read(self) -> None:
        if self.peer is None:
            return
        for frame in self.peer.read():
            if frame["type"] == "welcome":
                for name, state in frame["streams"].items():
                    # This outbox loses nothing, so nothing may ever stand in place of the rows themselves.
                    assert state["how"] == ("replayed" if name in self.place else "fresh")
                    # A replay begins where the device stands, not where the server would like it to.
                    if state["how"] == "replayed":
                        assert (state["epoch"], state["seq"]) == self.place[name]
                    self.place[name] = (state["epoch"], state["seq"])
                    if state["how"] != "replayed":
                        self.got[name] = []
                        self.base[name] = state["seq"]
            if "stream" in frame:
                name, seq = frame["stream"], frame["seq"]
                if name not in self.place:
                    # Its database was down when the session began: a snapshot tells where the stream begins.
                    assert frame["type"] == "snapshot"
                    self.place[name] = (frame["epoch"], seq)
                    self.base[name] = seq
                    continue
                epoch, last = self.place[name]
                assert frame["type"] != "snapshot", f"{name}: a snapshot at {seq} though every row is there"
                assert seq == last + 1, f"{name}: {seq} after {last}"
                self.got[name].append(seq)
                self.place[name] = (epoch, seq)

    @rule(main=st.booleans(), safety=st.booleans())
    def ack(self, main: bool, safety: bool) -> None:
        if self.peer is None or not self.place:
            return
        wanted = {"main": main, "safety": safety}
        self.peer.say(type="ack", **{name: self.place[name][1] for name in self.place if wanted[name]})

    @invariant()
    def what_came_is_in_order_and_without_gap(self) -> None:
        for name, got in self.got.items():
            base = self.base.get(name, 0)
            assert got == list(range(base + 1, base + 1 + len(got)))

    def teardown(self) -> None:
        """In the end, with a store that works and a device that acks, everything arrives."""
        self.world.outbox.is_down = False
        self.world.hold_reads = False
        self.world.read_all()
        if self.peer is not None and not self.peer.wire.is_open:
            self.peer.lose()
            self.peer = None
        self.connect()
        for _ in range(200):
            self.world.advance(0.3, step=0.1)
            self.read()
            if all(self.place.get(name, ("", -1))[1] == last for name, last in self.committed.items()):
                break
            self.ack(True, True)
        for name, last in self.committed.items():
            assert self.place[name][1] == last, f"{name} stands at {self.place[name]} of {last}"


DeviceOfAUser.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, suppress_health_check=list(HealthCheck)
)
TestDeviceOfAUser = DeviceOfAUser.TestCase


def test_a_snapshot_comes_when_the_epoch_changed_even_if_nothing_is_open() -> None:
    world = HubWorld()
    world.outbox.commit("tec", {"type": "order"})
    peer = world.join("tec", resume={"main": {"epoch": "old", "seq": 99}})
    frames = peer.read()
    assert frames[0]["streams"]["main"] == {"epoch": "e1", "seq": 1, "how": "snapshot"}
    assert {"type": "snapshot", "stream": "main", "seq": 1, "epoch": "e1"} in frames


def test_who_comes_new_gets_what_is_open_and_its_ack_is_a_receipt() -> None:
    world = HubWorld()
    offer = {
        "type": "offer", "offer": "ofr_1", "order": "ord_1", "expires_at": 1.7e9, "remaining_ms": 5, "service": "s",
        "cell": "c", "distance_band": "1-2 km", "district": "d", "fee_fen": 1, "why": [],
    }  # fmt: skip
    import msgspec

    from realtime.messages import Offer

    world.open.things[UserId("tec"), Stream.MAIN] = Snapshot(offers=[msgspec.convert(offer, Offer)])
    peer = world.join("tec")
    frames = {frame["type"]: frame for frame in peer.read()}
    assert frames["snapshot"]["offers"][0]["offer"] == "ofr_1"
    peer.say(type="ack", main=0)
    assert world.domains.receipts == ["ofr_1"]


def test_a_snapshot_that_leaves_something_out_is_counted_and_says_so() -> None:
    world = HubWorld()
    world.open.things[UserId("ops"), Stream.MAIN] = Snapshot(orders_left_out=4_893)
    world.open.things[UserId("ops"), Stream.SAFETY] = Snapshot(incidents_left_out=7)
    frames = [frame for frame in world.join("ops", "ops").read() if frame["type"] == "snapshot"]
    assert [frame.get("incidents_left_out") for frame in frames] == [7, None]
    assert [frame.get("orders_left_out") for frame in frames] == [None, 4_893]
    assert world.engine.outcomes["snapshot_cut"] == 2


def test_an_ack_lost_with_the_connection_is_still_a_receipt() -> None:
    world = HubWorld()
    peer = world.join("tec")
    world.deliver(world.outbox.commit("tec", {"type": "offer.closed", "offer": "o"}, receipt="ofr_7"))
    peer.lose()
    world.join("tec", resume={"main": {"epoch": "e1", "seq": 1}})
    assert world.domains.receipts == ["ofr_7"]


def test_a_reader_that_never_acks_is_closed_and_nothing_is_lost() -> None:
    world = HubWorld(RealtimeSettings(frame=Frame.WGS84, streams=SETTINGS))
    peer = world.join("tec")
    for _ in range(6):
        world.deliver(world.outbox.commit("tec", {"type": "order"}))
    for _ in range(50):
        world.advance(1.0, step=0.25)
        if peer.wire.is_open:
            peer.say(type="heartbeat")
    assert peer.wire.closed_with == 4408
    again = world.join("tec", resume={"main": {"epoch": "e1", "seq": 0}})
    assert [frame["seq"] for frame in again.read() if "seq" in frame and frame["type"] == "order"] == [1, 2, 3, 4]


def test_each_device_of_a_user_gets_every_row_in_its_own_encoding() -> None:
    world = HubWorld()
    phone = world.join("tec", device="phone")
    tablet = world.join("tec", device="tablet", subprotocol="doorstep.v1.msgpack")
    phone.read()
    tablet.read()
    world.deliver(world.outbox.commit("tec", {"type": "order", "order": "o"}))
    expected = {"type": "order", "order": "o", "stream": "main", "seq": 1, "epoch": "e1"}
    assert phone.read() == [expected]
    assert tablet.read() == [expected]
