"""Where people are who have an alarm open and are not on duty: apart from the cities' indexes.

Nobody here is a candidate, is near to anybody, or is shown in a city. What is known of them is for their incident, and
is forgotten with its end.
"""

from collections.abc import Iterable
from math import isfinite
from typing import Final

from core.ids import CityId, TenantId, UserId
from core.shard import Shard
from geo.point import Frame
from geo.settings import PositionSettings
from geo.shard_positions import LiveFix, ShardPositions

_CAPACITY: Final = 16
"""People to make room for at first; it grows by itself."""


def aside_of(tenant: TenantId) -> Shard:
    """The shard that stands for no city: a served city's name is never empty."""
    return Shard(tenant, CityId(""))


class Aside:
    """One set of positions for each tenant, judged by the same filter and limits as everybody's.

    Attributes:
        positions: By ``aside_of``; the hub takes them in beside those of the cities.
    """

    def __init__(self, tenants: Iterable[TenantId], settings: PositionSettings, frame: Frame) -> None:
        """Nobody is here yet."""
        self.positions = {aside_of(tenant): ShardPositions(settings, frame, _CAPACITY) for tenant in tenants}

    def holds(self, tenant: TenantId, user: UserId) -> bool:
        """Whether somebody is here."""
        positions = self.positions.get(aside_of(tenant))
        return positions is not None and positions.index.slot(user) is not None

    def enter(self, tenant: TenantId, user: UserId, heard_at: float | None = None) -> Shard | None:
        """Somebody's positions are taken from now on; None for a tenant that is not served.

        Args:
            tenant: Whose user it is.
            user: Who.
            heard_at: When their phone was heard last, None when that is not known.
        """
        shard = aside_of(tenant)
        positions = self.positions.get(shard)
        if positions is None:
            return None
        slot = positions.claim(user)
        if heard_at is not None and isfinite(heard_at):
            positions.index.heard_at[slot] = heard_at
        return shard

    def leave(self, tenant: TenantId, user: UserId) -> None:
        """Forget them. Idempotent."""
        positions = self.positions.get(aside_of(tenant))
        if positions is not None:
            positions.release(user)

    def live(self, tenant: TenantId, user: UserId) -> LiveFix | None:
        """Where somebody is; None when they are not here or no fix is known. However old: its age is told with it."""
        positions = self.positions.get(aside_of(tenant))
        return positions.live(user) if positions is not None else None
