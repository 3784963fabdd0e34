"""A hub in a test's hands: connections that record, people with simple tokens, an outbox in memory, time by hand."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from core.errors import DoorstepError, NotFound, Refused, Unavailable
from core.ids import CityId, DeviceId, OrderId, TenantId, UserId
from core.outbox import OutboxRow, Stream
from core.principal import Principal, Role
from core.shard import Shard
from geo.point import Frame
from geo.settings import PositionSettings
from geo.shard_positions import ShardPositions
from realtime.engine import AttachStreams, Engine, Job, ReadRows
from realtime.messages import Command, Snapshot
from realtime.ports import RealtimePorts, Reply, SendDirect, StreamHead, WatchGrant
from realtime.session import Session
from realtime.settings import RealtimeSettings

TENANT = TenantId("t1")
CITY = Shard(TENANT, CityId("sh"))
START = 1_700_000_000.0


class Wire:
    """One end of a connection, as a list of what was written to it."""

    def __init__(self, subprotocol: str = "doorstep.v1.json") -> None:
        self.peer = "127.0.0.1"
        self.subprotocol = subprotocol
        self.is_open = True
        self.sent: list[bytes] = []
        self.late: list[bytes] = []
        """What the hub wrote to a connection that had ended."""
        self.pings: list[bytes] = []
        self.closed_with: int | None = None
        self.aborted = False
        self.is_reading = True

    def send(self, payload: bytes) -> None:
        (self.sent if self.is_open else self.late).append(payload)

    def send_ping(self, payload: bytes) -> None:
        if self.is_open:
            self.pings.append(payload)

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def close(self, code: int, reason: str = "") -> None:
        if self.is_open:
            self.is_open = False
            self.closed_with = code

    def abort(self) -> None:
        self.is_open = False
        self.aborted = True

    def read(self) -> list[dict[str, Any]]:
        """Everything written since the last call, decoded."""
        frames, self.sent = self.sent, []
        return [
            json.loads(frame) if self.subprotocol.endswith("json") else msgspec.msgpack.decode(frame)
            for frame in frames
        ]

    def read_types(self) -> list[str]:
        return [frame["type"] for frame in self.read()]


class Tokens:
    """Tokens are ``user:role+role:expires_in``, relative to START; ``user@order`` for one order alone."""

    def __init__(self) -> None:
        self.grace_s = 86_400.0

    def verify(self, token: str, *, device: DeviceId, now: float) -> Principal:
        try:
            user, roles, expires_in = token.split(":")
            user, _, order = user.partition("@")
            held = frozenset(Role(role) for role in roles.split("+"))
            expires_at = START + float(expires_in)
        except ValueError:
            raise Refused("not a token", code="token_invalid") from None
        if now >= expires_at + self.grace_s:
            raise Refused("too old", code="token_expired")
        return Principal(
            TENANT, UserId(user), Role(roles.split("+")[0]), held, frozenset({CITY.city}), device, expires_at,
            restricted=now >= expires_at, order=OrderId(order) if order else None,
        )  # fmt: skip

    def redeem(self, ticket: str, *, device: DeviceId, now: float) -> Principal:
        if ticket != "one-time":
            raise Refused("no such ticket", code="ticket_invalid")
        return self.verify("web:customer:3600", device=device, now=now)


class Domains:
    """Records what reaches the domains; answers when told to."""

    def __init__(self) -> None:
        self.commands: list[tuple[Principal, Command, Reply]] = []
        self.sos_frames: list[tuple[Principal, bytes, bool, SendDirect, Reply]] = []
        self.sos_crs: list[Frame] = []
        self.receipts: list[str] = []
        self.presence: list[tuple[str, str, str]] = []

    def command(self, who: Principal, message: Command, now: float, reply: Reply) -> None:
        self.commands.append((who, message, reply))

    def sos(
        self,
        who: Principal,
        payload: bytes,
        *,
        is_json: bool,
        crs: Frame = Frame.WGS84,
        now: float,
        send: SendDirect,
        reply: Reply,
    ) -> None:
        self.sos_frames.append((who, payload, is_json, send, reply))
        self.sos_crs.append(crs)

    def receipt(self, tenant: TenantId, recipient: UserId, receipt: str, now: float) -> None:
        self.receipts.append(receipt)

    def opened(self, who: Principal, now: float) -> None:
        self.presence.append(("opened", who.user, who.device))

    def closed(self, who: Principal, now: float, *, lost: bool) -> None:
        self.presence.append(("lost" if lost else "closed", who.user, who.device))


class Outbox:
    """Committed rows; a read fails while ``is_down``."""

    def __init__(self) -> None:
        self.rows: dict[tuple[UserId, Stream], list[OutboxRow]] = {}
        self.epoch = "e1"
        self.acks: dict[tuple[str, str], int] = {}
        self.down: set[Stream] = set()
        self.alive: dict[UserId, tuple[float, frozenset[Role]]] = {}

    def commit(
        self, user: str, body: dict[str, Any], stream: Stream = Stream.MAIN, receipt: str = "", at: float = START
    ) -> OutboxRow:
        rows = self.rows.setdefault((UserId(user), stream), [])
        seq = rows[-1].seq + 1 if rows else 1
        row = OutboxRow(TENANT, UserId(user), stream, seq, self.epoch, msgspec.json.encode(body), receipt, at)
        rows.append(row)
        return row

    @property
    def is_down(self) -> bool:
        """Whether no stream can be read; setting it is for both."""
        return len(self.down) == len(Stream)

    @is_down.setter
    def is_down(self, is_down: bool) -> None:
        self.down = set(Stream) if is_down else set()

    def heads(self, user: UserId, streams: Collection[Stream]) -> dict[Stream, StreamHead]:
        heads = {}
        for stream in streams:
            rows = self.rows.get((user, stream), [])
            if stream not in self.down:
                heads[stream] = StreamHead(self.epoch, rows[-1].seq if rows else 0, rows[0].seq if rows else 1)
        if not heads:
            raise Unavailable("down", code="store_unavailable")
        return heads

    def page(self, job: ReadRows) -> list[OutboxRow]:
        if job.stream in self.down:
            raise Unavailable("down", code="store_unavailable")
        rows = self.rows.get((job.who.user, job.stream), [])
        return [row for row in rows if row.seq > job.after_seq][: job.limit]

    async def attach(
        self, who: Principal, now: float, streams: Collection[Stream] = tuple(Stream)
    ) -> dict[Stream, StreamHead]:
        return self.heads(who.user, streams)

    async def read(
        self, tenant: TenantId, user: UserId, stream: Stream, *, after_seq: int, limit: int
    ) -> Sequence[OutboxRow]:
        raise NotImplementedError

    def note_alive(self, who: Principal, now: float) -> None:
        self.alive[who.user] = (now, who.roles)

    def note_ack(self, tenant: TenantId, user: UserId, device: DeviceId, stream: Stream, seq: int) -> None:
        key = (f"{user}/{device}", stream.value)
        assert seq >= self.acks.get(key, 0), "an ack went backwards"
        self.acks[key] = seq


class Open:
    """Snapshots: what is open for each user."""

    def __init__(self) -> None:
        self.things: dict[tuple[UserId, Stream], Snapshot] = {}

    def build(self, who: Principal, stream: Stream, now: float) -> Snapshot | None:
        return self.things.get((who.user, stream))


class Rights:
    """Who may watch what, by topic and user."""

    def __init__(self) -> None:
        self.grants: dict[tuple[str, str], WatchGrant] = {}
        self.versions: dict[str, int] = {}

    def allow(self, topic: str, user: str, subject: str | None, **more: Any) -> None:
        version = self.versions.setdefault(topic, 1)
        self.grants[topic, user] = WatchGrant(None if subject is None else UserId(subject), CITY, version, **more)

    def bump(self, topic: str) -> None:
        self.versions[topic] = self.versions.get(topic, 1) + 1
        for key, grant in list(self.grants.items()):
            if key[0] == topic:
                self.grants[key] = replace(grant, version=self.versions[topic])

    def deny(self, topic: str, user: str) -> None:
        self.grants.pop((topic, user), None)

    def grant(self, who: Principal, topic: str, now: float) -> WatchGrant:
        grant = self.grants.get((topic, who.user))
        if grant is None:
            raise NotFound("no such topic")
        return grant

    def version(self, topic: str) -> int:
        return self.versions.get(topic, 0)


class Tracks:
    """A position log whose disk writes when told to."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, Mapping[str, Sequence[float]]]] = []
        self.waiting: list[Any] = []
        self.hurried = 0

    def hurry(self) -> None:
        self.hurried += 1

    def append(
        self, shard: Shard, technician: UserId, order: str, columns: Mapping[str, Sequence[float]], stored: Any = None
    ) -> None:
        self.rows.append((technician, order, columns))
        self.waiting.append(stored)

    def write(self) -> None:
        waiting, self.waiting = self.waiting, []
        for stored in waiting:
            if stored is not None:
                stored()


