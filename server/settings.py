"""The server's own part of the config, and the root that holds every package's part. Values only.

Reading files and the environment is ``config.py``; the default ``config.yaml`` is written from these classes and
the strings under their fields by ``config_file.py``.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address, ip_network
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

PORT_MAX = 65_535


class Algorithm(StrEnum):
    """Signatures that tokens may carry; one per key, never chosen by the token."""

    HS256 = "HS256"
    EDDSA = "EdDSA"


class LogFormat(StrEnum):
    """How log lines look."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    """The least severe line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def check_port(port: int) -> None:
    """Raise ``ValueError`` unless ``port`` is 0 (any free one) to 65535."""
    if not 0 <= port <= PORT_MAX:
        raise ValueError(f"must be between 0 (any free port) and {PORT_MAX}, is {port}")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on ``host``."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """Where a listener is bound, and its certificate."""

    host: str = "127.0.0.1"
    """Address to bind. Beyond loopback it needs TLS files here or `trusted_proxies` (TLS ends in the proxy)."""
    port: int = 0
    """TCP port; 0 takes any free one."""
    tls_cert_file: str = ""
    """PEM certificate chain; empty for a plain listener."""
    tls_key_file: str = ""
    """PEM private key of the certificate."""
    public_url: str = ""
    """URL by which clients reach this listener, told in `/config.json`; empty derives it from host and port."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_port(self.port)
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            raise ValueError("tls_cert_file and tls_key_file must be given together")

    @property
    def tls(self) -> bool:
        """Whether this listener speaks TLS itself."""
        return bool(self.tls_cert_file)


