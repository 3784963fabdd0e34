"""What the store costs: transactions per second by group size, and a safety commit beside a busy ``doorstep.db``.

Run: ``python -m bench.store``. The figures go into docs/adr/0004 and docs/benchmarks.md; they depend on the disk.
"""

import asyncio
import itertools
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.ids import CityId, IncidentId, OfferId, OrderId, TenantId, UserId
from core.outbox import OutboxDraft, Stream
from core.shard import Shard
from dispatch.model import Mode, Offer, OfferState, Order, OrderEvent, OrderState, Site
from dispatch.ports import DispatchChanges
from geo.point import LatLng
from safety.model import Incident, IncidentEvent, IncidentState, Target
from safety.ports import SafetyChanges
from store.sqlite import Stores, open_stores

NOW = 1_790_000_000.0
TENANT, CITY = TenantId("acme"), CityId("shanghai")
SHARD = Shard(TENANT, CITY)
SECONDS_EACH = 4.0
BODY = (
    b'{"type":"offer","offer":"ofr_0123456789abcdef","remaining_ms":20000,"why":"nearest","pad":"' + b"x" * 200 + b'"}'
)


class WallClock:
    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return time.perf_counter()


class CountedIds:
    def __init__(self) -> None:
        self._count = itertools.count()

    def new(self, prefix: str) -> str:
        return f"{prefix}{next(self._count):016x}"


def _order(name: str) -> Order:
    point = LatLng(31.2, 121.5)
    return Order(
        tenant=TENANT, city=CITY, order_id=OrderId(f"ord_{name}"), version=1, state=OrderState.MATCHING,
        mode=Mode.AUTO, customer=UserId(f"cus_{name}"), service="thai", skills=("thai",), duration_s=3600.0,
        site=Site(point, point, "wgs84", "200 Renmin Avenue, Huangpu"), contact_name="Li Lei",
        contact_phone="13800000000", gender_preference=None, service_fen=29_900, travel_fen=1_500, placed_at=NOW,
        changed_at=NOW, placed_by=UserId("s"),
    )  # fmt: skip


def _offer(name: str) -> Offer:
    return Offer(
        tenant=TENANT, city=CITY, offer_id=OfferId(f"ofr_{name}"), order_id=OrderId(f"ord_{name}"),
        technician=UserId(f"tec_{hash(name) % 500}"), version=1, state=OfferState.PENDING, offered_at=NOW,
        expires_at=NOW + 20, changed_at=NOW, round_id="rnd_1", cost_s=400.0, travel_s=300.0, distance_m=1200.0,
    )  # fmt: skip


def _accepted(order: Order, offer: Offer) -> tuple[DispatchChanges, list[OutboxDraft]]:
    """The turn that an accept makes: order and offer updated, one event and one message added."""
    changes = DispatchChanges()
    changes.orders[order.order_id] = replace(order, version=2, state=OrderState.ASSIGNED, technician=offer.technician)
    changes.offers[offer.offer_id] = replace(offer, version=2, state=OfferState.ACCEPTED)
    changes.events.append(OrderEvent(TENANT, order.order_id, 1, NOW, "accepted", offer.technician, OrderState.ASSIGNED))
    return changes, [OutboxDraft(TENANT, order.customer, Stream.MAIN, BODY)]


async def _prepare(stores: Stores, names: Sequence[str]) -> list[tuple[Order, Offer]]:
    pairs = [(_order(name), _offer(name)) for name in names]
    for at in range(0, len(pairs), 500):
        changes = DispatchChanges()
        for order, offer in pairs[at : at + 500]:
            changes.orders[order.order_id] = order
            changes.offers[offer.offer_id] = offer
        await stores.dispatch.commit(SHARD, changes, [], NOW)
    return pairs


