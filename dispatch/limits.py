"""Where technicians go within a city, and which services they do there. Nothing named is no limit. Pure."""

from collections.abc import Iterator

from core.ids import CityId
from dispatch.model import Order, Technician
from dispatch.problem import BoolArray, Exclusion, IntArray, PersonColumns, Problem, Table


def goes_to(technician: Technician, city: CityId, zone: str) -> bool:
    """Whether a technician goes to a zone of a city (``""``: a place outside of all its zones)."""
    zones = technician.zones.get(city)
    return not zones or zone in zones


def within(order: Order, technician: Technician) -> bool:
    """Whether an order lies within a technician's limits."""
    does_it = not technician.services or order.service in technician.services
    return does_it and goes_to(technician, order.city, order.zone)


def fill(found: PersonColumns, o: Table, t: Table) -> None:
    """Fill in where the technicians go and what they do there, as far as anybody of the city is limited.

    Args:
        found: Is written to.
        o, t: Rows of the round's orders and technicians (``sheets.py``).
    """
    if o["zone_bit"].any():
        found.zone_bit, found.zones = o["zone_bit"].copy(), t["zones"].copy()
    if o["service_bit"].any():
        found.service_bit, found.services = o["service_bit"].copy(), t["services"].copy()


def filters(problem: Problem, rows: IntArray) -> Iterator[tuple[Exclusion, BoolArray]]:
    """See ``candidates.filters``."""
    who = problem.people
    if len(who.zone_bit):
        yield Exclusion.ZONE, (who.zones[None, :] & who.zone_bit[rows][:, None]) == 0
    if len(who.service_bit):
        yield Exclusion.SERVICE, (who.services[None, :] & who.service_bit[rows][:, None]) == 0
