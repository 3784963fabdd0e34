"""The shell around engines: order, atomicity, bounds, and what happens when a commit fails."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager

import pytest

from core.errors import Conflict, DoorstepError, Unavailable
from core.service import EngineService, pause


class LoopClock:
    """The running loop's time for both clocks: enough for tests without virtual time."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class Counter(EngineService[str, str]):
    """Counts words; stores the count. ``bad`` is refused, ``break`` breaks an invariant."""

    def __init__(self, *, mailbox_len_max: int = 8, batch_len_max: int = 4) -> None:
        super().__init__(LoopClock(), name="counter", mailbox_len_max=mailbox_len_max, batch_len_max=batch_len_max)
        self.words: list[str] = []
        self.stored: list[str] = []
        self.performed: list[str] = []
        self.commits = 0
        self.commit_failures = 0
        self.conflicts = 0
        self.discard_failures = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.deadline: float | None = None
        self.deadline_faults = 0
        self.settle_faults = 0
        self.deadlines_tried = 0
        self.perform_faults = 0
        self.discards = 0
        self.log: list[str] = []

    def decide(self, event: str, now: float) -> list[str]:
        if event == "bad":
            raise Conflict("no bad words")
        if event == "break":
            self.words.append("half done")
            raise AssertionError("invariant broken")
        self.words.append(event)
        return [f"said {event}"]

    def settle(self, now: float) -> list[str]:
        if self.settle_faults:
            self.settle_faults -= 1
            raise AssertionError("a round is broken")
        return ["settled"] if "settle" in self.words else []

    def next_deadline(self) -> float | None:
        return self.deadline

    def decide_deadlines(self, now: float) -> list[str]:
        if self.deadline is None:
            return []
        self.deadlines_tried += 1
        if self.deadline_faults:
            self.deadline_faults -= 1
            self.words.append("half done")
            raise AssertionError("a timer is broken")
        self.deadline = None
        self.words.append("late")
        return ["said late"]

    async def commit(self, effects: Sequence[str], now: float) -> None:
        self.log.append("commit")
        self.commits += 1
        await self.gate.wait()
        if self.commit_failures:
            self.commit_failures -= 1
            raise OSError("disk full")
        if self.conflicts:
            self.conflicts -= 1
            self.stored.append("another's")
            raise Unavailable("the store is ahead", code="store_conflict")
        self.stored = list(self.words)

    async def discard(self) -> None:
        if self.discard_failures:
            self.discard_failures -= 1
            raise OSError("still full")
        self.discards += 1
        self.words = list(self.stored)

    def perform(self, effects: Sequence[str], now: float) -> None:
        self.log.append("perform")
        if self.perform_faults:
            self.perform_faults -= 1
            raise AssertionError("a neighbour is broken")
        self.performed.extend(effects)


@asynccontextmanager
async def running(service: Counter) -> AsyncIterator[Counter]:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(service.run())
        try:
            yield service
        finally:
            service.gate.set()
            service.stop()


async def test_effects_are_performed_after_they_are_stored() -> None:
    async with running(Counter()) as service:
        assert await service.ask("one") == ["said one"]
    assert service.stored == ["one"]
    assert service.log == ["commit", "perform"]


async def test_a_refusal_reaches_its_caller_and_nobody_else() -> None:
    async with running(Counter()) as service:
        good, bad = await asyncio.gather(service.ask("one"), service.ask("bad"), return_exceptions=True)
    assert good == ["said one"]
    assert isinstance(bad, Conflict)
    assert service.stored == ["one"]


