"""Dispatch's refusals. Each is one of core's families with a stable code; the text tells a developer why.

Codes: ``offer_expired, offer_taken, offer_revoked, offer_declined, offer_accepted, order_cancelled, order_unfilled,
order_in_service, order_finished, order_confirmed, fee_changed, step_out_of_order, not_assigned, not_finished,
already_rated, busy, unverified, city_not_allowed, on_duty_elsewhere, idempotency_key_reused, scheduled_in_past,
scheduled_too_far, calendar_conflict, add_time_clash, not_in_service, already_assigned, filter_failed, filter_holds,
order_arrived, position_needed, not_at_place, dwell_needed, photo_needed, no_show_too_early,
tier_unknown, blocks_full, block_held, pick_unavailable, add_time_pending,
add_time_over, time_fixed, staff_needed, no_longer_fits, too_early``.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from core.errors import Conflict, NotFound
from dispatch.model import OrderState


class ImpossibleMove(AssertionError):
    """An arrow that no table has: a bug of the caller, told with the story of the thing."""

    def __init__(self, thing: str, state: str, event: str, story: Sequence[str] = ()) -> None:
        """Keep the facts."""
        super().__init__(thing, state, event, tuple(story))
        self.thing = thing
        self.state = state
        self.event = event
        self.story = tuple(story)

    def __str__(self) -> str:
        """One sentence and the last events."""
        told = "; ".join(self.story) or "nothing is remembered of it"
        return f"{self.thing} is {self.state} and cannot take {self.event} (story: {told})"


def no_such_order() -> NotFound:
    """An order that is absent or not the asker's: the two look the same."""
    return NotFound("there is no such order")


def no_such_offer() -> NotFound:
    """An offer that is absent or not the asker's: the two look the same."""
    return NotFound("there is no such offer")


def no_such_technician() -> NotFound:
    """A technician that the city does not know."""
    return NotFound("there is no such technician in this city")


def conflict(code: str, message: str, facts: Mapping[str, object] | None = None) -> Conflict:
    """The thing is in another state by now."""
    return Conflict(message, code=code, facts=facts)


OVER: Final[Mapping[OrderState, tuple[str, str]]] = {
    OrderState.FINISHED: ("order_finished", "the service is over"),
    OrderState.DEPARTED_SAFE: ("order_finished", "the service is over"),
    OrderState.CONFIRMED: ("order_confirmed", "the order was confirmed"),
    OrderState.CANCELLED: ("order_cancelled", "the order was cancelled"),
}
"""Code and words for what comes too late for an order."""
