"""What each arrow drags along: a moved order is noted and its deadline set, a closed offer frees its technician.

Part of the engine, shared by its handlers; pure. Who may cause what is theirs to say.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from core.ids import OfferId, OrderId, UserId
from dispatch import cancellation, leases, modes, overdue, schedule, technician
from dispatch import order as orders
from dispatch import turns as turns_of
from dispatch.book import Book
from dispatch.deadlines import Deadlines, Due
from dispatch.errors import no_such_order
from dispatch.events import CloseOffer, CloseReason, Effect, OrderFact
from dispatch.job_watch import JobWatch
from dispatch.matchmaker import Matchmaker
from dispatch.model import Cancellation, Fallback, Mode, Offer, Order, OrderReason, OrderState, RequestState, WorkState
from dispatch.news import order_changed, technician_changed
from dispatch.offer import REFUSALS, OfferMove
from dispatch.order import JOB_STATES, SETTLED_STATES, OrderMove
from dispatch.settings import DispatchSettings
from dispatch.technician import WorkMove

SYSTEM: Final = UserId("system")
"""Who did what nobody asked for: deadlines and rounds."""

ALIVE_EVERY_S: Final = 10.0
"""While orders look for somebody, or a customer is asked for more time, it is stored this often that the shard is
served: downtime is known this well."""

_NOTED_AS: Final = {
    OrderMove.TAKE_BACK: OrderMove.TAKE_BACK,
    OrderMove.SHELVE: OrderMove.TAKE_BACK,
    OrderMove.SWITCH: OrderMove.SWITCH,
    OrderMove.REOPEN: OrderMove.REOPEN,
}
"""Arrows that the history does not name by the state they lead to."""

_WORK_MOVES: Final = {WorkState.BUSY: WorkMove.TAKE, WorkState.OFFERED: WorkMove.ASK, WorkState.IDLE: WorkMove.FREE}


class Moves:
    """Changes of one shard's book that several handlers make."""

    def __init__(
        self, book: Book, deadlines: Deadlines, matchmaker: Matchmaker, watch: JobWatch, settings: DispatchSettings
    ) -> None:
        self._book = book
        self._deadlines = deadlines
        self._matchmaker = matchmaker
        self._watch = watch
        self._settings = settings

    # -- orders ---------------------------------------------------------------------------------------------

    def order_for(self, order_id: OrderId, by: UserId, *, staff: bool) -> Order:
        """An order that ``by`` may act on. Raises ``NotFound``."""
        order = self._book.orders.get(order_id)
        if order is None or not (staff or order.customer == by):
            raise no_such_order()
        return order

    def move(
        self, order: Order, move: OrderMove, now: float, by: UserId, detail: dict[str, Any] | None = None, **facts: Any
    ) -> Order:
        """Move an order; ``facts`` are other fields that change with it, ``detail`` is for its history.

        In a history ``reason`` is a word of ours, and ``said`` what somebody wrote.
        """
        request = order.time_request
        if request is not None and request.state is RequestState.PENDING:
            facts["time_request"] = replace(request, state=RequestState.DROPPED)
        facts = {"overdue_at": None, "down_s": 0.0} | facts  # each state has its own time
        if "reason" in facts:
            facts = {"said": "", "said_by": None} | facts  # what was said belongs to the reason before
        if order.state is OrderState.MATCHING:
            facts["skipped"] = self._matchmaker.skipped.get(order.order_id)
        if move in (OrderMove.ASSIGN, OrderMove.GIVE_UP):
            facts["released_stage"] = None  # somebody else has it, or nobody could be found
        order = orders.advance(order, move, now, self._book.story(order.order_id), **facts)
        order = self._book.put_order(order)
        why = {name: facts[name] for name in ("reason", "said") if facts.get(name)}
        self._book.note(order, now, _NOTED_AS.get(move, order.state), by, **{**(detail or {}), **why})
        self.arm(order)
        if move is OrderMove.ASSIGN:
            self._count_work(order, now)
        return order

    def _count_work(self, order: Order, now: float) -> None:
        """Work given is a turn. Who has booked some is still idle, and begins to wait anew."""
        who = self._book.technicians.get(order.technician) if order.technician is not None else None
        if who is None:
            return
        who = turns_of.had(who, now, self._settings.turn)
        if order.booked_for is not None and who.idle_since is not None:
            who = replace(who, idle_since=now)
        self._book.put_technician(who)

    def tell(self, order: Order, what: OrderState | OrderFact, now: float, lost_by: UserId | None = None) -> Effect:
        """The news of an order."""
        return order_changed(self._book, order, what, now, self._settings.rating, lost_by)

    def arm(self, order: Order) -> None:
        """Set the deadline that belongs to the order's state; an older one is replaced or dropped."""
        id_ = order.order_id
        for due in (Due.OPEN, Due.GIVE_UP, Due.LEASE, Due.OVERDUE, Due.LEAVE, Due.CONFIRM, Due.FORGET):
            self._deadlines.drop(due, id_)
        self._watch.arm(order)
        self.arm_request(order)
        late_at = overdue.due_at(order, self._settings.overdue)
        if late_at is not None:
            self._deadlines.set(late_at, Due.OVERDUE, id_)
        if order.state is OrderState.FINISHED and orders.is_job(order):
            self._deadlines.set(order.changed_at + self._settings.overdue.leave_s, Due.LEAVE, id_)
        if order.state is OrderState.SCHEDULED:
            self._deadlines.set(schedule.opens_at(order, self._settings.schedule), Due.OPEN, id_)
        elif order.state is OrderState.MATCHING:
            self._deadlines.set(modes.search_ends_at(order, self._settings), Due.GIVE_UP, id_)
            self._arm_mark(order.changed_at)
        elif order.state in leases.HELD_STATES:
            self._deadlines.set(leases.looked_at(order, self._settings.lost), Due.LEASE, id_)
        elif order.state in (OrderState.FINISHED, OrderState.DEPARTED_SAFE):
            self._deadlines.set(order.changed_at + self._settings.confirm_after_s, Due.CONFIRM, id_)
        elif order.state in SETTLED_STATES:
            self._deadlines.set(order.changed_at + self._settings.settled_keep_s, Due.FORGET, id_)

    def open(self, order: Order, now: float) -> list[Effect]:
        """Begin to look for a technician of a scheduled order."""
        order = self.move(order, OrderMove.OPEN, now, SYSTEM)
        self._matchmaker.want()
        return [self.tell(order, OrderState.MATCHING, now)]

    def call_off(
        self,
        order: Order,
        outcome: Cancellation,
        now: float,
        by: UserId,
        reason: OrderReason,
        said: str = "",
        detail: Mapping[str, Any] | None = None,
        said_by: UserId | None = None,
    ) -> list[Effect]:
        """End an order at this cost: its offers are withdrawn and its technician is free.

        Args:
            said: What ``said_by`` wrote to it, or ``by`` if that is None.
        """
        effects = self.revoke_live(order, CloseReason.CANCELLED, now)
        was_job = order.technician if order.state in JOB_STATES else None
        who = self._book.technicians.get(order.technician) if order.technician is not None else None
        if who is not None and outcome.stage in turns_of.BEFORE_SERVICE:
            self._book.put_technician(turns_of.given_back(who, now, self._settings.turn))
        cost = {"stage": outcome.stage, "fee_fen": outcome.fee_fen, "refund_fen": outcome.refund_fen}
        outcome = replace(outcome, rises_at=None)
        order = self.move(
            order,
            OrderMove.CANCEL,
            now,
            by,
            {**(detail or {}), **cost},
            cancellation=outcome,
            **_why(reason, said, said_by or by),
        )
        if was_job is not None:
            effects.extend(self.free(was_job, order, now))
        return [self.tell(order, OrderState.CANCELLED, now, lost_by=was_job), *effects]

    def arm_request(self, order: Order) -> None:
        """Set the deadline of what its technician has asked for, or drop it."""
        self._deadlines.drop(Due.CONSENT, order.order_id)
        if not self._book.is_awaited():
            self._deadlines.drop(Due.ALIVE, "")
        request = order.time_request
        if request is not None and request.state is RequestState.PENDING:
            self._deadlines.set(request.expires_at, Due.CONSENT, order.order_id)
            self._arm_mark(request.asked_at)

    def prolong_request(self, order: Order, now: float) -> None:
        """Its customer has longer to answer: to be told in the next turn."""
        self.arm_request(order)
        self._deadlines.set(now, Due.PROLONGED, order.order_id)

    def _arm_mark(self, since: float) -> None:
        """Store from now on that the shard is served, if that is not done already."""
        if not self._deadlines.has(Due.ALIVE, ""):
            self._deadlines.set(since + ALIVE_EVERY_S, Due.ALIVE, "")

    def switch(
        self, order: Order, mode: Mode, now: float, by: UserId, detail: Mapping[str, Any] | None = None, **facts: Any
    ) -> Order:
        """Let an order in matching, a scheduled one or an unfilled one, be looked for in another mode, from now on."""
        move = OrderMove.REOPEN if order.state is OrderState.UNFILLED else OrderMove.SWITCH
        detail = {**(detail or {}), "mode": mode.value}
        if facts.get("picked") is not None:
            detail["technician"] = facts["picked"]
        order = self._postpone(order, now, by)
        order = self.move(
            order,
            move,
            now,
            by,
            detail,
            mode=mode,
            offers_len_max=modes.offers_len_max(mode, self._settings),
            **({"picked": None, "reason": ""} | facts),
        )
        self._matchmaker.want()
        return order

    def _postpone(self, order: Order, now: float, by: UserId) -> Order:
        """Let an order whose pick was asked early wait for its time again, unless somebody is still being asked."""
        early = order.state is OrderState.MATCHING and schedule.opens_at(order, self._settings.schedule) > now
        if not early or order.order_id in self._book.live_of_order:
            return order
        return self.move(order, OrderMove.POSTPONE, now, by)

    def take_back(
        self,
        order: Order,
        now: float,
        by: UserId,
        reason: OrderReason,
        said: str = "",
        *,
        is_decided: bool = False,
    ) -> tuple[Order, list[Effect]]:
        """Take an order from its technician, who is not asked for it again, and look for another.

        The order must have the arrow ``take_back`` and a technician. Whom its customer picked, or staff chose, had it:
        the first refusal is over, and anybody may be asked. A customer who wanted nobody else gets nobody.

        Args:
            reason: What has ended it.
            said: What ``by`` wrote to that.
            is_decided: Staff want somebody else to have it, whatever its customer chose before.
        """
        was = order.mode
        move = schedule.taking_back(order, now, self._settings.schedule)
        order, freed = self.release(order, move, now, by, reason, said)
        effects = [self.tell(order, OrderFact.REASSIGNED, now, lost_by=order.lost_by[-1]), *freed]
        if was is Mode.DIRECTED and order.fallback is Fallback.CANCEL and not is_decided:
            effects.extend(self._call_off_unserved(order, now, reason, said, by))
        elif was in (Mode.DIRECTED, Mode.MANUAL):
            order = self.switch(order, Mode.AUTO, now, by, **_why(reason, said, by))
            effects.append(self.tell(order, OrderFact.SWITCHED, now))
        self._matchmaker.want()
        return self._book.orders[order.order_id], effects

    def release(
        self, order: Order, move: OrderMove, now: float, by: UserId, reason: OrderReason, said: str = ""
    ) -> tuple[Order, list[Effect]]:
        """Take an order from its technician by ``move``; what follows is the caller's. ``by`` said ``said``."""
        lost_by = order.technician
        assert lost_by is not None  # noqa: S101 - the caller has looked
        self._book.refuse(order.order_id, lost_by)
        order = self.move(
            order,
            move,
            now,
            by,
            technician=None,
            eta_s=None,
            way_m=None,
            booked_for=None,
            lost_at=None,
            is_told_apart=False,
            radius_step=0,
            at_place_since=None,
            near_told_m=None,
            pinned_by=None,
            override=(),
            lost_by=(*(user for user in order.lost_by if user != lost_by), lost_by),
            **_why(reason, said, by),
        )
        return order, self.free(lost_by, order, now)

    def end_search(self, order: Order, now: float, *, by_time: bool = False) -> list[Effect]:
        """Nobody was found in the order's mode: go on as its customer chose, or give up.

        Args:
            by_time: Only because the time for it is over: a pick that was asked early may be asked again.
        """
        if order.state not in (OrderState.MATCHING, OrderState.SCHEDULED) or order.order_id in self._book.live_of_order:
            return []  # a live offer may still be accepted; its end comes back here
        if by_time and order.mode is Mode.DIRECTED:
            waiting = self._postpone(order, now, SYSTEM)
            if waiting is not order:
                return [self.tell(waiting, OrderState.SCHEDULED, now)]
        # Who had it and lost it is not asked again either, but has not refused it.
        refused = self._book.refused.get(order.order_id, set()).difference(order.lost_by)
        why = modes.why_unfilled(order, refused)
        if order.mode is Mode.DIRECTED and order.fallback is Fallback.CANCEL:
            return self._call_off_unserved(order, now, why)
        if order.mode is Mode.DIRECTED:
            order = self.switch(order, Mode.AUTO, now, SYSTEM, {"reason": why.value})
            return [self.tell(order, OrderFact.SWITCHED, now)]
        order = self.move(order, OrderMove.GIVE_UP, now, SYSTEM, reason=why.value)
        return [self.tell(order, OrderState.UNFILLED, now)]

    def _call_off_unserved(
        self, order: Order, now: float, why: OrderReason, said: str = "", said_by: UserId | None = None
    ) -> list[Effect]:
        """Its customer wanted only somebody who does not come."""
        outcome = cancellation.unserved(order, now, self._settings.cancellation)
        return self.call_off(order, outcome, now, SYSTEM, why, said, said_by=said_by)

    # -- offers ---------------------------------------------------------------------------------------------

    def close(self, offer: Offer, move: OfferMove, now: float, **facts: Any) -> Offer:
        """Settle an offer."""
        return self._matchmaker.close(offer, move, now, **facts)

    def next_best(self, offer: Offer, what: str, who: UserId, now: float) -> list[Effect]:
        """An offer came to nothing: free its technician and go on to the next, or end the search."""
        order = self._book.orders[offer.order_id]
        detail = {"said": offer.reason} if offer.reason else {}
        self._book.note(order, now, what, who, offer=offer.offer_id, technician=offer.technician, **detail)
        effects = self.free(offer.technician, order, now)
        self._matchmaker.want()
        picked_refused = offer.technician == order.picked and offer.state in REFUSALS
        if picked_refused or now >= modes.search_ends_at(order, self._settings):
            effects.extend(self.end_search(order, now, by_time=not picked_refused))
        return effects

    def revoke_live(
        self, order: Order, reason: CloseReason, now: float, keep: frozenset[OfferId] = frozenset()
    ) -> list[Effect]:
        """Withdraw the order's live offers, except those to ``keep``; their technicians are free again."""
        effects: list[Effect] = []
        for offer in self._book.live_offers_of(order.order_id):
            if offer.offer_id not in keep:
                offer = self.close(offer, OfferMove.REVOKE, now)
                named = {"offer": offer.offer_id, "technician": offer.technician}
                self._book.note(order, now, "revoked", SYSTEM, **named, reason=reason.value)
                effects += [CloseOffer(offer, reason), *self.free(offer.technician, order, now)]
        return effects

    def withdraw_offer(self, user: UserId, now: float, by: UserId = SYSTEM) -> list[Effect]:
        """Withdraw the offer that a technician has, if they have one."""
        live = self._book.live_offer(user)
        if live is None:
            return []
        offer = self.close(live, OfferMove.REVOKE, now)
        return [CloseOffer(offer, CloseReason.REVOKED), *self.next_best(offer, "revoked", by, now)]

    def let_go(self, order: Order, now: float) -> list[Effect]:
        """Whoever has finished and not said that they have left may be asked again; staff are told."""
        user = order.technician
        assert user is not None  # noqa: S101 - a finished order has one
        order = self._book.put_order(replace(order, freed_at=now))
        self._deadlines.drop(Due.LEAVE, order.order_id)
        self._book.note(order, now, OrderFact.TECHNICIAN_FREED, SYSTEM, technician=user)
        return [self.tell(order, OrderFact.TECHNICIAN_FREED, now), *self.free(user, order, now)]

    # -- technicians ----------------------------------------------------------------------------------------

    def free(self, user: UserId, order: Order, now: float) -> list[Effect]:
        """The order does not need its technician, or whom it was offered to, any more."""
        self._matchmaker.want()
        return self.follow(user, order, now)

    def follow(self, user: UserId, order: Order, now: float) -> list[Effect]:
        """Let a technician's work be what the book says they do: a job before an offer before nothing."""
        book = self._book
        known = book.technicians.get(user)
        if known is None:
            return []  # left the city while in a job, and the server was restarted since
        work = book.work_of(user)
        if known.work is work:
            told = book.has_new_bookings(user)
            return [technician_changed(book, known, "bookings", now, self._settings.rating)] if told else []
        who = technician.advance(known, _WORK_MOVES[work], now, book.story(order.order_id))
        return [technician_changed(book, book.put_technician(who), "work", now, self._settings.rating)]


def _why(reason: OrderReason, said: str, by: UserId) -> dict[str, Any]:
    """The facts of an order that say why, for everybody concerned and for staff."""
    return {"reason": reason.value, "said": said, "said_by": by if said else None}
