"""Recorded traces as phones whose clock runs fast: every fix of a file goes over a real socket once.

A phone's fixes leave in the order of their times (as a phone would send them), or in the order of the file; what
falls due together goes in one frame. ``sent_at`` is the phone's own fast clock, so the server sees ages as they were.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from doorstep_client.events import (
    Disconnected,
    Event,
    PingsJudged,
    PositionReceived,
    RequestDone,
    RequestFailed,
    ServerError,
    Welcomed,
)
from doorstep_client.load import Swarm
from doorstep_client.ping_buffer import Fix
from doorstep_client.protocol import ClientProtocol
from doorstep_client.settings import ClientSettings, Encoding

from sim.agent import Agent, Tally
from sim.clock import python_random
from sim.pause import pause
from sim.traces import TracePoint

REPLAY_SETTINGS = ClientSettings(ping_resend_s=3600.0, ping_buffer_max=2_000_000, request_timeout_s=60.0)
"""A ping is repeated only when it must be: the sums are to match the file."""
STEP_S = 0.25
"""How often a phone looks what has fallen due; at 60x that is a quarter of a minute of the trace."""


@dataclass(slots=True)
class ReplayClock:
    """Maps the real clock to the traces' fast one.

    Attributes:
        speed: Trace seconds per real second.
        began_at: Real time at which all traces begin; None before the start.
    """

    speed: float
    began_at: float | None = None

    def elapsed_s(self, now: float) -> float:
        """Trace seconds since the beginning; 0 before the start."""
        return 0.0 if self.began_at is None else max(now - self.began_at, 0.0) * self.speed


class ReplayPhone(Agent):
    """One recorded vehicle.

    Args:
        points: Its fixes in the order in which they shall be sent.
        trace_began_at: First time of the vehicle's file, so that vehicles of one file keep step.
    """

    def __init__(
        self,
        name: str,
        user: str,
        token: str,
        points: Sequence[TracePoint],
        trace_began_at: float,
        clock: ReplayClock,
        tally: Tally,
        city: str,
        on_ready: Callable[[], None],
    ) -> None:
        protocol = ClientProtocol(
            device="replay",
            token=token,
            encoding=Encoding.JSON,
            app="doorstep-replay",
            first_seq=1,
            clock_rate=clock.speed,
            phone_clock=lambda now: trace_began_at + clock.elapsed_s(now),
            settings=REPLAY_SETTINGS,
            rng=python_random(1, user),
        )
        super().__init__(protocol, np.random.default_rng(1), tally)
        self.name, self.user = name, user
        self.verdicts: Counter[str] = Counter()
        self.sent = 0
        self.failure = ""
        self._points = points
        self._due_s = np.maximum.accumulate([p.fixed_at - trace_began_at for p in points]) if points else np.empty(0)
        self._clock = clock
        self._city = city
        self._on_ready: Callable[[], None] | None = on_ready
        self._duty_ref = ""

    @property
    def judged(self) -> int:
        """Fixes with a verdict. ``shed`` is none: such a fix is sent again."""
        return self.verdicts.total() - self.verdicts["shed"]

    @property
    def is_done(self) -> bool:
        """Whether every fix has its verdict."""
        return self.judged >= len(self._points)

    def handle(self, event: Event, now: float) -> None:
        """Goes on duty, then sends; gathers verdicts."""
        super().handle(event, now)
        if isinstance(event, Welcomed):
            if self._on_ready is not None and not self._duty_ref:
                self._duty_ref = self.protocol.duty(True, now, self._city)
        elif isinstance(event, RequestDone) and event.ref == self._duty_ref:
            self._ready()
            self.later(now, self._advance)
        elif isinstance(event, RequestFailed):
            self._fail(f"{event.type}: {event.code}: {event.message}")
        elif isinstance(event, ServerError):
            self._tally.add(f"error.{event.code}")
        elif isinstance(event, Disconnected) and event.retry_in_s is None:
            self._fail(f"closed with {event.code}: {event.reason}")
        elif isinstance(event, PingsJudged):
            self.verdicts.update(event.verdicts)
            self.verdicts.update(event.corrected)
            self.verdicts["teleport"] -= sum(event.corrected.values())

    def _ready(self) -> None:
        if self._on_ready is not None:
            self._on_ready()
            self._on_ready = None

    def _fail(self, why: str) -> None:
        self.failure = self.failure or why
        self._tally.add("failures")
        self._ready()

    def _advance(self, now: float) -> None:
        elapsed_s = self._clock.elapsed_s(now)
        if self._clock.began_at is not None:
            due = int(np.searchsorted(self._due_s, elapsed_s, side="right"))
            for point in self._points[self.sent : due]:
                fix = Fix(point.lat, point.lng, point.fixed_at, point.accuracy_m, point.speed_mps)
                self.protocol.send_ping(fix, now)
            self._tally.add("sent", due - self.sent)
            self.sent = due
        if self.sent < len(self._points):
            next_s = float(self._due_s[self.sent])
            wait_s = (next_s - elapsed_s) / self._clock.speed if self._clock.began_at is not None else 0.0
            self.later(now + max(wait_s, STEP_S), self._advance)


@dataclass(slots=True)
class ReplayReport:
    """What came of a replay.

    Attributes:
        points: Fixes sent.
        unreadable: Rows of the files that are no fix.
        verdicts: Of all phones together, one for each fix.
        unjudged: Fixes without a verdict; not 0 means that something went wrong.
        vehicles: For each vehicle its technician id, number of fixes, verdicts and final live position or None.
    """

    points: int
    unreadable: int
    verdicts: dict[str, int]
    unjudged: int
    took_s: float
    vehicles: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


class Replay:
    """Drives all phones of a replay over one swarm."""

    def __init__(self, hub_url: str, speed: float, city: str) -> None:
        self.clock = ReplayClock(speed)
        self.tally = Tally()
        self.swarm = Swarm(hub_url)
        self.phones: list[ReplayPhone] = []
        self._city = city
        self._ready = 0
        self._all_ready = asyncio.Event()

    @property
    def points(self) -> int:
        """Fixes of all vehicles."""
        return sum(len(phone._points) for phone in self.phones)

    @property
    def judged(self) -> int:
        """Fixes with a verdict so far."""
        return sum(phone.judged for phone in self.phones)

    @property
    def ready(self) -> int:
        """Phones on duty."""
        return self._ready

    def verdicts(self) -> Counter[str]:
        """Verdicts so far."""
        total: Counter[str] = Counter()
        for phone in self.phones:
            total.update(phone.verdicts)
        total.pop("shed", None)
        return total

    def add(self, name: str, user: str, token: str, points: Sequence[TracePoint], trace_began_at: float) -> None:
        """Take in a vehicle."""
        phone = ReplayPhone(
            name, user, token, points, trace_began_at, self.clock, self.tally, self._city, self._one_ready
        )
        self.phones.append(phone)
        self.swarm.add(phone)

    def _one_ready(self) -> None:
        self._ready += 1
        if self._ready == len(self.phones):
            self._all_ready.set()

    async def run(self, *, ready_timeout_s: float = 300.0, settle_s: float = 60.0) -> None:
        """Wait until all are on duty, start the clock, and return when every fix has its verdict.

        Args:
            settle_s: Longest wait without any new verdict after the last fix was sent.
        """
        try:
            async with asyncio.timeout(ready_timeout_s):
                await self._all_ready.wait()
        except TimeoutError:
            raise TimeoutError(
                f"only {self._ready} of {len(self.phones)} phones came on duty within {ready_timeout_s:g} s "
                f"({self.swarm.open} connected, {self.swarm.dials_failed} handshakes failed)"
            ) from None
        self.clock.began_at = self.swarm.now() + STEP_S
        judged, changed_at = -1, self.swarm.now()
        while not all(phone.is_done or phone.failure for phone in self.phones):
            await pause(0.2)
            now = self.swarm.now()
            everything = judged, self.tally.counts["sent"]
            judged = self.judged
            if everything != (judged, self.tally.counts["sent"]):
                changed_at = now
            if self.tally.counts["sent"] >= self.points and now - changed_at > settle_s:
                return


class Reader(Agent):
    """An ops session that reads back where each vehicle ended, one topic after the other."""

    def __init__(self, token: str, users: Sequence[str], tally: Tally, *, at_once: int = 32) -> None:
        protocol = ClientProtocol(
            device="reader", token=token, settings=REPLAY_SETTINGS, rng=python_random(2, "reader")
        )
        super().__init__(protocol, np.random.default_rng(2), tally)
        self.found: dict[str, dict[str, Any] | None] = {}
        self.done = asyncio.Event()
        self._waiting = list(reversed(users))
        self._asked: dict[str, str] = {}
        self._at_once = at_once
        self._open = 0

    def handle(self, event: Event, now: float) -> None:
        """Asks for the next ones as answers come."""
        super().handle(event, now)
        if isinstance(event, Welcomed):
            for _ in range(self._at_once):
                self._next(now)
        elif isinstance(event, PositionReceived):
            self._settle(event.topic, event.body, now)
        elif isinstance(event, RequestFailed) and event.ref in self._asked:
            topic = self._asked[event.ref]
            if event.retry:  # too fast for the server's limit
                self.later(now + 0.5, lambda at: self._ask(topic, at))
            else:
                self._settle(topic, None, now)
        elif isinstance(event, RequestDone) and event.ref in self._asked:
            # A technician without any live position has no snapshot: do not wait for ever.
            topic = self._asked[event.ref]
            self.later(now + 3.0, lambda at: self._settle(topic, None, at))

    def _next(self, now: float) -> None:
        if self._waiting:
            topic = f"technician:{self._waiting.pop()}"
            self._open += 1
            self._ask(topic, now)
        elif not self._open:
            self.done.set()

    def _ask(self, topic: str, now: float) -> None:
        self._asked[self.protocol.watch(topic, now)] = topic

    def _settle(self, topic: str, body: dict[str, Any] | None, now: float) -> None:
        user = topic.partition(":")[2]
        if user in self.found:
            return
        self.found[user] = body
        self.protocol.unwatch(topic, now)
        self._open -= 1
        self._next(now)
