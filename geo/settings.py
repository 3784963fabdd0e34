"""The part of the config that speaks of space: frame, track filter, travel estimate."""

from dataclasses import dataclass, field

from geo.point import Frame


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low:g} and {high:g}, is {value:g}")


@dataclass(frozen=True, slots=True)
class CoordinateSettings:
    """Which frame the platform works in."""

    frame: Frame = Frame.GCJ02
    """Frame of every stored and outgoing position; the two differ in mainland China only."""
    geojson_frame: Frame = Frame.WGS84
    """Frame that city boundary files are drawn in; converted into the platform's frame when loaded."""


@dataclass(frozen=True, slots=True)
class PositionSettings:
    """Track filter, index and the short memory of recent positions."""

    speed_max_mps: float = 55.0
    """Fastest believable movement, m/s (198 km/h: above any road, below a high-speed train)."""
    accuracy_max_m: float = 200.0
    """Fixes with a larger error radius than this never move a marker, m."""
    future_s: float = 60.0
    """A fix may lie this far after the moment its own phone sent it, s."""
    stretch_s: float = 600.0
    """A longer silence starts a new stretch of the trail, whose first fix is believed, s."""
    clock_step_s: float = 30.0
    """A jump of a phone's clock by more than this starts a new clock segment, s."""
    clock_rate_max: float = 1.0
    """Fastest phone clock that a replay may declare, phone seconds per server second; 1 allows none."""
    trail_len_max: int = 32
    """Newest fixes of each person on duty that the track filter remembers; older late ones no longer count."""
    recent_s: float = 120.0
    """How long every ping of people on duty is kept in memory (the trail before an SOS), s."""
    recent_rows_max: int = 1_048_576
    """Bound on that memory over all people of one city, pings (about 72 bytes each)."""
    stale_s: float = 600.0
    """Age of a live position at which it leaves the index, s."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check_range("speed_max_mps", self.speed_max_mps, 1, 1_000)
        _check_range("accuracy_max_m", self.accuracy_max_m, 1, 100_000)
        _check_range("future_s", self.future_s, 0, 86_400)
        _check_range("stretch_s", self.stretch_s, 1, 86_400)
        _check_range("clock_step_s", self.clock_step_s, 1, 86_400)
        _check_range("clock_rate_max", self.clock_rate_max, 1, 100_000)
        _check_range("trail_len_max", self.trail_len_max, 4, 1_024)
        _check_range("recent_s", self.recent_s, 1, 3_600)
        _check_range("recent_rows_max", self.recent_rows_max, 1_024, 2**27)
        _check_range("stale_s", self.stale_s, 10, 86_400)


@dataclass(frozen=True, slots=True)
class TravelSettings:
    """The default estimate of travel time."""

    detour_factor: float = 1.35
    """Length of the way divided by the great circle."""
    walk_kmh: float = 4.8
    """Speed on foot, km/h."""
    ebike_kmh: float = 18.0
    """Speed on an electric bicycle, km/h."""
    transit_kmh: float = 20.0
    """Door-to-door speed by metro and bus, km/h."""
    car_kmh: float = 28.0
    """Speed by car or taxi outside the rush hours, km/h."""
    rush_hours: tuple[str, ...] = ("07-09", "17-19")
    """Local hours in which cars are slower: from-to, 0 to 24, the end not included."""
    rush_factor: float = 0.65
    """Speed of cars in the rush hours divided by that of other hours."""
    setup_s: float = 90.0
    """Time to set out and to find the door, added to every way, s."""
    utc_offset_h: float = 8.0
    """Local time minus UTC, h."""
    default_mode: str = "ebike"
    """Mode of people who have named none: walk, ebike, transit or car."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check_range("detour_factor", self.detour_factor, 1, 5)
        for name in ("walk_kmh", "ebike_kmh", "transit_kmh", "car_kmh"):
            _check_range(name, getattr(self, name), 1, 200)
        _check_range("rush_factor", self.rush_factor, 0.1, 1)
        _check_range("setup_s", self.setup_s, 0, 3_600)
        _check_range("utc_offset_h", self.utc_offset_h, -14, 14)
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
