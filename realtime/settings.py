"""The hub's part of the configuration: limits, intervals and what each level of attention means."""

from dataclasses import dataclass, field
from typing import Annotated

from core.ranges import Range, Ranged, check_ranges
from geo.point import Frame
from realtime.send_queue import SendQueueSettings


@dataclass(frozen=True, slots=True)
class SessionSettings(Ranged):
    """What one connection may do, and how long it may take."""

    hello_timeout_s: Annotated[float, Range(0.1, 60)] = 5.0
    """Seconds that a new connection has for its hello."""
    expiry_grace_s: Annotated[float, Range(0, 3_600)] = 3.0
    """Seconds after the token's end before the connection is closed with 4401. Never closed earlier."""
    restricted_grace_s: Annotated[float, Range(0, 604_800)] = 86_400.0
    """Seconds after the token's end in which an SOS is still taken."""
    messages_per_s: Annotated[float, Range(0.1, 100_000)] = 20.0
    """Frames other than pings and SOS that a connection may send on average, per second."""
    messages_burst: Annotated[float, Range(1, 1_000_000)] = 100.0
    """Frames other than pings and SOS that may come at once."""
    violations_max: Annotated[int, Range(1, 1_000_000)] = 200
    """Refused or unreadable frames in a row before the connection is closed with 4429."""
    pings_per_s: Annotated[float, Range(0.1, 1_000_000)] = 20.0
    """Pings that a connection may send on average, per second; times the clock rate for replays."""
    pings_burst: Annotated[float, Range(1, 10_000_000)] = 2_048.0
    """Pings that may come at once: the backlog of a phone that was offline."""
    attach_queue_len_max: Annotated[int, Range(1, 10_000)] = 256
    """Frames that wait in order while the streams of a new session are looked up."""
    attach_queue_bytes_max: Annotated[int, Range(65_536, 16_777_216)] = 131_072
    """Bytes of these frames."""
    sessions_max: Annotated[int, Range(1, 10_000_000)] = 200_000
    """Connections of the whole hub, never more than `hub.connections_max`; more are answered 503 before the upgrade."""
    sessions_per_tenant_max: Annotated[int, Range(1, 10_000_000)] = 200_000
    """Sessions of one tenant at once; with several tenants set it lower, so that none of them can fill the hub."""
    sessions_reserved_share: Annotated[float, Range(0, 0.5)] = 0.02
    """Share of these connections that only ops, responders and people in an SOS get; others hear `too_many`."""
    sessions_per_user_max: Annotated[int, Range(1, 10_000)] = 16
    """Devices of one user that may be connected at once."""
    crs_choice: bool = True
    """Whether a session may ask for outgoing positions in another frame than the platform's."""


@dataclass(frozen=True, slots=True)
class StreamSettings(Ranged):
    """Reliable messages on their way to a device."""

    page_len: Annotated[int, Range(1, 10_000)] = 64
    """Rows that one read of the outbox brings."""
    window_len: Annotated[int, Range(1, 100_000)] = 256
    """Rows of ``main`` sent and not yet acknowledged; more wait in the outbox."""
    window_bytes: Annotated[int, Range(1_024, 16_777_216)] = 8_192
    """Bytes of ``main`` sent and not yet acknowledged, at first and at least: an SOS is never further behind."""
    window_bytes_max: Annotated[int, Range("window_bytes", 16_777_216)] = 1_048_576
    """Largest window of bytes that a link can earn by acknowledging quickly."""
    window_epoch_s: Annotated[float, Range(0.05, 10)] = 0.5
    """Time over which acknowledged bytes are summed to size the window, in seconds."""
    safety_window_len: Annotated[int, Range(1, 100_000)] = 4_096
    """Rows of ``safety`` sent and not yet acknowledged."""
    ack_timeout_s: Annotated[float, Range(1, 3_600)] = 30.0
    """Seconds that a full window may stand without an ack before the reader is closed with 4408."""
    ahead_len_max: Annotated[int, Range(1, 100_000)] = 64
    """Rows kept in memory while an earlier one is missing; the rest is read from the outbox."""
    gap_wait_s: Annotated[float, Range(0, 10)] = 0.05
    """Seconds to wait for a missing row before the outbox is read."""
    retry_s: Annotated[float, Range(0.05, 60)] = 1.0
    """Seconds between tries when the outbox cannot be read."""
    receipt_lookback: Annotated[int, Range(0, 10_000)] = 32
    """Rows before a resumed position whose receipts are reported again: their ack may have been lost."""
    attach_timeout_s: Annotated[float, Range(0.1, 600)] = 10.0
    """Seconds that a new session may wait for its streams before it is sent away with 4403."""


