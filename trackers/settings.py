"""The trackers' part of the config."""

from dataclasses import dataclass
from typing import Annotated

from core.ranges import Range, Ranged


@dataclass(frozen=True, slots=True)
class TrackerSettings(Ranged):
    """Phone apps of others that report positions: OsmAnd, Traccar Client, OwnTracks, Overland, GPSLogger."""

    enabled: bool = True
    """Whether the paths `/in/…` exist."""
    steer: bool = True
    """Whether answers tell the app how often to send (Overland) and where the job is (OwnTracks)."""
    point_bytes_max: Annotated[int, Range(1_024, 1_048_576)] = 65_536
    """Largest body of an app that sends one point at a time, in bytes; larger ones are refused as `too_large`."""
    batch_bytes_max: Annotated[int, Range(65_536, 16_777_216)] = 2_097_152
    """Largest body of Overland, in bytes; its largest batch of 1,000 points is about 600,000."""
    batch_timeout_s: Annotated[float, Range(1, 600)] = 60.0
    """Seconds for such a body to arrive: only of a registered device, and from the edge of a network."""
    points_max: Annotated[int, Range(50, 10_000)] = 2_000
    """Points of one body that are taken, the newest; those beyond are counted as `over_limit`."""
    devices_max: Annotated[int, Range(1, 1_000_000)] = 100_000
    """Devices that may be registered; all are held in memory, about 1 KB each."""
    devices_per_technician_max: Annotated[int, Range(1, 100)] = 5
    """Devices of one technician; one more is refused as `devices_full`."""
    guesses_per_s: Annotated[float, Range(0.01, 1_000)] = 1.0
    """Requests a second of one address with an id that nobody has; more are refused as `rate_limited`. Registered
    devices behind the same address are not slowed."""
    guesses_burst: Annotated[int, Range(1, 100_000)] = 60
    """Such requests at once."""
