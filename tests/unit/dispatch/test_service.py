"""The shell: what it stores, tells and shows, in which order, and what happens when the store fails."""

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.errors import Conflict, Unavailable
from core.ids import CityId, TenantId, UserId
from core.outbox import OutboxDraft, OutboxRow, Stream
from core.service import pause
from core.shard import Shard
from dispatch import events as e
from dispatch import matching, rounds
from dispatch.barred import Barred
from dispatch.engine import DispatchEngine
from dispatch.model import BlockMark, BlockSide, DutyState, Gender, Order, OrderState, Technician
from dispatch.places import Places
from dispatch.ports import DispatchChanges, DispatchState
from dispatch.problem import Problem, Solution, Solver
from dispatch.service import DispatchService
from dispatch.settings import DispatchSettings, RoundSettings
from geo.position_index import Flag, PositionIndex
from geo.travel_time import Points, TravelMode, TravelTable, TravelTimes
from store.memory import MemoryStores
from tests.unit.dispatch.world import ALL_STEPS, ANNA, ON_TRUST, SHARD, T0, Ids, Walk, draft, north

TINA = UserId("tina")


class LoopClock:
    """The test's loop time, shifted to a believable date."""

    ahead_s = 0.0

    def now(self) -> float:
        return T0 + self.ahead_s + self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class Surroundings:
    """Everything around the service, writing down what it is told in one list."""

    def __init__(self, settings: DispatchSettings | None = None, roads: TravelTimes | None = None) -> None:
        self.roads = roads
        self.told: list[tuple[Any, ...]] = []
        self.index = PositionIndex()
        self.ids = Ids()
        self.clock = LoopClock()
        self.stores = MemoryStores(self.clock, self.ids)
        self.settings = replace(settings or DispatchSettings(), arrival=ON_TRUST)
        self.service = self.new_service()

    def new_service(self) -> DispatchService:
        return DispatchService(
            SHARD,
            store=self.stores.dispatch,
            outbound=self,
            watchers=self,
            delivery=self,
            fleet=self,
            places=Places(self.index),
            travel=Walk(),
            clock=self.clock,
            ids=self.ids,
            settings=self.settings,
            roads=self.roads,
        )

    def drafts(self, effects: Sequence[e.Effect], now: float) -> Sequence[OutboxDraft]:
        made = []
        for effect in effects:
            if isinstance(effect, e.SendOffer):
                body = f'{{"type":"offer","offer":"{effect.offer.offer_id}"}}'.encode()
                made.append(
                    OutboxDraft(SHARD.tenant, effect.offer.technician, Stream.MAIN, body, receipt=effect.offer.offer_id)
                )
            elif isinstance(effect, e.OrderChanged):
                made.append(OutboxDraft(SHARD.tenant, effect.order.customer, Stream.MAIN, b'{"type":"order"}'))
        return made

    def tracking_changed(self, order: Order) -> None:
        self.told.append(("rights", order.state))

    def deliver(self, rows: Sequence[OutboxRow]) -> None:
        self.told.append(("deliver", [row.recipient for row in rows]))

    def duty_changed(self, tenant: TenantId, technician: UserId, shard: Shard | None) -> None:
        self.told.append(("duty", technician, shard))
        if shard is None:
            self.index.release(technician)
        else:
            self.index.claim(technician)

    def attend(self, tenant: TenantId, technician: UserId, cause: str, *, active: bool) -> None:
        self.told.append(("attend", technician, cause[:4], active))

    def block_changed(self, shard: Shard, change: e.PairBlockChanged) -> None:
        self.told.append(("block", change.mark, change.is_set))

    def technician_changed(self, shard: Shard, technician: Technician) -> None:
        self.told.append(("copy", technician.technician, technician.version))

    async def join(self, user: UserId = TINA, metres: float = 500.0, cities: tuple[str, ...] = ("hz",)) -> None:
        put = e.TechnicianPut(user, user.title(), frozenset({"massage"}), Gender.FEMALE, "gold", cities, True)
        await self.service.ask(put)
        await self.service.ask(e.DutySet(user, DutyState.ON))
        self.seen(user, metres)
        self.told.clear()

    def seen(self, user: UserId, metres: float = 500.0) -> None:
        slot = self.index.claim(user)
        where = north(metres)
        self.index.move(np.array([slot]), [where.lat_deg], [where.lng_deg], seen_at=self.clock.now())
        self.index.heard_at[slot] = self.clock.now()
        self.index.set_flags(slot, set=int(Flag.CONNECTED))

    def flags(self, user: UserId = TINA) -> Flag:
        return Flag(int(self.index.flags[self.index.claim(user)]))


