"""Whom an SOS reaches, on one core: ``python -m bench.responders``.

Ten thousand technicians on duty in one city (50 per square kilometre), of whom one in five has agreed to be asked and
40 are responders; half of the phones were heard in the last minute, half have a job. Timed is all that one ring of an
SOS looks up at each level, with blocks between the person and 20 of the technicians; CPU time of the thread.
"""

import gc
import json
import time
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from bench.knn import NOW, build
from core.ids import CityId, IncidentId, TenantId, UserId
from geo.point import LatLng
from geo.position_index import Flag
from safety.escalation import find_targets
from safety.model import FixSource, Incident, IncidentFix, IncidentState
from safety.ports import Surroundings
from safety.settings import SafetySettings
from server.surroundings import CitySurroundings

PEOPLE = 10_000
TENANT, CITY = TenantId("demo"), CityId("shenzhen")


class _Around(CitySurroundings):
    """Without a directory of staff: ops are one look-up in it, whatever the number of technicians."""

    def ops(self, tenant: TenantId, city: CityId | None) -> list[UserId]:
        return [UserId("ops_1")]


def surroundings(rng: np.random.Generator) -> tuple[Surroundings, float]:
    """One city; returns it and its side in degrees of latitude."""
    index, side_deg = build(PEOPLE, rng)
    index.seen_at[:PEOPLE] = NOW - rng.random(PEOPLE) * 120.0
    index.accuracy_m[:PEOPLE] = 5.0 + rng.random(PEOPLE) * 100.0
    index.flags[:PEOPLE] |= int(Flag.CONNECTED)
    index.flags[np.flatnonzero(rng.random(PEOPLE) < 0.2)] |= int(Flag.HELPER)
    index.flags[np.flatnonzero(rng.random(PEOPLE) < 0.5)] |= int(Flag.BUSY)
    index.flags[rng.choice(PEOPLE, 40, replace=False)] |= int(Flag.RESPONDER)
    blocks = {UserId("cus_1"): {index.user(slot) for slot in range(20)}}
    dispatch = SimpleNamespace(barred=lambda user: blocks.get(user, ()))
    part = SimpleNamespace(positions=SimpleNamespace(index=index), dispatch=dispatch)
    cities = SimpleNamespace(of=lambda tenant: [part], get=lambda tenant, city: part)
    contacts = SimpleNamespace(consents=lambda tenant, user: True)
    nothing = cast(Any, None)
    around = _Around(cast(Any, cities), nothing, nothing, nothing, nothing, nothing, cast(Any, contacts), nothing)
    return around, side_deg


def incident_at(point: LatLng, level: int) -> Incident:
    """An SOS without any history."""
    return Incident(
        tenant=TENANT, city=CITY, incident_id=IncidentId("inc_1"), version=1, state=IncidentState.OPEN, level=level,
        subject=UserId("cus_1"), subject_role="customer", raised_at=NOW, changed_at=NOW, silent=False,
        restricted=False, triggers=1, last_trigger_at=NOW, fix=IncidentFix(point, 20.0, NOW, FixSource.SOS),
        order_id=None, note="", targets=(), repeat_at=None, widen_at=None,
    )  # fmt: skip


def main() -> dict[str, Any]:
    """Microseconds of the CPU at p50 and p99, and how many are named."""
    gc.disable()  # the server makes no full collections either
    rng = np.random.default_rng(1)
    around, side_deg = surroundings(rng)
    settings, figures = SafetySettings(), dict[str, Any]()
    for level, rounds in ((0, 1_000), (1, 500), (2, 200), (3, 100)):
        times, named = np.empty(rounds), 0
        for nth in range(rounds):
            point = LatLng(22.5 + rng.random() * side_deg, 113.8 + rng.random() * side_deg)
            begin = time.thread_time()
            found = find_targets(around, settings, incident_at(point, level), NOW)
            times[nth] = time.thread_time() - begin
            assert found.failures == ()
            named = len({target.user for target in found.targets})
        p50, p99 = np.percentile(times, [50, 99]) * 1e6
        figures[f"level_{level}"] = {"p50_us": round(float(p50)), "p99_us": round(float(p99)), "named": named}
    return {"responders": figures}


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
