"""One connection's state: the table of its life, its limits, and what it was promised.

What happens on each frame is in ``frames.py``; this file says which steps exist. Sessions are the bulk of the
hub's memory: an idle one holds no container of its own, everything seldom used is made when first needed.
"""

from collections import deque
from collections.abc import Sequence
from enum import Enum, IntEnum, auto
from typing import Any, Final

from core.ids import DeviceId, SessionId, TenantId, UserId
from core.principal import Principal
from core.shard import Shard
from geo.pings import FRAME_CODES
from geo.point import Frame
from realtime.attention import Causes, Level
from realtime.codec import Codec, codec_for
from realtime.ledger import PingLedger
from realtime.messages import Resume
from realtime.ports import Connection
from realtime.send_queue import SendQueue, SendQueueSettings
from realtime.streams import StreamCursor


class State(IntEnum):
    """Where a connection is in its life."""

    AWAITING_HELLO = 0
    """Nobody yet; only ``hello`` is taken."""
    ATTACHING = 1
    """Signed in; the streams are being looked up. Frames wait in order, an SOS does not."""
    ACTIVE = 2
    """Everything works."""
    RESTRICTED = 3
    """The token expired under a day ago: only an SOS, its answers, heartbeats and ``refresh``."""
    FOR_ORDER = 4
    """A token of one order: watching it, an SOS with its answers, heartbeats and ``refresh``; no streams."""
    CLOSING = 5
    """A close was sent, or is about to be. An SOS is taken as long as frames come."""


class Event(Enum):
    """What moves a connection from state to state."""

    GREETED = auto()
    GREETED_RESTRICTED = auto()
    GREETED_FOR_ORDER = auto()
    ATTACHED = auto()
    REFRESHED = auto()
    REFRESHED_FOR_ORDER = auto()
    EXPIRED_IN_SOS = auto()
    CLOSED = auto()


ARROWS: Final[dict[tuple[State, Event], State]] = {
    (State.AWAITING_HELLO, Event.GREETED): State.ATTACHING,
    (State.AWAITING_HELLO, Event.GREETED_RESTRICTED): State.RESTRICTED,
    (State.AWAITING_HELLO, Event.GREETED_FOR_ORDER): State.FOR_ORDER,
    (State.AWAITING_HELLO, Event.CLOSED): State.CLOSING,
    (State.FOR_ORDER, Event.REFRESHED_FOR_ORDER): State.FOR_ORDER,
    (State.FOR_ORDER, Event.EXPIRED_IN_SOS): State.RESTRICTED,
    (State.FOR_ORDER, Event.CLOSED): State.CLOSING,
    (State.ATTACHING, Event.ATTACHED): State.ACTIVE,
    (State.ATTACHING, Event.EXPIRED_IN_SOS): State.RESTRICTED,
    (State.ATTACHING, Event.CLOSED): State.CLOSING,
    (State.ACTIVE, Event.REFRESHED): State.ACTIVE,
    (State.ACTIVE, Event.EXPIRED_IN_SOS): State.RESTRICTED,
    (State.ACTIVE, Event.CLOSED): State.CLOSING,
    (State.RESTRICTED, Event.REFRESHED): State.ATTACHING,
    (State.RESTRICTED, Event.REFRESHED_FOR_ORDER): State.FOR_ORDER,
    (State.RESTRICTED, Event.CLOSED): State.CLOSING,
    (State.CLOSING, Event.CLOSED): State.CLOSING,
}
"""The whole life of a connection; a step that is not here is a mistake of ours, never the peer's."""

STORY_LEN_MAX: Final = 512


