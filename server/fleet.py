"""What must happen in several packages when one person changes: the glue between dispatch, safety, hub and index."""

import logging
from collections.abc import Callable, Mapping
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
from server.aside import Aside, aside_of
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
        aside: Aside,
        trail_fast_s: float = 600.0,
        trail_after_cancel_s: float = 1_800.0,
    ) -> None:
        """``connect`` completes it once the services exist; the times are those of the config."""
        self._trail_after_cancel_s = trail_after_cancel_s
        self._aside = aside
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
        self._listened: dict[tuple[TenantId, UserId], dict[str, bool]] = {}
        """Incidents for which somebody is heard outside duty, and whether their phone may see it."""
        self._aside_as: dict[tuple[TenantId, UserId], bool] = {}
        """Who stands aside, and whether that is kept from their phone."""
        self.went_off_duty: Callable[[TenantId, UserId], None] | None = None
        """Told of whoever goes off duty while they have an alarm open; comes later."""
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

    def heard_in(self, tenant: TenantId, user: UserId) -> Shard | None:
        """Whose positions theirs go to: of the city where they are on duty, or apart for an alarm outside duty."""
        shard = self._rights.shard_of(tenant, user)
        if shard is None and self._aside.holds(tenant, user):
            return aside_of(tenant)
        return shard

    # -- dispatch.ports.Fleet ---------------------------------------------------------------------------

    def duty_changed(self, tenant: TenantId, technician: UserId, shard: Shard | None) -> None:
        """Claim or release the person's slot, then tell the hub and whoever watches."""
        previous = self._rights.shard_of(tenant, technician)
        stands_in, is_quiet = shard, False
        if previous is not None and previous != shard:
            index = self._positions[previous].index
            slot = index.slot(technician)
            heard_at = None if slot is None else float(index.heard_at[slot])
            self._last_seen.leaving(previous, technician)
            self._positions[previous].release(technician)
            if shard is None and (tenant, technician) in self._listened:
                # Whoever holds the phone may have done it: it ends the duty, and not the trail.
                stands_in, is_quiet = (
                    self._aside.enter(tenant, technician, heard_at),
                    self._is_quiet(tenant, technician),
                )
                self._aside_as[tenant, technician] = is_quiet
        if shard is not None:
            self._leave_aside(tenant, technician)
            if self._positions[shard].index.slot(technician) is None:
                self._positions[shard].claim(technician)
        topics = self._rights.duty_changed(tenant, technician, shard)
        if self.care is not None and previous is None and shard is not None:
            self.care.duty_began(tenant, technician, shard.city)
        self._mark(tenant, technician)
        if self._hub is None or previous == shard:
            return
        self._hub.duty_changed(tenant, technician, stands_in, quiet=is_quiet)
        for topic in topics:
            self._hub.rights_changed(topic)
        if shard is None and (tenant, technician) in self._alarms and self.went_off_duty is not None:
            self.went_off_duty(tenant, technician)

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
        self._listen(incident)
        if self._hub is None:
            return
        self._hub.rights_changed(topic)
        self.attend_raiser(incident)

    def attend_raiser(self, incident: Incident) -> None:
        """Ask the subject's phone for positions as often as the incident's age says. Idempotent; called again later."""
        self._listen(incident)
        if self._hub is None:
            return
        now = self._clock.now()
        is_heard = self.heard_in(incident.tenant, incident.subject) is not None
        keep = is_heard and incident.is_active
        level = Level.IDLE if keep else None
        if is_heard and incident.asks_phone(now, self._trail_after_cancel_s):
            level = Level.SOS if now - incident.last_trigger_at <= self._trail_fast_s else Level.SOS_LATE
        # What the phone may forget waits for the disk only while it may see that something is kept.
        is_open = incident.shown is None or incident.shown.ended_at is None
        self._hub.attend(
            incident.tenant, incident.subject, incident.incident_id, level, keep=keep, owed=keep and is_open
        )

    def is_followed(self, incident: Incident) -> bool:
        """Whether something is still to be done for where its subject is."""
        return incident.is_active or incident.asks_phone(self._clock.now(), self._trail_after_cancel_s)

    def _listen(self, incident: Incident) -> None:
        """Outside duty the phone of somebody with an open alarm is listened to, and of nobody else."""
        if incident.cap_status is not CapStatus.ACTUAL:
            return  # whoever may begin an exercise may not locate people by it
        key = (incident.tenant, incident.subject)
        if self.is_followed(incident):
            asks = incident.asks_phone(self._clock.now(), self._trail_after_cancel_s)
            self._listened.setdefault(key, {})[incident.incident_id] = asks
        elif key in self._listened:
            self._listened[key].pop(incident.incident_id, None)
            if not self._listened[key]:
                del self._listened[key]
        self._stand_aside(*key)

    def _is_quiet(self, tenant: TenantId, user: UserId) -> bool:
        return not any(self._listened.get((tenant, user), {}).values())

    def _stand_aside(self, tenant: TenantId, user: UserId) -> None:
        if self._rights.shard_of(tenant, user) is not None:
            return
        key, shard, is_quiet = (tenant, user), None, self._is_quiet(tenant, user)
        if key in self._listened:
            if self._aside_as.get(key) is is_quiet:
                return
            shard = self._aside.enter(tenant, user)
            self._aside_as[key] = is_quiet
        elif not self._leave_aside(tenant, user):
            return
        if self._hub is not None:
            self._hub.duty_changed(tenant, user, shard, quiet=is_quiet)

    def _leave_aside(self, tenant: TenantId, user: UserId) -> bool:
        self._aside.leave(tenant, user)
        return self._aside_as.pop((tenant, user), None) is not None

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
