"""Signing in on a page: a one-time code becomes a session, its cookie becomes tokens, and both can be ended.

A page keeps no secret where a script of tomorrow could find it: the session's is in a cookie that no script reads, and
is worth nothing but the next token; a token lives minutes, in the memory of the page, and is all that the API takes.
"""

import logging
from collections.abc import Callable
from typing import Final

import segno

from api.auth import check_signed_in_lately
from api.bodies import Done
from api.browser_sessions import BrowserSessions
from api.cities import Cities
from api.exchange import Request, Response, answer
from api.origins import Origins
from api.people import People
from api.ports import BrowserSessionStore, SignOuts, Tickets
from api.session_cookies import SessionCookies
from api.settings import ApiSettings, SignInSettings
from api.sign_in_bodies import CodeIn, CodeOut, SessionList, SessionRow, SessionTokenIn, Signed, SignInIn
from api.sign_in_codes import SignInCodes
from core.browser_session import BrowserSession, Grant
from core.errors import Forbidden, NotFound, Refused, Unavailable
from core.ids import CityId, DeviceId, TenantId, UserId
from core.principal import Principal, Role
from dispatch.model import Technician
from realtime.service import RealtimeService

_log = logging.getLogger(__name__)
_PAGE_OF: Final = {Role.TECHNICIAN: "app", Role.RESPONDER: "app", Role.CUSTOMER: "order", Role.OPS: "console"}
_PRIVATE: Final = {"Cache-Control": "no-store"}