@dataclass(frozen=True, slots=True)
class LevelSettings:
    """What one level of attention asks of a phone and of the hub."""

    interval_s: Annotated[float, Range(0.1, 3_600)] = 15.0
    """Seconds between position reports."""
    min_distance_m: Annotated[float, Range(0, 100_000)] = 50.0
    """Metres moved that are worth a report before the interval is over; 0 for every fix."""
    accuracy: str = "balanced"
    """``coarse``, ``balanced`` or ``best``: what the phone should spend on a fix."""
    heartbeat_s: Annotated[float, Range(0.5, 300)] = 20.0
    """Seconds of silence after which the hub sends a WebSocket ping."""
    dead_after_s: Annotated[float, Range(1, 3_600)] = 44.0
    """Seconds of silence after which the peer is taken for dead."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self)
        if self.accuracy not in ("coarse", "balanced", "best"):
            raise ValueError(f"accuracy: must be coarse, balanced or best, is {self.accuracy}")
        if self.dead_after_s <= self.heartbeat_s:
            raise ValueError(f"dead_after_s: must be more than heartbeat_s {self.heartbeat_s:g}")


def _idle() -> LevelSettings:
    return LevelSettings(15.0, 50.0, "balanced", 20.0, 44.0)


def _job() -> LevelSettings:
    return LevelSettings(4.0, 10.0, "best", 4.0, 9.5)


def _sos() -> LevelSettings:
    return LevelSettings(2.0, 0.0, "best", 4.0, 9.5)


def _sos_late() -> LevelSettings:
    return LevelSettings(5.0, 0.0, "best", 4.0, 9.5)


@dataclass(frozen=True, slots=True)
class AttentionSettings(Ranged):
    """Levels of attention and the shared sweep that finds the dead."""

    idle: LevelSettings = field(default_factory=_idle)
    """Nothing is going on: battery first."""
    job: LevelSettings = field(default_factory=_job)
    """A live offer or a job under way. Responders and ops consoles have this heartbeat always."""
    sos: LevelSettings = field(default_factory=_sos)
    """An open SOS of this user."""
    sos_late: LevelSettings = field(default_factory=_sos_late)
    """An open SOS that has lasted for `safety.trail_fast_s`: the phone's battery has to last too."""
    sweep_s: Annotated[float, Range(0.01, 5)] = 0.25
    """Width of a bucket of the sweep, seconds: the error of every deadline of the hub."""


@dataclass(frozen=True, slots=True)
class PositionSettings(Ranged):
    """The ping path."""

    tick_ms: Annotated[float, Range(1, 1_000)] = 20.0
    """Longest time that a ping waits for its batch, milliseconds."""
    batch_len_max: Annotated[int, Range(1, 100_000)] = 2_048
    """Pings that are judged at once without waiting for the tick: about 2 ms in which nothing else is done."""
    shed_lag_ms: Annotated[float, Range(1, 10_000)] = 20.0
    """Time that received bytes wait to be read, above which ping frames begin to be answered ``shed`` undecoded, if
    pings are a fifth of the work or more; then more of them above a quarter of it, fewer below an eighth,
    milliseconds."""
    shed_ticks: Annotated[int, Range(1, 1_000)] = 5
    """Ticks in a row that must lag before shedding begins."""
    shed_rest_ms: Annotated[float, Range(0, 1_000)] = 350.0
    """A phone that sends more often than this while its pings are shed is read about once in this time, so that whoever
    was silent finds a short queue; 0 reads everybody whenever there is something, milliseconds."""
    ack_job_s: Annotated[float, Range(0.05, 60)] = 1.0
    """Shortest time between two ``ping_ack`` on a job or in an SOS, seconds."""
    ack_idle_s: Annotated[float, Range(0.05, 600)] = 5.0
    """Shortest time between two ``ping_ack`` otherwise, seconds."""
    ahead_len_max: Annotated[int, Range(1, 1_000_000)] = 1_024
    """Numbers of pings remembered beyond a missing one; then the missing one is given up."""
    clock_rate_max: Annotated[float, Range(1, 100_000)] = 1.0
    """Largest ``hello.clock_rate``: 1 forbids replays."""
    fresh_s: Annotated[float, Range(1, 86_400)] = 120.0
    """Seconds after which a position is no longer shown to watchers of an area."""


@dataclass(frozen=True, slots=True)
class WatchSettings(Ranged):
    """Who watches what, and how often they hear of it."""

    topics_max: Annotated[int, Range(1, 100_000)] = 64
    """Topics that one session may watch."""
    area_interval_s: Annotated[float, Range(0.02, 60)] = 0.25
    """Seconds between two batches of an area."""
    cells_max: Annotated[int, Range(1, 1_024)] = 1_024
    """H3 cells that one area subscription may name."""


@dataclass(frozen=True, slots=True)
class DrainSettings(Ranged):
    """How connections are sent away when the server stops."""

    over_s: Annotated[float, Range(0, 600)] = 10.0
    """Seconds over which the closes are spread, idle connections first."""
    reconnect_min_ms: Annotated[int, Range(0, 600_000)] = 500
    """Shortest advice of when to come back, milliseconds."""
    reconnect_spread_ms: Annotated[int, Range(0, 600_000)] = 10_000
    """Width of the random part of that advice, milliseconds."""


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
