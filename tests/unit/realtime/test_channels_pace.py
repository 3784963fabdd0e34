"""How often those who must not learn of an SOS hear of whom they watch: as often as before it."""

import pytest

from core.ids import TenantId
from realtime.channels import GAP_S_MAX, Topic


def kept(before_s: float, after_s: float, *, calm: int = 10, turns: int = 400) -> float:
    """Seconds between positions that are let through in an SOS, after some that came ``before_s`` apart."""
    topic, now = Topic(TenantId("demo"), "order:1"), 1_000.0
    for _ in range(calm):
        topic.note_pace(now)
        now += before_s
    sent = []
    for _ in range(turns):
        now += after_s
        if topic.keeps_pace(4.0, now):
            sent.append(now)
    return (sent[-1] - sent[0]) / (len(sent) - 1)


@pytest.mark.parametrize(("before_s", "after_s"), [(0.5, 0.25), (4.0, 2.0), (4.0, 0.1), (3.0, 2.0), (1.0, 1.0)])
def test_a_faster_phone_is_shown_as_often_as_before(before_s: float, after_s: float) -> None:
    assert kept(before_s, after_s) == pytest.approx(before_s, rel=0.05)


def test_a_slower_phone_is_shown_whenever_it_reports() -> None:
    assert kept(1.0, 2.0) == pytest.approx(2.0)


def test_where_nothing_is_known_the_pace_is_that_of_a_job_and_a_long_silence_is_none() -> None:
    assert kept(1.0, 0.5, calm=1) == pytest.approx(4.0, rel=0.05)
    assert kept(600.0, 0.5) == pytest.approx(GAP_S_MAX, rel=0.05)
