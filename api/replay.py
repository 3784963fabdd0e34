"""What a stored message may still say when it is sent again: rights are those of now, not of when it was written.

A row of the outbox keeps its number and its type of news for ever, but not the place, the name and the phone of
somebody whom its reader has nothing to do with any more.
"""

from typing import Any, Final

import msgspec

from api.cities import Cities
from api.views import incident_end, needs_address
from core.ids import IncidentId, OrderId
from core.principal import Principal, Role
from dispatch.model import OrderReason
from realtime.messages import IncidentUpdate, JobNews
from safety.access import may_read, may_see
from safety.service import SafetyService

_ORDER: Final = b'{"type":"order",'
_JOB_NEWS: Final = b'{"type":"job.news",'
_INCIDENT: Final = b'{"type":"incident",'
_INCIDENT_UPDATE: Final = b'{"type":"incident.update",'
_OF_STAFF: Final = frozenset({"customer", "technician"})
"""Fields of an order that its technician never sees."""
_AT_THE_DOOR: Final = frozenset({"contact_name", "contact_phone", "location", "eta_s"})
"""Fields of an order that its technician sees while they have the job."""
_NOT_FOR_LINKS: Final = frozenset({"contact_name", "contact_phone", "location", "said", "said_by"})
"""Fields of an order that whoever holds an arrival link is not told on the hub (``views.Reader.LINK``)."""
_SAID: Final = frozenset({"said", "said_by"})
"""Fields of an order for staff and for who wrote it."""
_REASONS: Final = frozenset(OrderReason)
_WITHDRAWN: Final = "withdrawn"


class ReplayedRows:
    """Implements ``realtime.ports.RowRights``. Look-ups are from memory; other messages hold nothing to take away."""

    def __init__(self, cities: Cities, safety: SafetyService) -> None:
        """Keep where to look."""
        self._cities = cities
        self._safety = safety

    def current(self, who: Principal, body: bytes) -> bytes:
        """The message as ``who`` may read it now. Cost: one decoding for orders and incidents."""
        if body.startswith(_ORDER):
            return self._order(who, body)
        if body.startswith(_JOB_NEWS):
            return self._job_news(who, body)
        if body.startswith((_INCIDENT, _INCIDENT_UPDATE)):
            return self._incident(who, body)
        return body

    def of_order(self, who: Principal, body: bytes) -> bytes | None:
        """What of a message concerns the one order of ``who``, without what their link does not show."""
        if not body.startswith(_ORDER):
            return None
        fields: dict[str, Any] = msgspec.json.decode(body)
        if fields["order"] != who.order or fields.get("customer") != who.user:
            return None
        return msgspec.json.encode({name: value for name, value in fields.items() if name not in _NOT_FOR_LINKS})

    def _order(self, who: Principal, body: bytes) -> bytes:
        fields: dict[str, Any] = msgspec.json.decode(body)
        if who.holds(Role.OPS) and fields["city"] in who.cities:
            return body
        hidden: frozenset[str] = frozenset()
        if fields.get("said_by") != who.user:
            hidden |= _SAID
        if fields.get("reason") not in _REASONS:
            hidden |= {"reason"}  # an earlier version put there what somebody wrote
        if fields.get("customer") != who.user:
            hidden |= _OF_STAFF
            found = self._cities.order(who.tenant, OrderId(fields["order"]))
            if found is None or found[1].technician != who.user or not needs_address(found[1]):
                hidden |= _AT_THE_DOOR
        if hidden.isdisjoint(fields):
            return body
        return msgspec.json.encode({name: value for name, value in fields.items() if name not in hidden})

    def _job_news(self, who: Principal, body: bytes) -> bytes:
        """Who came near belongs to the order's past as soon as somebody else has it, or nobody."""
        fields: dict[str, Any] = msgspec.json.decode(body)
        found = self._cities.order(who.tenant, OrderId(fields["order"]))
        order = found[1] if found is not None else None
        if order is not None and order.technician == fields.get("technician"):
            sides = (order.customer, order.technician)
            if who.user in sides or (who.holds(Role.OPS) and order.city in who.cities):
                return body
        return msgspec.json.encode(JobNews(fields["order"], "withdrawn", fields["at"]))

    def _incident(self, who: Principal, body: bytes) -> bytes:
        fields: dict[str, Any] = msgspec.json.decode(body)
        incident = self._safety.incident(who.tenant, IncidentId(fields["incident"]))
        if incident is not None and may_read(incident, who):
            return body
        if incident is not None and may_see(incident, who):
            return msgspec.json.encode(incident_end(incident, who.user, _WITHDRAWN))
        # One that is no longer in memory ended long ago: whoever may, reads it over HTTP.
        return msgspec.json.encode(
            IncidentUpdate(
                incident=fields["incident"],
                state=fields["state"],
                level=fields["level"],
                changed_at=fields["changed_at"],
                why=_WITHDRAWN,
                version=fields.get("version", 0),
            )
        )
