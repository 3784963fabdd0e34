"""What ends by age and who is to be forgotten: nothing of them stays, nothing that is held goes, the audit is sound."""

import sqlite3
from contextlib import closing
from pathlib import Path

from click.testing import CliRunner

from cli.main import main
from core.ids import IncidentId, OrderId, UserId
from safety.audit import AuditKeys, AuditPen, fact_entry
from safety.care_ports import CareChanges
from safety.contacts import Contact
from safety.drills import Drill, DrillId, DrillState
from safety.looks import Look, LookKind, audit_entry
from safety.model import IncidentState, SubjectRecord
from safety.ports import SafetyChanges
from safety.profiles import Profile
from safety.trips import Trip, TripId
from store.settings import RetentionSettings, StoreSettings
from store.sqlite import Stores, open_stores
from tests.contract.store_values import (
    NOW,
    SHARD,
    TENANT,
    CountedIds,
    ManualClock,
    make_incident,
    make_incident_event,
    safety_changes,
)

SECRET = "an audit key of thirty-two bytes or more"
TEC, TEC_2 = UserId("tec_1"), UserId("tec_2")
DAY_S = 86_400.0


async def opened(folder: Path, keep: RetentionSettings | None = None) -> Stores:
    pen = AuditPen(AuditKeys([SECRET.encode()]), lambda: b"0123456789abcdef")
    settings = StoreSettings(retention=keep or RetentionSettings())
    stores = open_stores(folder, ManualClock(), CountedIds(), settings, pen=pen)
    await stores.start()
    return stores


async def ended(stores: Stores, name: str) -> IncidentId:
    """Store an incident that ended at ``NOW``."""
    incident = make_incident(name, version=1, state=IncidentState.RESOLVED)
    await stores.safety.commit(safety_changes(incident, make_incident_event(name, 1)), [], NOW)
    return incident.incident_id


def looked_at(subject: str) -> Look:
    return Look(TENANT, subject, UserId("ops_1"), "ops", LookKind.TRACK, "ord_1", NOW, NOW, reason="canary-reason")


def a_trip(name: str, sharer: UserId) -> Trip:
    order_id = OrderId(f"ord_{name}")
    return Trip(TENANT, TripId(f"trp_{name}"), order_id, SHARD.city, sharer, True, name, "Mum", NOW, NOW + 600)


def rows(folder: Path, table: str, where: str = "1 = 1") -> int:
    with closing(sqlite3.connect(folder / "safety.db")) as file:
        return int(file.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0])  # noqa: S608 - ours


def verified(folder: Path) -> str:
    """What ``doorstep audit verify`` says; it must find the audit sound."""
    anchors = folder.parent / "elsewhere.jsonl"
    anchors.touch()
    environ = {"DOORSTEP_AUDIT_KEY": SECRET, "DOORSTEP__DATA_FOLDER": str(folder)}
    told = CliRunner().invoke(main, ["audit", "verify", "--anchors", str(anchors)], env=environ)
    assert told.exit_code == 0, told.output
    return told.output


