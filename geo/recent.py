"""Every ping of the last two minutes of everybody on duty: the trail before an SOS.

Not here: the filter's own trail (``track_filter.py``), which is sorted, shorter and without inaccurate fixes.

One log for the whole city, in arrival order; each row knows the row before it of the same person. It is made of pieces
of equal length, new ones in front and old ones dropped behind, so that nothing is ever moved. Memory follows the
traffic (72 bytes a ping), not the number of people, and is bounded.
"""

from collections import deque
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geo.arrays import IntArray
from geo.pings import JudgedBatch, Verdict
from geo.point import LatLng
from geo.settings import PositionSettings

_PIECE_LEN: Final = 4096
"""Rows of a piece (0.3 MB), the most that is held beyond the bound."""
_SLACK_S: Final = 1.0
"""Rows of one batch are sorted by person, not by time: a piece is dropped only when all of it is surely too old."""
_FLOATS: Final = ("fixed_at", "received_at", "lat", "lng", "accuracy_m", "speed_mps", "heading_deg")
_KEPT: Final = np.array([verdict.is_in_trail or verdict is Verdict.INACCURATE for verdict in Verdict])
"""An inaccurate fix moves no marker, but it may be all that is known before an SOS."""

_ROW: Final = np.dtype(
    [
        ("before", np.int64),
        ("fixed_at", np.float64),
        ("received_at", np.float64),
        ("lat", np.float64),
        ("lng", np.float64),
        ("seq", np.int64),
        ("accuracy_m", np.float32),
        ("speed_mps", np.float32),
        ("heading_deg", np.float32),
        ("verdict", np.uint8),
    ],
    align=True,
)


class RecentFix(NamedTuple):
    """One ping as it is remembered; ``fixed_at`` is the phone's clock, ``received_at`` the server's."""

    point: LatLng
    fixed_at: float
    received_at: float
    accuracy_m: float
    speed_mps: float
    heading_deg: float
    seq: int
    verdict: Verdict


class RecentPings:
    """The log. When it is full before its time is over, the oldest pings go first."""

    def __init__(self, settings: PositionSettings, capacity: int = 1024) -> None:
        self._recent_s = settings.recent_s
        self._rows_max = settings.recent_rows_max
        self._pieces: deque[NDArray[np.void]] = deque()
        self._head = 0
        """Number of the next row; rows are numbered since the start, row n is in piece n // _PIECE_LEN."""
        self._first_piece = 0
        self._last = np.full(capacity, -1, dtype=np.int64)

    def grow(self, capacity: int) -> None:
        """Make room for slots below ``capacity``."""
        more = capacity - len(self._last)
        if more > 0:
            self._last = np.concatenate([self._last, np.full(more, -1, dtype=np.int64)])

    def forget(self, slot: int) -> None:
        """Drop what is known of a slot whose owner has left."""
        self._last[slot] = -1

    @np.errstate(all="ignore")
    def append(self, judged: JudgedBatch) -> None:
        """Remember a batch. Cost: 0.05 ms and about 0.1 us a ping."""
        batch, verdict = judged.pings, judged.verdict
        kept = np.flatnonzero(_KEPT[verdict])
        count = len(kept)
        if count == 0:
            return
        order = kept.take(np.argsort(batch.slot.take(kept), kind="stable"))
        slot, seq, verdict = batch.slot.take(order), batch.seq.take(order), verdict.take(order)
        numbers = np.arange(self._head, self._head + count)
        before: IntArray = numbers - 1
        is_first = np.empty(count, dtype=np.bool_)
        is_first[0] = True
        np.not_equal(slot[1:], slot[:-1], out=is_first[1:])
        firsts = np.flatnonzero(is_first)
        before[firsts] = self._last.take(slot.take(firsts))
        floats = np.concatenate([getattr(batch, name) for name in _FLOATS]).reshape(len(_FLOATS), -1)
        floats = floats.take(order, axis=1)
        done = 0
        while done < count:
            piece, place = self._room()
            end = min(count, done + _PIECE_LEN - place)
            part, rows = slice(done, end), piece[place : place + end - done]
            for name, column in zip(_FLOATS, floats, strict=True):
                rows[name] = column[part]
            rows["before"], rows["seq"], rows["verdict"] = before[part], seq[part], verdict[part]
            self._head += end - done
            done = end
        self._last[slot] = numbers
        self._drop(float(batch.received_at[kept[-1]]) - self._recent_s - _SLACK_S)

    def trail(self, slot: int, since: float) -> list[RecentFix]:
        """Pings of a slot received at or after ``since``, in order of the phone's clock. Cost: 1 us a ping."""
        found = []
        number = int(self._last[slot])
        oldest = max(self._first_piece * _PIECE_LEN, self._head - self._rows_max)
        while number >= oldest:
            piece = self._pieces[number // _PIECE_LEN - self._first_piece]
            before, at, received_at, lat, lng, seq, accuracy, speed, heading, verdict = piece[
                number % _PIECE_LEN
            ].item()
            if received_at < since:
                break
            point = LatLng(lat, lng)
            found.append(RecentFix(point, at, received_at, accuracy, speed, heading, seq, Verdict(verdict)))
            number = before
        found.sort(key=lambda fix: (fix.fixed_at, fix.seq))
        return found

    def _room(self) -> tuple[NDArray[np.void], int]:
        """The piece in which the next row goes, and its place there."""
        place = self._head % _PIECE_LEN
        if place == 0:
            self._pieces.append(np.empty(_PIECE_LEN, dtype=_ROW))
        return self._pieces[-1], place

    def _drop(self, received_before: float) -> None:
        """Drop pieces that are beyond the bound or that nobody asks for any more."""
        pieces = self._pieces
        while len(pieces) > 1:
            end = (self._first_piece + 1) * _PIECE_LEN
            if end > self._head - self._rows_max and pieces[0][-1]["received_at"] >= received_before:
                return
            pieces.popleft()
            self._first_piece += 1
