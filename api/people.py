"""Whom staff may speak for in matters of safety."""

from typing import NamedTuple

from api.cities import Cities
from core.errors import Invalid, NotFound
from core.ids import UserId
from core.principal import Principal, Role
from dispatch.model import Technician
from dispatch.ports import DispatchStore

_USER_LEN_MAX = 64


class Person(NamedTuple):
    """Somebody, with their record where they are a technician."""

    user: UserId
    technician: Technician | None


class People:
    """Whom staff may speak for."""

    def __init__(self, cities: Cities, store: DispatchStore) -> None:
        """Keep where people are known."""
        self._cities = cities
        self._store = store

    async def person(self, who: Principal, user: str) -> Person:
        """A person whom this staff may speak for: a technician of their cities, or anybody who is no technician.

        Who is no technician belongs to no city, and is not known here at all before their first order.

        Raises:
            Invalid: This is nobody's name.
            NotFound: A technician of other cities; as for staff without a city.
        """
        if not (0 < len(user) <= _USER_LEN_MAX and user.isprintable()):
            raise Invalid(f"between 1 and {_USER_LEN_MAX} printable characters", field="id")
        found = self._cities.technician(who.tenant, UserId(user))
        record = found[1] if found is not None else await self._store.technician(who.tenant, UserId(user))
        everywhere = who.holds(Role.SERVICE) and not who.cities
        if not everywhere and not (bool(who.cities) if record is None else set(record.cities) & who.cities):
            raise NotFound("there is no such person for you")
        return Person(UserId(user), record)
