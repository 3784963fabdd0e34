"""Webhooks' part of the config: endpoints, retries, bounds."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Final
from urllib.parse import urlsplit

from core.ids import check_tenant
from core.ranges import Range, check_ranges

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
EVERY_EVENT: Final = "*"


def check_url(url: str, private_hosts: tuple[str, ...]) -> None:
    """Raise ``ValueError`` unless programs may be told things at this URL: https, or http to a host that is named."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
        raise ValueError(f"url must be https://host[:port]/path without user or fragment, is {url!r}")
    if parts.scheme == "http" and parts.hostname not in private_hosts:
        raise ValueError(f"url {url!r} is not encrypted: use https, or name {parts.hostname} in private_hosts")


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """One program that is told of events."""

    tenant: str = ""
    """Whose events."""
    url: str = ""
    """Where they are posted: https, or http to one of `private_hosts`."""
    events: tuple[str, ...] = (EVERY_EVENT,)
    """Kinds of events, such as `order.assigned`; `*` for all."""
    cities: tuple[str, ...] = ()
    """Only events of these cities; empty for all of the tenant."""
    details: bool = False
    """Whether contact, address and what people wrote (`said`) stand in the events."""
    secret_env: str = ""
    """Name of the environment variable that holds the secret of the signature, at least 32 bytes. Several, one a line,
    each sign: that is how a secret is changed."""
    secret_file: str = ""
    """File that holds it, instead of the environment; a relative path starts at the config file's folder."""

    def __post_init__(self) -> None:
        """Check what one endpoint can tell."""
        if not self.tenant:
            raise ValueError("tenant must not be empty")
        check_tenant(self.tenant)
        if not self.events:
            raise ValueError("events must name at least one kind, or *")
        if bool(self.secret_env) == bool(self.secret_file):
            raise ValueError("needs exactly one of secret_env and secret_file")


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Programs outside that are told of order events, at least once each."""

    endpoints: dict[str, EndpointSettings] = field(default_factory=dict)
    """Endpoints by name: `{billing: {tenant: demo, url: "https://…", events: [order.confirmed], secret_env: X}}`."""
    private_hosts: tuple[str, ...] = ()
    """Hosts that may lie in a private network or on this machine, and may be plain http. All other names must lead to
    public addresses."""
    timeout_s: Annotated[float, Range(0.1, 120)] = 10.0
    """Seconds for one attempt, from the look-up of the name to the head of the answer; its body is not read."""
    in_flight_max: Annotated[int, Range(1, 100)] = 4
    """Attempts at the same time for one endpoint."""
    retry_first_s: Annotated[float, Range(0.05, 3_600)] = 2.0
    """Seconds before the second attempt; doubled each time, with a random half."""
    retry_longest_s: Annotated[float, Range("retry_first_s", 86_400)] = 3_600.0
    """Longest pause between two attempts, also when the receiver asks for a longer one."""
    attempts_max: Annotated[int, Range(1, 1_000)] = 30
    """Attempts after which an event is dead."""
    give_up_s: Annotated[float, Range(1, 2_592_000)] = 259_200.0
    """Age in seconds after which an event is dead."""
    breaker_failures: Annotated[int, Range(1, 1_000)] = 5
    """Attempts in a row that speak against the endpoint, after which it is left alone for a while."""
    breaker_first_s: Annotated[float, Range(0.05, 3_600)] = 10.0
    """How long it is left alone, seconds; doubled each time the one attempt after it fails too."""
    breaker_longest_s: Annotated[float, Range("breaker_first_s", 86_400)] = 600.0
    """Longest time it is left alone, seconds."""
    queue_len_max: Annotated[int, Range(1, 10_000_000)] = 100_000
    """Events that may wait for one endpoint; beyond it new ones are not written, and counted as dropped."""
    window_len: Annotated[int, Range("in_flight_max", 100_000)] = 1_000
    """Waiting events of one endpoint that are held in memory; the rest is in the database."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        check_ranges(self)
        for name, endpoint in self.endpoints.items():
            if not _NAME.fullmatch(name):
                raise ValueError(f"endpoints: the name {name!r} must be 1 to 32 small letters, digits, - or _")
            try:
                check_url(endpoint.url, self.private_hosts)
            except ValueError as error:
                raise ValueError(f"endpoints.{name}.{error}") from None


@dataclass(frozen=True, slots=True)
class PushSettings:
    """The platform's push service, which wakes a phone that an offer does not find."""

    url: str = ""
    """Where a wake is posted: https, or http to one of `webhooks.private_hosts`. Empty: phones are not woken."""
    secret_env: str = ""
    """Name of the environment variable that holds the secret of the signature, as for a webhook."""
    secret_file: str = ""
    """File that holds it, instead of the environment; a relative path starts at the config file's folder."""
    timeout_s: Annotated[float, Range(0.1, 60)] = 3.0
    """Seconds for the service to take a wake; never longer than the offer lasts."""
    quiet_s: Annotated[float, Range(0, 3_600)] = 15.0
    """Seconds after a wake in which the same technician is not woken again."""
    under_way_max: Annotated[int, Range(1, 10_000)] = 64
    """Wakes at the same time; one more is left out, and counted as crowded."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        check_ranges(self)
        if bool(self.secret_env) + bool(self.secret_file) != bool(self.url):
            raise ValueError("needs exactly one of secret_env and secret_file with a url, and none without")
