"""What each kind of reader may see of an order, an offer or an incident. Pure; the privacy of orders is here.

The exact address belongs to the customer, the system and ops; the technician gets it with the job and loses it
with the job, at the latest when they are taken for free. Customers see who comes, never where that person was before
the way to them began.
"""

from enum import StrEnum
from typing import Final

from msgspec import UNSET, UnsetType

from api.bodies import OfferRow
from core.ids import CityId, UserId
from core.principal import Principal, Role
from dispatch.events import JobNews
from dispatch.model import Cancellation, Mode, Offer, Order, OrderReason, OrderState, Technician, TimeRequest
from dispatch.order import JOB_STATES, is_coming, reason_of
from geo.cells import cell_of, distance_band
from geo.point import Frame
from realtime import messages
from realtime.messages import Crs
from safety.freshness import freshness, r95_m
from safety.model import Incident, IncidentFix, OfferState, Target

TECHNICIAN_STATES: Final = JOB_STATES | {OrderState.DEPARTED_SAFE}
"""States of an open order in which it has a technician."""
ADDRESS_STATES: Final = JOB_STATES
"""States in which the technician needs the address."""
TRACKED_STATES: Final = frozenset({OrderState.EN_ROUTE, OrderState.ARRIVED, OrderState.IN_SERVICE})
"""States in which a customer sees the technician's position."""


def needs_address(order: Order) -> bool:
    """Whether the order's technician may read where it is: not once they may be asked for another."""
    return order.state in ADDRESS_STATES and order.freed_at is None


class Reader(StrEnum):
    """In what capacity someone reads an order."""

    STAFF = "staff"
    CUSTOMER = "customer"
    TECHNICIAN = "technician"
    LINK = "link"
    """Whoever holds an arrival link acts for the customer, who may not be they: no name, phone, address and words."""


def is_staff_of(who: Principal, city: CityId) -> bool:
    """Ops of the city, and programs of the platform (of the city, when their token names cities)."""
    if city in who.cities:
        return who.holds(Role.OPS, Role.SERVICE)
    return who.holds(Role.SERVICE) and not who.cities


def crs_of(frame: Frame) -> Crs:
    """A frame's word on the wire."""
    return frame.value


def order_view(
    order: Order, reader: Reader, frame: Frame, technician: Technician | None = None, rating: float | None = None
) -> messages.OrderView:
    """An order as ``reader`` may see it.

    Args:
        frame: The platform's frame, in which ``order.site.point`` is.
        technician: The order's technician where known, for the card; ``rating`` is their mean.
    """
    whole = reader in (Reader.STAFF, Reader.CUSTOMER, Reader.LINK)
    at_door = reader is not Reader.LINK and (whole or needs_address(order))
    why = reason_of(order)
    reads_said = (
        bool(order.said)
        and reader is not Reader.LINK
        and (reader is Reader.STAFF or order.said_by == _user(order, reader))
    )
    card: messages.TechnicianCard | UnsetType = UNSET
    if technician is not None and whole:
        card = messages.TechnicianCard(
            technician.technician,
            technician.name,
            round(rating, 1) if rating is not None else None,
            technician.verified,
        )
    return messages.OrderView(
        order=order.order_id,
        state=order.state.value,
        service=order.service,
        city=order.city,
        zone=order.zone or UNSET,
        changed_at=stamp(order.changed_at),
        placed_at=stamp(order.placed_at),
        customer=order.customer if reader is not Reader.TECHNICIAN else UNSET,
        contact_name=order.contact_name if at_door else UNSET,
        contact_phone=order.contact_phone if at_door else UNSET,
        location=_place(order, frame) if at_door else link_place(order, frame) if reader is Reader.LINK else UNSET,
        technician=card,
        duration_s=order.duration_s,
        scheduled_for=stamp(order.scheduled_for) if order.scheduled_for is not None else UNSET,
        booked_for=stamp(order.booked_for) if order.booked_for is not None else UNSET,
        lost_at=stamp(order.lost_at) if order.lost_at is not None and reader is Reader.STAFF else UNSET,
        price_fen=order.service_fen + order.travel_fen,
        eta_s=round(order.eta_s, 1) if order.eta_s is not None and is_coming(order) else UNSET,
        waits_until=stamp(order.waits_until)
        if order.state is OrderState.ARRIVED and order.waits_until is not None
        else UNSET,
        reason=why.value if why is not None else UNSET,
        said=order.said if reads_said else UNSET,
        said_by=order.said_by if reads_said and order.said_by is not None else UNSET,
        mode=order.mode.value if whole else UNSET,
        picked=order.picked if order.picked is not None and reader is Reader.STAFF else UNSET,
        fallback=order.fallback.value if order.mode is Mode.DIRECTED and reader is Reader.STAFF else UNSET,
        pinned_by=order.pinned_by if order.pinned_by is not None and reader is Reader.STAFF else UNSET,
        override=list(order.override) if order.override and reader is Reader.STAFF else UNSET,
        time_request=_time_request(order.time_request) if order.time_request is not None else UNSET,
        cancellation=cancellation_view(order.cancellation, reader) if order.cancellation is not None else UNSET,
    )


