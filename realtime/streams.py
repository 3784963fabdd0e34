"""One device's place in one reliable stream: what was sent, what was acknowledged, what is missing.

The rule is that row n+1 is sent only after row n. Rows come live, in any order, or in pages from the outbox;
a page never stops live rows, and whatever is missing is read again. Nothing here sends or reads: callers send
the rows they are given and read when ``wants_read`` says so.

    attach -> begin -> [offer | page | ack]*        a hole that the outbox cannot fill ends in a snapshot
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from core.outbox import OutboxRow, Stream
from realtime.messages import StreamPosition
from realtime.ports import StreamHead
from realtime.settings import StreamSettings

How = Literal["fresh", "replayed", "snapshot"]
ROW_BYTES: Final = 64
"""What a row's frame has beside its body: stream, number, epoch and the frame's header."""


def decide_start(resume: StreamPosition | None, head: StreamHead) -> How:
    """How a stream begins for a device that stood at ``resume``.

    Args:
        resume: Where the device says it stands, None when it knows nothing.
        head: Where the stream stands.

    Returns:
        ``replayed`` when every later row is there; ``snapshot`` when rows are lost to it, because the epoch
        changed, they were cleared away, or the device knows more than the database; ``fresh`` when it asked
        for nothing.
    """
    if resume is None:
        return "fresh"
    if resume.epoch != head.epoch or resume.seq > head.seq or resume.seq + 1 < head.first_seq:
        return "snapshot"
    return "replayed"


@dataclass(frozen=True, slots=True)
class Page:
    """What a page from the outbox led to.

    Attributes:
        rows: To be sent now, in this order.
        receipts: Of rows that the device already said it has.
        broken: The outbox lacks the next row: only a snapshot helps.
    """

    rows: Sequence[OutboxRow]
    receipts: Sequence[str]
    broken: bool


class Flight:
    """Rows of ``main`` that were sent and not acknowledged, in bytes. Exists only while there are any.

    The kernels of both ends swallow what a slow link has not carried (``send_queue.py``), and an SOS would be read
    behind it: so only acknowledgements make room. The window is what the link has just carried in ``window_epoch_s``,
    never less than ``window_bytes``: a long replay costs an SOS no more than that, and a fast link is not held up.
    """

    __slots__ = ("_busy_bytes", "_busy_since", "_marks", "_settings", "bytes", "window")

    def __init__(self, settings: StreamSettings) -> None:
        self._settings = settings
        self._marks: deque[tuple[int, int]] = deque()  # seq, bytes
        self._busy_since = -1.0  # when rows began to wait for the window, -1 before
        self._busy_bytes = 0
        self.bytes = 0
        self.window = settings.window_bytes

    @property
    def is_full(self) -> bool:
        """Whether the next row has to wait; the last one may have gone beyond the window, a large one goes alone."""
        return self.bytes >= self.window

    def add(self, seq: int, size: int) -> None:
        """A row was sent."""
        self._marks.append((seq, size))
        self.bytes += size

    def wait(self, now: float) -> None:
        """Rows wait from now on: what is acknowledged tells what the link carries."""
        if self._busy_since < 0.0:
            self._busy_since = now
            self._busy_bytes = 0

    def ack(self, seq: int, now: float) -> None:
        """Everything up to ``seq`` was read."""
        marks = self._marks
        while marks and marks[0][0] <= seq:
            size = marks.popleft()[1]
            self.bytes -= size
            self._busy_bytes += size
        lasted_s = now - self._busy_since
        if self._busy_since >= 0.0 and lasted_s >= self._settings.window_epoch_s:
            carried = int(self._busy_bytes * self._settings.window_epoch_s / lasted_s)
            self.window = max(self._settings.window_bytes, min(carried, self._settings.window_bytes_max))
            self._busy_since = now
            self._busy_bytes = 0


class StreamCursor:
    """State of one stream on one connection. Not ready before ``begin``."""

    __slots__ = (
        "_ahead",
        "_flight",
        "_full_since",
        "_gap_since",
        "_receipts",
        "_settings",
        "acked",
        "epoch",
        "head",
        "reading",
        "ready",
        "retry_at",
        "sent",
        "stream",
    )

    def __init__(self, stream: Stream, settings: StreamSettings) -> None:
        self.stream = stream
        self._settings = settings
        self.epoch = ""
        self.sent = 0
        self.acked = 0
        self.head = 0
        self.ready = False
        self.reading = False
        self.retry_at = 0.0
        self._ahead: dict[int, OutboxRow] | None = None
        self._receipts: list[tuple[int, str]] | None = None
        self._flight: Flight | None = None
        self._full_since = -1.0
        self._gap_since = -1.0

    @property
    def window_len(self) -> int:
        """Rows that may be sent and not acknowledged."""
        settings = self._settings
        return settings.safety_window_len if self.stream is Stream.SAFETY else settings.window_len

    def begin(self, head: StreamHead, at_seq: int) -> None:
        """Start behind ``at_seq``, which the device has. Rows offered before this call are not lost."""
        self.epoch = head.epoch
        self.sent = self.acked = at_seq
        self.head = max(self.head, head.seq)
        self.ready = True
        self._ahead = self._receipts = self._flight = None
        self._full_since = self._gap_since = -1.0

    def begin_with_snapshot(self, head: StreamHead, receipts: Iterable[str]) -> None:
        """Start with a snapshot that stands for everything up to ``head``; its ack reports ``receipts``."""
        self.begin(head, head.seq)
        self.acked = head.seq - 1
        self._receipts = [(head.seq, receipt) for receipt in receipts] or None

    def offer(self, row: OutboxRow, now: float) -> Sequence[OutboxRow]:
        """A committed row came live. Returns the rows to send now; usually just this one."""
        self.head = max(self.head, row.seq)
        if not self.ready or row.seq <= self.sent or row.epoch != self.epoch:
            return ()
        if row.seq == self.sent + 1 and not self._is_full(now):
            self._pass(row)
            return [row, *self._drain(now)] if self._ahead else (row,)
        if self._gap_since < 0.0:
            self._gap_since = now
        self._keep_ahead(row)
        return ()

    def resume_sending(self, now: float) -> Sequence[OutboxRow]:
        """Rows that waited for the window to open, after an ack."""
        return self._drain(now) if self._ahead else ()

    def wants_read(self, now: float) -> bool:
        """Whether rows are missing that only the outbox has, and there is room for them."""
        if not self.ready or self.reading or self.sent >= self.head or now < self.retry_at:
            return False
        if self._gap_since >= 0.0 and now - self._gap_since < self._settings.gap_wait_s:
            return False
        return not self._is_full(now)

    def page(self, rows: Sequence[OutboxRow], now: float, *, after_seq: int) -> Page:
        """Rows read from the outbox after ``after_seq`` came; ``reading`` is over."""
        self.reading = False
        self._gap_since = -1.0
        out: list[OutboxRow] = []
        receipts: list[str] = []
        broken = False
        is_full = False
        expected = self.sent + 1
        for row in rows:
            if row.seq < expected:
                if row.receipt and row.seq <= self.acked:
                    receipts.append(row.receipt)
                continue
            if row.seq != expected:
                broken = True
                break
            expected += 1
            is_full = is_full or self._is_full(now)
            if is_full:
                # It was read: waiting here for the window is cheaper than being read again with each ack.
                self._keep_ahead(row)
                continue
            self._pass(row)
            out.append(row)
        if not rows and self.sent < self.head and after_seq >= self.sent:
            broken = True
        if self._ahead and not broken:
            out.extend(self._drain(now))
        return Page(out, receipts, broken)

    def read_failed(self, now: float) -> None:
        """The outbox could not be read; try again later."""
        self.reading = False
        self.retry_at = now + self._settings.retry_s

    def ack(self, seq: int, now: float) -> Sequence[str]:
        """The device has everything up to ``seq``. Returns the receipts to report, oldest first.

        Numbers beyond what was sent are taken for what was sent.
        """
        seq = min(seq, self.sent)
        if not self.ready or seq <= self.acked:
            return ()
        self.acked = seq
        self._full_since = -1.0
        if self._flight is not None:
            self._flight.ack(seq, now)
            if seq == self.sent >= self.head:
                self._flight = None
        waiting = self._receipts
        if not waiting:
            return ()
        count = 0
        while count < len(waiting) and waiting[count][0] <= seq:
            count += 1
        receipts = [receipt for _, receipt in waiting[:count]]
        self._receipts = waiting[count:] or None
        return receipts

    def is_stuck(self, now: float) -> bool:
        """Whether the window has been full for so long that the reader must be closed."""
        return self._is_full(now) and now - self._full_since >= self._settings.ack_timeout_s

    def position(self) -> StreamPosition | None:
        """Where the device certainly stands, to begin again from."""
        return StreamPosition(self.epoch, max(self.acked, 0)) if self.ready else None

    def _is_full(self, now: float) -> bool:
        flight = self._flight
        if self.sent - self.acked < self.window_len and (flight is None or not flight.is_full):
            return False
        if self._full_since < 0.0:
            self._full_since = now
        if flight is not None:
            flight.wait(now)
        return True

    def _keep_ahead(self, row: OutboxRow) -> None:
        if self._ahead is None:
            self._ahead = {}
        if len(self._ahead) < self._settings.ahead_len_max:
            self._ahead[row.seq] = row

    def _pass(self, row: OutboxRow) -> None:
        self.sent = row.seq
        if self.stream is Stream.MAIN:
            if self._flight is None:
                self._flight = Flight(self._settings)
            self._flight.add(row.seq, len(row.body) + ROW_BYTES)
        if row.receipt:
            if self._receipts is None:
                self._receipts = []
            self._receipts.append((row.seq, row.receipt))
        if self._gap_since >= 0.0 and self.sent >= self.head:
            self._gap_since = -1.0

    def _drain(self, now: float) -> list[OutboxRow]:
        ahead = self._ahead
        out: list[OutboxRow] = []
        if ahead is None:
            return out
        while (row := ahead.get(self.sent + 1)) is not None and not self._is_full(now):
            self._pass(row)
            out.append(row)
        self._ahead = {seq: row for seq, row in ahead.items() if seq > self.sent} or None
        return out
