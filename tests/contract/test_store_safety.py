import asyncio
from dataclasses import replace

import pytest

from core.errors import Unavailable
from core.ids import CityId, IncidentId, UserId
from core.outbox import Stream
from safety.model import CapStatus, IncidentState, SubjectRecord
from tests.contract.conftest import Node
from tests.contract.store_values import (
    CITY,
    NOW,
    OTHER_TENANT,
    TENANT,
    make_draft,
    make_incident,
    make_incident_event,
    make_page,
    make_trigger,
    safety_changes,
)


async def test_what_is_loaded_equals_what_was_committed_also_after_reopening(node: Node) -> None:
    incident, trigger, event = make_incident(), make_trigger(), make_incident_event()
    rows = await node.stores.safety.commit(
        safety_changes(incident, trigger, event), [make_draft("ops_1", stream=Stream.SAFETY, receipt="inc_1")], NOW
    )
    assert [(row.seq, row.stream, row.receipt, row.created_at) for row in rows] == [(1, Stream.SAFETY, "inc_1", NOW)]
    for _ in range(2):
        state = await node.stores.safety.load(settled_since=NOW)
        assert list(state.incidents) == [incident]
        assert list(state.triggers) == [trigger]
        assert state.event_seqs == {incident.incident_id: 1}
        assert await node.stores.safety.incident(TENANT, incident.incident_id) == incident
        assert list(await node.stores.safety.events(TENANT, incident.incident_id)) == [event]
        held = await node.stores.streams.read(TENANT, UserId("ops_1"), Stream.SAFETY, after_seq=0, limit=9)
        assert list(held) == list(rows)
        await node.reopen()


async def test_pages_are_kept_by_recipient_and_loaded_with_their_incident(node: Node) -> None:
    store, page = node.stores.safety, make_page()
    await store.commit(safety_changes(make_incident(), make_trigger(), make_incident_event(), page), [], NOW)
    later = replace(page, round=2, hops=page.hops[:1])
    await store.commit(safety_changes(later), [], NOW)  # a channel's news come without the incident
    await store.commit(safety_changes(make_page("ops_0")), [], NOW)
    for _ in range(2):
        assert list(await store.pages(TENANT, page.incident_id)) == [make_page("ops_0"), later]
        assert list((await store.load(settled_since=NOW)).pages) == [make_page("ops_0"), later]
        assert list(await store.pages(OTHER_TENANT, page.incident_id)) == []
        await node.reopen()
        store = node.stores.safety
    closed = replace(make_incident(), version=2, state=IncidentState.CLOSED)
    await store.commit(safety_changes(closed), [], NOW)
    assert list((await store.load(settled_since=NOW)).pages) == []
    assert len(await store.pages(TENANT, page.incident_id)) == 2


async def test_what_is_kept_of_a_person_outlives_their_incidents(node: Node) -> None:
    store, incident = node.stores.safety, make_incident()
    record = SubjectRecord(TENANT, incident.subject, wrong_pins=(NOW,))
    await store.commit(safety_changes(incident, record), [], NOW)
    later = replace(record, wrong_pins=(NOW, NOW + 1), false_accidents=1)
    closed = replace(incident, version=2, state=IncidentState.CLOSED)
    await store.commit(safety_changes(closed, later), [], NOW)
    for _ in range(2):
        assert list((await node.stores.safety.load(settled_since=NOW)).subjects) == [later]
        await node.reopen()


async def test_closed_incidents_are_not_loaded_but_can_be_read(node: Node) -> None:
    incident = make_incident()
    await node.stores.safety.commit(safety_changes(incident, make_trigger(), make_incident_event()), [], NOW)
    resolved = replace(incident, version=2, state=IncidentState.RESOLVED)
    await node.stores.safety.commit(safety_changes(resolved), [], NOW)
    assert list((await node.stores.safety.load(settled_since=NOW)).incidents) == [resolved]
    closed = replace(incident, version=3, state=IncidentState.CLOSED)
    await node.stores.safety.commit(safety_changes(closed), [], NOW)
    state = await node.stores.safety.load(settled_since=NOW)
    assert (list(state.incidents), list(state.triggers), state.event_seqs) == ([], [], {})
    assert await node.stores.safety.incident(TENANT, incident.incident_id) == closed
    assert await node.stores.safety.incident(OTHER_TENANT, incident.incident_id) is None


async def test_a_tap_is_found_by_its_person_and_key_also_when_its_incident_is_closed(node: Node) -> None:
    store, incident, trigger = node.stores.safety, make_incident(), make_trigger()
    await store.commit(safety_changes(incident, trigger), [], NOW)
    closed = replace(incident, version=2, state=IncidentState.CLOSED)
    await store.commit(safety_changes(closed), [], NOW)
    who, at = incident.subject, trigger.received_at
    for _ in range(2):
        assert await node.stores.safety.known_tap(TENANT, who, trigger.key, since=at) == (closed, trigger)
        assert await node.stores.safety.known_tap(TENANT, who, trigger.key, since=at + 1) is None
        assert await node.stores.safety.known_tap(TENANT, who, "other", since=at) is None
        assert await node.stores.safety.known_tap(TENANT, UserId("cus_other"), trigger.key, since=at) is None
        assert await node.stores.safety.known_tap(OTHER_TENANT, who, trigger.key, since=at) is None
        await node.reopen()


