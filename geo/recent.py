"""Every ping of the last two minutes of everybody on duty: the trail before an SOS.

Not here: the filter's own trail (``track_filter.py``), which is sorted, shorter and without inaccurate fixes.

One circular log for the whole city, in arrival order; each row knows the row before it of the same person. Memory
follows the traffic (72 bytes a ping), not the number of people, and is bounded.
"""

from typing import Final, NamedTuple

import numpy as np

from geo.arrays import IntArray
from geo.pings import JudgedBatch, Verdict
from geo.point import LatLng
from geo.settings import PositionSettings

_ROWS_FIRST: Final = 4096
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
_BYTES: Final = np.dtype(f"V{_ROW.itemsize}")


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
    """The circular log. When it is full before its time is over, the oldest pings go first."""

    def __init__(self, settings: PositionSettings, capacity: int = 1024) -> None:
        self._recent_s = settings.recent_s
        self._rows_max = settings.recent_rows_max
        self._log = np.zeros(_ROWS_FIRST, dtype=_ROW)
        self._head = 0
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
        """Remember a batch. Cost: about 0.2 us a ping."""
        batch = judged.pings
        kept = np.flatnonzero(_KEPT[judged.verdict])
        if len(kept) == 0:
            return
        self._make_room(len(kept), float(batch.received_at[kept[-1]]))
        kept = kept[-len(self._log) :]
        order = kept[np.argsort(batch.slot[kept], kind="stable")]
        slot = batch.slot[order]
        numbers = self._head + np.arange(len(order))
        rows = np.zeros(len(order), dtype=_ROW)
        for name in ("fixed_at", "received_at", "lat", "lng", "seq", "accuracy_m", "speed_mps", "heading_deg"):
            rows[name] = getattr(batch, name)[order]
        rows["verdict"] = judged.verdict[order]
        before: IntArray = numbers - 1
        is_first = np.concatenate([[True], slot[1:] != slot[:-1]])
        before[is_first] = self._last[slot[is_first]]
        rows["before"] = before
        # As opaque bytes: numpy copies a record field by field otherwise, ten times slower.
        self._log.view(_BYTES)[numbers % len(self._log)] = rows.view(_BYTES)
        self._last[slot] = numbers
        self._head += len(order)

    def trail(self, slot: int, since: float) -> list[RecentFix]:
        """Pings of a slot received at or after ``since``, in order of the phone's clock. Cost: 1 us a ping."""
        found = []
        number = int(self._last[slot])
        oldest = self._head - len(self._log)
        while number >= 0 and number >= oldest:
            before, at, received_at, lat, lng, seq, accuracy, speed, heading, verdict = self._log[
                number % len(self._log)
            ].item()
            if received_at < since:
                break
            point = LatLng(lat, lng)
            found.append(RecentFix(point, at, received_at, accuracy, speed, heading, seq, Verdict(verdict)))
            number = before
        found.sort(key=lambda fix: (fix.fixed_at, fix.seq))
        return found

    def _make_room(self, count: int, now: float) -> None:
        """Grow while rows that are still wanted would be overwritten."""
        length = size = len(self._log)
        while size < self._rows_max and not self._may_lose(self._head + count - size - 1, now):
            size *= 2
        size = min(size, max(self._rows_max, _ROWS_FIRST))
        if size == length:
            return
        numbers = np.arange(max(self._head - len(self._log), 0), self._head)
        log = np.zeros(size, dtype=_ROW)
        log[numbers % size] = self._log[numbers % len(self._log)]
        self._log = log

    def _may_lose(self, number: int, now: float) -> bool:
        """Whether this row and all before it are gone, or older than anybody asks for."""
        if number >= self._head:
            return False
        gone = number < max(self._head - len(self._log), 0)
        return gone or bool(self._log[number % len(self._log)]["received_at"] < now - self._recent_s)
