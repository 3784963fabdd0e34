"""The cookie of a browser's session: one for each page, read by nothing but the server.

With TLS its name begins with `__Host-`: a browser takes it only with `Secure`, with `Path=/` and without `Domain`, so
that no other host of the same domain can put one of its own in its place (RFC 6265bis section 4.1.3.2).
"""

from collections.abc import Mapping


class SessionCookies:
    """Writes and reads them."""

    def __init__(self, *, is_secure: bool) -> None:
        """``is_secure``: whether browsers reach us by TLS; without it only this machine does."""
        self._prefix = "__Host-doorstep-" if is_secure else "doorstep-"
        self._end = "; Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if is_secure else "")

    def read(self, headers: Mapping[str, str], page: str) -> str:
        """The secret that a browser sent for a page; "" without one, or with two, of which one is not ours."""
        pairs = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
        found = [value for name, _, value in pairs if name == self._prefix + page]
        return found[0] if len(found) == 1 else ""

    def set(self, page: str, secret: str, life_s: float) -> str:
        """Value of ``Set-Cookie``."""
        return f"{self._prefix}{page}={secret}{self._end}; Max-Age={int(life_s)}"

    def clear(self, page: str) -> str:
        """Value of ``Set-Cookie`` that takes it away."""
        return f"{self._prefix}{page}={self._end}; Max-Age=0"