async def test_what_may_hold_evidence_is_real_and_active_or_ended_lately(node: Node) -> None:
    for n, (status, at) in enumerate(
        ((CapStatus.ACTUAL, NOW), (CapStatus.TEST, NOW), (CapStatus.EXERCISE, NOW), (CapStatus.ACTUAL, NOW - 2))
    ):
        incident = make_incident(str(n), cap_status=status)
        await node.stores.safety.commit(safety_changes(incident), [], NOW)
        ended = replace(incident, version=2, state=IncidentState.CLOSED, changed_at=at)
        await node.stores.safety.commit(safety_changes(ended), [], NOW)
    await node.stores.safety.commit(safety_changes(make_incident("4")), [], NOW)
    for _ in range(2):
        found, _ = await node.stores.holds.load(settled_since=NOW - 1)
        assert sorted(incident.incident_id for incident in found) == ["inc_0", "inc_4"]
        await node.reopen()


async def test_what_is_loaded_does_not_grow_with_what_was_resolved_long_ago(node: Node) -> None:
    day_s = 86_400.0
    for n in range(30):
        incident, at = make_incident(str(n)), NOW + n * day_s
        await node.stores.safety.commit(
            safety_changes(incident, make_trigger(str(n), str(n)), make_incident_event(str(n))), [], at
        )
        ended = replace(incident, version=2, state=IncidentState.RESOLVED, changed_at=at)
        await node.stores.safety.commit(safety_changes(ended), [], at)
    old = make_incident("old", raised_at=NOW - 400 * day_s, changed_at=NOW - 400 * day_s)
    await node.stores.safety.commit(safety_changes(old), [], NOW)
    state = await node.stores.safety.load(settled_since=NOW + 28 * day_s)
    assert [i.incident_id for i in state.incidents] == ["inc_28", "inc_29", "inc_old"]
    assert [t.incident_id for t in state.triggers] == ["inc_28", "inc_29"]
    assert state.event_seqs == {"inc_28": 1, "inc_29": 1}
    assert await node.stores.safety.incident(TENANT, IncidentId("inc_3")) is not None


async def test_an_incident_is_written_only_over_the_version_before(node: Node) -> None:
    incident = make_incident()
    await node.stores.safety.commit(safety_changes(incident), [], NOW)
    with pytest.raises(Unavailable, match="incident inc_1 is stored at version 1") as caught:
        await node.stores.safety.commit(
            safety_changes(replace(incident, version=3), make_trigger()),
            [make_draft("ops_1", stream=Stream.SAFETY)],
            NOW,
        )
    assert caught.value.code == "store_conflict"
    assert await node.stores.safety.incident(TENANT, incident.incident_id) == incident
    assert list((await node.stores.safety.load(settled_since=NOW)).triggers) == []


async def test_one_failing_incident_leaves_its_neighbours_and_the_numbers_whole(node: Node) -> None:
    results = await asyncio.gather(
        *(
            node.stores.safety.commit(
                safety_changes(make_incident(str(n), version=1 + (n == 2))),
                [make_draft("ops_1", stream=Stream.SAFETY)],
                NOW,
            )
            for n in range(5)
        ),
        return_exceptions=True,
    )
    assert [isinstance(result, Unavailable) for result in results] == [False, False, True, False, False]
    seqs = [row.seq for result in results if not isinstance(result, BaseException) for row in result]
    assert sorted(seqs) == [1, 2, 3, 4]


async def test_a_message_of_the_main_stream_is_refused(node: Node) -> None:
    with pytest.raises(ValueError, match="main"):
        await node.stores.safety.commit(safety_changes(make_incident()), [make_draft()], NOW)
    assert await node.stores.safety.incident(TENANT, IncidentId("inc_1")) is None


async def test_incidents_are_listed_newest_first_in_pages_with_those_without_a_city(node: Node) -> None:
    incidents = [
        make_incident("a", raised_at=NOW + 1),
        make_incident("b", raised_at=NOW + 2, city=None),
        make_incident("c", raised_at=NOW + 3, city=CityId("suzhou")),
        make_incident("d", raised_at=NOW + 3),
    ]
    await node.stores.safety.commit(safety_changes(*incidents), [], NOW)
    find = node.stores.safety.incidents
    assert [i.incident_id for i in await find(TENANT)] == ["inc_d", "inc_c", "inc_b", "inc_a"]
    mine = await find(TENANT, cities=frozenset({CITY}), limit=2)
    assert [i.incident_id for i in mine] == ["inc_d", "inc_b"]
    rest = await find(TENANT, cities=frozenset({CITY}), before=(mine[-1].raised_at, mine[-1].incident_id))
    assert [i.incident_id for i in rest] == ["inc_a"]
    assert [i.incident_id for i in await find(TENANT, cities=frozenset())] == ["inc_b"]
    assert list(await find(OTHER_TENANT)) == []


async def test_a_trigger_without_its_incident_or_seen_before_fails_the_batch(node: Node) -> None:
    with pytest.raises(ValueError, match="without the incident"):
        await node.stores.safety.commit(safety_changes(make_trigger()), [], NOW)
    incident = make_incident()
    await node.stores.safety.commit(safety_changes(incident, make_trigger()), [], NOW)
    with pytest.raises(Unavailable) as caught:
        await node.stores.safety.commit(safety_changes(replace(incident, version=2), make_trigger()), [], NOW)
    assert caught.value.code == "store_conflict"
    assert await node.stores.safety.incident(TENANT, incident.incident_id) == incident
