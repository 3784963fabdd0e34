"""Positions on their way: kept until the server says that they are stored."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
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


class PingBuffer:
    """Numbered fixes in order of ``seq``: unsent at the right, sent and not yet stored at the left."""

    def __init__(self, first_seq: int, len_max: int) -> None:
        self._len_max = len_max
        self._next_seq = first_seq
        self._sent: deque[tuple[int, Fix]] = deque()
        self._unsent: deque[tuple[int, Fix]] = deque()
        self._dropped = 0
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

    def add(self, fix: Fix) -> int:
        """Number and keep a fix; the oldest one goes when the buffer is full."""
        seq = self._next_seq
        self._next_seq += 1
        self._unsent.append((seq, fix))
        if len(self) > self._len_max:
            (self._sent or self._unsent).popleft()
            self._dropped += 1
        return seq

    def take(self, limit: int, now: float) -> Sequence[tuple[int, Fix]]:
        """Up to ``limit`` unsent pings, oldest first; they count as sent at ``now``."""
        taken = [self._unsent.popleft() for _ in range(min(limit, len(self._unsent)))]
        self._sent.extend(taken)
        if taken and self.sent_since is None:
            self.sent_since = now
        return taken

    def forget(self, stored_seq: int, now: float) -> None:
        """The server has everything up to ``stored_seq``."""
        forgot = False
        while self._sent and self._sent[0][0] <= stored_seq:
            self._sent.popleft()
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


def ping_frame(rows: Sequence[tuple[int, Fix]], sent_at: float, crs: str | None) -> dict[str, Any]:
    """One ``ping`` for a single fix, else one ``pings`` with rows."""
    frame: dict[str, Any]
    if len(rows) == 1:
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
