"""Share-my-trip: a link to a running job for somebody whom one of its sides trusts, as JSON and as a plain page.

Whoever holds a link sees no more than its sharer may at that moment, and never an address: where somebody is going is
the other side's matter. Nothing of it may be stored by the browser, found by a search, or told to another site.
"""

from collections.abc import Mapping
from html import escape
from typing import Final

from api.bodies import Done
from api.care_bodies import (
    SharedLink,
    SharedLinks,
    SharedPosition,
    SharedTrip,
    ShareIn,
    ShareRow,
    TripStateName,
)
from api.cities import Cities, ShardParts
from api.documents import PAGE_CSP
from api.exchange import Request, Response, answer
from api.views import TECHNICIAN_STATES, TRACKED_STATES, needs_address
from core.errors import DoorstepError, NotFound
from core.ids import OrderId
from core.principal import Principal
from core.units import ACCURACY_M_MAX
from dispatch.errors import conflict
from dispatch.model import Order, OrderState
from geo.point import Frame
from safety.care_service import CareService
from safety.trips import Trip, TripId, TripRevoked, TripShared

REFRESH_S: Final = 15
"""Seconds after which the page asks again; it runs no script."""
_PRIVATE: Final = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex, nofollow", "Referrer-Policy": "no-referrer"}
_STATES: Final[Mapping[OrderState, TripStateName]] = {
    OrderState.ASSIGNED: "waiting",
    OrderState.EN_ROUTE: "on_the_way",
    OrderState.ARRIVED: "there",
    OrderState.IN_SERVICE: "there",
    OrderState.FINISHED: "leaving",
}
_WORDS: Final[Mapping[TripStateName, str]] = {
    "waiting": "has not set out yet",
    "on_the_way": "is on the way",
    "there": "has arrived",
    "leaving": "has finished and is leaving",
    "over": "is safely away: the trip is over",
}
_SHAREABLE: Final = TECHNICIAN_STATES - {OrderState.DEPARTED_SAFE}


