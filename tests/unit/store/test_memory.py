import asyncio

import pytest

from core.errors import Unavailable
from dispatch.ports import DispatchChanges
from store.memory import MemoryStores
from tests.contract.store_values import (
    NOW,
    SHARD,
    TENANT,
    CountedIds,
    ManualClock,
    changes_of,
    make_draft,
    make_order,
    make_principal,
)


@pytest.fixture
def stores() -> MemoryStores:
    return MemoryStores(ManualClock(), CountedIds())


async def test_a_commit_told_to_fail_stores_nothing(stores: MemoryStores) -> None:
    stores.dispatch.faults.fail_commits()
    with pytest.raises(Unavailable):
        await stores.dispatch.commit(SHARD, changes_of(make_order()), [make_draft()], NOW)
    assert await stores.dispatch.order(TENANT, make_order().order_id) is None
    rows = await stores.dispatch.commit(SHARD, changes_of(make_order()), [make_draft()], NOW)
    assert [row.seq for row in rows] == [1]


async def test_a_commit_of_unknown_outcome_may_have_stored(stores: MemoryStores) -> None:
    stores.dispatch.faults.fail_commits(stored_anyway=True)
    with pytest.raises(Unavailable):
        await stores.dispatch.commit(SHARD, changes_of(make_order()), [make_draft()], NOW)
    assert await stores.dispatch.order(TENANT, make_order().order_id) == make_order()
    rows = await stores.dispatch.commit(SHARD, DispatchChanges(), [make_draft()], NOW)
    assert [row.seq for row in rows] == [2]


async def test_a_held_commit_waits_for_release(stores: MemoryStores) -> None:
    stores.dispatch.faults.hold()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(stores.dispatch.commit(SHARD, changes_of(make_order()), [], NOW))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.shield(task)
        stores.dispatch.faults.release()
    assert stores.dispatch.faults.commits == 1


async def test_reads_fail_when_told(stores: MemoryStores) -> None:
    for faults in stores.streams.faults.values():
        faults.fail_reads()
    with pytest.raises(Unavailable):
        await stores.streams.attach(make_principal(), NOW)
    await stores.streams.attach(make_principal(), NOW)
