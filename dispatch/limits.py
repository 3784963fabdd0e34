"""Where technicians go within a city, and which services they do there. Nothing named is no limit. Pure."""

from collections.abc import Iterator, Sequence

import numpy as np

from core.ids import CityId
from dispatch.book import Book
from dispatch.model import Order, Technician
from dispatch.problem import BoolArray, Exclusion, IntArray, PersonColumns, Problem


def goes_to(technician: Technician, city: CityId, zone: str) -> bool:
    """Whether a technician goes to a zone of a city (``""``: a place outside of all its zones)."""
    zones = technician.zones.get(city)
    return not zones or zone in zones


def within(order: Order, technician: Technician) -> bool:
    """Whether an order lies within a technician's limits."""
    does_it = not technician.services or order.service in technician.services
    return does_it and goes_to(technician, order.city, order.zone)


def fill(found: PersonColumns, orders: Sequence[Order], people: Sequence[Technician], book: Book) -> None:
    """Fill in where the technicians go and what they do there, as far as anybody of the city is limited.

    Args:
        found: Is written to.
        orders: The rows of the round.
        people: The technicians of the round.
        book: Knows the bits.
    """
    zone_bits = [book.zone_bits.wanted(order.zone) for order in orders]
    service_bits = [book.service_bits.wanted(order.service) for order in orders]
    if not any(zone_bits) and not any(service_bits):
        return
    masks = [book.masks(person) for person in people]
    if any(zone_bits):
        found.zone_bit = np.array(zone_bits, dtype=np.uint64)
        found.zones = np.array([mask.zones for mask in masks], dtype=np.uint64)
    if any(service_bits):
        found.service_bit = np.array(service_bits, dtype=np.uint64)
        found.services = np.array([mask.services for mask in masks], dtype=np.uint64)


def filters(problem: Problem, rows: IntArray) -> Iterator[tuple[Exclusion, BoolArray]]:
    """See ``candidates.filters``."""
    who = problem.people
    if len(who.zone_bit):
        yield Exclusion.ZONE, (who.zones[None, :] & who.zone_bit[rows][:, None]) == 0
    if len(who.service_bit):
        yield Exclusion.SERVICE, (who.services[None, :] & who.service_bit[rows][:, None]) == 0
