"""Token buckets of callers: what is refused, what is not, what is remembered."""

import pytest

from api import limits
from api.limits import Buckets
from core.errors import Unavailable


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    buckets = Buckets(per_s=2.0, burst=3)
    for _ in range(3):
        buckets.take("a", 100.0)
    with pytest.raises(Unavailable) as refusal:
        buckets.take("a", 100.4)
    assert refusal.value.code == "rate_limited"
    buckets.take("b", 100.4)
    buckets.take("a", 100.6)
    with pytest.raises(Unavailable):
        buckets.take("a", 100.6)


def test_the_caller_who_asked_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BUCKETS_MAX", 2)
    buckets = Buckets(per_s=0.1, burst=1)
    for key in "abc":
        buckets.take(key, 0.0)
    assert list(buckets._buckets) == ["b", "c"]
