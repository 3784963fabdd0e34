"""Orders that nobody decides about: open ones of a city that is not served any more."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final

from core.ids import CityId, TenantId
from dispatch.listing import ListFilter, Place
from dispatch.model import OrderState
from dispatch.order import SETTLED_STATES
from dispatch.ports import Listings

_PAGE_LEN: Final = 500


async def open_orders_unserved(
    listings: Listings, tenant: TenantId, served: Collection[CityId]
) -> Mapping[CityId, int]:
    """How many open orders each city of the tenant has that is not in ``served``.

    Raises:
        Unavailable: The store cannot be read.

    Cost:
        Reads every open order of the tenant once; for the start.
    """
    found: Counter[CityId] = Counter()
    for state in OrderState:
        if state in SETTLED_STATES:
            continue
        wanted = ListFilter(state=state)
        before: Place | None = None
        while page := await listings.orders(tenant, wanted, before=before, limit=_PAGE_LEN):
            found.update(order.city for order in page if order.city not in served)
            before = (page[-1].placed_at, page[-1].order_id)
    return found