@dataclass(frozen=True, slots=True)
class HttpSettings(ListenerSettings):
    """The HTTP listener: requests of apps, programs and consoles, and the first page."""

    port: int = 8080
    """TCP port; 0 takes any free one."""
    body_bytes_max: int = 262_144
    """Largest request body, in bytes; `POST /v1/positions` with 512 fixes is about 60,000."""
    header_timeout_s: float = 10.0
    """Seconds for a client to finish its request line and headers, and the same again for the body."""
    idle_timeout_s: float = 75.0
    """Seconds that a kept-alive connection may stay silent."""
    connections_max: int = 2_000
    """Connections at once; for one more the one is closed that has gone longest without asking with a good token."""
    connections_per_address_max: int = 256
    """Connections at once from one address (an IPv6 /64); trusted proxies and this machine are not counted."""

    def __post_init__(self) -> None:
        """Check ranges."""
        super(HttpSettings, self).__post_init__()  # slots make a new class; bare super() sees the old
        if not 1_024 <= self.body_bytes_max <= 16_777_216:
            raise ValueError(f"body_bytes_max must be between 1024 and 16777216, is {self.body_bytes_max}")
        if not 0.1 <= self.header_timeout_s <= 300:
            raise ValueError(f"header_timeout_s must be between 0.1 and 300, is {self.header_timeout_s}")
        if not 1 <= self.idle_timeout_s <= 3_600:
            raise ValueError(f"idle_timeout_s must be between 1 and 3600, is {self.idle_timeout_s}")
        if not 1 <= self.connections_max <= 1_000_000:
            raise ValueError(f"connections_max must be between 1 and 1000000, is {self.connections_max}")
        per_address = self.connections_per_address_max
        if not 1 <= per_address <= 1_000_000:
            raise ValueError(f"connections_per_address_max must be between 1 and 1000000, is {per_address}")


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """The listener of /metrics, /healthz and /readyz. Never open it to the world."""

    host: str = "127.0.0.1"
    """Address to bind."""
    port: int = 9090
    """TCP port; 0 takes any free one."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_port(self.port)


@dataclass(frozen=True, slots=True)
class KeySettings:
    """One key that tokens may be signed with. The secret itself is never in this file."""

    algorithm: Algorithm = Algorithm.HS256
    """HS256 (shared secret of at least 32 bytes) or EdDSA (Ed25519 public key in PEM). Pinned here."""
    secret_env: str = ""
    """Name of the environment variable that holds the secret or the PEM public key."""
    secret_file: str = ""
    """File that holds it, instead of the environment; a relative path starts at the config file's folder."""

    def __post_init__(self) -> None:
        """Exactly one place."""
        if bool(self.secret_env) == bool(self.secret_file):
            raise ValueError("needs exactly one of secret_env and secret_file")


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """Who may speak: tokens (JWT) and one-time tickets."""

    issuer: str = "doorstep"
    """`iss` that every token must carry."""
    audience: str = "doorstep"
    """`aud` that every token must carry."""
    keys: dict[str, KeySettings] = field(
        default_factory=lambda: {"main": KeySettings(Algorithm.HS256, "DOORSTEP_JWT_SECRET")}
    )
    """Keys by `kid`; a token without `kid` is refused unless there is only one key."""
    leeway_s: float = 5.0
    """Seconds by which the issuer's clock may be ahead of ours (`nbf`, `iat`)."""
    restricted_for_s: float = 86_400.0
    """Seconds after its end in which a genuine token still raises an SOS, and does nothing else."""
    token_life_max_s: float = 2_678_400.0
    """Seconds between `iat` (or `nbf`; one of them is needed) and `exp` beyond which a token is refused."""
    ticket_life_s: float = 30.0
    """Seconds that a one-time ticket of `POST /v1/tickets` may wait to be used."""
    tickets_max: int = 100_000
    """Unused tickets at once; beyond it new ones are refused with `overloaded`."""
    tickets_per_user_max: int = 16
    """Unused tickets of one user at once; beyond it new ones are refused with `rate_limited`."""
    revoked_file: str = ""
    """File with one revoked `jti` (or `tenant/user`) a line, read at the start and again on SIGHUP."""
    verified_cache_max: int = 20_000
    """Verified tokens remembered, by their hash and never beyond their end; 0 verifies each time."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.keys:
            raise ValueError("keys must name at least one key")
        if not 0 <= self.leeway_s <= 60:
            raise ValueError(f"leeway_s must be between 0 and 60, is {self.leeway_s}")
        if not 0 <= self.restricted_for_s <= 604_800:
            raise ValueError(f"restricted_for_s must be between 0 and 604800, is {self.restricted_for_s}")
        if not 60 <= self.token_life_max_s <= 31_622_400:
            raise ValueError(f"token_life_max_s must be between 60 and 31622400, is {self.token_life_max_s}")
        if not 1 <= self.ticket_life_s <= 300:
            raise ValueError(f"ticket_life_s must be between 1 and 300, is {self.ticket_life_s}")
        if not 1 <= self.tickets_max <= 10_000_000:
            raise ValueError(f"tickets_max must be between 1 and 10000000, is {self.tickets_max}")
        if not 1 <= self.tickets_per_user_max <= 10_000:
            raise ValueError(f"tickets_per_user_max must be between 1 and 10000, is {self.tickets_per_user_max}")
        if not 0 <= self.verified_cache_max <= 1_000_000:
            raise ValueError(f"verified_cache_max must be between 0 and 1000000, is {self.verified_cache_max}")


@dataclass(frozen=True, slots=True)
class CitySettings:
    """One city of one tenant: the unit that is matched as a whole."""

    tenant: str = ""
    """Tenant that works there."""
    city: str = ""
    """The city's id."""
    boundary_file: str = ""
    """GeoJSON (RFC 7946) that holds the city; a relative path starts at the config file's folder. Empty: the file
    of this name that comes with Doorstep (shenzhen)."""
    open: bool = True
    """Whether orders are taken; a closed city answers `outside_service_area`."""
    timezone: str = "Asia/Shanghai"
    """Clock of the city (IANA name), by which shifts are worked."""

    def __post_init__(self) -> None:
        """Both names are needed, and a clock that is known here."""
        for name in ("tenant", "city"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"timezone must be an IANA name such as Asia/Shanghai, is {self.timezone!r}") from None


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged and how."""

    level: LogLevel = LogLevel.INFO
    """debug, info, warning or error."""
    format: LogFormat = LogFormat.AUTO
    """auto (text on a terminal, JSON otherwise), json or text."""


@dataclass(frozen=True, slots=True)
class LifecycleSettings:
    """How the process lives and ends."""

    unready_s: float = 0.0
    """Seconds between saying not ready and sending clients away: time for a load balancer to notice."""
    requests_s: float = 5.0
    """Seconds for HTTP requests under way to finish."""
    collect_every_s: float = 21_600.0
    """Seconds between two full garbage collections, in which everything stands still (160 ms with 5,000 sessions);
    0 for none."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 <= self.collect_every_s <= 604_800:
            raise ValueError(f"collect_every_s must be between 0 and 604800, is {self.collect_every_s}")
        if not 0 <= self.unready_s <= 300:
            raise ValueError(f"unready_s must be between 0 and 300, is {self.unready_s}")
        if not 0 <= self.requests_s <= 300:
            raise ValueError(f"requests_s must be between 0 and 300, is {self.requests_s}")


def check_networks(proxies: tuple[str, ...]) -> None:
    """Raise ``ValueError`` unless each entry is an address or a network in CIDR form."""
    for proxy in proxies:
        try:
            ip_network(proxy, strict=False)
        except ValueError:
            raise ValueError(f"trusted_proxies must hold addresses or networks (10.0.0.0/8), has {proxy!r}") from None
