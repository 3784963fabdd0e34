"""Everyone the hub has to do with.

A person exists while they are connected, on duty, or have a cause for attention.
"""

from collections.abc import Iterator

from core.ids import TenantId, UserId
from realtime.session import Person


class People:
    """The hub's register of persons."""

    __slots__ = ("_people",)

    def __init__(self) -> None:
        self._people: dict[tuple[TenantId, UserId], Person] = {}

    def get(self, tenant: TenantId, user: UserId) -> Person | None:
        """The person, None when the hub has nothing to do with them."""
        return self._people.get((tenant, user))

    def meet(self, tenant: TenantId, user: UserId) -> Person:
        """The person, made now if need be."""
        key = (tenant, user)
        person = self._people.get(key)
        if person is None:
            person = self._people[key] = Person(tenant, user)
        return person

    def forget_if_idle(self, person: Person) -> None:
        """Drop a person to whom nothing refers any more."""
        if not person.is_needed:
            self._people.pop((person.tenant, person.user), None)

    def __len__(self) -> int:
        """Number of persons."""
        return len(self._people)

    def __iter__(self) -> Iterator[Person]:
        """All of them, in the order in which they were met."""
        return iter(list(self._people.values()))
