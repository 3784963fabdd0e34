from typing import NamedTuple

from safety.trail import Gap, shape


class At(NamedTuple):
    fixed_at: float
    received_at: float


def test_a_trail_is_told_in_the_servers_time_whatever_the_phone_believes() -> None:
    # The phone is a day behind, a ping takes 0.2 s at best.
    points = [At(n * 2.0 - 86_400, n * 2.0 + 0.2 + (n % 3) / 10) for n in range(6)]
    told = shape(points, raised_at=5.0, now=11.0, is_active=True)
    assert round(told.skew_s, 6) == 86_400.2
    assert told.last_at is not None
    assert round(told.last_at, 6) == 10.2
    assert (told.before, list(told.late), list(told.gaps)) == (3, [False] * 6, [])


def test_gaps_are_explicit_and_the_last_one_is_open_while_it_lasts() -> None:
    points = [At(0, 0), At(2, 2), At(40, 40), At(42, 42)]
    assert shape(points, 3.0, 100.0, is_active=True).gaps == [Gap(2, 40), Gap(42, None)]
    assert shape(points, 3.0, 100.0, is_active=False).gaps == [Gap(2, 40)]
    assert shape(points, 3.0, 50.0, is_active=True).gaps == [Gap(2, 40)]


def test_what_was_buffered_without_a_network_is_flagged_late_and_closes_its_gap() -> None:
    points = [At(0, 0), At(2, 2), At(12, 90), At(22, 90), At(88, 88)]
    told = shape(points, 1.0, 90.0, is_active=True)
    assert list(told.late) == [False, False, True, True, False]
    assert told.gaps == [Gap(22, 88)]


def test_nobody_who_was_never_heard_has_a_trail() -> None:
    assert shape([], 0.0, 10.0, is_active=True).gaps == ()
    assert shape([], 0.0, 60.0, is_active=True).gaps == (Gap(0.0, None),)
    told = shape([], 0.0, 60.0, is_active=False)
    assert (told.gaps, told.last_at, told.before) == ((), None, 0)
