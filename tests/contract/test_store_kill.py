"""kill -9 at random moments: whatever was answered is there afterwards, numbered without gaps."""

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import Unavailable
from core.ids import OrderId, UserId
from core.outbox import Stream
from dispatch.listing import ListFilter
from store.sqlite import open_stores
from tests.contract.store_values import (
    NOW,
    SHARD,
    TENANT,
    CountedIds,
    ManualClock,
    changes_of,
    make_draft,
    make_event,
    make_incident,
    make_order,
    safety_changes,
)

_ROOT = Path(__file__).parents[2]


async def commit_for_ever(folder: Path, life: str) -> None:
    """Commit from several sides at once and print each id once its commit has returned."""
    stores = open_stores(folder, ManualClock(), CountedIds())
    await stores.start()

    async def orders(side: int) -> None:
        for n in range(1_000_000):
            name = f"{life}-{side}-{n}"
            drafts = [make_draft("tec_1", name.encode()), make_draft(f"cus_{side}", name.encode())]
            try:
                await stores.dispatch.commit(
                    SHARD, changes_of(make_order(name, version=1 + (n % 5 == 4)), make_event(name)), drafts, NOW
                )
            except Unavailable:
                continue  # every fifth is refused, so that savepoints are rolled back under fire
            print(f"ord_{name}", flush=True)

    async def incidents() -> None:
        for n in range(1_000_000):
            name = f"{life}-{n}"
            await stores.safety.commit(
                safety_changes(make_incident(name)), [make_draft("ops_1", name.encode(), Stream.SAFETY)], NOW
            )
            print(f"inc_{name}", flush=True)

    async with asyncio.TaskGroup() as group:
        for side in range(4):
            group.create_task(orders(side))
        group.create_task(incidents())


def live_and_die(folder: Path, life: str, after_lines: int, rng: random.Random) -> list[str]:
    """Run it, kill it some moments after its n-th answer, and return every id that it had printed."""
    program = (
        "import asyncio, pathlib\nfrom tests.contract.test_store_kill import commit_for_ever\n"
        f"asyncio.run(commit_for_ever(pathlib.Path({str(folder)!r}), {life!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = [process.stdout.readline().strip() for _ in range(after_lines)]
        for _ in range(rng.randrange(20_000)):
            pass  # up to about a millisecond, to fall into any phase of a commit
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
    # A line without its end was not fully printed, but what it names may be there.
    printed.extend(line for line in rest[: rest.rfind("\n") + 1].splitlines())
    assert all(line.startswith(("ord_", "inc_")) for line in printed)
    return printed


async def look(folder: Path, printed: set[str]) -> None:
    stores = open_stores(folder, ManualClock(), CountedIds())
    await stores.start()
    incidents = {i.incident_id for i in await stores.safety.incidents(TENANT, limit=1_000_000)}
    orders = {o.order_id for o in await stores.listings.orders(TENANT, ListFilter(), limit=1_000_000)}
    assert printed <= orders | incidents
    for stream, user, known in (
        (Stream.MAIN, "tec_1", {order_id[4:] for order_id in orders}),
        (Stream.SAFETY, "ops_1", {incident_id[4:] for incident_id in incidents}),
    ):
        rows = await stores.streams.read(TENANT, UserId(user), stream, after_seq=0, limit=1_000_000)
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
        assert sorted(row.body.decode() for row in rows) == sorted(known)
    for order_id in list(orders)[:50]:
        assert len(await stores.dispatch.events(TENANT, OrderId(order_id))) == 1
    await stores.stop()


async def kill_and_look(folder: Path, times: int) -> None:
    rng = random.Random(20_260_101)
    printed: set[str] = set()
    for life in range(times):
        lines = live_and_die(folder, str(life), rng.randrange(1, 200), rng)
        assert lines
        assert not printed & set(lines)
        printed |= set(lines)
        await look(folder, printed)


@pytest.mark.slow
async def test_everything_answered_survives_five_kills(tmp_path: Path) -> None:
    await kill_and_look(tmp_path / "data", 5)


@pytest.mark.full
@pytest.mark.timeout(600)
async def test_everything_answered_survives_fifty_kills(tmp_path: Path) -> None:
    await kill_and_look(tmp_path / "data", 50)