async def test_nothing_is_handled_while_a_commit_is_in_flight() -> None:
    async with running(Counter()) as service:
        service.gate.clear()
        first = asyncio.gather(service.ask("one"))
        while not service.commits:
            await asyncio.sleep(0)
        second = asyncio.gather(service.ask("two"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert service.words == ["one"]
        service.gate.set()
        await first
        await second
    assert service.stored == ["one", "two"]


async def test_one_commit_serves_a_batch_and_a_batch_is_bounded() -> None:
    service = Counter(batch_len_max=4)
    for word in "abcdef":
        service.post(word)
    async with running(service):
        await service.drain()
    assert service.stored == list("abcdef")
    assert service.commits == 2


async def test_an_urgent_event_is_handled_first_and_fits_into_a_full_mailbox() -> None:
    service = Counter(mailbox_len_max=2)
    service.post("a")
    service.post("b")
    with pytest.raises(Unavailable) as refusal:
        service.post("c")
    assert refusal.value.code == "overloaded"
    service.post("sos", urgent=True)
    async with running(service):
        await service.drain()
    assert service.stored == ["sos", "a", "b"]


@pytest.mark.parametrize("discard_failures", [0, 2])
async def test_a_failed_commit_performs_nothing_and_brings_the_engine_back(discard_failures: int) -> None:
    async with running(Counter()) as service:
        await service.ask("kept")
        service.commit_failures = 1
        service.discard_failures = discard_failures
        with pytest.raises(Unavailable) as failure:
            await service.ask("lost")
        assert failure.value.code == "store_unavailable"
        await service.ask("next")
    assert service.stored == ["kept", "next"]
    assert service.performed == ["said kept", "said next"]


async def test_what_was_decided_on_an_old_state_is_decided_again_on_the_new_one() -> None:
    async with running(Counter()) as service:
        service.gate.clear()
        service.conflicts = 2
        asked = [asyncio.ensure_future(service.ask(word)) for word in ("a", "bad", "b")]
        await pause(0.01)
        later = asyncio.ensure_future(service.ask("c"))
        service.gate.set()
        answers = await asyncio.gather(*asked, later, return_exceptions=True)
    assert [answers[0], answers[2], answers[3]] == [["said a"], ["said b"], ["said c"]]
    assert isinstance(answers[1], Conflict)
    assert service.stored == ["another's", "another's", "a", "b", "c"]
    assert service.performed == ["said a", "said b", "said c"]


async def test_a_service_that_always_comes_too_late_says_so() -> None:
    async with running(Counter()) as service:
        service.conflicts = 4
        with pytest.raises(Unavailable):
            await service.ask("lost")
        await service.ask("next")
    assert service.stored == ["another's"] * 4 + ["next"]


async def test_a_broken_invariant_stores_nothing_of_its_batch() -> None:
    async with running(Counter()) as service:
        await service.ask("kept")
        results = await asyncio.gather(service.ask("with it"), service.ask("break"), return_exceptions=True)
        assert [type(r) for r in results] == [DoorstepError, DoorstepError]
        await service.ask("next")
    assert service.stored == ["kept", "next"]


async def test_a_deadline_is_handled_when_it_is_due() -> None:
    async with running(Counter()) as service:
        service.deadline = asyncio.get_running_loop().time() + 0.01
        await service.ask("one")
        while "late" not in service.stored:
            await asyncio.sleep(0.001)
    assert service.performed == ["said one", "said late"]


async def test_what_settles_a_turn_is_in_its_commit() -> None:
    async with running(Counter()) as service:
        await service.ask("settle")
    assert service.performed == ["said settle", "settled"]
    assert service.commits == 1


async def test_a_stopped_service_refuses_and_finishes_what_it_took() -> None:
    service = Counter()
    service.post("taken")
    service.stop()
    with pytest.raises(Unavailable) as refusal:
        service.post("late")
    assert refusal.value.code == "draining"
    await service.run()
    assert service.stored == ["taken"]


async def test_a_closed_service_is_unavailable_and_has_nothing_to_drain() -> None:
    service = Counter()
    service.close("could not begin")
    with pytest.raises(Unavailable) as refusal:
        await service.ask("one")
    assert refusal.value.code == "unavailable"
    await service.drain()


async def test_a_closed_service_that_is_opened_begins_with_what_is_stored_by_then() -> None:
    service = Counter()
    service.close("could not begin")
    service.words = ["half read"]
    service.stored = ["another's"]
    service.discard_failures = 1
    opening = asyncio.ensure_future(service.open())
    await pause(0)
    asked = asyncio.ensure_future(service.ask("told while it is read"))
    await opening
    async with running(service):
        await asked
    assert service.stored == ["another's", "told while it is read"]


async def test_whoever_drains_a_service_that_was_stopped_while_it_opened_does_not_wait_for_ever() -> None:
    service = Counter()
    service.close("could not begin")
    service.discard_failures = 99
    opening = asyncio.ensure_future(service.open())
    await pause(0)
    service.post("never handled")
    opening.cancel()
    async with asyncio.timeout(1):
        await service.drain()


async def test_a_caller_who_goes_away_does_not_undo_the_decision() -> None:
    async with running(Counter()) as service:
        service.gate.clear()
        asking = asyncio.gather(service.ask("one"))
        while not service.commits:
            await asyncio.sleep(0)
        asking.cancel()
        service.gate.set()
        await service.drain()
    assert service.stored == ["one"]


async def test_a_pause_may_be_cancelled_in_the_turn_in_which_it_ends() -> None:
    faults: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context))
    pausing = loop.create_task(pause(0.0))
    await asyncio.sleep(0)  # it has begun; in the next turn the cancel comes first and its timer second
    loop.call_soon(pausing.cancel)
    with pytest.raises(asyncio.CancelledError):
        await pausing
    await asyncio.sleep(0.001)
    assert faults == []


