"""Decides what is sent when: due events in order, few at a time, none to an endpoint that fails. Pure.

Memory holds a window of each queue, the rest is in the store. Everything here can be lost: what was not stored as
delivered is tried again, so each event arrives at least once.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from core.notice import Notice
from webhooks.backoff import after_failure
from webhooks.breaker import Breaker, BreakerState
from webhooks.errors import WebhookInvariantBroken
from webhooks.events import Attempted, Effect, Keep, MoreRead, Queued, ReadMore, Send, WebhookEvent
from webhooks.model import ENDPOINT_FAULTS, Dead, Delivery, Outcome, Settled
from webhooks.settings import WebhookSettings

_READ_AGAIN_S = 5.0
"""After the store could not be read."""


@dataclass(slots=True)
class _Line:
    """What is known of one endpoint.

    Attributes:
        waiting: All of its stored events that are not dead, those in flight included.
        held: Of these, the ones in memory and not in flight, by event id.
        more_at: When the first that is not in memory is due; ``inf`` when all are.
        settled: Ids done with while ``ReadMore`` is under way: what it brings of them is old. None when it is not.
    """

    waiting: int = 0
    held: dict[str, Delivery] = field(default_factory=dict)
    in_flight: dict[str, Delivery] = field(default_factory=dict)
    breaker: Breaker = field(default_factory=Breaker)
    more_at: float = inf
    settled: set[str] | None = None


@dataclass(slots=True)
class WebhookCounters:
    """What happened, for metrics. Keys are (endpoint, outcome) or (endpoint, reason)."""

    attempts: Counter[tuple[str, str]] = field(default_factory=Counter)
    dead: Counter[tuple[str, str]] = field(default_factory=Counter)
    dropped: Counter[tuple[str]] = field(default_factory=Counter)


class WebhookEngine:
    """All endpoints' lines.

    Args:
        endpoints: Names in the config.
        waiting: How many events wait for each in the store.
        seed: For the chance in pauses.
    """

    def __init__(
        self,
        endpoints: Iterable[str],
        settings: WebhookSettings,
        seed: int,
        counters: WebhookCounters,
        waiting: Mapping[str, int],
        now: float,
    ) -> None:
        self._settings = settings
        self._seed = seed
        self._counters = counters
        self._lines = {name: _Line(waiting=waiting.get(name, 0)) for name in endpoints}
        for line in self._lines.values():
            line.more_at = now if line.waiting else inf

    # -- look-ups -----------------------------------------------------------------------------------------

    def has_room(self, endpoint: str, coming: int = 0) -> bool:
        """Whether one more event may be written for the endpoint, when so many are on their way to here."""
        return self._lines[endpoint].waiting + coming < self._settings.queue_len_max

    def waiting(self) -> dict[str, int]:
        """Events that wait for each endpoint."""
        return {name: line.waiting for name, line in self._lines.items()}

    def breakers(self) -> dict[str, BreakerState]:
        """How each endpoint is treated."""
        return {name: line.breaker.state for name, line in self._lines.items()}

    # -- decisions ----------------------------------------------------------------------------------------

    def handle(self, event: WebhookEvent, now: float) -> list[Effect]:
        """Take an event in; what it makes possible is sent at once."""
        match event:
            case Queued(notices):
                return self._queued(notices, now)
            case Attempted():
                return self._attempted(event, now)
            case MoreRead(endpoint, deliveries):
                return self._more_read(endpoint, deliveries, now)

    def next_deadline(self) -> float | None:
        """When something is to be sent or read, None for never."""
        first = min((self._line_deadline(line) for line in self._lines.values()), default=inf)
        return None if first == inf else first

    def on_deadline(self, now: float) -> list[Effect]:
        """Send and read what is due."""
        return [effect for name in self._lines for effect in self._pump(name, now)]

    def check(self) -> None:
        """Assert that the books agree. Raises ``WebhookInvariantBroken``."""
        for name, line in self._lines.items():
            if line.held.keys() & line.in_flight.keys():
                raise WebhookInvariantBroken(name, "an event is both waiting and on its way")
            if len(line.held) + len(line.in_flight) > self._settings.window_len:
                raise WebhookInvariantBroken(name, "more is held than the window has room for")
            if line.more_at == inf and line.waiting > len(line.held) + len(line.in_flight) and line.settled is None:
                raise WebhookInvariantBroken(name, "an event is neither held nor going to be read")

    # -- inside -------------------------------------------------------------------------------------------

    def _queued(self, notices: Sequence[Notice], now: float) -> list[Effect]:
        touched: dict[str, None] = {}
        for notice in notices:
            line = self._lines.get(notice.endpoint)
            if line is None:
                continue
            if notice.event_id in line.held or notice.event_id in line.in_flight:
                continue  # the store was read after the commit and before this was told
            touched[notice.endpoint] = None
            line.waiting += 1
            self._hold(line, Delivery(notice, 0, notice.created_at))
        return [effect for name in touched for effect in self._pump(name, now)]

    def _attempted(self, event: Attempted, now: float) -> list[Effect]:
        notice, answer = event.delivery.notice, event.answer
        line = self._lines[notice.endpoint]
        # After a reload of the engine it waits here again, although its attempt was under way.
        known = line.in_flight.pop(notice.event_id, None) or line.held.pop(notice.event_id, None)
        self._counters.attempts[notice.endpoint, answer.outcome.value] += 1
        if answer.outcome in ENDPOINT_FAULTS:
            line.breaker.failed(now, self._settings)
        else:
            line.breaker.worked()
        if answer.outcome is Outcome.DELIVERED:
            settled = Settled(event.delivery, is_done=True)
        else:
            later, dead = after_failure(event.delivery, answer, now, self._seed, self._settings)
            settled = Settled(later, dead)
        if settled.is_done or settled.dead is not None:
            line.waiting = max(0, line.waiting - 1)
            if line.settled is not None:
                line.settled.add(notice.event_id)
        elif known is not None:
            self._hold(line, settled.delivery)
        else:
            line.more_at = min(line.more_at, settled.delivery.next_at)
        if settled.dead is not None:
            self._died(notice.endpoint, settled.dead)
        return [Keep(settled), *self._pump(notice.endpoint, now)]

    def _more_read(self, endpoint: str, deliveries: Sequence[Delivery] | None, now: float) -> list[Effect]:
        line = self._lines[endpoint]
        settled, line.settled = line.settled or set(), None
        if deliveries is None:
            line.more_at = now + _READ_AGAIN_S
            return []
        line.more_at = inf
        for delivery in deliveries:
            event_id = delivery.notice.event_id
            if event_id not in line.in_flight and event_id not in line.held and event_id not in settled:
                self._hold(line, delivery)
        here = len(line.held) + len(line.in_flight)
        if len(deliveries) < self._settings.window_len:
            line.waiting = max(line.waiting, here) if line.more_at < inf else here
        elif line.waiting > here and line.more_at == inf:
            line.more_at = max(d.next_at for d in deliveries)  # the rest is due after all that was read
        return self._pump(endpoint, now)

    def _hold(self, line: _Line, delivery: Delivery) -> None:
        """Keep in memory; when that is full, leave to the store what is due last."""
        line.held[delivery.notice.event_id] = delivery
        if len(line.held) + len(line.in_flight) <= self._settings.window_len:
            return
        last = max(line.held.values(), key=_due_order)
        del line.held[last.notice.event_id]
        line.more_at = min(line.more_at, last.next_at)

    def _pump(self, name: str, now: float) -> list[Effect]:
        line, effects = self._lines[name], list[Effect]()
        due = sorted((d for d in line.held.values() if d.next_at <= now), key=_due_order)
        room = line.breaker.room(len(line.in_flight), self._settings.in_flight_max, now) if due else 0
        for delivery in due[:room]:
            del line.held[delivery.notice.event_id]
            line.in_flight[delivery.notice.event_id] = delivery
            effects.append(Send(delivery))
        if line.more_at <= now and self._reads(line):
            line.settled = set()
            effects.append(ReadMore(name))
        return effects

    def _reads(self, line: _Line) -> bool:
        """Whether more is read once ``more_at`` has come: not while plenty of what is due before it is here."""
        if line.settled is not None or line.more_at == inf:
            return False
        before = sum(1 for delivery in line.held.values() if delivery.next_at <= line.more_at)
        return before + len(line.in_flight) < max(1, self._settings.window_len // 2)

    def _line_deadline(self, line: _Line) -> float:
        first = min((delivery.next_at for delivery in line.held.values()), default=inf)
        is_half_open = line.breaker.state is BreakerState.HALF_OPEN
        if line.breaker.state is BreakerState.OPEN:
            first = max(first, line.breaker.open_until)
        elif len(line.in_flight) >= (1 if is_half_open else self._settings.in_flight_max):
            first = inf  # the end of an attempt comes first
        return min(first, line.more_at) if self._reads(line) else first

    def _died(self, endpoint: str, why: Dead) -> None:
        self._counters.dead[endpoint, why.value] += 1


def _due_order(delivery: Delivery) -> tuple[float, str]:
    return delivery.next_at, delivery.notice.event_id
