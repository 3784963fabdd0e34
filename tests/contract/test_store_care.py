from dataclasses import replace

import pytest

from core.ids import IncidentId, UserId
from core.outbox import Stream
from geo.point import LatLng
from safety.care_model import Alarm, Answer, Cause, Check, CheckKind, CheckState, Gravity, Watch, WatchId, Way
from safety.care_ports import CareChanges
from tests.contract.conftest import Node
from tests.contract.store_values import NOW, TENANT, make_draft
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


async def test_what_is_loaded_equals_what_was_committed_also_after_reopening(node: Node) -> None:
    watch = make_watch()
    rows = await node.stores.care.commit(changes(watch), [make_draft("tec_1", stream=Stream.SAFETY)], NOW)
    assert [(row.seq, row.stream, row.created_at) for row in rows] == [(1, Stream.SAFETY, NOW)]
    for _ in range(2):
        assert list((await node.stores.care.load()).watches) == [watch]
        await node.reopen()


async def test_a_watch_is_loaded_until_it_has_ended_and_its_alarms_are_known_to_be_stored(node: Node) -> None:
    watch = make_watch()
    ended = replace(watch, version=2, ended_at=NOW + 10)
    await node.stores.care.commit(changes(watch, make_watch("2")), [], NOW)
    await node.stores.care.commit(changes(ended), [], NOW)
    assert [w.watch_id for w in (await node.stores.care.load()).watches] == ["wch_1", "wch_2"]
    told = replace(ended, version=3, alarms=(replace(watch.alarms[0], incident=IncidentId("inc_1")),))
    await node.stores.care.commit(changes(told), [], NOW)
    assert [w.watch_id for w in (await node.stores.care.load()).watches] == ["wch_2"]


async def test_an_older_version_never_replaces_a_newer_one(node: Node) -> None:
    for version in (1, 3, 2):
        await node.stores.care.commit(changes(make_watch(version=version, lost_at=float(version))), [], NOW)
    assert [(w.version, w.lost_at) for w in (await node.stores.care.load()).watches] == [(3, 3.0)]


async def test_a_batch_with_a_message_of_another_stream_stores_nothing(node: Node) -> None:
    with pytest.raises(ValueError, match="main"):
        await node.stores.care.commit(changes(make_watch()), [make_draft("tec_1")], NOW)
    assert (await node.stores.care.load()).watches == []


async def test_numbers_are_shared_with_incidents_because_the_stream_is_one(node: Node) -> None:
    drafts = [make_draft("tec_1", stream=Stream.SAFETY)]
    seqs = [(await node.stores.care.commit(changes(make_watch(version=n)), drafts, NOW))[0].seq for n in (1, 2)]
    assert seqs == [1, 2]
