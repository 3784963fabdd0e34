"""When to come back after a lost connection, and whether at all."""

import random
from typing import Final

from doorstep_client.backoff import Backoff
from doorstep_client.session import Session
from doorstep_client.settings import ClientSettings

LOST: Final = 1006
"""How a connection is counted that ended without a close."""
REPLACED: Final = 4509
"""A newer connection of the same device took over."""
COME_BACK_BELOW: Final = 4500
"""Application close codes 4500-4999 mean: do not come back (docs/protocol.md)."""


class Returning:
    """Full jitter, the server's advice where it gave one, and the codes that say to stay away."""

    def __init__(self, settings: ClientSettings, rng: random.Random) -> None:
        self._settings = settings
        self._backoff = Backoff(settings.reconnect_base_s, settings.reconnect_max_s, rng)
        self._broke_off_at = float("-inf")
        """When a connection last ended without a close, that the server may see come later than the next."""

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._backoff.failures

    def wait_s(self, code: int, session: Session | None, now: float, *, is_urgent: bool) -> float | None:
        """Seconds to wait; None to stay away.

        Args:
            code: The close code.
            session: What was lost; None when the connection could not be made.
            is_urgent: Whoever calls for help waits for no advice longer than between two tries.
        """
        if session is not None and code == LOST:
            self._broke_off_at = now
        if COME_BACK_BELOW <= code <= 4999 and not self._is_replaced_by_self(code, now):
            return None
        wait_s = self._usual_wait_s(session, now)
        return min(wait_s, self._settings.sos_retry_max_s) if is_urgent else wait_s

    def _is_replaced_by_self(self, code: int, now: float) -> bool:
        """Whether the newer connection is an older one of our own: what it had sent came after what replaced it."""
        is_own = code == REPLACED and now - self._broke_off_at < self._settings.replaced_by_self_s
        self._broke_off_at = float("-inf")  # once for each connection that broke off: two devices never take turns
        return is_own

    def _usual_wait_s(self, session: Session | None, now: float) -> float:
        if session is not None and session.is_renewed:
            return 0.0
        if session is not None and session.welcomed_at is not None:
            if now - session.welcomed_at >= self._settings.steady_after_s:
                self._backoff.reset()
            if session.reconnect_after_s is not None:
                return session.reconnect_after_s  # the server spreads its clients itself
        return self._backoff.next_wait_s()
