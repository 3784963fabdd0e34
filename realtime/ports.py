"""What the hub needs from others; filled in ``server/wiring.py``."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.errors import DoorstepError
from core.ids import DeviceId, TenantId, UserId
from core.outbox import OutboxRow, Stream
from core.principal import Principal
from core.shard import Shard
from geo.point import Frame, LatLng
from realtime.messages import Command, Snapshot

Reply = Callable[[dict[str, object] | DoorstepError | None], None]
"""Told once what became of a request: the ``result`` of ``ok`` (None for none), or the error. Never blocks."""

SendDirect = Callable[[bytes], None]
"""Sends a JSON message to the device that asked, outside the streams; a no-op once it is gone."""


class Connection(Protocol):
    """One WebSocket, seen from the hub. All calls are made on the event loop, return at once, never raise.

    Two adapters pass one contract suite: ``transport/websocket.py`` (picows) and ``transport/memory.py``.
    """

    @property
    def peer(self) -> str:
        """Address of the other end, behind trusted proxies the client's own; for limits, never for logs."""
        ...

    @property
    def subprotocol(self) -> str:
        """``doorstep.v1.json`` or ``doorstep.v1.msgpack``."""
        ...

    @property
    def is_open(self) -> bool:
        """False from the moment a close was sent, received or the socket lost."""
        ...

    def send(self, payload: bytes) -> None:
        """Write one message as one frame (text for JSON, binary for MessagePack) right now.

        Written even while the transport is paused: pausing is advice to the queue, not to an SOS.
        """
        ...

    def send_ping(self, payload: bytes) -> None:
        """Write a WebSocket ping of at most 125 bytes; the answer comes to ``on_pong``."""
        ...

    def pause_reading(self) -> None:
        """Leave what arrives in the kernel until ``resume_reading``; what was read already is still delivered.

        Nor is the end of the connection noticed meanwhile: for parts of a second only. Idempotent.
        """
        ...

    def resume_reading(self) -> None:
        """Read again. Idempotent; nothing on a connection that is gone."""
        ...

    def close(self, code: int, reason: str = "") -> None:
        """Start the close handshake; aborts by itself when the peer does not answer in 2 s. Idempotent."""
        ...

    def abort(self) -> None:
        """Drop the socket now. Idempotent."""
        ...


class ConnectionHandler(Protocol):
    """What a connection tells the hub. Called on the event loop; must not block; its errors end the connection."""

    def on_message(self, payload: bytes) -> None:
        """One whole message (reassembled; valid UTF-8 where it is text)."""
        ...

    def takes_damaged(self) -> bool:
        """Whether ``on_damaged`` may want a message. False: the transport refuses it at once and keeps none of it."""
        ...

    def on_damaged(self, payload: bytes, close_code: int) -> bool:
        """A message that the transport is about to refuse for its content, because an SOS must not be refused for it.

        Called at most once for each message, and only while ``takes_damaged``.

        Args:
            payload: The whole message, or its beginning when the rest cannot be kept or did not come. A message
                of up to twice the limit is whole; never more than four times the limit.
            close_code: What is wrong: 1003 the other kind of frame, 1007 not UTF-8, 1008 fragments that do not
                end, 1009 too long.

        Returns:
            True to keep the connection (what still comes of the message is dropped), False to close it with
            ``close_code``.
        """
        ...

    def on_pong(self, payload: bytes) -> None:
        """The peer answered a ping."""
        ...

    def on_paused(self) -> None:
        """The kernel takes no more for now."""
        ...

    def on_writable(self) -> None:
        """The kernel takes more again."""
        ...

    def on_closed(self, code: int) -> None:
        """The connection is gone (1006 when it was lost). Called exactly once; nothing comes after it."""
        ...


class Acceptor(Protocol):
    """Takes new connections; the hub is one, the Autobahn echo endpoint of the tests another."""

    def admit(self, peer: str) -> DoorstepError | None:
        """Asked before the upgrade; an error is answered as HTTP 429 or 503."""
        ...

    def connected(self, connection: Connection) -> ConnectionHandler:
        """A socket finished its handshake."""
        ...


class Authenticator(Protocol):
    """Verifies tokens and one-time tickets."""

    def verify(self, token: str, *, device: DeviceId, now: float) -> Principal:
        """Return who it is; ``restricted`` for a genuine token that expired under 24 h ago.

        Raises:
            Refused: ``token_invalid`` (close 4501), ``token_expired`` (close 4401), ``token_revoked`` (4510).
        """
        ...

    def redeem(self, ticket: str, *, device: DeviceId, now: float) -> Principal:
        """Use up a ticket. Raises ``Refused`` (``ticket_invalid``)."""
        ...


class Inbound(Protocol):
    """What clients say, to the domains (``api/inbound.py``)."""

    def command(self, who: Principal, message: Command, now: float, reply: Reply) -> None:
        """Hand a request to its domain; ``reply`` is called exactly once, after the commit."""
        ...

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
        """Hand over the raw frame of an SOS: decoding it must not be able to refuse it.

        ``crs`` is the frame of a position that names none (``hello.crs``).
        ``send`` is used for ``sos_ack`` (once committed, and again when ``delivered`` or ``seen`` change).
        ``reply`` is called only when no incident could be made at all.
        """
        ...

    def receipt(self, tenant: TenantId, recipient: UserId, receipt: str, now: float) -> None:
        """A device of ``recipient`` acknowledged the row that carried this receipt."""
        ...

    def opened(self, who: Principal, now: float) -> None:
        """A session of this device began (or its token was refreshed)."""
        ...

    def closed(self, who: Principal, now: float, *, lost: bool) -> None:
        """The device's session ended, for whatever reason; not called when a newer one replaced it.

        Args:
            lost: The connection broke off or the device hung up, and it was the person's last one: nobody hears
                what is sent to them. False when the server ended it, which asks them to come back.
        """
        ...


