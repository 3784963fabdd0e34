"""Every state of a breaker answers every event that can reach it."""

from webhooks.breaker import TRANSITIONS, Breaker, BreakerEvent, BreakerState
from webhooks.settings import WebhookSettings

SETTINGS = WebhookSettings(breaker_failures=2, breaker_first_s=10.0, breaker_longest_s=30.0)


def test_only_what_is_open_can_cool() -> None:
    missing = {(state, event) for state in BreakerState for event in BreakerEvent} - set(TRANSITIONS)
    assert missing == {(state, BreakerEvent.COOLED) for state in (BreakerState.CLOSED, BreakerState.HALF_OPEN)}


def test_it_is_open_longer_each_time_up_to_the_bound_and_forgets_when_it_works() -> None:
    breaker, now, pauses = Breaker(), 0.0, []
    breaker.failed(now, SETTINGS)
    assert breaker.room(0, 4, now) == 4
    for _ in range(4):
        breaker.failed(now, SETTINGS)
        assert breaker.room(0, 4, now) == 0
        pauses.append(breaker.open_until - now)
        now = breaker.open_until
        assert breaker.room(0, 4, now) == 1
        assert breaker.room(1, 4, now) == 0
    assert pauses == [10, 20, 30, 30]
    breaker.worked()
    assert (breaker.state, breaker.failures, breaker.times_open) == (BreakerState.CLOSED, 0, 0)


def test_late_failures_of_the_same_burst_do_not_lengthen_the_pause() -> None:
    breaker = Breaker()
    for _ in range(5):
        breaker.failed(0.0, SETTINGS)
    assert breaker.open_until == 10.0
