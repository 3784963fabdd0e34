"""Checks the whole audit of a file against its anchors, also while a server writes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from core.ids import TenantId
from safety.audit import Anchor, AuditKeys, Fault, Head, check_chain
from store.audit import check_payloads, read_rows, read_tenants
from store.engines import reader_engine, run_read


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of the check of one tenant's chain.

    Attributes:
        head: How far it is sound.
        erased: Payloads that were erased; their rows are sound.
    """

    tenant: TenantId
    head: Head
    anchors: int
    erased: int
    fault: Fault | None


def check_audit(path: Path, anchors: Sequence[Anchor], keys: AuditKeys) -> list[Finding]:
    """Check every tenant's chain, and that histories of incidents say what it remembers. Blocks; reads one state.

    Anchors must have been read before: one that is written meanwhile may be ahead of what is seen here.

    Raises:
        Unavailable: The file cannot be read.
    """
    engine = reader_engine(path, busy_timeout_s=5.0, connections=1)
    try:
        found: list[Finding] = run_read(engine, lambda connection: _check(connection, anchors, keys))
        return found
    finally:
        engine.dispose()


def _check(connection: Connection, anchors: Sequence[Anchor], keys: AuditKeys) -> list[Finding]:
    found = []
    for tenant in sorted({*read_tenants(connection), *(anchor.tenant for anchor in anchors)}):
        own = [anchor for anchor in anchors if anchor.tenant == tenant]
        head, fault = check_chain(tenant, read_rows(connection, tenant), own, keys)
        erased, told = check_payloads(connection, tenant, head.seq)
        # The chain's own fault lies behind every row that was compared.
        found.append(Finding(tenant, head, len(own), erased, told or fault))
    return found
