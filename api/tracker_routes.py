"""Rows of the route table that belong to trackers: the apps' own paths, and their registration."""

from typing import Final

from api.bodies import Done
from api.exchange import Access, Route
from api.tracker_bodies import TrackerAdded, TrackerIn, TrackerList
from api.tracker_devices import TrackerDevices
from api.trackers import Trackers
from core.principal import Role
from trackers.links import PATH
from trackers.model import App

_METHODS: Final = {
    App.OSMAND: ("GET", "POST"),
    App.TRACCAR: ("GET", "POST"),
    App.OWNTRACKS: ("POST",),
    App.OVERLAND: ("POST",),
    App.GPSLOGGER: ("GET", "POST"),
}
_SUMMARY: Final = {
    App.OSMAND: "A point of OsmAnd, or of Traccar Client up to 8.",
    App.TRACCAR: "A point of Traccar Client, of any version.",
    App.OWNTRACKS: "A message of OwnTracks.",
    App.OVERLAND: "A batch of Overland.",
    App.GPSLOGGER: "A point of GPSLogger's custom URL.",
}


def tracker_routes(trackers: Trackers) -> list[Route]:
    """Routes of the apps' own paths; ``docs/trackers.md`` tells of their bodies and answers."""
    settings = trackers.settings
    return [
        Route(
            f"in_{app.value}_{method.lower()}", method, PATH.format(app=app.value), frozenset(), "everyone",
            _SUMMARY[app], trackers.handler(app), access=Access.TRACKER, caller=trackers.caller(app), location=True,
            body_bytes_max=settings.batch_bytes_max if app is App.OVERLAND else settings.point_bytes_max,
            body_timeout_s=settings.batch_timeout_s if app is App.OVERLAND else None,
        )
        for app, methods in _METHODS.items()
        for method in methods
    ]  # fmt: skip


def tracker_device_routes(devices: TrackerDevices) -> list[Route]:
    """Routes of ``/v1/technicians/{id}/trackers``."""
    staff = frozenset({Role.OPS, Role.SERVICE})
    scope = "ops and service: of technicians of their cities"
    path = "/v1/technicians/{id}/trackers"
    return [
        Route(
            "tracker_add", "POST", path, staff, scope,
            "Register a phone's app; its secret and link are told this once.", devices.add, body=TrackerIn,
            result=TrackerAdded, status=201, location=True,
        ),
        Route(
            "tracker_list", "GET", path, staff, scope, "List the registered apps.", devices.listing,
            result=TrackerList,
        ),
        Route(
            "tracker_remove", "DELETE", f"{path}/{{tracker}}", staff, scope,
            "Take a registration back: the app is unknown from then on. Idempotent.", devices.remove, result=Done,
        ),
    ]  # fmt: skip
