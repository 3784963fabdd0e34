"""The server's own part of the config, and the root that holds every package's part. Values only.

Reading files and the environment is ``config.py``; the default ``config.yaml`` is written from these classes and
the strings under their fields by ``config_file.py``.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from core.ids import check_tenant
from core.ranges import Range, Ranged, check_ranges

PORT_MAX: Final = 65_535


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
    port: Annotated[int, Range(0, PORT_MAX)] = 0
    """TCP port; 0 takes any free one."""
    tls_cert_file: str = ""
    """PEM certificate chain; empty for a plain listener."""
    tls_key_file: str = ""
    """PEM private key of the certificate."""
    public_url: str = ""
    """URL by which clients reach this listener, told in `/config.json`; empty derives it from host and port."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self)
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            raise ValueError("tls_cert_file and tls_key_file must be given together")

    @property
    def tls(self) -> bool:
        """Whether this listener speaks TLS itself."""
        return bool(self.tls_cert_file)


@dataclass(frozen=True, slots=True)
class HttpSettings(ListenerSettings):
    """The HTTP listener: requests of apps, programs and consoles, and the first page."""

    port: Annotated[int, Range(0, PORT_MAX)] = 8080
    """TCP port; 0 takes any free one."""
    body_bytes_max: Annotated[int, Range(1_024, 16_777_216)] = 262_144
    """Largest request body, in bytes; `POST /v1/positions` with 512 fixes is about 60,000."""
    header_timeout_s: Annotated[float, Range(0.1, 300)] = 5.0
    """Seconds for a client to finish its request line and headers, and the same again for the body."""
    idle_timeout_s: Annotated[float, Range(1, 3_600)] = 75.0
    """Seconds that a kept-alive connection may stay silent."""
    connections_max: Annotated[int, Range(1, 1_000_000)] = 2_000
    """Connections at once; for one more the one is closed that has gone longest without asking with a good token."""
    connections_per_address_max: Annotated[int, Range(1, 1_000_000)] = 256
    """Connections at once from one address (an IPv6 /64); trusted proxies and this machine are not counted."""


@dataclass(frozen=True, slots=True)
class AdminSettings(Ranged):
    """The listener of /metrics, /healthz and /readyz. Never open it to the world."""

    host: str = "127.0.0.1"
    """Address to bind."""
    port: Annotated[int, Range(0, PORT_MAX)] = 9090
    """TCP port; 0 takes any free one."""


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
    leeway_s: Annotated[float, Range(0, 60)] = 5.0
    """Seconds by which the issuer's clock may be ahead of ours (`nbf`, `iat`)."""
    restricted_for_s: Annotated[float, Range(0, 604_800)] = 86_400.0
    """Seconds after its end in which a genuine token still raises an SOS, and does nothing else."""
    token_life_max_s: Annotated[float, Range(60, 31_622_400)] = 2_678_400.0
    """Seconds between `iat` (or `nbf`; one of them is needed) and `exp` beyond which a token is refused."""
    ticket_life_s: Annotated[float, Range(1, 300)] = 30.0
    """Seconds that a one-time ticket of `POST /v1/tickets` may wait to be used."""
    sos_pass_life_s: Annotated[float, Range(60, 604_800)] = 43_200.0
    """Seconds in which an SOS page that was opened by a ticket raises an SOS; it can do nothing else."""
    tickets_max: Annotated[int, Range(1, 10_000_000)] = 100_000
    """Unused tickets at once; beyond it new ones are refused with `overloaded`."""
    tickets_per_user_max: Annotated[int, Range(1, 10_000)] = 16
    """Unused tickets of one user at once; beyond it new ones are refused with `rate_limited`."""
    revoked_file: str = ""
    """File with one revoked `jti`, `sid` or `tenant/user` a line, read again within half a second of a change."""
    verified_cache_max: Annotated[int, Range(0, 1_000_000)] = 20_000
    """Verified tokens remembered, by their hash and never beyond their end; 0 verifies each time."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self)
        if not self.keys:
            raise ValueError("keys must name at least one key")
        if own := [kid for kid in self.keys if kid.startswith("_")]:
            raise ValueError(f"keys must not begin with _, which is the server's own: {own[0]!r}")


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
    """Clock of the city (IANA name), summer time included: shifts, nights, rush hours and learned speeds go by it."""

    def __post_init__(self) -> None:
        """Both names are needed, and a clock that is known here."""
        for name in ("tenant", "city"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        check_tenant(self.tenant)
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"timezone must be an IANA name such as Asia/Shanghai, is {self.timezone!r}") from None


@dataclass(frozen=True, slots=True)
class LogSettings(Ranged):
    """What is logged and how."""

    level: LogLevel = LogLevel.INFO
    """debug, info, warning or error."""
    format: LogFormat = LogFormat.AUTO
    """auto (text on a terminal, JSON otherwise), json or text."""
    security_every_s: Annotated[float, Range(1, 3_600)] = 60.0
    """Seconds between two lines that sum up the security events: refused sign-ins, rights, rates; none without any."""


@dataclass(frozen=True, slots=True)
class LifecycleSettings(Ranged):
    """How the process lives and ends."""

    unready_s: Annotated[float, Range(0, 300)] = 0.0
    """Seconds between saying not ready and sending clients away: time for a load balancer to notice."""
    requests_s: Annotated[float, Range(0, 300)] = 5.0
    """Seconds for HTTP requests under way to finish."""
    collect_every_s: Annotated[float, Range(0, 604_800)] = 21_600.0
    """Seconds between two full garbage collections, in which everything stands still (160 ms with 5,000 sessions);
    0 for none. One comes earlier when very much has been left behind."""


def check_networks(proxies: tuple[str, ...]) -> None:
    """Raise ``ValueError`` unless each entry is an address or a network in CIDR form."""
    for proxy in proxies:
        try:
            ip_network(proxy, strict=False)
        except ValueError:
            raise ValueError(f"trusted_proxies must hold addresses or networks (10.0.0.0/8), has {proxy!r}") from None
