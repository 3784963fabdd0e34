"""Pauses between attempts: bounded, spread, and the same when computed again."""

from hypothesis import given
from hypothesis import strategies as st

from webhooks.backoff import retry_delay_s
from webhooks.settings import WebhookSettings

SETTINGS = WebhookSettings(retry_first_s=2.0, retry_longest_s=100.0)


@given(st.text(max_size=20), st.integers(1, 10_000), st.integers(0, 2**64))
def test_a_pause_lies_in_the_upper_half_of_its_bound(name: str, attempts: int, seed: int) -> None:
    whole = min(2.0 * 2 ** min(attempts - 1, 40), 100.0)
    pause = retry_delay_s(name, attempts, seed, SETTINGS)
    assert whole / 2 <= pause <= whole
    assert pause == retry_delay_s(name, attempts, seed, SETTINGS)


def test_what_failed_together_does_not_come_back_together() -> None:
    pauses = sorted(retry_delay_s(f"evt_{n}", 6, 1, SETTINGS) for n in range(1_000))
    assert len(set(pauses)) == 1_000
    assert 32 <= pauses[0] < 33
    assert 63 < pauses[-1] <= 64
    assert 45 < pauses[500] < 51
