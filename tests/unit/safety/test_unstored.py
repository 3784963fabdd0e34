"""Changes on their way to the disk: taken apart and joined without loss."""

from dataclasses import fields, replace

from core.ids import IncidentId, TenantId, UserId
from safety.model import SubjectRecord
from safety.ports import JournalEntry, SafetyChanges
from safety.unstored import Batch, join, parts_of, to_replay
from tests.unit.safety.neighbourhood import engine_in, fix_at, person, tap, town

KNOWN = {"incidents", "triggers", "events", "pages", "facts", "subjects"}
"""Fields that ``parts_of`` and ``join`` know; a new one must be told to both, or it is lost while the disk is away."""


def turns(*keys: str) -> list[SafetyChanges]:
    engine = engine_in(town())
    found = []
    for key in keys:
        tap(engine, who=person(f"cus_{key[0]}"), key=key, fix=fix_at())
        found.append(engine.take_changes())
    return found


def test_every_field_of_the_changes_is_known() -> None:
    assert {field.name for field in fields(SafetyChanges)} == KNOWN


def test_parts_hold_what_the_batch_held() -> None:
    one, two = turns("a", "b")
    for changes in (one, two):
        (incident,) = changes.incidents.values()
        person_of = (incident.tenant, incident.subject)
        changes.subjects[person_of] = SubjectRecord(*person_of, wrong_pins=(1.0,))
    batch = Batch(
        SafetyChanges(
            {**one.incidents, **two.incidents}, one.triggers + two.triggers, one.events + two.events,
            {**one.pages, **two.pages}, one.facts + two.facts, {**one.subjects, **two.subjects},
        )
    )  # fmt: skip
    parts = list(parts_of(batch).values())
    assert [part.changes for part in parts] == [one, two]


def test_said_twice_is_said_once() -> None:
    (once,) = turns("a")
    (again,) = turns("a")
    record = SubjectRecord(TenantId("acme"), UserId("cus_a"), false_accidents=1)
    again.subjects[record.tenant, record.user] = record
    batch = Batch(once)
    join(batch, Batch(again))
    assert batch.changes.subjects == again.subjects
    assert replace(batch.changes, subjects={}) == turns("a")[0]


def test_what_is_stored_at_a_version_is_not_replayed() -> None:
    first, second, third = turns("a1", "a2", "a3")
    entries = [JournalEntry(changes, (), 1.0) for changes in (first, second, third)]
    (incident_id,) = first.incidents
    for stored in range(5):
        batches, gaps = to_replay(entries, {incident_id: stored}, {})
        assert [b.changes.incidents[incident_id].version for b in batches] == list(range(stored + 1, 4))
        assert gaps == set()
        assert all(batch.attempts and not batch.unjournaled for batch in batches)


def test_a_lost_version_is_closed_up_and_named() -> None:
    _, second, third = turns("a1", "a2", "a3")
    (incident_id,) = second.incidents
    batches, gaps = to_replay([JournalEntry(c, (), 1.0) for c in (second, third)], {}, {})
    assert [b.changes.incidents[incident_id].version for b in batches] == [1, 2]
    assert gaps == {incident_id}
    seqs = {incident_id: max(event.seq for event in third.events)}
    again, _ = to_replay([JournalEntry(c, (), 1.0) for c in (second, third)], {incident_id: 2}, seqs)
    assert again == []


def test_an_incident_id_of_nowhere_is_not_invented() -> None:
    batches, gaps = to_replay([JournalEntry(SafetyChanges(), (), 1.0)], {IncidentId("inc_1"): 3}, {})
    assert (batches, gaps) == ([], set())
