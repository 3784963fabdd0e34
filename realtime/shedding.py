"""Which phones' pings are looked at while the loop cannot keep up.

All or nothing would swing: with every ping shed the lag is gone at once, with every ping judged it is back as fast,
and an SOS waits behind each swing. So it begins above the limit of the lag, and from then on the share is halved while
the lag is above a quarter of the limit and grows in small steps while it is well below (additive increase,
multiplicative decrease, as TCP's congestion control, RFC 5681).

The share is one of phones, not of frames, and changes hands every few seconds. A phone may forget its pings only up to
the first that was shed, and sends the rest again: a fifth of each phone's frames shed at random makes all phones repeat
nearly everything, and the repeats alone keep the loop busy. Batches are looked at as long as can be for the same
reason: twenty pings in one cost as much as three alone. And while pings are a small part of what keeps the loop busy,
none is shed: it would help nobody.
"""

from typing import Final

_GROWTH: Final = 0.02
_HELD: Final = 0.25
"""Part of the limit above which the share is halved once it is below 1: what waits longest is an SOS."""
_CALM: Final = 0.125
"""Part of the limit below which the share grows again."""
_SMALLEST: Final = 0.05
_SEVERE: Final = 5.0
"""Above so many times the limit batches are shed as well."""
LOTS: Final = 2**16
"""A phone's lot is a number below this."""
_STRIDE: Final = 40_503
"""Odd and near the golden ratio of ``LOTS``: added again and again it spreads evenly and comes to every number."""
_TURN_S: Final = 5.0
_FRAME_S: Final = 1e-5
"""About what a frame costs."""
_PART_MIN: Final = 0.2
"""Part of the time that frames must take before shedding them begins."""


class Shedding:
    """Decides phone by phone.

    Args:
        lag_ms: Limit of the lag, milliseconds.
        ticks: Measurements in a row above the limit before it begins: one hiccup is no overload.

    Attributes:
        taken: Share of the phones whose pings are looked at; 1.0 while the loop keeps up.
        is_severe: Whether batches are shed as well.
    """

    __slots__ = (
        "_lag_s",
        "_lags",
        "_measured_at",
        "_next_lot",
        "_offset",
        "_ticks",
        "_turned_at",
        "is_severe",
        "taken",
    )

    def __init__(self, lag_ms: float, ticks: int) -> None:
        self.taken = 1.0
        self.is_severe = False
        self._lag_s = lag_ms / 1000.0
        self._ticks = ticks
        self._lags = 0
        self._next_lot = 0
        self._offset = 0
        self._turned_at = 0.0
        self._measured_at = 0.0

    @property
    def is_quiet(self) -> bool:
        """Whether nothing lags and nothing is shed."""
        return self.taken == 1.0 and self._lags == 0

    def draw(self) -> int:
        """A new phone's lot."""
        self._next_lot = (self._next_lot + _STRIDE) % LOTS
        return self._next_lot

    def measure(self, lag_s: float, frames: int, now: float) -> None:
        """Note how long bytes wait to be read, and how many frames of pings came since the last call; once a tick."""
        passed_s, self._measured_at = now - self._measured_at, now
        if now - self._turned_at >= _TURN_S:
            self._turned_at = now
            self._offset = (self._offset + _STRIDE) % LOTS
        self.is_severe = lag_s > _SEVERE * self._lag_s
        limit_s = self._lag_s if self.taken == 1.0 else self._lag_s * _HELD
        if lag_s > limit_s:
            if self.taken == 1.0 and frames * _FRAME_S < _PART_MIN * passed_s:
                self._lags = 0
                return
            self._lags += 1
            if self._lags >= self._ticks or self.taken < 1.0:
                self.taken = self.taken / 2 if lag_s <= 2 * limit_s else 0.0
                if self.taken < _SMALLEST:
                    self.taken = 0.0
            return
        self._lags = 0
        if lag_s < self._lag_s * _CALM:
            self.taken = min(self.taken + _GROWTH, 1.0)

    def takes(self, lot: int) -> bool:
        """Whether this phone's pings are looked at now. Ask only while ``taken`` is below 1."""
        return (lot + self._offset) % LOTS < self.taken * LOTS
