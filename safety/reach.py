"""How people are reached outside the hub: channels, their clocks, who is called when nobody answers."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import urlsplit

from core.ids import check_tenant
from core.ranges import Range, check_ranges

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_PHONE: Final = re.compile(r"\+?[0-9]{3,20}")
_EMAIL: Final = re.compile(r"[^\s@]{1,64}@[^\s@]{1,190}")


class RobotKind(StrEnum):
    """Chat services whose group robots can be told."""

    DINGTALK = "dingtalk"
    WECOM = "wecom"
    FEISHU = "feishu"


class Language(StrEnum):
    """Of what is written outside the hub."""

    EN = "en"
    ZH = "zh"


def check_secret(secret_env: str, secret_file: str, *, is_needed: bool) -> None:
    """Raise ``ValueError`` unless exactly one place of a secret is named, or none where none is needed."""
    named = bool(secret_env) + bool(secret_file)
    if named > 1 or (is_needed and not named):
        raise ValueError("needs exactly one of secret_env and secret_file")


def _check_phone(phone: str) -> None:
    if phone and not _PHONE.fullmatch(phone):
        raise ValueError(f"phone must be 3 to 20 digits with at most a + before them, is {phone!r}")


def _check_email(email: str) -> None:
    if email and not _EMAIL.fullmatch(email):
        raise ValueError(f"email must be one address, is {email!r}")


@dataclass(frozen=True, slots=True)
class RobotSettings:
    """One robot of a group chat, told of every incident of its cities at once and at each level."""

    tenant: str = ""
    """Whose incidents."""
    kind: RobotKind = RobotKind.DINGTALK
    """dingtalk, wecom or feishu."""
    cities: tuple[str, ...] = ()
    """Only incidents of these cities and those without one; empty for all of the tenant (headquarters)."""
    mobiles: tuple[str, ...] = ()
    """Phone numbers of members of the group who are mentioned."""
    details: bool = False
    """Whether name, address and note stand in the message, for all of the group to read."""
    secret_env: str = ""
    """Name of the environment variable that holds the robot's token (`access_token`, `key` or the end of the hook's
    address) in its first line, and the secret of its signature in the second where it has one."""
    secret_file: str = ""
    """File that holds them, instead of the environment; a relative path starts at the config file's folder."""
    url: str = ""
    """Where the robots of this kind are; empty for the chat service's own address."""

    def __post_init__(self) -> None:
        """Check what one robot can tell."""
        if not self.tenant:
            raise ValueError("tenant must not be empty")
        check_tenant(self.tenant)
        for mobile in self.mobiles:
            _check_phone(mobile)
        check_secret(self.secret_env, self.secret_file, is_needed=True)


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """A program that sends short messages or makes calls for us."""

    url: str = ""
    """Where a page is posted: https, or http to one of `webhooks.private_hosts`. Empty: there is no such channel."""
    secret_env: str = ""
    """Name of the environment variable that holds the secret of the signature, as for a webhook."""
    secret_file: str = ""
    """File that holds it, instead of the environment; a relative path starts at the config file's folder."""
    details: bool = True
    """Whether name, address and note stand in the text."""

    def __post_init__(self) -> None:
        """A gateway that is there signs."""
        check_secret(self.secret_env, self.secret_file, is_needed=bool(self.url))
        if not self.url and (self.secret_env or self.secret_file):
            raise ValueError("url must not be empty when there is a secret")


