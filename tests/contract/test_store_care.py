from dataclasses import replace
from pathlib import Path

import pytest

from core.ids import IncidentId, OrderId, UserId
from core.outbox import Stream
from geo.point import LatLng
from safety.care_model import Alarm, Answer, Cause, Check, CheckKind, CheckState, Gravity, Watch, WatchId, Way
from safety.care_ports import CareChanges, CareState
from safety.drills import Drill, DrillId, DrillState
from safety.trips import Trip, TripId, hashed
from store.settings import RetentionSettings, StoreSettings
from store.sqlite import open_stores
from tests.contract.conftest import Node
from tests.contract.store_values import CITY, NOW, TENANT, CountedIds, ManualClock, make_draft
from tests.unit.safety.careful_street import a_job


def make_watch(name: str = "1", version: int = 1, **facts: object) -> Watch:
    check = Check(
        f"chk_{name}",
        CheckKind.CHECK_IN,
        CheckState.UNCONFIRMED,
        (UserId("tec_1"), UserId("cus_1")),
        remind_at=NOW,
        ask_at=NOW + 1,
        unconfirmed_at=NOW + 2,
        panic_at=NOW + 3,
        at=LatLng(31.2, 121.4),
        said=((UserId("cus_1"), Answer.NO),),
        changed_at=NOW,
    )
    alarm = Alarm(
        "chk_1_unconfirmed", check.check_id, UserId("tec_1"), Cause.CHECKIN_MISSED, Gravity.UNCONFIRMED, NOW, NOW + 5
    )
    point = LatLng(31.0, 121.0)
    watch = Watch(
        WatchId(f"wch_{name}"),
        a_job(tenant=TENANT),
        version,
        NOW,
        checks=(check,),
        alarms=(alarm,),
        way=Way(point, point, NOW, NOW, known=(point,)),
        quiet_until={CheckKind.STOP: NOW + 9},
        lost_at=NOW,
    )
    return replace(watch, **facts)  # type: ignore[arg-type]  # a wrong name raises at once


def changes(*watches: Watch) -> CareChanges:
    return CareChanges({watch.watch_id: watch for watch in watches})


async def load(node: Node) -> CareState:
    return await node.stores.care.load(NOW, drills_since=NOW - 100)


async def test_what_is_loaded_equals_what_was_committed_also_after_reopening(node: Node) -> None:
    watch = make_watch()
    rows = await node.stores.care.commit(changes(watch), [make_draft("tec_1", stream=Stream.SAFETY)], NOW)
    assert [(row.seq, row.stream, row.created_at) for row in rows] == [(1, Stream.SAFETY, NOW)]
    for _ in range(2):
        assert list((await load(node)).watches) == [watch]
        await node.reopen()


async def test_a_watch_is_loaded_until_it_has_ended_and_its_alarms_are_known_to_be_stored(node: Node) -> None:
    watch = make_watch()
    ended = replace(watch, version=2, ended_at=NOW + 10)
    await node.stores.care.commit(changes(watch, make_watch("2")), [], NOW)
    await node.stores.care.commit(changes(ended), [], NOW)
    assert [w.watch_id for w in (await load(node)).watches] == [
        "wch_1",
        "wch_2",
    ]
    told = replace(ended, version=3, alarms=(replace(watch.alarms[0], incident=IncidentId("inc_1")),))
    await node.stores.care.commit(changes(told), [], NOW)
    assert [w.watch_id for w in (await load(node)).watches] == ["wch_2"]


async def test_an_older_version_never_replaces_a_newer_one(node: Node) -> None:
    for version in (1, 3, 2):
        await node.stores.care.commit(changes(make_watch(version=version, lost_at=float(version))), [], NOW)
    assert [(w.version, w.lost_at) for w in (await load(node)).watches] == [(3, 3.0)]


async def test_a_batch_with_a_message_of_another_stream_stores_nothing(node: Node) -> None:
    with pytest.raises(ValueError, match="main"):
        await node.stores.care.commit(changes(make_watch()), [make_draft("tec_1")], NOW)
    assert (await load(node)).watches == []


async def test_numbers_are_shared_with_incidents_because_the_stream_is_one(node: Node) -> None:
    drafts = [make_draft("tec_1", stream=Stream.SAFETY)]
    seqs = [(await node.stores.care.commit(changes(make_watch(version=n)), drafts, NOW))[0].seq for n in (1, 2)]
    assert seqs == [1, 2]


def make_trip(name: str = "1", expires_at: float = NOW + 60, version: int = 1) -> Trip:
    return Trip(
        TENANT,
        TripId(f"trp_{name}"),
        OrderId("ord_1"),
        CITY,
        UserId("cus_1"),
        is_customer=True,
        token_hash=hashed(name),
        contact="妈妈",
        shared_at=NOW,
        expires_at=expires_at,
        version=version,
        views=version,
    )


def make_drill(name: str = "1", asked_at: float = NOW, version: int = 1) -> Drill:
    state = DrillState.PASSED
    return Drill(
        TENANT, DrillId(f"drl_{name}"), UserId("tec_1"), CITY, state, asked_at, asked_at + 9, version, NOW, 1.5
    )


async def test_links_and_drills_are_loaded_while_they_stand(node: Node) -> None:
    trips, drills = [make_trip(), make_trip("old", NOW)], [make_drill(), make_drill("old", NOW - 101)]
    stored = CareChanges({}, {t.trip_id: t for t in trips}, {d.drill_id: d for d in drills})
    await node.stores.care.commit(stored, [], NOW)
    newer = CareChanges({}, {TripId("trp_1"): make_trip(version=2)}, {DrillId("drl_1"): make_drill(version=2)})
    await node.stores.care.commit(newer, [], NOW)
    await node.stores.care.commit(stored, [], NOW)
    await node.reopen()
    state = await load(node)
    assert (list(state.trips), list(state.drills)) == ([make_trip(version=2)], [make_drill(version=2)])


async def test_what_ended_long_ago_is_removed_and_nothing_else(tmp_path: Path) -> None:
    clock = ManualClock()
    stores = open_stores(tmp_path, clock, CountedIds(), StoreSettings(retention=RetentionSettings(care_s=60.0)))
    await stores.start()
    over = replace(make_watch("over"), ended_at=NOW, alarms=())
    changes = CareChanges(
        {w.watch_id: w for w in (make_watch(), over)},
        {t.trip_id: t for t in (make_trip("over", NOW), make_trip("later", NOW + 1_000))},
        {d.drill_id: d for d in (make_drill("over"), make_drill("later", NOW + 1_000))},
    )
    await stores.care.commit(changes, [], NOW)
    await stores.prune(NOW + 61)
    state = await stores.care.load(0.0, drills_since=0.0)
    await stores.stop()
    assert [w.watch_id for w in state.watches] == ["wch_1"]
    assert [t.trip_id for t in state.trips] == ["trp_later"]
    assert [d.drill_id for d in state.drills] == ["drl_later"]
