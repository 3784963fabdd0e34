"""Reads the two reliable streams; remembers devices and what they acknowledged (``realtime.ports.StreamStore``).

Each stream lives in its own file. Devices and acknowledgements are written lazily, a second later and many at once:
losing the last second of them only repeats messages. What was removed from the outbox is always its oldest part, so a
reader can tell from ``first_seq`` whether it missed anything.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, Table, bindparam, delete, func, select, tuple_, update
from sqlalchemy.dialects.sqlite import insert

from core.clock import Clock
from core.errors import DoorstepError, Unavailable
from core.ids import DeviceId, TenantId, UserId
from core.outbox import OutboxRow, Stream
from core.principal import Principal
from realtime.ports import StreamHead
from store import schema
from store.blobs import Blob
from store.database import Database
from store.directory import Device, Directory
from store.outbox import Outbox
from store.periodic import Periodic
from store.rules import outbox_cut
from store.settings import StoreSettings
from store.statements import Statement, upsert

_WAITING_ACKS_MAX: Final = 200_000
"""Acknowledgements that wait for a database that fails; more are dropped, which only repeats messages."""
_FLUSH_ROWS: Final = 5000
_STREAMS_LOOKED_AT: Final = 500
"""Recipients that one run of the pruner looks at in each stream."""

_FORGET_DEVICES_EVERY_S: Final = 3600.0
"""Devices and acknowledgements are kept for weeks; finding the old ones reads the whole table."""

_DEVICE: Final = Blob(Device)
_PUT_DEVICE: Final = upsert(schema.devices)
_LIVING_DEVICES: Final = Statement(
    select(schema.devices.c.body).where(schema.devices.c.seen_at >= bindparam("horizon"))
)
_device_key = (schema.devices.c.tenant, schema.devices.c.user, schema.devices.c.device)
_FORGET_DEVICES: Final = Statement(
    delete(schema.devices).where(
        tuple_(*_device_key).in_(
            select(*_device_key).where(schema.devices.c.seen_at < bindparam("horizon")).limit(bindparam("n"))
        )
    )
)

_AckKey = tuple[TenantId, UserId, DeviceId]


class _AckTable:
    """Statements on one file's ``acks``, ``streams`` and ``outbox``."""

    def __init__(self, acks: Table, streams: Table, outbox: Table) -> None:
        new = insert(acks).values({column.name: bindparam(column.name) for column in acks.columns})
        self.put = Statement(
            new.on_conflict_do_update(
                index_elements=[*acks.primary_key],
                # Cumulative: one that comes late, or from before a restart, takes nothing back.
                set_={"seq": func.max(acks.c.seq, new.excluded.seq), "acked_at": new.excluded.acked_at},
            )
        )
        self.of_user = Statement(
            select(acks.c.device, acks.c.seq).where(acks.c.tenant == bindparam("t"), acks.c.user == bindparam("u"))
        )
        key = (acks.c.tenant, acks.c.user, acks.c.device)
        old = select(*key).where(acks.c.acked_at < bindparam("horizon")).limit(bindparam("n"))
        self.forget = Statement(delete(acks).where(tuple_(*key).in_(old)))
        self.next_streams = Statement(
            select(streams.c.tenant, streams.c.recipient)
            .where(
                tuple_(streams.c.tenant, streams.c.recipient) > tuple_(bindparam("t"), bindparam("r")),
                streams.c.first_seq <= streams.c.seq,
            )
            .order_by(streams.c.tenant, streams.c.recipient)
            .limit(bindparam("n"))
        )
        self.held = Statement(
            select(outbox.c.seq, outbox.c.created_at)
            .where(
                outbox.c.tenant == bindparam("t"),
                outbox.c.recipient == bindparam("r"),
                outbox.c.created_at < bindparam("horizon"),
            )
            .order_by(outbox.c.seq)
            .limit(bindparam("n"))
        )
        self.cut = Statement(
            delete(outbox).where(
                outbox.c.tenant == bindparam("t"),
                outbox.c.recipient == bindparam("r"),
                outbox.c.seq <= bindparam("s"),
            )
        )
        self.move_first = Statement(
            update(streams)
            .values(first_seq=bindparam("first"))
            .where(streams.c.tenant == bindparam("t"), streams.c.recipient == bindparam("r"))
        )


