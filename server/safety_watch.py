"""Watches over safety itself: the synthetic SOS, the audit of its timers, and the heartbeat that both can stop.

What is found broken is told to people by the channels that still work, without the database, the engine or anything
else that may be the reason; the node says that it is not ready; and whoever listens to the heartbeat hears nothing.
"""

import logging
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from core.clock import Clock
from core.errors import DoorstepError, Unavailable
from core.ids import IncidentId
from core.principal import Role
from core.service import pause
from safety import synthetic
from safety.care_service import CareService
from safety.events import IncidentResolved
from safety.model import CapStatus, Incident, IncidentKind, SosReport, TriggerSource
from safety.reach import ReachSettings
from safety.service import SafetyService
from safety.synthetic import Ended, Probe, Synthetic
from transport.page_channel import Asker
from transport.pager import Pager
from webhooks.model import Outcome

_log = logging.getLogger(__name__)
AUDIT_EVERY_S: Final = 5.0
OVERDUE_MAX_S: Final = 5.0
"""A timer or a call that is later than this has a fault behind it."""
LATE_TOLD_EVERY_S: Final = 300.0
"""While it lasts it is said again this often."""
NAMED_MAX: Final = 3
"""Incidents whose timer fails that an alarm names: somebody has to look after them by hand."""
HEARTBEAT_EVERY_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.25
"""While a synthetic SOS is under way."""
_IDLE_S: Final = 1.0


class SafetyWatch:
    """Runs beside safety; ``run`` is cancelled at the end.

    Args:
        clock: The process's.
        settings: Clocks, and where the heartbeat goes.
        safety: What is watched.
        care: Its timers are watched as well.
        pager: By which people are told.
        asker: Sends the heartbeat; None for none.
    """

    def __init__(
        self,
        clock: Clock,
        settings: ReachSettings,
        safety: SafetyService,
        care: CareService,
        pager: Pager,
        asker: Asker | None,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._safety = safety
        self._care = care
        self._pager = pager
        self._asker = asker
        self.synthetic = Synthetic(settings.synthetic, clock.now(), pager.lines)
        self.overdue_s = 0.0
        self.heartbeats = 0
        """Sent and taken."""
        self._incident: Incident | None = None
        self._audit_at = clock.monotonic() + AUDIT_EVERY_S
        self._heartbeat_at = clock.monotonic()
        self._is_late = False
        self._late_told_at = 0.0

    @property
    def is_well(self) -> bool:
        """Whether an SOS would come through now, as far as can be known."""
        return not (self.synthetic.is_broken or self._is_late)

    async def run(self) -> None:
        """Watch until cancelled; a fault of ours here ends nothing else."""
        while True:
            try:
                await self._turn()
            except Exception:  # noqa: BLE001 - whoever watches must not fall asleep
                _log.exception("the watch over safety failed")
            await pause(_LOOK_EVERY_S if self.synthetic.is_under_way else _IDLE_S)

    async def _turn(self) -> None:
        await self._probe()
        now_s = self._clock.monotonic()
        if now_s >= self._audit_at:
            self._audit_at = now_s + AUDIT_EVERY_S
            await self._audit()
        if now_s >= self._heartbeat_at:
            self._heartbeat_at = now_s + HEARTBEAT_EVERY_S
            await self._beat()

    # -- the synthetic SOS ------------------------------------------------------------------------------

    async def _probe(self) -> None:
        now = self._clock.now()
        probe = self.synthetic.due(now)
        if probe is not None:
            self._incident = None
            self._raise(probe, now)
        pages = () if self._incident is None else self._safety.pages(self._incident.incident_id)
        ended = self.synthetic.look(pages, self._clock.now())
        if ended is not None:
            self._resolve()
            await self._tell(ended)

    def _raise(self, probe: Probe, now: float) -> None:
        # Silent: there is nobody who could abort, so nothing waits for it.
        report = SosReport(key=probe.key, silent=True)
        try:
            self._safety.raise_for(
                synthetic.principal(probe.subject, Role.CUSTOMER, now),
                report,
                now,
                source=TriggerSource.SYSTEM,
                kind=IncidentKind.PANIC,
                cap_status=CapStatus.TEST,
                cause=synthetic.CAUSE,
                raised=self._raised,
            )
        except Unavailable:
            _log.info("safety takes no synthetic SOS: it is stopping")

    def _raised(self, incident: Incident) -> None:
        self._incident = incident

    def _resolve(self) -> None:
        """Whatever became of it: it must not stay open beside real ones."""
        if self._incident is None:
            return
        who = synthetic.principal(synthetic.WATCH, Role.OPS, self._clock.now())
        incident_id = IncidentId(self._incident.incident_id)

        def done(outcome: object) -> None:
            if isinstance(outcome, DoorstepError):
                _log.error("a synthetic SOS stays open", extra={"incident_id": incident_id, "code": outcome.code})

        with suppress(Unavailable):
            self._safety.post(IncidentResolved(who, incident_id, "false_test", synthetic.CAUSE), done)

    async def _tell(self, ended: Ended) -> None:
        broken = sorted(ended.broken)
        if not ended.came_through:
            _log.error("a synthetic SOS did not come through", extra={"broken": broken})
        if ended.is_alarm:
            await self._alarm(f"The SOS path is broken: {', '.join(broken)}", ended.broken)
        elif ended.is_recovery:
            await self._alarm("The SOS path works again", ())

    # -- timers -----------------------------------------------------------------------------------------

    async def _audit(self) -> None:
        """Every timer that is due has been acted on; if not, say so where others can hear it."""
        now = self._clock.now()
        self.overdue_s = max(self._safety.overdue_s(now), self._care.overdue_s(now))
        was_late, self._is_late = self._is_late, self.overdue_s > OVERDUE_MAX_S
        if self._is_late and (not was_late or now >= self._late_told_at + LATE_TOLD_EVERY_S):
            self._late_told_at = now
            failing = list(self._safety.failing)
            named = ", ".join(failing[:NAMED_MAX]) + (" …" if len(failing) > NAMED_MAX else "")
            await self._alarm(f"Timers of safety are {self.overdue_s:.0f} s late{': ' if failing else ''}{named}", ())

    async def _alarm(self, what: str, broken: Collection[str]) -> None:
        _log.critical("safety is not well" if not self.is_well else "safety is well again", extra={"what": what})
        told = await self._pager.alarm(what, without=broken)
        if not told and not self.is_well:
            _log.critical("nobody could be told that safety is not well", extra={"what": what})

    # -- the heartbeat ----------------------------------------------------------------------------------

    async def _beat(self) -> None:
        url = self._settings.heartbeat_url
        if not url or self._asker is None or not self.is_well:
            return
        answer = await self._asker.ask(url, {}, b"")
        self.heartbeats += answer.outcome is Outcome.DELIVERED