@contextlib.asynccontextmanager
async def running(around: Surroundings) -> AsyncIterator[DispatchService]:
    service = around.service
    await service.load()
    async with asyncio.TaskGroup() as group:
        group.create_task(service.run())
        try:
            yield service
        finally:
            service.stop()


async def place(service: DispatchService, key: str = "") -> Order:
    effects = await service.ask(e.OrderPlaced(draft(), ANNA, key, "f"))
    return next(x.order for x in effects if isinstance(x, e.OrderChanged))


async def test_an_order_and_its_offer_are_one_commit_and_rights_go_before_messages() -> None:
    around = Surroundings()
    async with running(around) as service:
        await around.join()
        commits = around.stores.dispatch.faults.commits
        await place(service)
        assert around.stores.dispatch.faults.commits == commits + 1
        assert around.told == [
            ("rights", OrderState.MATCHING),
            ("deliver", [ANNA, TINA]),
            ("attend", TINA, "ofr_", True),
            ("copy", TINA, 3),
        ]
        assert Flag.OFFERED in around.flags()
        assert Flag.IDLE not in around.flags()


async def test_accepting_moves_the_attention_from_the_offer_to_the_job() -> None:
    around = Surroundings()
    async with running(around) as service:
        await around.join()
        order = await place(service)
        offer = service.live_offer(TINA)
        assert offer is not None
        around.told.clear()
        await service.ask(e.OfferAccepted(offer.offer_id, TINA))
        assert [x for x in around.told if x[0] == "attend"] == [
            ("attend", TINA, "ofr_", False),
            ("attend", TINA, "ord_", True),
        ]
        assert Flag.BUSY in around.flags()
        assert [o.order_id for o in service.orders_of(TINA)] == [order.order_id]
        around.told.clear()
        await service.ask(e.OrderCancelled(order.order_id, ANNA))
        assert ("attend", TINA, "ord_", False) in around.told
        assert Flag.IDLE in around.flags()


async def test_a_refusal_is_raised_to_the_asker_and_nothing_is_stored() -> None:
    around = Surroundings()
    async with running(around) as service:
        await around.join()
        order = await place(service)
        commits = around.stores.dispatch.faults.commits
        with pytest.raises(Conflict, match="not finished"):
            await service.ask(e.OrderConfirmed(order.order_id, ANNA))
        assert around.stores.dispatch.faults.commits == commits


@pytest.mark.parametrize("stored_anyway", [False, True])
async def test_when_a_commit_fails_the_engine_goes_back_to_what_is_stored(stored_anyway: bool) -> None:
    around = Surroundings()
    async with running(around) as service:
        await around.join()
        around.stores.dispatch.faults.fail_commits(1, stored_anyway=stored_anyway)
        with pytest.raises(Unavailable):
            await place(service, key="k")
        assert (service.live_offer(TINA) is not None) == stored_anyway
        assert (Flag.OFFERED in around.flags()) == stored_anyway
        assert not any(x[0] == "deliver" for x in around.told)
        effects = await service.ask(e.OrderPlaced(draft(), ANNA, "k", "f"))
        assert any(isinstance(x, e.OrderRepeated) for x in effects) == stored_anyway
        assert service.live_offer(TINA) is not None
        assert len(service.open_orders()) == 1


async def test_a_restart_shows_duty_offers_and_jobs_again() -> None:
    around = Surroundings()
    async with running(around) as service:
        await around.join()
        await place(service)
    around.told.clear()
    around.index = PositionIndex()
    around.service = around.new_service()
    async with running(around) as service:
        assert ("duty", TINA, SHARD) in around.told
        assert ("attend", TINA, "ofr_", True) in around.told
        assert Flag.OFFERED in around.flags()
        offer = service.live_offer(TINA)
        assert offer is not None
        await service.ask(e.OfferAccepted(offer.offer_id, TINA))
        assert service.order(offer.order_id) is not None


async def test_a_large_round_is_solved_in_a_thread() -> None:
    around = Surroundings(replace(DispatchSettings(), round=replace(RoundSettings(), inline_cells_max=1)))
    async with running(around) as service:
        await around.join(TINA, 500)
        await around.join(UserId("lea"), 900)
        order = await place(service)
        for _ in range(200):
            if service.live_offer(TINA) is not None:
                break
            await asyncio.sleep(0.005)
        (told,) = await service.explain(order.order_id)
        assert told.chosen == (TINA,)