@dataclass(slots=True)
class StreamFile:
    """One stream: the file it lives in, its outbox, and what waits to be written there."""

    database: Database
    outbox: Outbox
    tables: _AckTable
    waiting_acks: dict[_AckKey, tuple[int, float]] = field(default_factory=dict)
    pruned_to: tuple[str, str] = ("", "")


def main_stream(database: Database, outbox: Outbox) -> StreamFile:
    """The stream ``main`` in ``doorstep.db``."""
    return StreamFile(database, outbox, _AckTable(schema.main_acks, schema.main_streams, schema.main_outbox))


def safety_stream(database: Database, outbox: Outbox) -> StreamFile:
    """The stream ``safety`` in ``safety.db``."""
    return StreamFile(database, outbox, _AckTable(schema.safety_acks, schema.safety_streams, schema.safety_outbox))


class SqlStreamStore:
    """``realtime.ports.StreamStore`` on the files of both streams.

    Attributes:
        acks_dropped: Acknowledgements lost because their database failed for long.
    """

    def __init__(
        self, files: Mapping[Stream, StreamFile], directory: Directory, clock: Clock, settings: StoreSettings
    ) -> None:
        self.acks_dropped = 0
        self._files = files
        self._directory = directory
        self._clock = clock
        self._keep = settings.retention
        self._flusher = Periodic("flush of acknowledgements", settings.ack_flush_interval_s, self._flush_some)
        self._forget_devices_at = 0.0

    async def start(self) -> None:
        """Load the directory of living devices and begin to write lazily. Raises ``Unavailable``."""
        horizon = self._clock.now() - self._keep.device_seen_s
        rows = await self._files[Stream.MAIN].database.read(lambda c: _LIVING_DEVICES.all(c, horizon))
        self._directory.load(_DEVICE.unpack(row[0]) for row in rows)
        self._flusher.start()

    async def stop(self) -> None:
        """Write what waits. Idempotent."""
        await self._flusher.stop()

    async def attach(
        self, who: Principal, now: float, streams: Collection[Stream] = tuple(Stream)
    ) -> dict[Stream, StreamHead]:
        """See the port."""
        self._directory.note(who, now)
        if self._directory.has_unstored:
            self._flusher.arm()
        found = await asyncio.gather(*(self._head(stream, who.tenant, who.user) for stream in streams))
        heads = {stream: head for stream, head in zip(streams, found, strict=True) if isinstance(head, StreamHead)}
        for head in found:
            if not heads and isinstance(head, Unavailable):
                raise head
        return heads

    async def _head(self, stream: Stream, tenant: TenantId, user: UserId) -> StreamHead | Unavailable:
        file = self._files[stream]
        try:
            seq, first_seq = await file.database.read(lambda c: file.outbox.head(c, tenant, user))
        except Unavailable as error:
            return error
        return StreamHead(file.database.epoch, seq, first_seq)

    async def read(
        self, tenant: TenantId, user: UserId, stream: Stream, *, after_seq: int, limit: int
    ) -> Sequence[OutboxRow]:
        """See the port."""
        file = self._files[stream]
        return await file.database.read(lambda c: file.outbox.read(c, tenant, user, after_seq=after_seq, limit=limit))

    def note_alive(self, who: Principal, now: float) -> None:
        """See the port."""
        self._directory.note_alive(who, now)
        if self._directory.has_unstored:
            self._flusher.arm()

    def note_ack(self, tenant: TenantId, user: UserId, device: DeviceId, stream: Stream, seq: int) -> None:
        """See the port. Also counts as a sign of life of the device."""
        now = self._clock.now()
        self._directory.touch(tenant, user, device, now)
        waiting = self._files[stream].waiting_acks
        key = (tenant, user, device)
        known = waiting.get(key)
        if known is None and len(waiting) >= _WAITING_ACKS_MAX:
            self.acks_dropped += 1
            return
        if known is None or seq > known[0]:
            waiting[key] = (seq, now)
        self._flusher.arm()

    async def flush(self) -> None:
        """Write all waiting acknowledgements and devices now. Raises ``Unavailable``."""
        while await self._flush_some():
            pass

    async def _flush_some(self) -> bool:
        """Write a bounded part of what waits, each stream by itself; returns whether more waits."""
        failure: DoorstepError | None = None
        for stream, file in self._files.items():
            try:
                await self._flush_file(file, with_devices=stream is Stream.MAIN)
            except DoorstepError as error:
                failure = error  # the other stream's file must not wait for this one
        if failure is not None:
            raise failure
        return self._directory.has_unstored or any(file.waiting_acks for file in self._files.values())

    async def _flush_file(self, file: StreamFile, *, with_devices: bool) -> None:
        acks = {key: file.waiting_acks.pop(key) for key in list(file.waiting_acks)[:_FLUSH_ROWS]}
        devices = self._directory.take_unstored(_FLUSH_ROWS) if with_devices else ()
        if not acks and not devices:
            return

        def work(connection: Connection) -> None:
            file.tables.put.change_many(connection, [(*key, seq, at) for key, (seq, at) in acks.items()])
            _PUT_DEVICE.change_many(
                connection, [(d.tenant, d.user, d.device, d.seen_at, _DEVICE.pack(d)) for d in devices]
            )

        try:
            await file.database.write(work)
        except DoorstepError:
            self._directory.put_back(devices)
            for key, ack in acks.items():
                file.waiting_acks.setdefault(key, ack)
            raise

    # -- retention ------------------------------------------------------------------------------------

    async def prune(self, now: float) -> int:
        """Remove a bounded number of rows that need not be kept; returns how many messages went.

        Looks at the next recipients in key order, so that every one has its turn.
        """
        await self.flush()  # an acknowledgement that waits would keep rows for a cycle longer
        removed = 0
        for file in self._files.values():
            removed += await self._prune_stream(file, now)
        self._directory.forget(now, limit=self._keep.prune_rows_max)
        if now >= self._forget_devices_at:
            self._forget_devices_at = now + _FORGET_DEVICES_EVERY_S
            await self._forget_devices(now)
        return removed

    async def _prune_stream(self, file: StreamFile, now: float) -> int:
        tables = file.tables
        horizon = now - self._keep.outbox_s

        def look(connection: Connection) -> list[tuple[TenantId, UserId, dict[str, int], list[tuple[int, float]]]]:
            found = []
            for tenant, user in tables.next_streams.all(connection, *file.pruned_to, _STREAMS_LOOKED_AT):
                rows = tables.held.all(connection, tenant, user, horizon, self._keep.prune_rows_max)
                acks: dict[str, int] = dict(tables.of_user.all(connection, tenant, user)) if rows else {}
                found.append((tenant, user, acks, [(seq, created_at) for seq, created_at in rows]))
            return found

        cuts: list[tuple[TenantId, UserId, int]] = []
        budget = self._keep.prune_rows_max
        looked_at = await file.database.read(look)
        for tenant, user, acks, rows in looked_at:
            living = [acks.get(device, 0) for device in self._directory.living(tenant, user, now)]
            rows = rows[:budget]
            cut = outbox_cut(rows, living, self._keep, now)
            if cut:
                cuts.append((tenant, user, cut))
                budget -= sum(1 for seq, _ in rows if seq <= cut)
            file.pruned_to = (tenant, user)
            if budget <= 0:
                break
        else:
            if len(looked_at) < _STREAMS_LOOKED_AT:
                file.pruned_to = ("", "")
        if not cuts:
            return 0

        def remove(connection: Connection) -> int:
            tables.move_first.change_many(connection, [(cut + 1, tenant, user) for tenant, user, cut in cuts])
            return tables.cut.change_many(connection, cuts)

        return await file.database.write(remove)

    async def _forget_devices(self, now: float) -> None:
        horizon = now - self._keep.device_s
        for stream, file in self._files.items():
            with_devices = stream is Stream.MAIN

            def work(connection: Connection, file: StreamFile = file, with_devices: bool = with_devices) -> None:
                file.tables.forget.change(connection, horizon, self._keep.prune_rows_max)
                if with_devices:
                    _FORGET_DEVICES.change(connection, horizon, self._keep.prune_rows_max)

            await file.database.write(work)
