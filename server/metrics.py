"""Every metric in one table: name, kind, unit, meaning. ``docs/operations.md`` is tested against it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One row of the table."""

    name: str
    kind: str
    """counter, gauge or histogram."""
    unit: str
    about: str
    labels: tuple[str, ...] = ()


METRICS: Final = (
    MetricRow("doorstep_http_requests", "counter", "requests", "HTTP requests answered.", ("route", "status")),
    MetricRow("doorstep_http_request_seconds", "histogram", "seconds", "Time to answer an HTTP request.", ("route",)),
    MetricRow(
        "doorstep_loop_lag_seconds",
        "histogram",
        "seconds",
        "How long received bytes wait to be read.",
    ),
    MetricRow("doorstep_hub_connections", "gauge", "connections", "WebSockets open now."),
    MetricRow("doorstep_hub_outcomes", "counter", "events", "What the hub did, by named outcome.", ("outcome",)),
    MetricRow("doorstep_hub_sessions", "gauge", "sessions", "Sessions after hello."),
    MetricRow("doorstep_hub_shedding", "gauge", "bool", "1 while pings of some phones are shed unread."),
    MetricRow(
        "doorstep_hub_reading_paused", "gauge", "connections", "Not read for a moment because their pings are shed."
    ),
    MetricRow("doorstep_hub_refused", "counter", "upgrades", "WebSocket upgrades refused, by code.", ("code",)),
    MetricRow("doorstep_hub_closed", "counter", "connections", "WebSockets ended, by close code.", ("code",)),
    MetricRow("doorstep_on_duty", "gauge", "people", "People on duty, by city.", ("tenant", "city")),
    MetricRow("doorstep_orders_open", "gauge", "orders", "Orders not settled, by city.", ("tenant", "city")),
    MetricRow(
        "doorstep_rounds_solved",
        "counter",
        "rounds",
        "Matching rounds too large for the loop, by end: exact, greedy (over `dispatch.round.budget_ms`) or failed.",
        ("tenant", "city", "solver"),
    ),
    MetricRow(
        "doorstep_rounds_cut",
        "counter",
        "rounds",
        "Matching rounds that took only some of the waiting orders: over `dispatch.round.columns_len_max`.",
        ("tenant", "city"),
    ),
    MetricRow(
        "doorstep_travel_tables",
        "counter",
        "tables",
        "Travel tables that a road engine was wanted for, by outcome; all but `answered` were estimated.",
        ("outcome",),
    ),
    MetricRow(
        "doorstep_travel_trips_learned",
        "gauge",
        "trips",
        "Trips that the travel speeds in use were learned from, by city; 0: those of the config.",
        ("tenant", "city"),
    ),
    MetricRow(
        "doorstep_tracker_points",
        "counter",
        "points",
        "What phone trackers sent, by app: accepted, poison (acknowledged, never a position) or refused (sent again).",
        ("app", "kind", "outcome"),
    ),
    MetricRow(
        "doorstep_tracker_alarms",
        "counter",
        "alarms",
        "Alarms of phone trackers, by app: raised as an SOS, failed (sent again), or passed_over: about a vehicle.",
        ("app", "outcome"),
    ),
    MetricRow("doorstep_tracker_devices", "gauge", "devices", "Registered phone trackers."),
    MetricRow("doorstep_mailbox_waiting", "gauge", "events", "Events waiting for a service.", ("service",)),
    MetricRow("doorstep_commit_seconds", "histogram", "seconds", "Time to commit, waiting included.", ("file",)),
    MetricRow("doorstep_database_bytes", "gauge", "bytes", "Size of a database file without its log.", ("file",)),
    MetricRow("doorstep_incidents_unacknowledged", "gauge", "incidents", "Incidents that no human has in hand."),
    MetricRow("doorstep_care_watched", "gauge", "jobs", "Jobs under way that are watched over."),
    MetricRow("doorstep_care_unstored", "gauge", "batches", "Changes of care that the disk has not taken yet."),
    MetricRow(
        "doorstep_care_outcomes",
        "counter",
        "events",
        "What care did: checks by state (`asked`, `answered`, …), lines for the console, alarms by cause (`alarm_…`).",
        ("what",),
    ),
    MetricRow("doorstep_safety_unstored", "gauge", "batches", "Safety changes that the database has not taken yet."),
    MetricRow(
        "doorstep_safety_unpromised",
        "gauge",
        "batches",
        "Those of them that the emergency journal does not hold either: lost if the process ends now.",
    ),
    MetricRow(
        "doorstep_journal_turns",
        "counter",
        "turns",
        "Turns for the emergency journal: kept or not taken (full, failed, waiting); damaged: when it was read.",
        ("outcome",),
    ),
    MetricRow("doorstep_journal_bytes", "gauge", "bytes", "What the journal holds that the database has not taken."),
    MetricRow("doorstep_journal_rewrites", "counter", "times", "It was half full and was rewritten in less space."),
    MetricRow(
        "doorstep_store_fenced", "gauge", "0 or 1", "A sync of this file failed: it is not written any more.", ("file",)
    ),
    MetricRow("doorstep_disk_free_bytes", "gauge", "bytes", "What is free on the disk of the data folder."),
    MetricRow("doorstep_reserve_held", "gauge", "0 or 1", "Whether the reserve on that disk is held back."),
    MetricRow("doorstep_reserve_released", "counter", "times", "The disk was full: the reserve was given to safety."),
    MetricRow(
        "doorstep_positions_dropped", "counter", "positions", "Not stored: the disk is nearly full, or too slow."
    ),
    MetricRow("doorstep_loop_stalls", "counter", "times", "The event loop stood still for more than a second."),
    MetricRow("doorstep_loop_stalled_seconds", "counter", "seconds", "How long it stood still, together."),
    MetricRow("doorstep_journal_open", "gauge", "0 or 1", "Whether the emergency journal can be used."),
    MetricRow(
        "doorstep_webhook_attempts", "counter", "attempts", "Attempts of webhooks, by outcome.", ("endpoint", "outcome")
    ),
    MetricRow(
        "doorstep_webhook_dead",
        "counter",
        "events",
        "Events that a webhook never took, by reason.",
        ("endpoint", "reason"),
    ),
    MetricRow(
        "doorstep_webhook_dropped",
        "counter",
        "events",
        "Events not queued: the webhook's queue was full.",
        ("endpoint",),
    ),
    MetricRow("doorstep_webhook_waiting", "gauge", "events", "Events that wait for a webhook.", ("endpoint",)),
    MetricRow(
        "doorstep_webhook_open", "gauge", "0 or 1", "Whether a webhook is left alone for a while.", ("endpoint",)
    ),
    MetricRow(
        "doorstep_wakes", "counter", "offers", "Offers by whether their phone had to be woken, and was.", ("outcome",)
    ),
    MetricRow(
        "doorstep_security_events",
        "counter",
        "events",
        "Refusals that guards want to see: of sign-ins, PINs, rights, unknown ids, limits, upgrades; and revocations.",
        ("event",),
    ),
    MetricRow(
        "doorstep_pages",
        "counter",
        "attempts",
        "Attempts to reach people outside the hub, by channel and outcome.",
        ("channel", "outcome"),
    ),
    MetricRow("doorstep_pages_merged", "counter", "incidents", "Incidents told in a message together with others."),
    MetricRow(
        "doorstep_synthetic_sos",
        "counter",
        "runs",
        "Synthetic SOS by result: `came_through` or `missed`.",
        ("result",),
    ),
    MetricRow(
        "doorstep_synthetic_sos_seconds",
        "gauge",
        "seconds",
        "Round trip of the last synthetic SOS that came through, to the last hop of every channel.",
    ),
    MetricRow("doorstep_safety_overdue_seconds", "gauge", "seconds", "How late the latest timer or call of safety is."),
    MetricRow("doorstep_safety_well", "gauge", "0 or 1", "Whether an SOS would come through, as far as is known."),
    MetricRow("doorstep_safety_heartbeats", "counter", "posts", "Heartbeats of safety that were taken."),
    MetricRow("doorstep_ready", "gauge", "0 or 1", "Whether this process wants traffic."),
)
_LAG_BUCKETS: Final = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)
_REQUEST_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
Reading = Callable[[], Mapping[tuple[str, ...], float]]