async def test_nothing_of_an_incident_stays_after_its_time_and_nothing_that_is_held_goes(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    keep = RetentionSettings(prune_rows_max=2)
    stores = await opened(folder, keep)
    names = [await ended(stores, name) for name in ("1", "2", "3", "4", "5")]
    running = make_incident("9", version=1, state=IncidentState.OPEN)
    await stores.safety.commit(safety_changes(running, make_incident_event("9", 1)), [], NOW)
    held = frozenset({(str(TENANT), str(names[0])), (str(TENANT), str(names[1]))})
    stores.held = lambda _now: held
    changed_at = (await stores.safety.incidents_of(TENANT, running.subject))[0].changed_at
    await stores.prune(changed_at + keep.incidents_s - 1)
    assert rows(folder, "incidents") == 6
    stores.held = lambda _now: None
    await stores.prune(changed_at + keep.incidents_s + 1)
    assert rows(folder, "incidents") == 6, "what is held is not known yet: nothing goes"
    stores.held = lambda _now: held
    for _ in range(6):
        await stores.prune(changed_at + keep.incidents_s + 1)
    left = {one.incident_id for one in await stores.safety.incidents(TENANT)}
    assert left == {names[0], names[1], running.incident_id}
    for table in ("incident_events", "triggers", "pages"):
        assert [rows(folder, table, f"incident_id = '{name}'") for name in names[2:]] == [0, 0, 0]
    stores.held = lambda _now: frozenset()
    for _ in range(3):
        await stores.prune(changed_at + keep.incidents_s + 1)
    assert [one.incident_id for one in await stores.safety.incidents(TENANT)] == [running.incident_id]
    await stores.stop()
    assert "5 erased" in verified(folder)


async def test_a_way_ends_after_thirty_days_and_looks_after_a_year(tmp_path: Path) -> None:
    stores = await opened(tmp_path / "data")
    columns = {n: [NOW] for n in ("fixed_at", "received_at")} | {
        n: [1.0] for n in ("lat", "lng", "accuracy_m", "speed_mps", "heading_deg")
    }
    for job in ("ord_1", "inc_held"):
        stores.tracks.append(SHARD, TEC, job, columns)
    await stores.tracks.flush()
    await stores.looks.add([looked_at(TEC)], [])
    stores.tracks.held = lambda _now: frozenset({(str(TENANT), "inc_held")})

    async def left() -> tuple[int, int, int]:
        found = await stores.looks.of(TENANT, [TEC], before=NOW + 1, limit=9)
        return (
            len(await stores.tracks.track(TENANT, "ord_1")),
            len(found),
            len(await stores.tracks.track(TENANT, "inc_held")),
        )

    for days, expected in ((30, (1, 1, 1)), (31, (0, 1, 1)), (365, (0, 1, 1)), (366, (0, 0, 1))):
        await stores.prune(NOW + days * DAY_S)
        assert await left() == expected, days
    await stores.stop()


async def test_of_who_is_erased_only_the_audits_rows_stay_and_they_are_sound(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    stores = await opened(folder)
    incident, other = await ended(stores, "1"), await ended(stores, "2")
    profile = Profile(TENANT, Contact(TEC, "canary-name", "canary-phone"), changed_at=NOW)
    await stores.profiles.put(profile, fact_entry(TENANT, NOW, TEC, "profile.changed", TEC, {"changed": ["contact"]}))
    for subject in (TEC, "tec_2"):
        await stores.looks.add([looked_at(subject)], [audit_entry(looked_at(subject))])
    drills = [
        Drill(TENANT, DrillId(f"drl_{user}"), user, SHARD.city, DrillState.PASSED, NOW, NOW) for user in (TEC, TEC_2)
    ]
    trips = [a_trip("1", TEC), a_trip("held", TEC), a_trip("2", TEC_2)]
    care = CareChanges(trips={trip.trip_id: trip for trip in trips}, drills={drill.drill_id: drill for drill in drills})
    await stores.care.commit(care, [], NOW)
    subjects = SafetyChanges(subjects={(TENANT, user): SubjectRecord(TENANT, user, (NOW,)) for user in (TEC, TEC_2)})
    await stores.safety.commit(subjects, [], NOW)
    entry = fact_entry(TENANT, NOW, "ops_1", "person.erased", TEC, {"incidents": 1})
    await stores.profiles.erase(TENANT, TEC, [incident], {(TENANT, "ord_held")}, entry)
    left = await stores.care.load(NOW, drills_since=NOW)
    assert [drill.user for drill in left.drills] == [TEC_2]
    assert sorted(trip.order_id for trip in left.trips) == ["ord_2", "ord_held"], "what is held stays"
    assert [record.user for record in (await stores.safety.load(settled_since=NOW)).subjects] == [TEC_2]
    assert [one.incident_id for one in await stores.safety.incidents(TENANT)] == [other]
    assert await stores.profiles.load() == []
    assert await stores.looks.of(TENANT, [TEC], before=NOW + 1, limit=9) == []
    assert len(await stores.looks.of(TENANT, ["tec_2"], before=NOW + 1, limit=9)) == 1
    await stores.stop()
    # Two events, a profile, two looks and the erasure; the event, the profile and the look of the person are erased.
    assert "6 rows sound, 3 erased" in verified(folder)
