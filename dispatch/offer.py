"""An offer's life as a table, and what a technician is told whose answer comes too late.

The server's clock decides. An answer exactly at ``expires_at`` is in time.
"""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any, Final

from core.errors import Conflict
from dispatch.errors import OVER, ImpossibleMove, conflict
from dispatch.model import Offer, OfferState, Order, OrderState


class OfferMove(StrEnum):
    """What can happen to an offer."""

    ACCEPT = "accept"
    DECLINE = "decline"
    EXPIRE = "expire"
    REVOKE = "revoke"
    FAIL = "fail"
    """No device acknowledged it in time."""


TABLE: Final[dict[tuple[OfferState, OfferMove], OfferState]] = {
    (OfferState.PENDING, OfferMove.ACCEPT): OfferState.ACCEPTED,
    (OfferState.PENDING, OfferMove.DECLINE): OfferState.DECLINED,
    (OfferState.PENDING, OfferMove.EXPIRE): OfferState.EXPIRED,
    (OfferState.PENDING, OfferMove.REVOKE): OfferState.REVOKED,
    (OfferState.PENDING, OfferMove.FAIL): OfferState.UNDELIVERED,
}

REFUSALS: Final = frozenset({OfferState.DECLINED, OfferState.EXPIRED})
"""Ends after which the technician is not asked again for the same order; an undelivered offer is none."""


def advance(offer: Offer, move: OfferMove, now: float, story: Sequence[str] = (), **facts: Any) -> Offer:
    """The offer after ``move``. Raises ``ImpossibleMove`` where the table has no arrow: settled offers stay."""
    state = TABLE.get((offer.state, move))
    if state is None:
        raise ImpossibleMove(f"offer {offer.offer_id}", offer.state, move, story)
    return replace(offer, state=state, changed_at=now, **facts)


def is_late(offer: Offer, now: float) -> bool:
    """Whether an answer at ``now`` comes after the deadline."""
    return now > offer.expires_at


def too_late(offer: Offer, order: Order | None, now: float) -> Conflict:
    """Why an answer to this offer changes nothing, as an error to raise.

    Args:
        offer: Settled, or pending and past its deadline.
        order: Its order as it stands, to tell an order given to another from one called off.
    """
    if offer.state is OfferState.ACCEPTED and order is not None and order.technician == offer.technician:
        return conflict("offer_accepted", "you have accepted this offer")
    if offer.state is OfferState.DECLINED:
        return conflict("offer_declined", "you have declined this offer")
    if offer.state is OfferState.EXPIRED or (offer.state is OfferState.PENDING and is_late(offer, now)):
        return conflict("offer_expired", "the time for an answer is over")
    if order is not None and order.state is OrderState.CANCELLED:
        return conflict(*OVER[OrderState.CANCELLED])
    if order is not None and order.technician is not None and order.technician != offer.technician:
        return conflict("offer_taken", "another technician has the order")
    return conflict("offer_revoked", "the offer was withdrawn")
