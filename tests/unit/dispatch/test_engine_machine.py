"""Any interleaving of answers, deadlines, cancels, duty and restarts: one accept wins and nothing contradicts."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from core.errors import Conflict, DoorstepError
from core.ids import OfferId, OrderId, UserId
from dispatch import events as e
from dispatch import matching
from dispatch.exclusions import OVERRIDABLE
from dispatch.model import BlockSide, DutyState, Fallback, Gender, Mode, Offer, OfferState, OrderState, Rest
from dispatch.settings import (
    BroadcastSettings,
    DirectedSettings,
    EligibilitySettings,
    ManualSettings,
    OverdueSettings,
    ScheduleSettings,
)
from tests.unit.dispatch.witness import BUSY, Witness
from tests.unit.dispatch.world import ANNA, OPS, SHARD, T0, Walk, World, draft, north

NAMES = [UserId(f"t{i}") for i in range(4)]
technicians = st.sampled_from(NAMES)
OVERRIDES = tuple(sorted(reason.label for reason in OVERRIDABLE))
PAPER = "licence"
LASTING_S = 1e9
"""How long good papers are valid."""
BUFFER_S = 30.0
SETTLED = (OfferState.ACCEPTED, OfferState.DECLINED, OfferState.EXPIRED, OfferState.REVOKED, OfferState.UNDELIVERED)


SETTINGS: dict[str, Any] = {
    "unfilled_after_s": 60.0,
    "confirm_after_s": 300.0,
    "broadcast": replace(BroadcastSettings(), offers_len=3),
    "directed": replace(DirectedSettings(), window_s=50.0, remind_every_s=15.0),
    "manual": replace(ManualSettings(), unfilled_after_s=200.0),
    "schedule": replace(ScheduleSettings(), lead_s=600.0, buffer_s=BUFFER_S, early_s=300.0),
    "eligibility": replace(EligibilitySettings(), papers=(PAPER,)),
    "overdue": OverdueSettings(grace_s=60.0, redispatch_s=90.0, again_s=200.0, leave_s=120.0),
}
SERVICES = ("massage", "sauna")
SPOTS = 3
"""Kinds of places that an order may be for; the operator's map says which zone each is in."""
MAPS = (("", "west", "east"), ("west", "west", "north"), ("north", "", "west"))
LIMITS = ((), ("west",), ("east", "west"), ("north",))
Answer = type[e.OfferAccepted] | type[e.OfferDeclined] | type[e.OfferReceived]
ANSWERS = st.sampled_from([e.OfferAccepted, e.OfferDeclined, e.OfferReceived])
LONGEST_S = 10_000.0
"""Longer than any order can go on without anybody in these settings."""
AT_THE_DOOR = frozenset({OrderState.ARRIVED, OrderState.IN_SERVICE})
"""A technician is with the customer: these two end it, and no clock does. Everything else ends by itself."""


