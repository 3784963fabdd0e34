"""The law of a trail: which of a person's fixes is their live position. Pure; the filter must always agree with it.

1. A ping may enter a trail (it is *storable*) when it is a valid place and time, not at null island, not fixed more
   than ``future_s`` after it was sent, and its accuracy is at most ``accuracy_max_m``. This depends on the ping alone.
2. The *trail* is the storable fixes, each (device, seq) once, sorted by (clock segment, fixed_at, seq, device). A clock
   segment ends where a phone's clock steps by more than ``clock_step_s`` beside the server's.
3. A *stretch* is a run of one segment whose neighbours are at most ``stretch_s`` apart.
4. A fix is *supported* when it is the first of its stretch, or its great-circle distance to the fix before it or to
   the fix after it in the same stretch is at most ``speed_max_mps`` times the time between the two.
5. ``live_fix`` is the newest supported fix.

Times are the phone's, places are in the platform's frame. Order and repetition of arrival do not matter. One thing
follows that is worth knowing: a fix that arrives late may part the live fix from the neighbour that supported it;
then the live position is *retracted* to an older fix. Without late fixes it only ever moves forward.
"""

from collections.abc import Iterable
from typing import NamedTuple

from geo.distance import distance_of
from geo.settings import PositionSettings


class TrailFix(NamedTuple):
    """One storable fix."""

    segment: int
    fixed_at: float
    seq: int
    device: int
    lat_deg: float
    lng_deg: float


def sorted_trail(fixes: Iterable[TrailFix]) -> list[TrailFix]:
    """Rule 2: de-duplicated (the first of equals stays) and sorted."""
    first: dict[tuple[int, int], TrailFix] = {}
    for fix in fixes:
        first.setdefault((fix.device, fix.seq), fix)
    return sorted(first.values(), key=lambda fix: fix[:4])


def is_same_stretch(before: TrailFix, after: TrailFix, settings: PositionSettings) -> bool:
    """Rule 3, for neighbours in a sorted trail."""
    return before.segment == after.segment and after.fixed_at - before.fixed_at <= settings.stretch_s


def is_reachable(before: TrailFix, after: TrailFix, settings: PositionSettings) -> bool:
    """Rule 4's distance condition, for neighbours in a sorted trail."""
    distance_m = distance_of(before.lat_deg, before.lng_deg, after.lat_deg, after.lng_deg)
    return distance_m <= settings.speed_max_mps * (after.fixed_at - before.fixed_at)


def live_fix(trail: Iterable[TrailFix], settings: PositionSettings) -> TrailFix | None:
    """The live position of a trail in any order and with any repetition; None for an empty one."""
    fixes = sorted_trail(trail)
    for place in range(len(fixes) - 1, -1, -1):
        fix = fixes[place]
        before = fixes[place - 1] if place else None
        if before is None or not is_same_stretch(before, fix, settings) or is_reachable(before, fix, settings):
            return fix
        after = fixes[place + 1] if place + 1 < len(fixes) else None
        if after is not None and is_same_stretch(fix, after, settings) and is_reachable(fix, after, settings):
            return fix
    return None
