"""The hub as people live it: the real service on virtual time, in-memory connections, an outbox in memory."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from core.ids import CityId, DeviceId, TenantId, UserId
from core.outbox import OutboxDraft, OutboxRow, Stream
from core.principal import Principal
from core.shard import Shard
from geo.point import Frame
from geo.settings import PositionSettings
from geo.shard_positions import ShardPositions
from realtime.attention import Level
from realtime.messages import PingAck, PingRow, Pings
from realtime.ports import Connection, RealtimePorts
from realtime.service import WRITTEN_WAIT_S, RealtimeService, Taken
from realtime.settings import RealtimeSettings, StreamSettings
from sim.clock import START_AT, SeededIds, VirtualClock
from sim.loop import run
from store.memory import MemoryStores
from tests.unit.realtime.hub_world import Domains, Open, Rights, Tokens, Tracks
from trackers.numbers import seq_of
from transport.memory import MemoryConnection, connect

TENANT = TenantId("t1")
SHANGHAI = Shard(TENANT, CityId("sh"))


class DeadlineTokens(Tokens):
    """As ``Tokens``, with times relative to the virtual clock's start."""

    def verify(self, token: str, *, device: Any, now: float) -> Principal:
        from dataclasses import replace

        user, roles, expires_in = token.split(":")
        who = super().verify(f"{user}:{roles}:9e9", device=device, now=now)
        return replace(who, expires_at=START_AT + float(expires_in))


class Phone:
    """A client's handler: keeps what comes, acks streams."""

    def __init__(self, connection: Connection, *, acks: bool = True) -> None:
        self.connection = connection
        self.frames: list[tuple[float, dict[str, Any]]] = []
        self.closed_with: int | None = None
        self.places: dict[str, dict[str, Any]] = {}
        self.rows: dict[str, list[int]] = {"main": [], "safety": []}
        self._acks = acks

    def say(self, **message: Any) -> None:
        self.connection.send(json.dumps(message).encode())

    def on_message(self, payload: bytes) -> None:
        frame = json.loads(payload)
        self.frames.append((asyncio.get_running_loop().time(), frame))
        if "stream" in frame:
            self.places[frame["stream"]] = {"epoch": frame["epoch"], "seq": frame["seq"]}
            self.rows[frame["stream"]].append(frame["seq"])
            if self._acks:
                self.say(type="ack", **{frame["stream"]: frame["seq"]})

    def takes_damaged(self) -> bool:
        """A server sends none."""
        return False

    def on_damaged(self, payload: bytes, close_code: int) -> bool:
        """A server sends none."""
        return False

    def on_pong(self, payload: bytes) -> None:
        """Not asked for."""

    def on_paused(self) -> None:
        """Never much to say."""

    def on_writable(self) -> None:
        """Never much to say."""

    def on_closed(self, code: int) -> None:
        self.closed_with = code

    def types(self) -> list[str]:
        return [frame["type"] for _, frame in self.frames]

    def last(self, kind: str) -> dict[str, Any]:
        return [frame for _, frame in self.frames if frame["type"] == kind][-1]