class DispatchMachine(RuleBasedStateMachine):
    """Drives one engine; what was stored is the only memory across restarts."""

    orders: Bundle[OrderId] = Bundle("orders")
    steps = 0
    """Steps of all machines."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(**SETTINGS)
        self.witness = Witness(BUFFER_S, (PAPER,))
        self.settled: dict[str, Any] = {}
        self.made: dict[str, OrderId] = {}
        """Which order each key of the customer has made."""
        self.restarts_at_the_end = False
        self.map: tuple[str, ...] = MAPS[0]
        self.records: dict[UserId, e.TechnicianPut] = {}
        """What the platform last said of each technician."""

    @initialize(restarts_at_the_end=st.booleans())
    def begin(self, restarts_at_the_end: bool) -> None:
        self.restarts_at_the_end = restarts_at_the_end
        self.everybody_works()

    def everybody_works(self) -> None:
        """On duty, with good papers, at their places, and with no alarm."""
        for name in NAMES:
            self.feed(profile(name))
            self.feed(e.DutySet(name, DutyState.ON))
            self.alarm(name, is_open=False)
            self.ping(name, True)

    def feed(self, event: e.DispatchEvent) -> bool:
        """Whether the event was taken; a refusal must change nothing."""
        before = dict(self.world.engine.changes.orders), dict(self.world.engine.changes.offers)
        pending = self.pending(event)
        try:
            effects = self.world.feed(event)
        except DoorstepError:
            changes = self.world.engine.changes
            assert (changes.orders, changes.offers) == before
            assert not changes
            return False
        self.witness.learn(event)
        if isinstance(event, e.TechnicianPut):
            self.records[event.technician] = event
        self.witness.hear(effects)
        self.judge(pending)
        return True

    def pending(self, *events: e.DispatchEvent) -> list[Offer]:
        """Offers that these events accept, if nobody has answered them yet."""
        asked = [self.world.ledger.offers[x.offer_id] for x in events if isinstance(x, e.OfferAccepted)]
        return [offer for offer in dict.fromkeys(asked) if offer.state is OfferState.PENDING]

    def may_accept(self, offer: Offer) -> bool:
        """Whether an acceptance now comes in time, and can be kept."""
        in_time = self.world.now <= offer.expires_at  # the deadline's own turn comes a millisecond after it
        return in_time and self.witness.can_keep(offer, self.world.ledger, self.world.now)

    def judge(self, offers: list[Offer]) -> None:
        """See whether the acceptances that were taken can be kept."""
        for offer in offers:
            order = self.world.ledger.orders[offer.order_id]
            is_taken = self.world.ledger.offers[offer.offer_id].state is OfferState.ACCEPTED
            if is_taken and order.state is OrderState.ASSIGNED:
                self.witness.accepts(offer, self.world.ledger, self.world.now)

    def turn(self, *events: e.DispatchEvent) -> list[bool]:
        """Which of these, all read in one turn, were taken."""
        pending = self.pending(*events)
        effects, taken = self.world.turn(events)
        for event, was_taken in zip(events, taken, strict=True):
            if was_taken:
                self.witness.learn(event)
        self.witness.hear(effects)
        self.judge(pending)
        return taken

    def pass_time(self, until: float) -> None:
        """Let every deadline up to ``until`` (epoch) act."""
        self.witness.hear(self.world.tick(until - T0))

    @rule(
        target=orders,
        metres=st.integers(-2_000, 2_000),
        key=st.sampled_from(["", "a", "b"]),
        mode=st.sampled_from([Mode.AUTO, Mode.AUTO, Mode.BROADCAST, Mode.BROADCAST, Mode.DIRECTED, Mode.MANUAL]),
        ahead_s=st.sampled_from([None, None, None, 90.0, 400.0, 590.0, 700.0]),
        picked=technicians,
        fallback=st.sampled_from(Fallback),
        service=st.sampled_from(SERVICES),
        spot=st.integers(0, SPOTS - 1),
    )
    def place(
        self,
        metres: int,
        key: str,
        mode: Mode,
        ahead_s: float | None,
        picked: UserId,
        fallback: Fallback,
        service: str,
        spot: int,
    ) -> OrderId | MultipleResults[OrderId]:
        wanted = draft(
            north(metres),
            duration_s=180.0,
            mode=mode,
            scheduled_for=None if ahead_s is None else self.world.now + ahead_s,
            technician=picked if mode is Mode.DIRECTED else None,
            fallback=fallback,
            service=service,
            zone=self.map[spot],
        )
        before = set(self.world.ledger.orders)
        try:
            effects = self.world.feed(e.OrderPlaced(wanted, ANNA, key, "f"))
        except Conflict as refusal:
            if mode is not Mode.DIRECTED or refusal.code not in ("filter_failed", "pick_unavailable"):
                raise
            return multiple()
        self.witness.hear(effects)
        repeated = [x.order_id for x in effects if isinstance(x, e.OrderRepeated)]
        new = set(self.world.ledger.orders) - before
        assert len(new) + len(repeated) == 1
        order_id = repeated[0] if repeated else new.pop()
        if key:
            assert order_id == self.made.setdefault(key, order_id), "one key has made two orders"
        else:
            assert not repeated
        return order_id

    @rule(number=st.integers(0, 3), first=ANSWERS, second=ANSWERS, apart_s=st.sampled_from([None, 0.0, 0.3, 25.0]))
    def answer_from_two_devices(self, number: int, first: Answer, second: Answer, apart_s: float | None) -> None:
        """The same offer shows on two phones of one technician; their answers cross, or repeat each other."""
        live = self.world.engine.live_offers()
        if not live:
            return
        offer = live[number % len(live)]
        in_time = self.may_accept(offer)
        events = [answer(offer.offer_id, offer.technician) for answer in (first, second)]
        if apart_s is None:
            taken = self.turn(*events)
        else:
            taken = [self.feed(events[0])]
            self.pass_time(self.world.now + apart_s)
            taken.append(self.feed(events[1]))
        if first is not e.OfferReceived and in_time:
            assert taken[0]
            # The same answer again is no news; another one comes too late.
            assert taken[1] == (second in (first, e.OfferReceived))

    @rule(number=st.integers(0, 3), cancel_at=st.none() | st.integers(0, 4), twice=st.booleans())
    def everybody_asked_accepts_at_once(self, number: int, cancel_at: int | None, twice: bool) -> None:
        """All whom an order was offered to accept in one turn, each perhaps twice, and its customer may cancel."""
        live = self.world.engine.live_offers()
        if not live:
            return
        order_id = live[number % len(live)].order_id
        asked = [offer for offer in live if offer.order_id == order_id and self.may_accept(offer)]
        events: list[e.DispatchEvent] = [
            e.OfferAccepted(o.offer_id, o.technician) for o in asked for _ in range(1 + twice)
        ]
        cancelled_at = len(events)
        if cancel_at is not None:
            cancelled_at = min(cancel_at, len(events))
            events.insert(cancelled_at, e.OrderCancelled(order_id, ANNA))
        taken = self.turn(*events)
        accepted = {
            event.technician
            for event, ok in zip(events, taken, strict=True)
            if ok and isinstance(event, e.OfferAccepted)
        }
        assert len(accepted) == (1 if asked and cancelled_at > 0 else 0)
        if cancel_at is not None:
            assert taken[cancelled_at]
            assert self.world.ledger.orders[order_id].state is OrderState.CANCELLED

    @rule()
    def phones_acknowledge(self) -> None:
        for offer in self.world.engine.live_offers():
            self.feed(e.OfferReceived(offer.offer_id, offer.technician))

    @rule(number=st.integers(0, 3))
    def accept_live(self, number: int) -> None:
        live = self.world.engine.live_offers()
        if live:
            offer = live[number % len(live)]
            may_accept = self.may_accept(offer)
            assert self.feed(e.OfferAccepted(offer.offer_id, offer.technician)) == may_accept

    @rule(technician=technicians, room_s=st.sampled_from([0.5, 5.0, 60.0]), thinks_s=st.sampled_from([0.0, 2.0, 10.0]))
    def accept_right_behind_a_booking(self, technician: UserId, room_s: float, thinks_s: float) -> None:
        """Somebody who dawdles with what they have booked is asked for what follows, and thinks about it."""
        open_ = [o for o in self.world.engine.open_orders() if o.technician == technician]
        booked = [o for o in open_ if o.state is OrderState.ASSIGNED and o.booked_for is not None]
        if not booked or booked[0].booked_for is None:
            return
        self.ping(technician, True)
        self.pass_time(max(self.world.now, booked[0].booked_for))
        self.ping(technician, True)
        begins_at = self.world.now + booked[0].duration_s + Walk().rate(0.0)[0] + BUFFER_S + room_s
        site = booked[0].site.point
        wanted = draft(site, duration_s=180.0, mode=Mode.DIRECTED, scheduled_for=begins_at, technician=technician)
        self.feed(e.OrderPlaced(wanted, ANNA, "", "f"))
        offer = self.world.engine.live_offer(technician)
        if offer is not None:
            self.feed(e.OfferReceived(offer.offer_id, technician))
            self.pass_time(self.world.now + thinks_s)
            may_accept = self.may_accept(offer)
            is_live = self.world.engine.live_offer(technician) is not None
            assert self.feed(e.OfferAccepted(offer.offer_id, technician)) == (may_accept and is_live)

    @rule(number=st.integers(0, 3))
    def decline_live(self, number: int) -> None:
        live = self.world.engine.live_offers()
        if live:
            offer = live[number % len(live)]
            in_time = self.world.now <= offer.expires_at
            assert self.feed(e.OfferDeclined(offer.offer_id, offer.technician)) == in_time

    @rule(number=st.integers(0, 3))
    def cancel_while_asking(self, number: int) -> None:
        live = self.world.engine.live_offers()
        if live:
            assert self.feed(e.OrderCancelled(live[number % len(live)].order_id, ANNA))

    @rule()
    def everybody_is_here(self) -> None:
        self.everybody_works()
        self.pass_time(self.world.now + 2.0)

    @rule()
    def whoever_fits_is_asked(self) -> None:
        """No order keeps waiting beside somebody whom it could be offered to for longer than between two tries."""
        in_thread, self.world.solve_later = self.world.solve_later, False
        while self.world.to_solve:
            self.witness.hear(self.world.solve())
        for name in NAMES:
            self.ping(name, True)
        overlooked = self.with_somebody()
        for _ in range(8):
            self.pass_time(self.world.now + self.world.settings.round.retry_s / 7.0)
            overlooked &= self.with_somebody()
        assert not overlooked, "nobody is asked for an order though somebody could be"
        self.world.solve_later = in_thread

    def with_somebody(self) -> set[OrderId]:
        """Orders that nobody has been asked for and somebody could be."""
        engine, settings = self.world.engine, self.world.settings
        asked = {offer.order_id for offer in engine.live_offers()}
        waiting = [o for o in engine.open_orders() if o.state is OrderState.MATCHING and o.order_id not in asked]
        questions = {o.order_id: engine.question(o, self.world.now, settings, ()) for o in waiting if o.offers_len_max}
        return {order_id for order_id, question in questions.items() if matching.solve(question).pairs}

    @rule(data=st.data(), accepts=st.booleans(), technician=st.none() | technicians)
    def answer_any(self, data: st.DataObject, accepts: bool, technician: UserId | None) -> None:
        """An answer to any offer that ever was, by its technician or by another."""
        if not self.world.ledger.offers:
            return
        offer = self.world.ledger.offers[OfferId(data.draw(st.sampled_from(sorted(self.world.ledger.offers))))]
        by = technician or offer.technician
        event = e.OfferAccepted(offer.offer_id, by) if accepts else e.OfferDeclined(offer.offer_id, by, "no")
        before = dict(self.world.ledger.orders)
        taken = self.feed(event)
        if offer.state is not OfferState.PENDING:
            assert self.world.ledger.orders == before, "an answer to an offer that is over changed an order"
        if by != offer.technician:
            assert not taken
        elif taken and accepts:
            assert self.world.ledger.offers[offer.offer_id].state is OfferState.ACCEPTED

    @rule(order=orders, staff=st.booleans())
    def cancel(self, order: OrderId, staff: bool) -> None:
        if self.feed(e.OrderCancelled(order, OPS if staff else ANNA, "why not", staff=staff)):
            assert self.world.ledger.orders[order].state is OrderState.CANCELLED

    @rule(order=orders, staff=st.booleans())
    def take_back(self, order: OrderId, staff: bool) -> None:
        """By staff, or by the technician."""
        holder = self.world.ledger.orders[order].technician
        if holder is None or staff:
            self.feed(e.OrderReassigned(order, OPS))
        else:
            self.feed(e.OrderReassigned(order, holder, "unwell", staff=False))

    @rule(order=orders, technician=technicians, overrides=st.booleans())
    def assign(self, order: OrderId, technician: UserId, overrides: bool) -> None:
        if self.feed(e.OrderAssigned(order, technician, OPS, "why", OVERRIDES if overrides else ())):
            now = self.world.ledger.orders[order]
            assert (now.technician, now.mode, now.pinned_by) == (technician, Mode.MANUAL, OPS)

    @rule(order=orders, mode=st.sampled_from(Mode), technician=technicians)
    def set_mode(self, order: OrderId, mode: Mode, technician: UserId) -> None:
        picked = technician if mode is Mode.DIRECTED else None
        if self.feed(e.ModeSet(order, mode, OPS, "why not", picked)):
            assert self.world.ledger.orders[order].state not in BUSY

    @rule(order=orders, step=st.sampled_from(e.Step), technician=st.none() | technicians)
    def step(self, order: OrderId, step: e.Step, technician: UserId | None) -> None:
        holder = self.world.ledger.orders[order].technician
        by = technician or holder or NAMES[0]
        if self.feed(e.StepTaken(order, by, step)):
            assert by == holder

    @rule(order=orders)
    def go_on(self, order: OrderId) -> None:
        """The next step that is right, so that jobs also end."""
        for step in e.Step:
            before = self.world.ledger.orders[order]
            if before.technician is None or not self.feed(e.StepTaken(order, before.technician, step)):
                return
            if self.world.ledger.orders[order] != before:
                return

    @rule(
        order=orders, added_s=st.sampled_from([60.0, 180.0, 600.0, 7_200.0, 50_000.0]), key=st.sampled_from(["", "x"])
    )
    def add_time(self, order: OrderId, added_s: float, key: str) -> None:
        order = self.in_service_before_a_booking() or order
        before = self.world.ledger.orders[order]
        event = e.TimeAdded(order, ANNA, added_s, key=key and f"{key} {order} {added_s}", fingerprint="f")
        if self.feed(event) and self.world.ledger.orders[order].added_s != before.added_s:
            assert before.state is OrderState.IN_SERVICE
            if key:
                self.changes_nothing(event)

    def in_service_before_a_booking(self) -> OrderId | None:
        """A running service whose technician has promised to be elsewhere afterwards."""
        open_ = self.world.engine.open_orders()
        booked = {o.technician for o in open_ if o.state is OrderState.ASSIGNED and o.booked_for is not None}
        serving = (o.order_id for o in open_ if o.state is OrderState.IN_SERVICE and o.technician in booked)
        return next(serving, None)

    def changes_nothing(self, event: e.DispatchEvent) -> None:
        """Another device of the same person, or the same one once more, says what was said already."""
        before = dict(self.world.ledger.orders), dict(self.world.ledger.technicians)
        self.feed(event)
        assert (self.world.ledger.orders, self.world.ledger.technicians) == before, "said twice, done twice"

    @rule(order=orders, what=st.integers(0, 4), step=st.sampled_from(e.Step), duty=st.sampled_from(DutyState))
    def say_twice(self, order: OrderId, what: int, step: e.Step, duty: DutyState) -> None:
        """The same message comes from two sessions of one person."""
        by = self.world.ledger.orders[order].technician or NAMES[0]
        events: tuple[e.DispatchEvent, ...] = (
            e.StepTaken(order, by, step),
            e.OrderConfirmed(order, ANNA),
            e.OrderCancelled(order, ANNA, "why not"),
            e.OrderReassigned(order, by, "unwell", staff=False),
            e.DutySet(by, duty),
        )
        event = events[what]
        if isinstance(event, e.DutySet) and self.witness.people[by].is_alarmed:
            return  # the index would forget the alarm; safety shows it again there
        if self.feed(event):
            self.changes_nothing(event)

    @rule(order=orders, agrees=st.booleans())
    def ask_for_time(self, order: OrderId, agrees: bool) -> None:
        """What a technician asks for costs nothing before its customer agrees."""
        before = self.world.ledger.orders[order]
        if before.technician is None or not self.feed(e.TimeAdded(order, before.technician, 600.0)):
            return
        asked = self.world.ledger.orders[order]
        assert (asked.service_fen, asked.duration_s) == (before.service_fen, before.duration_s)
        assert asked.time_request is not None
        if self.feed(e.TimeAnswered(order, ANNA, asked.time_request.request_id, agrees)):
            assert (self.world.ledger.orders[order].added_s > before.added_s) == agrees

    @rule(order=orders, in_s=st.sampled_from([0.0, 100.0, 900.0, 4_000.0]), staff=st.booleans())
    def reschedule(self, order: OrderId, in_s: float, staff: bool) -> None:
        before = self.world.ledger.orders[order]
        at = self.world.now + in_s
        if self.feed(e.Rescheduled(order, OPS if staff else ANNA, at, "", staff)):
            now = self.world.ledger.orders[order]
            assert (now.scheduled_for, now.technician) == (at, before.technician) or now.technician is None

    @rule(technician=technicians, after_s=st.none() | st.sampled_from([0.0, 100.0, 300.0]))
    def rest(self, technician: UserId, after_s: float | None) -> None:
        begins_at = self.world.now + (after_s or 0.0)
        rests = () if after_s is None else (Rest(begins_at, begins_at + 200.0),)
        assert self.feed(e.CalendarSet(technician, (), rests))

    @rule(technician=technicians, after_s=st.sampled_from([0.0, 100.0, 300.0]))
    def rest_in_another_city(self, technician: UserId, after_s: float) -> None:
        """Another city's engine has stored a rest of theirs, which this one only hears of."""
        begins_at = self.world.now + after_s
        known = self.world.ledger.technicians[technician]
        copy = replace(known, version=known.version + 1, rests=(Rest(begins_at, begins_at + 200.0),))
        assert self.feed(e.TechnicianCopied(copy))

    @rule(
        technician=technicians,
        is_verified=st.sampled_from([True, True, False]),
        skills=st.sampled_from([("massage",), ("massage", "nails"), ("nails",)]),
        is_of_city=st.sampled_from([True, True, False]),
        papers_s=st.sampled_from([LASTING_S, LASTING_S, 250.0, -1.0]),
    )
    def put(
        self, technician: UserId, is_verified: bool, skills: tuple[str, ...], is_of_city: bool, papers_s: float
    ) -> None:
        """The platform knows something else of a technician; papers run out in a while, or have."""
        until_at = self.world.now + papers_s
        event = profile(technician, until_at, verified=is_verified, skills=frozenset(skills), is_of_city=is_of_city)
        assert self.feed(event)

    @rule(
        technician=technicians,
        services=st.sampled_from([(), (), SERVICES, SERVICES[:1], SERVICES[1:]]),
        zones=st.sampled_from(LIMITS),
    )
    def limit(self, technician: UserId, services: tuple[str, ...], zones: tuple[str, ...]) -> None:
        """Somebody does other services from now on, or goes to other zones."""
        self.edit(technician, services=services, zones={SHARD.city: zones} if zones else {})

    @rule(map_=st.sampled_from(MAPS))
    def draw_zones_anew(self, map_: tuple[str, ...]) -> None:
        """The city has other zones after the next start: orders keep those that they were placed in."""
        zones = {order_id: order.zone for order_id, order in self.world.ledger.orders.items()}
        self.map = map_
        self.restart()
        assert zones == {order_id: self.world.ledger.orders[order_id].zone for order_id in zones}

    @rule(service=st.sampled_from(SERVICES))
    def close_service(self, service: str) -> None:
        """The operator takes a service out of the records of all who do it; what they have accepted stands."""
        held = self.holders()
        for technician in NAMES:
            if technician in self.records:
                left = [name for name in self.records[technician].services or SERVICES if name != service]
                self.edit(technician, services=tuple(left) or ("none",))
        assert held == self.holders()
        asked = {offer.order_id for offer in self.world.engine.live_offers()}
        assert all(self.world.ledger.orders[order_id].service != service for order_id in asked)

    def edit(self, technician: UserId, **facts: Any) -> None:
        """The platform puts somebody's record with other facts."""
        if technician in self.records:
            assert self.feed(replace(self.records[technician], **facts))

    def holders(self) -> dict[OrderId, UserId | None]:
        """Whose each open order is."""
        return {order.order_id: order.technician for order in self.world.engine.open_orders() if order.technician}

    @rule(technician=technicians, side=st.sampled_from(BlockSide), is_set=st.booleans(), staff=st.booleans())
    def block(self, technician: UserId, side: BlockSide, is_set: bool, staff: bool) -> None:
        """One of the two, or staff for them, sets a block or lifts it; what they have accepted stands."""
        by = OPS if staff else ANNA if side is BlockSide.CUSTOMER else technician
        held = [o.order_id for o in self.world.engine.open_orders() if o.technician == technician]
        event = e.PairBlocked if is_set else e.PairUnblocked
        taken = self.feed(event(ANNA, technician, side, by, staff))
        assert taken or not (is_set or staff)  # only to lift what staff set is refused
        assert held == [o.order_id for o in self.world.engine.open_orders() if o.technician == technician]

    @rule(technician=technicians, is_open=st.booleans())
    def alarm(self, technician: UserId, is_open: bool) -> None:
        if technician not in self.world.index:
            return
        self.world.alarm(technician, is_open=is_open)
        self.witness.people[technician].is_alarmed = is_open
        if is_open:
            assert self.feed(e.AlarmRaised(technician))
            assert self.world.engine.live_offer(technician) is None

    @rule(order=orders)
    def confirm(self, order: OrderId) -> None:
        self.feed(e.OrderConfirmed(order, ANNA))

    @rule(order=orders, stars=st.integers(1, 5))
    def rate(self, order: OrderId, stars: int) -> None:
        before = self.world.ledger.orders[order].stars
        taken = self.feed(e.OrderRated(order, ANNA, stars))
        if before is not None:
            assert self.world.ledger.orders[order].stars == before
            assert not taken or stars == before

    @rule(technician=technicians, duty=st.sampled_from(DutyState))
    def duty(self, technician: UserId, duty: DutyState) -> None:
        if self.witness.people[technician].is_alarmed:
            return  # the index would forget the alarm; safety shows it again there
        jobs = [o for o in self.world.engine.open_orders() if self.world.engine.is_job(o)]
        busy = technician in {o.technician for o in jobs if o.state is not OrderState.FINISHED}
        self.feed(e.DutySet(technician, duty))
        assert not (busy and self.world.ledger.technicians[technician].duty is DutyState.OFF)
        self.ping(technician, True)

    @rule(technician=technicians, is_lost=st.booleans())
    def phone(self, technician: UserId, is_lost: bool) -> None:
        """The last connection of a phone breaks off, or it is back: the hub tells at once."""
        self.ping(technician, not is_lost)
        offer = self.world.engine.live_offer(technician)
        assert self.feed(e.PhoneLost(technician) if is_lost else e.PhoneFound(technician))
        if is_lost and offer is not None and self.world.ledger.orders[offer.order_id].picked is None:
            self.pass_time(self.world.now + self.world.settings.phone_lost_s + 0.001)
            assert self.world.ledger.offers[offer.offer_id].state is not OfferState.PENDING

    @rule(technician=technicians, connected=st.booleans())
    def ping(self, technician: UserId, connected: bool) -> None:
        if technician in self.world.index:
            self.world.seen(technician, north(300.0 * (NAMES.index(technician) + 1)), connected=connected)

    @rule(seconds=st.sampled_from([0.001, 0.2, 1.0, 3.0, 19.999, 20.0, 20.001, 61.0]), seen=st.booleans())
    def wait(self, seconds: float, seen: bool) -> None:
        self.pass_time(self.world.now + seconds)
        if seen:
            for name in NAMES:
                self.ping(name, True)

    @rule(order=orders)
    def wait_long(self, order: OrderId) -> None:
        self.pass_time(self.world.now + 400.0)

    @rule(number=st.integers(0, 3), after_s=st.sampled_from([-0.0005, 0.0, 0.0005]))
    def accept_at_the_deadline(self, number: int, after_s: float) -> None:
        """Just before, at, or just after the moment: the deadline's own turn has not run yet."""
        live = [o for o in self.world.engine.live_offers() if o.delivered_at is not None]
        if not live:
            return
        offer = live[number % len(live)]
        self.pass_time(offer.expires_at - 0.001)
        known = self.world.ledger.offers[offer.offer_id]
        if known.state is not OfferState.PENDING:
            return
        self.world.now = offer.expires_at + after_s
        may_accept = self.may_accept(offer)
        assert not may_accept or after_s <= 0.0
        taken = self.feed(e.OfferAccepted(offer.offer_id, offer.technician))
        assert taken == may_accept
        self.pass_time(self.world.now + 0.001)  # let the deadline's own turn run

    @rule()
    def restart(self) -> None:
        self.world.restart()
        self.pass_time(self.world.now)

    @rule(seconds=st.sampled_from([5.0, 70.0, 250.0, 700.0]), heard=st.booleans())
    def outage(self, seconds: float, heard: bool) -> None:
        """The server is gone for a while; what fell due meanwhile is due when it is back."""
        self.world.now += seconds
        self.world.restart(heard=heard)
        self.pass_time(self.world.now)

    @invariant()
    def the_book_is_sound(self) -> None:
        DispatchMachine.steps += 1
        self.world.engine.check()

    @invariant()
    def people_were_told_what_is_stored(self) -> None:
        self.witness.read(self.world.ledger)

    @invariant()
    def settled_offers_never_change(self) -> None:
        for offer_id, offer in self.world.ledger.offers.items():
            if offer_id in self.settled:
                assert self.settled[offer_id] == offer
            elif offer.state in SETTLED:
                self.settled[offer_id] = offer

    @invariant()
    def nobody_is_asked_who_is_kept_apart(self) -> None:
        assert {mark.technician for mark in self.witness.apart} == set(self.world.engine.barred(ANNA))
        asked = {offer.technician for offer in self.world.engine.live_offers()}
        assert asked.isdisjoint(self.world.engine.barred(ANNA))

    @invariant()
    def the_store_holds_what_the_engine_holds(self) -> None:
        for order in self.world.engine.open_orders():
            assert self.world.ledger.orders[order.order_id] == order

    def teardown(self) -> None:
        """Everybody falls silent: what waits for no person comes to its end by itself, with or without a restart."""
        if not self.witness.people:
            return  # it never began
        if self.restarts_at_the_end:
            self.world.restart()
        self.pass_time(self.world.now + LONGEST_S)
        orders = [o for o in self.world.ledger.orders.values() if o.order_id not in self.witness.ended]
        # Whom staff have chosen is nobody's to replace but theirs: they are told again and again.
        open_ = {o.state for o in orders if o.technician is None or o.pinned_by is None}
        assert open_ <= AT_THE_DOOR, "an order without a next event"
        self.people_were_told_what_is_stored()


def profile(
    technician: UserId, papers_until_at: float = T0 + LASTING_S, *, is_of_city: bool = True, **facts: Any
) -> e.TechnicianPut:
    """What the platform says of a technician."""
    known: dict[str, Any] = {
        "name": technician.title(),
        "skills": frozenset({"massage"}),
        "gender": Gender.FEMALE,
        "tier": "",
        "cities": (SHARD.city,) if is_of_city else ("elsewhere",),
        "verified": True,
        "papers": {PAPER: papers_until_at},
    }
    return e.TechnicianPut(technician, **(known | facts))


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        DispatchMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.slow
def test_no_interleaving_gives_an_order_to_two_technicians() -> None:
    run(examples=60, steps=40)


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_interleaving_gives_an_order_to_two_technicians_in_many_runs() -> None:
    before = DispatchMachine.steps
    run(examples=2_000, steps=60)
    assert DispatchMachine.steps - before >= 100_000
