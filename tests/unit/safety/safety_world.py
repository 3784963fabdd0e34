"""A safety service with everything around it in memory, on a virtual clock; restartable, with a breakable disk."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from core.errors import DoorstepError
from core.ids import IncidentId, TenantId, UserId
from core.outbox import OutboxDraft, OutboxRow, Stream
from core.principal import Principal
from safety.events import AckRaiser, DeliveryReceived, Effect, Event, NotifyTargets, UpdateTargets
from safety.model import Incident, SosReport
from safety.ports import Outside, SafetyChanges, SafetyState
from safety.service import SafetyService
from safety.settings import SafetySettings
from sim.clock import SeededIds, VirtualClock
from store.memory import MemorySafetyStore
from store.memory_journal import MemoryJournal
from store.memory_outbox import MemoryOutbox
from tests.unit.safety.neighbourhood import ACME, ANNA, Neighbourhood, fix_at, town

Message = dict[str, Any]


class PlainOutbound:
    """Messages with just enough in them to tell them apart."""

    def __init__(self) -> None:
        self.fails_on: type | None = None

    def _bodies(self, effects: Sequence[Effect]) -> list[tuple[TenantId, UserId, Message, str]]:
        found = []
        for effect in effects:
            if self.fails_on is not None and isinstance(effect, self.fails_on):
                raise RuntimeError("outbound is broken")
            if isinstance(effect, NotifyTargets | UpdateTargets):
                incident = effect.incident
                rings = isinstance(effect, NotifyTargets)
                message = {
                    "type": "incident" if rings else "incident.update",
                    "incident": incident.incident_id,
                    "state": incident.state,
                    "level": incident.level,
                    "reason": effect.reason,
                }
                receipt = incident.incident_id if rings else ""
                found += [(incident.tenant, target.user, message, receipt) for target in effect.targets]
        return found

    def drafts(self, effects: Sequence[Effect], now: float) -> Sequence[OutboxDraft]:
        return [
            OutboxDraft(tenant, user, Stream.SAFETY, json.dumps(message).encode(), receipt)
            for tenant, user, message, receipt in self._bodies(effects)
        ]

    def direct(self, effects: Sequence[Effect], now: float) -> Sequence[tuple[TenantId, UserId, bytes]]:
        return [(tenant, user, json.dumps(message).encode()) for tenant, user, message, _ in self._bodies(effects)]

    def sos_ack(self, ack: AckRaiser, *, durable: bool) -> bytes:
        incident = ack.incident
        return json.dumps(
            {
                "type": "sos_ack",
                "key": ack.key,
                "incident": incident.incident_id,
                "durable": durable,
                "level": incident.level,
                "delivered": incident.delivered,
                "seen": incident.seen,
            }
        ).encode()


@dataclass
class Post:
    """Everything that left the service, in order: (how, user, message)."""

    clock: VirtualClock
    sent: list[tuple[float, str, str, Message]] = field(default_factory=list)
    rights: list[Incident] = field(default_factory=list)

    def deliver(self, rows: Sequence[OutboxRow]) -> None:
        for row in rows:
            self._note("row", row.recipient, row.body)

    def send_direct(self, tenant: TenantId, user: UserId, body: bytes) -> None:
        self._note("direct", user, body)

    answer_raiser = send_direct

    def incident_changed(self, incident: Incident) -> None:
        self.rights.append(incident)
        self._note("rights", "", b'{"type": "rights"}')

    def answer(self, body: bytes) -> None:
        self._note("answer", "", body)

    def _note(self, how: str, user: str, body: bytes) -> None:
        self.sent.append((self.clock.now(), how, user, json.loads(body)))

    def of(self, kind: str, how: str | None = None) -> list[Message]:
        return [message for _, by, _, message in self.sent if message["type"] == kind and how in (None, by)]

    def users(self, how: str, kind: str = "incident") -> list[str]:
        return [user for _, by, user, message in self.sent if by == how and message["type"] == kind]


class StickyStore(MemorySafetyStore):
    """A store that can choke on one batch: the fault of a bug, not of a disk."""

    def __init__(self, outbox: MemoryOutbox) -> None:
        super().__init__(outbox)
        self.chokes_on: IncidentId | None = None

    async def commit(self, changes: SafetyChanges, drafts: Sequence[OutboxDraft], now: float) -> Sequence[OutboxRow]:
        if self.chokes_on in changes.incidents:
            raise ValueError("cannot bind this value")
        return await super().commit(changes, drafts, now)


class World:
    """One process at a time over one store."""

    def __init__(
        self,
        place: Neighbourhood | None = None,
        settings: SafetySettings | None = None,
        outside: Outside | None = None,
    ) -> None:
        self.outside = outside
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.place = place or town()
        self.settings = settings or SafetySettings()
        self.outbox = MemoryOutbox(Stream.SAFETY, "e1")
        self.store = StickyStore(self.outbox)
        self.journal = MemoryJournal()
        self.ids = SeededIds(7)
        self.outbound = PlainOutbound()
        self.post = Post(self.clock)
        self.refused: list[DoorstepError] = []
        self.service = self._new_service()

    def _new_service(self) -> SafetyService:
        return SafetyService(
            self.clock,
            settings=self.settings,
            ids=self.ids,
            store=self.store,
            surroundings=self.place,
            outbound=self.outbound,
            delivery=self.post,
            link=self.post,
            watchers=self.post,
            outside=self.outside,
            journal=self.journal,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[SafetyService]:
        """A process from its start to a clean stop."""
        self.service = self._new_service()
        await self.service.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.service.run())
            yield self.service
            self.service.stop()

    @asynccontextmanager
    async def running_until_killed(self) -> AsyncIterator[SafetyService]:
        """A process that is cut off wherever it is."""
        self.service = self._new_service()
        await self.service.start()
        task = asyncio.get_running_loop().create_task(self.service.run())
        yield self.service
        task.cancel()
        await asyncio.wait({task})

    def now(self) -> float:
        return self.clock.now()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def tap(self, key: str = "k1", who: Principal = ANNA, report: SosReport | None = None) -> None:
        """One tap; its answer goes to the post."""
        report = report or SosReport(key=key, fix=fix_at(at=self.now()))
        self.service.raise_sos(who, report, self.now(), self.post.answer, self.refused.append)

    async def ask(self, event: Event) -> Sequence[Effect]:
        return await self.service.ask(event)

    def receive(self, user: str, incident_id: str) -> None:
        self.service.post(DeliveryReceived(ACME, UserId(user), IncidentId(incident_id)))

    async def stored(self) -> SafetyState:
        return await self.store.load(settled_since=0.0)
