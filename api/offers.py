"""Offers over HTTP: what was offered to whom, and how it ended."""

from api.exchange import Request, Response
from api.listing import Listing, asked_filter
from api.views import Reader, is_staff_of, offer_row
from core.principal import Principal
from dispatch.model import Offer, OfferState


class Offers:
    """Handlers of ``/v1/offers``."""

    def __init__(self, listing: Listing[Offer]) -> None:
        """Keep what the handler needs."""
        self._listing = listing

    async def listing(self, who: Principal, request: Request) -> Response:
        """GET /v1/offers: the technician's own, or for staff those of their cities; newest first."""
        wanted = asked_filter(who, request, OfferState)
        return await self._listing.answer(
            who.tenant,
            request,
            wanted,
            lambda offer: offer_row(offer, Reader.STAFF if is_staff_of(who, offer.city) else Reader.TECHNICIAN),
        )
