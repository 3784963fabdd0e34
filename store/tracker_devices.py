"""Registered trackers, in ``doorstep.db``: the SQL of ``trackers.ports.DeviceStore``."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, delete, select

from core.ids import DeviceId, TenantId, UserId
from store import schema
from store.database import Database
from store.statements import Statement, upsert
from trackers.model import App, Device

_d = schema.tracker_devices.c
_PUT: Final = upsert(schema.tracker_devices)
_REMOVE: Final = Statement(
    delete(schema.tracker_devices).where(_d.tenant == bindparam("t"), _d.device == bindparam("d"))
)
_ALL: Final = Statement(
    select(_d.tenant, _d.device, _d.technician, _d.app, _d.name, _d.secret_hash, _d.added_at, _d.added_by).order_by(
        _d.added_at, _d.device
    )
)


class SqlDeviceStore:
    """``trackers.ports.DeviceStore`` on ``doorstep.db``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> Sequence[Device]:
        """See the port."""
        found = await self._database.read(lambda c: _ALL.all(c))
        return [
            Device(TenantId(tenant), DeviceId(device), UserId(technician), App(app), name, secret, at, UserId(by))
            for tenant, device, technician, app, name, secret, at, by in found
        ]

    async def put(self, device: Device) -> None:
        """See the port."""
        d = device
        row = (d.tenant, d.device, d.technician, d.app.value, d.name, d.secret_hash, d.added_at, d.added_by)
        await self._database.write(lambda c: _PUT.change(c, *row))

    async def remove(self, tenant: TenantId, device: DeviceId) -> None:
        """See the port."""
        await self._database.write(lambda c: _REMOVE.change(c, tenant, device))
