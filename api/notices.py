"""Order events as notices for programs outside: who is told of what, and what stands in it."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import UNSET

from api.bodies import OrderEventOut
from api.views import Reader, order_view, stamp
from core.notice import Notice
from dispatch.events import Effect, OrderChanged, OrderFact
from dispatch.model import OrderState
from geo.point import Frame
from webhooks.service import WebhookService
from webhooks.settings import EVERY_EVENT, EndpointSettings

_encode = msgspec.json.Encoder().encode
KINDS: Final = frozenset(f"order.{what}" for what in (*OrderState, *OrderFact))
"""Kinds that the config may name: all that there are."""

_DETAILS: Final = ("contact_name", "contact_phone", "location", "said", "said_by")
"""Fields of an order for endpoints with ``details`` alone."""


class OrderNotices:
    """Implements ``dispatch.ports.Outside``."""

    def __init__(self, endpoints: Mapping[str, EndpointSettings], webhooks: WebhookService, frame: Frame) -> None:
        """Keep who is to be told, and who tells them."""
        self._endpoints = endpoints
        self._webhooks = webhooks
        self._frame = frame

    def notices(self, effects: Sequence[Effect], now: float) -> list[Notice]:
        """See the port. An endpoint whose queue is full is left out, and that is counted."""
        found: list[Notice] = []
        seen: set[str] = set()
        for effect in effects:
            if not isinstance(effect, OrderChanged):
                continue
            order, kind = effect.order, f"order.{effect.what}"
            event_id = _event_id(effect, seen)
            bodies: dict[bool, bytes] = {}
            for name, endpoint in self._endpoints.items():
                if not _is_for(endpoint, effect, kind) or not self._webhooks.takes(name):
                    continue
                body = bodies.get(endpoint.details)
                if body is None:
                    body = bodies[endpoint.details] = self._body(effect, event_id, kind, now, details=endpoint.details)
                found.append(Notice(order.tenant, name, event_id, kind, body, now))
        return found

    def committed(self, notices: Sequence[Notice]) -> None:
        """See the port."""
        self._webhooks.committed(notices)

    def _body(self, effect: OrderChanged, event_id: str, kind: str, now: float, *, details: bool) -> bytes:
        order = effect.order
        view = order_view(order, Reader.STAFF, self._frame, effect.technician, effect.rating)
        if not details:
            view = msgspec.structs.replace(view, **dict.fromkeys(_DETAILS, UNSET))
        return _encode(OrderEventOut(event_id, kind, stamp(now), order.tenant, order.version, view))


def _is_for(endpoint: EndpointSettings, effect: OrderChanged, kind: str) -> bool:
    order = effect.order
    return (
        endpoint.tenant == order.tenant
        and (EVERY_EVENT in endpoint.events or kind in endpoint.events)
        and (not endpoint.cities or order.city in endpoint.cities)
    )


def _event_id(effect: OrderChanged, seen: set[str]) -> str:
    """The same for the same change whoever makes it; several changes of one turn share a version."""
    order = effect.order
    nth = 0
    while True:
        text = f"{order.tenant}/{order.order_id}/{order.version}/{effect.what}/{nth}"
        event_id = f"evt_{blake2b(text.encode(), digest_size=16).hexdigest()}"
        if event_id not in seen:
            seen.add(event_id)
            return event_id
        nth += 1
