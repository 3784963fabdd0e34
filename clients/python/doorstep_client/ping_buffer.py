"""Positions on their way: kept until the server says that they are stored."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, takewhile
from typing import Any


@dataclass(frozen=True, slots=True)
class Fix:
    """One measured position, in the phone's own clock and coordinates.

    Attributes:
        fixed_at: When it was measured, UTC epoch seconds of the phone.
        accuracy_m: Radius of 68 % confidence.
    """

    lat: float
    lng: float
    fixed_at: float
    accuracy_m: float = 10.0
    speed_mps: float | None = None
    heading_deg: float | None = None
    battery: float | None = None
    mock: bool = False


Row = tuple[int, Fix]
"""A fix and its number."""


class PingBuffer:
    """Numbered fixes in order of ``seq``: unsent at the right, sent and not yet stored at the left.

    Args:
        rows: What an earlier process left, in order of their numbers.
    """

    def __init__(self, first_seq: int, len_max: int, rows: Sequence[Row] = ()) -> None:
        self._len_max = len_max
        self._next_seq = first_seq
        self._sent: deque[Row] = deque()
        self._unsent: deque[Row] = deque(rows[-len_max:])
        self._dropped = len(rows) - len(self._unsent)
        self._sent_max = -1
        """Highest number that was ever sent: what never left cannot be stored."""
        self.sent_since: float | None = None
        """When the oldest ping that is sent and not stored was last sent; None for none."""

    def __len__(self) -> int:
        """Pings not yet stored."""
        return len(self._sent) + len(self._unsent)

    @property
    def unsent(self) -> int:
        """Pings waiting to be sent."""
        return len(self._unsent)

    @property
    def dropped(self) -> int:
        """Pings lost because the buffer was full."""
        return self._dropped

    @property
    def next_seq(self) -> int:
        """Number of the next fix."""
        return self._next_seq

    @property
    def next_unsent(self) -> int | None:
        """Number of the next ping to be sent; None for none."""
        return self._unsent[0][0] if self._unsent else None

    @property
    def done_seq(self) -> int:
        """Nothing up to here is kept any more: it was stored, or dropped."""
        kept = self._sent or self._unsent
        return (kept[0][0] if kept else self._next_seq) - 1

    def skip_to(self, seq: int) -> None:
        """Number the next fix so, or as it would be where that is higher."""
        self._next_seq = max(self._next_seq, seq)

    def oldest(self, limit: int) -> list[Row]:
        """At most ``limit`` pings from the oldest on, up to a gap in their numbers; to be sent another way, too."""
        rows: list[Row] = []
        for row in chain(self._sent, self._unsent):
            if len(rows) == limit or (rows and row[0] != rows[-1][0] + 1):
                break
            rows.append(row)
        if rows:
            self._sent_max = max(self._sent_max, rows[-1][0])
        return rows

    def newer_than(self, seq: int) -> list[Row]:
        """All with a higher number, in order. Cost: their number."""
        rows = list(takewhile(lambda row: row[0] > seq, chain(reversed(self._unsent), reversed(self._sent))))
        rows.reverse()
        return rows

    def add(self, fix: Fix) -> int:
        """Number and keep a fix; the oldest one goes when the buffer is full."""
        seq = self._next_seq
        self._next_seq += 1
        self._unsent.append((seq, fix))
        if len(self) > self._len_max:
            (self._sent or self._unsent).popleft()
            self._dropped += 1
        return seq

    def take(self, limit: int, now: float) -> Sequence[Row]:
        """Up to ``limit`` unsent pings, oldest first, up to a gap in their numbers; they count as sent at ``now``."""
        taken: list[Row] = []
        while self._unsent and len(taken) < limit and not (taken and self._unsent[0][0] != taken[-1][0] + 1):
            taken.append(self._unsent.popleft())
        self._sent.extend(taken)
        if taken:
            self._sent_max = max(self._sent_max, taken[-1][0])
            self.sent_since = now if self.sent_since is None else self.sent_since
        return taken

    def forget(self, stored_seq: int, now: float) -> None:
        """The server has everything up to ``stored_seq``, also of what is queued to be sent again."""
        forgot, last = False, min(stored_seq, self._sent_max)
        for rows in (self._sent, self._unsent):
            while rows and rows[0][0] <= last:
                rows.popleft()
                forgot = True
        if not self._sent:
            self.sent_since = None
        elif forgot:
            self.sent_since = now

    def resend(self) -> int:
        """Queue everything again that was sent and is not stored; returns how many."""
        again = len(self._sent)
        self._unsent.extendleft(reversed(self._sent))
        self._sent.clear()
        self.sent_since = None
        return again


def ping_frame(rows: Sequence[Row], sent_at: float, crs: str | None, *, in_rows: bool = False) -> dict[str, Any]:
    """One ``ping`` for a single fix, else one ``pings`` with rows."""
    frame: dict[str, Any]
    if len(rows) == 1 and not in_rows:
        seq, fix = rows[0]
        frame = {
            "type": "ping",
            "seq": seq,
            "fixed_at": round(fix.fixed_at, 3),
            "sent_at": round(sent_at, 3),
            "lat": fix.lat,
            "lng": fix.lng,
            "accuracy_m": fix.accuracy_m,
        }
        for name in ("speed_mps", "heading_deg", "battery"):
            value = getattr(fix, name)
            if value is not None:
                frame[name] = value
    else:
        frame = {
            "type": "pings",
            "sent_at": round(sent_at, 3),
            "pings": [
                (seq, round(f.fixed_at, 3), f.lat, f.lng, f.accuracy_m, f.speed_mps, f.heading_deg) for seq, f in rows
            ],
        }
    if any(fix.mock for _, fix in rows):
        frame["mock"] = True
    if crs is not None:
        frame["crs"] = crs
    return frame
