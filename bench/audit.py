"""What the audit costs an SOS: the commit of one incident with it and without, on the same disk.

Run: ``python -m bench.audit`` (about 10 s).
"""

import asyncio
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from safety.audit import AuditKeys, AuditPen
from server.system import random_key
from store.sqlite import open_stores
from tests.contract.store_values import (
    NOW,
    CountedIds,
    ManualClock,
    make_incident,
    make_incident_event,
    make_trigger,
    safety_changes,
)

COMMITS = 2_000


async def measure(pen: AuditPen | None) -> list[float]:
    """Milliseconds of each of many commits, one after the other."""
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        stores = open_stores(Path(folder), ManualClock(), CountedIds(), pen=pen)
        await stores.start()
        took_ms = []
        for number in range(COMMITS):
            name = str(number)
            incident, event = replace(make_incident(name), version=1), make_incident_event(name)
            began = time.perf_counter()
            await stores.safety.commit(safety_changes(incident, make_trigger(name, name), event), [], NOW)
            took_ms.append((time.perf_counter() - began) * 1_000)
        await stores.stop()
    return took_ms


def main() -> dict[str, Any]:
    """p50 and p99 of both, the second of two runs each."""
    pen = AuditPen(AuditKeys([random_key(32)]), lambda: random_key(16))
    found = {}
    for name, with_pen in (("without", None), ("with", pen), ("without", None), ("with", pen)):
        took_ms = asyncio.run(measure(with_pen))
        found[name] = {
            "p50_ms": round(statistics.median(took_ms), 3),
            "p99_ms": round(statistics.quantiles(took_ms, n=100)[98], 3),
        }
        print(name, found[name])
    return {"audit": found}


if __name__ == "__main__":
    main()
