"""Makes attempts outside the hub: ``safety.ports.Pager`` over the channels that the config names.

Each channel has a queue of its own and a few workers, so that one that hangs holds no other; an attempt has its
budget and no longer; a channel that fails again and again is left alone for a moment and tried once. What is told
becomes of every attempt goes back to safety, which decides what follows. Exercises and tests go through all of it
but the last hop.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from core.clock import Clock
from core.ids import UserId
from safety import synthetic
from safety.call_plan import SYNTHETIC
from safety.events import PageSettled, SendPage
from safety.model import CapStatus, Incident
from safety.page_text import PageMessage, compose
from safety.pages import (
    GOOD_OUTCOMES,
    Address,
    Channel,
    Page,
    PageOutcome,
    Phonebook,
    Reachable,
    RecipientKind,
    contact_of_subject,
    line_of,
)
from safety.reach import ReachSettings
from transport.breaker import Breaker
from transport.page_channel import PageChannel

_log = logging.getLogger(__name__)
QUEUE_LEN_MAX: Final = 10_000
"""Attempts of one channel that wait for a worker; one more is left alone, and made again later."""
_STALE_S: Final = 10.0
"""An attempt that waited this long has been given up by safety, or will be in a moment."""
_NO_VERDICT: Final = frozenset({PageOutcome.REFUSED, PageOutcome.NO_ADDRESS, PageOutcome.LEFT_ALONE})
"""Outcomes that say nothing about whether the channel works."""


@dataclass(slots=True)
class _Line:
    """One channel in use."""

    channel: PageChannel
    details: bool
    breaker: Breaker
    queue: "deque[tuple[float, SendPage]]" = field(default_factory=deque)
    workers: int = 0


class Pager:
    """Made on a running loop; ``close`` ends it.

    Args:
        clock: The process's.
        settings: Budgets and words.
        channels: By line: ``sms``, ``voice``, ``push``, ``email``, ``log``, ``robot:<name>``, ``webhook:<name>``.
        phonebook: How people are reached.
        settled: Takes the results.
    """

    def __init__(
        self,
        clock: Clock,
        settings: ReachSettings,
        channels: Mapping[str, PageChannel],
        phonebook: Phonebook,
        settled: Callable[[PageSettled], None],
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._phonebook = phonebook
        self._settled = settled
        self._tasks: set[asyncio.Task[None]] = set()
        self._lines = {
            name: _Line(channel, _details(settings, name), Breaker(settings.breaker_failures, settings.breaker_rest_s))
            for name, channel in channels.items()
        }
        self.working: Counter[str] = Counter()
        """Good attempts since the start, dry ones included, by line."""

    @property
    def lines(self) -> Mapping[str, PageChannel]:
        """Every channel in use, by line."""
        return {name: line.channel for name, line in self._lines.items()}

    def send(self, effect: SendPage) -> None:
        """See the port."""
        name = line_of(effect.pages[0], effect.channel)
        line = self._lines.get(name)
        if line is None:
            self._settle(effect, PageOutcome.NO_ADDRESS)
        elif len(line.queue) >= QUEUE_LEN_MAX:
            self._settle(effect, PageOutcome.LEFT_ALONE)
        else:
            line.queue.append((self._clock.monotonic(), effect))
            if line.workers < self._settings.in_flight_max:
                line.workers += 1
                task = asyncio.get_running_loop().create_task(self._work(name, line))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def alarm(self, what: str, *, without: Collection[str] = ()) -> int:
        """Tell the last resort, the supervisors and the robots that safety itself is not well.

        It goes straight to the channels: whatever decides and stores may be what is broken.

        Args:
            what: In words.
            without: Lines that are known not to work.

        Returns:
            How many messages were taken.
        """
        settings = self._settings
        last = settings.last_resort
        people = [Address("last_resort", last.phone, last.email)]
        people += [Address(name, one.phone, one.email) for name, one in settings.supervisors.items()]
        attempts: list[tuple[str, Address]] = []
        for name in self._lines:
            if name in without:
                continue
            match name.partition(":")[0]:
                case Channel.SMS | Channel.VOICE:
                    attempts += [(name, who) for who in people if who.phone]
                case Channel.EMAIL:
                    attempts += [(name, who) for who in people if who.email]
                case Channel.ROBOT:
                    attempts.append((name, Address(name)))
                case Channel.LOG if last.log:
                    attempts.append((name, people[0]))
        told = await asyncio.gather(*(self._tell(self._lines[name], who, what) for name, who in attempts))
        return sum(told)

    async def _tell(self, line: _Line, who: Address, what: str) -> bool:
        now = self._clock.now()
        message = PageMessage(
            event_id=f"evt_{blake2b(f'{what}/{who.name}/{now}'.encode(), digest_size=16).hexdigest()}",
            tenant=synthetic.TENANT,
            recipient=who.name,
            user="",
            phone=who.phone,
            email=who.email,
            title=f"SOS · {what}",
            lines=(),
            url="",
            incidents=(),
            reason="not_well",
            level=0,
            cap_status=CapStatus.ACTUAL,
            at=now,
        )
        try:
            async with asyncio.timeout(self._settings.attempt_timeout_s):
                return await line.channel.send(message, dry=False) is PageOutcome.TAKEN
        except Exception:  # noqa: BLE001 - one channel's fault must not keep the others from telling
            _log.exception("an alarm was not told")
            return False

    def renew(self, channels: Mapping[str, PageChannel]) -> None:
        """Use other channels of the same lines from the next attempt on: their secrets have changed."""
        for name, channel in channels.items():
            if name in self._lines:
                self._lines[name].channel = channel

    async def close(self) -> None:
        """Give up what is under way: it is made again after the start. Idempotent."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self, name: str, line: _Line) -> None:
        """One worker of a line, until nothing waits."""
        try:
            while line.queue:
                queued_at, effect = line.queue.popleft()
                if self._clock.monotonic() - queued_at > _STALE_S:
                    self._settle(effect, PageOutcome.LEFT_ALONE)
                    continue
                outcome = await self._attempt(name, line, effect)
                if outcome in GOOD_OUTCOMES:
                    self.working[name] += 1
                self._settle(effect, outcome)
        finally:
            line.workers -= 1

    async def _attempt(self, name: str, line: _Line, effect: SendPage) -> PageOutcome:
        message = self._message(effect, details=line.details)
        if message is None:
            return PageOutcome.NO_ADDRESS
        if not line.breaker.may_try(self._clock.monotonic()):
            return PageOutcome.LEFT_ALONE
        dry = effect.incident.cap_status is not CapStatus.ACTUAL
        try:
            async with asyncio.timeout(self._settings.attempt_timeout_s):
                outcome = await line.channel.send(message, dry=dry)
        except TimeoutError:
            outcome = PageOutcome.TIMEOUT
        except Exception:  # noqa: BLE001 - a fault of one channel must not end the others
            _log.exception("a channel broke", extra={"line": name})
            outcome = PageOutcome.FAILED
        if outcome in GOOD_OUTCOMES:
            line.breaker.worked()
        elif outcome not in _NO_VERDICT:
            line.breaker.failed(self._clock.monotonic())
        if outcome not in GOOD_OUTCOMES:
            _log.error("somebody could not be called", extra={"line": name, "outcome": outcome.value, "dry": dry})
        return outcome

    def _message(self, effect: SendPage, *, details: bool) -> PageMessage | None:
        """What to say, None when there is no address to say it to."""
        page, incident = effect.pages[0], effect.incident
        who = self._address(page, incident)
        phone, email = (who.phone, who.email) if who is not None else ("", "")
        if (effect.channel in (Channel.SMS, Channel.VOICE) and not phone) or (
            effect.channel is Channel.EMAIL and not email
        ):
            return None
        subject = contact_of_subject(incident, self._phonebook) if details else None
        return compose(
            effect.channel,
            effect.incidents,
            effect.pages,
            self._clock.now(),
            language=self._settings.language,
            details=details,
            console_url=self._settings.console_url,
            phone=phone,
            email=email,
            name_of=subject.name if subject is not None else "",
        )

    def _address(self, page: Page, incident: Incident) -> Reachable | None:
        settings = self._settings
        match page.kind:
            case RecipientKind.PERSON:
                return self._phonebook.of(incident.tenant, UserId(page.name))
            case RecipientKind.CONTACT:
                known = contact_of_subject(incident, self._phonebook)
                nth = int(page.name) - 1
                return known.emergency[nth] if known is not None and nth < len(known.emergency) else None
            case RecipientKind.SUPERVISOR if page.name == SYNTHETIC.name:
                return SYNTHETIC
            case RecipientKind.SUPERVISOR if page.name in settings.supervisors:
                one = settings.supervisors[page.name]
                return Address(page.name, one.phone, one.email)
            case RecipientKind.LAST_RESORT:
                return Address(page.name, settings.last_resort.phone, settings.last_resort.email)
        return None

    def _settle(self, effect: SendPage, outcome: PageOutcome) -> None:
        self._settled(PageSettled(effect.pages, effect.channel, outcome))


def _details(settings: ReachSettings, line: str) -> bool:
    """Whether names and places may stand in the messages of a line."""
    kind, _, name = line.partition(":")
    match kind:
        case Channel.ROBOT:
            return settings.robots[name].details
        case Channel.WEBHOOK:
            return settings.webhooks[name].details
        case Channel.SMS:
            return settings.sms.details
        case Channel.VOICE:
            return settings.voice.details
        case Channel.EMAIL:
            return True
    return False
