"""How many requests one caller may make: token buckets for each user and each address. SOS never asks here."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from api.settings import ApiSettings, SignInSettings
from core.errors import Unavailable
from core.principal import Principal, Role

BUCKETS_MAX: Final = 100_000
"""Callers remembered; beyond it the one who asked longest ago is forgotten, whose bucket is full again by then."""


class Buckets:
    """A token bucket for each key. Bounds: ``BUCKETS_MAX`` keys.

    Cost: O(1) for each request.
    """

    def __init__(self, per_s: float, burst: float) -> None:
        """``per_s`` requests a second on average, ``burst`` at once."""
        self._per_s = per_s
        self._burst = burst
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, key: Hashable, now: float) -> None:
        """Count one request. Raises ``Unavailable`` (``rate_limited``) when the bucket is empty."""
        left = self._left(key, now)
        self._buckets.pop(key, None)
        is_allowed = left >= 1.0
        self._buckets[key] = (left - 1.0 if is_allowed else left, now)
        if len(self._buckets) > BUCKETS_MAX:
            self._buckets.popitem(last=False)
        if not is_allowed:
            raise _too_many()

    def check(self, key: Hashable, now: float) -> None:
        """Raise what ``take`` would raise; count nothing."""
        if self._left(key, now) < 1.0:
            raise _too_many()

    def _left(self, key: Hashable, now: float) -> float:
        left, at = self._buckets.get(key, (self._burst, now))
        return min(self._burst, left + max(now - at, 0.0) * self._per_s)


def _too_many() -> Unavailable:
    return Unavailable("more requests than one caller may make", code="rate_limited")


class Guesses:
    """How often somebody may be wrong: only wrong tries are counted, and with none left right ones are refused too.

    Bounds: as ``Buckets``; beside it all tries together are bounded, from however many addresses they come.
    """

    def __init__(self, settings: SignInSettings) -> None:
        """Nobody was wrong yet."""
        self._address = Buckets(settings.guesses_per_address / settings.guess_window_s, settings.guesses_per_address)
        self._all = Buckets(settings.guesses_max / settings.guess_window_s, settings.guesses_max)

    def check(self, peer: str, now: float) -> None:
        """Raise ``Unavailable`` (``rate_limited``) when no try is left; ``""`` (no network) is bounded with all."""
        self._all.check("", now)
        if peer:
            self._address.check(peer, now)

    def wrong(self, peer: str, now: float) -> None:
        """Count a wrong try; call ``check`` before."""
        self._all.take("", now)
        if peer:
            self._address.take(peer, now)


class RequestLimits:
    """The buckets of the HTTP edge: people, programs of the platform, and addresses of whoever is nobody yet."""

    def __init__(self, settings: ApiSettings) -> None:
        """Start with full buckets."""
        self._people = Buckets(settings.requests_per_s, settings.requests_burst)
        self._programs = Buckets(settings.program_requests_per_s, settings.program_requests_per_s * 5)
        self._addresses = Buckets(settings.requests_per_s, settings.requests_burst)

    def known(self, who: Principal, now: float) -> None:
        """Count a request of somebody with a token. Raises ``Unavailable``."""
        buckets = self._programs if who.role is Role.SERVICE else self._people
        # Whoever was given a link must not use up what its customer has.
        buckets.take((who.tenant, who.user, who.order), now)

    def unknown(self, peer: str, now: float) -> None:
        """Count a request without a good token; ``""`` (no network) is free. Raises ``Unavailable``."""
        if peer:
            self._addresses.take(peer, now)
