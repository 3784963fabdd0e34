"""Decides who is called outside the hub about an incident, by which channel and when. Pure.

Each ring of an incident is a new round of its pages (``pages.py``), stored with it. The clocks of a round: push
after 3 s without a receipt of a device, a short message after 10 s, a call after 30 s; robots and other systems at
once; supervisors at once when no console is connected; the last resort when nobody can be reached and at the last
level. A receipt spares one person's hops; a human acknowledgement those of everybody but the owner and whoever was
asked to go there and has not answered. Nothing else ends a hop that failed: it is tried again, ever less often, as
long as the incident rings.

Nothing here can mute or limit: a line (a robot, a person's phone) whose rate is used up takes the rest in one message.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from core.ids import IncidentId, TenantId, UserId
from safety.call_plan import DESKS, NEWS, Call, CallPlan, waits_for
from safety.deadlines import Deadlines
from safety.events import (
    PERSONAL,
    UNHEARD,
    Effect,
    NotifyTargets,
    PageSettled,
    Reason,
    SendPage,
    SoundAlarm,
    UpdateTargets,
)
from safety.model import Incident, IncidentState
from safety.pages import (
    GOOD_OUTCOMES,
    HOP_MOVES,
    Channel,
    Hop,
    HopState,
    HopStep,
    Page,
    PageOutcome,
    RecipientKind,
)
from safety.rates import Lines, Rate
from safety.reach import ReachSettings, RobotKind

NOBODY_TO_TELL: Final = "nobody_to_tell"
"""The alarm of an incident that has no target at all."""
LOST_AFTER_S: Final = 15.0
"""An attempt without a result is made again after this; its own budget is a fifth of it."""
ROBOT_RATES: Final = {
    # In any minute less than the service allows (20, 20, 100 and 5 a second): DingTalk mutes for 10 min beyond it.
    RobotKind.DINGTALK: Rate(per_min=15, burst=4),
    RobotKind.WECOM: Rate(per_min=15, burst=4),
    RobotKind.FEISHU: Rate(per_min=90, burst=3),
}
PERSON_RATES: Final = {
    Channel.PUSH: Rate(per_min=12, burst=4),
    Channel.SMS: Rate(per_min=6, burst=3),
    Channel.VOICE: Rate(per_min=2, burst=1),
    Channel.EMAIL: Rate(per_min=6, burst=3),
    Channel.WEBHOOK: Rate(per_min=600, burst=60),
    Channel.LOG: Rate(per_min=600, burst=60),
}
"""For one person or system: what more comes than somebody can take in is told in one message."""
FORGET_EVERY_S: Final = 60.0
_Key = tuple[IncidentId, str]


@dataclass(frozen=True, slots=True)
class _Due:
    """A hop that is to be tried now."""

    incident: Incident
    page: Page
    hop: Hop


@dataclass(slots=True)
class PageCounters:
    """What became of attempts since the start, for metrics."""

    outcomes: dict[tuple[str, str], int]
    """By channel and outcome."""
    merged: int = 0
    """Incidents told in a message with others."""


class Paging:
    """The pages of all incidents in memory.

    Args:
        settings: Channels and their pauses.
        plan: Whom a ring calls, and when.
        incident_of: The incident as it is now, None once it is forgotten.
    """

    def __init__(
        self,
        settings: ReachSettings,
        plan: CallPlan,
        incident_of: Callable[[TenantId, IncidentId], Incident | None],
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._incident_of = incident_of
        self._deadlines: Deadlines[IncidentId] = Deadlines()
        self._lines = Lines()
        self._changes: dict[_Key, Page] = {}
        self._pages: dict[IncidentId, dict[str, Page]] = {}
        self._forget_at = 0.0
        self.counters = PageCounters({})

    # -- state in and out -----------------------------------------------------------------------------

    def load(self, pages: Iterable[Page]) -> None:
        """Replace everything by what is stored; an attempt without a result is due again at once."""
        self._pages.clear()
        self._changes.clear()
        self._deadlines.clear()
        self.adopt(pages)

    def adopt(self, pages: Iterable[Page]) -> None:
        """Put pages on top of what was loaded."""
        touched = set()
        for page in pages:
            hops = tuple(
                replace(hop, state=HopState.WAITING, due_at=hop.begun_at or hop.due_at)
                if hop.state is HopState.SENDING
                else hop
                for hop in page.hops
            )
            self._pages.setdefault(page.incident_id, {})[page.recipient] = replace(page, hops=hops)
            touched.add(page.incident_id)
        for incident_id in sorted(touched):
            self._arm(incident_id)

    def take_changes(self) -> dict[_Key, Page]:
        """Pages that changed since the last call."""
        changes, self._changes = self._changes, {}
        return changes

    def pages(self, incident_id: IncidentId) -> Sequence[Page]:
        """Everybody who was called about an incident in memory, by recipient."""
        return [page for _, page in sorted(self._pages.get(incident_id, {}).items())]

    def forget(self, now: float) -> None:
        """Let go of the pages of incidents that nobody knows any more. Cost: O(n), once a minute."""
        if now < self._forget_at:
            return
        self._forget_at = now + FORGET_EVERY_S
        for incident_id, pages in list(self._pages.items()):
            if self._incident_of(next(iter(pages.values())).tenant, incident_id) is None:
                self._drop(incident_id)

    def _drop(self, incident_id: IncidentId) -> None:
        del self._pages[incident_id]
        self._deadlines.set(incident_id, None)

    # -- what happened --------------------------------------------------------------------------------

    def follow(self, effects: Sequence[Effect], now: float) -> None:
        """Plan what the effects of one decision mean outside the hub; each holds its incident as it is now."""
        rings: dict[IncidentId, list[Reason]] = {}
        incidents: dict[IncidentId, Incident] = {}
        for effect in effects:
            incident = effect.incident
            incidents[incident.incident_id] = incident
            reasons = rings.setdefault(incident.incident_id, [])
            match effect:
                case NotifyTargets(_, targets, reason):
                    if reason not in PERSONAL:
                        reasons.append(reason)
                    for call in self._plan.people(incident, targets, reason, now):
                        self._call(incident, call, reason, now)
                case UpdateTargets(_, _, reason) if reason in NEWS or reason is Reason.WIDENED:
                    reasons.append(reason)
                case SoundAlarm(_, what) if what == NOBODY_TO_TELL:
                    reasons.append(Reason.REPEATED)
        for incident_id, incident in incidents.items():
            self._spare(incident)
            if rings[incident_id]:
                reason = rings[incident_id][0]
                for call in self._plan.desks(incident, reason, self.pages(incident_id), now):
                    self._call(incident, call, reason, now)
                self._spare(incident)
            self._arm(incident_id)

    def received(self, incident_id: IncidentId, user: UserId, now: float) -> None:
        """A device of theirs has confirmed a message about the incident: no need to call."""
        page = self._pages.get(incident_id, {}).get(f"{RecipientKind.PERSON}:{user}")
        if page is None or page.received_at is not None:
            return
        self._put(replace(page, received_at=now))
        incident = self._incident_of(page.tenant, incident_id)
        if incident is not None:
            self._spare(incident)
        self._arm(incident_id)

    def settled(self, event: PageSettled, now: float) -> None:
        """An attempt has its result."""
        self._count(event.channel, event.outcome)
        for began in event.pages:
            page = self._pages.get(began.incident_id, {}).get(began.recipient)
            hop = _hop(page, event.channel)
            if page is None or hop is None or hop.state is not HopState.SENDING:
                continue  # long forgotten, or given up as lost
            if hop.attempts != getattr(_hop(began, event.channel), "attempts", 0):
                continue  # given up as lost, and a later one is under way
            self._put(_with(page, self._after(hop, event.outcome, now)))
            incident = self._incident_of(page.tenant, page.incident_id)
            if incident is not None:
                self._spare(incident)
            self._arm(page.incident_id)

    def _count(self, channel: Channel, outcome: PageOutcome) -> None:
        count = self.counters.outcomes
        count[channel.value, outcome.value] = count.get((channel.value, outcome.value), 0) + 1

    # -- timers ---------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When a hop is due next. Cost: amortised O(log n)."""
        return self._deadlines.next_at()

    def begin(self, now: float) -> list[Effect]:
        """Begin the attempts that are due: one message for each line, or as many as it takes now."""
        lines: dict[str, list[_Due]] = {}
        due = self._deadlines.due(now)
        for incident_id in due:
            for waiting in self._due_of(incident_id, now):
                lines.setdefault(_line(waiting.page, waiting.hop.channel), []).append(waiting)
        effects: list[Effect] = []
        for line, together in lines.items():
            together.sort(key=lambda one: (one.hop.due_at, one.incident.incident_id))
            effects += self._begin_line(line, together, now)
        for incident_id in due:
            self._arm(incident_id)
        return effects

    def _due_of(self, incident_id: IncidentId, now: float) -> "list[_Due]":
        """What of an incident is to be tried now; attempts that were lost are given up before."""
        found: list[_Due] = []
        for page in self.pages(incident_id):
            incident = self._incident_of(page.tenant, incident_id)
            if incident is None:
                self._drop(incident_id)  # nobody can be told of it: else it would be due for ever
                return []
            for hop in page.hops:
                if hop.state is HopState.SENDING and (_acts_at(hop) or now) <= now:
                    self._count(hop.channel, PageOutcome.TIMEOUT)
                    lost = replace(self._after(hop, PageOutcome.TIMEOUT, now), due_at=now)
                    self._put(_with(self._current(page), lost))
            self._spare(incident)
            page = self._current(page)
            found += [
                _Due(incident, page, hop)
                for hop in page.hops
                if hop.state is HopState.WAITING and hop.due_at <= now
            ]  # fmt: skip
        return found

    def overdue_s(self, now: float) -> float:
        """How late the latest hop is, or how long beyond its budget an attempt has no result; 0 for nothing."""
        late_s = 0.0
        for pages in self._pages.values():
            for page in pages.values():
                for hop in page.hops:
                    if hop.state is HopState.WAITING:
                        late_s = max(late_s, now - hop.due_at)
                    elif hop.state is HopState.SENDING:
                        late_s = max(late_s, now - (hop.begun_at or now) - self._settings.attempt_timeout_s)
        return late_s

    def _begin_line(self, line: str, waiting: "Sequence[_Due]", now: float) -> list[Effect]:
        """One line's messages now; when there are more than it takes, the last one holds all that are left."""
        rate = self._rate(waiting[0].page, waiting[0].hop.channel)
        room = self._lines.room(line, rate, now)
        if room == 0:
            at = self._lines.next_at(line, rate, now)
            for held in waiting:
                # Held back by the line and not by us: not overdue.
                self._put(_with(self._current(held.page), replace(held.hop, due_at=at)))
            return []
        alone = waiting if len(waiting) <= room else waiting[: room - 1]
        together = waiting[len(alone) :]
        self._lines.take(line, rate, len(alone) + bool(together), now)
        effects: list[Effect] = [self._send((one,), now) for one in alone]
        if together:
            self.counters.merged += len(together)
            effects.append(self._send(together, now))
        return effects

    def _send(self, told: "Sequence[_Due]", now: float) -> SendPage:
        pages = []
        for one in told:
            begun = replace(
                one.hop,
                state=HOP_MOVES[one.hop.state, HopStep.BEGUN],
                attempts=one.hop.attempts + 1,
                begun_at=now,
                merged=len(told) > 1,
            )
            page = _with(self._current(one.page), begun)
            self._put(page)
            pages.append(page)
        return SendPage(told[0].hop.channel, tuple(one.incident for one in told), tuple(pages))

    def _after(self, hop: Hop, outcome: PageOutcome, now: float) -> Hop:
        if outcome in GOOD_OUTCOMES:
            state = HOP_MOVES[hop.state, HopStep.TOOK]
            return replace(hop, state=state, failures=0, outcome=outcome, settled_at=now)
        failures = hop.failures + 1
        pause_s = min(self._settings.retry_first_s * 2.0 ** min(failures - 1, 16), self._settings.retry_longest_s)
        return replace(
            hop,
            state=HOP_MOVES[hop.state, HopStep.FAILED],
            failures=failures,
            outcome=outcome,
            settled_at=now,
            due_at=now + pause_s,
        )

    # -- rounds ---------------------------------------------------------------------------------------

    def _call(self, incident: Incident, call: Call, reason: Reason, now: float) -> None:
        """A new round of a page: its hops with new clocks, those under way left alone."""
        known = self._pages.get(incident.incident_id, {}).get(f"{call.kind}:{call.name}")
        hops = {hop.channel: hop for hop in known.hops} if known is not None else {}
        for channel, due_at in call.channels:
            old = hops.get(channel)
            if old is None:
                hops[channel] = Hop(channel, HopState.WAITING, due_at)
            elif old.state is HopState.WAITING:
                # A hop that is being tried again must not wait longer because it rings once more.
                hops[channel] = replace(old, due_at=min(old.due_at, due_at))
            elif old.state is not HopState.SENDING:  # one under way tells of it just now
                hops[channel] = replace(old, state=HOP_MOVES[old.state, HopStep.CALLED], due_at=due_at, failures=0)
        self._put(
            Page(
                tenant=incident.tenant,
                incident_id=incident.incident_id,
                kind=call.kind,
                name=call.name,
                round=known.round + 1 if known is not None else 1,
                reason=reason,
                level=incident.level,
                told_at=now,
                hops=tuple(hops.values()),
            )
        )

    def _spare(self, incident: Incident) -> None:
        """Take back what waits and is not wanted any more."""
        for page in self.pages(incident.incident_id):
            hops = tuple(
                replace(hop, state=HOP_MOVES[hop.state, HopStep.SPARE])
                if hop.state is HopState.WAITING and not self._is_wanted(incident, page, hop)
                else hop
                for hop in page.hops
            )
            if hops != page.hops:
                self._put(replace(page, hops=hops))

    def _is_wanted(self, incident: Incident, page: Page, hop: Hop) -> bool:
        """Whether a hop that waits is still to be done."""
        if incident.state is IncidentState.CANCEL_PENDING and self._is_irrevocable(page, hop):
            return False  # the subject took it back; it rings again should nobody verify that
        return _is_called(incident, page)

    def _is_irrevocable(self, page: Page, hop: Hop) -> bool:
        """Whether it costs money or alarms people outside the house: what the abort window is for."""
        hook = self._settings.webhooks.get(page.name) if page.kind is RecipientKind.WEBHOOK else None
        is_external = hook is not None and hook.external
        is_news = page.reason == Reason.RESOLVED
        # That nobody calls the subject back is said to people of the house, and aloud.
        is_loud = hop.channel is Channel.VOICE and page.reason != Reason.CALL_BACK_DUE
        return not is_news and (is_loud or page.kind is RecipientKind.CONTACT or is_external)

    def _rate(self, page: Page, channel: Channel) -> Rate:
        robot = self._settings.robots.get(page.name) if channel is Channel.ROBOT else None
        return ROBOT_RATES[robot.kind] if robot is not None else PERSON_RATES.get(channel, Rate(6, 3))

    # -- keeping --------------------------------------------------------------------------------------

    def _current(self, page: Page) -> Page:
        return self._pages[page.incident_id][page.recipient]

    def _put(self, page: Page) -> None:
        self._pages.setdefault(page.incident_id, {})[page.recipient] = page
        self._changes[page.incident_id, page.recipient] = page

    def _arm(self, incident_id: IncidentId) -> None:
        hops = (hop for page in self._pages.get(incident_id, {}).values() for hop in page.hops)
        self._deadlines.set(incident_id, min((at for hop in hops if (at := _acts_at(hop)) is not None), default=None))

    def check(self) -> None:
        """Assert what must always hold. Raises ``AssertionError``."""
        for incident_id, pages in self._pages.items():
            acts = [at for page in pages.values() for hop in page.hops if (at := _acts_at(hop)) is not None]
            if self._deadlines.of(incident_id) != min(acts, default=None):
                raise AssertionError(f"{incident_id}: its deadline is lost")
            for page in pages.values():
                incident = self._incident_of(page.tenant, incident_id)
                if len({hop.channel for hop in page.hops}) < len(page.hops):
                    raise AssertionError(f"{incident_id}: {page.recipient} has a channel twice")
                waiting = [hop for hop in page.hops if hop.state is HopState.WAITING]
                if incident is not None and any(offer.user == page.name for offer in incident.offers):
                    continue  # an offer runs out without a word: its hop is spared when its turn comes
                if incident is not None and not all(self._is_wanted(incident, page, hop) for hop in waiting):
                    raise AssertionError(f"{incident_id}: {page.recipient} waits in vain")