class House:
    """The service and what stands around it."""

    def __init__(self, **settings: Any) -> None:
        loop = asyncio.get_running_loop()
        self.clock = VirtualClock(loop)
        ids = SeededIds(1)
        self.stores = MemoryStores(self.clock, ids)
        self.domains, self.open, self.rights = Domains(), Open(), Rights()
        self.positions = {SHANGHAI: ShardPositions(PositionSettings(), Frame.WGS84)}
        self.hub = RealtimeService(
            self.clock,
            ids,
            RealtimeSettings(frame=Frame.WGS84, **settings),
            RealtimePorts(DeadlineTokens(), self.domains, self.open, self.stores.streams, self.rights),
            self.positions,
            seed=1,
        )

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call(self, **link: Any) -> tuple[MemoryConnection, Phone]:
        phones: list[Phone] = []
        acks = link.pop("acks", True)

        def handler(connection: Connection) -> Phone:
            phones.append(Phone(connection, acks=acks))
            return phones[0]

        wire = connect(self.hub, handler, **link)
        return wire, phones[0]

    async def join(
        self, user: str, roles: str = "technician", *, resume: Any = None, expires_in: float = 1e6, **link: Any
    ) -> tuple[MemoryConnection, Phone]:
        wire, phone = self.call(**link)
        phone.say(type="hello", token=f"{user}:{roles}:{expires_in}", device=f"{user}-phone", resume=resume)
        await self.wait(0.1)
        return wire, phone

    async def commit(self, user: str, *bodies: bytes, stream: Stream = Stream.MAIN, deliver: bool = True) -> None:
        drafts = [OutboxDraft(TENANT, UserId(user), stream, body, "") for body in bodies]
        outbox = self.stores.outboxes[stream]
        rows: list[OutboxRow] = list(outbox.append(drafts, self.clock.now()))
        if deliver:
            self.hub.deliver(rows)


def scenario(story: Callable[[House], Awaitable[None]], **settings: Any) -> None:
    async def play() -> None:
        house = House(**settings)
        async with asyncio.TaskGroup() as group:
            group.create_task(house.hub.run())
            await story(house)
            house.hub.stop()

    run(play())


@pytest.mark.slow
def test_a_day_of_an_idle_phone_costs_pings_and_nothing_is_closed() -> None:
    async def story(house: House) -> None:
        _, phone = await house.join("tec")
        for _ in range(24):
            await house.wait(3600)
        assert phone.closed_with is None
        assert house.hub.online(TENANT, UserId("tec"))

    scenario(story)


@pytest.mark.parametrize(("roles", "limit_s"), [("technician", 45.0), ("ops", 10.0), ("responder", 10.0)])
def test_a_line_that_is_cut_without_a_word_is_noticed_in_time(roles: str, limit_s: float) -> None:
    async def story(house: House) -> None:
        for offset in (0.0, 1.3, 7.7):
            wire, _ = await house.join("u", roles)
            await house.wait(offset)
            wire.cut()
            began = house.clock.now()
            while house.hub.online(TENANT, UserId("u")):
                await house.wait(0.05)
            assert house.clock.now() - began <= limit_s

    scenario(story)


def test_a_device_that_comes_and_goes_misses_nothing_and_gets_nothing_twice() -> None:
    async def story(house: House) -> None:
        places: dict[str, Any] = {}
        got: dict[str, list[int]] = {"main": [], "safety": []}
        for round_no in range(12):
            wire, phone = await house.join("tec", resume=places or None)
            for i in range(5):
                stream = Stream.SAFETY if (round_no + i) % 3 == 0 else Stream.MAIN
                await house.commit("tec", b'{"type":"order","order":"o"}', stream=stream)
            await house.wait(0.001 * round_no)
            wire.abort()
            await house.wait(0.01)
            places |= phone.places
            for name, rows in phone.rows.items():
                got[name] += rows
            # What is committed while nobody listens is there for the next time.
            await house.commit("tec", b'{"type":"order","order":"o"}')
        _, phone = await house.join("tec", resume=places or None)
        await house.wait(2)
        for name, rows in phone.rows.items():
            got[name] += rows
        committed = {box.stream.value: box.heads[TENANT, UserId("tec")] for box in house.stores.outboxes.values()}
        for name, rows in got.items():
            assert rows == list(range(1, committed[name] + 1))

    scenario(story)


