import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from core.bus import Bus
from core.errors import Unavailable
from tests.redis_server import RedisServer
from transport.bus_inproc import InProcessBus
from transport.bus_redis import RedisBus, RedisBusSettings


def redis_bus(server: RedisServer, prefix: str = "test:", publish_timeout_s: float = 1.0) -> RedisBus:
    return RedisBus(
        RedisBusSettings(
            url=server.url,
            prefix=prefix,
            publish_timeout_s=publish_timeout_s,
            heartbeat_s=0.1,
            reconnect_min_s=0.02,
            reconnect_max_s=0.1,
        )
    )


@pytest.fixture(params=["inproc", "redis"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    made: Bus = InProcessBus() if request.param == "inproc" else redis_bus(request.getfixturevalue("redis_server"))
    await made.start()
    yield made
    await made.stop()


class Heard:
    """Collects what a handler was called with."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []

    def __call__(self, channel: str, payload: bytes) -> None:
        self.messages.append((channel, payload))

    async def wait_for(self, count: int) -> None:
        await until(lambda: len(self.messages) >= count)


async def until(holds: Callable[[], bool], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not holds():
            await pause(0.005)


async def pause(seconds: float) -> None:
    waited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, waited.set_result, None)
    await waited


async def test_payloads_arrive_whole_and_in_order(bus: Bus) -> None:
    heard = Heard()
    await bus.subscribe("shard/租户/shanghai", heard)
    payloads = [bytes([n]) * (n * 100) for n in range(100)] + [b"", b"\r\n\x00\xff", bytes(300_000)]
    for payload in payloads:
        await bus.publish("shard/租户/shanghai", payload)
    await heard.wait_for(len(payloads))
    assert heard.messages == [("shard/租户/shanghai", payload) for payload in payloads]


async def test_payloads_that_are_published_at_once_keep_the_order_in_which_they_were_given(bus: Bus) -> None:
    heard = Heard()
    await bus.subscribe("node/1", heard)
    await asyncio.gather(*(bus.publish("node/1", str(n).encode()) for n in range(200)))
    await heard.wait_for(200)
    assert [payload for _, payload in heard.messages] == [str(n).encode() for n in range(200)]


async def test_channels_are_apart_even_when_one_name_begins_or_matches_another(bus: Bus) -> None:
    heard, other = Heard(), Heard()
    await bus.subscribe("node/a*", other)
    await bus.subscribe("node/a", heard)
    for channel in ("node/ab", "node/a", "node/", "shard/a", "node/a"):
        await bus.publish(channel, channel.encode())
    await bus.publish("node/a*", b"star")
    await heard.wait_for(2)
    await other.wait_for(1)
    assert heard.messages == [("node/a", b"node/a")] * 2
    assert other.messages == [("node/a*", b"star")]


async def test_nothing_is_kept_for_late_subscribers(bus: Bus) -> None:
    early, late = Heard(), Heard()
    await bus.subscribe("node/1", early)
    await bus.publish("node/1", b"before")
    await early.wait_for(1)
    await bus.subscribe("node/1", late)
    await bus.publish("node/1", b"after")
    await late.wait_for(1)
    assert [payload for _, payload in late.messages] == [b"after"]


async def test_each_subscription_of_a_channel_hears_and_closes_by_itself(bus: Bus) -> None:
    first, second = Heard(), Heard()
    subscription = await bus.subscribe("node/1", first)
    await bus.subscribe("node/1", second)
    await bus.publish("node/1", b"1")
    await first.wait_for(1)
    await subscription.close()
    await subscription.close()
    await bus.publish("node/1", b"2")
    await second.wait_for(2)
    assert [payload for _, payload in first.messages] == [b"1"]


async def test_a_closed_subscription_hears_nothing_even_of_what_was_on_its_way(bus: Bus) -> None:
    heard, witness = Heard(), Heard()
    subscription = await bus.subscribe("node/1", heard)
    await bus.subscribe("node/1", witness)
    await bus.publish("node/1", b"on its way")
    await subscription.close()
    count = len(heard.messages)
    await bus.publish("node/1", b"later")
    await witness.wait_for(2)
    assert len(heard.messages) == count


async def test_a_channel_can_be_subscribed_again_after_it_was_closed(bus: Bus) -> None:
    for turn in range(3):
        heard = Heard()
        subscription = await bus.subscribe("node/1", heard)
        await bus.publish("node/1", str(turn).encode())
        await heard.wait_for(1)
        await subscription.close()


async def test_a_failing_handler_harms_nobody(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    heard = Heard()

    def fails(channel: str, payload: bytes) -> None:
        raise KeyError(payload)

    await bus.subscribe("node/1", fails)
    await bus.subscribe("node/1", heard)
    for _ in range(2):
        await bus.publish("node/1", b"x")
    await heard.wait_for(2)
    assert [record.message for record in caplog.records] == ["a handler of the bus failed"] * 2


async def test_a_handler_may_publish_and_subscribe_in_its_turn(bus: Bus) -> None:
    heard = Heard()
    async with asyncio.TaskGroup() as group:

        def answers(channel: str, payload: bytes) -> None:
            group.create_task(bus.publish("node/answers", payload + b"!"))

        await bus.subscribe("node/answers", heard)
        await bus.subscribe("node/questions", answers)
        await bus.publish("node/questions", b"who")
        await heard.wait_for(1)
    assert heard.messages == [("node/answers", b"who!")]


async def test_a_stopped_bus_refuses_and_its_handlers_rest(bus: Bus) -> None:
    heard = Heard()
    subscription = await bus.subscribe("node/1", heard)
    await bus.stop()
    await bus.stop()
    with pytest.raises(Unavailable):
        await bus.publish("node/1", b"x")
    with pytest.raises(Unavailable):
        await bus.subscribe("node/2", heard)
    await subscription.close()
    assert heard.messages == []


async def test_stopping_leaves_no_task_behind(bus: Bus) -> None:
    await bus.subscribe("node/1", Heard())
    await asyncio.gather(*(bus.publish("node/1", b"x") for _ in range(50)))
    await bus.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


# -- what only a network can do ---------------------------------------------------------------------------


async def test_two_nodes_hear_each_other_and_prefixes_keep_installations_apart(redis_server: RedisServer) -> None:
    one, two, stranger = redis_bus(redis_server), redis_bus(redis_server), redis_bus(redis_server, "other:")
    heard, unheard = Heard(), Heard()
    for bus in (one, two, stranger):
        await bus.start()
    await two.subscribe("node/2", heard)
    await stranger.subscribe("node/2", unheard)
    for n in range(200):
        await one.publish("node/2", str(n).encode())
    await heard.wait_for(200)
    assert [payload for _, payload in heard.messages] == [str(n).encode() for n in range(200)]
    assert unheard.messages == []
    for bus in (one, two, stranger):
        await bus.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> RedisServer:
    return RedisServer(tmp_path)


@pytest.mark.slow
async def test_after_a_restart_of_the_server_all_subscriptions_work_again(own_server: RedisServer) -> None:
    own_server.start()
    bus = redis_bus(own_server)
    await bus.start()
    heard = {f"node/{n}": Heard() for n in range(5)}
    for channel, handler in heard.items():
        await bus.subscribe(channel, handler)
    for turn in range(2):
        own_server.stop()
        with pytest.raises(Unavailable):
            await bus.publish("node/0", b"lost")
        own_server.start()
        await until(lambda turn=turn: bus.reconnects == turn + 1)  # type: ignore[misc]
        late = Heard()
        await bus.subscribe(f"late/{turn}", late)  # confirmed after all that were asked for before it
        for channel in heard:
            await bus.publish(channel, b"again")
        for handler in heard.values():
            await handler.wait_for(turn + 1)
    assert all(handler.messages == [(channel, b"again")] * 2 for channel, handler in heard.items())
    await bus.stop()
    own_server.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.slow
async def test_a_hanging_server_is_told_within_the_limit_and_left_when_it_comes_back(own_server: RedisServer) -> None:
    own_server.start()
    bus = redis_bus(own_server, publish_timeout_s=0.3)
    await bus.start()
    heard = Heard()
    await bus.subscribe("node/1", heard)
    own_server.freeze()
    loop = asyncio.get_running_loop()
    for call in (lambda: bus.publish("node/1", b"x"), lambda: bus.subscribe("node/2", heard)):
        begun = loop.time()
        with pytest.raises(Unavailable):
            await call()
        assert loop.time() - begun < 0.6
    many = await asyncio.gather(*(bus.publish("node/1", b"x") for _ in range(30)), return_exceptions=True)
    assert all(isinstance(outcome, Unavailable) for outcome in many)
    own_server.thaw()
    await until(lambda: bus.reconnects >= 1)

    async def works() -> bool:
        try:
            await bus.publish("node/1", b"back")
        except Unavailable:
            return False
        return ("node/1", b"back") in heard.messages

    async with asyncio.timeout(5):
        while not await works():
            await pause(0.02)
    own_server.freeze()
    begun = loop.time()
    await bus.stop()
    assert loop.time() - begun < 1.0
    own_server.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.slow
async def test_starting_without_a_server_is_told(own_server: RedisServer) -> None:
    bus = redis_bus(own_server)
    with pytest.raises(Unavailable) as caught:
        await bus.start()
    assert caught.value.code == "bus_unavailable"
    await bus.stop()


@pytest.mark.slow
async def test_a_subscription_stays_quiet_and_alive_while_nothing_is_said(redis_server: RedisServer) -> None:
    bus = redis_bus(redis_server)
    await bus.start()
    heard = Heard()
    await pause(0.35)  # more than twice the heartbeat
    await bus.subscribe("node/1", heard)
    await pause(0.35)
    await bus.publish("node/1", b"x")
    await heard.wait_for(1)
    assert bus.reconnects == 0
    await bus.stop()


async def test_a_stop_at_the_moment_of_a_heartbeat_ends(redis_server: RedisServer) -> None:
    """The library takes a cancellation for the end of its own time limit when both come at once."""

    async def end(bus: RedisBus, late_s: float) -> None:
        await pause(0.1 + late_s)
        async with asyncio.timeout(10.0):
            await bus.stop()

    ends = []
    for n in range(40):  # one after the other: on a busy machine many at once would not be answered in time
        bus = redis_bus(redis_server)
        await bus.start()
        ends.append(asyncio.create_task(end(bus, (n % 20) * 0.0002 - 0.0005)))
    await asyncio.gather(*ends)
