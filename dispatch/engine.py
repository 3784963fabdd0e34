"""The dispatch engine of one shard: decides, and never waits. One order, one technician: one accept wins.

Each handler first refuses (``DoorstepError``, nothing changed), then writes the book, then says what must be
done. The round that a turn made due runs in ``settle``, so that an order and its first offer are one commit.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import UTC, tzinfo
from math import inf
from typing import Any, Final

from core.errors import Invalid
from core.ids import ORDER_PREFIX, CityId, IdSource, OfferId, OrderId, UserId
from core.shard import Shard
from dispatch import cancellation, eligibility, leases, modes, overdue, rating, schedule
from dispatch import events as e
from dispatch import order as orders
from dispatch.answers import Answers
from dispatch.appointments import Appointments
from dispatch.barred import Barred
from dispatch.book import Book, in_order
from dispatch.calendar import Calendars, Hours
from dispatch.deadlines import Deadlines, Due
from dispatch.desk import REFUSALS, Desk
from dispatch.errors import OVER, conflict, no_such_order
from dispatch.events import DispatchEvent, Effect
from dispatch.invariants import check_book, check_next_events
from dispatch.job_watch import JobWatch
from dispatch.matchmaker import Matchmaker
from dispatch.model import (
    Cancellation,
    IdempotencyRecord,
    Offer,
    Order,
    OrderReason,
    OrderState,
    SkippedRounds,
    Technician,
)
from dispatch.moves import ALIVE_EVERY_S, SYSTEM, Moves
from dispatch.name_bits import Masks, NameBits
from dispatch.news import rating_now, technician_changed
from dispatch.order import JOB_STATES, SETTLED_STATES, OrderMove
from dispatch.pair_blocks import PairBlocks
from dispatch.pairs import Pairs
from dispatch.picks import Picks
from dispatch.places import Places
from dispatch.ports import DispatchChanges, DispatchState, OrderHolds, TravelRate
from dispatch.problem import Exclusion, Problem
from dispatch.roster import Roster
from dispatch.settings import DispatchSettings
from dispatch.standing import Standing
from dispatch.steps import Steps
from dispatch.stored import Stored

_BACK_S: Final = 15.0
"""What phones need to find a server that was down, and people to answer it: what ends sooner ended in the downtime."""
DEADLINES_AT_ONCE: Final = 32
"""Deadlines of one turn: the offers of a large round lapse at one moment, and each takes 0.1-0.2 ms to go on from."""


HELD_LOOK_S: Final = 600.0
"""How often it is looked whether an order is still held that would confirm itself."""


class DispatchEngine:
    """State and decisions of one shard."""

    def __init__(
        self,
        shard: Shard,
        *,
        settings: DispatchSettings,
        places: Places,
        travel: TravelRate,
        ids: IdSource,
        served: Collection[CityId] | None = None,
        zone: tzinfo = UTC,
        asks_roads: bool = False,
        holds: OrderHolds | None = None,
    ) -> None:
        self._holds = holds
        self.shard = shard
        self._settings = settings
        self._places = places
        self._ids = ids
        self._book = Book(shard, settings.rating, served)
        self.stored = Stored(self._book, settings.rating)
        """What is committed; everything else here may be ahead of the store."""
        self._deadlines = Deadlines()
        self._hours = Hours(zone)
        self._calendars = Calendars(self._book, self._hours, travel, settings.schedule)
        pairs = Pairs(self._book, places, travel, self._calendars, settings)
        self._standing = Standing(self._book, places, travel, self._calendars, pairs, settings)
        self._matchmaker = Matchmaker(
            self._book,
            self._deadlines,
            places,
            travel,
            ids,
            settings,
            self._calendars,
            self._standing,
            asks_roads=asks_roads,
        )
        self._watch = JobWatch(self._book, self._deadlines, places, travel, settings)
        self._moves = Moves(self._book, self._deadlines, self._matchmaker, self._watch, settings)
        self._roster = Roster(
            shard, self._book, self._moves, self._matchmaker, self._calendars, self._standing, settings
        )
        self._answers = Answers(
            self._book, self._deadlines, self._moves, self._matchmaker, self._calendars, self._standing, settings
        )
        self._steps = Steps(self._book, self._moves, self._watch, self._standing, settings)
        self._picks = Picks(self._book, self._moves, pairs, settings)
        self._desk = Desk(self._book, self._moves, pairs, self._picks, self._calendars, settings)
        self._appointments = Appointments(
            self._book,
            self._moves,
            self._matchmaker,
            self._roster,
            self._desk,
            self._standing,
            self._calendars,
            ids,
            settings,
            self._used_before,
        )
        self._pair_blocks = PairBlocks(
            shard.tenant,
            self._book,
            self._moves,
            self._matchmaker,
            ids,
            settings,
        )
        self._handlers: dict[type, Callable[[Any, float], list[Effect]]] = {
            e.OrderPlaced: self._on_placed,
            e.OfferAccepted: self._answers.accept,
            e.OfferDeclined: self._answers.decline,
            e.OfferReceived: self._answers.received,
            e.PhoneLost: self._answers.phone_lost,
            e.PhoneFound: self._answers.phone_found,
            e.DutySet: self._roster.set_duty,
            e.StepTaken: self._steps.take,
            e.OrderCancelled: self._on_cancelled,
            e.OrderReassigned: self._on_reassigned,
            e.TimeAdded: self._appointments.add_time,
            e.TimeAnswered: self._appointments.answer,
            e.Rescheduled: self._appointments.reschedule,
            e.OrderAssigned: self._desk.assign,
            e.ModeSet: self._desk.set_mode,
            e.OrderConfirmed: self._on_confirmed,
            e.OrderRated: self._on_rated,
            e.TechnicianPut: self._roster.put,
            e.CalendarSet: self._roster.set_calendar,
            e.TechnicianCopied: self._roster.take_copy,
            e.WaysTold: self._matchmaker.ways_told,
            e.AlarmRaised: self._roster.alarm_raised,
            e.PairBlocked: self._pair_blocks.block,
            e.PairUnblocked: self._pair_blocks.unblock,
            e.PairBlockCopied: self._pair_blocks.copied,
            e.RoundSolved: self._matchmaker.solved,
        }
        self._put_right: list[UserId] = []
        """Technicians whose record was not what their orders say when the engine began: told in its first turn."""
        self._due: dict[Due, Callable[[str, float], list[Effect]]] = {
            Due.ALIVE: self._alive,
            Due.OPEN: self._open,
            Due.EXPIRE: self._answers.expire,
            Due.UNDELIVERED: self._answers.undelivered,
            Due.GIVE_UP: self._give_up,
            Due.LEASE: self._look_for_technician,
            Due.OVERDUE: self._overdue,
            Due.LEAVE: self._leave,
            Due.REMIND: self._answers.remind,
            Due.CONFIRM: self._confirm_by_time,
            Due.LOOK: self._watch.look,
            Due.WAIT_OVER: self._watch.wait_over,
            Due.CONSENT: self._appointments.lapse,
            Due.PROLONGED: self._appointments.prolonged,
            Due.FORGET: self._forget,
            Due.PUT_RIGHT: self._tell_put_right,
        }
        self.acting: tuple[Due, str] | None = None
        """The deadline being acted on."""

    # -- the engine's face ----------------------------------------------------------------------------------

    def load(self, state: DispatchState, now: float, *, is_start: bool = True, barred: Barred | None = None) -> None:
        """Begin with what was stored; deadlines are armed again, and those that passed meanwhile are due.

        Args:
            is_start: The process begins, however short its absence was: nobody could be heard meanwhile. False when
                what it holds is read again: that takes nobody's time, and may happen often.
            barred: See ``Book.load``.
        """
        least_s = 2.0 * _BACK_S if is_start else 0.0
        self._book.load(state, barred)
        self._put_right = list(self._book.changes.technicians)
        if self._put_right or self._pair_blocks.overtaken():
            self._deadlines.set(now, Due.PUT_RIGHT, "")
        self._matchmaker.skipped.update({i: told for i, told in state.skipped.items() if i in self._book.searching})
        settings = self._settings
        for offer in self.live_offers():
            self._answers.arm(offer, now + _BACK_S, now)
        for order in list(self._book.orders.values()):
            served = self._with_downtime(order, state, now)
            self._moves.arm(served)
            if is_start or served is not order:
                # However late its search: nobody is given up before anybody could be heard.
                self._deadlines.postpone(now + 2.0 * _BACK_S, Due.GIVE_UP, order.order_id)
            if order.order_id in self._book.asking:
                down_s = _down_s(order.time_request.asked_at, state, now) if order.time_request is not None else 0.0
                self._appointments.served_again(order, down_s, least_s, now)
            # Nobody was heard while the server was down.
            self._deadlines.postpone(now + settings.lost.silent_s, Due.LEASE, order.order_id)
            if order.overdue_at is not None:
                # Who was reminded may have set out meanwhile, and could not say so.
                self._deadlines.postpone(now + settings.overdue.redispatch_s, Due.OVERDUE, order.order_id)
        if self._book.waiting or self._book.changes:
            self._matchmaker.want_at(now)  # in a quiet city no event would bring a turn

    def _with_downtime(self, order: Order, state: DispatchState, now: float) -> Order:
        """A search goes on for as long as the server was down in it."""
        if order.state is not OrderState.MATCHING:
            return order
        down_s = _down_s(order.changed_at, state, now)
        if down_s == 0.0:
            return order
        order = self._book.put_order(replace(order, down_s=order.down_s + down_s))
        self._book.changes.alive_at = now
        self._book.note(order, now, "served_again", SYSTEM, down_s=round(down_s, 1))
        return order

    def handle(self, event: DispatchEvent, now: float) -> list[Effect]:
        """Decide one event. Raises ``DoorstepError`` for a refusal, having changed nothing."""
        return self._handlers[type(event)](event, now)

    def question(self, order: Order, now: float, settings: DispatchSettings, waived: Collection[Exclusion]) -> Problem:
        """See ``Matchmaker.question``: what a round for this order alone would see under these settings."""
        return self._matchmaker.question(order, now, settings, waived)

    def next_deadline(self) -> float | None:
        """When ``on_deadline`` must be called; None for never."""
        moments = [at for at in (self._deadlines.next_at(), self._matchmaker.next_at()) if at is not None]
        return min(moments, default=None)

    def on_deadline(self, now: float) -> list[Effect]:
        """Act on what is due, the earliest first; when it raises, ``acting`` tells on what.

        What is left after ``DEADLINES_AT_ONCE`` stays due: ``next_deadline`` says so, and the next turn goes on.
        """
        effects: list[Effect] = []
        for _ in range(DEADLINES_AT_ONCE):
            deadline = self._deadlines.pop_due(now)
            if deadline is None:
                break
            self.acting = deadline.due, deadline.id
            effects.extend(self._due[deadline.due](deadline.id, now))
            self.acting = None
        self._matchmaker.wake(now)
        return effects

    def postpone(self, due: Due, id_: str, at: float) -> None:
        """Do not act on this deadline before ``at``: it broke the engine before."""
        self._deadlines.postpone(at, due, id_)

    def settle(self, now: float) -> list[Effect]:
        """End a turn: duty that was to end ends, picks for later are asked, and the round that has become due runs."""
        return [*self._roster.settle(now), *self._picks.settle(now), *self._matchmaker.settle(now)]

    @property
    def changes(self) -> DispatchChanges:
        """What the turn has to store."""
        return self._book.changes

    def committed(self) -> None:
        """The turn's changes are stored (or there were none): begin a new turn."""
        self._book.new_turn()

    def check(self) -> None:
        """Check every invariant. Raises ``BrokenInvariant``."""
        check_book(self._book)
        self._matchmaker.check()
        check_next_events(self._book, self._deadlines, is_looking=self._matchmaker.is_looking)

    def story(self, id_: str) -> tuple[str, ...]:
        """Last events of an order (or of an offer's order) since the engine began."""
        return self._book.story(id_)

    # -- reading --------------------------------------------------------------------------------------------

    @property
    def skill_bits(self) -> NameBits:
        """Bits of skill names."""
        return self._book.skill_bits

    def masks(self, technician: Technician) -> Masks:
        """A technician's skills and limits as the index's columns have them."""
        return self._book.masks(technician)

    def take_late(self) -> list[Technician]:
        """Technicians whom the index shows without a bit that one of their names has got since the last call."""
        return self._book.take_late()

    def check_names(self, user: UserId, skills: Iterable[str], services: Iterable[str], zones: Iterable[str]) -> None:
        """Raise ``Invalid`` when the city cannot know these names of a technician besides those of the others."""
        self._roster.check_names(user, skills, services, zones)

    def order(self, order_id: OrderId) -> Order | None:
        """An open or recently settled order."""
        return self._book.orders.get(order_id)

    def offer(self, offer_id: OfferId) -> Offer | None:
        """An offer of such an order."""
        return self._book.offers.get(offer_id)

    def technician(self, user: UserId) -> Technician | None:
        """A technician of the city."""
        return self._book.technicians.get(user)

    def technicians(self) -> list[Technician]:
        """All technicians of the city."""
        return list(self._book.technicians.values())

    def open_orders(self) -> list[Order]:
        """All orders that are not settled, oldest first."""
        return in_order(o for o in self._book.orders.values() if o.state not in SETTLED_STATES)

    def live_offer(self, user: UserId) -> Offer | None:
        """The offer that this technician may take."""
        return self._book.live_offer(user)

    def live_offers(self) -> list[Offer]:
        """All live offers."""
        return [offer for order_id in self._book.live_of_order for offer in self._book.live_offers_of(order_id)]

    def skipped_rounds(self, order_id: OrderId) -> SkippedRounds | None:
        """Rounds that looked at an order in vain since its last stored one."""
        order = self._book.orders.get(order_id)
        if order is None or order.state is OrderState.MATCHING:
            return self._matchmaker.skipped.get(order_id)
        return order.skipped

    def rounds_cut(self) -> int:
        """Rounds since the engine began that took only some of the orders (``dispatch.round.columns_len_max``)."""
        return self._matchmaker.cut_len

    def waiting_len(self) -> int:
        """Orders that are looking for a technician and have nobody to ask yet."""
        return len(self._book.unasked)

    def idle_len(self) -> int:
        """Technicians on duty who may be asked."""
        return len(self._book.idle)

    def barred(self, customer: UserId) -> Collection[UserId]:
        """Technicians who are kept apart from this customer."""
        return self._book.barred.technicians(customer)

    def rating(self, user: UserId, now: float) -> float:
        """Mean rating by which dispatch goes; the city's for somebody unknown."""
        known = self._book.technicians.get(user)
        if known is None:
            return rating.city_mean(self._book.city, self._settings.rating)
        return rating_now(self._book, known, now, self._settings.rating)

    def eta_s(self, order: Order, now: float) -> float | None:
        """Seconds until the order's technician is there, as far as is known now."""
        return self._watch.eta_s(order, now)

    def is_job(self, order: Order) -> bool:
        """Whether the order keeps its technician busy."""
        return orders.is_job(order)

    # -- orders ---------------------------------------------------------------------------------------------

    def _on_placed(self, event: e.OrderPlaced, now: float) -> list[Effect]:
        book = self._book
        used = self._used_before(event, now)
        if used is not None:
            return [e.OrderRepeated(used.order_id, book.orders.get(used.order_id))]
        draft = event.draft
        schedule.check(draft.scheduled_for, now, self._settings.schedule)
        eligibility.check_tier(draft.tier_min, self._settings.eligibility)
        placed = Order(
            tenant=self.shard.tenant,
            city=self.shard.city,
            order_id=OrderId(self._ids.new(ORDER_PREFIX)),
            version=0,
            state=OrderState.PLACED,
            mode=draft.mode,
            customer=draft.customer,
            service=draft.service,
            skills=draft.skills,
            duration_s=draft.duration_s,
            site=draft.site,
            contact_name=draft.contact_name,
            contact_phone=draft.contact_phone,
            gender_preference=draft.gender_preference,
            service_fen=draft.service_fen,
            travel_fen=draft.travel_fen,
            placed_at=now,
            changed_at=now,
            placed_by=event.by,
            scheduled_for=draft.scheduled_for,
            picked=draft.technician,
            fallback=draft.fallback,
            tier_min=draft.tier_min,
            zone=draft.zone,
            offers_len_max=modes.offers_len_max(draft.mode, self._settings),
        )
        if placed.picked is not None:
            self._desk.check_pick(placed, placed.picked, now, is_told=False)
        book.note(placed, now, "placed", event.by)
        opened = book.put_order(orders.advance(placed, schedule.opening(placed, now, self._settings.schedule), now))
        book.note(opened, now, opened.state, SYSTEM)
        self._remember_key(event, opened, now)
        self._moves.arm(opened)
        self._matchmaker.want()
        return [self._moves.tell(opened, OrderState.PLACED, now)]

    def _on_cancelled(self, event: e.OrderCancelled, now: float) -> list[Effect]:
        order = self._moves.order_for(event.order_id, event.by, staff=event.staff)
        if order.state is OrderState.CANCELLED:
            return []
        outcome = self.cancellation(order, now, staff=event.staff, waive=event.waive)
        if event.fee_fen_max is not None and outcome.fee_fen > event.fee_fen_max:
            raise conflict("fee_changed", f"it costs {outcome.fee_fen} fen now, not {event.fee_fen_max}")
        reason = OrderReason.CANCELLED_BY_STAFF if event.staff else OrderReason.CANCELLED_BY_CUSTOMER
        return self._moves.call_off(order, outcome, now, event.by, reason, event.reason)

    def cancellation(self, order: Order, now: float, *, staff: bool, waive: bool = False) -> Cancellation:
        """What calling the order off would cost now. Raises ``Conflict`` when it cannot be called off."""
        cancellation.check(order, staff=staff)
        decide = cancellation.waived if staff and waive else cancellation.quote
        return decide(order, now, self._settings.cancellation)

    def _on_reassigned(self, event: e.OrderReassigned, now: float) -> list[Effect]:
        order = self._order_of_a_side(event.order_id, event.by, staff=event.staff)
        if not (event.staff or order.technician == event.by):
            raise no_such_order()
        if order.state in REFUSALS:
            raise conflict(*REFUSALS[order.state])
        if not orders.can(order, OrderMove.TAKE_BACK) or order.technician is None:
            raise conflict("not_assigned", f"the order is {order.state}: there is nobody to take it from")
        staff_said = event.staff and order.technician != event.by
        why = OrderReason.REASSIGNED
        return self._moves.take_back(order, now, event.by, why, event.reason, is_decided=staff_said)[1]

    def _order_of_a_side(self, order_id: OrderId, by: UserId, *, staff: bool) -> Order:
        order = self._book.orders.get(order_id)
        if order is None or not (staff or by in (order.customer, order.technician)):
            raise no_such_order()
        return order

    def _used_before(self, event: e.OrderPlaced | e.TimeAdded, now: float) -> IdempotencyRecord | None:
        """What a client's key was used for. Raises ``Conflict`` when that was something else."""
        used = self._book.key(event.by, event.key)
        if used is None or now - used.at > self._settings.idempotency_keep_s:
            return None
        if used.fingerprint != event.fingerprint:
            raise conflict("idempotency_key_reused", "this key was used for something different")
        return used

    def _remember_key(self, event: e.OrderPlaced | e.TimeAdded, order: Order, now: float) -> None:
        if event.key:
            used = IdempotencyRecord(order.tenant, event.by, event.key, event.fingerprint, order.order_id, now)
            self._book.put_key(used)

    def _on_confirmed(self, event: e.OrderConfirmed, now: float) -> list[Effect]:
        order = self._moves.order_for(event.order_id, event.by, staff=event.staff)
        if order.state is OrderState.CONFIRMED:
            return []
        if order.state is OrderState.CANCELLED:
            raise conflict(*OVER[OrderState.CANCELLED])
        if not orders.can(order, OrderMove.CONFIRM):
            raise conflict("not_finished", f"the order is {order.state}, not finished")
        return self._confirm(order, event.by, now)

    def _confirm(self, order: Order, by: UserId, now: float) -> list[Effect]:
        was_job = order.technician if order.state in JOB_STATES else None
        order = self._moves.move(order, OrderMove.CONFIRM, now, by)
        effects: list[Effect] = [self._moves.tell(order, OrderState.CONFIRMED, now)]
        if was_job is not None:
            effects.extend(self._moves.free(was_job, order, now))
        return effects

    def _on_rated(self, event: e.OrderRated, now: float) -> list[Effect]:
        if not 1 <= event.stars <= 5:
            raise Invalid(f"stars must be between 1 and 5, is {event.stars}", field="stars")
        book = self._book
        recalled = event.recalled
        known = book.orders.get(event.order_id)
        order = known if known is not None else recalled.order if recalled is not None else None
        if order is None or order.order_id != event.order_id or not (event.staff or order.customer == event.by):
            raise no_such_order()
        if order.state not in (OrderState.FINISHED, OrderState.DEPARTED_SAFE, OrderState.CONFIRMED):
            raise conflict("not_finished", f"the order is {order.state}, not finished")
        if order.stars is not None:
            if order.stars == event.stars:
                return []
            raise conflict("already_rated", "the order was rated before")
        if known is None and recalled is not None:
            book.recall(order, recalled.event_seq)
            self._moves.arm(order)
        order = book.put_order(replace(order, stars=event.stars))
        book.note(order, now, "rated", event.by, stars=event.stars)
        effects: list[Effect] = []
        who = book.technicians.get(order.technician) if order.technician is not None else None
        if who is not None:
            who = book.put_technician(rating.rated(who, event.stars, now, self._settings.rating))
            effects.append(technician_changed(book, who, "rating", now, self._settings.rating))
        return [self._moves.tell(order, e.OrderFact.RATED, now), *effects]

    # -- deadlines ------------------------------------------------------------------------------------------

    def _alive(self, id_: str, now: float) -> list[Effect]:
        if self._book.is_awaited():
            self._book.changes.alive_at = now
            self._matchmaker.note_skipped()
            self._deadlines.set(now + ALIVE_EVERY_S, Due.ALIVE, id_)
        return []

    def _tell_put_right(self, id_: str, now: float) -> list[Effect]:
        """The first turn: what was found wrong at the start is told, and what a block has overtaken ends."""
        put_right, self._put_right = self._put_right, []
        known = (self._book.technicians[user] for user in put_right)
        told = [technician_changed(self._book, who, "bookings", now, self._settings.rating) for who in known]
        return [*told, *self._pair_blocks.catch_up(now)]

    def _open(self, id_: str, now: float) -> list[Effect]:
        return self._moves.open(self._book.orders[OrderId(id_)], now)

    def _give_up(self, id_: str, now: float) -> list[Effect]:
        return self._moves.end_search(self._book.orders[OrderId(id_)], now, by_time=True)

    def _look_for_technician(self, id_: str, now: float) -> list[Effect]:
        order = self._book.orders[OrderId(id_)]
        user = order.technician
        who = self._book.technicians.get(user) if user is not None else None
        slot = self._places.slot(user) if user is not None else None
        heard_at = float(self._places.index.heard_at[slot]) if slot is not None else -inf
        on_duty = who is not None and self._book.on_duty_here(who)
        lost = self._settings.lost
        until_at = leases.held_until(heard_at, lost, on_duty=on_duty)
        if until_at > now:
            self._deadlines.set(until_at, Due.LEASE, id_)
            return self._tell_lost(order, None, e.OrderFact.TECHNICIAN_BACK, now) if order.lost_at is not None else []
        if not lost.repair or order.pinned_by is not None or self._is_held(order, now):
            self._deadlines.set(now + lost.silent_s, Due.LEASE, id_)
            return self._tell_lost(order, now, e.OrderFact.TECHNICIAN_LOST, now) if order.lost_at is None else []
        if who is not None and on_duty:
            self._book.put_technician(replace(who, unheard_since=now))
        return self._moves.take_back(order, now, SYSTEM, OrderReason.TECHNICIAN_LOST)[1]

    def _overdue(self, id_: str, now: float) -> list[Effect]:
        order, settings = self._book.orders[OrderId(id_)], self._settings.overdue
        if order.overdue_at is None:
            order = self._book.put_order(replace(order, overdue_at=now))
            self._book.note(order, now, e.News.OVERDUE, SYSTEM, technician=order.technician)
            self._moves.arm(order)
            return [e.JobNews(order, e.News.OVERDUE, now)]
        if overdue.may_be_taken(order, settings) and not self._is_held(order, now):
            return self._moves.take_back(order, now, SYSTEM, OrderReason.NOT_SET_OUT)[1]
        self._deadlines.set(overdue.again_at(order, now, settings), Due.OVERDUE, id_)
        return [e.JobNews(order, e.News.OVERDUE, now)]

    def _leave(self, id_: str, now: float) -> list[Effect]:
        return self._moves.let_go(self._book.orders[OrderId(id_)], now)

    def _tell_lost(self, order: Order, lost_at: float | None, what: e.OrderFact, now: float) -> list[Effect]:
        order = self._book.put_order(replace(order, lost_at=lost_at))
        self._book.note(order, now, what, SYSTEM, technician=order.technician)
        return [self._moves.tell(order, what, now)]

    def _confirm_by_time(self, id_: str, now: float) -> list[Effect]:
        order = self._book.orders[OrderId(id_)]
        if self._is_held(order, now):
            self._deadlines.set(now + HELD_LOOK_S, Due.CONFIRM, id_)
            return []
        return self._confirm(order, SYSTEM, now)

    def _is_held(self, order: Order, now: float) -> bool:
        """Whether the order is evidence of an incident: only people move it on, and nobody else is sent there."""
        return self._holds is not None and self._holds.is_held(order.tenant, order.order_id, now)

    def _forget(self, id_: str, now: float) -> list[Effect]:
        self._book.forget(OrderId(id_))
        self._book.forget_keys(now - self._settings.idempotency_keep_s)
        return []


def _down_s(since: float, state: DispatchState, now: float) -> float:
    """For how long the server was down in a time that has run since then; 0 for a downtime shorter than its marks.

    Marks come every ``ALIVE_EVERY_S`` and late under load, so what is shorter than two of them is not told from none.
    It takes a few seconds from minutes (``_BACK_S`` is what nobody loses), where each restart would else give everybody
    time that they have had.
    """
    down_s = now - max(since, state.alive_at or 0.0)
    return down_s if down_s > 2.0 * ALIVE_EVERY_S else 0.0
