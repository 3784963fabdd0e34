"""P16: the way of somebody who called for help is only added to, in the order of its fixes, and names its gaps."""

import asyncio
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from core.ids import UserId
from safety.trail import GAP_S, shape
from store.memory import MemoryPositionLog
from store.track_points import TrackPoint
from tests.contract.store_values import SHARD
from tests.unit.safety.promises.history import often


class At(NamedTuple):
    fixed_at: float
    received_at: float


@often(50)
@given(
    st.lists(st.tuples(st.floats(0, 600), st.floats(0.1, 120)), max_size=30),
    st.floats(-86_400, 86_400),
    st.floats(0, 900),
    st.booleans(),
)
def test_p16_every_silence_is_a_gap_and_every_gap_a_silence(
    sent: list[tuple[float, float]], skew_s: float, raised_at: float, is_active: bool
) -> None:
    points = sorted(At(at + skew_s, at + under_way_s) for at, under_way_s in sent)
    now = max([raised_at, *(point.received_at for point in points)])
    told = shape(points, raised_at, now, is_active=is_active)
    assert len(told.late) == len(points)
    assert told.before == sum(point.received_at <= raised_at for point in points)
    times = [point.fixed_at + told.skew_s for point in points]
    # No position is told later than it was heard.
    assert all(at <= point.received_at + 1e-3 for at, point in zip(times, points, strict=True))
    closed = [gap for gap in told.gaps if gap.to_at is not None]
    silences = [(one, other) for one, other in pairwise(times) if other - one > GAP_S]
    assert [(gap.from_at, gap.to_at) for gap in closed] == [(round(a, 3), round(b, 3)) for a, b in silences]
    still_silent = is_active and now - (times[-1] if times else raised_at) > GAP_S
    assert (bool(told.gaps) and told.gaps[-1].to_at is None) == still_silent
    for gap in closed:
        assert not [at for at in times if gap.from_at + 1e-3 < at < (gap.to_at or 0) - 1e-3]


@often(50)
@given(st.lists(st.lists(st.floats(0, 1e6), min_size=1, max_size=5), min_size=1, max_size=8))
def test_p16_what_was_kept_once_stays_whatever_comes_behind(batches: list[list[float]]) -> None:
    log, known = MemoryPositionLog(), list[TrackPoint]()
    for batch in batches:
        columns = dict.fromkeys(("lat", "lng", "accuracy_m", "speed_mps", "heading_deg"), [1.0] * len(batch))
        log.append(SHARD, UserId("tec_1"), "inc_1", {**columns, "fixed_at": batch, "received_at": batch})
        kept = asyncio.run(log.track(SHARD.tenant, "inc_1"))
        assert [point.fixed_at for point in kept] == sorted(point.fixed_at for point in kept)
        assert not Counter(known) - Counter(kept)
        assert len(kept) == len(known) + len(batch)
        known = list(kept)
