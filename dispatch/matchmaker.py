"""When a round runs, on what, and what becomes of its pairs. The solving itself is ``matching.py``.

A round is wanted as soon as something changed that could place a waiting order. It runs at the end of the same
turn, unless orders outnumber idle technicians: then at most every ``round_min_ms``, and it gathers for
``round_max_ms``. While one is out of the engine's hands, orders that come meanwhile get a small one of their own,
if there are technicians for all: pairs are checked again one by one when a round comes back, so two may be out.

Dispatch does not hear of phones that connect or report a place again. While orders wait, the index is looked at every
``look_ms`` for somebody who has become reachable; whoever only moves is found by trying again every ``retry_s``.
"""

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Final

import numpy as np

from core.ids import OFFER_PREFIX, ROUND_PREFIX, IdSource, OfferId, OrderId, UserId
from dispatch import (
    bystanders,
    chaining,
    eligibility,
    learned_ways,
    matching,
    modes,
    reach,
    rounds,
    shadow,
    spare,
    technician,
)
from dispatch import offer as offers
from dispatch.book import Book, in_order
from dispatch.calendar import Calendars
from dispatch.deadlines import Deadlines, Due
from dispatch.events import (
    AskWays,
    CloseOffer,
    CloseReason,
    Effect,
    RemindOffer,
    RoundSolved,
    SendOffer,
    SolveRound,
    WaysTold,
)
from dispatch.model import Offer, OfferState, OfferTerm, Order, ShadowDecision, SkippedRounds, StoredRound, Technician
from dispatch.news import technician_changed
from dispatch.offer import OfferMove
from dispatch.places import Places
from dispatch.ports import TravelRate
from dispatch.problem import Exclusion, Pair, Problem, Solution
from dispatch.settings import DispatchSettings
from dispatch.sheets import Sheets
from dispatch.standing import Standing
from dispatch.technician import WorkMove

DEADLINE_GRACE_S: Final = 0.001
"""An offer expires this long after its deadline: an answer at the deadline itself is in time."""

BESIDE_LEN_MAX: Final = 8
"""Orders of a round beside another one: so few that it is solved at once."""
MADE_AT_ONCE: Final = 32
"""Offers that a round makes in one turn, 0.2 ms each; the rest follow in the next turns."""
ASKED_CELLS_MAX: Final = 131_072
"""Orders times technicians up to which it is looked for the likely ways to ask a road engine for: 6 ms of the loop."""
TOO_LARGE: Final = "too_large"
"""What ``Problem.ways_from`` says of a larger one."""
STEPS_AT_ONCE: Final = 128
"""Orders whose radius step a round writes in one turn, 0.05 ms each."""
WORKED_OUT_AT_ONCE: Final = 400
"""Rows of orders, and of technicians, that are worked out in one turn before a round in columns (``sheets.py``)."""
PUT_OFF_MAX: Final = 64
"""Turns in a row in which rows are worked out; then the round runs, though as many have changed again meanwhile."""
NEAR_M: Final = 1_000.0
_WHY: Final = {"rating": "well rated", "tier": "tier", "idle": "waited long"}
_WORTH_TELLING_S: Final = 10.0


@dataclass(slots=True)
class _Making:
    """A decided round while its offers are made. ``is_old``: the book may have moved on since it was collected."""

    round_id: str
    problem: Problem
    solution: Solution
    inputs: bytes | None
    is_old: bool
    made: set[tuple[str, str]] = field(default_factory=set)
    steps_len: int = 0
    done_len: int = 0


