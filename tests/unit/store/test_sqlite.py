import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from core.errors import Unavailable
from core.ids import DeviceId, UserId
from core.outbox import Stream
from dispatch.ports import DispatchChanges
from safety import synthetic
from safety.model import IncidentState
from store.blobs import Blob
from store.settings import RetentionSettings, StoreSettings, TrackSettings, WriterSettings
from store.sqlite import Stores, open_stores
from store.track_points import LastPosition
from tests.contract.store_values import (
    CITY,
    NOW,
    SHARD,
    TENANT,
    CountedIds,
    ManualClock,
    changes_of,
    make_draft,
    make_incident,
    make_incident_event,
    make_key,
    make_order,
    make_page,
    make_principal,
    make_round,
    make_trigger,
    safety_changes,
)

TEC, PHONE = UserId("tec_1"), DeviceId("phone")
COLUMNS = {
    name: [NOW] if name.endswith("_at") else [1.0]
    for name in ("fixed_at", "received_at", "lat", "lng", "accuracy_m", "speed_mps", "heading_deg")
}


class InlineExecutor(Executor):
    """Runs a job where it is submitted, as the simulator's loop does."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


async def opened(folder: Path, clock: ManualClock | None = None, **changes: Any) -> Stores:
    executor = changes.pop("executor", None)
    stores = open_stores(folder, clock or ManualClock(), CountedIds(), replace(StoreSettings(), **changes), executor)
    await stores.start()
    return stores


async def test_everything_works_in_one_thread_where_the_loop_runs_jobs_inline(tmp_path: Path) -> None:
    stores = await opened(tmp_path, executor=InlineExecutor())
    await stores.streams.attach(make_principal(), NOW)
    rows = await stores.dispatch.commit(SHARD, changes_of(make_order()), [make_draft()], NOW)
    stores.tracks.append(SHARD, TEC, "ord_1", COLUMNS)
    stores.streams.note_ack(TENANT, TEC, PHONE, Stream.MAIN, 1)
    await stores.stop()
    again = await opened(tmp_path, executor=InlineExecutor())
    assert list(await again.streams.read(TENANT, TEC, Stream.MAIN, after_seq=0, limit=9)) == list(rows)
    assert len(await again.tracks.track(TENANT, "ord_1")) == 1
    await again.stop()


async def test_readers_cannot_write(tmp_path: Path) -> None:
    stores = await opened(tmp_path)

    def write(connection: Connection) -> None:
        connection.exec_driver_sql("DELETE FROM outbox")

    with pytest.raises(Unavailable, match=r"readonly|read-only"):
        await stores.databases["doorstep.db"].read(write)
    await stores.stop()


async def test_acknowledgements_wait_for_a_database_that_is_locked(tmp_path: Path) -> None:
    clock = ManualClock()
    stores = await opened(tmp_path, clock, writer=WriterSettings(busy_timeout_s=0.01), ack_flush_interval_s=60.0)
    await stores.streams.attach(make_principal(), NOW)
    await stores.dispatch.commit(SHARD, DispatchChanges(), [make_draft()] * 3, NOW)
    await stores.streams.flush()
    stores.streams.note_ack(TENANT, TEC, PHONE, Stream.MAIN, 2)
    stores.streams.note_ack(TENANT, TEC, PHONE, Stream.SAFETY, 7)
    backup = sqlite3.connect(tmp_path / "doorstep.db", isolation_level=None)
    backup.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        await stores.streams.flush()
    safety = sqlite3.connect(tmp_path / "safety.db")
    assert safety.execute("SELECT seq FROM acks").fetchall() == [(7,)]  # the other file did not wait
    safety.close()
    stores.streams.note_ack(TENANT, TEC, PHONE, Stream.MAIN, 3)
    backup.execute("ROLLBACK")
    await stores.streams.flush()
    assert backup.execute("SELECT seq FROM acks").fetchall() == [(3,)]
    backup.close()
    await stores.stop()


async def test_positions_that_do_not_fit_are_dropped_oldest_first_and_counted(tmp_path: Path) -> None:
    bounds = TrackSettings(flush_interval_s=60.0, flush_rows=10, buffer_rows_max=10)
    stores = await opened(tmp_path, tracks=bounds)
    stored: list[int] = []
    for n in range(25):
        at = {name: [NOW + n] for name in ("fixed_at", "received_at")}
        stores.tracks.append(SHARD, TEC, "ord_1", COLUMNS | at, lambda n=n: stored.append(n))  # type: ignore[misc]
    assert (stores.tracks.dropped_rows, stores.tracks.waiting) == (15, 10)
    await stores.tracks.flush()
    assert stored == list(range(15, 25))
    assert [point.fixed_at for point in await stores.tracks.track(TENANT, "ord_1")] == [NOW + n for n in range(15, 25)]
    await stores.stop()


async def test_positions_wait_in_order_while_their_database_fails(tmp_path: Path) -> None:
    stores = await opened(
        tmp_path, writer=WriterSettings(busy_timeout_s=0.01), tracks=TrackSettings(flush_interval_s=60.0)
    )
    stored: list[str] = []
    stores.tracks.append(SHARD, TEC, "ord_1", COLUMNS, lambda: stored.append("first"))
    stores.tracks.note_last(LastPosition(TENANT, CITY, TEC, NOW, NOW, 1.0, 2.0, 3.0))
    backup = sqlite3.connect(tmp_path / "tracks.db", isolation_level=None)
    backup.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        await stores.tracks.flush()
    assert (stored, stores.tracks.waiting) == ([], 1)
    stores.tracks.append(SHARD, TEC, "ord_1", COLUMNS, lambda: stored.append("second"))
    backup.execute("ROLLBACK")
    backup.close()
    await stores.tracks.flush()
    assert (stored, stores.tracks.stored_rows) == (["first", "second"], 2)
    assert len(await stores.tracks.last_positions(SHARD)) == 1
    await stores.stop()


async def test_old_rounds_keys_and_positions_are_removed_a_few_at_a_time(tmp_path: Path) -> None:
    keep = RetentionSettings(prune_rows_max=2)
    stores = await opened(tmp_path, retention=keep)
    rounds = [make_round(str(n), ("1", "2"), at=NOW + n) for n in range(3)]
    keys = [make_key(f"k{n}", at=NOW) for n in range(3)]
    await stores.dispatch.commit(SHARD, changes_of(*rounds, *keys), [], NOW)
    for _ in range(3):
        stores.tracks.append(SHARD, TEC, "ord_1", COLUMNS)
    await stores.tracks.flush()
    assert await stores.prune(NOW + keep.idempotency_s + 1) == 2
    assert await stores.prune(NOW + keep.rounds_s + 1.5) == 3  # the last key and two rounds
    assert [stored.round_id for stored in await stores.dispatch.rounds(TENANT, make_order().order_id)] == ["rnd_2"]
    assert await stores.prune(NOW + keep.tracks_s + 1) == 3
    assert len(await stores.tracks.track(TENANT, "ord_1")) == 1
    await stores.stop()


async def test_of_the_sos_of_nobody_the_last_day_is_kept_and_every_one_of_people(tmp_path: Path) -> None:
    keep = RetentionSettings()
    stores = await opened(tmp_path, retention=keep)
    ended: dict[str, object] = {"state": IncidentState.RESOLVED, "targets": ()}
    cases: dict[str, dict[str, object]] = {
        "old": {"tenant": synthetic.TENANT, **ended},
        "late": {"tenant": synthetic.TENANT, **ended, "changed_at": NOW + 60},
        "open": {"tenant": synthetic.TENANT},
        "real": ended,
    }
    for name, changes in cases.items():
        incident = make_incident(name, **changes)
        event, page = make_incident_event(name), make_page(incident=name)
        parts = (replace(event, tenant=incident.tenant), replace(page, tenant=incident.tenant))
        await stores.safety.commit(safety_changes(incident, make_trigger(name, name), *parts), [], NOW)

    async def left(table: str) -> list[str]:
        query = f"SELECT incident_id FROM {table} ORDER BY incident_id"  # noqa: S608 - of the names below
        return await stores.databases["safety.db"].read(lambda c: [row[0] for row in c.exec_driver_sql(query).all()])

    assert await stores.prune(NOW + keep.synthetic_s - 1) == 0
    assert await stores.prune(NOW + keep.synthetic_s + 1) == 1
    for table in ("incidents", "triggers", "incident_events", "pages"):
        assert await left(table) == ["inc_late", "inc_open", "inc_real"], table
    assert await stores.prune(NOW + keep.synthetic_s + 61) == 1
    assert await left("incidents") == ["inc_open", "inc_real"]
    await stores.stop()


async def test_devices_and_acknowledgements_unheard_for_long_are_forgotten(tmp_path: Path) -> None:
    clock = ManualClock()
    stores = await opened(tmp_path, clock)
    await stores.streams.attach(make_principal(), NOW)
    stores.streams.note_ack(TENANT, TEC, PHONE, Stream.MAIN, 1)
    await stores.prune(NOW)
    keep = RetentionSettings()
    await stores.prune(NOW + keep.device_s + 3601)
    count = await stores.databases["doorstep.db"].read(
        lambda c: c.exec_driver_sql("SELECT (SELECT count(*) FROM acks) + (SELECT count(*) FROM devices)").scalar()
    )
    assert count == 0
    await stores.stop()


async def test_stopping_writes_what_waits_and_lets_the_folder_go(tmp_path: Path) -> None:
    stores = await opened(tmp_path)
    stores.tracks.append(SHARD, TEC, "ord_1", COLUMNS)
    await stores.streams.attach(make_principal(), NOW)
    await stores.stop()
    await stores.stop()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "doorstep.db",
        "lock",
        "safety.db",
        "safety.journal",
        "tracks.db",
    ]
    again = await opened(tmp_path)
    assert len(again.directory) == 1
    assert len(await again.tracks.track(TENANT, "ord_1")) == 1
    await again.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_blob_that_cannot_be_read_is_told_as_such() -> None:
    blob = Blob(type(make_order()))
    assert blob.unpack(blob.pack(make_order())) == make_order()
    with pytest.raises(Unavailable, match="stored Order") as caught:
        blob.unpack(b"\x81")
    assert caught.value.code == "store_corrupt"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: WriterSettings(queue_len_max=0), "queue_len_max must be between 1 and"),
        (lambda: RetentionSettings(outbox_unread_s=60.0), "outbox_unread_s must be at least"),
        (lambda: TrackSettings(buffer_rows_max=1), "buffer_rows_max must be between 2000"),
        (lambda: StoreSettings(ack_flush_interval_s=0), "must be between"),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


async def test_a_part_that_cannot_stop_does_not_keep_the_files_open_and_the_folder_locked(tmp_path: Path) -> None:
    stores = await opened(tmp_path)
    stop = stores.tracks.stop

    async def broken() -> None:
        await stop()
        raise ValueError("a defect")

    stores.tracks.stop = broken  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="a defect"):
        await stores.stop()
    again = await opened(tmp_path)
    await again.stop()


async def test_positions_that_somebody_holds_stay_and_do_not_keep_the_others(tmp_path: Path) -> None:
    keep = RetentionSettings(prune_rows_max=3)
    stores = await opened(tmp_path, retention=keep)
    jobs = ("free", "held", "held", "held", "free", "free")
    columns = {name: values[:1] for name, values in COLUMNS.items()}
    for job in jobs:
        stores.tracks.append(SHARD, TEC, job, columns)
    await stores.tracks.flush()
    late = NOW + keep.tracks_s + 1_000
    stores.tracks.held = lambda _now: None  # nobody knows: everything stays
    assert await stores.tracks.prune(late) == 0
    stores.tracks.held = lambda _now: frozenset({(str(TENANT), "held")})
    assert [await stores.tracks.prune(late) for _ in range(4)] == [1, 2, 0, 0]
    assert [point.order for point in await stores.tracks.track(TENANT, "held")] == ["held"] * 3
    stores.tracks.held = lambda _now: frozenset()  # let go
    assert sum([await stores.tracks.prune(late) for _ in range(3)]) == 3
    await stores.stop()