def _user(order: Order, reader: Reader) -> UserId | None:
    """Whom one of the order's two sides is."""
    return order.technician if reader is Reader.TECHNICIAN else order.customer


def _time_request(request: TimeRequest) -> messages.TimeRequestView:
    return messages.TimeRequestView(
        request=request.request_id,
        minutes=round(request.added_s / 60.0),
        price_fen=request.price_fen,
        asked_at=stamp(request.asked_at),
        expires_at=stamp(request.expires_at),
        state=request.state.value,
    )


def cancellation_view(cancellation: Cancellation, reader: Reader) -> messages.CancellationView:
    """What calling an order off costs; what the technician gets of it is not the customer's business."""
    return messages.CancellationView(
        stage=cancellation.stage.value,
        fee_fen=cancellation.fee_fen,
        refund_fen=cancellation.refund_fen,
        is_waived=cancellation.is_waived,
        technician_fen=cancellation.technician_fen if reader in (Reader.STAFF, Reader.TECHNICIAN) else UNSET,
        rises_at=stamp(cancellation.rises_at) if cancellation.rises_at is not None else UNSET,
    )


def job_news(news: JobNews) -> messages.JobNews:
    """News of a job. No place is in it: whoever may see one watches the order."""
    technician = news.order.technician
    return messages.JobNews(
        order=news.order.order_id,
        what=news.what.value,
        at=stamp(news.at),
        technician=technician if technician is not None else UNSET,
        within_m=news.within_m if news.within_m is not None else UNSET,
        eta_s=round(news.eta_s, 1) if news.eta_s is not None else UNSET,
        far_m=news.far_m if news.far_m is not None else UNSET,
    )


def lost_order_view(order: Order) -> messages.OrderView:
    """What remains visible to the technician who lost an order: that it is no longer theirs."""
    return messages.OrderView(
        order=order.order_id,
        state=OrderState.CANCELLED.value,
        service=order.service,
        city=order.city,
        changed_at=stamp(order.changed_at),
        placed_at=stamp(order.placed_at),
        reason=OrderReason.REASSIGNED.value,
    )


def offer_view(offer: Offer, order: Order, why: tuple[str, ...], now: float, *, reminder: int = 0) -> messages.Offer:
    """An offer: cell, band and district instead of the address."""
    return messages.Offer(
        offer=offer.offer_id,
        order=order.order_id,
        expires_at=stamp(offer.expires_at),
        remaining_ms=max(0, round((offer.expires_at - now) * 1000)),
        service=order.service,
        cell=cell_of(order.site.point),
        distance_band=distance_band(offer.distance_m),
        district=order.site.district[:64],
        fee_fen=order.service_fen + order.travel_fen,
        why=list(why[:16]),
        scheduled_for=stamp(order.scheduled_for) if order.scheduled_for is not None else None,
        reminder=reminder,
    )


def offer_row(offer: Offer, reader: Reader) -> OfferRow:
    """A line of a listing of offers: what it cost the others is for staff."""
    is_staff = reader is Reader.STAFF
    return OfferRow(
        offer=offer.offer_id,
        order=offer.order_id,
        technician=offer.technician,
        city=offer.city,
        state=offer.state.value,
        offered_at=stamp(offer.offered_at),
        expires_at=stamp(offer.expires_at),
        changed_at=stamp(offer.changed_at),
        distance_band=distance_band(offer.distance_m),
        delivered_at=stamp(offer.delivered_at) if offer.delivered_at is not None else None,
        reason=offer.reason,
        round=(offer.round_id or None) if is_staff else None,
        cost_s=round(offer.cost_s, 3) if is_staff else None,
        travel_s=round(offer.travel_s, 3) if is_staff else None,
        distance_m=round(offer.distance_m, 1) if is_staff else None,
    )


