"""Registered trackers over HTTP: staff add a phone's app to a technician, list them, and take them away."""

import logging
from collections.abc import Callable

from api.bodies import Done
from api.exchange import Request, Response, answer
from api.technicians import Technicians, is_staff_of, no_such_technician
from api.tracker_bodies import TrackerAdded, TrackerIn, TrackerList, TrackerView
from core.errors import DoorstepError
from core.ids import DeviceId, IdSource, UserId
from core.principal import Principal
from trackers.credentials import hash_of
from trackers.links import setup_of
from trackers.model import App, Device
from trackers.ports import DeviceStore
from trackers.registry import Registry

_log = logging.getLogger(__name__)
DEVICE_PREFIX = "trk_"
SECRET_PREFIX = "trs_"  # noqa: S105 - how one begins


class TrackerDevices:
    """Handlers of ``/v1/technicians/{id}/trackers``.

    Args:
        registry: Who is known from now on.
        store: Remembers it.
        technicians: Whom staff may speak of.
        ids: Makes ids and secrets.
        http_url: Where phones reach us; asked at each request, for the port is known only once the listener stands.
    """

    def __init__(
        self,
        registry: Registry,
        store: DeviceStore,
        technicians: Technicians,
        ids: IdSource,
        http_url: Callable[[], str],
    ) -> None:
        self._registry = registry
        self._store = store
        self._technicians = technicians
        self._ids = ids
        self._http_url = http_url

    async def add(self, who: Principal, request: Request) -> Response:
        """POST /v1/technicians/{id}/trackers: its secret is in this answer and nowhere else."""
        body: TrackerIn = request.data
        technician = UserId(request.path["id"])
        await self._check_staff(who, technician)
        self._registry.check_room(who.tenant, technician)
        secret = self._ids.new(SECRET_PREFIX)
        device = Device(
            tenant=who.tenant,
            device=DeviceId(self._ids.new(DEVICE_PREFIX)),
            technician=technician,
            app=App(body.app),
            name=body.name,
            secret_hash=hash_of(secret),
            added_at=round(request.now, 3),
            added_by=who.user,
        )
        self._registry.add(device)  # first, so that two at once cannot both take the last place
        try:
            await self._store.put(device)
        except DoorstepError:
            self._registry.remove(device)
            raise
        _log.info("tracker registered", extra={"device": device.device, "app": device.app.value})
        setup = setup_of(device, secret, self._http_url())
        told = TrackerAdded(
            device.device, device.app.value, secret, setup.url, setup.username, setup.link, setup.opens_app
        )
        return answer(told, 201)

    async def listing(self, who: Principal, request: Request) -> Response:
        """GET /v1/technicians/{id}/trackers."""
        technician = UserId(request.path["id"])
        await self._check_staff(who, technician)
        return answer(TrackerList([self._view(device) for device in self._registry.of(who.tenant, technician)]))

    async def remove(self, who: Principal, request: Request) -> Response:
        """DELETE /v1/technicians/{id}/trackers/{tracker}: known no more once this is answered."""
        technician = UserId(request.path["id"])
        await self._check_staff(who, technician)
        named = request.path["tracker"]
        owned = self._registry.of(who.tenant, technician)
        device = next((device for device in owned if device.device == named), None)
        if device is not None:
            self._registry.remove(device)
            try:
                await self._store.remove(who.tenant, device.device)
            except DoorstepError:
                self._registry.add(device)  # asked again, it must be found
                raise
            _log.info("tracker removed", extra={"device": device.device, "app": device.app.value})
        return answer(Done({"removed": device is not None}))

    async def _check_staff(self, who: Principal, technician: UserId) -> None:
        """Raise ``NotFound`` for whoever is not staff of the technician's cities."""
        if not is_staff_of(who, await self._technicians.visible(who, technician)):
            raise no_such_technician()

    def _view(self, device: Device) -> TrackerView:
        heard_at = self._registry.heard_at(device)
        return TrackerView(
            device=device.device,
            app=device.app.value,
            name=device.name,
            added_at=device.added_at,
            added_by=device.added_by,
            heard_at=None if heard_at is None else round(heard_at, 3),
        )
