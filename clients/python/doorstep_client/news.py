"""Messages that change nothing in the client: each becomes the event that tells of it."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from doorstep_client.events import (
    AreaReceived,
    CareNews,
    CheckinChanged,
    DrillChanged,
    Event,
    IncidentContact,
    JobNews,
    OfferClosed,
    OfferReceived,
    OrderChanged,
    PolicyChanged,
    PositionReceived,
    SnapshotReceived,
    UnknownMessage,
)


def event_of(body: dict[str, Any]) -> Event:
    """The event of a message; ``UnknownMessage`` for a type of a newer server.

    Raises:
        KeyError: A field that this type must have is missing.
    """
    make = _EVENTS.get(body["type"])
    return make(body) if make is not None else UnknownMessage(type=body["type"], body=body)


def _policy(body: dict[str, Any]) -> Event:
    return PolicyChanged(body["interval_s"], body["min_distance_m"], body["accuracy"], body.get("reason", ""))


def _snapshot(body: dict[str, Any]) -> Event:
    return SnapshotReceived(
        body.get("orders", []),
        body.get("offers", []),
        body.get("incidents", []),
        body,
        body.get("orders_left_out", 0),
        body.get("incidents_left_out", 0),
        body.get("checkins", []),
    )


_EVENTS: Final[Mapping[str, Callable[[dict[str, Any]], Event]]] = {
    "ping_policy": _policy,
    "position": lambda body: PositionReceived(body["topic"], body),
    "area": lambda body: AreaReceived(body["topic"], body),
    "offer": lambda body: OfferReceived(body["offer"], body["order"], body["remaining_ms"], body),
    "offer.closed": lambda body: OfferClosed(body["offer"], body["reason"], body),
    "order": lambda body: OrderChanged(body["order"], body["state"], body),
    "job.news": lambda body: JobNews(body["order"], body["what"], body),
    "incident.contact": lambda body: IncidentContact(body["incident"], body["lost"], body),
    "checkin": lambda body: CheckinChanged(body["checkin"], body["order"], body["kind"], body["state"], body),
    "drill": lambda body: DrillChanged(body["drill"], body["state"], body.get("round_trip_ms"), body),
    "care.news": lambda body: CareNews(body["order"], body["technician"], body["what"], body),
    "snapshot": _snapshot,
}
