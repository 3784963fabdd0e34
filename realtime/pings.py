"""The ping path: frames in, columns to the shard's positions, verdicts back, acknowledgements out.

A ping becomes seven numbers in a list, not an object that is kept. Every tick, or when enough have gathered, the
lists become arrays, the track filter judges them at once, and each session's *ledger* is told what became of
its pings. What is sent to watchers is decided elsewhere (``channels.py``, ``areas.py``).
"""

import logging
import struct
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from math import nan
from typing import Final, Protocol

import numpy as np

from core.ids import DeviceId
from core.shard import Shard
from geo.arrays import FloatArray
from geo.pings import FRAME_CODES, JudgedBatch, PingBatch, Verdict
from geo.point import Frame
from geo.shard_positions import ShardPositions
from realtime.attention import Level
from realtime.codec import PartialPings
from realtime.ledger import PingLedger
from realtime.messages import Ping, Pings
from realtime.session import Person, Session, take_tokens
from realtime.settings import PositionSettings, SessionSettings
from realtime.shedding import Shedding

log = logging.getLogger(__name__)

_WORDS: Final = tuple(verdict.word for verdict in Verdict)
_LIVE: Final = int(Verdict.LIVE)
_OFF_DUTY: Final = int(Verdict.OFF_DUTY)
_INVALID: Final = int(Verdict.INVALID)
_RATE_LIMITED: Final = int(Verdict.RATE_LIMITED)
_SHED: Final = int(Verdict.SHED)
_CRS_CODES: Final[dict[str, int]] = {frame.value: code for frame, code in FRAME_CODES.items()}
_KEPT: Final = np.array([verdict.is_in_trail for verdict in Verdict])
_ACK_BUCKET_S: Final = 0.1
_ACKS_MIN: Final = 256
_ACKS_SHARE: Final = 8
"""In a tick go at least so many acknowledgements, or this part of those that are due."""


class Reporter(Protocol):
    """Who sent pings: a session, or somebody who came over HTTP."""

    person: Person | None
    ledger: PingLedger | None
    clock_rate: float


@dataclass(slots=True)
class HttpReporter:
    """Somebody who reports over HTTP; lives for one call."""

    person: Person | None
    ledger: PingLedger | None
    clock_rate: float = 1.0


class Lane:
    """Pings of one shard that wait for the tick: single ones and batches, each as one flat list of numbers."""

    __slots__ = ("batches", "counts", "number", "positions", "rows", "senders", "shard", "singles", "terms")

    def __init__(self, number: int, shard: Shard, positions: ShardPositions) -> None:
        self.number = number
        self.shard = shard
        self.positions = positions
        self.clear()

    def clear(self) -> None:
        """Empty all columns."""
        self.singles: list[float | None] = []  # never None, but of one type with the rows
        """seq, fixed_at, lat, lng, accuracy_m, speed_mps, heading_deg, sent_at, received_at, crs, clock_rate."""
        self.senders: list[Reporter] = []
        """Who sent each single ping."""
        self.rows: list[float | None] = []
        """The first seven of these for each row of each batch."""
        self.terms: list[float | None] = []
        """The last four of these for each batch."""
        self.batches: list[Reporter] = []
        """Who sent each batch."""
        self.counts: list[int] = []
        """Rows of each batch."""

    def add_batch(
        self, sender: Reporter, rows: Sequence[Sequence[float | None]], sent_at: float | None, crs: int, now: float
    ) -> None:
        """Rows of one frame."""
        self.rows.extend(chain.from_iterable(rows))
        self.terms.extend((nan if sent_at is None else sent_at, now, crs, sender.clock_rate))
        self.batches.append(sender)
        self.counts.append(len(rows))

    def reporters(self) -> list[Reporter]:
        """Who sent each frame, in the order of ``batch``: single pings first."""
        return self.senders + self.batches

    def batch(self) -> PingBatch:
        """The waiting pings as arrays; slots are looked up now, for they may have changed hands meanwhile."""
        number = self.number
        frames = self.reporters()
        # Whoever has left meanwhile is not on duty here any more as far as this batch is concerned.
        slot = np.array(
            [
                p.slot if (p := frame.person) is not None and (p.lane == number or p.quiet == number) else -1
                for frame in frames
            ],
            np.int64,
        )
        device = np.array([0 if (held := frame.ledger) is None else held.device for frame in frames], np.int64)
        columns = _table(self.singles, 11).T
        if self.batches:
            alone, counts = len(self.senders), np.array(self.counts)
            rows = _table(self.rows, 7).T
            joined = np.empty((11, alone + rows.shape[1]))
            joined[:, :alone] = columns
            joined[:7, alone:] = rows
            joined[7:, alone:] = np.repeat(_table(self.terms, 4).T, counts, axis=1)
            columns = joined
            slot = np.concatenate([slot[:alone], np.repeat(slot[alone:], counts)])
            device = np.concatenate([device[:alone], np.repeat(device[alone:], counts)])
        else:
            columns = np.ascontiguousarray(columns)
        return PingBatch(
            slot=slot,
            device=device,
            seq=columns[0].astype(np.int64),
            fixed_at=columns[1],
            lat=columns[2],
            lng=columns[3],
            accuracy_m=columns[4],
            speed_mps=columns[5],
            heading_deg=columns[6],
            sent_at=columns[7],
            received_at=columns[8],
            crs=columns[9].astype(np.uint8),
            clock_rate=columns[10],
        )

    def seqs(self) -> tuple[list[int], list[int]]:
        """Numbers of the waiting pings: single ones, and rows of batches."""
        return [int(seq or 0) for seq in self.singles[::11]], [int(seq or 0) for seq in self.rows[::7]]


