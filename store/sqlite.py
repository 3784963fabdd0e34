"""Puts the three files together: locked, migrated, each with its writer, behind the ports of the domains."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, bindparam, delete, select, tuple_

from core.clock import Clock
from core.ids import IdSource
from core.outbox import Stream
from safety.audit import AuditPen
from safety.settings import JournalSettings
from store import schema
from store.audit import AuditTable
from store.browser_sessions import SqlBrowserSessions, forget_browser_sessions
from store.care import SqlCareStore, forget_care
from store.database import Database
from store.directory import Directory
from store.dispatch import SqlDispatchStore
from store.forgetting import FIRST, forget_incidents
from store.holds import SqlHoldStore
from store.journal import EmergencyJournal
from store.listings import SqlListings
from store.lock import FolderLock
from store.looks import SqlLookStore
from store.migrate import MAIN_FILE, SAFETY_FILE, TRACKS_FILE, migrate_locked
from store.outbox import Outbox
from store.periodic import Periodic
from store.profiles import SqlProfileStore
from store.reserve import Reserve
from store.safety import SqlSafetyStore, forget_synthetic
from store.settings import StoreSettings
from store.sign_outs import SqlSignOuts, forget_sign_outs
from store.statements import Statement
from store.streams import SqlStreamStore, main_stream, safety_stream
from store.tracker_devices import SqlDeviceStore
from store.tracks import Held, SqlPositionLog
from store.webhooks import SqlDeliveryQueue, forget_dead

_rounds, _round_orders, _idempotency = schema.rounds, schema.round_orders, schema.idempotency

SPACE_LOOK_S: Final = 2.0
"""How often the disk is looked at."""
_ROUNDS_PRUNED: Final = 50
"""A stored round is some tens of kilobytes and has a row for each of its orders."""

_OLD_ROUNDS: Final = Statement(
    select(_rounds.c.tenant, _rounds.c.round_id)
    .where(_rounds.c.at < bindparam("horizon"))
    .order_by(_rounds.c.at)
    .limit(bindparam("n"))
)
_DROP_ROUND: Final = Statement(
    delete(_rounds).where(_rounds.c.tenant == bindparam("t"), _rounds.c.round_id == bindparam("r"))
)
_DROP_ROUND_ORDERS: Final = Statement(
    delete(_round_orders).where(_round_orders.c.tenant == bindparam("t"), _round_orders.c.round_id == bindparam("r"))
)
_key = tuple(_idempotency.primary_key)
_DROP_KEYS: Final = Statement(
    delete(_idempotency).where(
        tuple_(*_key).in_(select(*_key).where(_idempotency.c.at < bindparam("horizon")).limit(bindparam("n")))
    )
)


class Stores:
    """Everything durable of one node. Made by ``open_stores``.

    Attributes:
        dispatch: ``dispatch.ports.DispatchStore``.
        listings: ``dispatch.ports.Listings``.
        webhooks: ``webhooks.ports.DeliveryQueue``.
        sign_outs: ``api.ports.SignOuts``.
        tracker_devices: ``trackers.ports.DeviceStore``.
        safety: ``safety.ports.SafetyStore``.
        care: ``safety.care_ports.CareStore``.
        profiles: ``safety.profiles.ProfileStore``.
        journal: ``safety.ports.Journal``.
        streams: ``realtime.ports.StreamStore``.
        tracks: ``realtime.ports.PositionLog``.
        reserve: Space on the disk that is held back for safety.
        held: Tenant and name of incidents and jobs that must stay, None while that is not known; set by whoever knows.
        directory: Living devices by role and city; complete once started.
        databases: The three files by name, for counters and metrics.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        settings: StoreSettings,
        journal: EmergencyJournal,
        reserve: Reserve,
        executor: Executor | None,
        lock: FolderLock,
        pen: AuditPen | None,
    ) -> None:
        self._clock = clock
        self._keep = settings.retention
        self._lock = lock
        self.journal = journal
        main_outbox = Outbox(Stream.MAIN, schema.main_outbox, schema.main_streams)
        safety_outbox = Outbox(Stream.SAFETY, schema.safety_outbox, schema.safety_streams)
        self._main = Database(folder / MAIN_FILE.name, settings.writer, main_outbox, executor)
        self._safety = Database(folder / SAFETY_FILE.name, settings.writer, safety_outbox, executor)
        self._tracks = Database(folder / TRACKS_FILE.name, settings.writer, None, executor)
        self.databases = {database.path.name: database for database in (self._main, self._safety, self._tracks)}
        self.directory = Directory(self._keep.device_seen_s)
        self.dispatch = SqlDispatchStore(self._main, main_outbox)
        self.listings = SqlListings(self._main)
        self.webhooks = SqlDeliveryQueue(self._main)
        self.sign_outs = SqlSignOuts(self._main)
        self.tracker_devices = SqlDeviceStore(self._main)
        self.browser_sessions = SqlBrowserSessions(self._main)
        audit = AuditTable(pen)
        self.safety = SqlSafetyStore(self._safety, safety_outbox, audit)
        self.care = SqlCareStore(self._safety, safety_outbox)
        self.profiles = SqlProfileStore(self._safety, audit)
        self.looks = SqlLookStore(self._safety, audit)
        self.holds = SqlHoldStore(self._safety, audit)
        files = {
            Stream.MAIN: main_stream(self._main, main_outbox),
            Stream.SAFETY: safety_stream(self._safety, safety_outbox),
        }
        self.streams = SqlStreamStore(files, self.directory, clock, settings)
        self.tracks = SqlPositionLog(self._tracks, settings.tracks, self._keep)
        self.reserve = reserve
        self._executor = executor
        for database in self.databases.values():
            database.writer.on_full = reserve.note_full
        self._safety.writer.on_full = reserve.release
        self.tracks.is_shedding = lambda: reserve.is_low
        self.held: Held = lambda _now: frozenset()
        self._incidents_pruned_to = FIRST
        self._space = Periodic("look at the disk", SPACE_LOOK_S, self._look_at_disk)
        self._pruner = Periodic("prune", self._keep.prune_interval_s, self._prune_again)

    async def start(self) -> None:
        """Begin to write and to prune; load the directory. Raises ``Unavailable``."""
        for database in self.databases.values():
            database.start()
        await self.streams.start()
        self.tracks.start()
        self._pruner.start()
        self._pruner.arm()
        self._space.start()
        self._space.arm()

    async def stop(self) -> None:
        """Write everything that waits, close the files and let the folder go. Idempotent.

        A step that fails does not keep the others from being done; its error is raised at the end.
        """
        async with AsyncExitStack() as steps:  # done from the last to the first
            steps.callback(self._lock.release)
            steps.push_async_callback(self.journal.stop)
            for database in reversed(self.databases.values()):
                steps.push_async_callback(database.stop)
            steps.push_async_callback(self.streams.stop)
            steps.push_async_callback(self.tracks.stop)
            steps.push_async_callback(self._pruner.stop)
            steps.push_async_callback(self._space.stop)
            self._pruner.disarm()
            self._space.disarm()

    async def prune(self, now: float) -> int:
        """Remove a bounded number of rows that need not be kept; returns how many. Raises ``Unavailable``."""
        removed = await self.streams.prune(now)
        removed += await self._main.write(self._old_rows(now))
        removed += await self.looks.prune(now - self._keep.looks_s, self._keep.prune_rows_max)
        keep = self._keep
        removed += await self._safety.write(lambda c: forget_care(c, now - keep.care_s, keep.prune_rows_max))
        removed += await self._prune_incidents(now)
        removed += await self._safety.write(lambda c: forget_synthetic(c, now - keep.synthetic_s, keep.prune_rows_max))
        return removed + await self.tracks.prune(now)

    async def _prune_incidents(self, now: float) -> int:
        held = self.held(now)
        if held is None:
            return 0
        after, horizon, most = self._incidents_pruned_to, now - self._keep.incidents_s, self._keep.prune_rows_max
        kept = held
        removed, self._incidents_pruned_to = await self._safety.write(
            lambda c: forget_incidents(c, after, horizon, most, kept)
        )
        return removed

    async def _prune_again(self) -> bool:
        await self.prune(self._clock.now())
        return True

    async def _look_at_disk(self) -> bool:
        await asyncio.get_running_loop().run_in_executor(self._executor, self.reserve.look)
        return True

    def _old_rows(self, now: float) -> Callable[[Connection], int]:
        keep = self._keep

        def work(connection: Connection) -> int:
            old = _OLD_ROUNDS.all(connection, now - keep.rounds_s, _ROUNDS_PRUNED)
            _DROP_ROUND_ORDERS.change_many(connection, old)
            removed = _DROP_ROUND.change_many(connection, old)
            removed += forget_dead(connection, now - keep.webhooks_dead_s, keep.prune_rows_max)
            removed += forget_sign_outs(connection, now, keep.prune_rows_max)
            removed += forget_browser_sessions(connection, now, keep.prune_rows_max)
            return removed + _DROP_KEYS.change(connection, now - keep.idempotency_s, keep.prune_rows_max)

        return work


