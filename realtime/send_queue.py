"""What waits to be written to one connection: three lanes, one write order, bytes on credit.

The lanes are ``safety`` > ``main`` > ``positions``:

- safety is written at once, whatever else waits and even while the transport is paused;
- main (reliable messages) is written at once unless the transport is paused; then it waits, and too many bytes
  waiting end the connection with 4408: the messages are in the outbox and the client resumes;
- positions are conflated by key (newest wins, a key keeps its place in the row) and leave on *credit*.

Credit, because buffers lie: on a phone's slow link the kernels of both ends swallow a megabyte without a sign, and
an SOS written behind it is read minutes later. So at most ``window`` bytes of positions may be un-ponged. Each
quarter window a numbered WebSocket ping is sent behind the positions; its pong proves that everything in front of
it was read. Nothing is asked of the client beyond RFC 6455, which has pings answered; who answers none gets one
window of positions and then no more, but every reliable message.

The window is a congestion window of its own, because a fixed one limits the rate to window / round trip:

- it starts at, and never falls below, ``window_bytes`` (8 KiB: one second of the slowest link we promise anything on);
- while something waits, the bytes ponged are summed over ``epoch_s`` (0.5 s), and that sum is the next window: what
  is in flight is what the link has just proved to carry in half a second, so it drains in about that time. On a link
  with a round trip of 50 ms the window may grow tenfold each epoch; on one that carries 8 KiB/s it stays at the
  floor; on one that becomes slow it follows within two epochs;
- a link whose round trip is longer than ``epoch_s`` stays at the floor: an SOS in time is worth more than markers;
- when the lane runs empty early the window may grow but does not shrink: a quiet second says nothing about the link;
- an unused window halves each ``idle_half_life_s``: what a link carried a minute ago proves little.

A reader that answers no probe for ``stalled_after_s`` is *stalled*: what may wait for it falls from
``positions_bytes_max`` to ``stalled_bytes_max``, the longest-waiting keys go first (they are old by then).

Pure: no clock (``now`` is monotonic seconds), no tasks, no timers. Not here: what is sent and to whom (the hub),
and how it gets onto the wire (``transport``). An idle queue is one small object; lanes are made when first used.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Annotated, Final

from core.ranges import Range, Ranged
from realtime.ports import Connection

CLOSE_TOO_SLOW: Final = 4408
"""Come back: reliable messages piled up; nothing is lost, they are in the outbox."""

ENTRY_BYTES: Final = 160
"""What one waiting message costs besides its payload (tuple, key strings, dictionary entry; CPython 3.11)."""

PROBE_MARK: Final = b"q"
"""First byte of this queue's pings, so that the hub may send pings of its own."""

FRAME_BYTES: Final = 4
"""Header of a server's frame up to 64 KiB (RFC 6455 section 5.2)."""

Key = tuple[str, str]
"""(topic, item): the topic can be purged as a whole; the item is what conflates, e.g. a technician's id."""


@dataclass(frozen=True, slots=True)
class SendQueueSettings(Ranged):
    """Bounds and speeds of the send queue."""

    window_bytes: Annotated[int, Range(1_024)] = 8_192
    """Positions un-ponged at the start and at least, in bytes; one second of the slowest link that is served well."""
    window_bytes_max: Annotated[int, Range("window_bytes")] = 1_048_576
    """Largest window of un-ponged position bytes that a fast link can earn."""
    epoch_s: Annotated[float, Range(0.05)] = 0.5
    """Time over which ponged bytes are summed to size the window, in seconds."""
    idle_half_life_s: Annotated[float, Range(0.1)] = 10.0
    """Time in which a window that is not needed halves, in seconds."""
    positions_bytes_max: Annotated[int, Range("window_bytes")] = 2_097_152
    """Positions waiting for one connection, in bytes with overhead; beyond it the longest-waiting keys are dropped."""
    stalled_after_s: Annotated[float, Range(0.1)] = 5.0
    """A reader that answers no probe for this long counts as stalled, in seconds."""
    stalled_bytes_max: Annotated[int, Range(1_024)] = 32_768
    """Positions waiting for a stalled reader, in bytes with overhead."""
    reliable_bytes_max: Annotated[int, Range(65_536)] = 262_144
    """Reliable messages that may wait while the transport is paused, in bytes; beyond it the close code is 4408."""


