"""The shell of a city's dispatch engine: waits for its mailbox, the store and the solver, and then performs.

Order of one turn: decide everything, run the matching round that is due, commit state and outbox together, then
take rights away (``Watchers``), hand over messages (``Delivery``), and only then tell the fleet and the index.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import UTC, tzinfo
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np

from core.clock import Clock
from core.ids import CityId, IdSource, OfferId, OrderId, UserId
from core.notice import Notice
from core.outbox import Delivery, OutboxRow
from core.service import EngineService, pause
from core.shard import Shard
from dispatch import events, explaining, matching, not_offered, rounds, what_if
from dispatch.barred import Barred
from dispatch.deadlines import Due
from dispatch.engine import DispatchEngine
from dispatch.errors import conflict, no_such_order
from dispatch.events import DispatchEvent, Effect, Recalled
from dispatch.model import BlockMark, Cancellation, DutyState, Offer, Order, Technician
from dispatch.order import SETTLED_STATES
from dispatch.places import Places
from dispatch.ports import DispatchStore, Fleet, OrderHolds, Outbound, Outside, TravelRate, Watchers
from dispatch.problem import IntArray, Problem, Solution, Solver, WayColumns
from dispatch.settings import DispatchSettings
from dispatch.wakes import WakeDesk
from geo.travel_time import TravelTimes

_log = logging.getLogger(__name__)
T = TypeVar("T")
_BLOCKS_LEN: Final = 500
"""Blocks that are taken in without a pause: about 2 ms."""
_FAILING_DEADLINE_WAIT_S: Final = 30.0
"""Before a deadline that broke the engine is acted on again: each attempt costs a reload of the city."""


class DispatchService(EngineService[DispatchEvent, Effect]):
    """Dispatch of one shard. ``load`` once, then ``run``; ask by ``ask(event)`` or ``post(event, done)``."""

    def __init__(
        self,
        shard: Shard,
        *,
        store: DispatchStore,
        outbound: Outbound,
        watchers: Watchers,
        delivery: Delivery,
        fleet: Fleet,
        places: Places,
        travel: TravelRate,
        clock: Clock,
        ids: IdSource,
        settings: DispatchSettings,
        executor: Executor | None = None,
        served: Collection[CityId] | None = None,
        outside: Outside | None = None,
        zone: tzinfo = UTC,
        wakes: WakeDesk | None = None,
        roads: TravelTimes | None = None,
        holds: OrderHolds | None = None,
    ) -> None:
        """Prepare.

        Args:
            executor: Solves large rounds; None for the loop's own.
            served: Cities of the tenant that are served: duty in any other has ended. None for all.
            outside: Tells programs outside; None when there are none.
            zone: The city's clock, by which shifts are worked.
            wakes: Wakes phones that an offer does not find; None for never.
            roads: Asked for the ways of each round before it is solved; None: distances decide.
            holds: Knows which orders are evidence of an incident; None: none is.
        """
        super().__init__(
            clock,
            name=f"dispatch {shard.tenant}/{shard.city}",
            mailbox_len_max=settings.mailbox_len_max,
            batch_len_max=settings.batch_len_max,
        )
        self.shard = shard
        self._store = store
        self._outbound = outbound
        self._watchers = watchers
        self._delivery = delivery
        self._fleet = fleet
        self._places = places
        self._outside = outside
        self._wakes = wakes
        self._executor = executor
        self._make: Callable[[], DispatchEngine] = lambda: DispatchEngine(
            shard,
            settings=settings,
            places=places,
            travel=travel,
            ids=ids,
            served=served,
            zone=zone,
            asks_roads=roads is not None,
            holds=holds,
        )
        self._roads = roads
        self._asking: set[asyncio.Task[None]] = set()
        self._engine = self._make()
        self._settings = settings
        self._rows: Sequence[OutboxRow] = ()
        self._notices: Sequence[Notice] = ()
        self._round_budget_s = settings.round.budget_ms / 1000.0
        self._overdue: _Solving | None = None
        self.rounds_solved: Counter[str] = Counter()
        """Large rounds by how they ended: ``exact``, ``greedy`` (over the budget) or ``failed``."""
        self._failing: dict[tuple[Due, str], float] = {}

    # -- look-ups, as committed (call from the loop, between turns or while a commit is in flight) ---------

    @property
    def engine(self) -> DispatchEngine:
        """The engine, for reading only; it may be ahead of the store."""
        return self._engine

    def order(self, order_id: OrderId) -> Order | None:
        """An open or recently settled order."""
        return self._engine.stored.order(order_id)

    def technician(self, technician: UserId) -> Technician | None:
        """A technician of this city."""
        return self._engine.stored.technician(technician)

    def rating(self, technician: UserId, now: float) -> float | None:
        """Mean rating, None for one without ratings."""
        return self._engine.stored.shown_rating(technician, now)

    def barred(self, customer: UserId) -> Collection[UserId]:
        """Technicians who are kept apart from this customer; may be ahead of the store."""
        return self._engine.barred(customer)

    def orders_of(self, user: UserId) -> list[Order]:
        """Open orders in which ``user`` is the customer or the technician, oldest first."""
        return self._engine.stored.orders_of(user)

    def open_orders(self) -> list[Order]:
        """All open orders, oldest first."""
        return self._engine.stored.open_orders()

    def live_offer(self, technician: UserId) -> Offer | None:
        """The offer that the technician may take now."""
        return self._engine.stored.live_offer(technician)

    def offer(self, offer_id: OfferId) -> Offer | None:
        """An offer of an open or recently settled order."""
        return self._engine.stored.offer(offer_id)

    def check_names(
        self, technician: UserId, skills: Iterable[str], services: Iterable[str], zones: Iterable[str]
    ) -> None:
        """Raise ``Invalid`` when the city cannot know these names of a technician besides those of the others."""
        self._engine.check_names(technician, skills, services, zones)

    def eta_s(self, order: Order) -> float | None:
        """Seconds until the order's technician is there, by the newest position once they are on the way."""
        return self._engine.eta_s(order, self._clock.now())

    def cancellation(self, order: Order, *, staff: bool) -> Cancellation:
        """What calling the order off would cost now. Raises ``Conflict`` when it cannot be called off."""
        return self._engine.cancellation(order, self._clock.now(), staff=staff)

    async def recall(self, order_id: OrderId) -> Recalled | None:
        """Read an order that memory has let go of, to rate it or to look for somebody again. Raises ``Unavailable``."""
        if self._engine.order(order_id) is not None:
            return None
        order = await self._store.order(self.shard.tenant, order_id)
        if order is None or order.city != self.shard.city:
            return None
        told = await self._store.events(self.shard.tenant, order_id)
        return Recalled(order, len(told), await self._store.offers(self.shard.tenant, order_id))

    async def explain(self, order_id: OrderId) -> list[explaining.Explanation]:
        """Each stored round that looked at the order, oldest first, recomputed in a thread. Raises ``Unavailable``."""
        stored = await self._store.rounds(self.shard.tenant, order_id)
        skipped = self._engine.skipped_rounds(order_id)
        if self._engine.order(order_id) is None:
            order = await self._store.order(self.shard.tenant, order_id)
            skipped = order.skipped if order is not None else None
        return await self._off_the_loop(lambda: explaining.explain_all(stored, order_id, skipped))

    async def why_no_offers(
        self, technician: UserId, *, from_at: float, to_at: float, after: tuple[float, str] | None, limit: int
    ) -> not_offered.NotOffered:
        """A page of the stored rounds of a window from a technician's side, oldest first. Raises ``Unavailable``."""
        stored = await self._store.rounds_between(
            self.shard.tenant, self.shard.city, from_at=from_at, to_at=to_at, after=after, limit=limit
        )
        return await self._off_the_loop(lambda: not_offered.page(list(stored), technician, limit))

    async def what_if(self, order_id: OrderId, numbers: Mapping[str, Any], waive: Collection[str]) -> what_if.WhatIf:
        """Whom a round for this order alone would choose now, as things are and as asked. Nothing is changed.

        The road engine is asked as a round would ask it, within the same time.

        Raises:
            NotFound: There is no such order here.
            Conflict: It is settled.
            Invalid: A number or a filter that cannot be changed.
        """
        order = self._engine.order(order_id)
        if order is None:
            raise no_such_order()
        if order.state in SETTLED_STATES:
            raise conflict("conflict", f"the order is {order.state}: nobody is looked for any more")
        waived = what_if.waivers(waive)
        settings = what_if.changed_settings(self._settings, numbers)
        now = self._clock.now()
        as_is = self._engine.question(order, now, what_if.changed_settings(self._settings, {}), ())
        asked = self._engine.question(what_if.waived_order(order, waived), now, settings, waived)
        asked = what_if.waived_problem(asked, waived)
        as_is, asked = await asyncio.gather(self._with_ways(as_is), self._with_ways(asked))
        return await self._off_the_loop(lambda: what_if.answer(order, as_is, asked))

    async def _off_the_loop(self, work: Callable[[], T]) -> T:
        """In one of the loop's own threads: the solver's are for rounds that people wait for."""
        return await asyncio.get_running_loop().run_in_executor(None, work)

    # -- life ---------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read the shard's state and put its technicians on duty into the index. Raises ``Unavailable``."""
        await self._load(is_start=True)

    async def _load(self, *, is_start: bool) -> None:
        now = self._clock.now()
        engine = self._make()
        state = await self._store.load(self.shard, now)
        barred = await _taken_in(state.blocks)
        engine.load(state, now, is_start=is_start, barred=barred)
        self._failing = {deadline: until for deadline, until in self._failing.items() if until > now}
        for (due, id_), until in self._failing.items():
            engine.postpone(due, id_, until)
        half_done, self._engine = self._engine.changes, engine
        for offer in half_done.offers.values():
            if engine.live_offer(offer.technician) is None:
                self._fleet.attend(self.shard.tenant, offer.technician, offer.offer_id, active=False)
        self._show_all(now)

    def _show_all(self, now: float) -> None:
        """Make the fleet, the rights and the index agree with what is stored. Every call is idempotent."""
        tenant = self.shard.tenant
        for order in self._engine.stored.orders():
            self._watchers.tracking_changed(order)  # settled ones too: rights to them end
        for technician in self._engine.technicians():
            here = technician.duty is not DutyState.OFF and technician.duty_city == self.shard.city
            if here or self._places.shows(technician.technician):
                self._fleet.duty_changed(tenant, technician.technician, self.shard if here else None)
            self._write(technician, self._engine.rating(technician.technician, now))
        for offer in self._engine.live_offers():
            self._fleet.attend(tenant, offer.technician, offer.offer_id, active=True)
        for order in self._engine.open_orders():
            if order.technician is not None:
                active = self._engine.is_job(order)
                self._fleet.attend(tenant, order.technician, order.order_id, active=active)

    # -- the shell ----------------------------------------------------------------------------------------

    def decide(self, event: DispatchEvent, now: float) -> list[Effect]:
        """See ``EngineService``."""
        return self._engine.handle(event, now)

    def next_deadline(self) -> float | None:
        """See ``EngineService``."""
        return self._engine.next_deadline()

    def decide_deadlines(self, now: float) -> list[Effect]:
        """See ``EngineService``. The deadline that fails is put off, so that after the reload the others act."""
        try:
            return self._engine.on_deadline(now)
        except Exception:
            if self._engine.acting is not None:
                self._failing[self._engine.acting] = now + _FAILING_DEADLINE_WAIT_S
            raise

    def settle(self, now: float) -> list[Effect]:
        """Run the matching round that the batch made due."""
        return self._engine.settle(now)

    async def commit(self, effects: Sequence[Effect], now: float) -> None:
        """Store the turn's changes with the messages they mean."""
        self._rows, self._notices = (), ()
        changes = self._engine.changes
        if changes:
            if self._outside is not None:
                changes.notices = self._outside.notices(effects, now)
            drafts = self._outbound.drafts(effects, now)
            self._rows = await self._store.commit(self.shard, changes, drafts, now)
            self._notices = changes.notices
        self._engine.committed()

    async def discard(self) -> None:
        """Build the engine anew from the store: it holds only what is open, so this is quick.

        A commit whose outcome is unknown may have been stored, so everything outside is brought in line too.
        """
        await self._load(is_start=False)

    def perform(self, effects: Sequence[Effect], now: float) -> None:
        """Rights first, then messages, then the fleet, the index and the solver; one that fails holds up no other."""
        rows, self._rows = self._rows, ()
        notices, self._notices = self._notices, ()
        for effect in effects:
            if isinstance(effect, events.OrderChanged):
                self._guard("watchers", self._watchers.tracking_changed, effect.order)
        if rows:
            self._guard("delivery", self._delivery.deliver, rows)
        if notices and self._outside is not None:
            self._guard("outside", self._outside.committed, notices)
        for effect in effects:
            self._guard(type(effect).__name__, self._perform_one, effect)
        if self._wakes is not None:
            self._wake_phones(self._wakes, effects, now)
        for technician in self._engine.take_late():
            self._write(technician, self._engine.rating(technician.technician, now))

    def _guard(self, what: str, call: Callable[[T], object], subject: T) -> None:
        """Call somebody else's code after the commit; its fault is logged and must not end the city."""
        try:
            call(subject)
        except Exception:  # noqa: BLE001 - whatever it is, it is not ours to end the service for
            _log.exception("a neighbour of dispatch failed", extra={"what": what, "city": self.shard.channel})

    def _perform_one(self, effect: Effect) -> None:
        tenant = self.shard.tenant
        match effect:
            case events.DutyChanged(technician, shard):
                self._fleet.duty_changed(tenant, technician.technician, shard)
            case events.TechnicianChanged(technician):
                self._write(technician, effect.rating)
                if effect.what != "copied":
                    self._fleet.technician_changed(self.shard, technician)
            case events.PairBlockChanged():
                self._fleet.block_changed(self.shard, effect)
            case events.SendOffer(offer):
                self._fleet.attend(tenant, offer.technician, offer.offer_id, active=True)
            case events.CloseOffer(offer) | events.OfferAnswered(offer):
                self._fleet.attend(tenant, offer.technician, offer.offer_id, active=False)
            case events.OrderChanged(order):
                if effect.previous_technician is not None:
                    self._fleet.attend(tenant, effect.previous_technician, order.order_id, active=False)
                if order.technician is not None:
                    active = self._engine.is_job(order)
                    self._fleet.attend(tenant, order.technician, order.order_id, active=active)
            case events.AskWays():
                asking = asyncio.get_running_loop().create_task(self._ask_ways(effect), name="travel table")
                self._asking.add(asking)
                asking.add_done_callback(self._asking.discard)
            case events.SolveRound(round_id, problem):
                self._solve(round_id, problem)
            case events.OrderRepeated() | events.JobNews():
                pass

    def _wake_phones(self, wakes: WakeDesk, effects: Sequence[Effect], now: float) -> None:
        """After all else: what can be delivered has been handed over."""
        for effect in effects:
            match effect:
                case events.SendOffer(offer):
                    self._guard("wake", partial(wakes.offer_sent, now=now), offer)
                case events.CloseOffer(offer, events.CloseReason.UNDELIVERED):
                    self._guard("wake", partial(wakes.offer_undelivered, now=now), offer)

    def _write(self, technician: Technician, rating: float) -> None:
        self._places.write(technician, self._engine.masks(technician), rating)

    # -- ways ---------------------------------------------------------------------------------------------

    async def _ask_ways(self, ask: events.AskWays) -> None:
        ways, source = await self._ways(ask.problem, ask.order, ask.technician)
        if not self._stopping:
            self.post(events.WaysTold(ask.round_id, ways, source), urgent=True)

    async def _ways(self, problem: Problem, order: IntArray, technician: IntArray) -> tuple[WayColumns, str]:
        """One table: likely technicians by orders. Nothing when nobody can say."""
        o, t = problem.orders, problem.technicians
        rows, row = np.unique(order, return_inverse=True)
        columns, column = np.unique(technician, return_inverse=True)
        start = np.stack([t.lat_deg[columns], t.lng_deg[columns]], axis=1)
        goal = np.stack([o.lat_deg[rows], o.lng_deg[rows]], axis=1)
        try:
            assert self._roads is not None  # noqa: S101 - the engine asks only then
            table = await self._roads.table(start, goal, problem.at)
        except Exception:  # noqa: BLE001 - whatever it is, the round must go on
            _log.exception("a travel table failed", extra={"city": self.shard.channel})
            return WayColumns(), ""
        source = f"{table.source} ({table.instead_of})" if table.instead_of else table.source
        return WayColumns(order, technician, table.duration_s[column, row]), source

    async def _with_ways(self, problem: Problem) -> Problem:
        """The problem of a question as a round would have it when it is solved."""
        if self._roads is None:
            return problem
        order, technician = matching.likely(problem)
        if not len(order):
            return problem
        ways, source = await self._ways(problem, order, technician)
        return replace(problem, ways=ways, ways_from=source)

    def stop(self) -> None:
        """See ``EngineService``."""
        super().stop()
        for asking in self._asking:
            asking.cancel()

    # -- large rounds -------------------------------------------------------------------------------------

    def _solve(self, round_id: str, problem: Problem) -> None:
        """In a thread; a round over its budget is answered greedily by another thread, and the first one gives up.

        It can do so only between two components. Until it has, further rounds are greedy from the start, so that not
        more than one thread of a city is busy with what nobody waits for.
        """
        solving = _Solving(round_id, problem)
        if self._overdue is not None and not self._overdue.is_over:
            self._start(solving, Solver.GREEDY)
            return
        self._overdue = None
        self._start(solving, Solver.EXACT)
        over_at = self._clock.monotonic() + self._round_budget_s
        solving.budget = asyncio.get_running_loop().call_at(over_at, self._over_budget, solving)

    def _over_budget(self, solving: "_Solving") -> None:
        if solving.is_wanted:
            self._overdue = solving
            self._start(solving, Solver.GREEDY)

    def _start(self, solving: "_Solving", solver: Solver) -> None:
        is_wanted = (lambda: solving.is_wanted) if solver is Solver.EXACT else None
        work = partial(rounds.solve_and_encode, solving.problem, solver, is_wanted)
        job = asyncio.get_running_loop().run_in_executor(self._executor, work)
        job.add_done_callback(partial(self._solved, solving, solver))

    def _solved(self, solving: "_Solving", solver: Solver, job: "asyncio.Future[tuple[Solution, bytes]]") -> None:
        if solver is Solver.EXACT:
            solving.is_over = True
        error = None if job.cancelled() else job.exception()
        if not solving.is_wanted:
            return  # the greedy answer was first, and this one was given up or comes too late
        solving.is_wanted = False
        if solving.budget is not None:
            solving.budget.cancel()
        answer = events.RoundSolved(solving.round_id, None)
        if error is not None:
            _log.error("a matching round failed", extra={"round_id": solving.round_id}, exc_info=error)
        elif not job.cancelled():
            answer = events.RoundSolved(solving.round_id, *job.result())
            if solver is Solver.GREEDY:
                _log.warning(
                    "a matching round was over its budget and is solved greedily",
                    extra={"round_id": solving.round_id, "city": self.shard.channel},
                )
        self.rounds_solved["failed" if answer.solution is None else solver.value] += 1
        if not self._stopping:
            self.post(answer, urgent=True)


async def _taken_in(blocks: Sequence[BlockMark]) -> Barred:
    """Blocks of a tenant, a few at a time: all of a large one take a third of a second, and phones of all cities wait.

    Not in a thread: it would hold the interpreter for longer than a slice takes.
    """
    barred = Barred()
    for at in range(0, len(blocks), _BLOCKS_LEN):
        if at:
            await pause(0.0)
        barred.take(blocks[at : at + _BLOCKS_LEN])
    return barred


class _Solving:
    """A large round in the hands of the solver's threads.

    Attributes:
        is_wanted: Nobody has answered it yet. Read by the thread, which gives up when it turns false.
        is_over: The exact solver has let go of its thread.
        budget: Rings when the round is over its time budget.
    """

    __slots__ = ("budget", "is_over", "is_wanted", "problem", "round_id")

    def __init__(self, round_id: str, problem: Problem) -> None:
        self.round_id = round_id
        self.problem = problem
        self.is_wanted = True
        self.is_over = False
        self.budget: asyncio.TimerHandle | None = None