async def _throughput(folder: Path, group: int) -> dict[str, float]:
    """Services that each commit and wait, ``group`` of them at once."""
    stores = open_stores(folder, WallClock(), CountedIds())
    await stores.start()
    pairs = iter(await _prepare(stores, [f"{n:08x}" for n in range(5000 + group * 250)]))
    done = 0
    begun, cpu_begun = time.perf_counter(), time.process_time()
    transactions = stores.databases["doorstep.db"].writer.counters.transactions

    async def service() -> None:
        nonlocal done
        for order, offer in pairs:
            if time.perf_counter() - begun > SECONDS_EACH:
                return
            changes, drafts = _accepted(order, offer)
            await stores.dispatch.commit(SHARD, changes, drafts, NOW)
            done += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(group):
            tasks.create_task(service())
    took_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu_begun
    fsyncs = stores.databases["doorstep.db"].writer.counters.transactions - transactions
    await stores.stop()
    return {
        "per_s": round(done / took_s),
        "per_cpu_s": round(done / cpu_s),
        "jobs_per_fsync": round(done / max(fsyncs, 1), 1),
    }


async def _safety_beside_load(folder: Path) -> dict[str, float]:
    """Latency of an SOS's commit while ``doorstep.db`` is written as fast as it goes."""
    stores = open_stores(folder, WallClock(), CountedIds())
    await stores.start()
    pairs = iter(await _prepare(stores, [f"{n:08x}" for n in range(20_000)]))
    stopping = False
    done = 0

    async def service() -> None:
        nonlocal done
        for order, offer in pairs:
            if stopping:
                return
            changes, drafts = _accepted(order, offer)
            await stores.dispatch.commit(SHARD, changes, drafts, NOW)
            done += 1

    latencies_ms: list[float] = []
    begun = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(service())
        while time.perf_counter() - begun < SECONDS_EACH:
            changes, drafts = _raised(f"{len(latencies_ms):08x}")
            at = time.perf_counter()
            await stores.safety.commit(changes, drafts, NOW)
            latencies_ms.append((time.perf_counter() - at) * 1000)
            await _pause(0.003)
        stopping = True
    took_s = time.perf_counter() - begun
    await stores.stop()
    latencies_ms.sort()
    return {
        "p50": round(latencies_ms[len(latencies_ms) // 2], 2),
        "p99": round(latencies_ms[int(len(latencies_ms) * 0.99)], 2),
        "max": round(latencies_ms[-1], 2),
        "dispatch_per_s": round(done / took_s),
    }


def _raised(name: str) -> tuple[SafetyChanges, list[OutboxDraft]]:
    incident_id = IncidentId(f"inc_{name}")
    targets = tuple(Target(UserId(f"res_{n}"), "nearest", 0) for n in range(5))
    incident = Incident(
        tenant=TENANT, city=CITY, incident_id=incident_id, version=1, state=IncidentState.OPEN, level=0,
        subject=UserId("tec_1"), subject_role="technician", raised_at=NOW, changed_at=NOW, silent=False,
        restricted=False, triggers=1, last_trigger_at=NOW, fix=None, order_id=None, note="", targets=targets,
        repeat_at=NOW + 15, widen_at=NOW + 30,
    )  # fmt: skip
    changes = SafetyChanges(incidents={incident_id: incident})
    changes.events.append(IncidentEvent(TENANT, incident_id, 1, NOW, "raised", "tec_1", IncidentState.OPEN, 0))
    return changes, [OutboxDraft(TENANT, target.user, Stream.SAFETY, BODY) for target in targets]


async def _pause(seconds: float) -> None:
    waited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, waited.set_result, None)
    await waited


async def _measure(folder: Path) -> dict[str, Any]:
    return {
        "store_commits_per_s": {str(group): await _throughput(folder / str(group), group) for group in (1, 10, 100)},
        "safety_commit_beside_load_ms": await _safety_beside_load(folder / "safety"),
    }


def main() -> dict[str, Any]:
    """Measure for about 20 s on the disk of the temporary folder."""
    try:
        import uvloop  # absent on some platforms
    except ImportError:
        run = asyncio.run
    else:
        run = uvloop.run
    with tempfile.TemporaryDirectory(prefix="doorstep-bench-") as folder:
        return run(_measure(Path(folder)))


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