async def test_a_service_may_be_cancelled_while_it_cannot_reload() -> None:
    faults: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context))
    service = Counter()
    service.commit_failures, service.discard_failures = 1, 1_000_000
    service.post("lost")
    running_it = asyncio.gather(service.run())
    while service.discard_failures == 1_000_000:
        await asyncio.sleep(0)
    running_it.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running_it
    await asyncio.sleep(0.06)  # longer than the first pause between two reloads
    assert faults == []


async def test_a_deadline_that_always_fails_does_not_stop_events_nor_busy_the_loop() -> None:
    service = Counter()
    service.deadline, service.deadline_faults = asyncio.get_running_loop().time(), 1_000_000
    async with running(service):
        for number in range(20):
            assert await service.ask(f"w{number}") == [f"said w{number}"]
            await pause(0.005)
    assert service.stored == [f"w{number}" for number in range(20)]
    assert service.discards == service.deadlines_tried <= 3


async def test_a_deadline_that_failed_is_tried_again_alone_and_then_done() -> None:
    service = Counter()
    service.deadline, service.deadline_faults = asyncio.get_running_loop().time(), 2
    async with running(service):
        while "late" not in service.stored:
            await pause(0.005)
        assert service.deadlines_tried == 3
        assert await service.ask("next") == ["said next"]
    assert service.stored == ["late", "next"]


async def test_a_commit_that_fails_for_a_deadline_is_not_tried_in_a_hot_loop() -> None:
    service = Counter()
    service.deadline, service.commit_failures = asyncio.get_running_loop().time(), 1_000_000
    service.discard = _nothing_to_discard(service)  # type: ignore[method-assign]
    async with running(service):
        await pause(0.05)
    assert service.commits <= 2


def _nothing_to_discard(service: Counter) -> Callable[[], Coroutine[None, None, None]]:
    at = service.deadline

    async def discard() -> None:
        service.words, service.deadline = list(service.stored), at

    return discard


async def test_a_round_that_fails_is_left_out_for_a_while_and_then_run() -> None:
    service = Counter()
    async with running(service):
        assert await service.ask("settle")
        service.settle_faults = 1
        with pytest.raises(DoorstepError):
            await service.ask("with the round")
        service.settle_faults = 1
        assert await service.ask("without it") == ["said without it"]
        performed = len(service.performed)
        service.settle_faults = 0
        while "settled" not in service.performed[performed:]:
            await pause(0.005)
    assert service.stored == ["settle", "without it"]


async def test_what_fails_after_the_commit_ends_neither_the_service_nor_the_answers() -> None:
    def broken(_: object) -> None:
        raise AssertionError("a caller is broken")

    service = Counter()
    service.perform_faults = 1
    service.post("one", broken)
    async with running(service):
        assert await service.ask("two") == ["said two"]
        assert await service.ask("three") == ["said three"]
        async with asyncio.timeout(1):
            await service.drain()
    assert service.stored == ["one", "two", "three"]


async def test_whoever_drains_a_service_that_died_does_not_wait_for_ever() -> None:
    service = Counter()
    service.next_deadline = _broken  # type: ignore[method-assign]
    service.post("never handled")
    with pytest.raises(AssertionError):
        await service.run()
    async with asyncio.timeout(1):
        await service.drain()


def _broken() -> float | None:
    raise AssertionError("broken")


async def test_a_flood_of_urgent_events_leaves_the_mailbox_its_share_of_each_batch() -> None:
    service = Counter(batch_len_max=4)
    for number in range(9):
        service.post(f"u{number}", urgent=True)
    service.post("answer 1")
    service.post("answer 2")
    async with running(service):
        await service.drain()
    assert service.stored == ["u0", "u1", "u2", "answer 1", "u3", "u4", "u5", "answer 2", "u6", "u7", "u8"]
