"""Keeps an eye on where people are who called for help: the way before the tap, and whether their phone still speaks.

Stands before the fleet as ``safety.ports.Watchers``: what the fleet does (rights, attention) is done first.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from api.views import fix_view
from core.clock import Clock
from core.ids import IncidentId, TenantId, UserId
from core.shard import Shard
from geo.point import Frame
from geo.shard_positions import ShardPositions
from realtime.messages import IncidentContact
from realtime.ports import PositionLog
from realtime.service import RealtimeService
from safety.access import told_the_end
from safety.holds import Holds
from safety.model import Incident, IncidentFix
from safety.ports import Surroundings
from safety.settings import SafetySettings
from server.fleet import Fleet

_log = logging.getLogger(__name__)
_encode: Final = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Raiser:
    """Somebody with an active incident; ``lost_at`` is when their phone was heard last, None while it speaks."""

    incident: Incident
    lost_at: float | None = None


class RaiserWatch:
    """One for the process. Memory: one entry for each active incident.

    Args:
        fleet: Told of each change first.
        positions: Of every served shard, and of those who have an alarm outside duty.
        hub: Tells people.
        log: Where trails are kept; None keeps none.
        settings: Of safety.
        frame: The platform's.
        clock: Wall time.
        holds: Told of each change, before the fleet: what belongs to an incident is evidence from its first moment.
    """

    def __init__(
        self,
        fleet: Fleet,
        positions: Mapping[Shard, ShardPositions],
        hub: RealtimeService,
        log: PositionLog | None,
        settings: SafetySettings,
        frame: Frame,
        clock: Clock,
        holds: Holds,
    ) -> None:
        self._holds = holds
        self.surroundings: Surroundings | None = None
        """Says where somebody is now; set by wiring."""
        self.incident: Callable[[TenantId, IncidentId], Incident | None] = lambda _tenant, _incident: None
        """The incident as it is now, also where nothing changed that others are told of; set by wiring."""
        self._fleet = fleet
        self._positions = positions
        self._hub = hub
        self._log = log
        self._settings = settings
        self._frame = frame
        self._clock = clock
        self._raisers: dict[tuple[TenantId, IncidentId], _Raiser] = {}
        self._began_at = clock.now()
        """Phones need a while to come back to a server that was started again."""

    # -- safety.ports.Watchers --------------------------------------------------------------------------

    def incident_changed(self, incident: Incident) -> None:
        """Rights and attention first; the first news of an incident freezes the way that led to it."""
        self._holds.incident_changed(incident)
        self._fleet.incident_changed(incident)
        key = (incident.tenant, incident.incident_id)
        if not self._fleet.is_followed(incident):
            self._raisers.pop(key, None)
            return
        known = self._raisers.get(key)
        if known is not None:
            known.incident = incident
            return
        self._raisers[key] = _Raiser(incident)
        if incident.is_active:
            self._freeze(incident)

    def _freeze(self, incident: Incident) -> None:
        """Write the last minute before the tap into the log, under the incident's name: memory forgets it soon.

        After a restart memory is empty, and what was frozen before it stays as it is.
        """
        shard = self._fleet.heard_in(incident.tenant, incident.subject)
        if shard is None or self._log is None:
            return
        since = incident.raised_at - self._settings.trail_before_s
        trail = self._positions[shard].trail(incident.subject, since)
        if not trail:
            return
        columns = {
            "fixed_at": [fix.fixed_at for fix in trail],
            "received_at": [fix.received_at for fix in trail],
            "lat": [fix.point.lat_deg for fix in trail],
            "lng": [fix.point.lng_deg for fix in trail],
            "accuracy_m": [fix.accuracy_m for fix in trail],
            "speed_mps": [fix.speed_mps for fix in trail],
            "heading_deg": [fix.heading_deg for fix in trail],
        }
        self._log.append(shard, incident.subject, incident.incident_id, columns)

    # -- whether they are still heard -------------------------------------------------------------------

    def lost_at(self, tenant: TenantId, incident_id: IncidentId) -> float | None:
        """Since when the phone of an active incident's subject is silent; None while it speaks or was never heard."""
        raiser = self._raisers.get((tenant, incident_id))
        return raiser.lost_at if raiser is not None else None

    def last_fix(self, tenant: TenantId, user: UserId, now: float) -> IncidentFix | None:
        """Where somebody is, or was seen last."""
        found = self.surroundings.last_fix(tenant, user, now) if self.surroundings is not None else None
        return found[1] if found is not None else None

    def turn(self, now: float) -> None:
        """Look at everybody once; called every few seconds. Cost: 5 us for each active incident."""
        for key, raiser in list(self._raisers.items()):
            incident = raiser.incident
            incident = raiser.incident = self.incident(incident.tenant, incident.incident_id) or incident
            self._fleet.attend_raiser(incident)
            if not self._fleet.is_followed(incident):
                del self._raisers[key]
            if not incident.is_active:
                raiser.lost_at = None
                continue  # only their phone does not know yet
            heard_at = self._heard_at(incident)
            if heard_at is None:
                continue
            is_lost = now - max(heard_at, self._began_at) > self._settings.contact_lost_s
            if is_lost == (raiser.lost_at is not None):
                continue
            raiser.lost_at = heard_at if is_lost else None
            self._tell(raiser, heard_at, now)

    def _heard_at(self, incident: Incident) -> float | None:
        shard = self._fleet.heard_in(incident.tenant, incident.subject)
        slot = self._positions[shard].index.slot(incident.subject) if shard is not None else None
        if shard is None or slot is None:
            return None
        # Whoever tapped was heard then, by whichever door: a page and a program have no connection to lose.
        tapped_at = 0.0 if incident.cause else incident.last_trigger_at
        heard_at = max(float(self._positions[shard].index.heard_at[slot]), tapped_at)
        return heard_at if heard_at > 0 else None

    def _tell(self, raiser: _Raiser, heard_at: float, now: float) -> None:
        """Once when they fall silent and once when they are back, to those who were told of the incident."""
        incident = raiser.incident
        is_lost = raiser.lost_at is not None
        _log.warning(
            "the phone of a raiser is %s", "silent" if is_lost else "back",
            extra={"incident_id": incident.incident_id, "silent_s": round(now - heard_at, 1)},
        )  # fmt: skip
        last = self.last_fix(incident.tenant, incident.subject, now)
        fix = fix_view(last, self._frame, now) if last is not None else None
        body = _encode(IncidentContact(incident.incident_id, is_lost, round(heard_at, 3), fix))
        ended = told_the_end(incident)
        for target in incident.targets:
            if target.user not in ended:
                self._hub.send_direct(incident.tenant, target.user, body)
