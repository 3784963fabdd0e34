"""Judging upgrade requests without a socket; the answers on the wire are tested in test_rfc6455."""

import pytest
from multidict import CIMultiDict

from transport.settings import WebSocketSettings
from transport.websocket_handshake import (
    SUBPROTOCOLS,
    Agreement,
    Refusal,
    address_group,
    client_address,
    examine,
    is_origin_allowed,
    parse_networks,
    tokens,
)


def headers(*lines: tuple[str, str]) -> CIMultiDict[str]:
    upgrade = [("Upgrade", "WebSocket"), ("Connection", "keep-alive"), ("connection", "UPGRADE")]
    return CIMultiDict([*upgrade, ("Sec-WebSocket-Version", "13"), ("Host", "hub.example:8081"), *lines])


def test_headers_may_come_in_several_lines_and_any_case() -> None:
    verdict = examine(b"/ws", headers(), WebSocketSettings(), SUBPROTOCOLS)
    assert verdict == Agreement("doorstep.v1.json", is_named=False)
    offered = headers(("Sec-WebSocket-Protocol", "a"), ("Sec-WebSocket-Protocol", "doorstep.v1.msgpack , b"))
    assert examine(b"/ws", offered, WebSocketSettings(), SUBPROTOCOLS) == Agreement(
        "doorstep.v1.msgpack", is_named=True
    )


def test_an_endpoint_without_subprotocols_agrees_on_none() -> None:
    offered = headers(("Sec-WebSocket-Protocol", "chat"))
    assert examine(b"/ws", offered, WebSocketSettings(), ()) == Agreement("", is_named=False)


@pytest.mark.parametrize(
    ("path", "lines", "status"),
    [
        (b"/wss", [], 404),
        (b"/", [], 404),
        (b"/ws", [("Sec-WebSocket-Version", "8")], 426),
        (b"/ws", [("Origin", "https://evil.example")], 403),
        (b"/ws", [("Origin", "https://hub.example"), ("Origin", "https://hub.example")], 403),
        (b"/ws", [("Origin", "https://[")], 403),
        (b"/ws", [("Sec-WebSocket-Protocol", "chat")], 400),
    ],
)
def test_each_refusal_has_its_status(path: bytes, lines: list[tuple[str, str]], status: int) -> None:
    verdict = examine(path, headers(*lines), WebSocketSettings(), SUBPROTOCOLS)
    assert isinstance(verdict, Refusal)
    assert verdict.status == status


@pytest.mark.parametrize(
    ("origin", "host", "is_allowed"),
    [
        ("https://hub.example", "hub.example:8081", True),
        ("http://[::1]:8080", "[::1]:8081", True),
        ("https://hub.example.evil", "hub.example", False),
        ("null", "hub.example", False),
        ("", "", False),
        ("file://", "", False),
    ],
)
def test_an_empty_allow_list_means_the_same_host(origin: str, host: str, is_allowed: bool) -> None:
    assert is_origin_allowed([origin], [host], ()) is is_allowed


TRUSTED = parse_networks(["10.0.0.0/8", "::1/128"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.1", "1.1.1.1", "203.0.113.1"),
        ("10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6, 1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.2.3.4", "1.1.1.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6, unknown, 10.2.3.4", "10.2.3.4"),
        ("::ffff:10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("::1", "2001:db8::7", "2001:db8::7"),
    ],
)
def test_the_client_is_the_first_untrusted_hop_from_the_right(peer: str, forwarded: str, address: str) -> None:
    lines = CIMultiDict([("X-Forwarded-For", forwarded)])
    assert client_address(peer, lines, TRUSTED) == address


def test_ipv6_clients_are_counted_by_their_subscriber() -> None:
    assert address_group("2001:db8:1:2:3:4:5:6") == address_group("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert address_group("2001:db8:1:3::1") != address_group("2001:db8:1:2::1")
    assert address_group("::ffff:1.2.3.4") == address_group("1.2.3.4") == "1.2.3.4"
    assert address_group("fe80::1%eth0") == "fe80::/64"
    assert address_group("not:an:address") == "not:an:address"


def test_empty_members_of_a_list_are_not_members() -> None:
    assert tokens(CIMultiDict([("A", ", x,,Y ,")]), "a") == ["x", "y"]
