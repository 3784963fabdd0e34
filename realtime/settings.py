"""The hub's part of the configuration: limits, intervals and what each level of attention means."""

from dataclasses import dataclass, field

from geo.point import Frame
from realtime.send_queue import SendQueueSettings


def require(value: float, low: float, high: float, name: str) -> None:
    """Raise ``ValueError`` unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise ValueError(f"{name}: must be between {low:g} and {high:g}, is {value:g}")


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What one connection may do, and how long it may take."""

    hello_timeout_s: float = 5.0
    """Seconds that a new connection has for its hello."""
    expiry_grace_s: float = 10.0
    """Seconds after the token's end before the connection is closed with 4401. Never closed earlier."""
    restricted_grace_s: float = 86_400.0
    """Seconds after the token's end in which an SOS is still taken."""
    messages_per_s: float = 20.0
    """Frames other than pings and SOS that a connection may send on average, per second."""
    messages_burst: float = 100.0
    """Frames other than pings and SOS that may come at once."""
    violations_max: int = 200
    """Refused or unreadable frames in a row before the connection is closed with 4429."""
    pings_per_s: float = 20.0
    """Pings that a connection may send on average, per second; times the clock rate for replays."""
    pings_burst: float = 2_048.0
    """Pings that may come at once: the backlog of a phone that was offline."""
    attach_queue_len_max: int = 256
    """Frames that wait in order while the streams of a new session are looked up."""
    attach_queue_bytes_max: int = 131_072
    """Bytes of these frames."""
    sessions_max: int = 200_000
    """Connections of the whole hub; more are answered 503 before the upgrade."""
    sessions_per_user_max: int = 16
    """Devices of one user that may be connected at once."""
    crs_choice: bool = True
    """Whether a session may ask for outgoing positions in another frame than the platform's."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.hello_timeout_s, 0.1, 60, "hello_timeout_s")
        require(self.expiry_grace_s, 0, 3_600, "expiry_grace_s")
        require(self.restricted_grace_s, 0, 604_800, "restricted_grace_s")
        require(self.messages_per_s, 0.1, 100_000, "messages_per_s")
        require(self.messages_burst, 1, 1_000_000, "messages_burst")
        require(self.violations_max, 1, 1_000_000, "violations_max")
        require(self.pings_per_s, 0.1, 1_000_000, "pings_per_s")
        require(self.pings_burst, 1, 10_000_000, "pings_burst")
        require(self.attach_queue_len_max, 1, 10_000, "attach_queue_len_max")
        require(self.attach_queue_bytes_max, 65_536, 16_777_216, "attach_queue_bytes_max")
        require(self.sessions_max, 1, 10_000_000, "sessions_max")
        require(self.sessions_per_user_max, 1, 10_000, "sessions_per_user_max")


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Reliable messages on their way to a device."""

    page_len: int = 64
    """Rows that one read of the outbox brings."""
    window_len: int = 256
    """Rows of ``main`` sent and not yet acknowledged; more wait in the outbox."""
    window_bytes: int = 8_192
    """Bytes of ``main`` sent and not yet acknowledged, at first and at least: an SOS is never further behind."""
    window_bytes_max: int = 1_048_576
    """Largest window of bytes that a link can earn by acknowledging quickly."""
    window_epoch_s: float = 0.5
    """Time over which acknowledged bytes are summed to size the window, in seconds."""
    safety_window_len: int = 4_096
    """Rows of ``safety`` sent and not yet acknowledged."""
    ack_timeout_s: float = 30.0
    """Seconds that a full window may stand without an ack before the reader is closed with 4408."""
    ahead_len_max: int = 64
    """Rows kept in memory while an earlier one is missing; the rest is read from the outbox."""
    gap_wait_s: float = 0.05
    """Seconds to wait for a missing row before the outbox is read."""
    retry_s: float = 1.0
    """Seconds between tries when the outbox cannot be read."""
    receipt_lookback: int = 32
    """Rows before a resumed position whose receipts are reported again: their ack may have been lost."""
    attach_timeout_s: float = 10.0
    """Seconds that a new session may wait for its streams before it is sent away with 4403."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.page_len, 1, 10_000, "page_len")
        require(self.window_len, 1, 100_000, "window_len")
        require(self.window_bytes, 1_024, 16_777_216, "window_bytes")
        require(self.window_bytes_max, self.window_bytes, 16_777_216, "window_bytes_max")
        require(self.window_epoch_s, 0.05, 10, "window_epoch_s")
        require(self.safety_window_len, 1, 100_000, "safety_window_len")
        require(self.ack_timeout_s, 1, 3_600, "ack_timeout_s")
        require(self.ahead_len_max, 1, 100_000, "ahead_len_max")
        require(self.gap_wait_s, 0, 10, "gap_wait_s")
        require(self.retry_s, 0.05, 60, "retry_s")
        require(self.receipt_lookback, 0, 10_000, "receipt_lookback")
        require(self.attach_timeout_s, 0.1, 600, "attach_timeout_s")


@dataclass(frozen=True, slots=True)
class LevelSettings:
    """What one level of attention asks of a phone and of the hub."""

    interval_s: float = 15.0
    """Seconds between position reports."""
    min_distance_m: float = 50.0
    """Metres moved that are worth a report before the interval is over; 0 for every fix."""
    accuracy: str = "balanced"
    """``coarse``, ``balanced`` or ``best``: what the phone should spend on a fix."""
    heartbeat_s: float = 20.0
    """Seconds of silence after which the hub sends a WebSocket ping."""
    dead_after_s: float = 44.0
    """Seconds of silence after which the peer is taken for dead."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.interval_s, 0.1, 3_600, "interval_s")
        require(self.min_distance_m, 0, 100_000, "min_distance_m")
        if self.accuracy not in ("coarse", "balanced", "best"):
            raise ValueError(f"accuracy: must be coarse, balanced or best, is {self.accuracy}")
        require(self.heartbeat_s, 0.5, 300, "heartbeat_s")
        require(self.dead_after_s, 1, 3_600, "dead_after_s")
        if self.dead_after_s <= self.heartbeat_s:
            raise ValueError(f"dead_after_s: must be more than heartbeat_s {self.heartbeat_s:g}")


