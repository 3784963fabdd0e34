"""What must happen in several packages when one person changes: the glue between dispatch, safety, hub and index."""

import logging
from collections.abc import Mapping
from typing import Final

from api.ports import Staff
from api.rights import Rights
from core.clock import Clock
from core.errors import Unavailable
from core.ids import ORDER_PREFIX, TenantId, UserId
from core.principal import Principal, Role
from core.shard import Shard
from dispatch.events import AlarmRaised, PairBlockChanged, PairBlockCopied, TechnicianCopied
from dispatch.model import Order, Technician
from dispatch.service import DispatchService
from geo.position_index import Flag
from geo.shard_positions import ShardPositions
from realtime.attention import Level
from realtime.service import RealtimeService
from safety.care_service import CareService
from safety.model import CapStatus, Incident
from server.last_seen import LastSeen

_log = logging.getLogger(__name__)
_RESPONDER: Final = int(Flag.RESPONDER)
_ALARM: Final = int(Flag.ALARM)
_HELPER: Final = int(Flag.HELPER)


class Fleet:
    """Implements ``dispatch.ports.Fleet`` and ``Watchers``, ``safety.ports.Watchers`` and ``api.ports.Presence``."""

    def __init__(
        self,
        positions: Mapping[Shard, ShardPositions],
        rights: Rights,
        last_seen: LastSeen,
        staff: Staff,
        clock: Clock,
        trail_fast_s: float = 600.0,
    ) -> None:
        """``connect`` completes it once the services exist; ``trail_fast_s`` as in the config."""
        self._trail_fast_s = trail_fast_s
        self._staff = staff
        self._clock = clock
        self._positions = positions
        self._last_seen = last_seen
        self._rights = rights
        self._hub: RealtimeService | None = None
        self._dispatch: dict[TenantId, list[DispatchService]] = {}
        self._responders: set[tuple[TenantId, UserId]] = set()
        self._helpers: set[tuple[TenantId, UserId]] = set()
        self._alarms: dict[tuple[TenantId, UserId], set[str]] = {}
        """Active incidents of each person who has one."""
        self.care: CareService | None = None
        """Asks who begins to work for a drill; comes later."""

    def connect(self, hub: RealtimeService, dispatch: Mapping[Shard, DispatchService]) -> None:
        """Give it the hub and the cities' dispatch."""
        self._hub = hub
        for shard, service in dispatch.items():
            self._dispatch.setdefault(shard.tenant, []).append(service)

    def know_responders(self, tenant: TenantId, users: Mapping[UserId, None]) -> None:
        """Responders of a tenant seen lately: those on duty are found by an SOS also after a restart."""
        self._responders.update((tenant, user) for user in users)

    def consent_changed(self, tenant: TenantId, user: UserId, consents: bool) -> None:
        """Somebody agreed to be asked for help, or does not any more: an SOS goes by it from now on."""
        if consents:
            self._helpers.add((tenant, user))
        else:
            self._helpers.discard((tenant, user))
        self._mark(tenant, user)

    # -- api.ports.Presence -----------------------------------------------------------------------------

    def opened(self, who: Principal) -> None:
        """A device connected: whoever has any living device with the role is a responder, whatever another says."""
        key = (who.tenant, who.user)
        if who.holds(Role.RESPONDER):
            self._responders.add(key)
        elif key in self._responders:
            responders = self._staff.users(who.tenant, Role.RESPONDER, None, self._clock.now())
            if who.user not in responders:
                self._responders.discard(key)
        self._mark(who.tenant, who.user)

    def responder_on_duty(self, tenant: TenantId, user: UserId, shard: Shard | None) -> None:
        """A responder who is no technician is on duty in ``shard`` or nowhere."""
        self.duty_changed(tenant, user, shard)

    def shard_of(self, tenant: TenantId, user: UserId) -> Shard | None:
        """Where the person is on duty."""
        return self._rights.shard_of(tenant, user)

    # -- dispatch.ports.Fleet ---------------------------------------------------------------------------

    def duty_changed(self, tenant: TenantId, technician: UserId, shard: Shard | None) -> None:
        """Claim or release the person's slot, then tell the hub and whoever watches."""
        previous = self._rights.shard_of(tenant, technician)
        if previous is not None and previous != shard:
            self._last_seen.leaving(previous, technician)
            self._positions[previous].release(technician)
        if shard is not None and self._positions[shard].index.slot(technician) is None:
            self._positions[shard].claim(technician)
        topics = self._rights.duty_changed(tenant, technician, shard)
        if self.care is not None and previous is None and shard is not None:
            self.care.duty_began(tenant, technician, shard.city)
        self._mark(tenant, technician)
        if self._hub is None or previous == shard:
            return
        self._hub.duty_changed(tenant, technician, shard)
        for topic in topics:
            self._hub.rights_changed(topic)

    def attend(self, tenant: TenantId, technician: UserId, cause: str, *, active: bool) -> None:
        """A live offer or a job needs the phone close at hand; positions of jobs are kept."""
        if self._hub is not None:
            keep = active and cause.startswith(ORDER_PREFIX)
            self._hub.attend(tenant, technician, cause, Level.JOB if active else None, keep=keep)

    def technician_changed(self, shard: Shard, technician: Technician) -> None:
        """Tell the tenant's other cities that know this technician, or should."""
        for dispatch in self._dispatch.get(shard.tenant, ()):
            other = dispatch.shard
            if other == shard:
                continue
            if other.city not in technician.cities and dispatch.technician(technician.technician) is None:
                continue
            try:
                dispatch.post(TechnicianCopied(technician), urgent=True)
            except Unavailable as error:
                _log.info("a technician was not copied", extra={"city": other.city, "code": error.code})

    def block_changed(self, shard: Shard, change: PairBlockChanged) -> None:
        """Tell the tenant's other cities of a block between two people."""
        for dispatch in self._dispatch.get(shard.tenant, ()):
            if dispatch.shard != shard:
                try:
                    dispatch.post(PairBlockCopied(change.mark, change.is_set, change.by), urgent=True)
                except Unavailable as error:  # a city that is closed reads all blocks when it opens
                    _log.info("a block was not copied", extra={"city": dispatch.shard.city, "code": error.code})

    # -- dispatch.ports.Watchers and safety.ports.Watchers ----------------------------------------------

    def tracking_changed(self, order: Order) -> None:
        """Rights to an order's topic may have changed."""
        topic = self._rights.tracking_changed(order)
        if topic is not None and self._hub is not None:
            self._hub.rights_changed(topic)

    def incident_changed(self, incident: Incident) -> None:
        """Rights to an incident's topic changed; its subject is attended to while it is active."""
        topic = self._rights.incident_changed(incident)
        self._note_alarm(incident)
        if self._hub is None:
            return
        self._hub.rights_changed(topic)
        self.attend_raiser(incident)

    def attend_raiser(self, incident: Incident) -> None:
        """Ask the subject's phone for positions as often as the incident's age says. Idempotent; called again later."""
        if self._hub is None:
            return
        is_fresh = self._clock.now() - incident.last_trigger_at <= self._trail_fast_s
        level = (Level.SOS if is_fresh else Level.SOS_LATE) if incident.is_active else None
        self._hub.attend(incident.tenant, incident.subject, incident.incident_id, level, keep=incident.is_active)

    def _note_alarm(self, incident: Incident) -> None:
        """Whoever has an open alarm gets no offers: by the index from now on, and the live one is revoked."""
        if incident.cap_status is not CapStatus.ACTUAL:
            return  # who tries the alarm goes on working
        key = (incident.tenant, incident.subject)
        if not incident.is_active:
            open_alarms = self._alarms.get(key, set())
            open_alarms.discard(incident.incident_id)
            if not open_alarms:
                self._alarms.pop(key, None)
            self._mark(*key)
            return
        is_first = key not in self._alarms
        self._alarms.setdefault(key, set()).add(incident.incident_id)
        self._mark(*key)
        if not is_first:
            return
        for dispatch in self._dispatch.get(incident.tenant, ()):
            if dispatch.technician(incident.subject) is not None:
                try:
                    dispatch.post(AlarmRaised(incident.subject), urgent=True)
                except Unavailable as error:
                    _log.info("an alarm was not told", extra={"city": dispatch.shard.city, "code": error.code})

    def _mark(self, tenant: TenantId, user: UserId) -> None:
        """Show in the index who is a responder, who agreed to help, and who has an open alarm."""
        shard = self._rights.shard_of(tenant, user)
        slot = self._positions[shard].index.slot(user) if shard is not None else None
        if shard is None or slot is None:
            return
        flags = _RESPONDER if (tenant, user) in self._responders else 0
        flags |= _ALARM if (tenant, user) in self._alarms else 0
        flags |= _HELPER if (tenant, user) in self._helpers else 0
        self._positions[shard].index.set_flags(slot, set=flags, clear=(_RESPONDER | _ALARM | _HELPER) & ~flags)
