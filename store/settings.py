"""Settings of the store: bounds of the writers, times of flushing and how long things are kept."""

from dataclasses import dataclass, field

from dispatch.settings import IDEMPOTENCY_KEEP_S_MAX


def _require(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low:g} and {high:g}, is {value:g}")


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """Bounds of the single writer that each database file has."""

    queue_len_max: int = 4096
    """Commits that may wait for one file's writer; one more is refused as `store_overloaded`."""
    batch_len_max: int = 256
    """Commits that share one transaction, and so one fsync."""
    busy_timeout_s: float = 2.0
    """How long to wait for a lock that a foreign process (a backup tool) holds on the file, seconds."""
    wal_bytes_max: int = 8_388_608
    """Size of the write-ahead log above which it is copied into the database, bytes."""
    checkpoint_idle_s: float = 1.0
    """Quiet time after which the write-ahead log is copied into the database, seconds."""
    readers: int = 2
    """Threads that read one file beside its writer."""
    reads_waiting_max: int = 2048
    """Reads that may wait for one file; one more is refused as `store_overloaded`."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        _require("queue_len_max", self.queue_len_max, 1, 1_000_000)
        _require("batch_len_max", self.batch_len_max, 1, 10_000)
        _require("busy_timeout_s", self.busy_timeout_s, 0.0, 60.0)
        _require("wal_bytes_max", self.wal_bytes_max, 65_536, 1_073_741_824)
        _require("checkpoint_idle_s", self.checkpoint_idle_s, 0.01, 3600.0)
        _require("readers", self.readers, 1, 32)
        _require("reads_waiting_max", self.reads_waiting_max, 1, 1_000_000)


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How long rows are kept. Orders, incidents and their histories are kept for ever."""

    device_seen_s: float = 86_400.0
    """How long a device counts as alive after it was last heard, seconds: unread messages are kept, roles are found."""
    outbox_s: float = 86_400.0
    """How long a message is kept after every living device acknowledged it, seconds since it was written."""
    outbox_unread_s: float = 604_800.0
    """How long a message is kept that a living device never acknowledged, seconds; then it gets a snapshot."""
    device_s: float = 2_592_000.0
    """How long an unheard device and its acknowledgements are remembered, seconds."""
    rounds_s: float = 604_800.0
    """How long stored matching rounds are kept, seconds."""
    idempotency_s: float = 172_800.0
    """How long clients' idempotency keys are kept, seconds; at least the 24 h in which they are honoured."""
    webhooks_dead_s: float = 604_800.0
    """How long events are kept that a webhook never took, for whoever looks for them, seconds since they died."""
    tracks_s: float = 7_776_000.0
    """How long positions of jobs and incidents are kept, seconds."""
    prune_interval_s: float = 10.0
    """Pause between two runs of the job that removes what is no longer kept, seconds."""
    prune_rows_max: int = 2000
    """Rows that one run removes at most from each table."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for name in (
            "device_seen_s",
            "outbox_s",
            "outbox_unread_s",
            "device_s",
            "rounds_s",
            "webhooks_dead_s",
            "tracks_s",
        ):
            _require(name, getattr(self, name), 60.0, 3_153_600_000.0)
        _require("idempotency_s", self.idempotency_s, IDEMPOTENCY_KEEP_S_MAX, 3_153_600_000.0)
        _require("prune_interval_s", self.prune_interval_s, 0.1, 86_400.0)
        _require("prune_rows_max", self.prune_rows_max, 1, 1_000_000)
        if self.outbox_unread_s < self.outbox_s:
            raise ValueError(
                f"outbox_unread_s must be at least outbox_s ({self.outbox_s:g}), is {self.outbox_unread_s:g}"
            )


@dataclass(frozen=True, slots=True)
class TrackSettings:
    """Bounds of what is on its way into `tracks.db`."""

    flush_interval_s: float = 1.0
    """Longest time a position waits before it is stored, seconds."""
    flush_rows: int = 2000
    """Waiting positions that start a flush at once, and about as many as one transaction takes."""
    buffer_rows_max: int = 200_000
    """Positions that may wait; beyond it the oldest are dropped and counted."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        _require("flush_interval_s", self.flush_interval_s, 0.01, 60.0)
        _require("flush_rows", self.flush_rows, 1, 100_000)
        _require("buffer_rows_max", self.buffer_rows_max, self.flush_rows, 10_000_000)


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where data is kept and for how long."""

    ack_flush_interval_s: float = 1.0
    """Longest time an acknowledgement waits before it is stored, seconds; a lost one only repeats messages."""
    writer: WriterSettings = field(default_factory=WriterSettings)
    """Bounds of each file's writer."""
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    """How long rows are kept."""
    tracks: TrackSettings = field(default_factory=TrackSettings)
    """Bounds of the position log."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        _require("ack_flush_interval_s", self.ack_flush_interval_s, 0.01, 60.0)
