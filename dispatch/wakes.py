"""Decides which phones are woken: those that an offer did not find. Pure; somebody else wakes them."""

from collections import Counter
from typing import Final

from core.ids import TenantId, UserId
from dispatch.model import Offer, Wake, WakeOutcome, WakeReason
from dispatch.ports import Notifier, Reach

_REMEMBERED_MAX: Final = 10_000


class WakeDesk:
    """One for all cities of a process. Told of offers after their commit.

    Args:
        quiet_s: A phone that was woken is not woken again so soon.
        under_way_max: Phones that are being woken at the same time.
    """

    def __init__(self, notifier: Notifier, reach: Reach, *, quiet_s: float, under_way_max: int) -> None:
        self._notifier = notifier
        self._reach = reach
        self._quiet_s = quiet_s
        self._under_way_max = under_way_max
        self._under_way = 0
        self._woken_at: dict[tuple[TenantId, UserId], float] = {}
        self.counts: Counter[WakeOutcome] = Counter()

    def offer_sent(self, offer: Offer, now: float) -> None:
        """An offer was handed to the hub: a phone without a session cannot hear it."""
        if self._reach.online(offer.tenant, offer.technician):
            self.counts[WakeOutcome.CONNECTED] += 1
        else:
            self._wake(offer, WakeReason.NO_SOCKET, now)

    def offer_undelivered(self, offer: Offer, now: float) -> None:
        """No device took the offer: its socket is dead, and only the phone can open another."""
        self._wake(offer, WakeReason.UNDELIVERED, now)

    def _wake(self, offer: Offer, reason: WakeReason, now: float) -> None:
        who = (offer.tenant, offer.technician)
        if offer.expires_at <= now:
            self.counts[WakeOutcome.LATE] += 1
        elif now < self._woken_at.get(who, -self._quiet_s) + self._quiet_s:
            self.counts[WakeOutcome.REPEATED] += 1
        elif self._under_way >= self._under_way_max:
            self.counts[WakeOutcome.CROWDED] += 1
        else:
            self._remember(who, now)
            self._under_way += 1
            wake = Wake(*who, offer.offer_id, reason, now, offer.expires_at)
            self._notifier.wake(wake, lambda outcome: self._done(who, outcome))

    def _done(self, who: tuple[TenantId, UserId], outcome: WakeOutcome) -> None:
        self._under_way -= 1
        self.counts[outcome] += 1
        if outcome is not WakeOutcome.SENT:
            self._woken_at.pop(who, None)

    def _remember(self, who: tuple[TenantId, UserId], now: float) -> None:
        self._woken_at.pop(who, None)  # to the end: the first one is the oldest
        self._woken_at[who] = now
        if len(self._woken_at) > _REMEMBERED_MAX:
            del self._woken_at[next(iter(self._woken_at))]
