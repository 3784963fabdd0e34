"""Which time a client lives by."""

import time
from collections.abc import Callable


class SteadyClock:
    """UTC epoch seconds at its making, and the monotonic time since: for every deadline of a client.

    A phone whose clock is set back by an hour must not wait an hour to repeat an SOS. What the phone's own clock says
    is told to the server apart from it (``ClientProtocol.phone_clock``).
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Read both once; tests give their own."""
        self._monotonic = monotonic
        self._offset_s = wall() - monotonic()

    def now(self) -> float:
        """Never steps, neither back nor forth."""
        return self._offset_s + self._monotonic()
