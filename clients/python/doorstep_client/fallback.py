"""What goes over HTTP when the socket cannot be had: every SOS, and pings where the settings say so.

Decides only; ``http_sender.py`` carries it. The same keys and numbers go both ways, so that whatever arrives twice is
one: an SOS is merged, a ping is a ``duplicate``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from doorstep_client.backoff import Backoff
from doorstep_client.events import Event, PingsJudged
from doorstep_client.ping_sender import PingSender
from doorstep_client.settings import ClientSettings
from doorstep_client.sos import SosCalls

SOS_PATH: Final = "/v1/sos"
POSITIONS_PATH: Final = "/v1/positions"


@dataclass(frozen=True, slots=True)
class Post:
    """A request to make with the user's token. Ends in one ``Fallback.answered`` or ``Fallback.failed``."""

    path: str
    body: dict[str, Any]


class Fallback:
    """Which requests are due. At most one with pings is under way, and one for each tap.

    Args:
        device: The ``device`` of ``hello``.
        backoff: Of pings; an SOS has waits of its own.
        is_ready: Whether a session stands.
    """

    def __init__(
        self,
        settings: ClientSettings,
        sos: SosCalls,
        pings: PingSender,
        *,
        device: str,
        backoff: Backoff,
        is_ready: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._sos = sos
        self._pings = pings
        self._device = device
        self._backoff = backoff
        self._is_ready = is_ready
        self._pings_at: float | None = None
        """When pings go next; None while there is a session, or a request is under way."""
        self._is_posting_pings = False

    def no_session(self, now: float) -> None:
        """The socket is gone, or there was none from the beginning. Idempotent."""
        if self._settings.pings_over_http and self._pings_at is None and not self._is_posting_pings:
            self._pings_at = now + self._settings.pings_http_after_s

    def take(self, now: float) -> list[Post]:
        """Requests to make now."""
        posts = [Post(SOS_PATH, body) for body in self._sos.posts(now, is_ready=self._is_ready())]
        at = self._next_pings_at()
        body = self._pings.post(now) if at is not None and at <= now else None
        if body is not None:
            self._pings_at, self._is_posting_pings = None, True
            posts.append(Post(POSITIONS_PATH, {**body, "device": self._device}))
        return posts

    def next_at(self) -> float | None:
        """When ``take`` has something; None for never."""
        due = (self._sos.next_post_at(is_ready=self._is_ready()), self._next_pings_at())
        return min((at for at in due if at is not None), default=None)

    def _next_pings_at(self) -> float | None:
        if self._is_ready():
            self._pings_at = None
        return self._pings_at if self._pings.waiting else None

    def answered(self, post: Post, body: dict[str, Any], now: float) -> list[Event]:
        """The server took it. Raises ``KeyError`` or ``TypeError`` for an answer that is none."""
        if post.path == SOS_PATH:
            return self._sos.posted({**body, "key": post.body["key"]}, now)
        told = PingsJudged(body["seq"], body["verdicts"], body["stored_seq"], body.get("corrected", {}))
        before = self._pings.waiting
        self._pings.acked(body, now)
        self._backoff.reset()
        got_on = self._pings.waiting < before
        self._again_with_pings(now if got_on else now + self._settings.pings_http_after_s)
        return [told]

    def failed(self, post: Post, now: float) -> None:
        """It was refused, or nobody answered."""
        if post.path == SOS_PATH:
            self._sos.post_failed(post.body["key"], now)
        else:
            self._again_with_pings(now + self._backoff.next_wait_s())

    def _again_with_pings(self, at: float) -> None:
        self._is_posting_pings = False
        if not self._is_ready():
            self._pings_at = at
