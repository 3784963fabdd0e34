"""What is open for a user, in one message: what does not fit is counted, and read over HTTP.

A snapshot is sent at once, before anything else of its stream, so its size is also how far an SOS may be behind it.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, TypeVar

import msgspec

from api.care import checkin_view
from api.cities import Cities, ShardParts
from api.views import TECHNICIAN_STATES, Reader, incident_view, offer_view, order_view
from core.outbox import Stream
from core.principal import Principal, Role
from dispatch.model import Order
from geo.point import Frame
from realtime.messages import MESSAGE_BYTES_MAX, IncidentView, OrderView, Snapshot
from safety.care_service import CareService
from safety.model import Incident, IncidentState
from safety.service import SafetyService

SNAPSHOT_BYTES_MAX: Final = MESSAGE_BYTES_MAX * 3 // 4
"""Bytes of what a snapshot lists, as JSON. The rest is for its stream and number, and for what its bytes grow by when
they are written as MessagePack (a short number takes 9) or in another coordinate frame (7 decimals)."""

CHECKINS_MAX: Final = 50
"""What one person is asked at once; nobody has as many jobs at a time."""

_encode = msgspec.json.Encoder().encode
_View = TypeVar("_View", OrderView, IncidentView)
_Found = tuple[ShardParts, Order, Reader]


class OpenThings:
    """Implements ``realtime.ports.Snapshots``: what is open for a user, as they may see it."""

    def __init__(self, frame: Frame, cities: Cities, safety: SafetyService, care: CareService) -> None:
        """Keep where to look."""
        self._care = care
        self._frame = frame
        self._cities = cities
        self._safety = safety

    def build(self, who: Principal, stream: Stream, now: float) -> Snapshot | None:
        """The user's open things of one stream; None when there are none.

        Of too many orders the user's own come first, then the newest; of too many incidents those that nobody has
        acknowledged, then the newest.

        Cost:
            O(n log n) for n open things; only those that fit are encoded.
        """
        return self._incidents(who, now) if stream is Stream.SAFETY else self._orders(who, now)

    def _incidents(self, who: Principal, now: float) -> Snapshot | None:
        incidents = sorted(self._safety.visible(who), key=_urgency, reverse=True)
        checkins = [checkin_view(*asked) for asked in self._care.asked_of(who.tenant, who.user)[:CHECKINS_MAX]]
        if not incidents and not checkins:
            return None
        room_bytes = SNAPSHOT_BYTES_MAX - len(_encode(checkins))
        page = _first_page((self._incident(incident, who, now) for incident in incidents), room_bytes)
        return Snapshot(incidents=page, incidents_left_out=len(incidents) - len(page), checkins=checkins)

    def _incident(self, incident: Incident, who: Principal, now: float) -> IncidentView:
        target = next((t for t in incident.targets if t.user == who.user), None)
        return incident_view(incident, self._frame, now, target, "snapshot")

    def _orders(self, who: Principal, now: float) -> Snapshot | None:
        own: list[_Found] = []
        looked_after: list[_Found] = []
        offers = []
        for part in self._cities.of(who.tenant):
            dispatch = part.dispatch
            is_staff = who.holds(Role.OPS) and part.shard.city in who.cities
            mine = {order.order_id: order for order in dispatch.orders_of(who.user)}
            for order in mine.values():
                reader = Reader.CUSTOMER if order.customer == who.user else Reader.TECHNICIAN
                own.append((part, order, Reader.STAFF if is_staff else reader))
            if is_staff:
                others = (order for order in dispatch.open_orders() if order.order_id not in mine)
                looked_after.extend((part, order, Reader.STAFF) for order in others)
            offer = dispatch.live_offer(who.user)
            offered = dispatch.order(offer.order_id) if offer is not None else None
            if offer is not None and offered is not None:
                offers.append(offer_view(offer, offered, (), now))
        orders = sorted(own, key=_placed, reverse=True) + sorted(looked_after, key=_placed, reverse=True)
        if not orders and not offers:
            return None
        room_bytes = SNAPSHOT_BYTES_MAX - len(_encode(offers))
        page = _first_page((self._order(*found, now) for found in orders), room_bytes)
        return Snapshot(orders=page, offers=offers, orders_left_out=len(orders) - len(page))

    def _order(self, part: ShardParts, order: Order, reader: Reader, now: float) -> OrderView:
        technician = part.dispatch.technician(order.technician) if order.technician is not None else None
        rating = part.dispatch.rating(technician.technician, now) if technician is not None else None
        card = technician if order.state in TECHNICIAN_STATES else None
        order = replace(order, eta_s=part.dispatch.eta_s(order))
        return order_view(order, reader, self._frame, card, rating)


def _placed(found: _Found) -> tuple[float, str]:
    """The order of ``GET /v1/orders``."""
    order = found[1]
    return order.placed_at, order.order_id


def _urgency(incident: Incident) -> tuple[bool, float, str]:
    return incident.state is IncidentState.OPEN, incident.raised_at, incident.incident_id


def _first_page(views: Iterable[_View], room_bytes: int) -> list[_View]:
    """The first views that fit into ``room_bytes`` with a comma each."""
    page = []
    for view in views:
        room_bytes -= len(_encode(view)) + 1
        if room_bytes < 0:
            break
        page.append(view)
    return page
