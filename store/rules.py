"""The store's few rules that the SQL adapters and their in-memory twin must share."""

from collections.abc import Iterable, Sequence
from typing import Final

from core.errors import Unavailable
from core.ids import CityId
from dispatch.model import Order, Technician
from dispatch.order import SETTLED_STATES
from dispatch.settings import IDEMPOTENCY_KEEP_S_MAX, SETTLED_KEEP_S_MAX
from store.settings import RetentionSettings

SETTLED_ORDER_LOADED_S: Final = SETTLED_KEEP_S_MAX
"""An order settled this recently is still loaded: late answers to it are told why (``dispatch.ports``)."""
IDEMPOTENCY_HONOURED_S: Final = IDEMPOTENCY_KEEP_S_MAX
"""Idempotency keys of this age are loaded (``dispatch.ports``)."""


def is_settled(order: Order) -> bool:
    """Whether the order needs nobody's attention any more."""
    return order.state in SETTLED_STATES


def cities_that_load(technician: Technician) -> frozenset[CityId]:
    """Cities whose engines must know the technician from the start.

    The one they are on duty in, or have accepted a job of, counts although the record no longer names it: nobody else
    could end that.
    """
    on_duty = () if technician.duty_city is None else (technician.duty_city,)
    return frozenset((*technician.cities, *on_duty, *(booking.city for booking in technician.bookings)))


def version_conflict(kind: str, key: str, *, found: int, writing: int) -> Unavailable:
    """The error for a row that is not at the version it was decided on (0: there is no row)."""
    return Unavailable(
        f"{kind} {key} is stored at version {found} and version {writing} was to be written over it: "
        f"only version {found + 1} may be, so another owner has changed it or a change was not stored",
        code="store_conflict",
    )


def outbox_cut(
    rows: Iterable[tuple[int, float]], living_acks: Sequence[int], keep: RetentionSettings, now: float
) -> int:
    """Largest number of a stream up to which its rows need not be kept; 0 for none.

    Rows are removed from the front only, so that what is held has no gaps.

    Args:
        rows: (seq, created_at) of the held rows, by seq.
        living_acks: What each living device has acknowledged; empty when no device is alive.
        keep: How long rows are kept, with and without acknowledgement.
        now: UTC epoch seconds.
    """
    acked = min(living_acks) if living_acks else None
    cut = 0
    for seq, created_at in rows:
        read_by_all = acked is None or seq <= acked
        if created_at >= now - (keep.outbox_s if read_by_all else keep.outbox_unread_s):
            break
        cut = seq
    return cut
