"""The shell around an engine: one bounded mailbox, one task, one timer.

An engine decides and is synchronous; this shell waits for it. Each turn takes ``now`` once, lets the engine
handle a batch, commits, and only then performs. Nothing is handled while a commit is in flight, so what was
true when a decision was made is still true when it is stored.

What fails stays where it failed: an event that breaks the engine costs its batch, a deadline that breaks it is put
off while events go on, and a neighbour that breaks in ``perform`` or ``done`` is logged. A batch that was decided on
what somebody else has changed meanwhile is decided again.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, ParamSpec, TypeVar

from core.clock import Clock
from core.errors import DoorstepError, Unavailable

_log = logging.getLogger(__name__)
_DEADLINES_PUT_OFF_MIN_S: Final = 0.1
_DEADLINES_PUT_OFF_MAX_S: Final = 5.0
"""Pause after a turn with deadlines failed, doubled each time: long enough that reloads do not keep the loop busy,
short enough that offers still expire about when they should once the fault is gone."""
_CONFLICT: Final = "store_conflict"
_CONFLICTS_MAX: Final = 3
"""Commits in a row that may come too late; then somebody else owns what this engine decides on, and callers hear it."""
_MAILBOX_SHARE: Final = 4
"""One place in this many of each batch is the mailbox's: a flood of urgent events must not starve their answers."""

EventT = TypeVar("EventT")
EffectT = TypeVar("EffectT")
P = ParamSpec("P")

Outcome = Sequence[EffectT] | DoorstepError
"""What became of one event: its committed effects, or why it was refused."""

Done = Callable[[Sequence[EffectT] | DoorstepError], None]
"""Told the outcome of one event, after the commit. Must not block; what it raises is only logged."""