class SharedTrips:
    """Handlers of ``/v1/orders/{id}/share``, ``/v1/shared`` and ``/s``."""

    def __init__(self, cities: Cities, care: CareService, frame: Frame) -> None:
        """Keep what the handlers need."""
        self._cities = cities
        self._care = care
        self._frame = frame

    # -- for the sharer -------------------------------------------------------------------------------

    async def share(self, who: Principal, request: Request) -> Response:
        """POST /v1/orders/{id}/share: makes a link. Its token is told this once."""
        body: ShareIn = request.data
        part, order = self._own(who, request)
        if order.state not in _SHAREABLE:
            raise conflict("conflict", f"the order is {order.state}: there is no trip to share")
        made = await self._care.share(
            TripShared(
                who.tenant,
                order.order_id,
                part.shard.city,
                who.user,
                order.customer == who.user,
                body.contact,
                body.expires_s,
            )
        )
        link = SharedLink(made.trip.trip_id, made.token, f"/s/{made.token}", round(made.trip.expires_at, 3))
        return answer(link, 201)

    def listing(self, who: Principal, request: Request) -> Response:
        """GET /v1/orders/{id}/share: the caller's links to this order, and how often each was opened."""
        _, order = self._own(who, request)
        rows = [
            ShareRow(
                trip.trip_id,
                round(trip.shared_at, 3),
                round(trip.expires_at, 3),
                views,
                trip.contact,
                revoked=trip.revoked_at is not None,
            )
            for trip, views in self._care.shared(who.tenant, who.user, order.order_id)
        ]
        return answer(SharedLinks(rows))

    async def revoke(self, who: Principal, request: Request) -> Response:
        """DELETE /v1/orders/{id}/share/{trip}: from its answer on the link shows nothing."""
        await self._care.revoke(TripRevoked(who.tenant, who.user, TripId(request.path["trip"])))
        return answer(Done({"trip": request.path["trip"], "revoked": True}))

    def _own(self, who: Principal, request: Request) -> tuple[ShardParts, Order]:
        found = self._cities.order(who.tenant, OrderId(request.path["id"]))
        if found is None or who.user not in (found[1].customer, found[1].technician):
            raise NotFound("there is no such order")
        return found

    # -- for whoever holds the link -------------------------------------------------------------------

    def read(self, request: Request) -> Response:
        """GET /v1/shared/{token}."""
        response = answer(self._seen(request))
        return Response(response.status, response.body, response.content_type, _PRIVATE)

    def page(self, request: Request) -> Response:
        """GET /s/{token}: the same for people; one that opens nothing says so."""
        headers = {**_PRIVATE, "Content-Security-Policy": PAGE_CSP}
        try:
            seen = self._seen(request)
        except DoorstepError:
            text = _page("This link shows nothing", ["It has expired, or whoever shared it has taken it back."], 0)
            return Response(404, text.encode(), "text/html; charset=utf-8", headers)
        return Response(200, _told(seen).encode(), "text/html; charset=utf-8", headers)

    def _seen(self, request: Request) -> SharedTrip:
        trip = self._care.opened(request.path["token"])
        found = self._cities.order(trip.tenant, trip.order_id) if trip is not None else None
        if trip is None or found is None:
            raise NotFound("there is no such link")
        part, order = found
        state: TripStateName = _STATES.get(order.state, "over") if self._is_still_theirs(trip, order) else "over"
        technician = part.dispatch.technician(order.technician) if order.technician is not None else None
        live = state != "over"
        eta_s = part.dispatch.eta_s(order) if state == "on_the_way" else None
        return SharedTrip(
            state=state,
            service=order.service,
            sharer="customer" if trip.is_customer else "technician",
            updated_at=round(request.now, 3),
            expires_at=round(trip.expires_at, 3),
            contact=trip.contact,
            technician=technician.name if technician is not None and live else "",
            district=order.site.district if live else "",
            eta_s=None if eta_s is None else round(eta_s, 1),
            position=self._position(trip, part, order, request.now) if live else None,
        )

    @staticmethod
    def _is_still_theirs(trip: Trip, order: Order) -> bool:
        """Whether the sharer is still a side of the job: a technician may have lost it since."""
        return trip.sharer in (order.customer, order.technician)

    def _position(self, trip: Trip, part: ShardParts, order: Order, now: float) -> SharedPosition | None:
        """Where the technician is, for as long as the sharer may see it."""
        may_see = order.state in TRACKED_STATES if trip.is_customer else needs_address(order)
        if not may_see or order.state is OrderState.ASSIGNED or order.technician is None:
            return None
        live = part.positions.live(order.technician)
        if live is None:
            return None
        return SharedPosition(
            round(live.point.lat_deg, 6),
            round(live.point.lng_deg, 6),
            self._frame.value,
            round(min(live.accuracy_m if live.accuracy_m is not None else ACCURACY_M_MAX, ACCURACY_M_MAX), 1),
            round(max(0.0, now - live.seen_at), 1),
        )


def _told(seen: SharedTrip) -> str:
    who = seen.technician or "Your contact"
    lines = [f"{who} {_WORDS[seen.state]}."]
    if seen.district:
        lines.append(f"District: {seen.district}.")
    if seen.eta_s is not None:
        lines.append(f"Expected there in {max(1, round(seen.eta_s / 60))} min.")
    if seen.position is not None:
        place = seen.position
        lines.append(
            f"Last seen {_ago(place.age_s)} at {place.lat:.5f}, {place.lng:.5f} ({place.crs}), "
            f"to within {place.accuracy_m:.0f} m."
        )
    elif seen.state != "over":
        lines.append("The position is not known now, or not shown at this stage.")
    return _page("A shared trip", lines, REFRESH_S if seen.state != "over" else 0)


def _ago(age_s: float) -> str:
    return f"{age_s:.0f} s ago" if age_s < 120 else f"{age_s / 60:.0f} min ago"


def _page(title: str, lines: list[str], refresh_s: int) -> str:
    refresh = f'<meta http-equiv="refresh" content="{refresh_s}">' if refresh_s else ""
    body = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta name="robots" content="noindex, nofollow">'
        f'<meta name="referrer" content="no-referrer">{refresh}<title>{escape(title)}</title>'
        '<link rel="stylesheet" href="/style.css"></head>'
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