def _idle() -> LevelSettings:
    return LevelSettings(15.0, 50.0, "balanced", 20.0, 44.0)


def _job() -> LevelSettings:
    return LevelSettings(4.0, 10.0, "best", 4.0, 9.5)


def _sos() -> LevelSettings:
    return LevelSettings(2.0, 0.0, "best", 4.0, 9.5)


@dataclass(frozen=True, slots=True)
class AttentionSettings:
    """Levels of attention and the shared sweep that finds the dead."""

    idle: LevelSettings = field(default_factory=_idle)
    """Nothing is going on: battery first."""
    job: LevelSettings = field(default_factory=_job)
    """A live offer or a job under way. Responders and ops consoles have this heartbeat always."""
    sos: LevelSettings = field(default_factory=_sos)
    """An open SOS of this user."""
    sweep_s: float = 0.25
    """Width of a bucket of the sweep, seconds: the error of every deadline of the hub."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.sweep_s, 0.01, 5, "sweep_s")


@dataclass(frozen=True, slots=True)
class PositionSettings:
    """The ping path."""

    tick_ms: float = 20.0
    """Longest time that a ping waits for its batch, milliseconds."""
    batch_len_max: int = 2_048
    """Pings that are judged at once without waiting for the tick: about 2 ms in which nothing else is done."""
    shed_lag_ms: float = 20.0
    """Time that received bytes wait to be read, above which ping frames begin to be answered ``shed`` undecoded, if
    pings are a fifth of the work or more; then more of them above half of it, fewer below a quarter, milliseconds."""
    shed_ticks: int = 5
    """Ticks in a row that must lag before shedding begins."""
    shed_rest_ms: float = 200.0
    """A phone that sends more often than this while its pings are shed is read about once in this time, so that whoever
    was silent finds a short queue; 0 reads everybody whenever there is something, milliseconds."""
    ack_job_s: float = 1.0
    """Shortest time between two ``ping_ack`` on a job or in an SOS, seconds."""
    ack_idle_s: float = 5.0
    """Shortest time between two ``ping_ack`` otherwise, seconds."""
    ahead_len_max: int = 1_024
    """Numbers of pings remembered beyond a missing one; then the missing one is given up."""
    clock_rate_max: float = 1.0
    """Largest ``hello.clock_rate``: 1 forbids replays."""
    fresh_s: float = 120.0
    """Seconds after which a position is no longer shown to watchers of an area."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.tick_ms, 1, 1_000, "tick_ms")
        require(self.batch_len_max, 1, 100_000, "batch_len_max")
        require(self.shed_lag_ms, 1, 10_000, "shed_lag_ms")
        require(self.shed_ticks, 1, 1_000, "shed_ticks")
        require(self.shed_rest_ms, 0, 1_000, "shed_rest_ms")
        require(self.ack_job_s, 0.05, 60, "ack_job_s")
        require(self.ack_idle_s, 0.05, 600, "ack_idle_s")
        require(self.ahead_len_max, 1, 1_000_000, "ahead_len_max")
        require(self.clock_rate_max, 1, 100_000, "clock_rate_max")
        require(self.fresh_s, 1, 86_400, "fresh_s")


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """Who watches what, and how often they hear of it."""

    topics_max: int = 64
    """Topics that one session may watch."""
    area_interval_s: float = 0.25
    """Seconds between two batches of an area."""
    cells_max: int = 1_024
    """H3 cells that one area subscription may name."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.topics_max, 1, 100_000, "topics_max")
        require(self.area_interval_s, 0.02, 60, "area_interval_s")
        require(self.cells_max, 1, 1_024, "cells_max")


@dataclass(frozen=True, slots=True)
class DrainSettings:
    """How connections are sent away when the server stops."""

    over_s: float = 10.0
    """Seconds over which the closes are spread, idle connections first."""
    reconnect_min_ms: int = 500
    """Shortest advice of when to come back, milliseconds."""
    reconnect_spread_ms: int = 10_000
    """Width of the random part of that advice, milliseconds."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.over_s, 0, 600, "over_s")
        require(self.reconnect_min_ms, 0, 600_000, "reconnect_min_ms")
        require(self.reconnect_spread_ms, 0, 600_000, "reconnect_spread_ms")


@dataclass(frozen=True, slots=True)
class RealtimeSettings:
    """All of the hub."""

    frame: Frame = Frame.GCJ02
    """The platform's coordinate frame; wiring sets it from ``coordinates.frame``."""
    sessions: SessionSettings = field(default_factory=SessionSettings)
    """One connection."""
    streams: StreamSettings = field(default_factory=StreamSettings)
    """Reliable messages."""
    attention: AttentionSettings = field(default_factory=AttentionSettings)
    """Levels of attention."""
    positions: PositionSettings = field(default_factory=PositionSettings)
    """The ping path."""
    queue: SendQueueSettings = field(default_factory=SendQueueSettings)
    """What waits to be written to one connection."""
    watching: WatchSettings = field(default_factory=WatchSettings)
    """Subscriptions."""
    drain: DrainSettings = field(default_factory=DrainSettings)
    """Stopping."""
