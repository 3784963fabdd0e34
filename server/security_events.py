"""Refusals that somebody who guards the server wants to see: counted for metrics, summed up in the log.

Nothing here names a person or an address: how many, of what kind. Who it was stands in the proxy's log, whose keeper
may know addresses.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

from core.service import pause

_log = logging.getLogger(__name__)


class SecurityEvent(StrEnum):
    """Kinds of events."""

    UPGRADE_REFUSED = "upgrade_refused"
    """A WebSocket handshake: foreign origin, wrong path, version or subprotocol."""
    SIGN_IN_REFUSED = "sign_in_refused"
    """A token or ticket that is missing, wrong, over or revoked."""
    PIN_REFUSED = "pin_refused"
    """A wrong PIN, or one too many."""
    RIGHT_DENIED = "right_denied"
    """Known, and not allowed."""
    NOT_FOUND = "not_found"
    """Absent or somebody else's: many of them are somebody who looks for ids."""
    LIMIT_MET = "limit_met"
    """Too many connections, requests, messages or topics."""
    SESSION_REVOKED = "session_revoked"
    """An open session whose token was revoked or whose owner has signed out."""


_OF_CODE: Final[Mapping[str, SecurityEvent]] = {
    **dict.fromkeys(
        (
            "token_missing",
            "token_invalid",
            "token_expired",
            "token_revoked",
            "ticket_invalid",
            "tracker_unknown",
            "code_invalid",
            "origin_refused",
            "session_over",
        ),
        SecurityEvent.SIGN_IN_REFUSED,
    ),
    **dict.fromkeys(("pin_wrong", "pin_tries_spent"), SecurityEvent.PIN_REFUSED),
    **dict.fromkeys(
        ("forbidden", "restricted", "token_restricted", "sign_in_again", "city_not_allowed"), SecurityEvent.RIGHT_DENIED
    ),
    "not_found": SecurityEvent.NOT_FOUND,
    **dict.fromkeys(("rate_limited", "too_many", "too_many_topics", "overloaded"), SecurityEvent.LIMIT_MET),
}
_OF_UPGRADE: Final[Mapping[str, SecurityEvent]] = {
    **dict.fromkeys(
        ("origin", "not_found", "upgrade_required", "websocket_version", "subprotocol"), SecurityEvent.UPGRADE_REFUSED
    ),
    **dict.fromkeys(("too_many_connections", "too_many_from_address", "too_many", "dropped"), SecurityEvent.LIMIT_MET),
}
_OF_OUTCOME: Final[Mapping[str, SecurityEvent]] = {
    **{
        f"{where}_{code}": event
        for where in ("hello", "refresh", "refused", "error")
        for code, event in _OF_CODE.items()
    },
    "close_4510": SecurityEvent.SESSION_REVOKED,
}


class SecurityEvents:
    """Sums up what the listeners and the hub have counted.

    Args:
        refusals: Refused requests by code.
        upgrades: Refused upgrades by code.
        outcomes: What the hub did, by name.
        every_s: Seconds between two lines of the log; a flood is one line as well.
    """

    def __init__(
        self,
        refusals: Callable[[], Mapping[str, int]],
        upgrades: Callable[[], Mapping[str, int]],
        outcomes: Callable[[], Mapping[str, int]],
        *,
        every_s: float,
    ) -> None:
        self._sources = ((refusals, _OF_CODE), (upgrades, _OF_UPGRADE), (outcomes, _OF_OUTCOME))
        self._every_s = every_s
        self._told: Counter[str] = Counter()

    def counts(self) -> dict[tuple[str, ...], float]:
        """Events since the start, for the metric: every kind, also those that never came."""
        found = Counter[str]()
        for read, kinds in self._sources:
            for name, count in read().items():
                if name in kinds:
                    found[kinds[name].value] += count
        return {(event.value,): float(found[event.value]) for event in SecurityEvent}

    def tell(self) -> None:
        """Log what came since the last line; nothing when nothing came."""
        counts = Counter({name: int(count) for (name,), count in self.counts().items()})
        new = counts - self._told
        self._told = counts
        if new:
            _log.warning("security events", extra={"in_s": self._every_s, **new})

    async def run(self) -> None:
        """Tell them again and again, until cancelled."""
        while True:
            await pause(self._every_s)
            self.tell()