class Credit:
    """How many bytes may be un-ponged: the window, its probes, and what they proved.

    Attributes:
        window: Bytes that may be in flight.
        rtt_s: Time of the last probe's round trip in seconds, queueing included; 0.0 before the first.
    """

    __slots__ = (
        "_acked",
        "_busy_acked",
        "_busy_since",
        "_idle_since",
        "_number",
        "_probed",
        "_probes",
        "_sent",
        "_settings",
        "rtt_s",
        "window",
    )

    def __init__(self, settings: SendQueueSettings, now: float) -> None:
        self._settings = settings
        self.window = settings.window_bytes
        self.rtt_s = 0.0
        self._sent = 0
        self._acked = 0
        self._probed = 0
        self._number = 0
        self._probes: deque[tuple[int, int, float]] = deque()  # number, bytes sent before it, when
        self._busy_since = -1.0  # when the lane began to wait for credit, -1 while it does not
        self._busy_acked = 0
        self._idle_since = now

    @property
    def in_flight(self) -> int:
        """Bytes written and not yet proved to be read."""
        return self._sent - self._acked

    @property
    def is_probe_due(self) -> bool:
        """Whether a quarter window was written since the last probe."""
        return (self._sent - self._probed) * 4 >= self.window

    def allows(self, size: int) -> bool:
        """Whether ``size`` more bytes may be written; a frame larger than the window goes alone."""
        return self._sent == self._acked or self.in_flight + size <= self.window

    def spend(self, size: int) -> None:
        """Count bytes just written."""
        self._sent += size

    def probe(self, now: float) -> int | None:
        """Number of a probe to send now, None when everything written is covered by one already."""
        if self._probed == self._sent:
            return None
        self._number += 1
        self._probed = self._sent
        self._probes.append((self._number, self._sent, now))
        return self._number

    def earn(self, number: int, now: float) -> bool:
        """A probe came back, and with it every earlier one. False when no such probe is out."""
        probes = self._probes
        if not probes or not probes[0][0] <= number <= self._number:
            return False
        while probes and probes[0][0] <= number:
            _, sent, at = probes.popleft()
            if self._busy_since >= 0.0:
                self._busy_acked += sent - self._acked
            self._acked = sent
            self.rtt_s = now - at
        if self._busy_since >= 0.0 and now - self._busy_since >= self._settings.epoch_s:
            # Measured over a whole epoch, so the window may fall as well as rise.
            carried = self._busy_acked * self._settings.epoch_s / (now - self._busy_since)
            self.window = self._clamp(int(carried))
            self._busy_since = now
            self._busy_acked = 0
        return True

    def wait(self, now: float) -> None:
        """Something waits for credit from now on."""
        if self._busy_since < 0.0:
            self._busy_since = now
            self._busy_acked = 0

    def rest(self, now: float) -> None:
        """Nothing waits any more: growth proved so far is kept, an unfinished epoch proves no loss."""
        if self._busy_since >= 0.0:
            self.window = max(self.window, self._clamp(self._busy_acked))
            self._busy_since = -1.0
            self._idle_since = now

    def decay(self, now: float) -> None:
        """Halve a window that was not needed for a while."""
        halves = int((now - self._idle_since) / self._settings.idle_half_life_s)
        if self._busy_since < 0.0 and halves > 0:
            self.window = self._clamp(self.window >> min(halves, 32))
            self._idle_since = now

    def is_stalled(self, now: float) -> bool:
        """Whether the oldest probe has been out for too long."""
        return bool(self._probes) and now - self._probes[0][2] >= self._settings.stalled_after_s

    def _clamp(self, window: int) -> int:
        return max(self._settings.window_bytes, min(window, self._settings.window_bytes_max))