def incident_view(
    incident: Incident, frame: Frame, now: float, target: Target | None, why: str
) -> messages.IncidentView:
    """An incident as its responders and ops see it: the whole case."""
    return messages.IncidentView(
        incident=incident.incident_id,
        state=incident.state.value,
        level=incident.level,
        subject=incident.subject,
        subject_role=incident.subject_role,
        city=incident.city,
        raised_at=stamp(incident.raised_at),
        changed_at=stamp(incident.changed_at),
        triggers=incident.triggers,
        silent=incident.silent,
        restricted=incident.restricted,
        fix=fix_view(incident.fix, frame, now) if incident.fix is not None else None,
        order=incident.order_id,
        booked=_booked(incident, frame),
        note=incident.note,
        owner=incident.owner,
        distance_m=round(target.distance_m) if target is not None and target.distance_m is not None else None,
        kind=incident.kind.value,
        cap_status=incident.cap_status.value,
        cause=incident.cause[:64],
        responders=_coming(incident),
        asked=_asked(incident, target, now),
        cancel_asked_at=stamp(incident.cancel_asked_at) if incident.cancel_asked_at is not None else None,
        proposed=_proposed(incident),
        linked=list(incident.linked[:100]),
        why=why[:64],
        version=incident.version,
    )


def incident_update(incident: Incident, why: str) -> messages.IncidentUpdate:
    """What changed in an incident."""
    return messages.IncidentUpdate(
        incident=incident.incident_id,
        state=incident.state.value,
        level=incident.level,
        changed_at=stamp(incident.changed_at),
        owner=incident.owner,
        triggers=incident.triggers,
        kind=incident.kind.value,
        responders=_coming(incident),
        cancel_asked_at=stamp(incident.cancel_asked_at) if incident.cancel_asked_at is not None else None,
        proposed=_proposed(incident),
        why=why[:64],
        disposition=incident.disposition,
        version=incident.version,
    )


def incident_end(incident: Incident, user: UserId, why: str) -> messages.IncidentUpdate:
    """What an incident is to somebody who was called and has no more to do with it: how it stands, and their part."""
    return messages.IncidentUpdate(
        incident=incident.incident_id,
        state=incident.state.value,
        level=incident.level,
        changed_at=stamp(incident.changed_at),
        owner=incident.owner if incident.owner == user else None,
        responders=[one for one in _coming(incident) if one.user == user],
        why=why[:64],
        disposition=incident.disposition,
        version=incident.version,
    )


def _coming(incident: Incident) -> list[messages.Coming]:
    return [
        messages.Coming(
            slot.user,
            slot.state.value,
            stamp(slot.since),
            round(slot.nearest_m) if slot.nearest_m is not None else None,
            stamp(slot.claimed_at) if slot.claimed_at is not None else None,
            round(slot.claimed_m) if slot.claimed_m is not None else None,
        )
        for slot in incident.slots[:100]
    ]


def _asked(incident: Incident, target: Target | None, now: float) -> messages.AskedToGo | None:
    for offer in incident.offers:
        if target is not None and offer.user == target.user and offer.state is OfferState.PENDING:
            left_ms = round(max(0.0, offer.until - now) * 1_000)
            return messages.AskedToGo(offer.fence, stamp(offer.until), left_ms)
    return None


def _proposed(incident: Incident) -> messages.ProposedEnd | None:
    said = incident.proposal
    return None if said is None else messages.ProposedEnd(said.who, said.disposition, stamp(said.at))


def stamp(at: float) -> float:
    """A time as it stands on the wire: at most three decimals."""
    return round(at, 3)


def _place(order: Order, frame: Frame) -> messages.Place:
    site = order.site
    return messages.Place(
        lat=round(site.point.lat_deg, 7),
        lng=round(site.point.lng_deg, 7),
        crs=crs_of(frame),
        address=site.address,
        unit=site.unit or UNSET,
        entrance_note=site.entrance_note or UNSET,
    )


def link_place(order: Order, frame: Frame) -> messages.Place:
    """Where the map of an arrival link has its middle: the point, without what is written on the door."""
    point = order.site.point
    return messages.Place(lat=round(point.lat_deg, 7), lng=round(point.lng_deg, 7), crs=crs_of(frame))


def _booked(incident: Incident, frame: Frame) -> messages.Place | None:
    booked = incident.booked
    if booked is None:
        return None
    return messages.Place(
        lat=round(booked.point.lat_deg, 7),
        lng=round(booked.point.lng_deg, 7),
        crs=crs_of(frame),
        address=booked.address,
        unit=booked.unit or UNSET,
        entrance_note=booked.entrance_note or UNSET,
    )


def fix_view(fix: IncidentFix, frame: Frame, now: float) -> messages.Fix:
    """A position with everything that says what it is worth."""
    age_s = max(0.0, now - fix.fixed_at)
    return messages.Fix(
        lat=round(fix.point.lat_deg, 7),
        lng=round(fix.point.lng_deg, 7),
        crs=crs_of(frame),
        accuracy_m=fix.accuracy_m,
        age_s=round(age_s, 1),
        source=fix.source.value,
        freshness=freshness(age_s).value,
        r95_m=r95_m(fix.accuracy_m),
    )
