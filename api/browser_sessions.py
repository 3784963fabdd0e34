"""Sessions of browsers: who is signed in where, and when that is over. Synchronous; ``now`` is an argument.

A session is found by the secret of its cookie, of which only a hash is kept. It is over when it was not used for long,
when its time has come, when its person or staff ended it, when its browser signed in again on the same page, and when
its person signed in on one browser too many. What is decided here is stored before it is told.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from api.settings import SignInSettings
from core.browser_session import BrowserSession, Grant
from core.errors import Refused, Unavailable
from core.ids import DeviceId, IdSource, TenantId, UserId
from core.principal import Role
from safety.deadlines import Deadlines

SESSION_PREFIX: Final = "web_"
AGENT_LEN_MAX: Final = 120
SEEN_EVERY_S: Final = 60.0
"""Uses of a session within this time are one: that it was used is a write to the disk."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A new session, the secret that only its browser learns, and what is over because of it."""

    session: BrowserSession
    secret: str
    ended: Sequence[BrowserSession]


class BrowserSessions:
    """Every session that is not over, of all tenants. Bounds: ``sessions_max``, ``sessions_per_user_max``."""

    def __init__(self, settings: SignInSettings, ids: IdSource) -> None:
        self._settings = settings
        self._ids = ids
        self._by_secret: dict[str, BrowserSession] = {}
        self._by_id: dict[str, BrowserSession] = {}
        self._of: dict[tuple[TenantId, UserId], dict[str, None]] = {}
        """Ids of a person's sessions, the oldest first."""
        self._deadlines: Deadlines[str] = Deadlines()

    def load(self, sessions: Iterable[BrowserSession]) -> None:
        """Take over what is stored."""
        for session in sorted(sessions, key=lambda one: one.signed_in_at):
            self.keep(session)

    def __len__(self) -> int:
        """Sessions that are kept."""
        return len(self._by_secret)

    # -- beginning and using ------------------------------------------------------------------------------

    def begin(
        self, grant: Grant, page: str, device: DeviceId, agent: str, now: float, *, before: BrowserSession | None
    ) -> Begun:
        """Decide about a new session; it counts once ``keep`` is called, and others are over by ``drop``.

        Args:
            before: The session that the browser had for this page, which ends.

        Raises:
            Unavailable: ``overloaded``.
        """
        self.expire(now)
        own = self.of(grant.tenant, grant.user, now)
        ended = [before] if before is not None else []
        others = [session for session in own if before is None or session.session_id != before.session_id]
        ended += others[: max(0, len(others) + 1 - self._settings.sessions_per_user_max)]
        if len(self._by_secret) - len(ended) >= self._settings.sessions_max:
            raise Unavailable("too many sessions", code="overloaded")
        secret = self._ids.new("") + self._ids.new("")  # each has at least 96 random bits
        session = BrowserSession(
            grant=grant,
            session_id=self._ids.new(SESSION_PREFIX),
            secret_hash=hashed(secret),
            page=page,
            device=device,
            agent=agent[:AGENT_LEN_MAX],
            signed_in_at=now,
            seen_at=now,
            expires_at=now + (self._settings.ops_life_s if _is_ops(grant) else self._settings.life_s),
        )
        return Begun(session, secret, ended)

    def opened(self, secret: str, page: str, now: float) -> BrowserSession:
        """The session of a cookie.

        Raises:
            Refused: ``session_over``: unknown, another page's, ended, idle or too old, which look the same.
        """
        session = self._by_secret.get(hashed(secret))
        if session is None or session.page != page or self.ends_at(session) <= now:
            raise Refused("the session is over: sign in again", code="session_over")
        return session

    def seen(self, session: BrowserSession, now: float) -> BrowserSession | None:
        """The session as used now, for ``keep``; None when that is no news."""
        return replace(session, seen_at=now) if now - session.seen_at >= SEEN_EVERY_S else None

    def ends_at(self, session: BrowserSession) -> float:
        """When it is over if it is not used again."""
        return min(session.expires_at, session.seen_at + self.idle_s(session))

    def idle_s(self, session: BrowserSession) -> float:
        """How long it may stay unused."""
        return self._settings.ops_idle_s if _is_ops(session.grant) else self._settings.idle_s

    # -- looking ------------------------------------------------------------------------------------------

    def of(self, tenant: TenantId, user: UserId, now: float) -> list[BrowserSession]:
        """Somebody's sessions, the oldest first."""
        found = [self._by_id[key] for key in self._of.get((tenant, user), ())]
        return [session for session in found if self.ends_at(session) > now]

    def find(self, tenant: TenantId, session_id: str) -> BrowserSession | None:
        """A session by its name."""
        found = self._by_id.get(session_id)
        return found if found is not None and found.grant.tenant == tenant else None

    # -- changing -----------------------------------------------------------------------------------------

    def keep(self, session: BrowserSession) -> None:
        """Take in a session that is stored."""
        grant, key = session.grant, session.session_id
        self._by_secret[session.secret_hash] = self._by_id[key] = session
        self._of.setdefault((grant.tenant, grant.user), {})[key] = None
        self._deadlines.set(key, self.ends_at(session))

    def drop(self, session: BrowserSession) -> None:
        """Forget one that is over: its secret opens nothing from now on. Idempotent."""
        key, owner = session.session_id, (session.grant.tenant, session.grant.user)
        self._by_secret.pop(session.secret_hash, None)
        self._deadlines.set(key, None)
        if self._by_id.pop(key, None) is None:
            return
        del self._of[owner][key]
        if not self._of[owner]:
            del self._of[owner]

    def expire(self, now: float) -> int:
        """Forget those whose time has come; returns how many. The store does the same with its rows."""
        over = [self._by_id[key] for key in self._deadlines.due(now)]
        for session in over:
            self.drop(session)
        return len(over)


def hashed(secret: str) -> str:
    """What is kept of a secret."""
    return sha256(secret.encode("utf-8", "replace")).hexdigest()


def _is_ops(grant: Grant) -> bool:
    return Role.OPS in grant.roles
