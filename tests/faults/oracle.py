"""The one judge of all fault rows: what was promised is stored, and after recovery stored is what was received.

``promised``: taps whose answer said ``durable: true``. ``tapped``: everybody who called, and goes on until they are
answered so. ``received``: incidents that each console was ever sent.
"""

import shutil
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from store.journal import FILE_NAME, entry_of
from store.journal_file import JournalFile
from tests.faults.ledger import OUTBOXES


@dataclass
class Stored:
    """What files hold.

    Attributes:
        taps: Key to incident.
        incidents: By id, as stored.
        journaled: Key to incident, of what the journal holds.
        damage: What the journal says of itself.
    """

    taps: dict[str, str]
    incidents: dict[str, dict[str, Any]]
    journaled: dict[str, str]
    damage: str = ""


def look(folder: Path, scratch: Path, journal: Path | None = None) -> Stored:
    """What the files of a dead server hold. Of copies: opening the real ones would repair what the server must."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for name in OUTBOXES.values():
        for suffix in ("", "-wal"):
            if (folder / f"{name}{suffix}").exists():
                shutil.copy(folder / f"{name}{suffix}", scratch / f"{name}{suffix}")
    journaled, damage = {}, ""
    path = (journal or folder) / FILE_NAME
    if path.exists():
        shutil.copy(path, scratch / FILE_NAME)
        file = JournalFile(scratch / FILE_NAME, 0)
        file.close()
        damage = file.damage
        for payload in file.payloads:
            journaled.update({t.key: str(t.incident_id) for t in entry_of(payload).changes.triggers})
    with closing(sqlite3.connect(scratch / "safety.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

        def bodies(table: str) -> list[dict[str, Any]]:
            found = database.execute(f"SELECT body FROM {table}").fetchall()  # noqa: S608 - names of ours
            return [msgspec.msgpack.decode(row[0]) for row in found]

        incidents = {incident["incident_id"]: incident for incident in bodies("incidents")}
        taps = {trigger["key"]: trigger["incident_id"] for trigger in bodies("triggers")}
        seqs: dict[str, list[int]] = defaultdict(list)
        for event in bodies("incident_events"):
            seqs[event["incident_id"]].append(event["seq"])
        assert seqs.keys() == incidents.keys(), "an incident without a history, or the other way round"
        for incident_id, found in seqs.items():
            assert sorted(found) == list(range(1, len(found) + 1)), f"{incident_id} has a history of {sorted(found)}"
        assert set(taps.values()) <= incidents.keys()
    return Stored(taps, incidents, journaled, damage)


@dataclass
class Oracle:
    """What people know."""

    tapped: dict[str, str] = field(default_factory=dict)
    promised: dict[str, str] = field(default_factory=dict)
    heard: dict[str, str] = field(default_factory=dict)
    received: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def tap(self, key: str, user: str) -> None:
        """Somebody calls."""
        self.tapped[key] = user

    def answer(self, key: str, ack: dict[str, Any]) -> None:
        """They are answered."""
        known = self.heard.setdefault(key, ack["incident"])
        assert known == ack["incident"], f"{key} was told to be {known}, and is {ack['incident']} now"
        if ack["durable"]:
            self.promised[key] = ack["incident"]

    def check_promises(self, stored: Stored) -> None:
        """At any moment, with the process dead: the promised is in the database or in the journal."""
        have = stored.journaled | stored.taps
        missing = {key: which for key, which in self.promised.items() if have.get(key) != which}
        assert not missing, f"promised and gone: {missing}"

    def check_recovered(self, stored: Stored) -> None:
        """When the fault is over and everybody was answered: stored is what was tapped and what was received."""
        assert not stored.damage
        assert self.promised.keys() == self.tapped.keys(), "somebody was never promised anything"
        missing = {key: which for key, which in self.promised.items() if stored.taps.get(key) != which}
        assert not missing, f"promised and not in the database: {missing}"
        assert stored.taps.keys() == self.tapped.keys(), "a tap that nobody made"
        active = Counter(i["subject"] for i in stored.incidents.values() if i["state"] not in ("resolved", "closed"))
        assert not [who for who, count in active.items() if count > 1], "two open incidents of one person"
        for key, incident_id in stored.taps.items():
            assert stored.incidents[incident_id]["subject"] == self.tapped[key]
        for device, received in self.received.items():
            lost = stored.incidents.keys() - received
            assert not lost, f"{device} never heard of {lost}"
            assert received <= stored.incidents.keys(), f"{device} heard of what is not stored"