@pytest.mark.parametrize("cities", [("hz", "sh"), ("hz",)], ids=["two cities", "the other one left"])
async def test_a_change_of_a_technician_is_told_to_the_other_cities_once(cities: tuple[str, ...]) -> None:
    around = Surroundings()
    async with running(around) as service:
        await around.join(cities=cities)
        await service.ask(e.DutySet(TINA, DutyState.PAUSED))
        assert [x for x in around.told if x[0] == "copy"] == [("copy", TINA, 3)]
        known = service.technician(TINA)
        assert known is not None
        around.told.clear()
        await service.ask(e.TechnicianCopied(replace(known, version=9, rating_sum=5.0, rating_weight=1.0)))
        assert [x for x in around.told if x[0] == "copy"] == []
        assert service.rating(TINA, around.clock.now()) == pytest.approx((20 * 4.7 + 5) / 21, abs=0.05)


async def test_what_was_decided_on_an_old_copy_of_a_technician_is_decided_again_on_what_is_stored() -> None:
    around = Surroundings()
    async with running(around) as service:
        await around.join(cities=("hz", "sh"))
        known = service.technician(TINA)
        assert known is not None
        rated = replace(known, version=known.version + 1, rating_sum=5.0, rating_weight=1.0, rating_at=T0)
        shanghai = Shard(SHARD.tenant, CityId("sh"))  # whose copy has not come yet
        await around.stores.dispatch.commit(shanghai, DispatchChanges(technicians={TINA: rated}), [], T0)
        await place(service)
        stored = await around.stores.dispatch.technician(SHARD.tenant, TINA)
        assert stored is not None
        assert (stored.version, stored.rating_sum, stored.work) == (rated.version + 1, 5.0, "offered")
        assert service.live_offer(TINA) is not None
        assert service.technician(TINA) == stored
        assert ("copy", TINA, stored.version) in around.told
        assert len(around.stores.dispatch._orders) == 1


async def test_whoever_was_shown_without_a_skill_is_shown_with_it_once_the_city_has_a_bit_for_it() -> None:
    around = Surroundings()
    async with running(around) as service:
        await around.join()
        others = e.TechnicianPut(
            UserId("zoe"), "Zoe", frozenset(f"s{i:02}" for i in range(63)), Gender.FEMALE, "", ("hz",), True
        )
        await service.ask(others)
        known = service.technician(TINA)
        assert known is not None
        copy = replace(known, version=known.version + 1, skills=known.skills | {"oil"})
        await around.stores.dispatch.commit(SHARD, DispatchChanges(technicians={TINA: copy}), [], T0)
        await service.ask(e.TechnicianCopied(copy))
        slot = around.index.claim(TINA)
        mask = service.engine.skill_bits.mask
        assert int(around.index.skills[slot]) == mask(["massage"])
        await service.ask(replace(others, skills=frozenset({"s00"})))
        assert int(around.index.skills[slot]) == mask(["massage"]) | mask(["oil"])
        assert mask(["oil"])


async def test_leaving_duty_takes_the_technician_out_of_the_index() -> None:
    around = Surroundings()
    async with running(around) as service:
        await around.join()
        await service.ask(e.DutySet(TINA, DutyState.OFF))
        assert around.told == [("duty", TINA, None), ("copy", TINA, 3)]
        assert TINA not in around.index


async def test_a_forgotten_order_is_recalled_to_be_rated() -> None:
    around = Surroundings(replace(DispatchSettings(), settled_keep_s=60.0))
    async with running(around) as service:
        await around.join()
        order = await place(service)
        assert await service.recall(order.order_id) is None  # still in memory
        offer = service.live_offer(TINA)
        assert offer is not None
        await service.ask(e.OfferAccepted(offer.offer_id, TINA))
        for step in ALL_STEPS:
            await service.ask(e.StepTaken(order.order_id, TINA, step))
        await service.ask(e.OrderConfirmed(order.order_id, ANNA))
        service.engine._book.forget(order.order_id)
        recalled = await service.recall(order.order_id)
        assert recalled is not None
        await service.ask(e.OrderRated(order.order_id, ANNA, 5, recalled=recalled))
        stored = await around.stores.dispatch.order(SHARD.tenant, order.order_id)
        assert stored is not None
        assert stored.stars == 5