def test_a_long_absence_is_replayed_in_pages_without_holding_up_what_is_new() -> None:
    async def story(house: House) -> None:
        wire, phone = await house.join("tec")
        await house.commit("tec", b'{"type":"order"}')
        await house.wait(0.1)
        places = dict(phone.places)
        wire.abort()
        await house.wait(0.1)
        for _ in range(500):
            await house.commit("tec", b'{"type":"order"}', deliver=False)
        _, phone = await house.join("tec", resume=places)
        await house.commit("tec", b'{"type":"incident"}', stream=Stream.SAFETY)
        await house.commit("tec", b'{"type":"order"}')
        await house.wait(5)
        assert phone.rows["main"] == list(range(2, 503))
        assert phone.rows["safety"] == [1]

    scenario(story, streams=StreamSettings(page_len=32, window_len=64))


@pytest.mark.parametrize("acks_at_once", [True, False])
def test_an_sos_passes_a_long_replay_on_a_slow_link_and_the_replay_goes_on(acks_at_once: bool) -> None:
    async def story(house: House) -> None:
        body = json.dumps({"type": "order", "order": "ord_1", "note": "x" * 900}).encode()
        for _ in range(400):
            await house.commit("tec", body, deliver=False)
        epoch = house.stores.outboxes[Stream.MAIN].epoch
        _, phone = await house.join(
            "tec", resume={"main": {"epoch": epoch, "seq": 0}}, bytes_per_s=8_192.0, delay_s=0.05, acks=acks_at_once
        )
        for second in range(1, 60):
            await house.wait(1)
            if not acks_at_once and phone.rows["main"]:  # an app that acknowledges now and then
                phone.say(type="ack", main=phone.rows["main"][-1])
            if second % 20 == 0:
                sent_at = asyncio.get_running_loop().time()
                behind = len(phone.frames)
                await house.commit("tec", b'{"type":"incident","incident":"inc_1"}', stream=Stream.SAFETY)
                await house.wait(3)
                (at,) = [moment for moment, frame in phone.frames[behind:] if frame["type"] == "incident"]
                assert at - sent_at < 2.0
        assert phone.closed_with is None
        got = phone.rows["main"]
        assert got == list(range(1, len(got) + 1))
        # Nearly all that 68 s of this link can carry, where each row is acknowledged.
        assert len(got) == 400 if acks_at_once else len(got) > 250

    scenario(story)


def test_an_sos_passes_a_backlog_of_positions_on_a_slow_link() -> None:
    async def story(house: House) -> None:
        house.rights.allow("area:sh", "ops", None)
        for i in range(2_000):
            house.positions[SHANGHAI].claim(UserId(f"t{i}"))
        index = house.positions[SHANGHAI].index
        import numpy as np

        slots = np.arange(2_000)
        _, phone = await house.join("ops", "ops", bytes_per_s=8_192.0, delay_s=0.05)
        phone.say(type="watch", topic="area:sh")
        for step in range(20):
            index.move(slots, 31.0 + slots * 1e-4 + step * 1e-5, 121.0 + slots * 0.0, seen_at=house.clock.now())
            phone.say(type="heartbeat")
            await house.wait(0.5)
        sent_at = asyncio.get_running_loop().time()
        await house.commit("ops", b'{"type":"incident","incident":"inc_1"}', stream=Stream.SAFETY)
        await house.wait(3)
        at = [moment for moment, frame in phone.frames if frame["type"] == "incident"]
        assert len(at) == 1
        assert at[0] - sent_at < 2.0

    scenario(story)


def test_a_ping_reaches_the_customer_within_a_tick() -> None:
    async def story(house: House) -> None:
        house.rights.allow("order:1", "cus", "tec")
        house.positions[SHANGHAI].claim(UserId("tec"))
        house.hub.duty_changed(TENANT, UserId("tec"), SHANGHAI)
        house.hub.attend(TENANT, UserId("tec"), "ord_1", Level.JOB)
        _, tec = await house.join("tec")
        _, cus = await house.join("cus", "customer")
        cus.say(type="watch", topic="order:1")
        await house.wait(5.0)
        now = house.clock.now()
        sent_at = asyncio.get_running_loop().time()
        tec.say(type="ping", seq=1, fixed_at=now, sent_at=now, lat=31.2, lng=121.4, accuracy_m=5)
        await house.wait(0.2)
        at = [moment for moment, frame in cus.frames if frame["type"] == "position"]
        assert at
        assert at[0] - sent_at <= 0.03

    scenario(story)


