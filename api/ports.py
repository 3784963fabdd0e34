"""What the HTTP edge needs beside the domains' own services; filled in ``server/wiring.py``."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from core.browser_session import BrowserSession
from core.ids import CityId, DeviceId, IncidentId, TenantId, UserId
from core.principal import Principal, Role
from core.shard import Shard
from realtime.ports import Authenticator
from safety.looks import LookKind
from safety.model import IncidentFix


class Staff(Protocol):
    """Remembers which users connect in which role, so that roles can be expanded to users."""

    def users(self, tenant: TenantId, role: Role, city: CityId | None, now: float) -> Sequence[UserId]:
        """Users of the role seen in the last 24 h whose token named the city (None: any city), without repeats."""
        ...


class Tickets(Authenticator, Protocol):
    """Verifies tokens and makes one-time tickets."""

    def issue_ticket(self, principal: Principal, device: DeviceId | None, now: float) -> tuple[str, float]:
        """A ticket for this principal, and when it ends; None for the device of one that opens the SOS page.

        Raises ``Unavailable``.
        """
        ...

    def sos_pass(self, ticket: str, device: DeviceId, now: float) -> tuple[str, float]:
        """Use up a ticket of the SOS page: its pass on this device, and when it ends. Raises ``Refused``."""
        ...

    def mint(self, who: Principal, now: float) -> str:
        """A token of our own for this principal, on their device, good until ``who.expires_at``."""
        ...

    def end(self, tenant: TenantId, sign_in: str, now: float) -> float:
        """Take no token of this sign-in from now on; returns until when that must be remembered."""
        ...

    def know_ended(self, ended: Iterable[tuple[TenantId, str, float]]) -> None:
        """Sign-ins that were over before the start: (tenant, sign-in, until when it counts)."""
        ...

    def revoked(self, principal: Principal) -> bool:
        """Whether this principal may do nothing any more."""
        ...


class SignOuts(Protocol):
    """Remembers which sign-ins are over."""

    async def load(self, now: float) -> Sequence[tuple[TenantId, str, float]]:
        """Those that still count. Raises ``Unavailable``."""
        ...

    async def put(self, tenant: TenantId, sign_in: str, until_at: float) -> None:
        """Keep one, on the disk when this returns. Idempotent. Raises ``Unavailable``."""
        ...


class BrowserSessionStore(Protocol):
    """Keeps the sessions of browsers."""

    async def load(self, now: float) -> Sequence[BrowserSession]:
        """Those whose time has not come. Raises ``Unavailable``."""
        ...

    async def put(self, session: BrowserSession) -> None:
        """Keep one as it is now, on the disk when this returns. Raises ``Unavailable``."""
        ...

    async def remove(self, tenant: TenantId, session_id: str) -> None:
        """Forget one. Idempotent. Raises ``Unavailable``."""
        ...


class Point(Protocol):
    """One kept position, in the platform's frame."""

    @property
    def order(self) -> str: ...  # noqa: D102 - an order's or incident's id
    @property
    def fixed_at(self) -> float: ...  # noqa: D102
    @property
    def received_at(self) -> float: ...  # noqa: D102
    @property
    def lat(self) -> float: ...  # noqa: D102
    @property
    def lng(self) -> float: ...  # noqa: D102
    @property
    def accuracy_m(self) -> float: ...  # noqa: D102
    @property
    def speed_mps(self) -> float | None: ...  # noqa: D102
    @property
    def heading_deg(self) -> float | None: ...  # noqa: D102


class Tracks(Protocol):
    """Reads kept positions of jobs and incidents."""

    async def track(self, tenant: TenantId, order: str, *, limit: int = 10_000) -> Sequence[Point]:
        """Positions kept for an order or incident, by fix time. Raises ``Unavailable``."""
        ...

    async def track_of(
        self, tenant: TenantId, technician: UserId, *, from_at: float, to_at: float, limit: int = 10_000
    ) -> Sequence[Point]:
        """Positions of a technician between two times, by fix time. Raises ``Unavailable``."""
        ...


class Looks(Protocol):
    """Remembers who looked at whose position (``server/looking.py``)."""

    def note(
        self, who: Principal, subject: str, kind: LookKind, about: str, reason: str = "", *, counts: bool = True
    ) -> None:
        """Somebody looks now; stored within a second. ``counts``: whether many of them are an alarm. Never raises."""
        ...

    async def kept(self, who: Principal, subject: str, kind: LookKind, about: str, reason: str = "") -> None:
        """Note it and wait for the disk. Raises ``Unavailable``: then nothing may be shown."""
        ...


class OwnIncidents(Protocol):
    """Whether somebody has called for help themselves (``SafetyService``)."""

    def raised_at(self, tenant: TenantId, user: UserId) -> float | None:
        """When their active incident began; None without one."""
        ...


class Raisers(Protocol):
    """Where people are who called for help (``server/raisers.py``). From memory, at once."""

    def last_fix(self, tenant: TenantId, user: UserId, now: float) -> IncidentFix | None:
        """Their newest position, None when none is known."""
        ...

    def lost_at(self, tenant: TenantId, incident_id: IncidentId) -> float | None:
        """When the phone of an active incident's subject was heard last, if it is silent now."""
        ...


class Presence(Protocol):
    """Puts people into a city's index and takes them out (``server/wiring.py``)."""

    def opened(self, who: Principal) -> None:
        """A device of this person connected; their token says which roles they hold."""
        ...

    def responder_on_duty(self, tenant: TenantId, user: UserId, shard: Shard | None) -> None:
        """A responder who is no technician is on duty in ``shard`` or nowhere. Not stored: clients repeat it."""
        ...

    def shard_of(self, tenant: TenantId, user: UserId) -> Shard | None:
        """Where the person is on duty."""
        ...