class _Positions:
    """The positions lane: the newest payload of each key, in the order in which keys began to wait."""

    __slots__ = ("bytes", "conflated", "credit", "dropped", "waiting")

    def __init__(self, credit: Credit) -> None:
        self.credit = credit
        # OrderedDict, because taking the first of a plain dict again and again costs the square of its length.
        self.waiting: OrderedDict[Key, bytes] = OrderedDict()
        self.bytes = 0
        self.conflated = 0
        self.dropped = 0

    def put(self, key: Key, payload: bytes) -> None:
        former = self.waiting.get(key)
        if former is None:
            self.bytes += len(payload) + ENTRY_BYTES
        else:
            self.bytes += len(payload) - len(former)
            self.conflated += 1
        self.waiting[key] = payload

    def take(self) -> bytes:
        _, payload = self.waiting.popitem(last=False)
        self.bytes -= len(payload) + ENTRY_BYTES
        return payload

    def trim(self, bytes_max: int) -> None:
        while self.bytes > bytes_max and len(self.waiting) > 1:
            self.take()
            self.dropped += 1

    def purge(self, topic: str) -> int:
        keys = [key for key in self.waiting if key[0] == topic]
        for key in keys:
            self.bytes -= len(self.waiting.pop(key)) + ENTRY_BYTES
        return len(keys)