def _table(numbers: list[float | None], width: int) -> FloatArray:
    try:
        # Three times as fast as np.array, but it knows no None.
        packed = struct.pack(f"{len(numbers)}d", *numbers)
    except struct.error:
        return np.array(numbers, dtype=np.float64).reshape(-1, width)
    return np.frombuffer(packed).reshape(-1, width)


Judged = Callable[[Lane, JudgedBatch, float], None]
"""Told of each judged batch: what moved has to be shown, what is kept has to be logged."""


class PingPath:
    """Collects pings, has them judged, acknowledges them.

    Args:
        settings: Of positions.
        limits: Of sessions.
        judged: Told of each batch.
        count: Counts a named outcome.
    """

    def __init__(
        self,
        settings: PositionSettings,
        limits: SessionSettings,
        judged: Judged,
        count: Callable[[str, int], None],
    ) -> None:
        self._settings = settings
        self._ahead_len_max = settings.ahead_len_max
        self._batch_len_max = settings.batch_len_max
        self._limits = limits
        self._step_s = 1.0 / limits.pings_per_s
        self._burst_s = limits.pings_burst / limits.pings_per_s + 1e-6
        self._judged = judged
        self._count = count
        self._lanes: list[Lane] = []
        self._numbers: dict[Shard, int] = {}
        self._touched: dict[Session, bool] = {}
        """Sessions to acknowledge, and whether at once."""
        self._acks: dict[int, list[Session]] = {}
        self._acks_due: deque[Session] = deque()
        self._acked_to = 0
        self.shedding = Shedding(settings.shed_lag_ms, settings.shed_ticks)
        self._shed = 0  # since the last tick
        self._frames = 0  # judged or refused since they were last taken
        self._waiting = 0

    # -- in -------------------------------------------------------------------------------------------

    def lane(self, shard: Shard, positions: ShardPositions) -> int:
        """Number of the lane of a shard."""
        number = self._numbers.get(shard)
        if number is None:
            number = self._numbers[shard] = len(self._lanes)
            self._lanes.append(Lane(number, shard, positions))
        return number

    def add(self, session: Session, ping: Ping, now: float) -> None:
        """One ping. The hot path of the hub: a bucket, a few appends."""
        ledger = session.ledger
        if ledger is None:
            ledger = session.ledger = PingLedger(session.device)
        # `take_tokens`, written out: a call costs a tenth of what there is for a ping.
        spent_until = session.ping_tokens
        spent_until = (spent_until if spent_until > now else now) + self._step_s / session.clock_rate
        if spent_until - now > self._burst_s / session.clock_rate:
            self._refuse(session, ledger, _RATE_LIMITED, 1, ping.seq)
            return
        session.ping_tokens = spent_until
        person = session.person
        if person is None or person.lane < 0:
            self._frames += 1
            ledger.note(ping.seq, _OFF_DUTY, self._ahead_len_max)
            self._count("ping_off_duty", 1)
            self._touched.setdefault(session, False)
            if person is not None and person.quiet >= 0:
                row = (
                    ping.seq, ping.fixed_at, ping.lat, ping.lng, ping.accuracy_m, ping.speed_mps, ping.heading_deg,
                )  # fmt: skip
                batch = Pings(pings=[row], sent_at=ping.sent_at, mock=ping.mock, crs=ping.crs)
                self._add_quietly(
                    person, ledger.device, batch, batch.pings, session.source_code, session.clock_rate, now
                )
            return
        lane = self._lanes[person.lane]
        if ping.mock:
            lane.positions.index.mocked_at[person.slot] = now
        crs, speed_mps, heading_deg, sent_at = ping.crs, ping.speed_mps, ping.heading_deg, ping.sent_at
        lane.singles.extend(
            (
                ping.seq,
                ping.fixed_at,
                ping.lat,
                ping.lng,
                ping.accuracy_m,
                nan if speed_mps is None else speed_mps,
                nan if heading_deg is None else heading_deg,
                nan if sent_at is None else sent_at,
                now,
                session.source_code if crs is None else _CRS_CODES[crs],
                session.clock_rate,
            )
        )
        lane.senders.append(session)
        if not ledger.armed:
            self._touched.setdefault(session, False)
        self._waiting += 1
        if self._waiting >= self._batch_len_max:
            self.flush(now)

    def add_many(self, session: Session, pings: Pings | PartialPings, now: float) -> None:
        """A batch; acknowledged as soon as it is judged."""
        ledger = session.ledger
        if ledger is None:
            ledger = session.ledger = PingLedger(session.device)
        rows = pings.rows if isinstance(pings, PartialPings) else pings.pings
        seqs = [row[0] for row in rows]
        count = len(rows) + (pings.invalid if isinstance(pings, PartialPings) else 0)
        rate = self._limits.pings_per_s * session.clock_rate
        tokens = take_tokens(session.ping_tokens, now, count, rate, self._limits.pings_burst)
        if tokens < 0.0:
            self._refuse(session, ledger, _RATE_LIMITED, count, seqs[0] if seqs else None)
            return
        session.ping_tokens = tokens
        self._touched[session] = True
        if isinstance(pings, PartialPings):
            if seqs:
                ledger.miss(min(seqs[0], *pings.invalid_seqs) if pings.invalid_seqs else seqs[0])
            self._note_invalid(ledger, pings)
        if not rows:
            return
        person = session.owner
        if person.lane < 0:
            self._frames += 1
            ledger.note_many(seqs, [_OFF_DUTY] * len(seqs), self._ahead_len_max)
            self._count("ping_off_duty", len(seqs))
            if person.quiet >= 0:
                self._add_quietly(person, ledger.device, pings, rows, session.source_code, session.clock_rate, now)
            return
        crs = session.source_code if pings.crs is None else _CRS_CODES[pings.crs]
        lane = self._lanes[person.lane]
        if pings.mock:
            lane.positions.index.mocked_at[person.slot] = now
        lane.add_batch(session, rows, pings.sent_at, crs, now)
        self._waiting += len(rows)
        if self._waiting >= self._batch_len_max:
            self.flush(now)

    def invalid(self, session: Session, seq: int | None) -> None:
        """A ping whose number may be readable and whose rest is not."""
        ledger = session.ledger
        if ledger is None:
            ledger = session.ledger = PingLedger(session.device)
        self._frames += 1
        if seq is None:
            ledger.count(_INVALID)
        else:
            ledger.note(seq, _INVALID, self._ahead_len_max)
        self._count("ping_invalid", 1)
        self._touched.setdefault(session, False)

    def shed(self, session: Session, payload: bytes, *, spare_batches: bool = False) -> bool:
        """Answer a frame of pings without looking at it; False when it is anything else, or a batch that is spared.

        While the loop lags this is done thousands of times a tick instead of reading: it must cost next to nothing.
        """
        number = session.codec.count_if_pings(payload)
        if number == 0 or (number > 1 and spare_batches):
            return False
        ledger = session.ledger
        if ledger is None:
            ledger = session.ledger = PingLedger(session.device)
        if ledger.judged < 0:
            ledger.miss(session.codec.first_seq(payload))
        if not ledger.shed and not ledger.armed:
            self._touched.setdefault(session, False)
        ledger.shed += number
        self._shed += number
        return True

    def _refuse(self, session: Session, ledger: PingLedger, verdict: int, number: int, seq: int | None) -> None:
        self._frames += 1
        ledger.count(verdict, number)
        ledger.miss(seq)
        self._count("ping_" + _WORDS[verdict], number)
        self._touched.setdefault(session, False)

    def _note_invalid(self, ledger: PingLedger, pings: PartialPings) -> None:
        for seq in pings.invalid_seqs:
            ledger.note(seq, _INVALID, self._ahead_len_max)
        unnumbered = pings.invalid - len(pings.invalid_seqs)
        if unnumbered:
            ledger.count(_INVALID, unnumbered)
        self._count("ping_invalid", pings.invalid)

    def judge_now(self, person: Person, device: DeviceId, pings: Pings, now: float) -> PingLedger:
        """Judge pings that did not come over a connection, at once; returns what became of them."""
        ledger = PingLedger(device)
        rows = pings.pings
        if person.lane < 0:
            ledger.note_many([row[0] for row in rows], [_OFF_DUTY] * len(rows), self._ahead_len_max)
            self._count("ping_off_duty", len(rows))
            if person.quiet >= 0:
                self._add_quietly(person, ledger.device, pings, rows, _CRS_CODES[Frame.WGS84.value], 1.0, now)
        else:
            crs = _CRS_CODES[pings.crs or Frame.WGS84.value]
            lane = self._lanes[person.lane]
            if pings.mock:
                lane.positions.index.mocked_at[person.slot] = now
            lane.add_batch(HttpReporter(person, ledger), rows, pings.sent_at, crs, now)
            self.flush(now)
        return ledger

    def _add_quietly(
        self,
        person: Person,
        device: int,
        pings: Pings | PartialPings,
        rows: Sequence[Sequence[float | None]],
        source_code: int,
        clock_rate: float,
        now: float,
    ) -> None:
        """Have pings judged with the next tick whose phone was told already that they count for nothing."""
        lane = self._lanes[person.quiet]
        if pings.mock:
            lane.positions.index.mocked_at[person.slot] = now
        unread = PingLedger(DeviceId(""))
        unread.device = device
        crs = source_code if pings.crs is None else _CRS_CODES[pings.crs]
        lane.add_batch(HttpReporter(person, unread, clock_rate), rows, pings.sent_at, crs, now)
        self._waiting += len(rows)

    # -- the tick -------------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether pings wait to be judged or acknowledged soon."""
        return bool(self._waiting or self._touched or self._acks_due) or not self.shedding.is_quiet

    def take_frames(self) -> int:
        """Frames of pings that came since the last call."""
        waiting = sum(len(lane.senders) + len(lane.batches) for lane in self._lanes)
        frames, self._frames = self._frames + waiting + self._shed, -waiting
        return frames

    def flush(self, now: float) -> None:
        """Have everything that waits judged."""
        self._waiting = 0
        for lane in self._lanes:
            if lane.senders or lane.batches:
                self._frames += len(lane.senders) + len(lane.batches)
                try:
                    self._judge(lane, now)
                finally:
                    # Whatever happened to these pings, the next tick must not meet them again.
                    lane.clear()

    def _judge(self, lane: Lane, now: float) -> None:
        try:
            judged = lane.positions.ingest(lane.batch(), now)
        except Exception:
            log.exception("%d pings could not be judged", len(lane.singles) // 11 + len(lane.rows) // 7)
            self._count("judging_failed", 1)
            self._shed_lane(lane)
            return
        self._note(lane, judged)
        for verdict, number in judged.counts().items():
            self._count("ping_" + verdict.word, number)
        try:
            self._judged(lane, judged, now)
        except Exception:
            # The verdicts stand; what else depends on these pings comes with the next ones.
            log.exception("%d judged pings could not be passed on", len(judged.verdict))
            self._count("passing_on_failed", 1)

    def _note(self, lane: Lane, judged: JudgedBatch) -> None:
        """Tell each ledger its verdicts."""
        seqs, verdicts = judged.pings.seq.tolist(), judged.verdict.tolist()
        ahead_len_max = self._ahead_len_max
        for sender, seq, verdict in zip(lane.senders, seqs, verdicts, strict=False):
            ledger = sender.ledger
            if ledger is None:
                continue
            # `PingLedger.note`, written out for the ordinary ping.
            if verdict == _LIVE and seq == ledger.judged + 1 and ledger.ahead is None:
                ledger.live += 1
                ledger.judged = ledger.highest = seq
            else:
                ledger.note(seq, verdict, ahead_len_max)
        start = len(lane.senders)
        for sender, count in zip(lane.batches, lane.counts, strict=True):
            ledger, end = sender.ledger, start + count
            if ledger is not None:
                ledger.note_many(seqs[start:end], verdicts[start:end], ahead_len_max)
            start = end

    def _shed_lane(self, lane: Lane) -> None:
        """Answer everything that waits with ``shed``: phones send it again."""
        singles, rows = lane.seqs()
        start = 0
        for sender, seq in zip(lane.senders, singles, strict=True):
            if sender.ledger is not None:
                sender.ledger.count(_SHED)
                sender.ledger.miss(seq)
        for sender, count in zip(lane.batches, lane.counts, strict=True):
            if sender.ledger is not None:
                sender.ledger.count(_SHED, count)
                sender.ledger.miss(rows[start])
            start += count
        self._count("ping_shed", len(singles) + len(rows))

    def arm(self, session: Session) -> None:
        """Make sure that the session's ledger is acknowledged."""
        self._touched.setdefault(session, False)

    def send_acks(self, now: float) -> None:
        """Acknowledge what is due; at most one in each interval, at once after a batch.

        Everybody may be due in one tick: what is more than a share of them waits for the next.
        """
        due = self._acks_due
        if self._shed:
            self._count("ping_shed", self._shed)
            self._shed = 0
        if self._touched:
            touched, self._touched = self._touched, {}
            for session, at_once in touched.items():
                ledger = session.ledger
                if ledger is None:
                    continue
                if at_once:
                    self._ack(session, ledger, now)
                    continue
                if ledger.armed:
                    continue
                ledger.armed = True
                due_at = ledger.acked_at + self._ack_interval_s(session)
                if due_at <= now:
                    due.append(session)
                else:
                    self._acks.setdefault(int(due_at / _ACK_BUCKET_S) + 1, []).append(session)
        current = int(now / _ACK_BUCKET_S)
        if current > self._acked_to:
            self._acked_to = current
            for bucket in sorted(bucket for bucket in self._acks if bucket <= current):
                due.extend(self._acks.pop(bucket))
        for _ in range(min(len(due), max(_ACKS_MIN, len(due) // _ACKS_SHARE))):
            session = due.popleft()
            ledger = session.ledger
            if ledger is not None:
                ledger.armed = False
                self._ack(session, ledger, now)

    def _ack_interval_s(self, session: Session) -> float:
        person = session.person
        idle = person is None or person.level is Level.IDLE
        return self._settings.ack_idle_s if idle else self._settings.ack_job_s

    def _ack(self, session: Session, ledger: PingLedger, now: float) -> None:
        if ledger.is_dirty:
            session.send(ledger.take(now))
            self._count("ping_ack", 1)


def kept_rows(judged: JudgedBatch, slots: Collection[int]) -> dict[int, dict[str, Sequence[float]]]:
    """The rows of some slots that belong in the position log, by slot, in arrival order.

    Cost:
        One scan of the batch, and O(rows) for those slots.
    """
    pings = judged.pings
    keep = np.flatnonzero(_KEPT[judged.verdict] & np.isin(pings.slot, np.fromiter(slots, np.int64, len(slots))))
    rows_of: dict[int, list[int]] = {}
    for slot, row in zip(pings.slot[keep].tolist(), keep.tolist(), strict=True):
        rows_of.setdefault(slot, []).append(row)
    return {
        slot: {
            name: getattr(pings, name)[rows].tolist()
            for name in ("fixed_at", "received_at", "lat", "lng", "accuracy_m", "speed_mps", "heading_deg")
        }
        for slot, rows in rows_of.items()
    }