class EngineService(Generic[EventT, EffectT]):
    """One engine's mailbox and task. Subclasses say what to decide, how to commit, what to perform.

    Bounds: ``mailbox_len_max`` events wait; one more is refused with ``Unavailable(code="overloaded")``,
    unless it is posted with ``urgent=True``, which always fits and is handled first. A quarter of each batch is kept
    for the mailbox.
    """

    def __init__(self, clock: Clock, *, name: str, mailbox_len_max: int, batch_len_max: int) -> None:
        """Prepare; nothing runs before ``run``."""
        self._clock = clock
        self._name = name
        self._mailbox_len_max = mailbox_len_max
        self._batch_len_max = batch_len_max
        self._mailbox: deque[tuple[EventT, Done[EffectT] | None]] = deque()
        self._urgent: deque[tuple[EventT, Done[EffectT] | None]] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._closed_because = ""
        self._conflicts = 0  # in a row
        self._deadline_faults = 0
        self._deadlines_put_off_until = 0.0  # in clock.monotonic() terms

    # -- what subclasses provide ----------------------------------------------------------------------

    def decide(self, event: EventT, now: float) -> list[EffectT]:
        """Let the engine handle one event. Raises ``DoorstepError`` for a refusal that changed nothing."""
        raise NotImplementedError

    def next_deadline(self) -> float | None:
        """When ``decide_deadlines`` must be called, in the clock's ``now`` terms; None for never."""
        raise NotImplementedError

    def decide_deadlines(self, now: float) -> list[EffectT]:
        """Let the engine act on every deadline that is due, if any is.

        When it raises, the engine is reloaded, and asked again after a pause that grows; events go on meanwhile.
        """
        raise NotImplementedError

    def settle(self, now: float) -> list[EffectT]:
        """Let the engine finish what the whole batch left to do (a matching round). Once a turn, before the commit.

        It is treated like a deadline: after it raised, turns go on without it until the pause is over. So what it does
        must stay due until it is done.
        """
        return []

    async def commit(self, effects: Sequence[EffectT], now: float) -> None:
        """Store what the engine changed in this turn, with its outbox rows, in one transaction.

        Called in every turn in which an event or deadline was handled, with or without effects. An error with code
        ``store_conflict`` says that nothing was stored, because the store is ahead of the engine in something that
        others write too: the batch is decided again on what is stored.
        """
        raise NotImplementedError

    async def discard(self) -> None:
        """The commit failed: bring the engine back to what is stored."""
        raise NotImplementedError

    def perform(self, effects: Sequence[EffectT], now: float) -> None:
        """Do what was committed. What it raises is only logged, and the rest of it is not done."""
        raise NotImplementedError

    # -- what callers use -----------------------------------------------------------------------------

    def post(self, event: EventT, done: Done[EffectT] | None = None, *, urgent: bool = False) -> None:
        """Queue an event.

        Raises:
            Unavailable: The mailbox is full (``overloaded``), the service is stopping (``draining``) or was closed.
        """
        if self._closed_because:
            raise Unavailable(f"{self._name} {self._closed_because}")
        if self._stopping:
            raise Unavailable(f"{self._name} is stopping", code="draining")
        if urgent:
            self._urgent.append((event, done))
        elif len(self._mailbox) >= self._mailbox_len_max:
            raise Unavailable(f"{self._name} has {self._mailbox_len_max} requests waiting", code="overloaded")
        else:
            self._mailbox.append((event, done))
        self._idle.clear()
        self._wake.set()

    async def ask(self, event: EventT, *, urgent: bool = False) -> Sequence[EffectT]:
        """Queue an event and wait for its committed effects; raises what it was refused with."""
        future: asyncio.Future[Sequence[EffectT]] = asyncio.get_running_loop().create_future()

        def done(outcome: Sequence[EffectT] | DoorstepError) -> None:
            if future.done():
                return  # the caller went away; the decision stands
            if isinstance(outcome, DoorstepError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        self.post(event, done, urgent=urgent)
        return await future

    @property
    def waiting(self) -> int:
        """Events in the mailbox."""
        return len(self._mailbox) + len(self._urgent)

    @property
    def is_closed(self) -> bool:
        """Whether it could not begin yet."""
        return bool(self._closed_because)

    def close(self, why: str) -> None:
        """Refuse every event with ``unavailable`` from now on: this service could not begin. ``open`` comes before
        ``run``."""
        self._closed_because = why

    async def open(self) -> None:
        """Take events again; the engine has been loaded, and ``run`` comes next.

        It is loaded once more, until that works: what others had to tell while this service was closed was refused.
        """
        self._closed_because = ""
        try:
            await self._discard_until_done()
        except asyncio.CancelledError:
            self._idle.set()  # as at the end of ``run``
            raise

    async def drain(self) -> None:
        """Wait until the mailbox is empty and its last turn is performed."""
        await self._idle.wait()

    def stop(self) -> None:
        """Take no more events and let ``run`` return once the mailbox is empty. Idempotent."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Handle events and deadlines until ``stop``. One call for the life of the service."""
        try:
            await self._run_until_stopped()
        finally:
            self._idle.set()  # nothing will ever be handled again: whoever drains must not wait for it

    async def _run_until_stopped(self) -> None:
        while True:
            now = self._clock.now()
            due_in_s = self._due_in_s(now)
            is_due = due_in_s is not None and due_in_s <= 0
            if self._urgent or self._mailbox or is_due:
                await self._turn(now, due=is_due)
                continue
            self._idle.set()
            if self._stopping:
                return
            await self._wait(due_in_s)

    def _due_in_s(self, now: float) -> float | None:
        """Seconds until deadlines are to be decided; after a fault when the pause is over, whatever is due then."""
        if self._deadline_faults:
            return self._deadlines_put_off_until - self._clock.monotonic()
        deadline = self.next_deadline()
        return None if deadline is None else deadline - now

    async def _wait(self, limit_s: float | None) -> None:
        self._wake.clear()
        timer = None
        if limit_s is not None:
            timer = asyncio.get_running_loop().call_at(self._clock.monotonic() + limit_s, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _turn(self, now: float, *, due: bool) -> None:
        effects: list[EffectT] = []
        outcomes: list[tuple[Done[EffectT] | None, Sequence[EffectT] | DoorstepError]] = []
        failure: DoorstepError | None = None
        batch: Sequence[tuple[EventT, Done[EffectT] | None]] = ()
        settles = due or not self._deadline_faults
        is_deadline_fault = due
        came_late = False
        try:
            if due:
                effects.extend(self.decide_deadlines(now))
            is_deadline_fault = False
            if not (due and self._deadline_faults):
                # After a fault deadlines are tried in a turn of their own: no event shares their fate.
                batch = self._take_batch()
            for event, done in batch:
                outcomes.append((done, ()))
                try:
                    decided = self.decide(event, now)
                except DoorstepError as refusal:
                    outcomes[-1] = (done, refusal)
                    continue
                effects.extend(decided)
                outcomes[-1] = (done, decided)
            if settles:
                is_deadline_fault = True
                effects.extend(self.settle(now))
        except Exception:
            # A broken invariant: the error holds the engine's story. What it half did must not be stored.
            _log.exception("engine failed; the batch is discarded", extra={"service": self._name})
            failure = DoorstepError("the server failed on this request")
            outcomes.extend((done, failure) for _, done in batch[len(outcomes) :])
        else:
            is_deadline_fault = due
            try:
                await self.commit(effects, now)
            except Exception as error:
                _log.exception("commit failed; the batch is discarded", extra={"service": self._name})
                failure = Unavailable("the change could not be stored", code="store_unavailable")
                came_late = isinstance(error, Unavailable) and error.code == _CONFLICT
        if failure is None:
            self._conflicts = 0
            if due:
                self._deadline_faults = 0
            self._guarded("perform", self.perform, effects, now)
        else:
            await self._discard_until_done()
            if came_late and self._conflicts < _CONFLICTS_MAX:
                self._conflicts += 1
                self._urgent.extendleft(reversed(batch))
                return
            if is_deadline_fault:
                self._put_deadlines_off()
            outcomes = [(done, o if isinstance(o, DoorstepError) else failure) for done, o in outcomes]
        for done, outcome in outcomes:
            if done is not None:
                self._guarded("done", done, outcome)

    def _take_batch(self) -> Sequence[tuple[EventT, Done[EffectT] | None]]:
        """Urgent events first, except for the places that are the mailbox's."""
        kept = min(len(self._mailbox), max(self._batch_len_max // _MAILBOX_SHARE, int(self._batch_len_max > 1)))
        urgent = min(len(self._urgent), self._batch_len_max - kept)
        batch = [self._urgent.popleft() for _ in range(urgent)]
        rest = min(len(self._mailbox), self._batch_len_max - urgent)
        batch.extend(self._mailbox.popleft() for _ in range(rest))
        return batch

    def _put_deadlines_off(self) -> None:
        wait_s = min(_DEADLINES_PUT_OFF_MIN_S * 2 ** min(self._deadline_faults, 16), _DEADLINES_PUT_OFF_MAX_S)
        self._deadline_faults += 1
        self._deadlines_put_off_until = self._clock.monotonic() + wait_s
        _log.error("deadlines are put off", extra={"service": self._name, "wait_s": wait_s})

    def _guarded(self, what: str, call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call somebody else's code after the commit; its fault is logged and must not end the service."""
        try:
            call(*args, **kwargs)
        except Exception:
            _log.exception("what follows a commit failed", extra={"service": self._name, "what": what})

    async def _discard_until_done(self) -> None:
        """An engine that differs from its store must not decide: reload until that works."""
        wait_s = 0.05
        while True:
            try:
                await self.discard()
            except Exception:
                _log.exception("reload failed; trying again", extra={"service": self._name})
            else:
                return
            await pause(wait_s)
            wait_s = min(wait_s * 2, 2.0)


async def pause(wait_s: float) -> None:
    """Wait in the loop's own time, real or virtual. Whoever waits may be cancelled at any moment."""
    loop = asyncio.get_running_loop()
    waited: asyncio.Future[None] = loop.create_future()
    timer = loop.call_later(wait_s, _let_go, waited)
    try:
        await waited
    finally:
        timer.cancel()


def _let_go(waited: "asyncio.Future[None]") -> None:
    # Cancelling the waiter and the timer's turn can fall into one turn of the loop.
    if not waited.done():
        waited.set_result(None)