class SendQueue:
    """Everything that is written to one connection goes through here.

    Args:
        connection: Where to write. Its handler must forward ``on_paused``, ``on_writable`` and ``on_pong``.
        settings: Bounds; shared by all queues.
    """

    __slots__ = ("_connection", "_main", "_main_bytes", "_paused", "_positions", "_settings", "_unpaid_bytes")

    def __init__(self, connection: Connection, settings: SendQueueSettings) -> None:
        self._connection = connection
        self._settings = settings
        self._paused = False
        self._main: deque[bytes] | None = None
        self._main_bytes = 0
        self._unpaid_bytes = 0  # written to safety since the transport paused: they lie in its buffer
        self._positions: _Positions | None = None

    # -- what the hub sends ------------------------------------------------------------------------------

    def send_safety(self, payload: bytes) -> bool:
        """Write a frame of the safety stream (or anything that must overtake everything) right now.

        Returns:
            False when the connection is closed, or was closed just now because a reader that takes nothing has
            ``reliable_bytes_max`` in front of it.
        """
        if not self._connection.is_open:
            return False
        if self._paused:
            self._unpaid_bytes += len(payload)
            if self._overflows():
                return False
        self._connection.send(payload)
        return self._connection.is_open

    def send_main(self, payload: bytes) -> bool:
        """Write a reliable frame or a reply, or keep it until the transport takes more.

        Returns:
            False when the connection is closed, or was closed just now with 4408.
        """
        if not self._connection.is_open:
            return False
        if not self._paused and not self._main:
            self._connection.send(payload)
            return self._connection.is_open
        if self._main is None:
            self._main = deque()
        self._main.append(payload)
        self._main_bytes += len(payload)
        return not self._overflows()

    def offer_position(self, key: Key, payload: bytes, now: float) -> None:
        """Write the newest payload of ``key`` when there is credit, else let it wait in place of an older one.

        Args:
            key: (topic, item); see ``purge``.
            payload: The whole frame; shared between connections, never changed.
            now: Monotonic seconds.

        Cost:
            O(1), amortised.
        """
        if not self._connection.is_open:
            return
        lane = self._positions
        if lane is None:
            lane = self._positions = _Positions(Credit(self._settings, now))
        if not lane.waiting:
            lane.credit.decay(now)
            if not self._paused and not self._main and lane.credit.allows(len(payload) + FRAME_BYTES):
                self._write_position(lane, payload, now)
                return
            lane.credit.wait(now)
        lane.put(key, payload)
        stalled = lane.credit.is_stalled(now)
        lane.trim(self._settings.stalled_bytes_max if stalled else self._settings.positions_bytes_max)
        self._cover(lane, now)

    def purge(self, topic: str) -> int:
        """Forget the waiting positions of a topic, because the right to see them ended. Returns how many."""
        return 0 if self._positions is None else self._positions.purge(topic)

    # -- what the connection tells -----------------------------------------------------------------------

    def on_pong(self, payload: bytes, now: float) -> bool:
        """A WebSocket pong came: everything written before its ping was read.

        Returns:
            False when it answers none of this queue's pings (it may be the hub's).
        """
        digits = payload[1:]
        # At most 20 digits: int() of a long hostile payload is not worth its time.
        if payload[:1] != PROBE_MARK or not digits.isdigit() or len(digits) > 20:
            return False
        lane = self._positions
        if lane is None or not lane.credit.earn(int(digits), now):
            return False
        self._flush_positions(now)
        return True

    def on_paused(self) -> None:
        """The transport takes no more for now."""
        self._paused = True

    def on_writable(self, now: float) -> None:
        """The transport takes more again: main first, then positions."""
        self._paused = False
        self._unpaid_bytes = 0
        main = self._main
        while main and not self._paused:
            payload = main.popleft()
            self._main_bytes -= len(payload)
            self._connection.send(payload)
        if not main:
            self._main = None
        self._flush_positions(now)

    # -- what can be asked -------------------------------------------------------------------------------

    @property
    def is_paused(self) -> bool:
        """Whether the transport takes nothing now; who replays a long backlog waits for ``on_writable``."""
        return self._paused

    @property
    def pending_bytes(self) -> int:
        """Bytes that this queue holds: waiting positions (with overhead) and waiting reliable messages."""
        return self._main_bytes + (0 if self._positions is None else self._positions.bytes)

    @property
    def in_flight_bytes(self) -> int:
        """Position bytes written and not yet ponged."""
        return 0 if self._positions is None else self._positions.credit.in_flight

    @property
    def window_bytes(self) -> int:
        """Position bytes that may be un-ponged now; a batch should be cut well below it."""
        return self._settings.window_bytes if self._positions is None else self._positions.credit.window

    @property
    def conflated(self) -> int:
        """Positions replaced by newer ones of their key before they could be written."""
        return 0 if self._positions is None else self._positions.conflated

    @property
    def dropped(self) -> int:
        """Positions dropped because too many keys waited."""
        return 0 if self._positions is None else self._positions.dropped

    @property
    def rtt_s(self) -> float:
        """Round trip of the last answered probe in seconds; 0.0 when there was none."""
        return 0.0 if self._positions is None else self._positions.credit.rtt_s

    # -- inside ------------------------------------------------------------------------------------------

    def _overflows(self) -> bool:
        if self._main_bytes + self._unpaid_bytes <= self._settings.reliable_bytes_max:
            return False
        self._connection.close(CLOSE_TOO_SLOW, "too slow")
        self._main = None
        self._main_bytes = 0
        return True

    def _flush_positions(self, now: float) -> None:
        lane = self._positions
        if lane is None:
            return
        credit, waiting = lane.credit, lane.waiting
        while waiting and not self._paused and not self._main and self._connection.is_open:
            if not credit.allows(len(next(iter(waiting.values()))) + FRAME_BYTES):
                self._cover(lane, now)
                return
            self._write_position(lane, lane.take(), now)
        if not waiting:
            credit.rest(now)

    def _write_position(self, lane: _Positions, payload: bytes, now: float) -> None:
        self._connection.send(payload)
        lane.credit.spend(len(payload) + FRAME_BYTES)
        if lane.credit.is_probe_due:
            self._send_probe(lane, now)

    def _cover(self, lane: _Positions, now: float) -> None:
        # Whoever waits must have a probe out for everything in front, or nothing would ever wake the lane.
        if not self._paused:
            self._send_probe(lane, now)

    def _send_probe(self, lane: _Positions, now: float) -> None:
        number = lane.credit.probe(now)
        if number is not None:
            self._connection.send_ping(b"%b%d" % (PROBE_MARK, number))
