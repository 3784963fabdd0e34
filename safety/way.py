"""What positions on the way to a job say: somebody stands still where they should not, or is off every usual way. Pure.

Standing still means a mean speed under ``stop_speed_mps`` since the spot was reached, with ``stop_slack_m`` for the
jitter of positions: a red light never counts, however many of them there are. There is no road in it: a way through a
point is usual as long as it is not longer than ``detour_ratio`` times the straight line and ``detour_m`` each way.
"""

from dataclasses import replace

from geo.distance import distance_m
from geo.point import LatLng
from safety.care_model import Way
from safety.care_settings import CareSettings


def set_out(point: LatLng, seen_at: float) -> Way:
    """The first position on the way."""
    return Way(origin=point, halt=point, halt_since=seen_at, seen_at=seen_at)


def walked(way: Way, point: LatLng, seen_at: float, site: LatLng, settings: CareSettings) -> Way:
    """The way with one more position; one that is not newer changes nothing."""
    if seen_at <= way.seen_at:
        return way
    allowed_m = settings.stop_slack_m + settings.stop_speed_mps * (seen_at - way.halt_since)
    stands = distance_m(way.halt, point) <= allowed_m
    off_since = None
    if off_m(way.origin, point, site, settings) > settings.detour_m:
        off_since = way.off_since if way.off_since is not None else seen_at
    return replace(
        way,
        halt=way.halt if stands else point,
        halt_since=way.halt_since if stands else seen_at,
        seen_at=seen_at,
        off_since=off_since,
    )


def off_m(origin: LatLng, point: LatLng, site: LatLng, settings: CareSettings) -> float:
    """How far a point is off every usual way between two places, in metres; 0 on them."""
    through_m = distance_m(origin, point) + distance_m(point, site)
    return max(0.0, through_m - settings.detour_ratio * distance_m(origin, site)) / 2.0


def stands_oddly(way: Way, site: LatLng, settings: CareSettings) -> bool:
    """Whether somebody has stood for too long, and not at a place that explains it."""
    if way.seen_at - way.halt_since < settings.stop_s:
        return False
    places = (site, way.origin, *way.known)
    return all(distance_m(way.halt, place) > settings.known_place_m for place in places)


def is_astray(way: Way, settings: CareSettings) -> bool:
    """Whether somebody has been off every usual way for too long."""
    return way.off_since is not None and way.seen_at - way.off_since >= settings.detour_s


def is_worth_storing(stored: Way | None, way: Way, settings: CareSettings) -> bool:
    """Whether a restart would lose a stop that has lasted for a while: the rest begins again without harm."""
    lasted_s = way.seen_at - way.halt_since
    return lasted_s >= settings.stop_s / 4 and (stored is None or stored.halt_since != way.halt_since)