def open_stores(
    folder: Path,
    clock: Clock,
    ids: IdSource,
    settings: StoreSettings | None = None,
    executor: Executor | None = None,
    pen: AuditPen | None = None,
    journal: JournalSettings | None = None,
) -> Stores:
    """Lock ``folder``, make or upgrade its files, open them. Blocks; ``Stores.start`` must follow on the loop.

    Args:
        folder: Made when missing.
        clock: Tells when devices were heard and what is old.
        ids: Makes the epochs of new files.
        settings: Bounds and retention.
        executor: Only where the event loop runs executor jobs inline (the simulator's does); else None.
        pen: Writes the audit of safety; None keeps none.
        journal: Where the emergency journal is, its size and that of the reserve; None for the smallest, in ``folder``.

    Raises:
        FolderInUse: Another process has the folder.
        DatabaseTooNew: A file was written by newer code.
        Unavailable: A file cannot be read.
    """
    lock = FolderLock(folder)
    journal = journal or JournalSettings(size_mib=1, reserve_mib=0)
    try:
        place = Path(journal.folder) if journal.folder else folder
        emergency = EmergencyJournal(place, journal.size_mib, journal.alarms_share, executor)
        emergency.open()
        reserve = Reserve(folder, journal.reserve_mib)
        reserve.open()
        migrate_locked(folder, ids)
        return Stores(folder, clock, settings or StoreSettings(), emergency, reserve, executor, lock, pen)
    except BaseException:
        lock.release()
        raise