class Story:
    """The last steps of all sessions, for errors. One for the hub: sessions keep no history of their own."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps: deque[tuple[str, State, Event]] = deque(maxlen=STORY_LEN_MAX)

    def add(self, session_id: str, state: State, event: Event) -> None:
        """Remember a step."""
        self._steps.append((session_id, state, event))

    def of(self, session_id: str) -> str:
        """The remembered steps of one session, oldest first."""
        return ", ".join(f"{state.name}+{event.name}" for name, state, event in self._steps if name == session_id)


def take_tokens(spent_until: float, now: float, count: float, rate_per_s: float, burst: float) -> float:
    """A token bucket in one number, computed when asked (generic cell rate algorithm, ITU-T I.371).

    Args:
        spent_until: The bucket's state: when it will be full again; 0.0 for a fresh one.
        now: Same clock as ``spent_until``.
        count: Tokens wanted.
        rate_per_s: Tokens that come back each second.
        burst: Tokens in a full bucket.

    Returns:
        The new state, or -1.0 when there are not enough tokens; then the state stays as it was.
    """
    start = spent_until if spent_until > now else now
    until = start + count / rate_per_s
    # The slack keeps a full bucket whole: epoch seconds have a resolution of about 2e-7.
    return until if until - now <= burst / rate_per_s + 1e-6 else -1.0


class Session:
    """One connection, from its handshake to its end.

    Attributes:
        state: Changed by ``step`` only.
        person: Who it is, None before ``hello``.
        target: Frame of outgoing positions where it differs from the platform's, else None.
        source: Frame of incoming positions that do not name one; ``source_code`` is its number in columns.
        heard_at: When a frame last came.
        lot: Decides whose pings are shed first under overload, see ``shedding.py``.
        pinged_at: When the hub last sent a heartbeat ping.
        main: Cursor of the stream, None before it is attached and while restricted.
        safety: Cursor of the stream, likewise.
        watching: What it watches, by topic; the values are ``watching.py``'s.
        waiting: Frames that came while the streams were looked up.
        attempt: Counts attachments, so that the answer to an old one is not taken for a new one.
        bucket: Where it stands in the sweep of deadlines.
        announced: Whether ``Inbound.opened`` was told.
    """

    __slots__ = (
        "announced",
        "attempt",
        "bucket",
        "clock_rate",
        "codec",
        "connection",
        "decode",
        "engine",
        "heard_at",
        "ledger",
        "lot",
        "main",
        "message_tokens",
        "opened_at",
        "person",
        "ping_tokens",
        "pinged_at",
        "queue",
        "resume",
        "safety",
        "session_id",
        "source",
        "source_code",
        "state",
        "target",
        "violations",
        "waiting",
        "watching",
        "who",
    )

    def __init__(self, engine: Any, connection: Connection, queue_settings: SendQueueSettings, now: float) -> None:
        # Any: the engine imports sessions, and only the socket's own subclass calls back.
        self.engine = engine
        self.connection = connection
        self.codec: Codec = codec_for(connection.subprotocol)
        self.decode = self.codec.decode
        self.queue = SendQueue(connection, queue_settings)
        self.lot = 0
        self.state = State.AWAITING_HELLO
        self.session_id = SessionId("")
        self.who: Principal | None = None
        self.person: Person | None = None
        self.target: Frame | None = None
        self.source = Frame.WGS84
        self.source_code = FRAME_CODES[Frame.WGS84]
        self.clock_rate = 1.0
        self.opened_at = self.heard_at = self.pinged_at = now
        self.message_tokens = self.ping_tokens = 0.0
        self.violations = 0
        self.attempt = 0
        self.bucket = -1
        self.announced = False
        self.main: StreamCursor | None = None
        self.safety: StreamCursor | None = None
        self.resume: Resume | None = None
        self.waiting: list[bytes] | None = None
        self.watching: dict[str, object] | None = None
        self.ledger: PingLedger | None = None

    @property
    def principal(self) -> Principal:
        """Who it is; only after ``hello``."""
        if self.who is None:
            raise AssertionError("nobody has said hello on this connection")
        return self.who

    @property
    def owner(self) -> "Person":
        """The person of the session; only after ``hello``."""
        if self.person is None:
            raise AssertionError("nobody has said hello on this connection")
        return self.person

    @property
    def device(self) -> DeviceId:
        """Device of the session, empty before ``hello``."""
        return DeviceId("") if self.who is None else self.who.device

    @property
    def takes_rows(self) -> bool:
        """Whether reliable messages go to this session."""
        return self.state is State.ACTIVE or self.state is State.ATTACHING

    def step(self, event: Event, story: Story) -> None:
        """Go where the table says. Raises ``AssertionError`` with the session's story for a missing arrow."""
        story.add(self.session_id, self.state, event)
        following = ARROWS.get((self.state, event))
        if following is None:
            raise AssertionError(f"session {self.session_id}: no arrow for the last of {story.of(self.session_id)}")
        self.state = following

    def send(self, message: Any) -> None:
        """Send a message of the catalogue that is not of a stream, behind what waits in ``main``.

        Any: structs of the catalogue; its union would have to be spelled here again.
        """
        self.queue.send_main(self.codec.encode(message))


class Person:
    """One user of one tenant.

    Attributes:
        sessions: Live ones, one for each device; an immutable tuple, because most have one and few change.
        shard: Where they are on duty, None when they are not.
        lane: Number of the lane in which their pings wait, -1 when off duty.
        quiet: Number of a lane in which their pings are judged although they are answered as off duty, -1 for none.
        slot: Their slot in that shard's positions, -1 when off duty.
        causes: None until the first one.
        is_urgent: Responders and ops: their silence is noticed as soon as that of people with a job.
    """

    __slots__ = ("causes", "is_urgent", "lane", "quiet", "sessions", "shard", "slot", "tenant", "user")

    def __init__(self, tenant: TenantId, user: UserId) -> None:
        self.tenant = tenant
        self.user = user
        self.sessions: tuple[Session, ...] = ()
        self.shard: Shard | None = None
        self.slot = -1
        self.lane = -1
        self.quiet = -1
        self.causes: Causes | None = None
        self.is_urgent = False

    @property
    def level(self) -> Level:
        """How much they matter now."""
        return Level.IDLE if self.causes is None else self.causes.level

    @property
    def keeps(self) -> Sequence[str]:
        """Causes under whose names their positions are kept."""
        return () if self.causes is None else self.causes.kept_as

    @property
    def is_needed(self) -> bool:
        """Whether anything still refers to them."""
        return bool(self.sessions) or self.slot >= 0 or bool(self.causes)
