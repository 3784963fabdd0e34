"""Pick tokens: how a customer names a technician of a card without knowing who that is.

A token is a keyed hash of who asks, who is meant and the period; it says nothing, rotates, and is good for its customer
only. It is read back by making it again for everybody whom the customer can have seen.
"""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

from core.errors import Invalid
from core.ids import UserId
from core.principal import Principal

PREFIX: Final = "pck_"
CANDIDATES_MAX: Final = 1_000
"""Technicians among whom a token is looked for: two hashes each, 2 ms in all; a card is one of the nearest few."""


class Picks:
    """Makes pick tokens and reads them."""

    def __init__(self, key: bytes, life_s: float) -> None:
        """``key`` cannot be guessed and need not survive a restart; a token is good for one to two times ``life_s``."""
        self._key = key
        self._life_s = life_s

    def token(self, who: Principal, technician: UserId, now: float) -> str:
        """Stands for a technician towards one customer."""
        return self._token(who, technician, int(now // self._life_s))

    def technician(self, who: Principal, named: str, candidates: Iterable[UserId], now: float) -> UserId:
        """Whom a customer means by a token of theirs, or by an id.

        Args:
            candidates: Those whom the customer can have seen, nearest first.

        Raises:
            Invalid: ``pick_unknown``: the token is too old, another customer's, or stands for nobody near.
        """
        if not named.startswith(PREFIX):
            return UserId(named)
        period = int(now // self._life_s)
        for user in candidates:
            for at in (period, period - 1):
                if hmac.compare_digest(self._token(who, user, at), named):
                    return user
        raise Invalid("too old, or nobody near: look again who is near", code="pick_unknown", field="technician")

    def _token(self, who: Principal, technician: UserId, period: int) -> str:
        text = "\0".join((who.tenant, who.user, technician, str(period)))
        return PREFIX + hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:24]
