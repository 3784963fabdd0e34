"""When pings leave: within the server's allowance, and again until they are stored.

The server counts a phone's pings without gaps, from the first of a connection on, and says how far they are stored.
Where numbers jump (the application was killed, and those that may have been used are passed over) what stands before
the gap is delivered first, and the rest in a session of its own.
"""

import random
from collections.abc import Callable
from typing import Any

from doorstep_client.ping_buffer import Fix, PingBuffer, Row, ping_frame
from doorstep_client.ping_file import KeptPings
from doorstep_client.session import PingAllowance
from doorstep_client.settings import ClientSettings


class PingSender:
    """Numbers, keeps and sends the device's positions.

    Args:
        first_seq: Number of the first ping; None for the milliseconds of the first use.
        crs: Coordinates of the positions; None for the default.
        phone_clock: Maps ``now`` to the phone's own clock, for ``sent_at``.
        rng: Source of jitter.
    """

    def __init__(
        self,
        *,
        first_seq: int | None,
        crs: str | None,
        phone_clock: Callable[[float], float],
        settings: ClientSettings,
        rng: random.Random,
    ) -> None:
        self._first_seq = first_seq
        self._crs = crs
        self._phone_clock = phone_clock
        self._settings = settings
        self._rng = rng
        self._buffer: PingBuffer | None = None
        self._session_seq: int | None = None
        """Highest number sent in this session."""
        self._gap_since: float | None = None
        """When a gap was first met, since everything was stored for the last time."""
        self.wants_new_session = False
        """What stands before a gap is stored, and what stands behind it waits for a session of its own."""

    @property
    def buffer(self) -> PingBuffer | None:
        """What is kept; None before the first ping."""
        return self._buffer

    @property
    def waiting(self) -> int:
        """Pings not yet stored by the server."""
        return len(self._buffer) if self._buffer is not None else 0

    @property
    def unsent(self) -> int:
        """Pings not yet sent."""
        return self._buffer.unsent if self._buffer is not None else 0

    @property
    def dropped(self) -> int:
        """Pings lost because the buffer was full."""
        return self._buffer.dropped if self._buffer is not None else 0

    def restore(self, kept: KeptPings, now: float) -> None:
        """Take up what an earlier process left. Its numbers go on where it ended in peace, else far behind it.

        Raises:
            RuntimeError: There are pings already, with numbers of their own.
        """
        if self._buffer is not None:
            raise RuntimeError("pings must be restored before the first one")
        next_seq = self._fresh_seq(now) if kept.next_seq is None else kept.next_seq
        self._buffer = PingBuffer(next_seq, self._settings.ping_buffer_max, kept.rows)
        if not kept.is_clean and kept.next_seq is not None:
            self.skip_numbers(now)

    def skip_numbers(self, now: float) -> None:
        """Those that come next may be in use: what could not be written down, for want of room, was counted on."""
        if self._buffer is not None:
            self._buffer.skip_to(int(now * 1000.0))

    def _fresh_seq(self, now: float) -> int:
        return self._first_seq if self._first_seq is not None else int(now * 1000.0)

    def add(self, fix: Fix, now: float) -> int:
        """Keep a position until it is stored; returns its number."""
        if self._buffer is None:
            self._buffer = PingBuffer(self._fresh_seq(now), self._settings.ping_buffer_max)
        return self._buffer.add(fix)

    # -- over the socket ------------------------------------------------------------------------------

    def frames(self, allowance: PingAllowance, now: float) -> list[dict[str, Any]]:
        """What may leave now, oldest first."""
        buffer, frames = self._buffer, list[dict[str, Any]]()
        if buffer is None:
            return frames
        while buffer.unsent and not self._waits_at_gap(buffer, now):
            allowed = allowance.take(min(buffer.unsent, self._settings.ping_batch_max), now)
            if not allowed:
                break
            rows = buffer.take(allowed, now)
            allowance.ping_tokens += allowed - len(rows)
            self._session_seq = max(self._session_seq or 0, rows[-1][0])
            frames.append(ping_frame(rows, self._phone_clock(now), self._crs))
        return frames

    def _waits_at_gap(self, buffer: PingBuffer, now: float) -> bool:
        first = buffer.next_unsent
        if first is None or self._session_seq is None or first <= self._session_seq + 1:
            return False
        if self._gap_since is None:
            self._gap_since = now
        if now >= self._gap_since + self._settings.ping_gap_wait_s:
            return False  # live positions do not wait for ever for old ones
        self.wants_new_session = buffer.sent_since is None
        return True

    def next_deadline(self, allowance: PingAllowance) -> float | None:
        """When something can leave or is to be sent again; None while neither waits."""
        buffer, due = self._buffer, list[float]()
        if buffer is None:
            return None
        if buffer.sent_since is not None:
            due.append(buffer.sent_since + self._settings.ping_resend_s)
        first = buffer.next_unsent
        if first is not None:
            is_gap = self._session_seq is not None and first > self._session_seq + 1
            gap_ends_at = 0.0 if self._gap_since is None else self._gap_since + self._settings.ping_gap_wait_s
            due.append(max(allowance.next_at, gap_ends_at) if is_gap else allowance.next_at)
        return min(due, default=None)

    def on_deadline(self, now: float) -> None:
        """Queue again what was not stored in time."""
        since = self._buffer.sent_since if self._buffer is not None else None
        if since is not None and now >= since + self._settings.ping_resend_s:
            self._resend()

    def disconnected(self) -> None:
        """Queue everything again that is not stored; the next session counts from its first ping."""
        self._session_seq = None
        self.wants_new_session = False
        self._resend()

    def _resend(self) -> None:
        if self._buffer is not None:
            self._buffer.resend()

    def acked(self, body: dict[str, Any], now: float) -> None:
        """Forget what a ``ping_ack`` says is stored; what was shed comes again."""
        buffer = self._buffer
        if buffer is None:
            return
        buffer.forget(body["stored_seq"], now)
        if not buffer:
            self._gap_since = None
        if body["verdicts"].get("shed") and buffer.sent_since is not None:
            # The server was too busy to look: soon again, but not at once and not all phones together.
            wait_s = self._rng.uniform(0.25, 1.0) * self._settings.ping_resend_s
            buffer.sent_since = min(buffer.sent_since, now + wait_s - self._settings.ping_resend_s)

    # -- over HTTP ------------------------------------------------------------------------------------

    def post(self, now: float) -> dict[str, Any] | None:
        """A body of ``POST /v1/positions`` with the oldest pings; None when none waits."""
        rows: list[Row] = self._buffer.oldest(self._settings.ping_batch_max) if self._buffer is not None else []
        if not rows:
            return None
        return ping_frame(rows, self._phone_clock(now), self._crs, in_rows=True)
