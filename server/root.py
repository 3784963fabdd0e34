"""The root of the config: the server's own sections and each package's. What ``config.yaml`` looks like."""

import difflib
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from api.notices import KINDS
from api.settings import ApiSettings, SignInSettings
from api.web_settings import WebSettings, origin_of
from dispatch.settings import DispatchSettings
from geo.settings import CoordinateSettings, PositionSettings, TravelSettings
from realtime.settings import RealtimeSettings
from safety.settings import SafetySettings
from server.settings import (
    AdminSettings,
    AuthSettings,
    CitySettings,
    HttpSettings,
    LifecycleSettings,
    LogSettings,
    check_networks,
    is_loopback,
)
from store.settings import StoreSettings
from trackers.settings import TrackerSettings
from transport.settings import WebSocketSettings
from webhooks.settings import EVERY_EVENT, PushSettings, WebhookSettings, check_url


@dataclass(frozen=True, slots=True)
class HubSettings(WebSocketSettings):
    """The WebSocket listener: phones, arrival pages and consoles."""

    tls_cert_file: str = ""
    """PEM certificate chain; empty for a plain listener."""
    tls_key_file: str = ""
    """PEM private key of the certificate."""
    public_url: str = ""
    """URL by which clients reach the hub (`wss://…/ws`), told in `/config.json`; empty: from host and port."""

    def __post_init__(self) -> None:
        """Check ranges."""
        super(HubSettings, self).__post_init__()  # slots make a new class; bare super() sees the old
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            raise ValueError("tls_cert_file and tls_key_file must be given together")


