"""What the two sides of an order agree on after it was placed: more time for a running service, and another time for
one that has not begun.

Part of the engine; pure. Whoever pays says yes: the customer's own wish, or that of staff, takes effect at once; what
the technician asks for waits for their consent.
"""

from collections.abc import Callable
from dataclasses import replace
from math import isfinite

from core.errors import Conflict
from core.ids import REQUEST_PREFIX, IdSource, OrderId, UserId
from dispatch import add_time, cancellation, schedule
from dispatch import events as e
from dispatch.book import Book
from dispatch.calendar import Block, Calendars, ends_at, service_begins_at
from dispatch.desk import Desk
from dispatch.errors import conflict, no_such_order
from dispatch.events import CloseReason, Effect, OrderFact
from dispatch.exclusions import Moment
from dispatch.matchmaker import Matchmaker
from dispatch.model import IdempotencyRecord, Order, OrderState, RequestState, TimeRequest
from dispatch.moves import SYSTEM, Moves
from dispatch.order import OrderMove
from dispatch.roster import Roster
from dispatch.settings import DispatchSettings
from dispatch.standing import Standing

_MOVABLE = (OrderState.SCHEDULED, OrderState.MATCHING, OrderState.ASSIGNED)


class Appointments:
    """Times of one shard's orders.

    Args:
        used_before: What a client's key was used for; raises for another use.
    """

    def __init__(
        self,
        book: Book,
        moves: Moves,
        matchmaker: Matchmaker,
        roster: Roster,
        desk: Desk,
        standing: Standing,
        calendars: Calendars,
        ids: IdSource,
        settings: DispatchSettings,
        used_before: Callable[[e.TimeAdded, float], IdempotencyRecord | None],
    ) -> None:
        self._book = book
        self._moves = moves
        self._matchmaker = matchmaker
        self._roster = roster
        self._desk = desk
        self._standing = standing
        self._calendars = calendars
        self._ids = ids
        self._settings = settings
        self._used_before = used_before

    # -- a running service ----------------------------------------------------------------------------------

    def add_time(self, event: e.TimeAdded, now: float) -> list[Effect]:
        """Make a service longer, or ask its customer when its technician wants it. See ``TimeAdded`` for refusals."""
        book = self._book
        order = book.orders.get(event.order_id)
        if order is None or not (event.staff or event.by in (order.customer, order.technician)):
            raise no_such_order()
        if self._used_before(event, now) is not None:
            return []
        is_theirs = event.staff or event.by == order.customer
        if not is_theirs and order.time_request is not None and order.time_request.state is RequestState.PENDING:
            raise conflict("add_time_pending", "the customer has not answered the request before this one")
        longer = self._longer(order, event.added_s, event.price_fen, now, is_staff=event.staff)
        effects = self._take(longer, order, event.by, now) if is_theirs else self._ask(longer, order, event, now)
        if event.key:
            book.put_key(IdempotencyRecord(order.tenant, event.by, event.key, event.fingerprint, order.order_id, now))
        return effects

    def answer(self, event: e.TimeAnswered, now: float) -> list[Effect]:
        """The customer, or staff for them, agrees to what the technician asked for or not."""
        order = self._moves.order_for(event.order_id, event.by, staff=event.staff)
        request = order.time_request
        if request is None or request.request_id != event.request_id:
            raise conflict("add_time_over", "this is not the order's last request")
        answered = RequestState.AGREED if event.agrees else RequestState.REFUSED
        if request.state is answered:
            return []
        if request.state is not RequestState.PENDING or now >= request.expires_at:
            state = RequestState.EXPIRED if request.state is RequestState.PENDING else request.state
            raise conflict("add_time_over", f"the request is {state}")
        if not event.agrees:
            return self._close(order, answered, OrderFact.TIME_REFUSED, event.by, now)
        longer = self._longer(order, request.added_s, request.price_fen, now, is_staff=event.staff)
        return self._take(replace(longer, time_request=replace(request, state=answered)), order, event.by, now)

    def served_again(self, order: Order, down_s: float, least_s: float, now: float) -> None:
        """The server was down while the customer was asked: what it took from their time is given back.

        Both sides are told in the next turn. Changes nothing where nothing was taken.

        Args:
            down_s: For how long it was down, as far as that is known.
            least_s: What they have from now on at least.
        """
        request = order.time_request
        assert request is not None  # noqa: S101 - the caller has looked
        expires_at = max(request.expires_at + down_s, now + least_s)
        if expires_at <= request.expires_at:
            return
        order = self._book.put_order(replace(order, time_request=replace(request, expires_at=expires_at)))
        self._book.changes.alive_at = now
        self._book.note(order, now, "served_again", SYSTEM, request=request.request_id, down_s=round(down_s, 1))
        self._moves.prolong_request(order, now)

    def prolonged(self, id_: str, now: float) -> list[Effect]:
        """Both sides hear until when the customer can answer now."""
        order = self._book.orders[OrderId(id_)]
        is_open = order.time_request is not None and order.time_request.state is RequestState.PENDING
        return [self._moves.tell(order, OrderFact.TIME_ASKED, now)] if is_open else []

    def lapse(self, id_: str, now: float) -> list[Effect]:
        """Nobody has answered in time."""
        order = self._book.orders[OrderId(id_)]
        return self._close(order, RequestState.EXPIRED, OrderFact.TIME_EXPIRED, SYSTEM, now)

    def _longer(self, order: Order, added_s: float, price_fen: int | None, now: float, *, is_staff: bool) -> Order:
        room_s, block = self._calendars.room_s(order, now)
        finishes_at = ends_at(order, now)
        rooms = [add_time.Room(room_s, block.kind.value if block is not None else "", block)]
        rooms += [
            add_time.Room(until_at - finishes_at, reason.label)
            for reason, until_at in self._standing.fits_until(order, now).items()
        ]
        room = min(rooms, key=lambda room: room.s)
        most_s = self._settings.schedule.added_max_s
        return add_time.longer(order, added_s, price_fen, now, room, most_s, is_staff=is_staff)

    def _ask(self, longer: Order, order: Order, event: e.TimeAdded, now: float) -> list[Effect]:
        request = TimeRequest(
            request_id=self._ids.new(REQUEST_PREFIX),
            added_s=event.added_s,
            price_fen=longer.service_fen - order.service_fen,
            asked_at=now,
            expires_at=now + self._settings.schedule.consent_s,
        )
        order = self._book.put_order(replace(order, time_request=request))
        self._book.note(
            order,
            now,
            OrderFact.TIME_ASKED,
            event.by,
            request=request.request_id,
            added_s=request.added_s,
            price_fen=request.price_fen,
        )
        self._moves.arm_request(order)
        return [self._moves.tell(order, OrderFact.TIME_ASKED, now)]

    def _close(self, order: Order, state: RequestState, what: OrderFact, by: UserId, now: float) -> list[Effect]:
        request = order.time_request
        assert request is not None  # noqa: S101 - the caller has looked, or its deadline is dropped with it
        order = self._book.put_order(replace(order, time_request=replace(request, state=state)))
        self._book.note(order, now, what, by, request=request.request_id)
        self._moves.arm_request(order)
        return [self._moves.tell(order, what, now)]

    def _take(self, longer: Order, before: Order, by: UserId, now: float) -> list[Effect]:
        order = self._book.put_order(replace(longer, overdue_at=None))
        self._moves.arm(order)
        added = {"added_s": order.added_s - before.added_s, "price_fen": order.service_fen - before.service_fen}
        self._book.note(order, now, OrderFact.TIME_ADDED, by, **added)
        effects: list[Effect] = [self._moves.tell(order, OrderFact.TIME_ADDED, now)]
        if order.technician is not None:
            # An offer for afterwards was made for an earlier end.
            effects.extend(self._moves.withdraw_offer(order.technician, now))
            effects.extend(self._moves.follow(order.technician, order, now))
        return effects

    # -- another time ---------------------------------------------------------------------------------------

    def reschedule(self, event: e.Rescheduled, now: float) -> list[Effect]:
        """Move an order that has not begun to another time. See ``Rescheduled`` for refusals."""
        order = self._moves.order_for(event.order_id, event.by, staff=event.staff)
        if order.state not in _MOVABLE:
            raise conflict("time_fixed", f"the order is {order.state}: only one that has not begun is moved")
        if order.scheduled_for == event.scheduled_for:
            return []
        schedule.check(event.scheduled_for, now, self._settings.schedule)
        fee_fen = cancellation.quote(order, now, self._settings.cancellation).fee_fen
        if not event.staff and fee_fen > 0:
            raise conflict("staff_needed", f"calling it off costs {fee_fen} fen by now: only staff move it")
        moved = replace(order, scheduled_for=event.scheduled_for, overdue_at=None)
        if order.technician is not None:
            moved, effects = self._move_job(moved, order.technician, event, now)
        else:
            if moved.picked is not None:
                # As when it was placed: whoever moves it hears that the pick cannot come then, instead of losing both.
                self._desk.check_pick(moved, moved.picked, now, is_told=event.staff)
            moved, effects = self._move_search(moved, event.by, now)
        detail = {"from_at": order.scheduled_for, "to_at": event.scheduled_for}
        self._book.note(moved, now, OrderFact.RESCHEDULED, event.by, **detail, said=event.reason)
        self._moves.arm(moved)
        self._matchmaker.want()
        return [self._moves.tell(moved, OrderFact.RESCHEDULED, now), *effects]

    def _move_search(self, moved: Order, by: UserId, now: float) -> tuple[Order, list[Effect]]:
        """Nobody has it yet: whoever was asked was asked for another time."""
        effects = self._moves.revoke_live(moved, CloseReason.REVOKED, now)
        is_early = schedule.opens_at(moved, self._settings.schedule) > now
        at = moved.scheduled_for
        if moved.state is OrderState.MATCHING and is_early:
            return self._moves.move(moved, OrderMove.POSTPONE, now, by, radius_step=0, scheduled_for=at), effects
        if moved.state is OrderState.SCHEDULED and not is_early:
            return self._moves.move(moved, OrderMove.OPEN, now, by, scheduled_for=at), effects
        return self._book.put_order(moved), effects

    def _move_job(self, moved: Order, user: UserId, event: e.Rescheduled, now: float) -> tuple[Order, list[Effect]]:
        """Its technician must fit it then, too, and be able to come."""
        self._standing.check(moved, user, now, Moment.TIME)
        arrives_at = self._calendars.arrives_at(moved, user, now)
        late_s = arrives_at - event.scheduled_for
        if late_s > self._settings.schedule.late_max_s:
            raise Conflict(
                f"its technician cannot be there before {arrives_at:.0f}",
                code="calendar_conflict",
                field="scheduled_for",
                facts={"clash": "too_late"},
            )
        block = self._calendars.clash(moved, user, now, arrives_at)
        if block is not None:
            raise _in_the_way(block, is_staff=event.staff)
        # However soon it is: who has it sets out when they can, and is not made to by somebody else's change of plan.
        order = self._book.put_order(replace(moved, booked_for=service_begins_at(moved, arrives_at)))
        return order, [*self._moves.follow(user, order, now), *self._roster.withdraw_unfit(user, now)]


def _in_the_way(block: Block, *, is_staff: bool) -> Conflict:
    facts = {"clash": block.kind.value} | (add_time.clash_facts(block) if is_staff else {})
    at = f" at {block.from_at:.0f}" if isfinite(block.from_at) and is_staff else ""
    return Conflict(
        f"its technician has a {block.kind.replace('_', ' ')}{at}",
        code="calendar_conflict",
        field="scheduled_for",
        facts=facts,
    )
