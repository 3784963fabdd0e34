"""Whether a request comes from one of our own pages: asked where a cookie or a code is worth something.

A cookie is sent along by the browser whoever asks. So beside ``SameSite=Strict`` the browser's own word counts: a
request without ``Origin`` is refused (browsers send it with each POST), and so is one from elsewhere (Fetch standard,
section 3.2). With a body of JSON a form of another site cannot even send it without asking first.
"""

from collections.abc import Mapping, Sequence

from api.web_settings import origin_of
from core.errors import Forbidden, Refused


class Origins:
    """Our own origin, and those of the config."""

    def __init__(self, public_url: str, others: Sequence[str]) -> None:
        """``public_url``: by which clients reach us; "" for the host that each request names."""
        self._own = origin_of(public_url)
        self._others = frozenset(others)

    def check(self, headers: Mapping[str, str]) -> None:
        """Refuse what comes from elsewhere, or is no JSON.

        Raises:
            Forbidden: ``origin_refused``.
            Refused: ``json_needed``.
        """
        if not self._is_ours(headers):
            raise Forbidden("this is for pages of this server alone", code="origin_refused")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused("send JSON, as Content-Type: application/json", code="json_needed")

    def _is_ours(self, headers: Mapping[str, str]) -> bool:
        origin = headers.get("origin", "")
        if not origin or origin_of(origin) != origin:
            return False
        if origin in self._others:
            return True
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return False
        if self._own:
            return origin == self._own
        return origin.partition("://")[2] == headers.get("host", "").lower()