DERIVED = {
    "hub.trusted_proxies": "trusted_proxies",
    "realtime.frame": "coordinates.frame",
    "realtime.positions.clock_rate_max": "positions.clock_rate_max",
    "realtime.sessions.restricted_grace_s": "auth.restricted_for_s",
}
"""Keys of packages that follow from another key; they cannot be set by themselves and are not written."""
REMOVED = {"travel.utc_offset_h": "cities[].timezone"}
"""Keys of older versions, each with the key that took its place; a config that has one is refused."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set."""

    http: HttpSettings = field(default_factory=HttpSettings)
    """The HTTP listener: requests of apps, programs and consoles, and the first page."""
    hub: HubSettings = field(default_factory=HubSettings)
    """The WebSocket listener: phones, arrival pages and consoles."""
    admin: AdminSettings = field(default_factory=AdminSettings)
    """The listener of /metrics, /healthz and /readyz. Never open it to the world."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of the proxies in front (10.0.0.0/8), whose X-Forwarded-For is believed. Plain
    listeners beyond loopback are allowed only with one."""
    auth: AuthSettings = field(default_factory=AuthSettings)
    """Who may speak: tokens (JWT) and one-time tickets."""
    data_folder: str = "var/doorstep"
    """Folder of the databases; a relative path starts at the working directory."""
    coordinates: CoordinateSettings = field(default_factory=CoordinateSettings)
    """The platform's coordinate frame."""
    cities: tuple[CitySettings, ...] = (CitySettings("demo", "shenzhen"),)
    """Cities that are served. Without one no order can be placed; SOS always works."""
    positions: PositionSettings = field(default_factory=PositionSettings)
    """Track filter, index and the short memory of recent positions."""
    travel: TravelSettings = field(default_factory=TravelSettings)
    """The estimate of travel time."""
    realtime: RealtimeSettings = field(default_factory=RealtimeSettings)
    """The hub: sessions, reliable streams, attention, the ping path, watching."""
    dispatch: DispatchSettings = field(default_factory=DispatchSettings)
    """How orders find technicians."""
    safety: SafetySettings = field(default_factory=SafetySettings)
    """How an incident spreads until a human takes it."""
    api: ApiSettings = field(default_factory=ApiSettings)
    """Requests of apps and programs."""
    trackers: TrackerSettings = field(default_factory=TrackerSettings)
    """Phone apps of others that report positions: OsmAnd, Traccar Client, OwnTracks, Overland, GPSLogger."""
    sign_in: SignInSettings = field(default_factory=SignInSettings)
    """How people sign in on the pages for browsers."""
    web: WebSettings = field(default_factory=WebSettings)
    """The pages for browsers."""
    store: StoreSettings = field(default_factory=StoreSettings)
    """Where data is kept and for how long."""
    webhooks: WebhookSettings = field(default_factory=WebhookSettings)
    """Programs outside that are told of order events, at least once each."""
    push: PushSettings = field(default_factory=PushSettings)
    """The platform's push service, which wakes a phone that an offer does not find."""
    lifecycle: LifecycleSettings = field(default_factory=LifecycleSettings)
    """How the process ends."""
    log: LogSettings = field(default_factory=LogSettings)
    """What is logged and how."""

    def __post_init__(self) -> None:
        """Check what no section can check alone."""
        check_networks(self.trusted_proxies)
        for name, host, tls in (
            ("http", self.http.host, self.http.tls),
            ("hub", self.hub.host, bool(self.hub.tls_cert_file)),
        ):
            if not (tls or self.trusted_proxies or is_loopback(host)):
                raise ValueError(
                    f"{name}.host {host!r} is reachable from outside without TLS: give {name}.tls_cert_file and "
                    f"{name}.tls_key_file, or name the proxy that ends TLS in trusted_proxies"
                )
        shards = [(city.tenant, city.city) for city in self.cities]
        if len(set(shards)) != len(shards):
            raise ValueError("cities must not name a city of a tenant twice")
        if self.push.url:
            try:
                check_url(self.push.url, self.webhooks.private_hosts)
            except ValueError as error:
                raise ValueError(f"push.{error}") from None
        self._check_reach()
        for name, endpoint in self.webhooks.endpoints.items():
            if unknown := set(endpoint.events) - KINDS - {EVERY_EVENT}:
                kinds = ", ".join(sorted(KINDS))
                raise ValueError(f"webhooks.endpoints.{name}.events: {min(unknown)!r} is none of {kinds}")

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the HTTP listener."""
        return is_loopback(self.http.host) and not self.trusted_proxies and not self.http.public_url

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach the pages by TLS: beyond this machine always."""
        return self.http.tls or not self.is_local

    def _check_reach(self) -> None:
        """Whoever is called must be callable, and about something: a misspelt tenant would be silence."""
        reach = self.safety.reach
        urls = {"sms.url": reach.sms.url, "voice.url": reach.voice.url, "heartbeat_url": reach.heartbeat_url}
        urls |= {f"robots.{name}.url": robot.url for name, robot in reach.robots.items()}
        urls |= {f"webhooks.{name}.url": hook.url for name, hook in reach.webhooks.items()}
        for key, url in urls.items():
            try:
                if url:
                    check_url(url, self.webhooks.private_hosts)
            except ValueError as error:
                raise ValueError(f"safety.reach.{key}: {error}") from None
        served: dict[str, set[str]] = {}
        for city in self.cities:
            served.setdefault(city.tenant, set()).add(city.city)
        for section in ("robots", "webhooks", "supervisors"):
            for name, desk in getattr(reach, section).items():
                _check_known(f"safety.reach.{section}.{name}.tenant", desk.tenant, served)
                for city_id in desk.cities:
                    _check_known(f"safety.reach.{section}.{name}.cities", city_id, served[desk.tenant])


def _check_known(key: str, name: str, known: Collection[str]) -> None:
    """Raise ``ValueError`` for a name that no city has, with the nearest one."""
    if name not in known:
        near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known)) or 'none'}"
        raise ValueError(f"{key}: {name!r} is served by no city; {hint}")


def derived(settings: Settings) -> Settings:
    """The same settings with the keys of ``DERIVED`` filled in."""
    realtime = settings.realtime
    own = origin_of(settings.http.public_url)
    pages = tuple(origin for origin in (own, *settings.web.origins) if origin)
    return replace(
        settings,
        # Pages that are told the hub's address must be let in there.
        hub=replace(
            settings.hub,
            trusted_proxies=settings.trusted_proxies,
            origins=settings.hub.origins or (pages if own else ()),
        ),
        realtime=replace(
            realtime,
            frame=settings.coordinates.frame,
            positions=replace(realtime.positions, clock_rate_max=settings.positions.clock_rate_max),
            sessions=replace(
                realtime.sessions,
                restricted_grace_s=settings.auth.restricted_for_s,
                sessions_max=min(realtime.sessions.sessions_max, settings.hub.connections_max),
            ),
        ),
    )