class Snapshots(Protocol):
    """Builds what is open for a user (``api/snapshots.py``)."""

    def build(self, who: Principal, stream: Stream, now: float) -> Snapshot | None:
        """The user's open things of one stream as they stand, as many as fit into a message; None for none."""
        ...


@dataclass(frozen=True, slots=True)
class StreamHead:
    """Where a user's stream stands in its database.

    Attributes:
        seq: Last number given.
        first_seq: Smallest number still held; ``seq`` + 1 when none is.
    """

    epoch: str
    seq: int
    first_seq: int = 1


class StreamStore(Protocol):
    """Reads the outbox and records acknowledgements (``store``)."""

    async def attach(
        self, who: Principal, now: float, streams: Collection[Stream] = tuple(Stream)
    ) -> dict[Stream, StreamHead]:
        """Remember that this device exists (roles, cities, last seen) and return where its streams stand.

        Each stream has a database of its own: one that cannot be read is missing in the answer, and never keeps the
        other from it.

        Raises:
            Unavailable: None of ``streams`` can be read.
        """
        ...

    async def read(
        self, tenant: TenantId, user: UserId, stream: Stream, *, after_seq: int, limit: int
    ) -> Sequence[OutboxRow]:
        """Rows with ``seq > after_seq`` in order, at most ``limit``; raises ``Unavailable``."""
        ...

    def note_alive(self, who: Principal, now: float) -> None:
        """The device has an open session as this principal: it counts as seen, in these roles and cities.

        Cheap, never blocks; called with each look at a session and when its token was renewed.
        """
        ...

    def note_ack(self, tenant: TenantId, user: UserId, device: DeviceId, stream: Stream, seq: int) -> None:
        """Record a cumulative acknowledgement, lazily (a lost one only repeats messages). Never blocks."""
        ...


@dataclass(frozen=True, slots=True)
class WatchGrant:
    """A right to watch, as it stands now.

    Attributes:
        subject: User whose positions the topic shows, None for an area or while there is nobody to show.
        shard: Where the subject is.
        version: Rises whenever the right is taken or changed; a send with an older one is not made.
        destination: Where the subject is going, in the platform's frame; frames then carry ``eta_s``.
        names_subject: Whether frames say whose position it is.
    """

    subject: UserId | None
    shard: Shard | None
    version: int
    destination: LatLng | None = None
    names_subject: bool = True


class WatchRights(Protocol):
    """Who may see whose position, now (``api/rights.py``)."""

    def grant(self, who: Principal, topic: str, now: float) -> WatchGrant:
        """The right of ``who`` to ``topic``.

        Raises:
            NotFound: No such topic for this principal: foreign and absent look the same.
        """
        ...

    def version(self, topic: str) -> int:
        """Current version of the topic's rights: one dictionary look-up, called before each send."""
        ...


class RowRights(Protocol):
    """What a stored message may still tell its reader (``api/replay.py``)."""

    def current(self, who: Principal, body: bytes) -> bytes:
        """``body`` without what ``who`` has no right to any more. Asked for each row that is not sent as it is made."""
        ...

    def of_order(self, who: Principal, body: bytes) -> bytes | None:
        """What of ``body`` somebody may read who may do nothing but about one order; None for nothing."""
        ...


class PositionLog(Protocol):
    """Keeps the positions of jobs and incidents (``tracks.db``)."""

    def append(
        self,
        shard: Shard,
        technician: UserId,
        order: str,
        columns: Mapping[str, Sequence[float]],
        stored: Callable[[], None] | None = None,
    ) -> None:
        """Queue rows (``fixed_at, received_at, lat, lng, accuracy_m, speed_mps, heading_deg``). Never blocks;
        beyond its bound the oldest rows are dropped and counted. ``stored`` is called once they are on disk."""
        ...

    def hurry(self) -> None:
        """Somebody waits for the disk: begin to write what is queued. Never blocks."""
        ...


class Arrivals(Protocol):
    """Guesses when somebody arrives (``server/wiring.py`` over ``geo.travel_time``). From memory, at once."""

    def eta_s(self, shard: Shard, origin: LatLng, destination: LatLng, now: float) -> float | None:
        """Seconds of travel, None when it cannot be told."""
        ...


class Looks(Protocol):
    """Remembers who watches whom (``server/looking.py``)."""

    def watched(self, who: Principal, subject: str, topic: str) -> None:
        """Somebody begins to watch a person, or a city (``area:<city>``). Never raises, never blocks."""
        ...


@dataclass(slots=True)
class RealtimePorts:
    """Everything the hub is connected to. Mutable because some of these need the hub itself first."""

    authenticator: Authenticator
    inbound: Inbound
    snapshots: Snapshots
    store: StreamStore
    rights: WatchRights
    log: PositionLog | None = None
    arrivals: Arrivals | None = None
    rows: RowRights | None = None
    looks: Looks | None = None
