"""Which share of the ping frames is looked at while the loop cannot keep up.

All or nothing would swing: with every ping shed the lag is gone at once, with every ping judged it is back as fast,
and an SOS waits behind each swing. So the share is halved while the lag is above its limit and grows in small steps
while it is well below (additive increase, multiplicative decrease, as TCP's congestion control, RFC 5681).
"""

from typing import Final

_GROWTH: Final = 0.02
_SMALLEST: Final = 0.05
_SPAN: Final = 2**32


class Shedding:
    """Decides frame by frame.

    Args:
        lag_ms: Limit of the lag, milliseconds.
        ticks: Measurements in a row above the limit before it begins: one hiccup is no overload.

    Attributes:
        taken: Share of the frames that is looked at; 1.0 while the loop keeps up.
    """

    __slots__ = ("_lag_s", "_lags", "_state", "_ticks", "taken")

    def __init__(self, lag_ms: float, ticks: int) -> None:
        self.taken = 1.0
        self._lag_s = lag_ms / 1000.0
        self._ticks = ticks
        self._lags = 0
        self._state = 1

    @property
    def is_quiet(self) -> bool:
        """Whether nothing lags and nothing is shed."""
        return self.taken == 1.0 and self._lags == 0

    def measure(self, lag_s: float) -> None:
        """Note how long bytes wait to be read; once a tick."""
        if lag_s > self._lag_s:
            self._lags += 1
            if self._lags >= self._ticks or self.taken < 1.0:
                self.taken = self.taken / 2 if lag_s <= 2 * self._lag_s else 0.0
                if self.taken < _SMALLEST:
                    self.taken = 0.0
            return
        self._lags = 0
        if lag_s < self._lag_s / 4:
            self.taken = min(self.taken + _GROWTH, 1.0)

    def takes(self) -> bool:
        """Whether the next frame is looked at. Ask only while ``taken`` is below 1.

        A linear congruential generator (Numerical Recipes, 7.1): an even spacing would meet the rhythm in which
        phones follow each other, and some would be shed for ever.
        """
        state = (self._state * 1_664_525 + 1_013_904_223) % _SPAN
        self._state = state
        return state < self.taken * _SPAN
