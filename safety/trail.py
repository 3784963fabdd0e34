"""The way of somebody who called for help, as it is shown: what was before the tap, what is missing, what came late."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

GAP_S: Final = 15.0
"""Seconds between two positions that are told as a gap: at 2 s a fix, several are missing."""
LATE_S: Final = 30.0
"""Seconds on the way beyond those of the fastest, from which a position counts as delivered late."""


class Spot(Protocol):
    """A kept position: ``fixed_at`` by the phone's clock, ``received_at`` by the server's."""

    @property
    def fixed_at(self) -> float: ...  # noqa: D102 - named by its type
    @property
    def received_at(self) -> float: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without positions, by the phone's clock moved to the server's. Open at its end while it lasts."""

    from_at: float
    to_at: float | None


@dataclass(frozen=True, slots=True)
class TrailShape:
    """What can be said of a trail beside its points.

    Attributes:
        skew_s: What was added to the phone's clock to get the server's: the least that any point was under way.
        late: For each point whether it was delivered late.
        before: How many points were received before the tap.
        gaps: Times without any, in order.
        last_at: When the newest was measured, in the server's time.
    """

    skew_s: float
    late: Sequence[bool]
    before: int
    gaps: Sequence[Gap]
    last_at: float | None


def shape(points: Sequence[Spot], raised_at: float, now: float, *, is_active: bool) -> TrailShape:
    """Look at a trail.

    Args:
        points: In the order of ``fixed_at``.
        raised_at: When the tap arrived.
        now: UTC epoch seconds.
        is_active: Whether more is to come: then silence up to ``now`` is a gap too.
    """
    if not points:
        return TrailShape(0.0, (), 0, (Gap(raised_at, None),) if is_active and now - raised_at > GAP_S else (), None)
    skew_s = min(point.received_at - point.fixed_at for point in points)
    late = [point.received_at - point.fixed_at - skew_s > LATE_S for point in points]
    before = sum(1 for point in points if point.received_at <= raised_at)
    times = [point.fixed_at + skew_s for point in points]
    gaps = [Gap(round(one, 3), round(other, 3)) for one, other in itertools.pairwise(times) if other - one > GAP_S]
    if is_active and now - times[-1] > GAP_S:
        gaps.append(Gap(round(times[-1], 3), None))
    return TrailShape(skew_s, late, before, gaps, times[-1])
