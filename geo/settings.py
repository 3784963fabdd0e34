"""The part of the config that speaks of space: frame, track filter, travel estimate."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from core.ranges import Range, Ranged, check_range, check_ranges
from geo.point import Frame


@dataclass(frozen=True, slots=True)
class CoordinateSettings:
    """Which frame the platform works in."""

    frame: Frame = Frame.GCJ02
    """Frame of every stored and outgoing position; the two differ in mainland China only."""
    geojson_frame: Frame = Frame.WGS84
    """Frame that city boundary files are drawn in; converted into the platform's frame when loaded."""


@dataclass(frozen=True, slots=True)
class PositionSettings(Ranged):
    """Track filter, index and the short memory of recent positions."""

    speed_max_mps: Annotated[float, Range(1, 1_000)] = 55.0
    """Fastest believable movement, m/s (198 km/h: above any road, below a high-speed train)."""
    accuracy_max_m: Annotated[float, Range(1, 100_000)] = 200.0
    """Fixes with a larger error radius than this never move a marker, m."""
    future_s: Annotated[float, Range(0, 86_400)] = 60.0
    """A fix may lie this far after the moment its own phone sent it, s."""
    stretch_s: Annotated[float, Range(1, 86_400)] = 600.0
    """A longer silence starts a new stretch of the trail, whose first fix is believed, s."""
    clock_step_s: Annotated[float, Range(1, 86_400)] = 30.0
    """A jump of a phone's clock by more than this starts a new clock segment, s."""
    clock_rate_max: Annotated[float, Range(1, 100_000)] = 1.0
    """Fastest phone clock that a replay may declare, phone seconds per server second; 1 allows none."""
    trail_len_max: Annotated[int, Range(4, 1_024)] = 32
    """Newest fixes of each person on duty that the track filter remembers; older late ones no longer count."""
    recent_s: Annotated[float, Range(1, 3_600)] = 120.0
    """How long every ping of people on duty is kept in memory (the trail before an SOS), s."""
    recent_rows_max: Annotated[int, Range(1_024, 2**27)] = 1_048_576
    """Bound on that memory over all people of one city, pings (about 72 bytes each)."""
    stale_s: Annotated[float, Range(10, 86_400)] = 600.0
    """Age of a live position at which it leaves the index, s."""


class RoadEngine(StrEnum):
    """Who says how long a way takes."""

    ESTIMATE = "estimate"
    OSRM = "osrm"
    VALHALLA = "valhalla"


@dataclass(frozen=True, slots=True)
class RoadEngineSettings:
    """A road engine that is asked for travel tables; whatever it does not answer in time is estimated."""

    use: RoadEngine = RoadEngine.ESTIMATE
    """Which engine: `estimate` (none), `osrm` or `valhalla`."""
    url: str = ""
    """Where the engine answers, without the service's path: `http://127.0.0.1:5000`."""
    profile: str = "driving"
    """OSRM's profile, the word after `/table/v1/`; OSRM knows one, which should be that of `default_mode`."""
    frame: Frame = Frame.WGS84
    """Coordinate frame of the engine's map; OpenStreetMap is WGS-84."""
    timeout_s: Annotated[float, Range(0.01, 10)] = 0.3
    """Time for a whole table, however many requests it needs, in seconds."""
    block_len_max: Annotated[int, Range(1, 1_000)] = 50
    """Places on each side of one request; a larger table is split. Engines' own defaults allow 50 x 50."""
    requests_max: Annotated[int, Range(1, 64)] = 4
    """Requests of one table at the same time, a number."""
    pairs_max: Annotated[int, Range(1, 1_000_000)] = 10_000
    """Largest table asked for, in pairs; a larger one is estimated."""
    body_bytes_max: Annotated[int, Range(1_024, 67_108_864)] = 1_048_576
    """Largest answer to one request, in bytes."""
    faster_max: Annotated[float, Range(1.5, 100)] = 6.0
    """How many times as fast as the estimate an engine may be, by the middle one of a table's ways, and be believed."""
    slower_max: Annotated[float, Range(1.5, 100)] = 6.0
    """How many times as slow as the estimate for a way of the length that it tells, likewise, and be believed."""
    failures_max: Annotated[int, Range(1, 1_000)] = 3
    """Failures in a row after which the engine is left alone for `rest_s`."""
    rest_s: Annotated[float, Range(0.1, 3_600)] = 10.0
    """How long a failing engine is left alone before one table tries it again, in seconds."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self)
        if self.use is not RoadEngine.ESTIMATE and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url must begin with http:// or https:// for {self.use}, is {self.url!r}")
        if not self.profile.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"profile must be one word, is {self.profile!r}")


@dataclass(frozen=True, slots=True)
class TravelSettings:
    """The default estimate of travel time."""

    detour_factor: Annotated[float, Range(1, 5)] = 1.35
    """Length of the way divided by the great circle."""
    walk_kmh: Annotated[float, Range(1, 200)] = 4.8
    """Speed on foot, km/h."""
    ebike_kmh: Annotated[float, Range(1, 200)] = 18.0
    """Speed on an electric bicycle, km/h."""
    transit_kmh: Annotated[float, Range(1, 200)] = 20.0
    """Door-to-door speed by metro and bus, km/h."""
    car_kmh: Annotated[float, Range(1, 200)] = 28.0
    """Speed by car or taxi outside the rush hours, km/h."""
    rush_hours: tuple[str, ...] = ("07-09", "17-19")
    """Hours by the clock of each city (`cities[].timezone`) in which cars are slower: from-to, 0 to 24, the end not
    included."""
    rush_factor: Annotated[float, Range(0.1, 1)] = 0.65
    """Speed of cars in the rush hours divided by that of other hours."""
    setup_s: Annotated[float, Range(0, 3_600)] = 90.0
    """Time to set out and to find the door, added to every way, s."""
    default_mode: str = "ebike"
    """Mode of people who have named none: walk, ebike, transit or car."""
    learn_every_s: float = 3_600.0
    """How often each city's speeds are learned anew from its kept tracks, in seconds; 0 for never."""
    learn_orders_max: Annotated[int, Range(1, 100_000)] = 1_000
    """Newest orders of a city whose ways are learned from, a number."""
    learn_trips_min: Annotated[int, Range(1, 1_000_000)] = 50
    """With fewer trips the speeds above are used, a number."""
    engine: RoadEngineSettings = field(default_factory=RoadEngineSettings)
    """A road engine that tells the ways of each matching round before it is solved."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self)
        if self.learn_every_s:
            check_range("learn_every_s", self.learn_every_s, 60, 604_800)
        if self.default_mode not in {"walk", "ebike", "transit", "car"}:
            raise ValueError(f"default_mode must be walk, ebike, transit or car, is {self.default_mode!r}")
        for span in self.rush_hours:
            begin, _, end = span.partition("-")
            if not (begin.isdigit() and end.isdigit() and 0 <= int(begin) < int(end) <= 24):
                raise ValueError(f"rush_hours must look like '07-09' with 0 <= from < to <= 24, is {span!r}")


@dataclass(frozen=True, slots=True)
class GeoSettings:
    """All of it."""

    coordinates: CoordinateSettings = field(default_factory=CoordinateSettings)
    """Frames."""
    positions: PositionSettings = field(default_factory=PositionSettings)
    """Track filter and index."""
    travel: TravelSettings = field(default_factory=TravelSettings)
    """Travel estimate."""
