"""Messages of care: check-ins, drills, and what the console reads of jobs. Part of the catalogue (``messages.py``)."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from realtime.fields import EpochS, Id, Key, Word


class CheckinAnswer(Struct, tag="checkin.answer", frozen=True):
    """My answer to a check, by one tap. `help` is an SOS; `no` is one that nobody beside me may notice: it is answered
    like `ok`. Works with a token that has expired within a day."""

    checkin: Id
    answer: Literal["ok", "no", "help"]
    ref: Key | None = None


class DrillTap(Struct, tag="drill.tap", frozen=True):
    """Try the alarm: it goes the way of a real one, and nobody is called out. Answered with its time."""

    ref: Key | None = None


CheckKindName = Literal["check_in", "overdue", "arrival", "leaving", "stop", "detour", "silence"]


CheckStateName = Literal["planned", "reminded", "asked", "answered", "dropped"]


class CheckinView(Struct, tag="checkin", frozen=True, omit_defaults=True):
    """You are asked whether all is well; or you were, and it stands as `state` says.

    `reminded`: it will be asked at `due_at` and can be answered now. `asked`: ring until it is answered. `answered` and
    `dropped` (the job went on): stop, on every device.
    """

    checkin: Id
    order: Id
    kind: CheckKindName
    state: CheckStateName
    at: EpochS
    due_at: EpochS | None = None
    answer_by: EpochS | None = None
    """Without an answer by then it becomes an incident."""


DrillStateName = Literal["asked", "passed", "skipped"]


class DrillView(Struct, tag="drill", frozen=True, omit_defaults=True):
    """Try the alarm, please (`asked`, until then); or it came through, with its time; or you did not try it."""

    drill: Id
    state: DrillStateName
    asked_at: EpochS
    until: EpochS
    round_trip_ms: Annotated[float, Meta(ge=0.0, le=1e9)] | None = None
    """From the tap's arrival at the server to the alarm on the disk."""


class CareNews(Struct, tag="care.news", frozen=True, omit_defaults=True):
    """Something the console must know of a job under way (ops of the city).

    `lost_contact`: no sign of the technician's phone. `unanswered`: a question became an incident. `answered_late`: it
    was answered after that, and the incident stands.
    """

    order: Id
    technician: Id
    what: Literal["lost_contact", "contact_back", "unanswered", "answered_late"]
    at: EpochS
    kind: Word = ""
    """Of the check: what was asked."""