class Numbers:
    """Ids that count."""

    def __init__(self) -> None:
        self.last = 0

    def new(self, prefix: str) -> str:
        self.last += 1
        return f"{prefix}{self.last}"


class HubWorld:
    """An engine with everything around it. Reads are answered at once unless ``hold_reads``."""

    def __init__(self, settings: RealtimeSettings | None = None) -> None:
        self.now = START
        self.settings = settings or RealtimeSettings(frame=Frame.WGS84)
        self.tokens, self.domains, self.outbox, self.open = Tokens(), Domains(), Outbox(), Open()
        self.rights, self.tracks = Rights(), Tracks()
        self.ports = RealtimePorts(self.tokens, self.domains, self.open, self.outbox, self.rights, self.tracks)
        self.positions = {CITY: ShardPositions(PositionSettings(), self.settings.frame)}
        self.jobs: list[Job] = []
        self.hold_reads = False
        self.looks = 0
        self.engine = Engine(
            self.settings, Numbers(), self.ports, self.positions, start=self.jobs.append, seed=1
        )  # fmt: skip

    # -- time and reads

    def advance(self, seconds: float, step: float = 0.05, *, tick: bool = True) -> None:
        """Let time pass in ticks."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(end, self.now + step)
            if tick:
                self.engine.tick(self.now, 0.0)
            if not self.hold_reads:
                self.read_all()

    def tick(self, lag_s: float = 0.0) -> None:
        self.now += 0.02
        self.engine.tick(self.now, lag_s)
        if not self.hold_reads:
            self.read_all()

    def read_all(self) -> None:
        while self.jobs:
            self.do_job(self.jobs.pop(0))

    def do_job(self, job: Job) -> None:
        try:
            if isinstance(job, AttachStreams):
                self.looks += 1
                self.engine.attached(job, self.outbox.heads(job.who.user, job.streams), self.now)
            else:
                self.engine.rows_read(job, self.outbox.page(job), self.now)
        except DoorstepError as error:
            self.engine.job_failed(job, error, self.now)

    # -- connections

    def connect(self, subprotocol: str = "doorstep.v1.json") -> "Peer":
        wire = Wire(subprotocol)
        session = Session(self.engine, wire, self.settings.queue, self.now)
        self.engine.opened(session, self.now)
        return Peer(self, session, wire)

    def join(
        self, user: str, roles: str = "technician", *, device: str = "d1", expires_in: float = 3600, **hello: Any
    ) -> "Peer":
        """Connect, say hello, read the welcome and what follows it."""
        subprotocol = hello.pop("subprotocol", "doorstep.v1.json")
        peer = self.connect(subprotocol)
        peer.say(type="hello", token=f"{user}:{roles}:{expires_in}", device=device, **hello)
        if not self.hold_reads:
            self.read_all()
        return peer

    def on_duty(self, user: str) -> int:
        slot = self.positions[CITY].claim(UserId(user))
        self.engine.duty_changed(TENANT, UserId(user), CITY, self.now)
        return slot

    def off_duty(self, user: str) -> None:
        self.positions[CITY].release(UserId(user))
        self.engine.duty_changed(TENANT, UserId(user), None, self.now)

    def deliver(self, *rows: OutboxRow) -> None:
        self.engine.deliver(rows, self.now)


class Peer:
    """A client and its session."""

    def __init__(self, world: HubWorld, session: Session, wire: Wire) -> None:
        self.world = world
        self.session = session
        self.wire = wire

    def say(self, **message: Any) -> None:
        encode = msgspec.json.encode if self.wire.subprotocol.endswith("json") else msgspec.msgpack.encode
        self.say_bytes(encode(message))

    def say_bytes(self, payload: bytes) -> None:
        engine = self.world.engine
        if engine.shedding.taken == 1.0 or not engine.sheds(self.session, payload):
            engine.on_message(self.session, payload, self.world.now)

    def say_damaged(self, payload: bytes) -> bool:
        """What the transport would refuse; whether it keeps the connection."""
        return self.world.engine.on_damaged(self.session, payload, self.world.now)

    def ping(self, seq: int, lat: float = 31.2, lng: float = 121.4, *, age_s: float = 0.0, **more: Any) -> None:
        now = self.world.now
        self.say(
            type="ping", seq=seq, fixed_at=now - age_s, sent_at=now, lat=lat, lng=lng, accuracy_m=10.0, **more
        )  # fmt: skip

    def lose(self, code: int = 1006) -> None:
        """The connection is gone."""
        self.wire.is_open = False
        self.world.engine.on_closed(self.session, code, self.world.now)

    def read(self) -> list[dict[str, Any]]:
        return self.wire.read()

    def read_types(self) -> list[str]:
        return self.wire.read_types()

    def read_answering_pings(self) -> list[dict[str, Any]]:
        """Everything that comes to a client that reads on and answers each ping."""
        frames = self.read()
        while self.wire.pings:
            answered, self.wire.pings = self.wire.pings, []
            for payload in answered:
                self.world.engine.on_pong(self.session, payload, self.world.now)
            frames += self.read()
        return frames

    def read_one(self, kind: str) -> dict[str, Any]:
        found = [frame for frame in self.read() if frame["type"] == kind]
        assert len(found) == 1, found
        return found[0]
