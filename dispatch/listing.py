"""What a listing of orders or offers asks for, and where its pages meet. Values only; read from the store, not here."""

from dataclasses import dataclass

from core.ids import CityId, OrderId, UserId
from dispatch.model import BlockSide, OfferState, OrderState

Place = tuple[float, str]
"""Where a row stands in a listing: when it was made (UTC epoch seconds) and its id. It never changes, whatever else
of the row does: that is why pages neither skip nor repeat."""


@dataclass(frozen=True, slots=True)
class ListFilter:
    """Which rows are wanted; None does not filter. ``orders`` and ``offers`` differ in the states they know.

    Attributes:
        cities: Any of these; an empty set finds nothing.
        customer: Whose order it is, also for an offer.
        order: Offers of this order; orders do not look at it.
        from_at: Made at this time or later (``placed_at``, ``offered_at``; UTC epoch seconds).
        to_at: Made before this time.
    """

    cities: frozenset[CityId] | None = None
    state: OrderState | OfferState | None = None
    technician: UserId | None = None
    customer: UserId | None = None
    order: OrderId | None = None
    from_at: float | None = None
    to_at: float | None = None


@dataclass(frozen=True, slots=True)
class BlockFilter:
    """Which blocks between people are wanted; None does not filter."""

    customer: UserId | None = None
    technician: UserId | None = None
    side: BlockSide | None = None
    """Whose blocks."""
