"""Evidence stays while an incident is active and for ``hold_days`` after; ops can hold it longer, or let go of it."""

from dataclasses import replace
from math import inf

import pytest

from core.errors import Invalid, Unavailable
from core.ids import OrderId, UserId
from safety.holds import DAY_S, Holds
from safety.model import CapStatus, Incident, IncidentState
from store.memory_evidence import MemoryHoldStore
from tests.contract.store_values import NOW, TENANT, make_incident

OPS, ORDER = UserId("ops_1"), OrderId("ord_1")


def active() -> Incident:
    return replace(make_incident(), state=IncidentState.OPEN, order_id=ORDER)


def ended(at: float) -> Incident:
    return replace(active(), state=IncidentState.RESOLVED, changed_at=at)


async def holds(store: MemoryHoldStore | None = None) -> Holds:
    made = Holds(store or MemoryHoldStore(dict), 30.0)
    await made.load(NOW)
    return made


async def test_an_incident_holds_itself_and_its_order_while_it_is_active_and_for_a_while_after() -> None:
    found = await holds()
    incident = active()
    jobs = frozenset({(str(TENANT), str(incident.incident_id)), (str(TENANT), str(ORDER))})
    assert found.jobs(NOW) == frozenset()
    found.incident_changed(incident)
    assert found.jobs(NOW + 400 * DAY_S) == jobs
    found.incident_changed(ended(NOW))
    assert found.is_held(TENANT, ORDER, NOW + 29.9 * DAY_S)
    assert found.jobs(NOW + 29.9 * DAY_S) == jobs
    assert not found.is_held(TENANT, ORDER, NOW + 30.1 * DAY_S)
    assert found.jobs(NOW + 30.1 * DAY_S) == frozenset()
    assert not found.is_held(TENANT, OrderId("ord_2"), NOW)


async def test_ops_hold_for_longer_and_let_go_earlier_but_never_of_an_active_incident() -> None:
    found = await holds()
    incident = active()
    found.incident_changed(incident)
    with pytest.raises(Invalid) as caught:
        await found.mark(incident, OPS, "no need", NOW, hold=False)
    assert caught.value.code == "incident_active"
    over = ended(NOW)
    found.incident_changed(over)
    assert await found.mark(over, OPS, "court", NOW, hold=True) == inf
    assert found.is_held(TENANT, ORDER, NOW + 4_000 * DAY_S)
    assert await found.mark(over, OPS, "the case is closed", NOW + DAY_S, hold=False) is None
    assert not found.is_held(TENANT, ORDER, NOW + DAY_S)
    found.incident_changed(replace(incident, version=3))  # it was opened again
    assert found.is_held(TENANT, ORDER, NOW + DAY_S)


async def test_what_is_held_is_known_again_after_a_restart_and_until_it_is_read_everything_is_held() -> None:
    known = {(TENANT, i.incident_id): i for i in (active(),)}
    store = MemoryHoldStore(lambda: known)
    found = await holds(store)
    assert found.is_held(TENANT, ORDER, NOW)
    known.clear()
    over = ended(NOW)
    await found.mark(over, OPS, "court", NOW, hold=True)
    again = Holds(store, 30.0)
    assert again.jobs(NOW) is None
    await again.load(NOW)
    jobs = frozenset({(str(TENANT), str(over.incident_id)), (str(TENANT), str(ORDER))})
    assert again.jobs(NOW + 4_000 * DAY_S) == jobs


async def test_a_mark_that_cannot_be_stored_changes_nothing() -> None:
    store = MemoryHoldStore(dict)
    found = await holds(store)
    store.faults.fail_commits(1)
    with pytest.raises(Unavailable):
        await found.mark(ended(NOW - 40 * DAY_S), OPS, "court", NOW, hold=True)
    assert found.jobs(NOW) == frozenset()


@pytest.mark.parametrize("cap_status", [CapStatus.EXERCISE, CapStatus.TEST])
async def test_a_drill_or_a_test_holds_nothing(cap_status: CapStatus) -> None:
    found = await holds()
    found.incident_changed(replace(active(), cap_status=cap_status))
    assert found.jobs(NOW) == frozenset()
    assert not found.is_held(TENANT, ORDER, NOW)


async def test_every_order_that_an_incident_had_to_do_with_is_held_also_after_a_restart() -> None:
    incident = replace(active(), order_id=OrderId("ord_2"), orders=(ORDER, OrderId("ord_3")))
    store = MemoryHoldStore(lambda: {(TENANT, incident.incident_id): incident})
    for found in (await holds(store), await holds(store)):
        assert all(found.is_held(TENANT, OrderId(order), NOW + DAY_S) for order in ("ord_1", "ord_2", "ord_3"))
    over = replace(incident, state=IncidentState.RESOLVED, changed_at=NOW)
    found.incident_changed(over)
    await found.mark(over, OPS, "court", NOW, hold=True)
    again = Holds(store, 0.0)
    await again.load(NOW + DAY_S)
    assert all(again.is_held(TENANT, OrderId(order), NOW + DAY_S) for order in ("ord_1", "ord_2", "ord_3"))
