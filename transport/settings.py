"""Settings of the WebSocket listener."""

from dataclasses import dataclass
from ipaddress import ip_network
from typing import Annotated

from core.ranges import Range, check_ranges


@dataclass(frozen=True, slots=True)
class WebSocketSettings:
    """The hub's socket: where it listens, whom it lets in, and how long it waits."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Range(0, 65_535)] = 8081
    """Port to listen on; 0 takes a free one."""
    path: str = "/ws"
    """Path of the endpoint; any other is answered 404."""
    origins: tuple[str, ...] = ()
    """Origins of browsers let in, as `https://console.example.com`; empty: the host asked for (any port); `*`: any."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies whose X-Forwarded-For is believed, as `10.0.0.0/8`."""
    connections_max: Annotated[int, Range(1, 1_000_000)] = 20_000
    """Connections at once; more are answered 503."""
    connections_per_address_max: Annotated[int, Range(1, 1_000_000)] = 1_000
    """Connections at once from one address (IPv6: one /64), else 429; carriers put many phones behind one address."""
    handshake_timeout_s: Annotated[float, Range(0.1, 60)] = 2.0
    """Time for a client to send its whole upgrade request, in seconds."""
    close_timeout_s: Annotated[float, Range(0.1, 60)] = 2.0
    """Time for the peer to answer a close before the socket is dropped, in seconds."""
    linger_s: Annotated[float, Range(0, 10)] = 1.0
    """Time to keep reading after closing on a peer's error, in seconds; without it the close code is lost."""
    message_timeout_s: Annotated[float, Range(0.1, 600)] = 30.0
    """Time for the fragments of one message to arrive, in seconds."""
    message_bytes_max: Annotated[int, Range(1_024, 16_777_216)] = 65_536
    """Largest message, over all of its fragments, in bytes (close 1009)."""
    write_high_bytes: Annotated[int, Range(0, 16_777_216)] = 16_384
    """Unwritten bytes at which a connection pauses its queue; it resumes at a quarter of that."""
    send_buffer_bytes: Annotated[int, Range(0, 16_777_216)] = 131_072
    """Size asked of the kernel for each socket's send buffer, in bytes; 0 lets it grow by itself, to megabytes."""
    receive_buffer_bytes: Annotated[int, Range(0, 16_777_216)] = 65_536
    """Size asked of the kernel for each socket's receive buffer, in bytes; 0 lets it grow by itself, to megabytes."""
    backlog: Annotated[int, Range(1, 65_535)] = 1_024
    """Connections that the kernel may hold before they are accepted."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self)
        if not self.path.startswith("/"):
            raise ValueError(f"path must start with /, is {self.path!r}")
        for proxy in self.trusted_proxies:
            try:
                ip_network(proxy)
            except ValueError as error:
                raise ValueError(f"trusted_proxies must hold addresses or networks, has {proxy!r}: {error}") from None