def test_a_stopping_server_tells_everyone_when_to_come_back_and_finishes_answers() -> None:
    async def story(house: House) -> None:
        phones = [(await house.join(f"tec{i}"))[1] for i in range(5)]
        phones[0].say(type="offer.accept", offer="o", ref="r")
        await house.wait(0.01)
        house.domains.commands[0][2]({"done": True})
        began = house.clock.now()
        await house.hub.drain(2.0)
        await house.wait(0.5)
        assert 1.9 <= house.clock.now() - began <= 3.0
        assert phones[0].last("ok")["ref"] == "r"
        assert {phone.closed_with for phone in phones} == {4403}
        assert all(phone.types()[-1] == "reconnect" for phone in phones)

    scenario(story)


def test_a_token_that_ends_in_the_middle_of_the_night_closes_the_line_with_4401() -> None:
    async def story(house: House) -> None:
        _, phone = await house.join("tec", expires_in=3_600)
        await house.wait(3_590)
        assert phone.closed_with is None
        await house.wait(30)
        assert phone.closed_with == 4401

    scenario(story)


@pytest.mark.parametrize("down", list(Stream))
def test_one_database_that_is_down_for_an_hour_keeps_nobody_from_the_other_stream(down: Stream) -> None:
    other = Stream.SAFETY if down is Stream.MAIN else Stream.MAIN

    async def story(house: House) -> None:
        house.stores.streams.faults[down].fail_reads(10**9)
        _, phone = await house.join("ops", "ops")
        for _ in range(60):
            await house.wait(60)
            await house.commit("ops", b'{"type":"incident.update"}', stream=other)
            await house.commit("ops", b'{"type":"order"}', stream=down, deliver=False)
        assert (phone.types().count("welcome"), phone.closed_with) == (1, None)
        await house.wait(0.1)
        assert phone.rows[other.value] == list(range(1, 61))
        house.stores.streams.faults[down].fail_reads(0)
        await house.wait(2)
        assert phone.last("snapshot")["seq"] == 60
        await house.commit("ops", b'{"type":"order"}', stream=down)
        await house.wait(0.1)
        assert phone.rows[down.value][-1] == 61
        assert (phone.types().count("welcome"), phone.closed_with) == (1, None)

    scenario(story)


def test_a_store_that_fails_for_a_while_delays_rows_and_loses_none() -> None:
    async def story(house: House) -> None:
        for faults in house.stores.streams.faults.values():
            faults.fail_reads(3)
        _, phone = await house.join("tec")
        await house.wait(8)
        assert "welcome" in phone.types()
        house.stores.streams.faults[Stream.MAIN].fail_reads(2)
        await house.commit("tec", b'{"type":"order"}', deliver=False)
        await house.commit("tec", b'{"type":"order"}')
        await house.wait(5)
        assert phone.rows["main"] == [1, 2]

    scenario(story)


