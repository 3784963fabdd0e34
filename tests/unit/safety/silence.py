"""The rule that nobody's silence lasts, beside an engine: who was told outside the hub, and since when nobody was."""

from collections.abc import Sequence
from typing import Final

from core.ids import IncidentId, TenantId, UserId
from safety.call_plan import CallPlan
from safety.engine import SafetyEngine
from safety.events import Effect, PageSettled, SendPage
from safety.model import Incident
from safety.pages import Page, PageOutcome, RecipientKind
from safety.paging import Paging
from safety.settings import SafetySettings
from tests.unit.safety.calls import REACH, Person
from tests.unit.safety.neighbourhood import ACME

_OF_PEOPLE: Final = frozenset({RecipientKind.PERSON, RecipientKind.SUPERVISOR, RecipientKind.LAST_RESORT})
_LINE_FULL_S: Final = 15.0
"""As long may a message wait for a line that takes no more just now, and so for the next look."""


def silence_max_s(settings: SafetySettings) -> float:
    """How long all people of an active incident may be silent until somebody else is called."""
    waits = (settings.ack_stale_s, settings.cancel_verify_s, settings.assign_within_s, settings.repeat_s)
    return max(waits) + settings.reach.sms_after_s + _LINE_FULL_S


class Silence:
    """Calls of one engine's incidents, all of which are taken at once; one console is connected, and nobody looks."""

    def __init__(self, settings: SafetySettings) -> None:
        self._limit_s = silence_max_s(settings)
        self.since: dict[IncidentId, float] = {}
        self.stored: list[Page] = []

    def watch(self, engine: SafetyEngine) -> None:
        """From now on that engine: a new process, with the pages that are on the disk."""
        self.engine = engine
        plan = CallPlan(REACH, with_push=False, phonebook=self, presence=self)
        self.paging = Paging(REACH, plan, engine.incident)

    def of(self, tenant: TenantId, user: UserId) -> Person:
        del tenant
        return Person(user, "138")

    def online(self, tenant: TenantId, user: UserId) -> bool:
        del tenant
        return user == "ops_0"

    def commit(self) -> None:
        """Pages are stored with their incidents."""
        changed = self.paging.take_changes()
        kept = {(page.incident_id, page.recipient): page for page in self.stored}
        self.stored = list({**kept, **changed}.values())

    def restart(self, now: float) -> None:
        """A crash: nobody can be blamed for the time before."""
        known = [page for page in self.stored if self.engine.incident(ACME, page.incident_id) is not None]
        self.paging.load(known)
        self.excuse(now)

    def excuse(self, now: float) -> None:
        """Somebody did something, or nothing could be done: count from now for all of them."""
        self.since = {incident.incident_id: now for incident in self.engine.active()}

    def said(self, incident_id: IncidentId, now: float) -> None:
        """Somebody did something for an incident."""
        self.since[incident_id] = now

    def follow(self, effects: Sequence[Effect], now: float) -> None:
        """What was decided, and the calls that are due."""
        self.paging.follow(effects, now)
        for effect in self.paging.begin(now):
            assert isinstance(effect, SendPage)
            for page in effect.pages:
                incident = self.engine.incident(ACME, page.incident_id)
                if incident is not None and page.kind in _OF_PEOPLE and page.name not in hands(incident):
                    self.since[page.incident_id] = now
            self.paging.settled(PageSettled(effect.pages, effect.channel, PageOutcome.TAKEN), now)
        self.paging.check()

    def next_deadline(self) -> float | None:
        return self.paging.next_deadline()

    def check(self, now: float) -> None:
        """Assert that no silence lasts."""
        for incident in self.engine.active():
            silent_s = now - self.since.setdefault(incident.incident_id, now)
            assert silent_s <= self._limit_s, "\n  ".join(
                (f"silent for {silent_s:.0f} s at level {incident.level}", *self.engine.story(incident.incident_id))
            )


def hands(incident: Incident) -> set[str]:
    """Those on whom everybody else relies."""
    return {slot.user for slot in incident.slots} | ({incident.owner} if incident.owner is not None else set())