class BrowserSignIn:
    """Handlers of ``/v1/sign-in``, ``/v1/session/token`` and ``/v1/sessions``."""

    def __init__(
        self,
        codes: SignInCodes,
        sessions: BrowserSessions,
        store: BrowserSessionStore,
        sign_outs: SignOuts,
        tokens: Tickets,
        hub: RealtimeService,
        people: People,
        cities: Cities,
        origins: Origins,
        cookies: SessionCookies,
        settings: SignInSettings,
        api: ApiSettings,
        http_url: Callable[[], str],
    ) -> None:
        """``http_url`` is asked at each request: the port is known only once the listener is bound."""
        self._codes = codes
        self._sessions = sessions
        self._store = store
        self._sign_outs = sign_outs
        self._tokens = tokens
        self._hub = hub
        self._people = people
        self._cities = cities
        self._origins = origins
        self._cookies = cookies
        self._settings = settings
        self._api = api
        self._http_url = http_url

    # -- codes ------------------------------------------------------------------------------------------

    async def make_code(self, who: Principal, request: Request) -> Response:
        """POST /v1/sign-in/codes: who may sign in next, and as what."""
        body: CodeIn = request.data
        grant = await self._granted(who, body, request.now)
        code, expires_at = self._codes.make(grant, request.now)
        path = f"/{_PAGE_OF[grant.role]}/#code={code}"
        link = self._http_url() + path
        _log.info("a sign-in code was made", extra={"for": grant.user, "role": grant.role.value, "by": who.user})
        qr = segno.make(link, error="m").svg_data_uri(scale=4, dark="#000", light="#fff")
        made = answer(CodeOut(code, link, path, qr, round(expires_at, 3)), 201)
        return Response(made.status, made.body, made.content_type, _PRIVATE)

    async def _granted(self, who: Principal, body: CodeIn, now: float) -> Grant:
        role = Role(body.role)
        roles = frozenset({role, *map(Role, body.also)})
        if role is Role.OPS:
            # Staff make no staff: whoever may, has the key that signs tokens, or is it themselves.
            if not who.holds(Role.OPS) or body.user != who.user or not roles <= who.roles:
                raise Forbidden("ops is for oneself alone, with one's own roles")
            check_signed_in_lately(who, now, self._api.fresh_sign_in_s)
            return Grant(who.tenant, who.user, role, roles, who.cities, body.name, who.user)
        person = await self._people.person(who, body.user)
        record = person.technician
        if Role.TECHNICIAN in roles and record is None:
            raise NotFound("there is no such person for you")
        name = record.name if record is not None else body.name
        return Grant(who.tenant, person.user, role, roles, self._cities_of(who, record), name, who.user)

    def _cities_of(self, who: Principal, record: Technician | None) -> frozenset[CityId]:
        """Never more than whoever makes the code has."""
        known = frozenset(part.shard.city for part in self._cities.of(who.tenant))
        own = who.cities if who.cities else known
        return own if record is None else own & frozenset(record.cities)

    # -- sessions ---------------------------------------------------------------------------------------

    async def sign_in(self, request: Request) -> Response:
        """POST /v1/sign-in: uses up the code. Whatever cookie came along ends, and its secret is not taken over."""
        body: SignInIn = request.data
        self._origins.check(request.headers)
        grant = self._codes.use(body.code, request.peer, request.now)
        before = self._of_cookie(request, body.page)
        agent = "".join(sign for sign in request.headers.get("user-agent", "") if sign.isprintable())
        begun = self._sessions.begin(grant, body.page, DeviceId(body.device), agent, request.now, before=before)
        await self._store.put(begun.session)
        self._sessions.keep(begun.session)
        for old in begun.ended:
            await self._end(old, request.now)
        cookie = self._cookies.set(body.page, begun.secret, begun.session.expires_at - request.now)
        return self._signed(begun.session, request.now, 201, cookie)

    async def token(self, request: Request) -> Response:
        """POST /v1/session/token: a token for the session of the page's cookie."""
        body: SessionTokenIn = request.data
        self._origins.check(request.headers)
        secret = self._cookies.read(request.headers, body.page)
        if not secret:
            raise Refused("there is no session here: sign in", code="session_missing")
        session = self._sessions.opened(secret, body.page, request.now)
        used = self._sessions.seen(session, request.now)
        if used is not None:
            self._sessions.keep(used)
            try:
                await self._store.put(used)
            except Unavailable:
                _log.warning("that a session was used could not be stored")
        return self._signed(used or session, request.now, 200)

    def _of_cookie(self, request: Request, page: str) -> BrowserSession | None:
        secret = self._cookies.read(request.headers, page)
        try:
            return self._sessions.opened(secret, page, request.now) if secret else None
        except Refused:
            return None

    def _signed(self, session: BrowserSession, now: float, status: int, cookie: str = "") -> Response:
        grant = session.grant
        who = Principal(
            tenant=grant.tenant,
            user=grant.user,
            role=grant.role,
            roles=grant.roles,
            cities=grant.cities,
            device=session.device,
            expires_at=float(int(min(now + self._settings.token_life_s, session.expires_at))),
            sign_in=session.session_id,
            issued_at=session.signed_in_at,
        )
        told = Signed(
            session=session.session_id,
            user=grant.user,
            name=grant.name,
            role=grant.role.value,
            roles=sorted(role.value for role in grant.roles),
            cities=sorted(grant.cities),
            device=session.device,
            signed_in_at=round(session.signed_in_at, 3),
            expires_at=round(session.expires_at, 3),
            idle_s=self._sessions.idle_s(session),
            token=self._tokens.mint(who, now),
            token_expires_at=round(who.expires_at, 3),
        )
        made = answer(told, status)
        headers = {**_PRIVATE, "Set-Cookie": cookie} if cookie else _PRIVATE
        return Response(made.status, made.body, made.content_type, headers)

    # -- looking and ending -----------------------------------------------------------------------------

    async def listing(self, who: Principal, request: Request) -> Response:
        """GET /v1/sessions: the caller's own; for staff also of `user`."""
        user = request.query.get("user", who.user)
        found = [
            session
            for session in self._sessions.of(who.tenant, UserId(user), request.now)
            if await self._may_see(who, session)
        ]
        return answer(SessionList([_row(session, who) for session in found]))

    async def end(self, who: Principal, request: Request) -> Response:
        """DELETE /v1/sessions/{id}: from its answer on nothing of it is good. A repeat is not found."""
        session = self._sessions.find(who.tenant, request.path["id"])
        if session is None or not await self._may_see(who, session):
            raise NotFound("there is no such session")
        await self._end(session, request.now)
        return answer(Done({"session": session.session_id}))

    async def _may_see(self, who: Principal, session: BrowserSession) -> bool:
        grant = session.grant
        if grant.user == who.user:
            return True
        if not who.holds(Role.OPS, Role.SERVICE):
            return False
        if Role.OPS in grant.roles and not who.holds(Role.OPS):
            return False
        try:
            await self._people.person(who, grant.user)
        except NotFound:
            return False
        return not who.cities or bool(grant.cities & who.cities)

    async def _end(self, session: BrowserSession, now: float) -> None:
        """At once, then stored: who stole a phone must not gain by a slow disk."""
        tenant = session.grant.tenant
        self._sessions.drop(session)
        until_at = self._tokens.end(tenant, session.session_id, now)
        self._hub.revoke(tenant, session.grant.user, self._tokens.revoked)
        await self._sign_outs.put(tenant, session.session_id, until_at)
        await self._store.remove(tenant, session.session_id)

    async def signed_out(self, tenant: TenantId, sign_in: str) -> str:
        """A sign-in has ended: forget its session, if it is one of ours; returns ``Set-Cookie`` for its browser."""
        session = self._sessions.find(tenant, sign_in)
        if session is None:
            return ""
        self._sessions.drop(session)
        await self._store.remove(tenant, sign_in)
        return self._cookies.clear(session.page)


def _row(session: BrowserSession, who: Principal) -> SessionRow:
    grant = session.grant
    return SessionRow(
        session=session.session_id,
        user=grant.user,
        role=grant.role.value,
        page=session.page,
        device=session.device,
        agent=session.agent,
        signed_in_at=round(session.signed_in_at, 3),
        seen_at=round(session.seen_at, 3),
        expires_at=round(session.expires_at, 3),
        made_by=grant.made_by or "",
        is_this=session.session_id == who.sign_in,
    )
