"""Values of care: jobs that are watched, the questions asked of people, the alarms that follow. No behaviour.

A question is called a check whatever it is about; the regular one is a check-in.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NewType

from core.ids import CityId, IncidentId, OrderId, TenantId, UserId
from geo.point import LatLng

WatchId = NewType("WatchId", str)

CHECK_PREFIX: Final = "chk_"
WATCH_PREFIX: Final = "wch_"
CHECKS_KEPT_MAX: Final = 200
"""Checks of one job that are kept; beyond it those that ended first are forgotten."""


class JobState(StrEnum):
    """Where a job is, as far as it matters who is where."""

    EN_ROUTE = "en_route"
    ARRIVED = "arrived"
    IN_SERVICE = "in_service"
    FINISHED = "finished"
    OVER = "over"
    """Left safely, called off, or taken from its technician."""


@dataclass(frozen=True, slots=True)
class Job:
    """What care must know of an order.

    Attributes:
        version: Of the order; an older fact never replaces a newer one.
        since: When it came into its state.
        expected_at: While on the way: when the technician should be there; None for unknown.
        ends_at: In service: the planned end, added time included.
    """

    tenant: TenantId
    city: CityId
    order_id: OrderId
    version: int
    state: JobState
    technician: UserId
    customer: UserId
    service: str
    site: LatLng
    since: float
    expected_at: float | None = None
    ends_at: float | None = None


class CheckKind(StrEnum):
    """Why somebody is asked (the wire's words)."""

    CHECK_IN = "check_in"
    OVERDUE = "overdue"
    ARRIVAL = "arrival"
    LEAVING = "leaving"
    STOP = "stop"
    DETOUR = "detour"
    SILENCE = "silence"
    """Nobody is asked: there is no sign of the phone."""


class CheckState(StrEnum):
    """Where a check is in its life; the arrows are in ``checks.py``."""

    PLANNED = "planned"
    REMINDED = "reminded"
    ASKED = "asked"
    UNCONFIRMED = "unconfirmed"
    PANIC = "panic"
    ANSWERED = "answered"
    DROPPED = "dropped"
    """The job went on, or what it was about has passed."""


class Answer(StrEnum):
    """What one tap says."""

    OK = "ok"
    NO = "no"
    """All is not well, and whoever stands beside must not know: answered like ``ok``."""
    HELP = "help"


@dataclass(frozen=True, slots=True)
class Check:
    """One question and the moments of its stages; None for a stage that it does not have.

    Attributes:
        asked: Who is asked: the technician first, for some kinds the customer too.
        at: Where the technician was, for what was seen on the way.
        answer: The technician's.
        said: What anybody else answered.
        is_spared: It was given more time after a restart already.
    """

    check_id: str
    kind: CheckKind
    state: CheckState
    asked: tuple[UserId, ...]
    remind_at: float | None = None
    ask_at: float | None = None
    unconfirmed_at: float | None = None
    panic_at: float | None = None
    at: LatLng | None = None
    answer: Answer | None = None
    changed_at: float = 0.0
    said: tuple[tuple[UserId, Answer], ...] = ()
    is_spared: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it still waits for an answer."""
        return self.state not in (CheckState.ANSWERED, CheckState.DROPPED)


class Cause(StrEnum):
    """Why care raises an incident (``Trigger.cause``)."""

    CHECKIN_MISSED = "checkin_missed"
    CHECKIN_NO = "checkin_no"
    CHECKIN_HELP = "checkin_help"
    SERVICE_OVERDUE = "service_overdue"
    ARRIVAL_OVERDUE = "arrival_overdue"
    LOST_LEAVING = "lost_leaving"
    ABNORMAL_STOP = "abnormal_stop"
    DETOUR = "detour"
    SILENCE = "silence"


class Gravity(StrEnum):
    """How an alarm is raised."""

    UNCONFIRMED = "unconfirmed"
    PANIC = "panic"
    DURESS = "duress"


@dataclass(frozen=True, slots=True)
class Alarm:
    """An incident that care has decided to raise. Raised again under the same key until it is known to be stored.

    Attributes:
        incident: What it became; None until then.
    """

    key: str
    check_id: str
    subject: UserId
    cause: Cause
    gravity: Gravity
    decided_at: float
    retry_at: float
    incident: IncidentId | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """What positions say of somebody on the way. Its times are those of the fixes: silence proves nothing.

    Attributes:
        origin: Where they set out.
        halt: Where they have been standing since ``halt_since``.
        off_since: Since when they are off every usual way; None while they are not.
        known: Places where they said that all is well.
    """

    origin: LatLng
    halt: LatLng
    halt_since: float
    seen_at: float
    off_since: float | None = None
    known: tuple[LatLng, ...] = ()


@dataclass(frozen=True, slots=True)
class Watch:
    """One technician's job that is watched over. Frozen: each stored change makes one with ``version`` one higher.

    Attributes:
        way: As it was when the watch was last stored.
        quiet_until: Until when what was asked on the way is not asked again, by kind.
        lost_at: Since when there is no sign of the phone; None while there is.
        ended_at: When the job was over; None while it is watched.
    """

    watch_id: WatchId
    job: Job
    version: int
    began_at: float
    checks: tuple[Check, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    way: Way | None = None
    quiet_until: dict[CheckKind, float] = field(default_factory=dict)
    lost_at: float | None = None
    ended_at: float | None = None

    @property
    def pending(self) -> tuple[Alarm, ...]:
        """Alarms that are not known to be stored."""
        return tuple(alarm for alarm in self.alarms if alarm.incident is None)

    def open_check(self, kind: CheckKind) -> Check | None:
        """The check of a kind that waits; there is at most one."""
        return next((check for check in self.checks if check.kind is kind and check.is_open), None)


@dataclass(frozen=True, slots=True)
class Contact:
    """What is known of a phone now.

    Attributes:
        heard_at: When anything last came from it, 0 for never; None for somebody off duty, whose silence says nothing.
        point: Where it was, with ``seen_at``.
    """

    heard_at: float | None
    point: LatLng | None = None
    seen_at: float | None = None
