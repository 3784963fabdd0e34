"""Effects of the domains as messages for people: who is told, and what they may read of it. Pure but for look-ups."""

from collections.abc import Sequence
from typing import Final

import msgspec

from api.ports import Staff
from api.views import (
    Reader,
    incident_end,
    incident_update,
    incident_view,
    job_news,
    lost_order_view,
    offer_view,
    order_view,
)
from core.ids import TenantId, UserId
from core.outbox import OutboxDraft, Stream
from core.principal import Role
from dispatch import events as dispatch_events
from dispatch.model import Order
from geo.point import Frame
from realtime.messages import OfferClosed, SosAck
from safety import events as safety_events
from safety.access import told_the_end
from safety.drills import DRILL_CAUSE
from safety.model import CapStatus

_encode = msgspec.json.Encoder().encode
_FOR_STAFF: Final = frozenset(
    {
        dispatch_events.OrderFact.TECHNICIAN_LOST,
        dispatch_events.OrderFact.TECHNICIAN_BACK,
        dispatch_events.OrderFact.TECHNICIAN_FREED,
    }
)
"""News of an order that its customer is not told, and its technician only where it takes something from them."""
_NEWS_FOR_STAFF: Final = frozenset(
    {dispatch_events.News.BLOCKED, dispatch_events.News.FAR_PHOTO, dispatch_events.News.UNFIT}
)
"""The same of its job."""


class DispatchOutbound:
    """Implements ``dispatch.ports.Outbound``."""

    def __init__(self, frame: Frame, staff: Staff) -> None:
        """Keep the platform's frame and the directory of staff."""
        self._frame = frame
        self._staff = staff

    def drafts(self, effects: Sequence[dispatch_events.Effect], now: float) -> Sequence[OutboxDraft]:
        """Messages that these effects mean; one encoding for all ops of a city."""
        drafts: list[OutboxDraft] = []
        for effect in effects:
            match effect:
                case dispatch_events.OrderChanged():
                    drafts.extend(self._order_changed(effect, now))
                case dispatch_events.JobNews():
                    drafts.extend(self._job_news(effect, now))
                case dispatch_events.SendOffer(offer, order, why):
                    body = _encode(offer_view(offer, order, why, now))
                    drafts.append(OutboxDraft(offer.tenant, offer.technician, Stream.MAIN, body, offer.offer_id))
                case dispatch_events.RemindOffer(offer, order, number):
                    body = _encode(offer_view(offer, order, (), now, reminder=number))
                    drafts.append(OutboxDraft(offer.tenant, offer.technician, Stream.MAIN, body, offer.offer_id))
                case dispatch_events.CloseOffer(offer, reason):
                    body = _encode(OfferClosed(offer.offer_id, reason.value))
                    drafts.append(OutboxDraft(offer.tenant, offer.technician, Stream.MAIN, body))
        return drafts

    def _order_changed(self, effect: dispatch_events.OrderChanged, now: float) -> list[OutboxDraft]:
        order = effect.order
        told: dict[UserId, bytes] = {}
        staff = self._staff.users(order.tenant, Role.OPS, order.city, now)
        if staff:
            body = _encode(order_view(order, Reader.STAFF, self._frame, effect.technician, effect.rating))
            told.update(dict.fromkeys(staff, body))
        if effect.what is dispatch_events.OrderFact.TECHNICIAN_FREED and order.technician is not None:
            told[order.technician] = _encode(order_view(order, Reader.TECHNICIAN, self._frame))  # without the address
        if effect.what in _FOR_STAFF:
            return [OutboxDraft(order.tenant, user, Stream.MAIN, body) for user, body in told.items()]
        if effect.previous_technician is not None:
            told[effect.previous_technician] = _encode(lost_order_view(order))
        if order.technician is not None and effect.what is not dispatch_events.OrderFact.RATED:
            told[order.technician] = _encode(order_view(order, Reader.TECHNICIAN, self._frame))
        told[order.customer] = _encode(
            order_view(order, Reader.CUSTOMER, self._frame, effect.technician, effect.rating)
        )
        return [OutboxDraft(order.tenant, user, Stream.MAIN, body) for user, body in told.items()]

    def _job_news(self, news: dispatch_events.JobNews, now: float) -> list[OutboxDraft]:
        """The customer is told everything but what is late; the technician and ops what may need an act of theirs.

        What speaks against one of the two is for ops alone.
        """
        order = news.order
        if news.what in _NEWS_FOR_STAFF:
            return self._for_ops(order, news, now)
        told = {order.customer: None} if news.what is not dispatch_events.News.OVERDUE else {}
        if news.what is not dispatch_events.News.NEAR:
            told.update(dict.fromkeys(self._staff.users(order.tenant, Role.OPS, order.city, now)))
            if order.technician is not None:
                told[order.technician] = None
        body = _encode(job_news(news))
        return [OutboxDraft(order.tenant, user, Stream.MAIN, body) for user in told]

    def _for_ops(self, order: Order, news: dispatch_events.JobNews, now: float) -> list[OutboxDraft]:
        body = _encode(job_news(news))
        staff = self._staff.users(order.tenant, Role.OPS, order.city, now)
        told = [user for user in staff if user not in (order.customer, order.technician)]
        return [OutboxDraft(order.tenant, user, Stream.MAIN, body) for user in told]


