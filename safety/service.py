"""The shell around the safety engine: waits for the disk, sends, and never lets a broken disk hold an alarm."""

from collections.abc import Callable, Sequence

from core.clock import Clock
from core.errors import DoorstepError
from core.ids import IdSource, IncidentId, TenantId
from core.outbox import Delivery
from core.principal import Principal
from core.service import EngineService
from safety.events import Effect, Event
from safety.model import Incident, SosReport
from safety.ports import Outbound, RaiserLink, SafetyStore, Surroundings, Watchers
from safety.settings import SafetySettings

Send = Callable[[bytes], None]
Failed = Callable[[DoorstepError], None]


class SafetyService(EngineService[Event, Effect]):
    """One for the process. ``start`` loads, ``run`` works, ``stop`` ends. Other inputs come through ``post``."""

    def __init__(
        self,
        clock: Clock,
        *,
        settings: SafetySettings,
        ids: IdSource,
        store: SafetyStore,
        surroundings: Surroundings,
        outbound: Outbound,
        delivery: Delivery,
        link: RaiserLink,
        watchers: Watchers,
    ) -> None:
        """Prepare; nothing is read before ``start``."""
        super().__init__(
            clock, name="safety", mailbox_len_max=settings.mailbox_len_max, batch_len_max=settings.batch_len_max
        )

    async def start(self) -> None:
        """Load open incidents with their deadlines and attend to their subjects. Raises ``Unavailable``."""
        raise NotImplementedError

    def raise_sos(
        self, who: Principal, report: SosReport, now: float, send: Send, failed: Failed | None = None
    ) -> None:
        """Take an SOS (from ``intake.decode_sos``); ``send`` gets the ``sos_ack`` after the commit.

        ``failed`` is called only when no incident could be made at all. Raises ``Unavailable`` after ``run`` ended.
        """
        raise NotImplementedError

    def incident(self, tenant: TenantId, incident_id: IncidentId) -> Incident | None:
        """An incident in memory: active, or resolved within ``resolved_kept_s``."""
        raise NotImplementedError

    def visible(self, who: Principal) -> Sequence[Incident]:
        """Active incidents that this principal may see, oldest first (snapshots, lists)."""
        raise NotImplementedError