async def test_a_deadline_that_always_fails_holds_up_neither_requests_nor_other_deadlines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    give_up = DispatchEngine._give_up
    tried: list[str] = []

    def broken(self: DispatchEngine, id_: str, now: float) -> list[e.Effect]:
        tried.append(id_)
        if len(tried) == 1 or id_ == tried[0]:
            raise AssertionError("a defect")
        return give_up(self, id_, now)

    monkeypatch.setattr(DispatchEngine, "_give_up", broken)
    around = Surroundings(replace(DispatchSettings(), unfilled_after_s=10.0))
    async with running(around) as service:
        first = await place(service, "1")
        second = await place(service, "2")
        around.clock.ahead_s = 11.0
        async with asyncio.timeout(3):
            third = await place(service, "3")
            while [order.order_id for order in service.open_orders()] != [first.order_id, third.order_id]:
                await pause(0.01)
        assert second.order_id in tried
    assert tried.count(first.order_id) == 1


async def test_a_neighbour_that_fails_costs_neither_the_answer_nor_what_other_neighbours_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    around = Surroundings()

    def broken(*_: object) -> None:
        raise ValueError("a defect")

    async with running(around) as service:
        await around.join()
        monkeypatch.setattr(around, "tracking_changed", broken)
        monkeypatch.setattr(around, "deliver", broken)
        await place(service)
        assert around.told == [("attend", TINA, "ofr_", True), ("copy", TINA, 3)]
        await service.drain()


async def test_what_is_not_yet_stored_is_shown_to_nobody() -> None:
    around = Surroundings()
    store = around.stores.dispatch
    written, may_write = asyncio.Event(), asyncio.Event()
    may_write.set()
    commit = store.commit

    async def slow_commit(*args: Any) -> Sequence[OutboxRow]:
        written.set()
        await may_write.wait()
        return await commit(*args)

    store.commit = slow_commit  # type: ignore[method-assign, assignment]
    async with running(around) as service:
        await around.join()
        first = await place(service)
        offer = service.live_offer(TINA)
        assert offer is not None

        def shown() -> tuple[object, ...]:
            return (
                service.order(first.order_id),
                service.offer(offer.offer_id),
                service.technician(TINA),
                service.live_offer(TINA),
                service.orders_of(ANNA),
                service.orders_of(TINA),
                service.open_orders(),
            )

        for event in (
            e.OfferAccepted(offer.offer_id, TINA),
            e.OrderCancelled(first.order_id, ANNA),
            e.OrderPlaced(draft(), ANNA, "", "f"),
        ):
            seen = shown()
            written.clear()
            may_write.clear()
            asked = asyncio.ensure_future(service.ask(event))
            await written.wait()
            assert shown() == seen, event
            may_write.set()
            await asked
        (third,) = service.open_orders()
        assert third.order_id != first.order_id
        assert service.live_offer(TINA) is not None


async def test_a_rating_counts_once_it_is_stored() -> None:
    around = Surroundings()
    async with running(around) as service:
        await around.join()
        order = await place(service)
        offer = service.live_offer(TINA)
        assert offer is not None
        await service.ask(e.OfferAccepted(offer.offer_id, TINA))
        for step in ALL_STEPS:
            await service.ask(e.StepTaken(order.order_id, TINA, step))
        service.engine.handle(e.OrderRated(order.order_id, ANNA, 5), around.clock.now())
        assert service.rating(TINA, around.clock.now()) is None
        service.engine.committed()
        assert service.rating(TINA, around.clock.now()) == pytest.approx(4.71, abs=0.02)


async def test_rights_to_an_order_that_was_settled_unheard_end_with_the_reload() -> None:
    around = Surroundings()
    async with running(around) as service:
        await around.join()
        order = await place(service)
        around.told.clear()
        around.stores.dispatch.faults.fail_commits(1, stored_anyway=True)
        with pytest.raises(Unavailable):
            await service.ask(e.OrderCancelled(order.order_id, ANNA))
        assert ("rights", OrderState.CANCELLED) in around.told


