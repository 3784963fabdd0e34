"""Calls for help: each is sent again, ever less often, until the server has stored it."""

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class _Call:
    frame: dict[str, Any]
    next_at: float
    wait_s: float
    is_heard: bool = False


class SosCalls:
    """The calls that are not stored yet, by the key of their tap.

    Args:
        retry_s: First wait before a call is repeated; it doubles.
        retry_max_s: Largest wait.
    """

    def __init__(self, retry_s: float, retry_max_s: float) -> None:
        self._retry_s = retry_s
        self._retry_max_s = retry_max_s
        self._calls: dict[str, _Call] = {}

    def add(self, key: str, frame: dict[str, Any], now: float) -> None:
        """Keep a call, due at once."""
        self._calls[key] = _Call(frame=frame, next_at=now, wait_s=self._retry_s)

    def send(self, key: str, now: float) -> dict[str, Any]:
        """The frame of one call, to be written now; it is due again after its wait."""
        call = self._calls[key]
        call.next_at = now + call.wait_s
        call.wait_s = min(call.wait_s * 2.0, self._retry_max_s)
        return call.frame

    def due(self, now: float) -> list[dict[str, Any]]:
        """Frames of all calls whose time has come."""
        return [self.send(key, now) for key, call in self._calls.items() if call.next_at <= now]

    def next_deadline(self) -> float | None:
        """When the next call is due; None for no call."""
        return min((call.next_at for call in self._calls.values()), default=None)

    def welcomed(self, now: float) -> list[dict[str, Any]]:
        """A new session: what nobody answered goes out at once and is repeated as in the beginning."""
        for call in self._calls.values():
            if not call.is_heard:
                call.next_at, call.wait_s = now, self._retry_s
        return self.due(now)

    def acked(self, key: str, *, durable: bool) -> None:
        """Heard. Only what is stored as well is at rest."""
        if durable:
            self._calls.pop(key, None)
        elif key in self._calls:
            self._calls[key].is_heard = True
