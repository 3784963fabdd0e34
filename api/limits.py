"""How many requests one caller may make: token buckets for each user and each address. SOS never asks here."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from api.settings import ApiSettings
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
        left, at = self._buckets.pop(key, (self._burst, now))
        left = min(self._burst, left + max(now - at, 0.0) * self._per_s)
        is_allowed = left >= 1.0
        self._buckets[key] = (left - 1.0 if is_allowed else left, now)
        if len(self._buckets) > BUCKETS_MAX:
            self._buckets.popitem(last=False)
        if not is_allowed:
            raise Unavailable("more requests than one caller may make", code="rate_limited")


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
        buckets.take((who.tenant, who.user), now)

    def unknown(self, peer: str, now: float) -> None:
        """Count a request without a good token; ``""`` (no network) is free. Raises ``Unavailable``."""
        if peer:
            self._addresses.take(peer, now)
