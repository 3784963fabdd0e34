"""Whether an upgrade request is let in: path, version, origin, subprotocol, and who is really asking. Pure.

Order of the checks is the order of the answers: 404, 426, 403, 400; what depends on how many are connected already
(429, 503) is the listener's business.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Protocol
from urllib.parse import urlsplit

from transport.settings import WebSocketSettings

JSON: Final = "doorstep.v1.json"
MSGPACK: Final = "doorstep.v1.msgpack"
SUBPROTOCOLS: Final = (JSON, MSGPACK)

Network = IPv4Network | IPv6Network


class Headers(Protocol):
    """A case-insensitive multi-valued mapping, as picows gives it."""

    def getall(self, key: str, default: list[str]) -> list[str]:
        """All values of one header, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """An upgrade that is answered with an HTTP error.

    Attributes:
        status: HTTP status.
        code: Stable word, counted and put into the body.
        message: One sentence for a developer.
        headers: What this status obliges us to add.
    """

    status: int
    code: str
    message: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Agreement:
    """An upgrade that may go on.

    Attributes:
        subprotocol: The one spoken; ``""`` where the endpoint speaks none.
        is_named: Whether the client offered it, so that the answer must name it (RFC 6455 section 4.2.2).
    """

    subprotocol: str
    is_named: bool


def examine(
    path: bytes, headers: Headers, settings: WebSocketSettings, subprotocols: Sequence[str]
) -> Agreement | Refusal:
    """Judge an upgrade request by what it says."""
    if path.split(b"?", 1)[0] != settings.path.encode():
        return Refusal(404, "not_found", f"the hub is at {settings.path}")
    if "websocket" not in tokens(headers, "Upgrade") or "upgrade" not in tokens(headers, "Connection"):
        return Refusal(426, "upgrade_required", "this path speaks WebSocket only", {"Upgrade": "websocket"})
    if headers.getall("Sec-WebSocket-Version", []) != ["13"]:
        # RFC 6455 section 4.4: name the version that is spoken.
        return Refusal(426, "websocket_version", "WebSocket version must be 13", {"Sec-WebSocket-Version": "13"})
    if not is_origin_allowed(headers.getall("Origin", []), headers.getall("Host", []), settings.origins):
        return Refusal(403, "origin", "this origin is not in the allow-list")
    return _choose(headers, subprotocols)


def _choose(headers: Headers, subprotocols: Sequence[str]) -> Agreement | Refusal:
    offered = tokens(headers, "Sec-WebSocket-Protocol", is_lower=False)
    if not subprotocols:
        return Agreement("", is_named=False)
    if not offered:
        # A browser's `new WebSocket(url)` offers none and would fail if the answer named one.
        return Agreement(subprotocols[0], is_named=False)
    for name in offered:  # the client's order is its preference
        if name in subprotocols:
            return Agreement(name, is_named=True)
    return Refusal(400, "subprotocol", f"offer one of {', '.join(subprotocols)}, or none for JSON")


def tokens(headers: Headers, name: str, *, is_lower: bool = True) -> list[str]:
    """The comma-separated members of a header, over all of its lines."""
    members = (member.strip() for line in headers.getall(name, []) for member in line.split(","))
    return [member.lower() if is_lower else member for member in members if member]


def is_origin_allowed(origins: Sequence[str], hosts: Sequence[str], allowed: Sequence[str]) -> bool:
    """Whether a page of this origin may connect; a request without Origin is not from a browser.

    Args:
        origins: Values of the ``Origin`` header, at most one in an honest request.
        hosts: Values of the ``Host`` header.
        allowed: The setting; empty means the same host, whatever its port.
    """
    if not origins:
        return True
    if len(origins) != 1:
        return False
    if not allowed:
        return len(hosts) == 1 and _hostname(origins[0]) == _hostname("//" + hosts[0]) != ""
    return "*" in allowed or _plain(origins[0]) in {_plain(origin) for origin in allowed}


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _plain(origin: str) -> str:
    return origin.strip().rstrip("/").lower()


def parse_networks(proxies: Sequence[str]) -> tuple[Network, ...]:
    """The setting ``trusted_proxies`` as networks."""
    return tuple(ip_network(proxy, strict=False) for proxy in proxies)


def client_address(peer: str, headers: Headers, trusted: Sequence[Network]) -> str:
    """Address of the client behind trusted proxies, else of the socket.

    Read from the right: each trusted hop vouches for the one before it; the first that is not trusted is the client.
    What stands further left is the client's own claim.
    """
    address = peer
    for hop in reversed(tokens(headers, "X-Forwarded-For")):
        if not _is_trusted(address, trusted):
            break
        try:
            address = str(ip_address(hop))
        except ValueError:
            break
    return address


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    if not trusted:
        return False
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip in network for network in trusted)


def address_group(address: str) -> str:
    """What the per-address limit counts: the address, or an IPv6 client's /64 (all of which is one subscriber's)."""
    if ":" not in address:
        return address
    try:
        ip = IPv6Address(address.split("%", 1)[0])
    except ValueError:
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(IPv6Network((int(ip) >> 64 << 64, 64)))
