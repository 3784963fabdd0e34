"""What belongs to one connection and ends with it: when who spoke last, and what the server allows."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class PingAllowance:
    """How many pings the server takes: a token bucket that holds one second's worth."""

    pings_per_s: float = 10.0
    ping_batch: int = 100
    """Rows in one frame."""
    ping_tokens: float = 10.0
    refilled_at: float = 0.0

    @property
    def next_at(self) -> float:
        """When there is room for one more after none was left."""
        return self.refilled_at + 1.0 / max(self.pings_per_s, 0.1)

    def take(self, wanted: int, now: float) -> int:
        """How many of ``wanted`` pings may leave now, within the server's allowance."""
        burst = max(self.pings_per_s, 1.0)
        self.ping_tokens = min(burst, self.ping_tokens + (now - self.refilled_at) * self.pings_per_s)
        self.refilled_at = now
        allowed = min(wanted, int(self.ping_tokens), self.ping_batch)
        self.ping_tokens -= allowed
        return allowed


@dataclass(slots=True)
class Session:
    """One connection, from its handshake."""

    connected_at: float
    heard_at: float
    said_at: float
    welcomed_at: float | None = None
    heartbeat_s: float = 30.0
    allowance: PingAllowance = field(default_factory=PingAllowance)
    reconnect_after_s: float | None = None
    """The server's own advice, where it gave one."""
    is_renewed: bool = False
    """It ends because the next one is wanted at once."""

    def welcomed(self, body: dict[str, Any], now: float) -> None:
        """Take over what a ``welcome`` says about this connection."""
        self.welcomed_at = now
        self.heartbeat_s = max(float(body["heartbeat_s"]), 0.5)
        limits = body.get("limits", {})
        pings_per_s = float(limits.get("pings_per_s", 10.0))
        self.allowance = PingAllowance(
            pings_per_s=pings_per_s,
            ping_batch=max(int(limits.get("ping_batch", 100)), 1),
            ping_tokens=max(pings_per_s, 1.0),
            refilled_at=now,
        )

    @property
    def heartbeat_at(self) -> float:
        """When something must be said, if only that we live."""
        return self.said_at + self.heartbeat_s

    def silence_ends_at(self, heartbeats: float) -> float:
        """When the server counts as gone: after so many heartbeats without a word."""
        return self.heard_at + heartbeats * self.heartbeat_s