def test_kept_positions_over_http_are_answered_when_they_are_on_the_disk_and_not_later_than_the_limit() -> None:
    async def story(house: House) -> None:
        tracks = house.hub._ports.log = Tracks()
        user = UserId("tec")
        house.positions[SHANGHAI].claim(user)
        house.hub.duty_changed(TENANT, user, SHANGHAI)
        house.hub.attend(TENANT, user, "ord_1", Level.JOB, keep=True)
        who = DeadlineTokens().verify("tec:technician:1e6", device=DeviceId("d1"), now=house.clock.now())

        async def report(*seqs: int) -> tuple[PingAck, float]:
            began = house.clock.now()
            rows: list[PingRow] = [(seq, began + seq / 100, 31.2, 121.4, 5.0, None, None) for seq in seqs]
            return await house.hub.ingest_http(who, Pings(rows)), house.clock.now() - began

        asyncio.get_running_loop().call_later(1.0, tracks.write)
        ack, took_s = await report(1, 2)
        assert (ack.verdicts, ack.stored_seq) == ({"live": 2}, 2)
        assert took_s == pytest.approx(1.0)
        # The disk does not answer: what is told may be forgotten is what is there, and nothing is waited for any more.
        ack, took_s = await report(3, 4)
        assert (ack.verdicts, ack.stored_seq) == ({"live": 2}, 0)
        assert took_s == pytest.approx(WRITTEN_WAIT_S)
        # It has written the first of two requests while the second one waits, and then that one.
        first, second = tracks.waiting[0], asyncio.create_task(report(4, 5))
        await house.wait(0.5)
        first()
        await house.wait(0.5)
        assert not second.done()
        tracks.write()
        ack, took_s = await second
        assert (ack.verdicts, ack.stored_seq) == ({"duplicate": 1, "live": 1}, 5)
        assert took_s == pytest.approx(1.0)
        # Nothing is kept any more.
        house.hub.attend(TENANT, user, "ord_1", None)
        ack, took_s = await report(6)
        assert (ack.stored_seq, took_s) == (6, 0.0)

    scenario(story)


def test_a_device_that_cannot_count_is_answered_when_all_of_it_is_on_the_disk_in_whatever_order_it_came() -> None:
    async def story(house: House) -> None:
        tracks = house.hub._ports.log = Tracks()
        user = UserId("tec")
        house.positions[SHANGHAI].claim(user)
        house.hub.duty_changed(TENANT, user, SHANGHAI)
        house.hub.attend(TENANT, user, "ord_1", Level.JOB, keep=True)
        who = DeadlineTokens().verify("tec:technician:1e6", device=DeviceId("d1"), now=house.clock.now())
        began = house.clock.now()

        async def report(*ages_s: float) -> Taken:
            rows: list[PingRow] = [
                (seq_of(began - age_s, 31.2, 121.4), began - age_s, 31.2, 121.4, 5.0, None, None) for age_s in ages_s
            ]
            return await house.hub.ingest_device(who, [Pings([row]) for row in rows])

        new = asyncio.create_task(report(2, 1))
        await house.wait(0.2)
        assert tracks.hurried == 1, "the disk is not left to its own time"
        # Older points come while the newer ones are being written: the numbers of those say nothing of these.
        old, repeat = asyncio.create_task(report(60, 50)), asyncio.create_task(report(2, 1))
        await house.wait(0.2)
        written, tracks.waiting = tracks.waiting[:2], tracks.waiting[2:]
        for stored in written:
            stored()
        await house.wait(0.2)
        assert new.done()
        assert not old.done()
        assert not repeat.done(), "a repeat is answered with all that is owed to the device: no sooner than needed"
        tracks.write()
        taken = [await new, await old, await repeat]
        assert [told.verdicts for told in taken] == [{"live": 2}, {"late": 2}, {"duplicate": 2}]
        assert all(told.is_stored for told in taken)
        assert not (await report(0)).is_stored, "the disk does not answer"
        house.hub.attend(TENANT, user, "ord_1", None)

    scenario(story)


def test_of_a_device_nothing_is_waited_for_that_is_not_kept() -> None:
    async def story(house: House) -> None:
        who = DeadlineTokens().verify("tec:technician:1e6", device=DeviceId("d1"), now=house.clock.now())
        now = house.clock.now()
        taken = await house.hub.ingest_device(who, [Pings([(1, now, 31.2, 121.4, 5.0, None, None)])])
        assert (taken.verdicts, taken.is_stored, house.clock.now()) == ({"off_duty": 1}, True, now)
        assert house.hub.policy(TENANT, UserId("tec")).reason == "idle"

    scenario(story)
