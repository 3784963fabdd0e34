from transport.breaker import Breaker


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(3, 10.0)
    for _ in range(2):
        breaker.failed(0.0)
    breaker.worked()
    for _ in range(2):
        breaker.failed(0.0)
    assert breaker.may_try(0.0)
    breaker.failed(0.0)
    assert not breaker.may_try(9.9)


def test_after_the_rest_one_call_tries_and_the_others_wait() -> None:
    breaker = Breaker(1, 10.0)
    breaker.failed(0.0)
    assert breaker.may_try(10.0)
    assert not breaker.may_try(10.0)
    breaker.worked()
    assert breaker.may_try(10.0)


def test_a_failed_try_begins_another_rest() -> None:
    breaker = Breaker(2, 10.0)
    breaker.failed(0.0)
    breaker.failed(0.0)
    assert breaker.may_try(10.0)
    breaker.failed(12.0)
    assert not breaker.may_try(21.9)
    assert breaker.may_try(22.0)


def test_a_try_that_never_tells_does_not_close_it_for_ever() -> None:
    breaker = Breaker(1, 10.0)
    breaker.failed(0.0)
    assert breaker.may_try(10.0)
    assert breaker.may_try(20.0)
