"""A service that is made longer while it runs: how much fits, what it costs, and what else could be done. Pure."""

from dataclasses import dataclass, replace
from math import isfinite
from typing import Final

from core.errors import Conflict, Invalid
from dispatch.calendar import Block, BlockKind, ends_at
from dispatch.endings import begun_at
from dispatch.errors import conflict
from dispatch.model import Order, OrderState
from dispatch.problem import Exclusion

_OTHER_WAYS: Final = {
    BlockKind.BOOKING.value: ("delay_next", "reassign_next"),
    BlockKind.REST.value: ("shorten_rest",),
    BlockKind.OFF_SHIFT.value: ("extend_shift",),
    Exclusion.PAPERS.label: ("renew_papers",),
    Exclusion.NIGHT_TRANSPORT.label: ("own_transport",),
}
"""What could be done instead, by what is in the way."""
_IN_THE_WAY: Final = {
    Exclusion.PAPERS.label: "the technician's papers end",
    Exclusion.NIGHT_TRANSPORT.label: "the technician would walk home at night",
}


@dataclass(frozen=True, slots=True)
class Room:
    """How much longer a running service may take.

    Attributes:
        s: Seconds; less than none when it should be over, inf for as long as one likes.
        clash: What ends it, a ``BlockKind`` or the label of an ``Exclusion``; empty for nothing.
        block: What stands in the calendar there.
    """

    s: float
    clash: str = ""
    block: Block | None = None


def longer(
    order: Order,
    added_s: float,
    price_fen: int | None,
    now: float,
    room: Room,
    most_s: float,
    *,
    is_staff: bool,
) -> Order:
    """The order with its service ``added_s`` longer. What ran over its time so far is not paid for.

    Args:
        price_fen: What it costs; None for the price of a minute as agreed so far.
        room: The least that the calendar and the rules leave.
        most_s: How much may be added in all.
        is_staff: Whether who asks may know what is in the way.

    Raises:
        Conflict: ``not_in_service``; ``add_time_clash`` with what fits in ``facts``.
        Invalid: More than ``most_s``.
    """
    if order.state is not OrderState.IN_SERVICE:
        raise conflict("not_in_service", f"the order is {order.state}: only a running service can be made longer")
    fits_min = longest_min(min(room.s, most_s - order.added_s))
    if order.added_s + added_s > most_s:
        raise Invalid(
            f"at most {fits_min} more minutes can be added", field="minutes", facts={"longest_minutes": fits_min}
        )
    if added_s > room.s:
        raise _clash(fits_min, room, is_staff=is_staff)
    if price_fen is None:
        price_fen = (2 * order.service_fen * round(added_s) + round(order.duration_s)) // (2 * round(order.duration_s))
    return replace(
        order,
        duration_s=ends_at(order, now) + added_s - begun_at(order),
        added_s=order.added_s + added_s,
        service_fen=order.service_fen + price_fen,
    )


def longest_min(room_s: float) -> int:
    """Whole minutes that fit."""
    return max(0, int(room_s // 60)) if isfinite(room_s) else 0


def clash_facts(block: Block) -> dict[str, object]:
    """Which order is in the way and from when; for staff, who can move it."""
    facts: dict[str, object] = {"from_at": round(block.from_at, 3)}
    return facts | ({"clash_order": block.order_id} if block.order_id is not None else {})


def _clash(minutes: int, room: Room, *, is_staff: bool) -> Conflict:
    ways = (("shorter",) if minutes else ()) + _OTHER_WAYS[room.clash]
    why = _IN_THE_WAY.get(room.clash, f"a {room.clash.replace('_', ' ')} follows")
    return Conflict(
        f"{why}: at most {minutes} minutes fit",
        code="add_time_clash",
        facts={"longest_minutes": minutes, "clash": room.clash, "alternatives": list(ways)}
        | (clash_facts(room.block) if is_staff and room.block is not None else {}),
    )