class Metrics:
    """The registry with the table's metrics. Counters of others are read when somebody scrapes."""

    def __init__(self) -> None:
        """Register what is written here; ``read`` adds what is only looked up."""
        disable_created_metrics()  # type: ignore[no-untyped-call] # two more lines for each label, which nobody reads
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        rows = {row.name: row for row in METRICS}
        self._rows = rows
        requests = rows["doorstep_http_requests"]
        self._requests = Counter(requests.name, requests.about, requests.labels, registry=self.registry)
        took = rows["doorstep_http_request_seconds"]
        self._took = Histogram(took.name, took.about, took.labels, buckets=_REQUEST_BUCKETS, registry=self.registry)
        lag = rows["doorstep_loop_lag_seconds"]
        self._lag = Histogram(lag.name, lag.about, buckets=_LAG_BUCKETS, registry=self.registry)
        commits = rows["doorstep_commit_seconds"]
        self._commits = Histogram(
            commits.name, commits.about, commits.labels, buckets=_REQUEST_BUCKETS, registry=self.registry
        )

    def observe_request(self, route: str, status: int, took_s: float) -> None:
        """One HTTP request was answered."""
        self._requests.labels(route, str(status)).inc()
        self._took.labels(route).observe(took_s)

    def observe_commit(self, file: str, took_s: float) -> None:
        """One transaction was committed, or failed."""
        self._commits.labels(file).observe(took_s)

    def observe_lag(self, lag_s: float) -> None:
        """The loop ran a timer this late."""
        self._lag.observe(max(0.0, lag_s))

    def read(self, name: str, reading: Reading) -> None:
        """Fill a row of the table by asking, at each scrape. ``reading`` maps label values to numbers."""
        self.registry.register(_Asked(self._rows[name], reading))


class _Asked(Collector):
    """A metric that somebody else counts."""

    def __init__(self, row: MetricRow, reading: Reading) -> None:
        self._row = row
        self._reading = reading

    def describe(self) -> Iterator[Metric]:
        """Name it without asking."""
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        """Ask."""
        family = self._family()
        for labels, value in sorted(self._reading().items()):
            family.add_metric(labels, value)
        yield family

    def _family(self) -> CounterMetricFamily | GaugeMetricFamily:
        kind = CounterMetricFamily if self._row.kind == "counter" else GaugeMetricFamily
        return kind(self._row.name, self._row.about, labels=self._row.labels)
