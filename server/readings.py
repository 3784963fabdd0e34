"""Connects the metrics that are only looked up, at each scrape, to whoever counts them."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from dispatch.model import WakeOutcome
from safety.paging import PageCounters
from server.house import House
from server.metrics import Metrics
from server.watchdog import Watchdog
from store.sqlite import Stores
from transport.websocket import WebSocketListener
from webhooks.breaker import BreakerState
from webhooks.engine import WebhookCounters

LabelsT = TypeVar("LabelsT", bound=tuple[str, ...])
_GAUGES = ("sessions", "people", "topics", "shedding", "reading_paused")


def connect_stores(metrics: Metrics, stores: Stores) -> None:
    """Measure the commits of each file, and look up its size."""
    files = stores.databases
    for name, database in files.items():
        database.writer.observe = partial(metrics.observe_commit, name)
    metrics.read(
        "doorstep_database_bytes", lambda: {(name,): float(file.path.stat().st_size) for name, file in files.items()}
    )
    journal = stores.journal
    metrics.read("doorstep_journal_turns", lambda: {(what,): float(n) for what, n in journal.outcomes.items()})
    metrics.read("doorstep_journal_rewrites", lambda: {(): float(journal.rewrites)})
    metrics.read("doorstep_journal_bytes", lambda: {(): float(journal.held_bytes)})
    metrics.read(
        "doorstep_store_fenced", lambda: {(name,): float(file.writer.is_fenced) for name, file in files.items()}
    )
    reserve = stores.reserve
    metrics.read("doorstep_disk_free_bytes", lambda: {(): float(reserve.free_bytes)})
    metrics.read("doorstep_reserve_held", lambda: {(): float(reserve.is_held)})
    metrics.read("doorstep_reserve_released", lambda: {(): float(reserve.released)})
    metrics.read("doorstep_positions_dropped", lambda: {(): float(stores.tracks.dropped_rows)})
    metrics.read("doorstep_journal_open", lambda: {(): float(journal.is_open)})


def connect_life(metrics: Metrics, watchdog: Watchdog, is_ready: Callable[[], bool]) -> None:
    """Whether the loop turns, and whether the node wants traffic."""
    metrics.read("doorstep_loop_stalls", lambda: {(): float(watchdog.stalls)})
    metrics.read("doorstep_loop_stalled_seconds", lambda: {(): watchdog.stalled_s})
    metrics.read("doorstep_ready", lambda: {(): float(is_ready())})


def connect_readings(metrics: Metrics, house: House, listener: WebSocketListener) -> None:
    """Fill the rows of the table that are asked for."""
    hub, safety, care, cities = house.hub, house.safety, house.care, house.cities

    def outcomes() -> dict[tuple[str, ...], float]:
        return {(name,): float(count) for name, count in hub.counts().items() if name not in _GAUGES}

    def waiting() -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {("safety",): float(safety.waiting), ("care",): float(care.waiting)}
        found.update({(part.shard.channel,): float(part.dispatch.waiting) for part in cities.all()})
        return found

    def solved() -> dict[tuple[str, ...], float]:
        return {
            (*part.shard, how): float(count)
            for part in cities.all()
            for how, count in part.dispatch.rounds_solved.items()
        }

    metrics.read("doorstep_hub_outcomes", outcomes)
    metrics.read("doorstep_rounds_solved", solved)
    metrics.read(
        "doorstep_rounds_cut", lambda: {part.shard: float(part.dispatch.engine.rounds_cut()) for part in cities.all()}
    )
    for name in ("sessions", "shedding", "reading_paused"):
        metrics.read(f"doorstep_hub_{name}", partial(_gauge, house, name))
    metrics.read("doorstep_hub_connections", lambda: {(): float(listener.connections)})
    metrics.read("doorstep_hub_refused", lambda: {(code,): float(n) for code, n in listener.refused.items()})
    metrics.read("doorstep_hub_closed", lambda: {(str(code),): float(n) for code, n in listener.closed.items()})
    metrics.read("doorstep_mailbox_waiting", waiting)
    metrics.read("doorstep_incidents_unacknowledged", lambda: {(): float(safety.unacknowledged)})
    metrics.read("doorstep_care_watched", lambda: {(): float(care.watched)})
    metrics.read("doorstep_care_unstored", lambda: {(): float(care.unstored)})
    metrics.read("doorstep_care_outcomes", lambda: {(what,): float(n) for what, n in care.counts.items()})
    metrics.read("doorstep_safety_unstored", lambda: {(): float(safety.unstored)})
    metrics.read("doorstep_safety_unpromised", lambda: {(): float(safety.unpromised)})
    _connect_reach(metrics, house)
    metrics.read("doorstep_on_duty", lambda: {part.shard: float(len(part.positions)) for part in cities.all()})
    metrics.read(
        "doorstep_orders_open", lambda: {part.shard: float(len(part.dispatch.open_orders())) for part in cities.all()}
    )
    trackers = house.trackers
    metrics.read("doorstep_tracker_points", lambda: _floats(trackers.counts.points))
    metrics.read("doorstep_tracker_alarms", lambda: _floats(trackers.counts.alarms))
    metrics.read("doorstep_tracker_devices", lambda: {(): float(trackers.devices)})
    metrics.read("doorstep_travel_trips_learned", house.travel.trips_learned)
    webhooks = house.webhooks
    counters = webhooks.counters if webhooks is not None else WebhookCounters()
    metrics.read("doorstep_webhook_attempts", lambda: _floats(counters.attempts))
    metrics.read("doorstep_webhook_dead", lambda: _floats(counters.dead))
    metrics.read("doorstep_webhook_dropped", lambda: _floats(counters.dropped))

    def lines() -> dict[tuple[str, ...], float]:
        return {} if webhooks is None else {(name,): float(count) for name, count in webhooks.lines().items()}

    def left_alone() -> dict[tuple[str, ...], float]:
        states = {} if webhooks is None else webhooks.breakers()
        return {(name,): float(state is BreakerState.OPEN) for name, state in states.items()}

    wakes = house.wakes.counts if house.wakes is not None else Counter[WakeOutcome]()
    metrics.read("doorstep_wakes", lambda: {(outcome.value,): float(count) for outcome, count in wakes.items()})
    metrics.read("doorstep_webhook_waiting", lines)
    metrics.read("doorstep_webhook_open", left_alone)


def _connect_reach(metrics: Metrics, house: House) -> None:
    """Calls outside the hub, and the watch over safety."""
    counters = house.safety.paging.counters if house.safety.paging is not None else PageCounters({})
    metrics.read("doorstep_pages", lambda: _floats(counters.outcomes))
    metrics.read("doorstep_pages_merged", lambda: {(): float(counters.merged)})
    watch = house.watch
    if watch is None:
        return
    probe = watch.synthetic
    metrics.read(
        "doorstep_synthetic_sos",
        lambda: {("came_through",): float(probe.came_through), ("missed",): float(probe.missed)},
    )
    metrics.read(
        "doorstep_synthetic_sos_seconds", lambda: {} if probe.round_trip_s is None else {(): probe.round_trip_s}
    )
    metrics.read("doorstep_safety_overdue_seconds", lambda: {(): watch.overdue_s})
    metrics.read("doorstep_safety_well", lambda: {(): float(watch.is_well)})
    metrics.read("doorstep_safety_heartbeats", lambda: {(): float(watch.heartbeats)})


def _floats(counter: Mapping[LabelsT, int]) -> dict[tuple[str, ...], float]:
    return {labels: float(count) for labels, count in counter.items()}


def _gauge(house: House, name: str) -> dict[tuple[str, ...], float]:
    return {(): float(house.hub.counts()[name])}
