"""The client's address behind proxies."""

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from server.http import HttpListener, address_of


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        ("203.0.113.9", "1.2.3.4", "203.0.113.9"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", " , ,", "10.0.0.1"),
    ],
)
def test_only_hops_added_by_trusted_proxies_are_believed(remote: str, forwarded: str, client: str) -> None:
    request = make_mocked_request("GET", "/", headers={"X-Forwarded-For": forwarded} if forwarded else {})
    assert address_of(("10.0.0.0/8",))(request.clone(remote=remote)) == client


class _Line:
    """A connection as the listener sees it."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.is_closed = False

    def force_close(self) -> None:
        self.is_closed = True


def _listener(**bounds: Any) -> HttpListener:
    return HttpListener(
        web.Application(), host="127.0.0.1", port=0, header_timeout_s=1, idle_timeout_s=1, drain_s=0, **bounds
    )


def _opened(listener: HttpListener, *groups: str) -> list[Any]:
    lines: list[Any] = [_Line(group) for group in groups]
    for line in lines:
        listener.opened(line)
    return lines


def test_the_one_that_waits_longest_makes_room_and_nobody_who_is_answered() -> None:
    listener = _listener(connections_max=3)
    first, second, third = _opened(listener, "1.1.1.1", "2.2.2.2", "3.3.3.3")
    listener.keep(first)
    _opened(listener, "4.4.4.4")
    assert [line.is_closed for line in (first, second, third)] == [False, True, False]
    listener.let_go(first)
    _opened(listener, "5.5.5.5")
    assert third.is_closed
    assert not first.is_closed


def test_a_newcomer_is_closed_when_everybody_is_being_answered() -> None:
    listener = _listener(connections_max=1)
    (kept,) = _opened(listener, "1.1.1.1")
    listener.keep(kept)
    (newcomer,) = _opened(listener, "2.2.2.2")
    assert newcomer.is_closed
    assert not kept.is_closed


def test_one_address_makes_room_for_itself_and_a_proxy_is_not_counted() -> None:
    listener = _listener(connections_max=100, connections_per_address_max=2, trusted_proxies=("10.0.0.0/8",))
    other, *same = _opened(listener, "9.9.9.9", "1.1.1.1", "1.1.1.1", "1.1.1.1")
    assert [line.is_closed for line in (other, *same)] == [False, True, False, False]
    assert not any(line.is_closed for line in _opened(listener, *["10.0.0.1"] * 5, *["127.0.0.1"] * 5))
    for line in same:
        listener.closed(line)
        listener.closed(line)
    assert "1.1.1.1" not in listener._counts
