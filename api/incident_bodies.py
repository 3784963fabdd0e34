"""What HTTP takes and answers about incidents and about who looked at whom; the common ones are in ``bodies.py``."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from realtime.messages import (
    AccuracyM,
    CallOutcomeName,
    CallToName,
    Count,
    Crs,
    EpochS,
    Fence,
    Fix,
    HeadingDeg,
    Id,
    Lat,
    Lng,
    SpeedMps,
    Text,
    Word,
)


class TrailPoint(Struct, frozen=True, omit_defaults=True):
    """A position of somebody who called for help; ``at`` is the phone's time moved to the server's clock."""

    at: EpochS
    received_at: EpochS
    lat: Lat
    lng: Lng
    accuracy_m: AccuracyM
    r95_m: Annotated[float, Meta(ge=0.0, le=2e5)] | None = None
    speed_mps: SpeedMps | None = None
    heading_deg: HeadingDeg | None = None
    before: bool = False
    """Received before the tap."""
    late: bool = False
    """Was under way for long: the phone had no network."""


class TrailGap(Struct, frozen=True, omit_defaults=True):
    """A time without positions; without an end while it lasts."""

    from_at: EpochS
    to_at: EpochS | None = None


class IncidentTrail(Struct, frozen=True, omit_defaults=True):
    """The way of somebody who called for help, from a minute before the tap on."""

    incident: Id
    crs: Crs
    raised_at: EpochS
    points: Annotated[list[TrailPoint], Meta(max_length=5_000)]
    points_left_out: Count = 0
    gaps: Annotated[list[TrailGap], Meta(max_length=20_000)] = msgspec.field(default_factory=list)
    fix: Fix | UnsetType = UNSET
    lost_at: EpochS | UnsetType = UNSET


class LookRow(Struct, frozen=True, omit_defaults=True):
    """Somebody's sight of your position, or several of the same kind within a minute."""

    at: EpochS
    last_at: EpochS
    count: Count
    kind: Literal["track", "watch", "incident", "nearby", "area"]
    about: Text
    role: Word
    by: Id | None = None
    """Who; only of staff."""
    reason: Text = ""


class LooksPage(Struct, frozen=True, omit_defaults=True):
    """Looks, newest first; ``next`` is the ``before`` of the next page."""

    looks: Annotated[list[LookRow], Meta(max_length=200)]
    next: EpochS | None = None


class CallText(Struct, frozen=True):
    """What to read out to the police or an ambulance, a fact a line."""

    incident: Id
    lang: Literal["en", "zh"]
    text: Annotated[str, Meta(max_length=10_000)]


class NoteIn(Struct, frozen=True):
    """What was done or learnt; of a call or visit also with whom and what came of it."""

    text: Text = ""
    call_to: CallToName | None = None
    outcome: CallOutcomeName | None = None


class RespondIn(Struct, frozen=True):
    """The offer that is answered."""

    fence: Fence | None = None


class AssignResponderIn(Struct, frozen=True):
    """Whom to send."""

    responder: Id


class OnSceneIn(Struct, frozen=True):
    """Who is there; ops may name somebody."""

    responder: Id | None = None
    fence: Fence | None = None


class IncidentNoteIn(Struct, frozen=True):
    """Why, in words."""

    note: Text = ""