def _acts_at(hop: Hop) -> float | None:
    """When a hop acts by itself next."""
    if hop.state is HopState.WAITING:
        return hop.due_at
    return (hop.begun_at or hop.due_at) + LOST_AFTER_S if hop.state is HopState.SENDING else None


def _is_called(incident: Incident, page: Page) -> bool:
    """Whether somebody is still to be called."""
    if page.kind in DESKS or page.reason == Reason.RESOLVED:
        return True
    if not incident.is_active or page.received_at is not None:
        return False
    if incident.owner is None or page.reason in PERSONAL:
        return True
    is_person = page.kind is RecipientKind.PERSON
    if is_person and waits_for(incident, UserId(page.name)):
        return True
    # Whoever took it has heard; only what rang since then must still reach them.
    is_since = page.told_at > (incident.acknowledged_at or 0.0)
    return is_since and ((is_person and page.name == incident.owner) or _is_unheard(incident, page))


def _is_unheard(incident: Incident, page: Page) -> bool:
    """Whether what rang over the owner's head still stands."""
    match page.reason:
        case Reason.NOBODY_COMES:
            return not incident.coming
        case Reason.ACK_STALE:
            return incident.quiet_since is not None
        case Reason.CALL_BACK_DUE:
            return incident.call_back_by is not None
        case _:
            return page.reason in UNHEARD


def _line(page: Page, channel: Channel) -> str:
    """What shares one rate: a robot, a system, a person's phone."""
    if page.kind in (RecipientKind.PERSON, RecipientKind.CONTACT):
        # A contact belongs to one subject, and a person to one tenant.
        owner = page.incident_id if page.kind is RecipientKind.CONTACT else page.tenant
        return f"{channel}:{owner}/{page.recipient}"
    return f"{channel}:{page.recipient}"


def _hop(page: Page | None, channel: Channel) -> Hop | None:
    return next((hop for hop in page.hops if hop.channel is channel), None) if page is not None else None


def _with(page: Page, hop: Hop) -> Page:
    return replace(page, hops=tuple(hop if one.channel is hop.channel else one for one in page.hops))
