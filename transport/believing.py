"""Whether what a road engine says of a table can be true. Pure.

An engine may be wrong with confidence: its map does not hold the city and every place is moved to the map's edge, it
has another profile, it is overloaded or broken, or something else answers in its place. A round that believes it sends
the wrong people, or nobody. So a table is judged as a whole, by rules that no honest city breaks::

    cells         no time is negative, no speed beyond any road's, no way shorter than the straight line
    one time      ways of very different lengths do not all take the same time
    middle, fast  the middle one of the longer ways is not many times as fast as the estimate
    middle, slow  the middle way is not many times as slow as the estimate for a way of the told length
    middle, long  the middle way is not many times as long as the straight line, and some kilometres
    shares        at most a third of the ways are slower than on foot with half an hour of waiting
    ranks         longer ways take longer, as a rule

The middle ones, because single ways may be anything: over a motorway, round by the only bridge, to a place that lies
wrong on one of the maps. Rivers, islands and one-way streets are no lies: 330 m that take twelve minutes are 4 km of
road, and the told length of the way says so. An engine that tells no lengths is given more time instead. A single
way that is slower than on foot is not believed by itself: the estimate stands in for it.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from geo.arrays import BoolArray, FloatArray

_SPEED_MAX_MPS: Final = 70.0
"""Faster than any road in a straight line (252 km/h)."""
_SNAP_M: Final = 500.0
"""How far apart two places may be that an engine takes for one: it moves each to the next road."""
_FAR_M: Final = 1_000.0
"""Ways shorter than this say little of speeds: places are moved to the next road, and roads to them go round."""
_SPREAD: Final = 3.0
"""How many times as far the farthest of some ways must be as the nearest, for their times to be compared."""
_SAME_S: Final = 1.0
"""Times that differ by less are one time."""
_WALK_MPS: Final = 1.0
"""Slower than people walk."""
_WAITING_MAX_S: Final = 1_800.0
"""What a ferry, a gate or a closed crossing may add to that."""
_DETOUR: Final = 2.0
"""Length of a way divided by the straight line, of a way whose length is not told."""
_SLOW_SHARE_MAX: Final = 1 / 3
_SLACK_S: Final = 300.0
"""Lights, turns and the last steps: what the middle way may take beyond many times its estimate."""
_SLACK_UNTOLD_S: Final = 900.0
"""The same of ways whose lengths are not told, and which may go round by a bridge."""
_LONGER_MAX: Final = 6.0
_ROUND_M: Final = 10_000.0
"""How far the middle way may go round, beyond that many times the straight line."""
_RANKED_MIN: Final = 8
"""Ways that are too few to say whether longer ones take longer; also places on each side for straight lines."""
_NEAR_M: Final = 300.0
"""Distances below are alike when ranks are compared."""
_WAY_RANKS_MIN: Final = 0.2
_DIRECT_RANKS_MIN: Final = 0.1
"""Least rank correlation of times with told lengths, and with straight lines."""
_RANKED_MAX: Final = 2_000
"""Ways that are ranked, evenly chosen: sorting a million takes a tenth of a second."""


@dataclass(frozen=True, slots=True)
class Told:
    """An engine's answers beside what was expected, n pairs of places.

    Attributes:
        duration_s: What the engine says.
        way_m: How long it says that the way is; NaN where it did not say.
        direct_m: The great circle.
        expected_s: What the estimate says.
        s_per_m: Seconds of the estimate for each metre of its ways.
        is_wide: Whether there are so many places on both sides that no single river is between them all.
    """

    duration_s: FloatArray
    way_m: FloatArray
    direct_m: FloatArray
    expected_s: FloatArray
    s_per_m: float
    is_wide: bool


def is_wide(origins: int, destinations: int) -> bool:
    """See ``Told.is_wide``."""
    return min(origins, destinations) >= _RANKED_MIN


def why_not(told: Told, *, faster_max: float, slower_max: float) -> str:
    """Why the whole table cannot be true, in a few words; empty when it can.

    Cost:
        1 ms for 10,000 pairs.
    """
    if not len(told.duration_s):
        return ""
    if is_impossible(told.duration_s, told.way_m, told.direct_m):
        return "answered with times that no way takes"
    if says_one_time(told.duration_s, told.direct_m):
        return "answered with one time for near and far"
    if is_too_fast(told.duration_s, told.expected_s, told.direct_m, faster_max):
        return f"is more than {faster_max:g} times as fast as the estimate"
    if is_too_slow(told, slower_max):
        return f"is more than {slower_max:g} times as slow as the estimate"
    if float(np.mean(slower_than_walking(told))) > _SLOW_SHARE_MAX:
        return "is slower than on foot too often"
    if is_too_long(told.way_m, told.direct_m):
        return "goes round too far"
    if ignores_distance(told):
        return "answered with times that do not grow with the way"
    return ""


def is_impossible(duration_s: FloatArray, way_m: FloatArray, direct_m: FloatArray) -> bool:
    """Whether any of these answers cannot be true; ``way_m`` is NaN where the engine did not say."""
    wrong: BoolArray = ~np.isfinite(duration_s) | (duration_s < 0.0) | np.isinf(way_m) | (way_m < 0.0)
    wrong |= direct_m - _SNAP_M > duration_s * _SPEED_MAX_MPS
    wrong |= way_m < direct_m - 2 * _SNAP_M
    return bool(wrong.any())


def says_one_time(duration_s: FloatArray, direct_m: FloatArray) -> bool:
    """Whether ways of very different lengths all take the same time."""
    far_m = np.maximum(direct_m, _FAR_M)
    if not len(far_m) or far_m.max() < _SPREAD * far_m.min():
        return False
    return bool(np.ptp(duration_s) < _SAME_S)


def is_too_fast(duration_s: FloatArray, expected_s: FloatArray, direct_m: FloatArray, faster_max: float) -> bool:
    """Whether the middle one of the longer ways takes less than ``1 / faster_max`` of what the estimate expects."""
    far = direct_m >= _FAR_M
    return bool(far.any()) and float(np.median(duration_s[far] * faster_max - expected_s[far])) < 0.0


def is_too_slow(told: Told, slower_max: float) -> bool:
    """Whether the middle way takes more than ``slower_max`` times the estimate for its length, and a little."""
    expected_s = np.fmax(told.expected_s, told.way_m * told.s_per_m)
    slack_s = np.where(np.isnan(told.way_m), _SLACK_UNTOLD_S, _SLACK_S)
    return float(np.median(told.duration_s - slower_max * expected_s - slack_s)) > 0.0


def slower_than_walking(told: Told) -> BoolArray:
    """Which ways nobody needs so long for, on foot and with half an hour of waiting."""
    way_m = np.fmax(told.way_m, told.direct_m)
    way_m = np.where(np.isnan(told.way_m), told.direct_m * _DETOUR, way_m)
    slow: BoolArray = told.duration_s > _WAITING_MAX_S + way_m / _WALK_MPS
    return slow


def is_too_long(way_m: FloatArray, direct_m: FloatArray) -> bool:
    """Whether the middle one of the told ways goes many times as far as the straight line, and some kilometres."""
    is_told = ~np.isnan(way_m)
    return bool(is_told.any()) and float(np.median((way_m - _LONGER_MAX * direct_m)[is_told])) > _ROUND_M


def ignores_distance(told: Told) -> bool:
    """Whether longer ways do not take longer: as told, and in a table of many places in a straight line."""
    is_told = ~np.isnan(told.way_m)
    if _rank_correlation(told.duration_s[is_told], told.way_m[is_told]) < _WAY_RANKS_MIN:
        return True
    # One bridge between few places turns the order of straight lines round, and is no lie.
    return told.is_wide and _rank_correlation(told.duration_s, told.direct_m) < _DIRECT_RANKS_MIN


def _rank_correlation(duration_s: FloatArray, metres: FloatArray) -> float:
    """Spearman's, from -1 to 1; 1 where there is too little to be compared."""
    every = max(1, len(metres) // _RANKED_MAX)
    duration_s, metres = duration_s[::every], np.maximum(metres[::every], _NEAR_M)
    if len(metres) < _RANKED_MIN:
        return 1.0
    near_m, far_m = np.quantile(metres, (0.1, 0.9))
    if far_m < _SPREAD * near_m:
        return 1.0
    times, lengths = _ranks(duration_s), _ranks(metres)
    scale = float(np.sqrt((times @ times) * (lengths @ lengths)))
    return float(times @ lengths) / scale if scale else 0.0


def _ranks(values: FloatArray) -> FloatArray:
    """Ranks less their mean; equal values share theirs.

    ``scipy.stats.rankdata`` does the same, for half a second and 22 MiB at each start.
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: FloatArray = (np.cumsum(counts) - counts / 2.0)[inverse]
    ranks -= ranks.mean()
    return ranks
