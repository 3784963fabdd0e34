"""What care is told (past tense) and what it wants done (imperative). No behaviour."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.ids import CityId, IncidentId, TenantId, UserId
from safety.care_model import Alarm, Answer, Check, Job, Watch, WatchId


@dataclass(frozen=True, slots=True)
class JobChanged:
    """A job is in a new state, or something else of it is new. Never refused; what is known already is no news."""

    job: Job


@dataclass(frozen=True, slots=True)
class JobsFound:
    """All jobs of these cities as they are now, after a start: what is not among them is over.

    Attributes:
        cities: Those that could be read; the watches of others go on.
    """

    jobs: Sequence[Job]
    cities: frozenset[tuple[TenantId, CityId]]


@dataclass(frozen=True, slots=True)
class CheckAnswered:
    """One tap. Refused: ``not_found`` for ``ok`` to a check that is not theirs or long gone; nothing else ever is."""

    tenant: TenantId
    who: UserId
    check_id: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class AlarmStored:
    """An alarm became an incident, durably. Never refused."""

    watch_id: WatchId
    key: str
    incident_id: IncidentId


CareEvent = JobChanged | JobsFound | CheckAnswered | AlarmStored


class Line(StrEnum):
    """What the console reads of a job (the wire's words)."""

    LOST_CONTACT = "lost_contact"
    CONTACT_BACK = "contact_back"
    UNANSWERED = "unanswered"
    """A question became an incident."""
    ANSWERED_LATE = "answered_late"
    """It was answered after that; the incident stands until people end it."""


@dataclass(frozen=True, slots=True)
class AskPerson:
    """Show a check to these people as it stands now: announced, asked, answered, or not needed any more."""

    watch: Watch
    check: Check
    people: tuple[UserId, ...]


@dataclass(frozen=True, slots=True)
class TellConsole:
    """A line for ops of the city."""

    watch: Watch
    line: Line
    at: float
    check: Check | None = None


@dataclass(frozen=True, slots=True)
class RaiseAlarm:
    """Raise an incident under the alarm's key; answer with ``AlarmStored``."""

    watch: Watch
    alarm: Alarm


CareEffect = AskPerson | TellConsole | RaiseAlarm
