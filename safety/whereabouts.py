"""Where the subject of a tap is, from all that is known: the tap, the live position, the booking."""

from dataclasses import dataclass
from typing import Final

from core.ids import CityId, UserId
from core.principal import Principal
from geo.distance import distance_m
from geo.point import LatLng
from safety.contacts import Contact
from safety.escalation import guarded
from safety.freshness import r95_m
from safety.model import BookedPlace, Incident, IncidentFix, SosReport
from safety.ports import Surroundings

FIX_NEWER_S: Final = 30.0
"""A live position replaces the tap's own only when it is this much newer: the tap is what was meant."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What is known at one moment; every part may be missing."""

    city: CityId | None
    fix: IncidentFix | None
    booked: BookedPlace | None
    contact: Contact | None
    failures: tuple[str, ...]

    @property
    def kept_out(self) -> tuple[UserId, ...]:
        """Who must not be told."""
        return self.booked.kept_out if self.booked else ()


def newest_fix(first: IncidentFix | None, second: IncidentFix | None) -> IncidentFix | None:
    """The better of two fixes: the first, unless the second is clearly newer or the only one."""
    if first is None or second is None:
        return first or second
    return second if second.fixed_at > first.fixed_at + FIX_NEWER_S else first


def latest_fix(first: IncidentFix | None, second: IncidentFix | None) -> IncidentFix | None:
    """Where somebody is by now: whichever was measured later."""
    if first is None or second is None:
        return first or second
    return second if second.fixed_at > first.fixed_at else first


def look_around(surroundings: Surroundings, who: Principal, report: SosReport, now: float) -> Whereabouts:
    """Ask all sources, each on its own. Never raises."""
    failures: list[str] = []
    live = guarded(failures, "last_fix", lambda: surroundings.last_fix(who.tenant, who.user, now), lambda: None)
    booked = guarded(
        failures, "booking", lambda: surroundings.booking(who.tenant, who.user, report.order_id), lambda: None
    )
    fix = newest_fix(report.fix, live[1] if live else None)
    city: CityId | None = None
    if report.fix is not None and fix is report.fix:
        point = report.fix.point
        city = guarded(failures, "city_of", lambda: surroundings.city_of(who.tenant, point), lambda: None)
    if city is None and live is not None:
        city = live[0]
    if city is None and booked is not None:
        city = booked.city
    if city is None and len(who.cities) == 1:
        (city,) = who.cities
    contact = guarded(failures, "contact", lambda: surroundings.contact(who.tenant, who.user), lambda: None)
    return Whereabouts(city, fix, booked, contact, tuple(failures))


def find_booking(surroundings: Surroundings, incident: Incident, failures: list[str]) -> BookedPlace | None:
    """The subject's booking as it is now. Never raises."""
    return guarded(
        failures,
        "booking",
        lambda: surroundings.booking(incident.tenant, incident.subject, incident.order_id),
        lambda: None,
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where the subject is by now, as well as anybody knows; ``within_m`` is the 95 % radius, 0 when not known."""

    point: LatLng
    within_m: float


def best_place(surroundings: Surroundings, incident: Incident, failures: list[str], now: float) -> Place | None:
    """The newest position of the subject, else the booked address, else None. Never raises."""
    live = guarded(
        failures, "last_fix", lambda: surroundings.last_fix(incident.tenant, incident.subject, now), lambda: None
    )
    fix = latest_fix(incident.fix, live[1] if live is not None else None)
    if fix is not None:
        return Place(fix.point, r95_m(fix.accuracy_m) or 0.0)
    return Place(incident.booked.point, 0.0) if incident.booked is not None else None


@dataclass(frozen=True, slots=True)
class Distance:
    """How far from the subject somebody is, and how much of it may be the error of either position."""

    metres: float
    place_within_m: float
    own_within_m: float

    def is_within(self, limit_m: float) -> bool:
        """Whether they may be there; no position is so bad that it shows more than its share."""
        return self.metres <= limit_m + min(self.place_within_m, limit_m) + min(self.own_within_m, limit_m)


def distance_of(
    surroundings: Surroundings, incident: Incident, user: UserId, failures: list[str], now: float, age_max_s: float
) -> Distance | None:
    """How far a responder is; None without a true and recent position of theirs, or any place of the subject."""
    place = best_place(surroundings, incident, failures, now)
    found = guarded(failures, "last_fix", lambda: surroundings.last_fix(incident.tenant, user, now), lambda: None)
    fix = found[1] if found is not None else None
    if place is None or fix is None or fix.is_made_up or now - fix.fixed_at > age_max_s:
        return None
    return Distance(distance_m(fix.point, place.point), place.within_m, r95_m(fix.accuracy_m) or 0.0)
