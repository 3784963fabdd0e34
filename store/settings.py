"""Settings of the store: bounds of the writers, times of flushing and how long things are kept."""

from dataclasses import dataclass, field
from typing import Annotated, Final

from core.ranges import Range, Ranged, check_ranges
from dispatch.settings import IDEMPOTENCY_KEEP_S_MAX

_CENTURY_S: Final = 3_153_600_000


@dataclass(frozen=True, slots=True)
class WriterSettings(Ranged):
    """Bounds of the single writer that each database file has."""

    queue_len_max: Annotated[int, Range(1, 1_000_000)] = 4096
    """Commits that may wait for one file's writer; one more is refused as `store_overloaded`."""
    batch_len_max: Annotated[int, Range(1, 10_000)] = 256
    """Commits that share one transaction, and so one fsync."""
    busy_timeout_s: Annotated[float, Range(0, 60)] = 2.0
    """How long to wait for a lock that a foreign process (a backup tool) holds on the file, seconds."""
    wal_bytes_max: Annotated[int, Range(65_536, 1_073_741_824)] = 8_388_608
    """Size of the write-ahead log above which it is copied into the database, bytes."""
    checkpoint_idle_s: Annotated[float, Range(0.01, 3600)] = 1.0
    """Quiet time after which the write-ahead log is copied into the database, seconds."""
    readers: Annotated[int, Range(1, 32)] = 2
    """Threads that read one file beside its writer."""
    reads_waiting_max: Annotated[int, Range(1, 1_000_000)] = 2048
    """Reads that may wait for one file; one more is refused as `store_overloaded`."""


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How long rows are kept. Orders and their histories are kept for ever, and of the audit the rows, not what they
    speak of."""

    device_seen_s: Annotated[float, Range(60, _CENTURY_S)] = 86_400.0
    """How long a device counts as alive after it was last heard, seconds: unread messages are kept, roles are found."""
    outbox_s: Annotated[float, Range(60, _CENTURY_S)] = 86_400.0
    """How long a message is kept after every living device acknowledged it, seconds since it was written."""
    outbox_unread_s: Annotated[float, Range(60, _CENTURY_S)] = 604_800.0
    """How long a message is kept that a living device never acknowledged, seconds; then it gets a snapshot."""
    device_s: Annotated[float, Range(60, _CENTURY_S)] = 2_592_000.0
    """How long an unheard device and its acknowledgements are remembered, seconds."""
    rounds_s: Annotated[float, Range(60, _CENTURY_S)] = 604_800.0
    """How long stored matching rounds are kept, seconds."""
    idempotency_s: Annotated[float, Range(IDEMPOTENCY_KEEP_S_MAX, _CENTURY_S)] = 172_800.0
    """How long clients' idempotency keys are kept, seconds; at least the 24 h in which they are honoured."""
    webhooks_dead_s: Annotated[float, Range(60, _CENTURY_S)] = 604_800.0
    """How long events are kept that a webhook never took, for whoever looks for them, seconds since they died."""
    looks_s: Annotated[float, Range(86_400, _CENTURY_S)] = 31_536_000.0
    """How long it is kept who looked at whose position, seconds; the audit keeps it for good."""
    tracks_s: Annotated[float, Range(60, _CENTURY_S)] = 2_592_000.0
    """How long positions of jobs and incidents are kept, seconds (30 days); what is held as evidence stays."""
    incidents_s: Annotated[float, Range(34_560_000, _CENTURY_S)] = 63_072_000.0
    """How long an incident is kept after its end with its history, taps, calls and what the audit's rows speak of,
    seconds (2 years); what is held as evidence stays. Longer than any is in memory (`safety.resolved_kept_s`)."""
    care_s: Annotated[float, Range(60, _CENTURY_S)] = 7_776_000.0
    """How long it is kept what people were asked during a job and answered, what they shared and tried, seconds."""
    synthetic_s: Annotated[float, Range(86_400, _CENTURY_S)] = 86_400.0
    """How long the SOS of nobody that proves the path each minute is kept once it has ended, seconds."""
    prune_interval_s: Annotated[float, Range(0.1, 86_400)] = 10.0
    """Pause between two runs of the job that removes what is no longer kept, seconds."""
    prune_rows_max: Annotated[int, Range(1, 1_000_000)] = 2000
    """Rows that one run removes at most from each table."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        check_ranges(self)
        if self.outbox_unread_s < self.outbox_s:
            raise ValueError(
                f"outbox_unread_s must be at least outbox_s ({self.outbox_s:g}), is {self.outbox_unread_s:g}"
            )


@dataclass(frozen=True, slots=True)
class TrackSettings(Ranged):
    """Bounds of what is on its way into `tracks.db`."""

    flush_interval_s: Annotated[float, Range(0.01, 60)] = 1.0
    """Longest time a position waits before it is stored, seconds."""
    flush_rows: Annotated[int, Range(1, 100_000)] = 2000
    """Waiting positions that start a flush at once, and about as many as one transaction takes."""
    buffer_rows_max: Annotated[int, Range("flush_rows", 10_000_000)] = 200_000
    """Positions that may wait; beyond it the oldest are dropped and counted."""


@dataclass(frozen=True, slots=True)
class StoreSettings(Ranged):
    """Where data is kept and for how long."""

    ack_flush_interval_s: Annotated[float, Range(0.01, 60)] = 1.0
    """Longest time an acknowledgement waits before it is stored, seconds; a lost one only repeats messages."""
    writer: WriterSettings = field(default_factory=WriterSettings)
    """Bounds of each file's writer."""
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    """How long rows are kept."""
    tracks: TrackSettings = field(default_factory=TrackSettings)
    """Bounds of the position log."""