class SafetyOutbound:
    """Implements ``safety.ports.Outbound``."""

    def __init__(self, frame: Frame) -> None:
        """Keep the platform's frame."""
        self._frame = frame

    def drafts(self, effects: Sequence[safety_events.Effect], now: float) -> Sequence[OutboxDraft]:
        """Messages for the ``safety`` stream; a whole case carries the incident as its receipt."""
        drafts = []
        for tenant, user, body, receipt in self._messages(effects, now):
            drafts.append(OutboxDraft(tenant, user, Stream.SAFETY, body, receipt))
        return drafts

    def direct(self, effects: Sequence[safety_events.Effect], now: float) -> Sequence[tuple[TenantId, UserId, bytes]]:
        """The same messages without stream numbers."""
        return [(tenant, user, body) for tenant, user, body, _ in self._messages(effects, now)]

    def sos_ack(self, ack: safety_events.AckRaiser, *, durable: bool) -> bytes:
        """The ``sos_ack`` message as JSON bytes."""
        shown = ack.incident.seen_by_subject  # the truth would tell who is forced from who is not
        return _encode(
            SosAck(
                key=ack.key,
                incident=ack.incident.incident_id,
                durable=durable,
                level=shown.level,
                delivered=shown.delivered or 0,
                seen=bool(shown.seen),
                ignored=[name[:64] for name in ack.ignored[:64]],
                received_at=round(ack.received_at, 3),
            )
        )

    def _messages(
        self, effects: Sequence[safety_events.Effect], now: float
    ) -> list[tuple[TenantId, UserId, bytes, str]]:
        found: list[tuple[TenantId, UserId, bytes, str]] = []
        for effect in effects:
            built: list[tuple[TenantId, UserId, bytes, str]] = []
            incident = effect.incident
            if isinstance(effect, safety_events.NotifyTargets):
                for target in effect.targets:
                    view = incident_view(incident, self._frame, now, target, target.why or effect.reason.value)
                    built.append((incident.tenant, target.user, _encode(view), incident.incident_id))
            elif isinstance(effect, safety_events.UpdateTargets):
                body = _encode(incident_update(incident, effect.reason.value))
                ended = told_the_end(incident)
                for target in effect.targets:
                    is_end = target.user in ended
                    said = _encode(incident_end(incident, target.user, effect.reason.value)) if is_end else body
                    built.append((incident.tenant, target.user, said, ""))
            if incident.cap_status is not CapStatus.EXERCISE or incident.cause != DRILL_CAUSE:
                found += built  # who tries the alarm as they go on duty calls nobody out; an exercise of all rings
        return found
