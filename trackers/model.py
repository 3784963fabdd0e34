"""What a tracker says, whatever its protocol: positions in our units, alarms, and what can never be a position."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from core.ids import DeviceId, TenantId, UserId


class App(StrEnum):
    """Apps that a device may be registered for; the word is also the last part of their path."""

    OSMAND = "osmand"
    TRACCAR = "traccar"
    OWNTRACKS = "owntracks"
    OVERLAND = "overland"
    GPSLOGGER = "gpslogger"


class Poison(StrEnum):
    """Why something that was sent is no position and never will be: acknowledged, so that no queue waits behind it."""

    NO_PLACE = "no_place"
    """A heartbeat, a network scan: nothing says where."""
    BAD_PLACE = "bad_place"
    """Beyond the poles or the date line, or the receiver itself calls it invalid."""
    BAD_TIME = "bad_time"
    """Unreadable, before 2000, or more than a day ahead."""
    UNREADABLE = "unreadable"
    """Not the form of this protocol."""
    ENCRYPTED = "encrypted"
    """OwnTracks with a secret key, which the server does not have."""
    NO_POSITION = "no_position"
    """A message of another kind: a status, a card, a list of places."""
    OVER_LIMIT = "over_limit"
    """More points than one body may hold."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One position. WGS-84; the time is the phone's. ``None`` where nothing was said."""

    fixed_at: float
    lat: float
    lng: float
    accuracy_m: float
    speed_mps: float | None = None
    heading_deg: float | None = None
    is_mock: bool = False


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm that is an SOS.

    Attributes:
        word: As the app calls it.
        said: What could be read beside it, by the names of an SOS: ``lat, lng, accuracy_m, fixed_at, battery``.
    """

    word: str
    said: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Report:
    """One body or query.

    Attributes:
        readings: Sorted by time.
        poison: How much of what was no position.
        alarms: Oldest first.
        passed_over: Alarm words that are no call for help.
        secret: What the body itself names as its device; ``""`` where it names none.
    """

    readings: tuple[Reading, ...] = ()
    poison: Counter[Poison] = field(default_factory=Counter)
    alarms: tuple[Alarm, ...] = ()
    passed_over: int = 0
    secret: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """A phone's app that is registered to a technician. ``secret_hash`` is all that is kept of its secret."""

    tenant: TenantId
    device: DeviceId
    technician: UserId
    app: App
    name: str
    secret_hash: bytes
    added_at: float
    added_by: UserId
