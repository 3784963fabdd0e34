"""What every simulated person has: a device's side of the wire, an agenda, and a tally of what happened.

Agents run the same over real sockets (``doorstep_client.load.Swarm``) and in memory (``sim/world.py``).
"""

import heapq
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from doorstep_client.events import Disconnected, Event, PingsJudged, Welcomed
from doorstep_client.protocol import ClientProtocol

SAMPLES_MAX: Final = 20_000
"""Latencies kept of one kind: the newest; enough for a p99 and bounded for a long run."""


@dataclass(slots=True)
class Tally:
    """What happened to all agents of a run.

    Attributes:
        counts: Named outcomes.
        samples_s: Newest durations of each kind, in seconds.
    """

    counts: Counter[str] = field(default_factory=Counter)
    samples_s: dict[str, deque[float]] = field(default_factory=dict)

    def add(self, name: str, count: int = 1) -> None:
        """Count an outcome."""
        self.counts[name] += count

    def took(self, name: str, seconds: float) -> None:
        """Note a duration."""
        samples = self.samples_s.get(name)
        if samples is None:
            samples = self.samples_s[name] = deque(maxlen=SAMPLES_MAX)
        samples.append(seconds)

    def quantiles_ms(self, name: str) -> dict[str, float]:
        """``{"p50": …, "p99": …}`` in milliseconds; empty when there are no samples."""
        samples = self.samples_s.get(name)
        if not samples:
            return {}
        p50, p99 = np.quantile(np.fromiter(samples, dtype=np.float64), [0.5, 0.99])
        return {"p50": round(float(p50) * 1000, 3), "p99": round(float(p99) * 1000, 3)}

    def median_s(self, name: str) -> float | None:
        """Median of a kind of duration, None without samples."""
        samples = self.samples_s.get(name)
        return float(np.median(np.fromiter(samples, dtype=np.float64))) if samples else None


class Agent:
    """A person with a device. Subclasses add ``on_<event>`` behaviour in ``handle``.

    Args:
        protocol: The device's side of the wire.
        rng: This agent's own randomness.
        tally: Shared by all agents of the run.
    """

    def __init__(self, protocol: ClientProtocol, rng: np.random.Generator, tally: Tally) -> None:
        self._protocol = protocol
        self._rng = rng
        self._tally = tally
        self._agenda: list[tuple[float, int, Callable[[float], None]]] = []
        self._entries = 0
        self.online = False

    @property
    def protocol(self) -> ClientProtocol:
        """The device's side of the conversation."""
        return self._protocol

    def later(self, at: float, what: Callable[[float], None]) -> None:
        """Put something on the agenda; entries of one moment run in the order in which they were put."""
        self._entries += 1
        heapq.heappush(self._agenda, (at, self._entries, what))

    def next_deadline(self) -> float | None:
        """When the next entry of the agenda is due."""
        return self._agenda[0][0] if self._agenda else None

    def on_deadline(self, now: float) -> None:
        """Do what is due."""
        while self._agenda and self._agenda[0][0] <= now:
            _, _, what = heapq.heappop(self._agenda)
            what(now)

    def handle(self, event: Event, now: float) -> None:
        """Something happened on the wire."""
        if isinstance(event, Welcomed):
            self.online = True
            self._tally.add("welcomes")
        elif isinstance(event, Disconnected):
            if self.online:
                self._tally.add("disconnects")
            self.online = False
        elif isinstance(event, PingsJudged):
            for verdict, count in event.verdicts.items():
                self._tally.add(f"verdict.{verdict}", count)

    def between(self, low: float, high: float) -> float:
        """A uniform draw of this agent's own randomness."""
        return float(self._rng.uniform(low, high))