@dataclass(frozen=True, slots=True)
class SafetyWebhookSettings:
    """Another system (a guard company, an alarm centre) that is told of incidents."""

    tenant: str = ""
    """Whose incidents."""
    url: str = ""
    """Where they are posted: https, or http to one of `webhooks.private_hosts`."""
    cities: tuple[str, ...] = ()
    """Only incidents of these cities and those without one; empty for all of the tenant."""
    external: bool = True
    """Whether it belongs to somebody else, so that it waits until the subject can no longer abort."""
    details: bool = True
    """Whether name, address and note stand in the event."""
    secret_env: str = ""
    """Name of the environment variable that holds the secret of the signature, as for a webhook."""
    secret_file: str = ""
    """File that holds it, instead of the environment; a relative path starts at the config file's folder."""

    def __post_init__(self) -> None:
        """Check what one webhook can tell."""
        for name in ("tenant", "url"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        check_tenant(self.tenant)
        check_secret(self.secret_env, self.secret_file, is_needed=True)


@dataclass(frozen=True, slots=True)
class EmailSettings:
    """The mail server that takes our mail. Always encrypted unless it is on this machine."""

    host: str = ""
    """Its name. Empty: there is no mail."""
    port: Annotated[int, Range(1, 65_535)] = 587
    """587 for STARTTLS, 465 for TLS from the first byte."""
    sender: str = ""
    """Address that the mail comes from."""
    user: str = ""
    """User of the mail server; empty for none."""
    secret_env: str = ""
    """Name of the environment variable that holds the user's password."""
    secret_file: str = ""
    """File that holds it, instead of the environment; a relative path starts at the config file's folder."""

    def __post_init__(self) -> None:
        """Check what belongs together."""
        check_ranges(self)
        _check_email(self.sender)
        if bool(self.host) != bool(self.sender):
            raise ValueError("host and sender must be given together")
        check_secret(self.secret_env, self.secret_file, is_needed=bool(self.user))


@dataclass(frozen=True, slots=True)
class SupervisorSettings:
    """Somebody on duty who is called when no console is connected, and from level 2 on."""

    tenant: str = ""
    """Whose incidents."""
    cities: tuple[str, ...] = ()
    """Only incidents of these cities and those without one; empty for all of the tenant."""
    phone: str = ""
    """For short messages and calls."""
    email: str = ""
    """For mail."""

    def __post_init__(self) -> None:
        """Somebody who can be reached."""
        if not self.tenant:
            raise ValueError("tenant must not be empty")
        check_tenant(self.tenant)
        _check_phone(self.phone)
        _check_email(self.email)
        if not (self.phone or self.email):
            raise ValueError("needs a phone or an email")


@dataclass(frozen=True, slots=True)
class LastResortSettings:
    """Who is called when nobody can be reached, at level 3, and when the SOS path itself is broken. Required."""

    phone: str = ""
    """For short messages and calls; needs `sms` or `voice`."""
    email: str = ""
    """For mail; needs `email`."""
    log: bool = False
    """Whether a critical line in the server's log counts as reaching somebody: for demos and tests, and where an alarm
    hangs on the log."""

    def __post_init__(self) -> None:
        """Check the addresses."""
        _check_phone(self.phone)
        _check_email(self.email)


@dataclass(frozen=True, slots=True)
class SyntheticSettings:
    """An SOS of nobody, sent through everything but the last hop, which proves that the path works."""

    first_s: Annotated[float, Range(0, 86_400)] = 2.0
    """Seconds from the start to the first one."""
    every_s: Annotated[float, Range(1, 3_600)] = 60.0
    """Seconds between two; after a miss the next one begins at once, until it counts as broken.

    A channel that dies is told after `every_s` and `misses_max` times `timeout_s` at the latest: 100 s by default.
    """
    timeout_s: Annotated[float, Range(0.5, 60)] = 20.0
    """Seconds for one to come through; later counts as missed."""
    misses_max: Annotated[int, Range(1, 10)] = 2
    """Missed in a row until the alarm: by channels that still work, readiness false."""


@dataclass(frozen=True, slots=True)
class ReachSettings:
    """Channels beside the hub. Each is optional, but one of them must reach `last_resort`."""

    last_resort: LastResortSettings = LastResortSettings()
    """Who is called when nobody can be reached, at level 3, and when the SOS path itself is broken. Required."""
    push_after_s: Annotated[float, Range(1, 60)] = 3.0
    """Seconds without a receipt of a device until its owner is woken by push (`push.url`)."""
    sms_after_s: Annotated[float, Range("push_after_s", 300)] = 10.0
    """Seconds without a receipt until a short message."""
    voice_after_s: Annotated[float, Range("sms_after_s", 600)] = 30.0
    """Seconds without a receipt until a call."""
    contacts_level: Annotated[int, Range(0, 3)] = 2
    """Level from which the subject's emergency contacts are told."""
    attempt_timeout_s: Annotated[float, Range(0.1, 10)] = 3.0
    """Seconds for one attempt of one channel, from the look-up of the name to the answer."""
    retry_first_s: Annotated[float, Range(0.1, 60)] = 5.0
    """Seconds until a failed attempt is made again; doubled each time, without end while nobody has taken it."""
    retry_longest_s: Annotated[float, Range("retry_first_s", 600)] = 60.0
    """Longest pause between two attempts."""
    in_flight_max: Annotated[int, Range(1, 1_000)] = 8
    """Attempts of one channel at the same time."""
    breaker_failures: Annotated[int, Range(1, 100)] = 5
    """Failures in a row after which a channel is left alone for a moment."""
    breaker_rest_s: Annotated[float, Range(0.1, 300)] = 10.0
    """How long it is left alone, seconds."""
    language: Language = Language.ZH
    """Of what is written: zh or en."""
    console_url: str = ""
    """Page of an incident for those who are called, with `{incident}` where its id belongs; empty for none."""
    heartbeat_url: str = ""
    """Asked every 30 s while nothing is overdue and the synthetic SOS comes through: whoever watches it is alarmed when
    that stops. https, or http to one of `webhooks.private_hosts`."""
    robots: dict[str, RobotSettings] = field(default_factory=dict)
    """Group robots by name: `{hq: {tenant: demo, kind: dingtalk, url: "https://…", secret_env: X}}`."""
    sms: GatewaySettings = GatewaySettings()
    """The gateway of short messages."""
    voice: GatewaySettings = GatewaySettings()
    """The gateway of calls."""
    email: EmailSettings = EmailSettings()
    """The mail server."""
    webhooks: dict[str, SafetyWebhookSettings] = field(default_factory=dict)
    """Other systems by name: `{guards: {tenant: demo, url: "https://…", secret_env: X}}`."""
    supervisors: dict[str, SupervisorSettings] = field(default_factory=dict)
    """Duty supervisors by name: `{night: {tenant: demo, phone: "13800001111"}}`."""
    synthetic: SyntheticSettings = SyntheticSettings()
    """The SOS of nobody that proves the path."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        check_ranges(self)
        for sooner, later in (("push_after_s", "sms_after_s"), ("sms_after_s", "voice_after_s")):
            if getattr(self, sooner) >= getattr(self, later):
                raise ValueError(f"{later} must be more than {sooner}: each channel has its turn")
        for section in ("robots", "webhooks", "supervisors"):
            for name in getattr(self, section):
                if not _NAME.fullmatch(name):
                    raise ValueError(f"{section}: the name {name!r} must be 1 to 32 small letters, digits, - or _")
        if self.console_url:
            parts = urlsplit(self.console_url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"console_url must be http(s)://host/path, is {self.console_url!r}")
        for name, supervisor in self.supervisors.items():
            try:
                self._check_reached(supervisor.phone, supervisor.email)
            except ValueError as error:
                raise ValueError(f"supervisors.{name}: {error}") from None
        self._check_last_resort()

    def _check_reached(self, phone: str, email: str) -> None:
        """Each address needs a channel that can use it."""
        if phone and not (self.sms.url or self.voice.url):
            raise ValueError("phone needs the channel sms.url or voice.url")
        if email and not self.email.host:
            raise ValueError("email needs the channel email.host")

    def _check_last_resort(self) -> None:
        try:
            self._check_reached(self.last_resort.phone, self.last_resort.email)
        except ValueError as error:
            raise ValueError(f"last_resort.{error}") from None

    @property
    def has_last_resort(self) -> bool:
        """Whether anybody is called when nobody else can be."""
        return bool(self.last_resort.phone or self.last_resort.email or self.last_resort.log)