async def test_a_large_round_over_its_budget_is_solved_greedily_while_the_exact_one_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget = replace(RoundSettings(), inline_cells_max=1, budget_ms=20)
    around = Surroundings(replace(DispatchSettings(), round=budget))
    is_held, was_given_up = threading.Event(), threading.Event()
    solve = matching.solve

    def slow(problem: Problem, solver: Solver, is_wanted: Callable[[], bool] | None = None) -> Solution:
        if solver is Solver.EXACT:
            assert is_wanted is not None
            while is_wanted() or is_held.is_set():
                time.sleep(0.002)
            was_given_up.set()
        return solve(problem, solver, is_wanted)

    monkeypatch.setattr(matching, "solve", slow)
    is_held.set()
    async with running(around) as service:
        await around.join(TINA, 500)
        await around.join(UserId("lea"), 900)
        order = await place(service)
        await until(lambda: service.live_offer(TINA) is not None)
        assert service.rounds_solved == {"greedy": 1}
        # The first thread has not let go: the next round does not wait for another budget.
        await place(service)
        await until(lambda: service.live_offer(UserId("lea")) is not None)
        assert service.rounds_solved == {"greedy": 2}
        assert not was_given_up.is_set()
        is_held.clear()
        await until(was_given_up.is_set)
        monkeypatch.setattr(matching, "solve", solve)
        (told,) = await service.explain(order.order_id)
        assert (told.chosen, told.solver) == ((TINA,), "greedy")


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to pass within 2 s")


class Roads:
    """A road engine on which everybody needs ten minutes; ``broken`` ones raise, which none should."""

    def __init__(self, *, broken: bool = False) -> None:
        self.shapes: list[tuple[int, int]] = []
        self.broken = broken

    async def table(
        self, origins: Points, destinations: Points, now: float, mode: TravelMode | None = None
    ) -> TravelTable:
        self.shapes.append((len(origins), len(destinations)))
        await pause(0.01)
        if self.broken:
            raise RuntimeError("a defect")
        seconds = np.full((len(origins), len(destinations)), 600.0)
        return TravelTable(seconds, seconds, "estimate", "", instead_of="osrm: no answer in 0.3 s")


@pytest.mark.parametrize("broken", [False, True])
async def test_the_ways_of_a_round_are_asked_in_one_table(broken: bool) -> None:
    roads = Roads(broken=broken)
    around = Surroundings(roads=roads)
    async with running(around) as service:
        await around.join()
        order = await place(service)
        async with asyncio.timeout(3):
            while service.live_offer(TINA) is None:
                await pause(0.01)
        offer = service.live_offer(TINA)
        assert offer is not None
        assert (offer.travel_s == 600.0) is not broken
        stored = await around.stores.dispatch.rounds(SHARD.tenant, order.order_id)
        said = rounds.decode(stored[-1].inputs).ways_from
    assert roads.shapes == [(1, 1)]
    assert said == ("" if broken else "estimate (osrm: no answer in 0.3 s)")


@pytest.mark.parametrize("broken", [False, True])
async def test_a_question_goes_by_the_roads_as_a_round_does(broken: bool) -> None:
    roads = Roads(broken=broken)
    around = Surroundings(roads=roads)
    async with running(around) as service:
        order = await place(service)
        await around.join()
        async with asyncio.timeout(3):
            while service.live_offer(TINA) is None:
                await pause(0.01)
        before = len(roads.shapes)
        told = await service.what_if(order.order_id, {"rating_max_s": 0.0}, ["offered"])
    assert len(told.asked.ranking) == 1
    assert (told.asked.ranking[0].travel_s == 600.0) is not broken
    assert told.asked.ways_from == ("" if broken else "estimate (osrm: no answer in 0.3 s)")
    assert roads.shapes[before:] == [(1, 1)], "who holds an offer is no candidate as things are: nothing to ask"


async def test_many_blocks_are_taken_in_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Surroundings()
    marks = [BlockMark(UserId(f"cus_{n % 999}"), UserId(f"tec_{n}"), BlockSide.CUSTOMER, False) for n in range(20_000)]
    async with running(around) as service:
        await service.ask(e.PairBlocked(ANNA, TINA, BlockSide.CUSTOMER, ANNA))
    read = around.stores.dispatch.load

    async def load(shard: Shard, now: float) -> DispatchState:
        state = await read(shard, now)
        return replace(state, blocks=[*state.blocks, *marks])

    monkeypatch.setattr(around.stores.dispatch, "load", load)
    turns: Counter[int] = Counter()
    turn = 0
    put = Barred.put

    def noting(self: Barred, mark: BlockMark) -> None:
        turns[turn] += 1
        put(self, mark)

    async def beside() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(Barred, "put", noting)
    around.service = around.new_service()
    other = asyncio.create_task(beside())
    async with running(around) as service:
        other.cancel()
        assert sum(turns.values()) == 20_001
        assert max(turns.values()) <= 500, "what a turn of the loop does without a pause"
        assert list(service.barred(ANNA)) == [TINA]
        assert len(service.barred(UserId("cus_1"))) == 21
        await service.ask(e.PairUnblocked(ANNA, TINA, BlockSide.CUSTOMER, ANNA))
        assert list(service.barred(ANNA)) == []
