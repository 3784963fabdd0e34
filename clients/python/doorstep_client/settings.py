"""How patient and how careful a client is. Defaults suit a phone on a mobile network."""

from dataclasses import dataclass
from enum import StrEnum


class Encoding(StrEnum):
    """The two encodings of the wire; same shapes."""

    JSON = "doorstep.v1.json"
    MSGPACK = "doorstep.v1.msgpack"


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Time limits and bounds of one client. All durations in seconds."""

    welcome_timeout_s: float = 10.0
    """A connection without ``welcome`` by then is dropped."""
    silence_heartbeats: float = 3.0
    """Heartbeat intervals of silence after which the server counts as gone."""
    reconnect_base_s: float = 0.5
    """First upper bound of the full-jitter back-off; it doubles with each failure."""
    reconnect_max_s: float = 30.0
    """Largest upper bound of the back-off."""
    steady_after_s: float = 10.0
    """A session that lived this long resets the back-off."""
    sos_retry_s: float = 2.0
    """First wait before an unacknowledged SOS is sent again; it doubles."""
    sos_retry_max_s: float = 10.0
    """Largest wait between two sends of an SOS."""
    sos_not_received_s: float = 5.0
    """A tap without any answer by then is told to the application (``SosNotReceived``), once."""
    sos_keys_kept: int = 20
    """Taps remembered after they were stored, to be offered again to a server that was restored from before them."""
    sos_keep_s: float = 86_400.0
    """Seconds since a tap for which it is remembered so."""
    request_timeout_s: float = 30.0
    """A request without an answer by then, while connected, ends with ``timeout``."""
    answer_retry_s: float = 5.0
    """An answer to a check that nobody confirmed by then is sent again; it is never given up."""
    ping_resend_s: float = 20.0
    """A sent ping not stored by then is sent again (the server drops what it has)."""
    ping_buffer_max: int = 20_000
    """Pings kept while offline; beyond it the oldest are dropped and counted."""
    ping_gap_wait_s: float = 60.0
    """Where numbers jump after the application was killed: so long pings behind the gap wait for those before it."""
    ping_batch_max: int = 512
    """Rows in one ``pings`` frame (the server may ask for fewer)."""
    send_timeout_s: float = 10.0
    """A connection that takes no more bytes for so long is dropped."""
    close_timeout_s: float = 2.0
    """How long to wait for the server's half of a close."""
    replaced_by_self_s: float = 120.0
    """A 4509 so soon after a connection broke off comes from that connection, arrived late: come back."""
    sos_http_after_s: float = 3.0
    """A tap without any answer by then is also sent over HTTP (``HttpSender``); at once while there is no session."""
    http_timeout_s: float = 15.0
    """A request over HTTP without an answer by then is given up; the server answers an SOS within 10 s."""
    pings_over_http: bool = False
    """Whether pings go over HTTP while there is no session."""
    pings_http_after_s: float = 15.0
    """Seconds without a session before they do, and the shortest time between two such requests."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in (
            "welcome_timeout_s",
            "silence_heartbeats",
            "reconnect_base_s",
            "reconnect_max_s",
            "sos_retry_s",
            "sos_not_received_s",
            "answer_retry_s",
            "ping_gap_wait_s",
            "send_timeout_s",
            "close_timeout_s",
            "replaced_by_self_s",
            "sos_http_after_s",
            "http_timeout_s",
            "pings_http_after_s",
        ):
            value = getattr(self, name)
            if not 0 < value < 86_400:
                raise ValueError(f"{name} must be between 0 and 86400, is {value}")
        if not 0 <= self.sos_keys_kept <= 1_000:
            raise ValueError(f"sos_keys_kept must be between 0 and 1000, is {self.sos_keys_kept}")
        if not 1 <= self.ping_batch_max <= 512:
            raise ValueError(f"ping_batch_max must be between 1 and 512, is {self.ping_batch_max}")
        if self.ping_buffer_max < self.ping_batch_max:
            raise ValueError(f"ping_buffer_max must be at least {self.ping_batch_max}, is {self.ping_buffer_max}")
