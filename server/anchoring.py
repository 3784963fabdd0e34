"""Exports the end of each tenant's audit to another place, every few minutes and at the end of the process.

What is in the file was true when it was written: at start the chain must still hold it, or somebody has cut the audit
off or put an old copy of the database in its place.
"""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from core.clock import Clock
from core.errors import DoorstepError
from core.ids import TenantId
from core.service import pause
from safety.audit import Anchor, AuditPen, Head
from safety.ports import SafetyStore
from safety.settings import AuditSettings
from store.anchors import AnchorsUnreadable, append_anchors, read_anchors

_log = logging.getLogger(__name__)
BESIDE: Final = "-anchors.jsonl"


def anchor_path(settings: AuditSettings, data_folder: str, folder: Path) -> Path:
    """Where anchors go: ``anchor_file`` from the config's folder, or beside the data folder."""
    if settings.anchor_file:
        return folder / settings.anchor_file
    data = Path(data_folder)
    return data.with_name(data.name + BESIDE)


class Anchoring:
    """Runs for the life of the process.

    Attributes:
        failures: Exports that did not work since the last one that did.
    """

    def __init__(self, store: SafetyStore, pen: AuditPen, path: Path, every_s: float, clock: Clock) -> None:
        """Nothing is read before ``start``."""
        self.failures = 0
        self._store = store
        self._pen = pen
        self._path = path
        self._every_s = every_s
        self._clock = clock
        self._exported: dict[TenantId, Head] = {}

    async def start(self) -> None:
        """Compare what was exported last with what is stored; a difference is told loudly and nothing is stopped.

        The SOS path must not depend on it, and whoever mends it needs ``doorstep audit verify``.
        """
        try:
            for anchor in await asyncio.to_thread(read_anchors, self._path):
                if anchor.seq >= self._exported.get(anchor.tenant, Head()).seq:
                    self._exported[anchor.tenant] = Head(anchor.seq, anchor.mac)
            heads = await self._store.audit_heads()
        except (OSError, AnchorsUnreadable, DoorstepError) as error:
            _log.critical("the anchors of the audit cannot be compared", extra={"reason": str(error)})
            return
        for tenant, exported in sorted(self._exported.items()):
            head = heads.get(tenant, Head())
            if head.seq < exported.seq or (head.seq == exported.seq and head.mac != exported.mac):
                _log.critical(
                    "the audit is not what it was: run `doorstep audit verify`",
                    extra={"tenant": tenant, "rows": head.seq, "anchored": exported.seq},
                )

    async def run(self) -> None:
        """Export every ``anchor_every_s`` until cancelled."""
        while True:
            await pause(self._every_s)
            await self.export()

    async def export(self) -> None:
        """Write the heads that are new. A failure is told and tried again the next time."""
        try:
            heads = await self._store.audit_heads()
            anchors = self._news(heads)
            if anchors:
                await asyncio.to_thread(append_anchors, self._path, anchors)
        except (OSError, DoorstepError) as error:
            self.failures += 1
            _log.error("the audit could not be anchored", extra={"reason": str(error), "failures": self.failures})
            return
        self.failures = 0
        self._exported.update((anchor.tenant, Head(anchor.seq, anchor.mac)) for anchor in anchors)

    def _news(self, heads: Mapping[TenantId, Head]) -> list[Anchor]:
        now = self._clock.now()
        return [
            self._pen.anchor(tenant, head, now)
            for tenant, head in sorted(heads.items())
            if head != self._exported.get(tenant)
        ]
