"""What the routes of care take and answer: check-ins, shared trips, drills."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from realtime.messages import (
    AccuracyM,
    CheckinView,
    CheckKindName,
    Count,
    Crs,
    DrillStateName,
    DrillView,
    DurationS,
    EpochS,
    Id,
    Lat,
    Lng,
    Text,
    Word,
)


class CheckinIn(Struct, frozen=True):
    """The answer to a check: `help` is an SOS, `no` one that nobody beside its sender may notice."""

    answer: Literal["ok", "no", "help"]


class ShareIn(Struct, frozen=True):
    """A link to a running job for somebody who is trusted."""

    contact: Word = ""
    """For whom, in the sharer's words; whoever opens the link reads it."""
    expires_s: Annotated[float, Meta(ge=60.0, le=604_800.0)] | None = None
    """Life of the link, at most `safety.care.sharing.expires_s`."""


class SharedLink(Struct, frozen=True):
    """A link, told this once."""

    trip: Id
    token: Word
    path: Text
    """Where people open it, below the server's address."""
    expires_at: EpochS


class ShareRow(Struct, frozen=True, omit_defaults=True):
    """A link as its sharer sees it."""

    trip: Id
    shared_at: EpochS
    expires_at: EpochS
    views: Count
    contact: Word = ""
    revoked: bool = False


class OwnShareRow(Struct, frozen=True, omit_defaults=True):
    """A link that has not expired, of all that one made."""

    trip: Id
    order: Id
    shared_at: EpochS
    expires_at: EpochS
    views: Count
    contact: Word = ""
    revoked: bool = False


class SharedLinks(Struct, frozen=True):
    """Links to an order that the caller has made and that have not expired."""

    links: list[ShareRow]


class SharedPosition(Struct, frozen=True):
    """Where the technician of a shared trip is."""

    lat: Lat
    lng: Lng
    crs: Crs
    accuracy_m: AccuracyM
    age_s: DurationS


TripStateName = Literal["waiting", "on_the_way", "there", "leaving", "over"]


class SharedTrip(Struct, frozen=True, omit_defaults=True):
    """A job as whoever holds a link to it sees it; no address, and nothing that its sharer may not see."""

    state: TripStateName
    service: Word
    sharer: Literal["customer", "technician"]
    updated_at: EpochS
    expires_at: EpochS
    contact: Word = ""
    technician: Text = ""
    district: Word = ""
    eta_s: DurationS | None = None
    position: SharedPosition | None = None


class DrillRow(Struct, frozen=True, omit_defaults=True):
    """Somebody's last drill, for ops."""

    drill: Id
    user: Id
    city: Word
    state: DrillStateName
    asked_at: EpochS
    round_trip_ms: float | None = None


class DrillsSeen(Struct, frozen=True, omit_defaults=True):
    """The last drills, while they stand."""

    own: DrillView | None = None
    of_cities: list[DrillRow] = []
    """For ops: of their cities, the newest first."""


class CheckRow(Struct, frozen=True, omit_defaults=True):
    """A check as ops see it."""

    checkin: Id
    order: Id
    city: Id
    technician: Id
    kind: CheckKindName
    state: Word
    """`planned`, `reminded`, `asked`, `unconfirmed` or `panic`."""
    at: EpochS
    due_at: EpochS | None = None
    answer_by: EpochS | None = None
    incident: Id | None = None
    """What it became when nobody answered."""


class Checks(Struct, frozen=True, omit_defaults=True):
    """Who is asked whether all is well."""

    checkins: list[CheckinView]
    """Of the caller."""
    of_cities: list[CheckRow] = []
    """For ops: of their cities, those that are due first."""
