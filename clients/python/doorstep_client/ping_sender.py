"""When pings leave: within the server's allowance, and again until they are stored."""

import random
from collections.abc import Callable
from typing import Any

from doorstep_client.ping_buffer import Fix, PingBuffer, ping_frame
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

    def add(self, fix: Fix, now: float) -> int:
        """Keep a position until it is stored; returns its number."""
        if self._buffer is None:
            first = self._first_seq if self._first_seq is not None else int(now * 1000.0)
            self._buffer = PingBuffer(first, self._settings.ping_buffer_max)
        return self._buffer.add(fix)

    def frames(self, allowance: PingAllowance, now: float) -> list[dict[str, Any]]:
        """What may leave now, oldest first."""
        buffer, frames = self._buffer, list[dict[str, Any]]()
        if buffer is None:
            return frames
        while buffer.unsent:
            allowed = allowance.take(min(buffer.unsent, self._settings.ping_batch_max), now)
            if not allowed:
                break
            frames.append(ping_frame(buffer.take(allowed, now), self._phone_clock(now), self._crs))
        return frames

    def next_deadline(self, allowance: PingAllowance) -> float | None:
        """When something can leave or is to be sent again; None while neither waits."""
        buffer, due = self._buffer, list[float]()
        if buffer is None:
            return None
        if buffer.sent_since is not None:
            due.append(buffer.sent_since + self._settings.ping_resend_s)
        if buffer.unsent:
            due.append(allowance.next_at)
        return min(due, default=None)

    def on_deadline(self, now: float) -> None:
        """Queue again what was not stored in time."""
        since = self._buffer.sent_since if self._buffer is not None else None
        if since is not None and now >= since + self._settings.ping_resend_s:
            self.resend()

    def resend(self) -> None:
        """Queue everything again that is not stored, as after a lost connection."""
        if self._buffer is not None:
            self._buffer.resend()

    def acked(self, body: dict[str, Any], now: float) -> None:
        """Forget what a ``ping_ack`` says is stored; what was shed comes again."""
        buffer = self._buffer
        if buffer is None:
            return
        buffer.forget(body["stored_seq"], now)
        if body["verdicts"].get("shed") and buffer.sent_since is not None:
            # The server was too busy to look: soon again, but not at once and not all phones together.
            wait_s = self._rng.uniform(0.25, 1.0) * self._settings.ping_resend_s
            buffer.sent_since = min(buffer.sent_since, now + wait_s - self._settings.ping_resend_s)
