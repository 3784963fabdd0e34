"""Arrival links: whoever holds one receives the therapist, and may do for the customer what belongs to that one order.

The link's token stands in the page's path; the page turns it into a token of minutes (``Principal.order``), which every
route and every topic refuses that was not made for it (``auth.check_scope``, ``rights.Rights.grant``).
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Final

from api.bodies import Done
from api.cities import Cities, ShardParts
from api.exchange import Request, Response, answer
from api.ports import SignOuts, Tickets
from api.settings import SignInSettings
from api.sign_in_bodies import ArrivalIn, ArrivalLink, ArrivalLinkIn, ArrivalLinkRow, ArrivalLinks, Arrived
from api.views import is_staff_of
from core.errors import NotFound
from core.ids import DeviceId, OrderId, UserId
from core.principal import Principal, Role
from dispatch.errors import conflict
from dispatch.model import Order
from dispatch.order import SETTLED_STATES
from realtime.service import RealtimeService
from safety.care_service import CareService
from safety.trips import LinkKind, TripId, TripRevoked, TripShared

DEVICE_PREFIX: Final = "lnk_"
_PRIVATE: Final = {"Cache-Control": "no-store"}


class Arrivals:
    """Handlers of ``/v1/orders/{id}/arrival-link`` and ``/v1/arrivals``."""

    def __init__(
        self,
        cities: Cities,
        care: CareService,
        tokens: Tickets,
        sign_outs: SignOuts,
        hub: RealtimeService,
        settings: SignInSettings,
        http_url: Callable[[], str],
    ) -> None:
        """``http_url`` is asked at each request: the port is known only once the listener is bound."""
        self._cities = cities
        self._care = care
        self._tokens = tokens
        self._sign_outs = sign_outs
        self._hub = hub
        self._settings = settings
        self._http_url = http_url

    # -- for who gives it away --------------------------------------------------------------------------

    async def make(self, who: Principal, request: Request) -> Response:
        """POST /v1/orders/{id}/arrival-link: its token is told this once."""
        body: ArrivalLinkIn = request.data
        part, order = self._own(who, request)
        if order.state in SETTLED_STATES:
            raise conflict("conflict", f"the order is {order.state}: nobody arrives any more")
        made = await self._care.share(
            TripShared(
                who.tenant,
                order.order_id,
                part.shard.city,
                order.customer,
                is_customer=True,
                contact=body.contact,
                expires_s=body.expires_s,
                kind=LinkKind.ARRIVAL,
                made_by=who.user,
            )
        )
        path = f"/t/{made.token}"
        link = ArrivalLink(made.trip.trip_id, made.token, path, self._http_url() + path, round(made.trip.expires_at, 3))
        told = answer(link, 201)
        return Response(told.status, told.body, told.content_type, _PRIVATE)

    def listing(self, who: Principal, request: Request) -> Response:
        """GET /v1/orders/{id}/arrival-link."""
        _, order = self._own(who, request)
        rows = [
            ArrivalLinkRow(
                link_id=trip.trip_id,
                made_at=round(trip.shared_at, 3),
                expires_at=round(trip.expires_at, 3),
                views=views,
                made_by=trip.made_by or trip.sharer,
                contact=trip.contact,
                revoked=trip.revoked_at is not None,
            )
            for trip, views in self._care.shared(who.tenant, order.customer, order.order_id, LinkKind.ARRIVAL)
        ]
        return answer(ArrivalLinks(rows))

    async def revoke(self, who: Principal, request: Request) -> Response:
        """DELETE /v1/orders/{id}/arrival-link/{link}: pages that have it open are cut off, at once."""
        _, order = self._own(who, request)
        link = TripId(request.path["link"])
        known = self._care.shared(who.tenant, order.customer, order.order_id, LinkKind.ARRIVAL)
        if link not in {trip.trip_id for trip, _ in known}:
            raise NotFound("there is no such link")
        until_at = self._tokens.end(who.tenant, link, request.now)
        self._hub.revoke(who.tenant, order.customer, self._tokens.revoked)
        await self._care.revoke(TripRevoked(who.tenant, order.customer, link, LinkKind.ARRIVAL))
        await self._sign_outs.put(who.tenant, link, until_at)
        return answer(Done({"link": link, "revoked": True}))

    def _own(self, who: Principal, request: Request) -> tuple[ShardParts, Order]:
        found = self._cities.order(who.tenant, OrderId(request.path["id"]))
        if found is not None:
            order = found[1]
            if is_staff_of(who, order.city) or (who.holds(Role.CUSTOMER) and who.user == order.customer):
                return found
        raise NotFound("there is no such order")

    # -- for who holds it -------------------------------------------------------------------------------

    def arrive(self, request: Request) -> Response:
        """POST /v1/arrivals: the link's token becomes one of minutes, for its order, in this browser."""
        body: ArrivalIn = request.data
        trip = self._care.opened(body.token, LinkKind.ARRIVAL)
        if trip is None:
            raise NotFound("there is no such link")
        # Of this link and this browser, and of no phone of the customer's: the hub has one session for each device.
        device = DeviceId(DEVICE_PREFIX + sha256(f"{trip.trip_id} {body.device}".encode()).hexdigest()[:32])
        who = Principal(
            tenant=trip.tenant,
            user=UserId(trip.sharer),
            role=Role.CUSTOMER,
            roles=frozenset({Role.CUSTOMER}),
            cities=frozenset({trip.city}),
            device=device,
            expires_at=float(int(min(request.now + self._settings.token_life_s, trip.expires_at))),
            sign_in=trip.trip_id,
            issued_at=trip.shared_at,
            order=trip.order_id,
        )
        arrived = Arrived(
            order=trip.order_id,
            city=trip.city,
            device=device,
            token=self._tokens.mint(who, request.now),
            token_expires_at=who.expires_at,
            expires_at=round(trip.expires_at, 3),
        )
        told = answer(arrived)
        return Response(told.status, told.body, told.content_type, _PRIVATE)
