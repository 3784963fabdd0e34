"""Kept positions as the body of an answer."""

from collections.abc import Sequence

from api.bodies import TrackPoint
from api.ports import Point


def track_body(points: Sequence[Point]) -> list[TrackPoint]:
    """Rows of an answer; numbers are shortened to what they are worth."""
    return [
        TrackPoint(
            fixed_at=round(point.fixed_at, 3),
            received_at=round(point.received_at, 3),
            lat=round(point.lat, 7),
            lng=round(point.lng, 7),
            accuracy_m=point.accuracy_m,
            speed_mps=point.speed_mps,
            heading_deg=point.heading_deg,
            order=point.order,
        )
        for point in points
    ]
