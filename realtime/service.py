"""The hub's shell: sockets in, frames out, one tick. The only file of the hub that waits.

What is decided is in ``engine.py``. Here: when it is called, and the few reads of the outbox that take time.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf

from core.clock import Clock
from core.errors import DoorstepError, Unavailable
from core.ids import IdSource, TenantId, UserId
from core.outbox import OutboxRow
from core.principal import Principal
from core.service import pause
from core.shard import Shard
from geo.shard_positions import ShardPositions
from realtime.attention import Level
from realtime.engine import AttachStreams, Engine, Job, ReadRows
from realtime.ledger import DiskDebt
from realtime.messages import Ping, PingAck, PingPolicy, Pings
from realtime.ports import Connection, ConnectionHandler, RealtimePorts
from realtime.session import Session
from realtime.settings import RealtimeSettings

log = logging.getLogger(__name__)

_READS_MAX = 64
"""Reads of the outbox under way at once; a storm of reconnects waits its turn instead of flooding the store."""

WRITTEN_WAIT_S = 3.0
"""Seconds that an answer over HTTP waits for kept positions to be on the disk; these are written once a second."""

WRITE_SOON_S = 0.05
"""An app that sends point by point waits for each: its points are written this soon, together with all others' of that
time, so that the disk is asked 20 times a second at most."""

_COMPLAIN_AGAIN_S = 10.0
"""A tick that breaks each time says so this often."""

_LOOK_AGAIN_S = 0.05
"""How often a drain looks whether everybody was told."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of the positions of one request.

    Attributes:
        verdicts: How many got which word.
        is_stored: Whether all that is kept of them is on the disk; of none kept it is.
    """

    verdicts: Mapping[str, int]
    is_stored: bool


class RealtimeService:
    """The hub: an ``Acceptor`` of connections and the ``Delivery`` of committed messages.

    All methods but ``run`` and ``drain`` return at once. Everything is called on the event loop.
    """

    def __init__(
        self,
        clock: Clock,
        ids: IdSource,
        settings: RealtimeSettings,
        ports: RealtimePorts,
        positions: Mapping[Shard, ShardPositions],
        *,
        seed: int,
    ) -> None:
        """Prepare; nothing runs before ``run``.

        Args:
            clock: Real or virtual.
            ids: Makes session ids.
            settings: Limits and intervals.
            ports: What the hub is connected to; may be completed after this call, before ``run``.
            positions: Each shard's positions; shards may be added later.
            seed: For the jitter of reconnect advice.
        """
        self._clock = clock
        self._settings = settings
        self._ports = ports
        self._waiting: deque[Job] = deque()
        self._reading = 0
        self._group: asyncio.TaskGroup | None = None
        self._stopped = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._complained_at = -inf
        self._write_soon: asyncio.TimerHandle | None = None
        self.read_lag: Callable[[], float] | None = None
        """Seconds that bytes wait until they are read; None takes how late the tick runs. Asked in each tick."""
        self._engine = Engine(settings, ids, ports, positions, start=self._start, seed=seed)

    # -- Acceptor -------------------------------------------------------------------------------------

    def admit(self, peer: str) -> DoorstepError | None:
        """Whether a connection from ``peer`` may be upgraded; None when it may."""
        return self._engine.admit(peer)

    def connected(self, connection: Connection) -> ConnectionHandler:
        """Take a connection that finished its handshake; its ``hello`` must come in time."""
        now = self._clock.now()
        session = _SocketSession(self._engine, connection, self._settings.queue, now)
        session.read_now = self._clock.now
        session.wake = self._wake
        self._engine.opened(session, now)
        return session

    # -- Delivery -------------------------------------------------------------------------------------

    def deliver(self, rows: Sequence[OutboxRow]) -> None:
        """Send committed rows to the connected devices of their recipients. Never raises."""
        self._engine.deliver(rows, self._clock.now())
        self._wake()

    # -- what wiring and api call ---------------------------------------------------------------------

    def duty_changed(self, tenant: TenantId, user: UserId, shard: Shard | None, *, quiet: bool = False) -> None:
        """The user has a slot in ``shard``'s positions from now on, or none any more (None).

        Call it right after ``positions.claim`` or ``positions.release``, in the same turn of the loop. ``quiet``: their
        phone is answered as if they had none.
        """
        self._engine.duty_changed(tenant, user, shard, self._clock.now(), quiet=quiet)

    def attend(
        self,
        tenant: TenantId,
        user: UserId,
        cause: str,
        level: Level | None,
        *,
        keep: bool = False,
        owed: bool = True,
    ) -> None:
        """Set or end (None) a cause for attention. Idempotent.

        Args:
            tenant: Whose user it is.
            user: Who matters more now.
            cause: Id of the offer, order or incident.
            level: How much; the highest of all causes counts.
            keep: Append the user's positions to the position log under the cause's name while it lasts.
            owed: What is kept may be forgotten by the phone only once it is on the disk; without it, the phone cannot
                see that anything is kept.
        """
        self._engine.attend(tenant, user, cause, level, keep=keep, owed=owed, now=self._clock.now())

    def rights_changed(self, topic: str) -> None:
        """Rights to ``topic`` changed: nothing is sent on the old ones after this call returns."""
        self._engine.rights_changed(topic, self._clock.now())

    def send_direct(self, tenant: TenantId, user: UserId, body: bytes, *, restricted: bool = False) -> int:
        """Send a JSON message to all connected devices of a user, outside the streams, before everything else.

        Args:
            tenant: Whose user it is.
            user: To whom.
            body: The message.
            restricted: Also to sessions that may do nothing but SOS: an answer to their own SOS.

        Returns:
            Number of devices it was written to.
        """
        return self._engine.send_direct(tenant, user, body, self._clock.now(), restricted=restricted)

    def online(self, tenant: TenantId, user: UserId) -> bool:
        """Whether any device of the user has a session."""
        return self._engine.online(tenant, user)

    def revoke(self, tenant: TenantId, user: UserId, revoked: Callable[[Principal], bool]) -> int:
        """Close those sessions of a user that were revoked with 4510; returns how many.

        New ones are the authenticator's matter.
        """
        return self._engine.revoke(tenant, user, revoked, self._clock.now())

    def revoke_where(self, revoked: Callable[[Principal], bool]) -> int:
        """Close every session whose principal was revoked (a single token, say) with 4510; returns how many."""
        return self._engine.revoke_where(revoked, self._clock.now())

    async def ingest_http(self, who: Principal, pings: Ping | Pings) -> PingAck:
        """Judge positions that came over HTTP, at once; what is kept of them is waited for until the disk has it.

        Nobody can tell such a caller later: its next request opens the next debt.

        Returns:
            The verdicts, one for each ping, as the hub would acknowledge them. ``stored_seq`` is what is on the disk
            after at most ``WRITTEN_WAIT_S``; the rest is sent again, and is a ``duplicate`` then.
        """
        ledger = self._engine.ingest_http(who, pings, self._clock.now())
        debt = ledger.unwritten
        if debt is not None:
            written = asyncio.Event()
            debt.when_on_disk(written.set)
            with suppress(TimeoutError):
                await asyncio.wait_for(written.wait(), WRITTEN_WAIT_S)
            debt.wait_no_longer(written.set)
        return ledger.take(self._clock.now())

    async def ingest_device(self, who: Principal, batches: Sequence[Pings]) -> Taken:
        """Judge positions of a phone that cannot count: its numbers have gaps, and their order is no promise.

        ``stored_seq`` says nothing of such numbers. Instead everything that was ever handed to the log for the device
        is waited for, with the first copies of what it repeats among it. Between two batches the loop may turn.
        """
        verdicts: Counter[str] = Counter()
        debt: DiskDebt | None = None
        for place, pings in enumerate(batches):
            if place:
                await pause(0.0)
            ledger = self._engine.ingest_http(who, pings, self._clock.now())
            debt = ledger.debt or debt
            verdicts.update(ledger.take(self._clock.now()).verdicts)
        if debt is None or not debt.is_open:
            return Taken(verdicts, is_stored=True)
        written = asyncio.Event()
        debt.when_on_disk(written.set)
        if self._write_soon is None:
            self._write_soon = asyncio.get_running_loop().call_later(WRITE_SOON_S, self._hurry_log)
        with suppress(TimeoutError):
            await asyncio.wait_for(written.wait(), WRITTEN_WAIT_S)
        debt.wait_no_longer(written.set)
        return Taken(verdicts, is_stored=written.is_set())

    def _hurry_log(self) -> None:
        self._write_soon = None
        if self._ports.log is not None:
            self._ports.log.hurry()

    def policy(self, tenant: TenantId, user: UserId) -> PingPolicy:
        """How the phone of somebody is to report now; for phones that cannot be told over the hub."""
        return self._engine.policy(tenant, user)

    def counts(self) -> dict[str, int]:
        """Named outcomes since the start, and gauges ``sessions``, ``people`` and ``topics``."""
        return self._engine.counts()

    # -- life -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep deadlines and read the outbox until ``stop``. One call for the life of the service."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._arm(self._settings.positions.tick_ms / 1000)
            self._pump()
            await self._stopped.wait()
            self._group = None
            for timer in (self._timer, self._write_soon):
                if timer is not None:
                    timer.cancel()

    def stop(self) -> None:
        """Let ``run`` return; open connections are closed with 4403 at once. Idempotent."""
        self._engine.drain_now(self._clock.now())
        self._stopped.set()

    async def drain(self, over_s: float | None = None) -> None:
        """Send everyone away in stages, idle first, with jittered advice when to come back.

        New connections are refused, except that an SOS is taken on open ones to the end. Returns when all
        connections were told; ``stop`` comes after it.
        """
        spread_s = self._settings.drain.over_s if over_s is None else over_s
        self._engine.drain(self._clock.now(), spread_s)
        self._wake()
        await self._engine_drained()

    async def _engine_drained(self) -> None:
        while self._engine.draining_left:
            await pause(_LOOK_AGAIN_S)

    # -- the tick -------------------------------------------------------------------------------------

    def _arm(self, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer_due = loop.time() + wait_s
        self._timer = loop.call_at(self._timer_due, self._tick)

    def _wake(self) -> None:
        """Something happened while the tick was resting: it comes in time for it."""
        if self._engine.resting:
            self._engine.resting = False
            if self._timer is not None:
                self._timer.cancel()
                self._arm(self._settings.positions.tick_ms / 1000)

    def _tick(self) -> None:
        late_s = asyncio.get_running_loop().time() - self._timer_due
        try:
            lag_s = late_s if self.read_lag is None else self.read_lag()
            self._engine.tick(self._clock.now(), lag_s)
        except Exception:
            # An edge: 50 times a second the same defect would fill the log and stop nothing.
            now = asyncio.get_running_loop().time()
            if now - self._complained_at >= _COMPLAIN_AGAIN_S:
                self._complained_at = now
                log.exception("tick failed")
        if not self._stopped.is_set():
            # With nothing to do the tick only sweeps: an idle server sleeps, a simulated day has fewer turns.
            self._engine.resting = not self._engine.is_busy
            self._arm(
                self._settings.attention.sweep_s if self._engine.resting else self._settings.positions.tick_ms / 1000
            )

    # -- reads of the outbox --------------------------------------------------------------------------

    def _start(self, job: Job) -> None:
        self._waiting.append(job)
        self._pump()

    def _pump(self) -> None:
        while self._group is not None and self._waiting and self._reading < _READS_MAX:
            self._reading += 1
            self._group.create_task(self._work(self._waiting.popleft()))

    async def _work(self, job: Job) -> None:
        try:
            while True:
                await self._do(job)
                if not self._waiting:
                    return
                job = self._waiting.popleft()
        finally:
            self._reading -= 1

    async def _do(self, job: Job) -> None:
        try:
            if isinstance(job, AttachStreams):
                await self._attach(job)
            else:
                await self._read(job)
        except Unavailable as error:
            self._engine.job_failed(job, error, self._clock.now())
        except Exception as error:
            # An edge: one session's read must not end the hub. The session is told `internal`.
            log.exception("outbox read failed")
            self._engine.job_failed(job, DoorstepError(type(error).__name__), self._clock.now())

    async def _attach(self, job: AttachStreams) -> None:
        heads = await self._ports.store.attach(job.who, self._clock.now(), job.streams)
        self._engine.attached(job, heads, self._clock.now())
        self._wake()

    async def _read(self, job: ReadRows) -> None:
        rows = await self._ports.store.read(
            job.who.tenant, job.who.user, job.stream, after_seq=job.after_seq, limit=job.limit
        )
        self._engine.rows_read(job, rows, self._clock.now())
        self._wake()


class _SocketSession(Session):
    """A session that reads the clock when its socket speaks."""

    __slots__ = ("read_now", "wake")
    read_now: Callable[[], float]
    wake: Callable[[], None]

    def on_message(self, payload: bytes) -> None:
        """One whole message."""
        engine = self.engine
        if engine.shedding.taken < 1.0 and engine.sheds(self, payload):
            return
        engine.on_message(self, payload, self.read_now())
        if engine.resting:
            self.wake()

    def takes_damaged(self) -> bool:
        """Only from somebody who said who they are."""
        return self.who is not None

    def on_damaged(self, payload: bytes, close_code: int) -> bool:
        """What there is of a message that is refused unless it is an SOS."""
        engine = self.engine
        is_sos: bool = engine.on_damaged(self, payload, self.read_now())
        if is_sos and engine.resting:
            self.wake()
        return is_sos

    def on_pong(self, payload: bytes) -> None:
        """The peer answered a ping."""
        self.engine.on_pong(self, payload, self.read_now())

    def on_paused(self) -> None:
        """The kernel takes no more for now."""
        self.engine.on_paused(self)

    def on_writable(self) -> None:
        """The kernel takes more again."""
        self.engine.on_writable(self, self.read_now())

    def on_closed(self, code: int) -> None:
        """The connection is gone."""
        self.engine.on_closed(self, code, self.read_now())
