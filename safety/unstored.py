"""Turns that the database has not taken yet: in which order, what is promised of them, what may be joined. Pure.

A turn is promised when the database has it or the emergency journal holds it. The journal holds turns as they were
decided; here the changes of an incident may be joined while the database is away. Both say the same: changes of one
incident with one version are one change, and the later one has the incident as it became.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.ids import IncidentId, TenantId, UserId
from core.outbox import OutboxDraft, OutboxRow
from safety.model import Incident
from safety.ports import JournalEntry, SafetyChanges

Draft = tuple[tuple[TenantId, UserId, IncidentId, str], OutboxDraft]
"""A message with what a newer one of its kind makes needless: recipient, incident, receipt."""


def draft_of(incident_id: IncidentId, draft: OutboxDraft) -> Draft:
    """A message of an incident with its key."""
    return (draft.tenant, draft.recipient, incident_id, draft.receipt), draft


@dataclass(slots=True, eq=False, kw_only=True)
class Storable:
    """A turn's changes on their way to the disk.

    Attributes:
        rows: Its numbered messages, once it is stored.
        sent_direct: Its messages went out without stream numbers, and go out again with them.
        on_tried: Called after each attempt, whatever came of it.
    """

    rows: Sequence[OutboxRow] | None = None
    sent_direct: bool = False
    on_tried: Callable[[], None] = field(default=lambda: None)


@dataclass(slots=True, eq=False)
class Batch(Storable):
    """Changes on their way to the disk: of one turn, or of one incident of several turns."""

    changes: SafetyChanges
    drafts: Sequence[Draft] = ()
    attempts: int = 0
    """Above 0 nobody knows whether it is stored already: nothing may be joined to it any more."""
    unjournaled: set[int] = field(default_factory=set)
    """Numbers of the turns in it that the journal does not hold; without one it is promised."""

    def entry(self, at: float) -> JournalEntry:
        """The same for the journal."""
        return JournalEntry(self.changes, [(key[2], draft) for key, draft in self.drafts], at)


def parts_of(batch: Batch) -> dict[IncidentId, Batch]:
    """A batch taken apart by incident, so that one whose changes cannot be stored holds no other."""
    parts: dict[IncidentId, Batch] = {}

    def part(incident_id: IncidentId) -> Batch:
        if incident_id not in parts:
            parts[incident_id] = Batch(SafetyChanges(), [])
        return parts[incident_id]

    for incident in batch.changes.incidents.values():
        part(incident.incident_id).changes.incidents[incident.incident_id] = incident
    for trigger in batch.changes.triggers:
        part(IncidentId(trigger.incident_id)).changes.triggers.append(trigger)
    for event in batch.changes.events:
        part(event.incident_id).changes.events.append(event)
    for called, page in batch.changes.pages.items():
        part(page.incident_id).changes.pages[called] = page
    for fact in batch.changes.facts:
        part(IncidentId(fact.subject)).changes.facts.append(fact)
    for person, record in batch.changes.subjects.items():
        its = next(i for i in batch.changes.incidents.values() if (i.tenant, i.subject) == person)
        part(its.incident_id).changes.subjects[person] = record
    for key, draft in batch.drafts:
        mine = part(key[2])
        mine.drafts = [*mine.drafts, (key, draft)]
    return parts


def join(earlier: Batch, later: Batch) -> None:
    """Add what came later to the same version of the same incident. Said twice is said once."""
    changes, added = earlier.changes, later.changes
    changes.incidents.update(added.incidents)
    taps = {trigger.trigger_id for trigger in changes.triggers}
    changes.triggers.extend(trigger for trigger in added.triggers if trigger.trigger_id not in taps)
    lines = {(event.incident_id, event.seq) for event in changes.events}
    changes.events.extend(event for event in added.events if (event.incident_id, event.seq) not in lines)
    changes.pages.update(added.pages)
    changes.subjects.update(added.subjects)
    changes.facts.extend(fact for fact in added.facts if fact not in changes.facts)
    newer = {key for key, _ in later.drafts}
    earlier.drafts = [kept for kept in earlier.drafts if kept[0] not in newer] + list(later.drafts)


class Unstored:
    """The batches that wait, in the order in which they must be stored."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._batches: deque[Batch] = deque()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        """In order; of those that wait now."""
        return iter(list(self._batches))

    def add(self, batch: Batch) -> None:
        """It waits behind all others."""
        self._batches.append(batch)

    def remove(self, batch: Batch) -> None:
        """It is stored."""
        self._batches.remove(batch)

    def join(self, turn: Batch, number_as: Callable[[IncidentId, int], Incident]) -> list[Batch]:
        """The disk has been away for many turns: put each incident's changes to those of it that wait already.

        Its messages are then the newest ones: everybody has been told directly meanwhile.

        Args:
            turn: Its incidents get the versions with which they will be stored.
            number_as: Gives an incident of the engine an earlier version.

        Returns:
            The batches in which the turn is now.
        """
        homes: list[Batch] = []
        for incident_id, added in parts_of(turn).items():
            latest = next((b for b in reversed(self._batches) if incident_id in b.changes.incidents), None)
            if latest is None or latest.attempts:
                added.sent_direct = True
                added.unjournaled = set(turn.unjournaled)
                self._batches.append(added)
                homes.append(added)
                continue
            if incident_id in added.changes.incidents:
                as_stored = number_as(incident_id, latest.changes.incidents[incident_id].version)
                added.changes.incidents[incident_id] = turn.changes.incidents[incident_id] = as_stored
            join(latest, added)
            latest.unjournaled |= turn.unjournaled
            latest.sent_direct = True
            homes.append(latest)
        return homes

    def is_promised(self, incident_id: IncidentId) -> bool:
        """Whether everything about an incident survives the process."""
        return not any(batch.unjournaled for batch in self._batches if incident_id in batch.changes.incidents)

    @property
    def unpromised(self) -> list[Batch]:
        """Batches that would be lost with the process."""
        return [batch for batch in self._batches if batch.unjournaled]


def to_replay(
    entries: Iterable[JournalEntry], stored: Mapping[IncidentId, int], event_seqs: Mapping[IncidentId, int]
) -> tuple[list[Batch], set[IncidentId]]:
    """What of a journal the database has not got.

    Versions decide: what is stored at a version, or has its last event stored, is there, whatever the journal says. A
    version that was lost with a damaged part of the journal is closed up: the case matters more than its history.

    Args:
        entries: In their order.
        stored: The version of each incident that is stored.
        event_seqs: The number of its last event, as far as that is known.

    Returns:
        Batches of one incident each, in order, and the incidents of which a version was lost.
    """
    merged: dict[tuple[IncidentId, int], Batch] = {}
    latest: dict[IncidentId, int] = {}
    for entry in entries:
        turn = Batch(entry.changes, [draft_of(incident_id, draft) for incident_id, draft in entry.drafts])
        for incident_id, part in parts_of(turn).items():
            incident = part.changes.incidents.get(incident_id)
            # What was rewritten may say again what was said before: one version is one change, wherever it is said.
            version = latest.get(incident_id, 0) if incident is None else incident.version
            latest[incident_id] = max(version, latest.get(incident_id, 0))
            known = merged.get((incident_id, version))
            if known is None:
                merged[incident_id, version] = part
            else:
                join(known, part)
    versions = dict(stored)
    found: list[Batch] = []
    gaps: set[IncidentId] = set()
    for (incident_id, _), part in merged.items():
        incident = part.changes.incidents.get(incident_id)
        if incident is not None:
            last_seq = max((event.seq for event in part.changes.events), default=None)
            if incident.version <= stored.get(incident_id, 0) or (
                last_seq is not None and last_seq <= event_seqs.get(incident_id, 0)
            ):
                continue
            version = versions.get(incident_id, 0) + 1
            if incident.version != version:
                gaps.add(incident_id)
            versions[incident_id] = version
            part.changes.incidents[incident_id] = replace(incident, version=version)
        elif incident_id not in versions:
            continue  # pages of an incident that is not there
        found.append(replace(part, attempts=1, sent_direct=True))
    return found, gaps