class Matchmaker:
    """Rounds of one shard. Part of the engine; pure."""

    def __init__(
        self,
        book: Book,
        deadlines: Deadlines,
        places: Places,
        travel: TravelRate,
        ids: IdSource,
        settings: DispatchSettings,
        calendars: Calendars,
        standing: Standing,
        *,
        asks_roads: bool = False,
    ) -> None:
        self._book = book
        self._calendars = calendars
        self._standing = standing
        self._deadlines = deadlines
        self._places = places
        self._travel = travel
        self._ids = ids
        self._settings = settings
        self._wanted = False
        self._next_at: float | None = None
        self._last_at = -inf
        self._wave = 0
        self._tried: dict[OrderId, int] = {}
        """Wave in which each waiting order was last looked at: slices go round."""
        self._kept_at: dict[OrderId, float] = {}
        """When each waiting order was last part of a stored round."""
        self._told_at: dict[OrderId, float] = {}
        """When each waiting order was last part of a stored round that had nobody for it and says so of everyone."""
        self._half_told: dict[OrderId, None] = {}
        """Waiting orders that the index had somebody for and the round nobody (a calendar): look at everyone next."""
        self.skipped: dict[OrderId, SkippedRounds] = {}
        """Rounds of each order since its last stored one that were not stored."""
        self._making: list[_Making] = []
        """Rounds that are decided and whose offers are not all made yet."""
        self._solving: tuple[str, Problem] | None = None
        """The round that is out of the engine's hands: its ways are asked for, or a thread solves it."""
        self.cut_len = 0
        """Rounds that took only some of the waiting orders, because all of them were too many."""
        self._put_off_len = 0
        """Turns in a row in which a round was put off, because rows had to be worked out."""
        self._is_filling = False
        """Whether that one only waits for its ways to be looked up."""
        self._beside: tuple[str, Problem] | None = None
        """A second, small round whose ways are asked for while that one is out."""
        self._tried_beside: set[OrderId] = set()
        """Orders that had their small round while that one is out."""
        self._asks_roads = asks_roads
        self._sheets = Sheets(book, eligibility.papers_needed(book.shard.city, settings.eligibility))
        self._gathers_since: float | None = None
        """Since when a round is wanted and waits, because there are not technicians for all."""
        self._look_at: float | None = None
        self._reachable = np.zeros(0, dtype=np.bool_)
        """Who could be asked, by slots of the index, when that was last looked at."""

    # -- when -----------------------------------------------------------------------------------------------

    def want(self) -> None:
        """Something changed that may place a waiting order."""
        self._wanted = True

    def want_at(self, at: float) -> None:
        """The same at a moment that must be waited for: a deadline brings the turn, not an event."""
        self._again(at)

    def check(self) -> None:
        """Assert that rows of orders and technicians that count as fresh are."""
        self._sheets.check()

    def next_at(self) -> float | None:
        """When ``wake`` must be called."""
        return min((at for at in (self._next_at, self._look_at) if at is not None), default=None)

    @property
    def is_looking(self) -> bool:
        """Whether a round is due at some moment, or out of the engine's hands."""
        return self._wanted or self._next_at is not None or self._solving is not None or bool(self._making)

    def wake(self, now: float) -> None:
        """Notice that the time for a round has come."""
        if self._next_at is not None and self._next_at <= now:
            self._next_at = None
            self._wanted = True
        if self._look_at is not None and self._look_at <= now:
            self._look_at = None
            if self._look(now):
                self._wanted = True

    def _look(self, now: float) -> bool:
        """Whether somebody has become reachable since this was last asked."""
        book, known = self._book, self._reachable
        unheard = ((user, book.technicians[user].unheard_since or -inf) for user in book.unheard)
        self._reachable = self._places.reachable(now - self._settings.position_fresh_s, unheard)
        fresh = self._reachable.copy()
        fresh[: len(known)] &= ~known[: len(fresh)]
        return bool(fresh.any())

    def _again(self, at: float) -> None:
        self._next_at = at if self._next_at is None else min(self._next_at, at)

    def settle(self, now: float) -> list[Effect]:
        """Run the round that is due, if one is. Once at the end of each turn."""
        effects: list[Effect] = []
        if self._making:
            effects = self._make_offers(now)
        elif self._is_filling:
            effects = self._fill(now)
        elif self._wanted:
            effects = self._settle(now) if self._solving is None else self._settle_beside(now)
        if not self._book.waiting:
            self._look_at = None
        elif self._look_at is None:
            self._look_at = now + self._settings.round.look_ms / 1000.0
        # Who came free in this turn is shown in the index only after it: look again then.
        freed = any(user in self._book.idle for user in self._book.changes.technicians)
        if freed and self._book.waiting:
            self._again(now)
        return effects

    def _settle(self, now: float) -> list[Effect]:
        if not self._book.waiting:
            self._wanted = False
            self._next_at = self._gathers_since = None
            return []
        if len(self._book.unasked) > len(self._book.idle):
            round_ = self._settings.round
            if self._gathers_since is None:
                self._gathers_since = now
            gathered_at = self._gathers_since + round_.round_max_ms / 1000.0
            allowed_at = max(self._last_at + round_.round_min_ms / 1000.0, gathered_at)
            if now < allowed_at:
                self._again(allowed_at)
                return []
        if not self._is_worked_out():
            self._again(now)
            return []
        self._wanted = False
        self._next_at = self._gathers_since = None
        return self._run(now)

    def _is_worked_out(self) -> bool:
        """Whether a round in columns finds the rows of everyone; if not, some more of them are now."""
        book, len_max = self._book, self._settings.round.slice_orders_max
        if reach.slice_len(len(book.waiting), len(self._places.index), self._settings) <= len_max:
            return True
        users = reach.everybody(book, self._places)
        worked_out = self._sheets.refresh(users, [book.orders[i] for i in book.waiting], WORKED_OUT_AT_ONCE)
        is_enough = worked_out < WORKED_OUT_AT_ONCE or self._put_off_len == PUT_OFF_MAX
        self._put_off_len = 0 if is_enough else self._put_off_len + 1
        return is_enough

    def _settle_beside(self, now: float) -> list[Effect]:
        """Give orders that came while a round is out a small one of their own, once; afterwards they are in the next.

        It may take a technician whom the large round is about to choose. That pair is then not possible any more, and
        its order is looked at again after ``round_min_ms``: so only while there are technicians for all.
        """
        book = self._book
        if self._solving is None or self._beside is not None or len(book.idle) < len(book.unasked):
            return []
        out = self._solving[1].orders.ids
        known = self._tried_beside.union(OrderId(order_id) for order_id in out)
        fresh = in_order(book.orders[order_id] for order_id in book.unasked if order_id not in known)[:BESIDE_LEN_MAX]
        self._tried_beside.update(order.order_id for order in fresh)
        if not fresh:
            return []
        if len(fresh) == BESIDE_LEN_MAX:
            self._again(now)
        return self._begin(fresh, {}, now, is_beside=True)

    # -- on what --------------------------------------------------------------------------------------------

    def _run(self, now: float) -> list[Effect]:
        book = self._book
        finishing = chaining.finishing(book, now, self._settings.schedule.chain_s)
        orders, more = self._choose_orders(anybody=bool(book.idle or finishing or spare.technicians(book)))
        if not orders:
            self._again(now + self._settings.round.retry_s)
            return []
        self._last_at = now
        self._tried_beside.clear()
        self._look(now)
        if more:
            self._again(now)
        told = {o.order_id: o.order_id in self._half_told for o in orders if self._is_to_be_told(o.order_id, now)}
        return self._begin(orders, told, now, is_beside=False)

    def _begin(
        self, orders: Sequence[Order], whole: Mapping[OrderId, bool], now: float, *, is_beside: bool
    ) -> list[Effect]:
        """A round of these orders. Beside another one it is dropped when it is too large to be solved at once."""
        round_id = self._ids.new(ROUND_PREFIX)
        problem = reach.build(
            orders,
            self._book,
            self._places,
            now=now,
            seed=(self._settings.seed + zlib.crc32(round_id.encode())) % 2**31,
            travel=self._travel.rate(now),
            hours=self._calendars.hours,
            finishing=chaining.finishing(self._book, now, self._settings.schedule.chain_s),
            spare=self._spare(orders),
            sheets=self._sheets,
            settings=self._settings,
            whole=whole,
        )
        if is_beside and self._is_large(problem):
            return []
        if self._asks_roads and len(problem.orders.ids) * len(problem.technicians.ids) > ASKED_CELLS_MAX:
            problem = replace(problem, ways_from=TOO_LARGE)
        elif self._asks_roads:
            order, asked = matching.likely(problem)
            if len(order):
                if is_beside:
                    self._beside = (round_id, problem)
                else:
                    self._solving = (round_id, problem)
                return [AskWays(round_id, problem, order, asked)]
        elif self._has_everybody(problem) and self._travel.has_learned():
            # Collecting and looking up are up to 10 ms each: another turn lies between them.
            self._solving, self._is_filling = (round_id, problem), True
            self._again(now)
            return []
        else:
            problem = learned_ways.fill(problem, self._travel)
        return self._decide(round_id, problem, now, is_old=False)

    def _fill(self, now: float) -> list[Effect]:
        """Go on with the round whose ways are to be looked up."""
        assert self._solving is not None  # noqa: S101 - it was set with the flag
        (round_id, problem), self._solving, self._is_filling = self._solving, None, False
        effects = self._decide(round_id, learned_ways.fill(problem, self._travel), now, is_old=True)
        self._look_for_newcomers(problem)
        return effects

    def _spare(self, orders: Sequence[Order]) -> Collection[UserId]:
        """Whose open offer may be taken back, if there is an order to take it for."""
        is_unasked = any(order.order_id in self._book.unasked for order in orders)
        return spare.technicians(self._book) if is_unasked else ()

    def _is_large(self, problem: Problem) -> bool:
        return len(problem.orders.ids) * len(problem.technicians.ids) > self._settings.round.inline_cells_max

    def _decide(self, round_id: str, problem: Problem, now: float, *, is_old: bool) -> list[Effect]:
        if self._is_large(problem):
            self._solving = (round_id, problem)
            return [SolveRound(round_id, problem)]
        return self._apply(round_id, problem, matching.solve(problem), None, now, is_old=is_old)

    def _choose_orders(self, *, anybody: bool) -> tuple[list[Order], bool]:
        """Orders of this round, least recently tried first, and whether others are left for the next turn."""
        book = self._book
        memories: tuple[dict[OrderId, Any], ...] = (self._tried, self._kept_at, self._told_at, self._half_told)
        for memory in memories:
            for order_id in [i for i in memory if i not in book.waiting]:
                del memory[order_id]
        waiting = [book.orders[order_id] for order_id in book.waiting]
        if not anybody:
            # Nobody can be asked: only say so once for each order, for those who want to know why.
            waiting = [order for order in waiting if order.order_id not in self._told_at]
        waiting.sort(key=lambda o: (self._tried.get(o.order_id, -1), o.placed_at, o.order_id))
        chosen = waiting[: reach.slice_len(len(waiting), len(self._places.index), self._settings)]
        rest = waiting[len(chosen) :]
        self.cut_len += bool(rest)
        more = any(self._tried.get(order.order_id, -1) < self._wave for order in rest)
        for order in chosen:
            self._tried[order.order_id] = self._wave
        if not more:
            self._wave += 1
        return chosen, more

    # -- what becomes of it ---------------------------------------------------------------------------------

    def ways_told(self, event: WaysTold, now: float) -> list[Effect]:
        """Go on with the round whose ways were asked for; an answer to another question is ignored."""
        if self._beside is not None and self._beside[0] == event.round_id:
            round_id, problem = self._beside
            self._beside = None
            told = replace(problem, ways=event.ways, ways_from=event.source)
            return self._decide(round_id, told, now, is_old=True)
        if self._solving is None or self._solving[0] != event.round_id:
            return []
        round_id, problem = self._solving
        self._solving = None
        effects = self._decide(round_id, replace(problem, ways=event.ways, ways_from=event.source), now, is_old=True)
        self._look_for_newcomers(problem)
        return effects

    def _look_for_newcomers(self, problem: Problem) -> None:
        """Want another round for orders that came while this one was out of the engine's hands."""
        known = set(problem.orders.ids)
        if any(order_id not in known for order_id in self._book.waiting):
            self._wanted = True

    def solved(self, event: RoundSolved, now: float) -> list[Effect]:
        """Take over what a thread has found; an answer to another question is ignored."""
        if self._solving is None or self._solving[0] != event.round_id:
            return []
        round_id, problem = self._solving
        self._solving = None
        if event.solution is None:
            self._again(now + self._settings.round.retry_s)
            return []
        effects = self._apply(round_id, problem, event.solution, event.inputs, now, is_old=True)
        self._look_for_newcomers(problem)
        return effects

    def _apply(
        self,
        round_id: str,
        problem: Problem,
        solution: Solution,
        inputs: bytes | None,
        now: float,
        *,
        is_old: bool,
    ) -> list[Effect]:
        self._making.append(_Making(round_id, problem, solution, inputs, is_old))
        # An answer is followed by the end of its turn, which makes the first of many.
        is_small = len(solution.pairs) <= MADE_AT_ONCE and len(solution.steps) <= STEPS_AT_ONCE
        is_next = len(self._making) == 1 and (is_small or not is_old)
        return self._make_offers(now) if is_next else []

    def _make_offers(self, now: float) -> list[Effect]:
        """Make the next offers of a decided round; with the last of them it is stored."""
        making = self._making[0]
        ids, steps = making.problem.orders.ids, making.solution.steps
        for row in range(making.steps_len, min(making.steps_len + STEPS_AT_ONCE, len(ids))):
            self._set_step(OrderId(ids[row]), steps[row])
        making.steps_len += STEPS_AT_ONCE
        pairs = making.solution.pairs[making.done_len : making.done_len + MADE_AT_ONCE]
        # Book, phones and people may have moved on while a thread was solving or roads were asked, and since last turn.
        holding = self._standing.holding(pairs, now) if making.is_old else None
        effects: list[Effect] = []
        for pair in pairs:
            holds = holding is None or (pair.order_id, pair.technician) in holding
            if holds and self._is_free(pair, now):
                effects.extend(self._offer(pair, making.round_id, now))
                making.made.add((pair.order_id, pair.technician))
        making.done_len += len(pairs)
        making.is_old = True
        if making.done_len < len(making.solution.pairs) or making.steps_len < len(steps):
            self._again(now)
            return effects
        self._making.pop(0)
        if self._making:
            self._again(now)
        self._keep(making.round_id, making.problem, making.solution, making.inputs, making.made, now)
        self._after(making.problem, len(making.made) < len(making.solution.pairs), now)
        return effects

    def _set_step(self, order_id: OrderId, step: int) -> None:
        order = self._book.orders.get(order_id)
        if order is not None and order_id in self._book.waiting and order.radius_step != step:
            self._book.put_order(replace(order, radius_step=step))

    def _is_free(self, pair: Pair, now: float) -> bool:
        """Whether both still look for somebody: an offer of this very round may have changed that."""
        order_id, user = OrderId(pair.order_id), UserId(pair.technician)
        if order_id not in self._book.waiting:
            return False
        chain_s = self._settings.schedule.chain_s
        if user in self._book.idle or chaining.remaining_s(self._book, user, now, chain_s) is not None:
            return True
        return order_id in self._book.unasked and user in spare.among(self._book, [user])

    def _offer(self, pair: Pair, round_id: str, now: float) -> list[Effect]:
        book, settings = self._book, self._settings
        order = book.orders[OrderId(pair.order_id)]
        before = book.live_offer(UserId(pair.technician))
        taken_back = [] if before is None else [self._take_back(before, now)]
        offer = book.put_offer(
            Offer(
                tenant=order.tenant,
                city=order.city,
                offer_id=OfferId(self._ids.new(OFFER_PREFIX)),
                order_id=order.order_id,
                technician=UserId(pair.technician),
                version=0,
                state=OfferState.PENDING,
                offered_at=now,
                expires_at=modes.offer_ends_at(order, now, settings),
                changed_at=now,
                round_id=round_id,
                cost_s=pair.cost_s,
                travel_s=pair.travel_s,
                distance_m=pair.distance_m,
                terms=tuple(OfferTerm(name, seconds) for name, seconds in pair.terms),
            )
        )
        asked: Technician = replace(book.technicians[offer.technician], unheard_since=None)
        if asked.technician not in book.job_of and before is None:
            asked = technician.advance(asked, WorkMove.ASK, now, book.story(order.order_id))
        asked = book.put_technician(asked)
        self._deadlines.set(offer.expires_at + DEADLINE_GRACE_S, Due.EXPIRE, offer.offer_id)
        self._deadlines.set(now + settings.undelivered_s, Due.UNDELIVERED, offer.offer_id)
        self.arm_reminder(offer, now)
        book.note(order, now, "offered", "system", offer=offer.offer_id, technician=offer.technician)
        return [
            *taken_back,
            SendOffer(offer, order, _why(pair)),
            technician_changed(book, asked, "work", now, settings.rating),
        ]

    def _take_back(self, offer: Offer, now: float) -> Effect:
        """Withdraw one of several offers of an order, for another order that nobody is asked for."""
        offer = self.close(offer, OfferMove.REVOKE, now)
        named = {"offer": offer.offer_id, "technician": offer.technician}
        self._book.note(self._book.orders[offer.order_id], now, "revoked", "system", **named, reason="needed")
        return CloseOffer(offer, CloseReason.REVOKED)

    def close(self, offer: Offer, move: OfferMove, now: float, **facts: Any) -> Offer:
        """Settle an offer."""
        for due in (Due.EXPIRE, Due.UNDELIVERED, Due.REMIND):
            self._deadlines.drop(due, offer.offer_id)
        return self._book.put_offer(offers.advance(offer, move, now, self._book.story(offer.order_id), **facts))

    # -- reminders ------------------------------------------------------------------------------------------

    def arm_reminder(self, offer: Offer, now: float) -> None:
        """See to it that whom the customer picked is reminded of the offer, as long as it is open."""
        if self._book.orders[offer.order_id].picked is None:
            return
        number = modes.reminders_due(offer, now, self._settings) + 1
        at = offer.offered_at + number * self._settings.directed.remind_every_s
        if at < offer.expires_at:
            self._deadlines.set(at, Due.REMIND, offer.offer_id)

    def remind(self, offer: Offer, now: float) -> list[Effect]:
        """Show an open offer again."""
        order = self._book.orders[offer.order_id]
        self._book.note(order, now, "reminded", "system", offer=offer.offer_id, technician=offer.technician)
        self.arm_reminder(offer, now)
        return [RemindOffer(offer, order, modes.reminders_due(offer, now, self._settings))]

    # -- afterwards -----------------------------------------------------------------------------------------

    def _keep(
        self,
        round_id: str,
        problem: Problem,
        solution: Solution,
        inputs: bytes | None,
        made: set[tuple[str, str]],
        now: float,
    ) -> None:
        """Store the round when it made an offer, or when one of its orders was not in a stored one for a while."""
        keep_every_s = self._settings.round.keep_every_s
        ids: Sequence[OrderId] = [OrderId(i) for i in dict.fromkeys(problem.orders.ids)]
        fruitless = {
            OrderId(id_) for id_, count in zip(problem.orders.ids, solution.candidates, strict=True) if count == 0
        }
        to_tell = [i for i in ids if i in fruitless and self._is_to_be_told(i, now)]
        if not made and not to_tell and all(now - self._kept_at.get(i, -inf) < keep_every_s for i in ids):
            for order_id in ids:
                before = self.skipped.get(order_id)
                self.skipped[order_id] = SkippedRounds(1 if before is None else before.count + 1, problem.at)
            return
        for order_id in [i for i in self.skipped if i not in self._book.orders]:
            del self.skipped[order_id]
        for order_id in ids:
            if order_id in self._book.waiting:
                self._kept_at[order_id] = now
        for order_id in to_tell:
            if order_id in self._book.waiting:
                self._tell(order_id, problem, now)
        if inputs is None:
            inputs = rounds.encode(problem)
        stored = rounds.sealed(
            StoredRound(
                tenant=self._book.shard.tenant,
                city=self._book.shard.city,
                round_id=round_id,
                at=problem.at,
                policy=rounds.POLICY,
                seed=problem.seed,
                orders=tuple(ids),
                inputs=inputs,
                decision=rounds.decision(solution, inputs, made),
                shadow=self._shadow(problem),
                bystanders=self._bystanders(problem, solution, now),
                skipped={i: self.skipped.pop(i) for i in ids if i in self.skipped},
            )
        )
        self._book.put_round(stored)
        self.note_skipped()  # with the round, so that what it tells is not counted again after a restart

    def note_skipped(self) -> None:
        """Store how many rounds were not stored, of the orders that look for somebody."""
        self._book.changes.skipped = {i: told for i, told in self.skipped.items() if i in self._book.searching}

    def _bystanders(self, problem: Problem, solution: Solution, now: float) -> bytes:
        """Who else is in reach of the round's orders, as far as these are still known; nobody, if it had everyone."""
        if self._has_everybody(problem):
            return b""
        steps: dict[OrderId, int] = {}
        for id_, step in zip(problem.orders.ids, solution.steps, strict=True):
            steps[OrderId(id_)] = max(step, steps.get(OrderId(id_), 0))
        len_max = self._settings.round.others_len_max
        return bystanders.encode(bystanders.look(problem, steps, self._book, self._places, now, len_max=len_max))

    def _has_everybody(self, problem: Problem) -> bool:
        """Whether the round was taken in columns, with everyone on duty."""
        return len(dict.fromkeys(problem.orders.ids)) > self._settings.round.slice_orders_max

    def _shadow(self, problem: Problem) -> ShadowDecision | None:
        """What the shadow policy would have decided; large rounds are left to the report, off the loop."""
        if not self._settings.shadow.name or self._is_large(problem):
            return None
        return shadow.decide(problem, self._settings.shadow)

    def _tell(self, order_id: OrderId, problem: Problem, now: float) -> None:
        """Remember whether this round said of everyone why they were none for the order."""
        order = self._book.orders[order_id]
        is_whole = order_id in self._half_told or self._has_everybody(problem)
        if is_whole or reach.is_whole(problem, order, self._places, now, self._settings):
            self._told_at[order_id] = now
            self._half_told.pop(order_id, None)
        else:
            self._half_told[order_id] = None

    def _is_to_be_told(self, order_id: OrderId, now: float) -> bool:
        """Whether a round that has nobody for the order would be the first for a while to say so of everyone."""
        return now - self._told_at.get(order_id, -inf) >= self._settings.round.keep_every_s

    def question(self, order: Order, now: float, settings: DispatchSettings, waived: Collection[Exclusion]) -> Problem:
        """The round that would be run for this order alone, everyone in reach included; changes nothing."""
        problem = reach.build(
            [order],
            self._book,
            self._places,
            now=now,
            seed=(self._settings.seed + zlib.crc32(order.order_id.encode())) % 2**31,
            travel=self._travel.rate(now),
            hours=self._calendars.hours,
            settings=settings,
            waived=waived,
            finishing=chaining.finishing(self._book, now, settings.schedule.chain_s),
            spare=self._spare([order]),
            sheets=self._sheets,
        )
        return problem if self._asks_roads else learned_ways.fill(problem, self._travel)

    def _after(self, problem: Problem, missed: bool, now: float) -> None:
        """See to it that orders still waiting are looked at again."""
        if not self._book.waiting:
            return
        round_ = self._settings.round
        self._again(now + (round_.round_min_ms / 1000.0 if missed else round_.retry_s))
        for order_id in (OrderId(i) for i in dict.fromkeys(problem.orders.ids)):
            if order_id in self._book.waiting:
                widens_at = reach.widens_at(self._book.orders[order_id], now, self._settings)
                self._again(max(widens_at, now + DEADLINE_GRACE_S))


def _why(pair: Pair) -> tuple[str, ...]:
    """The offer's reasons in words, strongest first; never empty."""
    told = ["near"] if pair.distance_m <= NEAR_M else []
    told += ["after your job" for name, seconds in pair.terms if name == "wait" and seconds > 0.0]
    starts = sorted((seconds, name) for name, seconds in pair.terms if seconds <= -_WORTH_TELLING_S)
    told.extend(_WHY[name] for _, name in starts if name in _WHY)
    return tuple(told) or ("best match",)
