"""Who is on duty where, and what a shard's positions show of them: connected, and when they were last heard."""

from collections.abc import Mapping
from typing import Final

from core.ids import TenantId, UserId
from core.shard import Shard
from geo.position_index import Flag
from geo.shard_positions import ShardPositions
from realtime.people import People
from realtime.pings import PingPath
from realtime.session import Person
from realtime.watching import Watching

_CONNECTED: Final = int(Flag.CONNECTED)


class OnDuty:
    """Ties people to their slots.

    Args:
        people: Everyone the hub has to do with.
        positions: Each shard's positions.
        pings: Has the lanes in which pings of a shard wait.
        watching: Told of those who came, left, or changed.
    """

    def __init__(
        self, people: People, positions: Mapping[Shard, ShardPositions], pings: PingPath, watching: Watching
    ) -> None:
        self._people = people
        self._positions = positions
        self._pings = pings
        self._watching = watching

    def changed(self, tenant: TenantId, user: UserId, shard: Shard | None, now: float, *, quiet: bool = False) -> None:
        """A person got a slot, or lost it; ``quiet``: their phone must not see that they have one."""
        if shard is None and self._people.get(tenant, user) is None:
            return
        person = self._people.meet(tenant, user)
        if person.shard is not None and person.slot >= 0:
            self._watching.areas.released(person.shard, person.slot, user)
        slot = None if shard is None or shard not in self._positions else self._positions[shard].index.slot(user)
        person.shard = None if slot is None else shard
        person.slot = -1 if slot is None else slot
        person.lane = person.quiet = -1
        if slot is not None and shard is not None:
            number = self._pings.lane(shard, self._positions[shard])
            if quiet:
                person.quiet = number
            else:
                person.lane = number
            self.show_connected(person, now)
        self._watching.channels.moved_in(tenant, user)
        self._people.forget_if_idle(person)

    def show_connected(self, person: Person, now: float) -> None:
        """Set or clear the CONNECTED flag of somebody on duty."""
        if person.slot < 0 or person.shard is None:
            return
        index = self._positions[person.shard].index
        if any(session.takes_rows for session in person.sessions):
            index.set_flags(person.slot, set=_CONNECTED)
            index.heard_at[person.slot] = now
        else:
            index.set_flags(person.slot, clear=_CONNECTED)
        self._watching.areas.touched(person.shard, person.slot)

    def heard(self, person: Person | None, now: float) -> None:
        """Something came from somebody who may be on duty."""
        if person is not None and person.slot >= 0 and person.shard is not None:
            self._positions[person.shard].index.heard_at[person.slot] = now
