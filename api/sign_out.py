"""Leaving: the tokens of a sign-in are taken no more, and its open sessions end."""

from dataclasses import replace

from api.bodies import Done
from api.browser_sign_in import BrowserSignIn
from api.exchange import Request, Response, answer
from api.ports import SignOuts, Tickets
from core.principal import Principal
from realtime.service import RealtimeService


class SignOut:
    """Handler of ``/v1/sign-out``."""

    def __init__(self, hub: RealtimeService, tokens: Tickets, kept: SignOuts, browsers: BrowserSignIn) -> None:
        """``kept`` remembers it over restarts; a sign-in of ``browsers`` loses its session with it."""
        self._browsers = browsers
        self._hub = hub
        self._tokens = tokens
        self._kept = kept

    async def sign_out(self, who: Principal, request: Request) -> Response:
        """POST /v1/sign-out. What cannot be stored is done all the same, and told: it holds until the next start."""
        until_at = self._tokens.end(who.tenant, who.sign_in, request.now)
        closed = self._hub.revoke(who.tenant, who.user, self._tokens.revoked)
        await self._kept.put(who.tenant, who.sign_in, until_at)
        cookie = await self._browsers.signed_out(who.tenant, who.sign_in)
        done = answer(Done({"sessions_closed": closed}))
        return replace(done, headers={"Set-Cookie": cookie}) if cookie else done
