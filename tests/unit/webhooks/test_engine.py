"""What is sent when, with the clock in hand; and a law: nothing is forgotten, whatever the order of things."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.ids import TenantId
from core.notice import Notice
from webhooks.breaker import BreakerState
from webhooks.engine import WebhookCounters, WebhookEngine
from webhooks.events import Attempted, Effect, Keep, MoreRead, Queued, ReadMore, Send
from webhooks.model import Answer, Dead, Delivery, Outcome
from webhooks.settings import WebhookSettings

NOW = 1_000_000.0
SETTINGS = WebhookSettings(in_flight_max=2, window_len=4, breaker_failures=3, attempts_max=5)
WORKED, FAILED, REFUSED = Answer(Outcome.DELIVERED), Answer(Outcome.FAILED), Answer(Outcome.REFUSED)


def notice(name: str, at: float = NOW, endpoint: str = "a") -> Notice:
    return Notice(TenantId("demo"), endpoint, f"evt_{name}", "order.placed", b"{}", at)


def make(waiting: int = 0, **changes: object) -> WebhookEngine:
    chosen = replace(SETTINGS, **changes)  # type: ignore[arg-type]
    return WebhookEngine(["a", "b"], chosen, 7, WebhookCounters(), {"a": waiting}, NOW)


def sent(effects: list[Effect]) -> list[str]:
    return [effect.delivery.notice.event_id[4:] for effect in effects if isinstance(effect, Send)]


def kept(effects: list[Effect]) -> list[tuple[str, object]]:
    return [
        (e.settled.delivery.notice.event_id[4:], "done" if e.settled.is_done else e.settled.dead)
        for e in effects
        if isinstance(e, Keep)
    ]


def test_events_are_sent_at_once_few_at_a_time_and_the_next_when_one_is_done() -> None:
    engine = make()
    effects = engine.handle(Queued([notice("1"), notice("2"), notice("3")]), NOW)
    assert sent(effects) == ["1", "2"]
    assert engine.next_deadline() is None
    effects = engine.handle(Attempted(Delivery(notice("1"), 0, NOW), WORKED), NOW + 1)
    assert (kept(effects), sent(effects)) == ([("1", "done")], ["3"])
    assert engine.waiting() == {"a": 2, "b": 0}


def test_what_failed_is_tried_again_after_a_pause_that_grows() -> None:
    engine = make(breaker_failures=99)
    (send,) = engine.handle(Queued([notice("1")]), NOW)
    assert isinstance(send, Send)
    now, pauses = NOW, []
    delivery = send.delivery
    for _ in range(4):
        engine.handle(Attempted(delivery, FAILED), now)
        due = engine.next_deadline()
        assert due is not None
        assert sent(engine.on_deadline(due - 0.001)) == []
        (send,) = engine.on_deadline(due)
        assert isinstance(send, Send)
        pauses.append(due - now)
        now, delivery = due, send.delivery
    for nth, pause in enumerate(pauses):
        assert 2 * 2**nth / 2 <= pause <= 2 * 2**nth
    effects = engine.handle(Attempted(delivery, FAILED), now)
    assert kept(effects) == [("1", Dead.ATTEMPTS)]
    assert engine.waiting()["a"] == 0
    assert engine.next_deadline() is None


@pytest.mark.parametrize(("answer", "dead"), [(Answer(Outcome.GONE), Dead.GONE), (FAILED, Dead.AGE)])
def test_what_nobody_will_ever_take_is_dead(answer: Answer, dead: Dead) -> None:
    engine = make(give_up_s=1.0, retry_first_s=10.0)
    engine.handle(Queued([notice("1")]), NOW)
    assert kept(engine.handle(Attempted(Delivery(notice("1"), 0, NOW), answer), NOW)) == [("1", dead)]
    assert engine._counters.dead == {("a", dead.value): 1}


def test_a_receiver_may_ask_for_a_longer_pause_within_the_bound() -> None:
    for asked, expected in ((100.0, 100.0), (1e9, 3_600.0)):
        engine = make()
        engine.handle(Queued([notice("1")]), NOW)
        engine.handle(Attempted(Delivery(notice("1"), 0, NOW), Answer(Outcome.THROTTLED, 429, asked)), NOW)
        assert engine.next_deadline() == NOW + expected


def test_an_endpoint_that_fails_is_left_alone_and_then_tried_with_one_event() -> None:
    engine = make(window_len=8, retry_first_s=0.1)
    engine.handle(Queued([notice(str(n)) for n in range(6)]), NOW)
    for n in range(2):
        engine.handle(Attempted(Delivery(notice(str(n)), 0, NOW), FAILED), NOW)
    assert engine.breakers()["a"] is BreakerState.CLOSED
    effects = engine.handle(Attempted(Delivery(notice("2"), 0, NOW), FAILED), NOW)
    assert (sent(effects), engine.breakers()["a"]) == ([], BreakerState.OPEN)
    engine.handle(Attempted(Delivery(notice("3"), 0, NOW), FAILED), NOW)
    assert engine.next_deadline() == NOW + 10
    assert sent(engine.on_deadline(NOW + 9.9)) == []
    (first,) = sent(engine.on_deadline(NOW + 10))
    assert engine.breakers()["a"] is BreakerState.HALF_OPEN
    assert engine.next_deadline() is None
    engine.handle(Attempted(Delivery(notice(first), 0, NOW), FAILED), NOW + 11)
    assert engine.next_deadline() == NOW + 31
    (again,) = sent(engine.on_deadline(NOW + 31))
    effects = engine.handle(Attempted(Delivery(notice(again), 1, NOW), WORKED), NOW + 32)
    assert len(sent(effects)) == 2
    assert engine.breakers()["a"] is BreakerState.CLOSED


def test_an_event_that_is_refused_speaks_against_itself_only() -> None:
    engine = make()
    for n in range(20):
        engine.handle(Queued([notice(str(n))]), NOW)
        engine.handle(Attempted(Delivery(notice(str(n)), 0, NOW), REFUSED), NOW)
    assert engine.breakers()["a"] is BreakerState.CLOSED


def test_one_endpoint_does_not_wait_for_another() -> None:
    engine = make()
    engine.handle(Queued([notice(str(n)) for n in range(4)]), NOW)
    assert sent(engine.handle(Queued([notice("x", endpoint="b")]), NOW)) == ["x"]


def test_beyond_the_window_the_store_is_read_again() -> None:
    engine = make()
    effects = engine.handle(Queued([notice(str(n), NOW + n / 100) for n in range(9)]), NOW + 1)
    assert sent(effects) == ["0", "1"]
    engine.check()
    assert engine.waiting()["a"] == 9
    reads = []
    stored = {str(n): Delivery(notice(str(n), NOW + n / 100), 0, NOW + n / 100) for n in range(9)}
    on_way, now = ["0", "1"], NOW + 1
    done = []
    while on_way:
        name = on_way.pop(0)
        effects = engine.handle(Attempted(stored.pop(name), WORKED), now)
        done.append(name)
        on_way += sent(effects)
        for effect in effects:
            if isinstance(effect, ReadMore):
                reads.append(effect)
                first = sorted(stored.values(), key=lambda d: d.next_at)[: SETTINGS.window_len]
                on_way += sent(engine.handle(MoreRead("a", first), now))
        engine.check()
    assert sorted(done) == [str(n) for n in range(9)]
    assert reads
    assert engine.waiting()["a"] == 0


def test_events_refused_for_hours_do_not_keep_new_ones_out_of_memory() -> None:
    engine = make()
    for n in range(4):
        engine.handle(Queued([notice(f"old{n}")]), NOW)
        engine.handle(Attempted(Delivery(notice(f"old{n}"), 3, NOW), REFUSED), NOW)
    assert sent(engine.handle(Queued([notice("new", NOW + 1)]), NOW + 1)) == ["new"]


def test_a_full_queue_takes_no_more() -> None:
    engine = make(queue_len_max=2)
    assert engine.has_room("a")
    engine.handle(Queued([notice("1"), notice("2")]), NOW)
    assert not engine.has_room("a")
    engine.handle(Attempted(Delivery(notice("1"), 0, NOW), WORKED), NOW)
    assert engine.has_room("a")


def test_what_waits_in_the_store_is_read_at_the_start_and_again_when_that_failed() -> None:
    engine = make(waiting=1)
    assert engine.next_deadline() == NOW
    assert engine.on_deadline(NOW) == [ReadMore("a")]
    assert engine.next_deadline() is None
    assert engine.handle(MoreRead("a", None), NOW) == []
    due = engine.next_deadline()
    assert due is not None
    assert due > NOW
    assert engine.on_deadline(due) == [ReadMore("a")]
    assert sent(engine.handle(MoreRead("a", [Delivery(notice("1"), 2, NOW)]), due)) == ["1"]


def test_an_event_read_before_it_was_told_is_sent_once() -> None:
    engine = make(waiting=1)
    engine.on_deadline(NOW)
    assert sent(engine.handle(MoreRead("a", [Delivery(notice("1"), 0, NOW)]), NOW)) == ["1"]
    assert engine.handle(Queued([notice("1")]), NOW) == []
    assert engine.waiting()["a"] == 1


class World:
    """A store and receivers beside the engine; every step is chosen by the test."""

    def __init__(self) -> None:
        self.now = NOW
        self.stored: dict[str, Delivery] = {}
        self.delivered: list[str] = []
        self.dead: list[str] = []
        self.flying: list[Delivery] = []
        self.reading = 0
        self.placed = 0
        self.engine = make(breaker_failures=3, attempts_max=1_000, give_up_s=2_592_000.0)

    def do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Keep(settled):
                    name = settled.delivery.notice.event_id
                    assert name in self.stored
                    if settled.is_done or settled.dead:
                        del self.stored[name]
                        (self.delivered if settled.is_done else self.dead).append(name)
                    else:
                        self.stored[name] = settled.delivery
                case Send(delivery):
                    assert delivery.notice.event_id not in [d.notice.event_id for d in self.flying]
                    self.flying.append(delivery)
                case ReadMore():
                    self.reading += 1
        self.engine.check()

    def queue(self, count: int) -> None:
        new = []
        for _ in range(count):
            self.placed += 1
            one = notice(str(self.placed), self.now)
            self.stored[one.event_id] = Delivery(one, 0, self.now)
            new.append(one)
        self.do(self.engine.handle(Queued(new), self.now))

    def land(self, answer: Answer) -> None:
        if self.flying:
            self.do(self.engine.handle(Attempted(self.flying.pop(0), answer), self.now))

    def read(self) -> None:
        if self.reading:
            self.reading -= 1
            first = sorted(self.stored.values(), key=lambda d: (d.next_at, d.notice.event_id))
            self.do(self.engine.handle(MoreRead("a", first[: SETTINGS.window_len]), self.now))

    def wait(self, wait_s: float) -> None:
        self.now += wait_s
        self.do(self.engine.on_deadline(self.now))


STEPS = st.one_of(
    st.tuples(st.just("queue"), st.integers(1, 7)),
    st.tuples(st.just("land"), st.sampled_from([WORKED, FAILED, REFUSED, Answer(Outcome.THROTTLED, 429, 5.0)])),
    st.tuples(st.just("read"), st.none()),
    st.tuples(st.just("wait"), st.floats(0, 30)),
)


@settings(max_examples=200)
@given(st.lists(STEPS, max_size=80))
def test_whatever_happens_everything_is_delivered_once_the_receiver_works(
    steps: list[tuple[str, object]],
) -> None:
    world = World()
    for what, how in steps:
        getattr(world, what)(*([] if how is None else [how]))
    for _ in range(5_000):
        if not world.stored:
            break
        if world.flying:
            world.land(WORKED)
        elif world.reading:
            world.read()
        else:
            due = world.engine.next_deadline()
            assert due is not None, "something waits and nothing will happen"
            world.now = max(world.now, due)
            before = (len(world.flying), world.reading)
            world.do(world.engine.on_deadline(world.now))
            assert (len(world.flying), world.reading) != before, "a deadline that does nothing comes again at once"
    assert world.stored == {}
    assert world.dead == []
    assert sorted(world.delivered) == sorted(f"evt_{n + 1}" for n in range(world.placed))
    assert world.engine.waiting()["a"] == 0
