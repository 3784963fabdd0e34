"""Stores who looked at whom, lazily, and tells ops of somebody who looks at everybody."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from api.ports import Staff
from core.clock import Clock
from core.errors import DoorstepError
from core.ids import TenantId, UserId
from core.principal import Principal, Role
from core.service import pause
from realtime.messages import BulkRead as BulkReadNews
from safety.audit import AuditEntry
from safety.looks import BulkRead, LookBook, LookKind, LookStore, audit_entry, bulk_entry

_log = logging.getLogger(__name__)
FLUSH_S: Final = 1.0
"""How long a look waits for others before it is stored."""
_encode: Final = msgspec.json.Encoder().encode


class Looking:
    """Implements ``api.ports.Looks`` and ``realtime.ports.Looks``. ``run`` must be running for anything to be stored.

    Args:
        store: Where looks are kept.
        staff: Knows who is ops.
        send: Sends a message to all connected devices of a user.
        clock: Wall time.
    """

    def __init__(
        self, store: LookStore, staff: Staff, send: Callable[[TenantId, UserId, bytes], object], clock: Clock
    ) -> None:
        self.book = LookBook()
        self._store = store
        self._staff = staff
        self._send = send
        self._clock = clock
        self._alarms: list[AuditEntry] = []
        self._storing = asyncio.Lock()
        self._told_dropped = 0

    def note(
        self, who: Principal, subject: str, kind: LookKind, about: str, reason: str = "", *, counts: bool = True
    ) -> None:
        """Somebody looks now; stored within a second. Never raises."""
        now = self._clock.now()
        bulk = self.book.note(who, subject, kind, about, now, reason, counts=counts)
        if bulk is not None:
            self._alarm(bulk)

    def watched(self, who: Principal, subject: str, topic: str) -> None:
        """Somebody begins to watch a live position, or a city."""
        kind = LookKind.AREA if topic.startswith("area:") else LookKind.WATCH
        self.note(who, subject, kind, topic)

    async def kept(self, who: Principal, subject: str, kind: LookKind, about: str, reason: str = "") -> None:
        """Note a look and wait for the disk: what nobody would know of is not shown. Raises ``Unavailable``."""
        self.note(who, subject, kind, about, reason)
        await self.flush()

    async def flush(self) -> None:
        """Store what waits. Raises ``Unavailable``; then it waits on."""
        async with self._storing:
            looks, alarms = self.book.take(self._clock.now()), self._alarms
            self._alarms = []
            if not looks and not alarms:
                return
            try:
                await self._store.add(looks, [*(audit_entry(look) for look in looks), *alarms])
            except BaseException:
                self.book.give_back(looks)
                self._alarms = alarms + self._alarms
                raise

    async def run(self) -> None:
        """Store what waits, every second, until cancelled."""
        while True:
            await pause(FLUSH_S)
            try:
                await self.flush()
            except DoorstepError as error:
                _log.error("looks could not be stored", extra={"reason": error.code, "waiting": len(self.book)})
            if self.book.dropped > self._told_dropped:
                self._told_dropped = self.book.dropped
                _log.critical("looks at people were dropped", extra={"dropped": self.book.dropped})

    def _alarm(self, bulk: BulkRead) -> None:
        _log.critical("somebody looks at many people", extra={"by": bulk.by, "people": bulk.people})
        self._alarms.append(bulk_entry(bulk))
        body = _encode(BulkReadNews(bulk.by, bulk.people, round(bulk.since, 3), round(bulk.at, 3)))
        for user in self._staff.users(bulk.tenant, Role.OPS, None, bulk.at):
            if user != bulk.by:
                self._send(bulk.tenant, user, body)
