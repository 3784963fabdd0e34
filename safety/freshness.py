"""What a position is worth: how old it is, in a word, and how far from it the person may be."""

from enum import StrEnum
from typing import Final

from core.units import ACCURACY_M_MAX

LIVE_S: Final = 10.0
RECENT_S: Final = 60.0
R95_PER_R68: Final = 1.62
"""Phones report the radius in which they are with 68 %; for a two-dimensional normal error 95 % take 1.62 times that
(sqrt(ln 0.05 / ln 0.32) = 1.62)."""


class Freshness(StrEnum):
    """Age of a position, for people in a hurry."""

    LIVE = "live"
    RECENT = "recent"
    STALE = "stale"
    UNKNOWN = "unknown"
    """There is none, or nobody knows its age."""


def freshness(age_s: float | None) -> Freshness:
    """The word for an age in seconds."""
    if age_s is None:
        return Freshness.UNKNOWN
    if age_s <= LIVE_S:
        return Freshness.LIVE
    return Freshness.RECENT if age_s <= RECENT_S else Freshness.STALE


def r95_m(accuracy_m: float) -> float | None:
    """Radius in which the person is with 95 %, metres; None when the phone said nothing of its accuracy."""
    return None if accuracy_m >= ACCURACY_M_MAX else round(accuracy_m * R95_PER_R68, 1)


def ago(age_s: float) -> str:
    """An age as it is read out: ``42 s``, ``3 min``, ``2 h 5 min``, ``3 d``."""
    seconds = int(age_s)
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7_200:
        return f"{seconds // 60} min"
    if seconds < 172_800:
        return f"{seconds // 3_600} h {seconds % 3_600 // 60} min"
    return f"{seconds // 86_400} d"
