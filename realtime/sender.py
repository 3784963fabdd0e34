"""Carries reliable messages to sessions: live rows, pages of the outbox, snapshots, acknowledgements.

``streams.py`` knows what may be sent next; this file sends it, in each session's encoding and frame, and asks
for the reads that are wanted.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from core.outbox import OutboxRow, Stream
from core.principal import Principal
from realtime.codec import row_frame, splice, transcode
from realtime.errors import CloseCode
from realtime.messages import Ack, Resume, Snapshot, StreamPosition, StreamState
from realtime.people import People
from realtime.ports import RealtimePorts, StreamHead
from realtime.session import Session, State
from realtime.settings import StreamSettings
from realtime.streams import StreamCursor, decide_start

log = logging.getLogger(__name__)

_ORDER = (Stream.SAFETY, Stream.MAIN)
"""Safety first, everywhere."""


@dataclass(frozen=True, slots=True)
class AttachStreams:
    """Look up where streams of a session stand.

    Attributes:
        resumed: Where the device says it stands.
        streams: Which to look up.
        is_late: The session has begun without its one stream, which could not be read then.
    """

    session: Session
    attempt: int
    who: Principal
    resumed: Mapping[Stream, StreamPosition]
    streams: tuple[Stream, ...] = tuple(Stream)
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class ReadRows:
    """Read a page of a stream."""

    session: Session
    attempt: int
    who: Principal
    stream: Stream
    after_seq: int
    limit: int


Job = AttachStreams | ReadRows
Close = Callable[[Session, CloseCode, str, float], None]


def resumed_positions(resume: Resume | None) -> dict[Stream, StreamPosition]:
    """Where a device says it stands, by stream."""
    if resume is None:
        return {}
    named = {Stream.MAIN: resume.main, Stream.SAFETY: resume.safety}
    return {stream: position for stream, position in named.items() if position is not None}


class Sender:
    """Sends rows to sessions.

    Args:
        settings: Of streams.
        ports: The hub's ports.
        close: Ends a connection.
        count: Counts a named outcome.
        start: Begins a read.
    """

    def __init__(
        self,
        settings: StreamSettings,
        ports: RealtimePorts,
        close: Close,
        count: Callable[[str], None],
        start: Callable[[Job], None],
    ) -> None:
        self._settings = settings
        self._ports = ports
        self._close = close
        self._count = count
        self._start = start
        self._lacking: dict[Session, None] = {}
        """Sessions that wait for rows which nothing else will bring."""

    # -- beginning ------------------------------------------------------------------------------------

    def prepare(self, session: Session) -> None:
        """Give a session its cursors; rows that come from now on are not lost to it."""
        session.main = StreamCursor(Stream.MAIN, self._settings)
        session.safety = StreamCursor(Stream.SAFETY, self._settings)

    def begin(
        self, job: AttachStreams, heads: Mapping[Stream, StreamHead], now: float
    ) -> tuple[dict[str, StreamState], list[tuple[StreamCursor, bytes]]]:
        """Place the cursors of the streams that were found.

        Returns:
            What ``welcome`` says of them, and the snapshots to send after it. A late stream is in no ``welcome``: it
            goes on where the device said it stands, or its snapshot tells where it begins.
        """
        session, who = job.session, job.session.principal
        states: dict[str, StreamState] = {}
        snapshots: list[tuple[StreamCursor, bytes]] = []
        for stream in _ORDER:
            cursor, head = _cursor(session, stream), heads.get(stream)
            if cursor is None or head is None:
                continue
            resume = job.resumed.get(stream)
            how = decide_start(resume, head)
            if how == "replayed" and resume is not None:
                cursor.begin(head, resume.seq)
                self._ports.store.note_ack(who.tenant, who.user, who.device, stream, resume.seq)
            else:
                snapshot = self._ports.snapshots.build(who, stream, now)
                if snapshot is None and how == "fresh" and not job.is_late:
                    cursor.begin(head, head.seq)
                else:
                    how = "snapshot"
                    snapshots.append((cursor, self._begin_with_snapshot(cursor, head, snapshot)))
            states[stream.value] = StreamState(epoch=head.epoch, seq=cursor.sent, how=how)
            self._count(f"stream_{how}")
        return states, snapshots

    def follow(
        self,
        session: Session,
        streams: Collection[Stream],
        snapshots: Sequence[tuple[StreamCursor, bytes]],
        now: float,
    ) -> None:
        """After ``welcome``: send the snapshots and begin to replay the streams that were begun."""
        for cursor, body in snapshots:
            self._write(session, cursor, transcode(body, to_json=session.codec.is_json, crs=session.target))
        for stream in _ORDER:
            placed = _cursor(session, stream)
            if placed is None or stream not in streams:
                continue
            if self._settings.receipt_lookback and placed.sent == placed.acked > 0:
                # The device has these rows, but the ack that said so may have been lost with the connection.
                self._read(session, placed, max(0, placed.sent - self._settings.receipt_lookback))
            else:
                self._pump(session, placed, now)

    def _begin_with_snapshot(self, cursor: StreamCursor, head: StreamHead, snapshot: Snapshot | None) -> bytes:
        snapshot = snapshot or Snapshot()
        if snapshot.orders_left_out or snapshot.incidents_left_out:
            self._count("snapshot_cut")
        receipts = [offer.offer for offer in snapshot.offers]
        receipts += [incident.incident for incident in snapshot.incidents]
        cursor.begin_with_snapshot(head, receipts)
        body = msgspec.json.encode(snapshot)
        return splice(body, stream=cursor.stream.value, seq=head.seq, epoch=head.epoch)

    # -- live -----------------------------------------------------------------------------------------

    def deliver(self, rows: Sequence[OutboxRow], people: People, now: float) -> None:
        """Send committed rows to their recipients' sessions. Never raises."""
        for row in rows:
            person = people.get(row.tenant, row.recipient)
            if person is None:
                continue
            for session in person.sessions:
                try:
                    self._offer(session, row, now)
                except Exception:
                    # One session's trouble must not keep a row from the next; this one resumes.
                    log.exception("a row could not be sent", extra={"session": session.session_id})
                    self._close(session, CloseCode.TOO_SLOW, "internal", now)

    def _offer(self, session: Session, row: OutboxRow, now: float) -> None:
        if session.state is State.FOR_ORDER:
            self._tell_of_order(session, row)
            return
        cursor = _cursor(session, row.stream)
        if cursor is None or not session.takes_rows:
            return
        for out in cursor.offer(row, now):
            # What waited for this one may be old by now; the row that was just committed is not.
            self._send_row(session, cursor, out if out is row else self._current(session, out), now)
        if cursor.ready and cursor.sent < cursor.head:
            self._lacking[session] = None

    def _tell_of_order(self, session: Session, row: OutboxRow) -> None:
        """News of the one order of a session, at most once and without a number: who missed it reads the order."""
        body = self._ports.rows.of_order(session.principal, row.body) if self._ports.rows is not None else None
        if body is not None:
            session.queue.send_main(transcode(body, to_json=session.codec.is_json, crs=session.target))
            self._count("order_told")

    def _send_row(self, session: Session, cursor: StreamCursor, row: OutboxRow, now: float) -> None:
        frame = row_frame(row, now)
        if not session.codec.is_json or session.target is not None:
            frame = transcode(frame, to_json=session.codec.is_json, crs=session.target)
        self._write(session, cursor, frame)
        self._count("row_sent")

    def _current(self, session: Session, row: OutboxRow) -> OutboxRow:
        """A row that was written a while ago, without what its reader has no right to any more."""
        rights = self._ports.rows
        if rights is None:
            return row
        body = rights.current(session.principal, row.body)
        return row if body is row.body else replace(row, body=body)

    def _write(self, session: Session, cursor: StreamCursor, payload: bytes) -> None:
        if cursor.stream is Stream.SAFETY:
            session.queue.send_safety(payload)
        else:
            session.queue.send_main(payload)

    # -- acknowledgements -----------------------------------------------------------------------------

    def ack(self, session: Session, ack: Ack, now: float) -> bool:
        """A device has everything up to these numbers. Returns whether that was news."""
        is_news = False
        for stream, seq in ((Stream.SAFETY, ack.safety), (Stream.MAIN, ack.main)):
            cursor = _cursor(session, stream)
            if seq is None or cursor is None or not cursor.ready:
                continue
            before = cursor.acked
            self._report(session, cursor.ack(seq, now), now)
            if cursor.acked == before or session.who is None:
                continue
            is_news = True
            who = session.who
            self._ports.store.note_ack(who.tenant, who.user, who.device, stream, cursor.acked)
            for row in cursor.resume_sending(now):
                self._send_row(session, cursor, self._current(session, row), now)
            self._pump(session, cursor, now)
        return is_news

    def _report(self, session: Session, receipts: Sequence[str], now: float) -> None:
        who = session.who
        if who is None:
            return
        for receipt in receipts:
            self._ports.inbound.receipt(who.tenant, who.user, receipt, now)

    # -- pages ----------------------------------------------------------------------------------------

    def pump_all(self, session: Session, now: float) -> None:
        """Read on where a session's streams lack rows."""
        for stream in _ORDER:
            cursor = _cursor(session, stream)
            if cursor is not None:
                self._pump(session, cursor, now)

    @property
    def is_busy(self) -> bool:
        """Whether sessions lack rows."""
        return bool(self._lacking)

    def retry(self, now: float) -> None:
        """Look again at the sessions that lack rows; called every tick."""
        if not self._lacking:
            return
        for session in list(self._lacking):
            if not session.takes_rows or not session.connection.is_open:
                del self._lacking[session]
                continue
            self.pump_all(session, now)
            cursors = (session.main, session.safety)
            if not any(cursor is not None and cursor.ready and cursor.sent < cursor.head for cursor in cursors):
                del self._lacking[session]

    def _pump(self, session: Session, cursor: StreamCursor, now: float) -> None:
        if cursor.stream is Stream.MAIN and session.queue.is_paused:
            return  # on_writable comes back here
        if cursor.wants_read(now):
            self._read(session, cursor, cursor.sent)
        elif cursor.ready and cursor.sent < cursor.head:
            self._lacking[session] = None

    def _read(self, session: Session, cursor: StreamCursor, after_seq: int) -> None:
        cursor.reading = True
        limit = self._settings.page_len + cursor.sent - after_seq
        self._start(ReadRows(session, session.attempt, session.principal, cursor.stream, after_seq, limit))

    def rows_read(self, job: ReadRows, rows: Sequence[OutboxRow], now: float) -> None:
        """A page came; send it and go on."""
        session = job.session
        cursor = _cursor(session, job.stream)
        if cursor is None or job.attempt != session.attempt or session.state is not State.ACTIVE:
            return
        page = cursor.page(rows, now, after_seq=job.after_seq)
        self._report(session, page.receipts, now)
        for row in page.rows:
            self._send_row(session, cursor, self._current(session, row), now)
        if page.broken:
            self._count("stream_broken")
            head = StreamHead(cursor.epoch, cursor.head)
            body = self._begin_with_snapshot(cursor, head, self._ports.snapshots.build(job.who, job.stream, now))
            self._write(session, cursor, transcode(body, to_json=session.codec.is_json, crs=session.target))
        self._pump(session, cursor, now)

    def read_failed(self, job: ReadRows, now: float) -> None:
        """A page could not be read; it is tried again after a while."""
        session = job.session
        cursor = _cursor(session, job.stream)
        if cursor is not None and job.attempt == session.attempt:
            cursor.read_failed(now)
            self._lacking[session] = None

    def is_stuck(self, session: Session, now: float) -> bool:
        """Whether the device takes no more: its window has been full for too long."""
        cursors = (session.main, session.safety)
        return any(cursor is not None and cursor.ready and cursor.is_stuck(now) for cursor in cursors)


def _cursor(session: Session, stream: Stream) -> StreamCursor | None:
    return session.safety if stream is Stream.SAFETY else session.main
