"""What connects care with the rest: orders as jobs, phones as contacts, alarms as incidents."""

import math
from collections.abc import Callable, Sequence
from typing import Final

from api.cities import Cities
from core.ids import CityId, DeviceId, TenantId, UserId
from core.principal import Principal, Role
from dispatch.endings import begun_at
from dispatch.model import Order, OrderState
from dispatch.ports import Watchers
from safety.care_model import Alarm, Cause, Contact, Gravity, Job, JobState, Watch
from safety.care_ports import Stored
from safety.care_service import CareService
from safety.drills import DRILL_CAUSE
from safety.events import IncidentResolved, SubjectAnswered
from safety.model import CapStatus, Incident, IncidentKind, SosReport, TriggerSource
from safety.service import SafetyService

_STATES = {
    OrderState.EN_ROUTE: JobState.EN_ROUTE,
    OrderState.ARRIVED: JobState.ARRIVED,
    OrderState.IN_SERVICE: JobState.IN_SERVICE,
    OrderState.FINISHED: JobState.FINISHED,
    OrderState.CONFIRMED: JobState.FINISHED,
}
"""A confirmed order's technician may still be there: only ``left_at`` says that they have gone."""
_NOBODY = UserId("")
DRILL_DESK: Final = UserId("drill_desk")
"""Who ends drills; signs in nowhere."""
CARE_DEVICE: Final = DeviceId("care")
"""The device that incidents of care name: no phone has sent them."""


def as_job(order: Order) -> Job:
    """What care must know of an order; over for one without a technician under way."""
    state = _STATES.get(order.state, JobState.OVER)
    if order.technician is None or (order.state is OrderState.CONFIRMED and order.left_at is not None):
        state = JobState.OVER
    expected_at = ends_at = None
    since = order.changed_at
    if state is JobState.EN_ROUTE and order.eta_s is not None:
        expected_at = max(since + order.eta_s, order.scheduled_for or 0.0)
    if state is JobState.IN_SERVICE:
        since = begun_at(order)
        ends_at = since + order.duration_s
    return Job(
        tenant=order.tenant,
        city=order.city,
        order_id=order.order_id,
        version=order.version,
        state=state,
        technician=order.technician or _NOBODY,
        customer=order.customer,
        service=order.service,
        site=order.site.point,
        since=since,
        expected_at=expected_at,
        ends_at=ends_at,
    )


class OpenJobs:
    """Implements ``safety.care_ports.Jobs``."""

    def __init__(self, cities: Cities) -> None:
        """Keep where to look."""
        self._cities = cities

    def found(self, now: float) -> tuple[Sequence[Job], frozenset[tuple[TenantId, CityId]]]:
        """All jobs under way, and the cities that could be read."""
        parts = [part for part in self._cities.all() if not part.dispatch.is_closed]
        jobs = [as_job(order) for part in parts for order in part.dispatch.engine.stored.orders()]
        under_way = [job for job in jobs if job.state is not JobState.OVER]
        return under_way, frozenset((part.shard.tenant, part.shard.city) for part in parts)


class PhoneContacts:
    """Implements ``safety.care_ports.Phones`` with the index of positions."""

    def __init__(self, cities: Cities) -> None:
        """Keep where to look."""
        self._cities = cities

    def of(self, tenant: TenantId, city: CityId, user: UserId) -> Contact:
        """What is known now of somebody on duty there."""
        part = self._cities.get(tenant, city)
        slot = part.positions.index.slot(user) if part is not None else None
        if part is None or slot is None:
            return Contact(None)
        heard_at = float(part.positions.index.heard_at[slot])
        live = part.positions.live_at(slot)
        heard_at = heard_at if math.isfinite(heard_at) else 0.0
        return Contact(heard_at) if live is None else Contact(heard_at, live.point, live.seen_at)


class JobWatchers:
    """Implements ``dispatch.ports.Watchers``: whoever was there first, then care."""

    def __init__(self, first: Watchers) -> None:
        """Care comes later: it is needed by nothing that it needs."""
        self._first = first
        self.care: CareService | None = None

    def tracking_changed(self, order: Order) -> None:
        """The order's technician or state changed."""
        self._first.tracking_changed(order)
        if self.care is not None:
            self.care.job_changed(as_job(order))


class IncidentAlarms:
    """Implements ``safety.care_ports.Alarms`` and ``DrillAlarms``."""

    def __init__(self, safety: SafetyService) -> None:
        """Keep whom to tell."""
        self._safety = safety

    def raise_drill(self, who: Principal, city: CityId, key: str, now: float, raised: Callable[[bool], None]) -> None:
        """See the port of drills. The desk ends it at once: nobody is to come, and nobody to look after it."""

        def made(incident: Incident) -> None:
            raised(self._safety.is_promised(incident.incident_id))
            desk = Principal(
                tenant=who.tenant,
                user=DRILL_DESK,
                role=Role.OPS,
                roles=frozenset({Role.OPS}),
                cities=frozenset({incident.city} if incident.city is not None else ()),
                device=CARE_DEVICE,
                expires_at=now,
            )
            self._safety.post(IncidentResolved(desk, incident.incident_id, "false_test", "drill"))

        self._safety.raise_for(
            who,
            SosReport(key=key),
            now,
            source=TriggerSource.HUB,
            cap_status=CapStatus.EXERCISE,
            cause=DRILL_CAUSE,
            raised=made,
            failed=lambda error: raised(False),
        )

    def answered_late(self, tenant: TenantId, alarm: Alarm) -> None:
        """See the port."""
        self._safety.post(SubjectAnswered(tenant, alarm.subject, alarm.key), urgent=True)

    def raise_alarm(
        self, tenant: TenantId, watch: Watch | None, alarm: Alarm, role: str, now: float, stored: Stored
    ) -> None:
        """See the port. While nothing holds the incident it is not said to be stored: it is raised again then."""
        is_tap = alarm.cause in (Cause.CHECKIN_NO, Cause.CHECKIN_HELP)
        subject = Principal(
            tenant=tenant,
            user=alarm.subject,
            role=Role(role),
            roles=frozenset({Role(role)}),
            cities=frozenset({watch.job.city}) if watch is not None else frozenset(),
            device=CARE_DEVICE,
            expires_at=now,
        )
        report = SosReport(
            key=alarm.key,
            order_id=watch.job.order_id if watch is not None else None,
            silent=alarm.gravity is Gravity.DURESS,
        )

        def raised(incident: Incident) -> None:
            if self._safety.is_promised(incident.incident_id):
                stored(incident.incident_id)

        self._safety.raise_for(
            subject,
            report,
            now,
            source=TriggerSource.HUB if is_tap else TriggerSource.SYSTEM,
            kind=IncidentKind(alarm.gravity.value),
            cause=alarm.cause.value,
            raised=raised,
        )
