"""The unit of ownership: one city of one tenant has one index, one dispatch engine, one set of settings."""

from typing import NamedTuple

from core.ids import CityId, TenantId


class Shard(NamedTuple):
    """Key of everything that one city owns."""

    tenant: TenantId
    city: CityId

    @property
    def channel(self) -> str:
        """Bus channel of the shard's owner."""
        return f"shard/{self.tenant}/{self.city}"
