"""Ranges of the listener's settings."""

import pytest

from transport.settings import WebSocketSettings


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"port": 70_000}, "port must be between 0 and 65535, is 70000"),
        ({"connections_max": 0}, "connections_max must be between 1 and 1000000, is 0"),
        ({"handshake_timeout_s": float("nan")}, "handshake_timeout_s must be between"),
        ({"path": "ws"}, "path must start with /, is 'ws'"),
        ({"trusted_proxies": ("10.0.0.1/8",)}, "trusted_proxies must hold addresses or networks"),
    ],
)
def test_values_out_of_range_are_named(changes: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        WebSocketSettings(**changes)  # type: ignore[arg-type]
