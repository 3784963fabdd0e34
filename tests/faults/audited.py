"""A safety database with an audit of some length, the anchors of it, and a hand that changes it behind our back."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner, Result

from cli.main import main
from core.ids import TenantId
from safety.audit import AuditKeys, AuditPen, Head
from safety.model import IncidentState
from store.anchors import append_anchors
from store.sqlite import open_stores
from tests.contract.store_values import (
    NOW,
    TENANT,
    CountedIds,
    ManualClock,
    make_incident,
    make_incident_event,
    safety_changes,
)

SECRET = "an audit key of thirty-two bytes or more"
SALT = b"0123456789abcdef"


def pen(secret: str = SECRET) -> AuditPen:
    return AuditPen(AuditKeys([secret.encode()]), lambda: SALT)


class Audited:
    """One data folder beside its anchors."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.anchors = folder / "elsewhere.jsonl"
        self.database = self.data / "safety.db"
        self._version: dict[str, int] = {}

    async def remember(self, events: int, incident: str = "1", detail: str = "") -> Head:
        """Store that many more events of an incident, each in its own transaction; the end of the audit."""
        stores = open_stores(self.data, ManualClock(), CountedIds(), pen=pen())
        await stores.start()
        try:
            for _ in range(events):
                version = self._version[incident] = self._version.get(incident, 0) + 1
                event = replace(make_incident_event(incident, version), detail=detail or f"{version}")
                changed = make_incident(incident, version=version, state=IncidentState.OPEN)
                await stores.safety.commit(safety_changes(changed, event), [], NOW)
            return (await stores.safety.audit_heads())[TENANT]
        finally:
            await stores.stop()

    def anchor(self, head: Head) -> None:
        append_anchors(self.anchors, [pen().anchor(TenantId(TENANT), head, NOW)])

    def tamper(self, *statements: str, disarm: bool = True) -> None:
        """Change the file as somebody with all rights on it could, the triggers taken away first."""
        with closing(sqlite3.connect(self.database)) as connection:
            if disarm:
                connection.execute("DROP TRIGGER IF EXISTS audit_no_update")
                connection.execute("DROP TRIGGER IF EXISTS audit_no_delete")
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    def forget_from(self, seq: int, incident: str = "1") -> None:
        """Cut off the end of audit and history, as a restored older copy would be."""
        tables = ("audit", "audit_payloads", "incident_events")
        self.tamper(
            *(f"DELETE FROM {table} WHERE seq >= {seq}" for table in tables),  # noqa: S608 - of this test only
            f"UPDATE incidents SET version = {seq - 1}",  # noqa: S608
        )
        self._version[incident] = seq - 1

    def verify(self, secret: str = SECRET) -> Result:
        environ = {"DOORSTEP_AUDIT_KEY": secret, "DOORSTEP__DATA_FOLDER": str(self.data)}
        return CliRunner().invoke(main, ["audit", "verify", "--anchors", str(self.anchors)], env=environ)
