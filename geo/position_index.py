"""Who is where, now, in one city: columns of everybody on duty and exact k-nearest over them.

Not here: which positions are believed (``track_filter.py``), what the flags mean to an order (dispatch).

A person on duty owns a *slot*, a row number in the columns; they are *placed* once a position is known. Placed
slots are filed in a nested grid (``grid.py``). A query guesses a radius from the local density and from how many
passed the same filters lately, gathers the cells that cover it, filters and ranks in a few numpy calls, and widens
until the k-th distance lies within the circle that the gathered cells are known to cover: a metric bound, so the
answer is exact. Distances are chords between points on the unit sphere turned into arcs: no pole, no antimeridian.

H3 stays the language in which cells are spoken about (``cells.py``); the search does not use it, because fetching
the 91 to 271 res-9 cells of a dispatch circle costs more than the whole query does here.
"""

from collections.abc import Iterator, Sequence
from enum import IntFlag
from math import cos, inf, radians, sin, sqrt
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.ids import UserId
from geo.arrays import AnyInts, BoolArray, FloatArray, IntArray
from geo.distance import EARTH_RADIUS_M
from geo.grid import NestedGrid, cell_keys
from geo.point import LatLng


class Flag(IntFlag):
    """Bits of the ``flags`` column."""

    TECHNICIAN = 1 << 0
    RESPONDER = 1 << 1
    CONNECTED = 1 << 2
    VERIFIED = 1 << 3
    IDLE = 1 << 4
    OFFERED = 1 << 5
    BUSY = 1 << 6
    FEMALE = 1 << 7
    MALE = 1 << 8
    ALARM = 1 << 9
    """Has an open alarm."""
    HELPER = 1 << 10
    """Agreed to be asked when somebody near needs help."""
    PLACED = 1 << 30
    """Has a position; set and cleared by the index alone."""


_PLACED: Final = int(Flag.PLACED)
_SELECTIVITIES_MAX: Final = 256
_SCAN_SHARE: Final = 0.25
"""When a query expects to look at more than this share of everybody, one scan of the columns is cheaper."""

_COLUMNS: Final = (
    # name, dtype, value of a cleared slot
    ("lat", np.float64, np.nan),
    ("lng", np.float64, np.nan),
    ("accuracy_m", np.float64, np.nan),
    ("heading_deg", np.float64, np.nan),
    ("speed_mps", np.float64, np.nan),
    ("fixed_at", np.float64, -np.inf),
    ("seen_at", np.float64, -np.inf),
    ("heard_at", np.float64, -np.inf),
    ("mocked_at", np.float64, -np.inf),
    ("idle_since", np.float64, -np.inf),
    ("rating", np.float64, 0.0),
    ("tier", np.int64, 0),
    ("flags", np.int64, 0),
    ("skills", np.uint64, 0),
    ("zones", np.uint64, 0),
    ("services", np.uint64, 0),
    ("_cell", np.int64, -1),
    ("_home", np.int64, -1),
)


class PositionIndex:
    """Columns of everybody on duty, and exact nearest-neighbour queries.

    Read the columns freely, index them by slot, and fetch them anew each time (they are replaced when they grow).
    Write positions through ``move`` and flags through ``set_flags``; ``heard_at``, ``mocked_at``, ``idle_since``,
    ``rating``, ``tier``, ``skills``, ``zones`` and ``services`` may be written in place.

    Attributes:
        lat, lng: Live position in the platform's frame, degrees; NaN when not placed.
        accuracy_m, heading_deg, speed_mps: Of the live fix; NaN when unknown.
        fixed_at: Phone's time of the live fix.
        seen_at: Server's time of the live fix; -inf when there is none. Freshness is judged by it.
        heard_at: Server's time of the last frame from this person; -inf when never.
        mocked_at: Server's time of the last report whose position the phone called made up; -inf when never. A fix
            that is no newer may be that one.
        idle_since: Server's time at which they came free; -inf when unknown.
        rating: Rating in stars; 0 when unknown.
        tier: Contract tier, higher is better.
        flags: Bits of ``Flag``.
        skills: Bit mask of skills.
        zones, services: Bit masks of where they go and what they do there; all bits for no limit.
    """

    lat: FloatArray
    lng: FloatArray
    accuracy_m: FloatArray
    heading_deg: FloatArray
    speed_mps: FloatArray
    fixed_at: FloatArray
    seen_at: FloatArray
    heard_at: FloatArray
    mocked_at: FloatArray
    idle_since: FloatArray
    rating: FloatArray
    tier: IntArray
    flags: IntArray
    skills: NDArray[np.uint64]
    zones: NDArray[np.uint64]
    services: NDArray[np.uint64]
    _cell: IntArray
    _home: IntArray

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = max(capacity, 16)
        for name, dtype, cleared in _COLUMNS:
            setattr(self, name, np.full(self._capacity, cleared, dtype=dtype))
        self._unit = np.zeros((self._capacity, 3))
        self._grid = NestedGrid(self._capacity)
        self._users: list[UserId | None] = []
        self._slots: dict[UserId, int] = {}
        self._free: list[int] = []
        self._placed_len = 0
        self._selectivity: dict[tuple[int, int, int, bool, bool], float] = {}

    # -- who owns which slot ----------------------------------------------------------------------------

    def __len__(self) -> int:
        """People who own a slot, placed or not."""
        return len(self._slots)

    def __contains__(self, user: UserId) -> bool:
        """Whether this person owns a slot."""
        return user in self._slots

    def __iter__(self) -> Iterator[UserId]:
        """People who own a slot, in the order in which they came."""
        return iter(self._slots)

    @property
    def placed_len(self) -> int:
        """People with a live position."""
        return self._placed_len

    @property
    def capacity(self) -> int:
        """Present length of the columns."""
        return self._capacity

    def claim(self, user: UserId) -> int:
        """Give a person a slot (their own again if they have one); they are not placed by it."""
        slot = self._slots.get(user)
        if slot is not None:
            return slot
        if self._free:
            slot = self._free.pop()
            self._users[slot] = user
        else:
            slot = len(self._users)
            if slot == self._capacity:
                self._grow()
            self._users.append(user)
        self._slots[user] = slot
        return slot

    def release(self, user: UserId) -> int | None:
        """Take a person out and clear every column of their slot; the slot may be given to others afterwards.

        Returns:
            The slot they had; None when they had none.
        """
        slot = self._slots.pop(user, None)
        if slot is None:
            return None
        self._unplace(slot)
        for name, _, cleared in _COLUMNS:
            getattr(self, name)[slot] = cleared
        self._users[slot] = None
        self._free.append(slot)
        return slot

    def slot(self, user: UserId) -> int | None:
        """The slot of a person, None when they are not on duty here."""
        return self._slots.get(user)

    def slots(self, users: Sequence[UserId]) -> IntArray:
        """``slot`` of many, -1 for those who own none."""
        get = self._slots.get
        return np.array([get(user, -1) for user in users], dtype=np.int64)

    def user(self, slot: int) -> UserId:
        """The person who owns a slot.

        Raises:
            KeyError: Nobody owns it.
        """
        user = self._users[slot] if 0 <= slot < len(self._users) else None
        if user is None:
            raise KeyError(slot)
        return user

    def users(self, slots: AnyInts) -> list[UserId]:
        """``user`` for many slots."""
        return [self.user(slot) for slot in slots.tolist()]

    def _grow(self) -> None:
        capacity = self._capacity * 2
        for name, dtype, cleared in _COLUMNS:
            column = np.full(capacity, cleared, dtype=dtype)
            column[: self._capacity] = getattr(self, name)
            setattr(self, name, column)
        unit = np.zeros((capacity, 3))
        unit[: self._capacity] = self._unit
        self._unit = unit
        self._grid.grow(capacity)
        self._capacity = capacity

    # -- changes ----------------------------------------------------------------------------------------

    def move(
        self,
        slots: AnyInts,
        lat_deg: ArrayLike,
        lng_deg: ArrayLike,
        *,
        fixed_at: ArrayLike = -np.inf,
        seen_at: ArrayLike = -np.inf,
        accuracy_m: ArrayLike = np.nan,
        heading_deg: ArrayLike = np.nan,
        speed_mps: ArrayLike = np.nan,
    ) -> None:
        """Set live positions, placing those who were not placed. With a repeated slot the last one counts.

        Args:
            slots: Owned slots.
            lat_deg: Latitudes in [-90, 90], finite.
            lng_deg: Longitudes in [-180, 180], finite.
            fixed_at: Phone's time of each fix.
            seen_at: Server's time of each fix.
            accuracy_m: Error radius.
            heading_deg: Course, clockwise from true north.
            speed_mps: Speed.

        Cost:
            About 0.3 us a slot in a batch of 512, 2 us more for one that leaves its 305 m cell.
        """
        if len(slots) == 0:
            return
        lat = np.asarray(lat_deg, dtype=np.float64)
        lng = np.asarray(lng_deg, dtype=np.float64)
        keys = cell_keys(lat, lng)
        self.lat[slots] = lat
        self.lng[slots] = lng
        self.fixed_at[slots] = fixed_at
        self.seen_at[slots] = seen_at
        self.accuracy_m[slots] = accuracy_m
        self.heading_deg[slots] = heading_deg
        self.speed_mps[slots] = speed_mps
        self._unit[slots] = _unit_vectors(lat, lng)
        # Written first and read back, so that a slot that stands twice in the batch ends where its last row says.
        self._cell[slots] = keys
        crossed = self._cell[slots] != self._home[slots]
        if crossed.any():
            self._refile(slots[crossed])

    def _refile(self, slots: AnyInts) -> None:
        for slot, home, cell in zip(
            slots.tolist(), self._home[slots].tolist(), self._cell[slots].tolist(), strict=True
        ):
            if home == -1:
                if self._home[slot] == -1:
                    self._grid.add(slot, cell)
                    self.flags[slot] |= _PLACED
                    self._placed_len += 1
            elif self._home[slot] != cell:
                self._grid.move(slot, home, cell)
            self._home[slot] = cell

    def _unplace(self, slot: int) -> None:
        home = int(self._home[slot])
        if home == -1:
            return
        self._grid.remove(slot, home)
        self._home[slot] = self._cell[slot] = -1
        self.flags[slot] &= ~_PLACED
        self._placed_len -= 1

    def set_flags(self, slot: int, set: int = 0, clear: int = 0) -> None:
        """Clear, then set bits of one slot's flags."""
        if (set | clear) & _PLACED:
            raise ValueError("must not touch Flag.PLACED: only a position places somebody")
        self.flags[slot] = (int(self.flags[slot]) & ~clear) | set

    def expire(self, seen_before: float) -> IntArray:
        """Take positions older than ``seen_before`` out of the index; their owners keep their slots.

        Returns:
            Slots that are no longer placed, ascending. The next believed fix places them again.
        """
        owned = len(self._users)
        old = np.flatnonzero((self.flags[:owned] & _PLACED != 0) & (self.seen_at[:owned] < seen_before))
        for slot in old.tolist():
            self._unplace(slot)
            for name in ("lat", "lng", "accuracy_m", "heading_deg", "speed_mps"):
                getattr(self, name)[slot] = np.nan
            self.fixed_at[slot] = self.seen_at[slot] = -np.inf
        return old

    # -- questions --------------------------------------------------------------------------------------

    def nearest(
        self,
        point: LatLng,
        k: int,
        *,
        require: int = 0,
        forbid: int = 0,
        skills: int = 0,
        seen_after: float = -inf,
        mask: BoolArray | None = None,
        within_m: float = inf,
    ) -> tuple[IntArray, FloatArray]:
        """The ``k`` placed people nearest to a point who pass the filters; exact, ties by slot number.

        Args:
            point: In the platform's frame.
            k: At least 1.
            require: Flags that all must be set.
            forbid: Flags of which none may be set.
            skills: Skills that all must be had.
            seen_after: Live fix not older than this (server's time).
            mask: Over the whole columns (``capacity``): True for those who may be chosen.
            within_m: Nobody farther than this.

        Returns:
            Slots and great-circle distances in metres, ascending; fewer than ``k`` when there are not more.

        Cost:
            30-60 us when eligible people are near; one scan of the columns when they are rare.
        """
        if k < 1 or self._placed_len == 0:
            return np.empty(0, dtype=np.int64), np.empty(0)
        return _Search(self, point, k, require | _PLACED, forbid, skills, seen_after, mask, within_m).run()

    def within(
        self,
        point: LatLng,
        radius_m: float,
        *,
        require: int = 0,
        forbid: int = 0,
        skills: int = 0,
        seen_after: float = -inf,
        mask: BoolArray | None = None,
    ) -> tuple[IntArray, FloatArray]:
        """Everybody within a circle who passes the filters, nearest first."""
        return self.nearest(
            point, max(self._placed_len, 1), require=require, forbid=forbid, skills=skills, seen_after=seen_after,
            mask=mask, within_m=radius_m,
        )  # fmt: skip

    def cosines(self, lat_deg: FloatArray, lng_deg: FloatArray) -> FloatArray:
        """Cosine of the arc from each point to each slot, shape (points, slots owned); -inf to who is not placed.

        A distance is within a radius when its cosine is at least ``cos(radius_m / EARTH_RADIUS_M)``; good to a few
        centimetres beyond 100 m. Cost: one matrix product, 0.5 ms for 24 points and 5,000 people.
        """
        owned = len(self._users)
        found: FloatArray = _unit_vectors(lat_deg, lng_deg) @ self._unit[:owned].T
        found[:, (self.flags[:owned] & _PLACED) == 0] = -inf
        return found

    def in_box(
        self, west_deg: float, south_deg: float, east_deg: float, north_deg: float, *, require: int = 0
    ) -> IntArray:
        """Placed slots in a box (west > east crosses the antimeridian), ascending. Cost: one scan."""
        owned = len(self._users)
        need = require | _PLACED
        lat, lng = self.lat[:owned], self.lng[:owned]
        inside = (self.flags[:owned] & need == need) & (lat >= south_deg) & (lat <= north_deg)
        if west_deg <= east_deg:
            inside &= (lng >= west_deg) & (lng <= east_deg)
        else:
            inside &= (lng >= west_deg) | (lng <= east_deg)
        return np.flatnonzero(inside)

    def check(self) -> None:
        """Assert that columns, owners and grid agree: no ghosts, nobody lost. Tests call it; cost O(n)."""
        owned = len(self._users)
        owners = [user for user in self._users if user is not None]
        assert len(owners) == len(self._slots) == owned - len(self._free)  # noqa: S101 - invariant
        placed = np.flatnonzero(self.flags & _PLACED)
        assert len(placed) == self._placed_len  # noqa: S101 - invariant
        assert all(self._users[slot] is not None for slot in placed.tolist())  # noqa: S101 - invariant
        assert (self._home[placed] == cell_keys(self.lat[placed], self.lng[placed])).all()  # noqa: S101 - invariant
        self._grid.check(dict(zip(placed.tolist(), self._home[placed].tolist(), strict=True)))
        for slot in self._free:
            for name, _, cleared in _COLUMNS:
                assert np.array_equal(getattr(self, name)[slot], cleared, equal_nan=True), name  # noqa: S101 - invariant


class _Search:
    """One k-nearest query."""

    __slots__ = ("_chord_max", "_filters", "_index", "_k", "_key", "_point", "_unit", "_within_m")

    def __init__(
        self,
        index: PositionIndex,
        point: LatLng,
        k: int,
        require: int,
        forbid: int,
        skills: int,
        seen_after: float,
        mask: BoolArray | None,
        within_m: float,
    ) -> None:
        self._index = index
        self._point = point
        self._k = k
        self._within_m = within_m
        self._chord_max = _chord_square(within_m)
        self._filters = (require | forbid, require, skills, seen_after, mask)
        self._key = (require, forbid, skills, seen_after > -inf, mask is not None)
        lat, lng = radians(point.lat_deg), radians(point.lng_deg)
        self._unit = np.array((cos(lat) * cos(lng), cos(lat) * sin(lng), sin(lat)))

    def run(self) -> tuple[IntArray, FloatArray]:
        index, k = self._index, self._k
        grid = index._grid
        lat, lng = self._point
        share = index._selectivity.get(self._key, 1.0)
        density = grid.density_near(lat, lng)
        # Aims at 1.5 times as many as are wanted: a second pass costs more than a few extra rows in the first.
        radius_m = sqrt((1.5 * k + 3.0) / (3.14159 * density * share)) if density else 2_000.0
        looked_at = 0
        while True:
            # A hair beyond, so that rounding cannot leave out somebody at exactly this distance.
            radius_m = min(radius_m, self._within_m * (1.0 + 1e-8) + 0.01)
            if looked_at > index.placed_len * _SCAN_SHARE and index.placed_len > 256:
                break
            around = grid.block_around(lat, lng, radius_m)
            if around is None:
                break
            block, complete_m = around
            members = grid.members(block)
            slots = self._eligible(members)
            looked_at = len(members)
            self._learn(len(slots), looked_at)
            found, squares = self._rank(slots)
            if len(found) >= k and squares[-1] <= _chord_square(complete_m):
                return found, _arc_m(squares)
            if complete_m >= self._within_m:
                return found, _arc_m(squares)
            if len(found) >= k:
                # The k-th of these is an upper bound, so the next pass is the last.
                radius_m = float(_arc_m(squares[-1:])[0]) * (1.0 + 1e-9) + 1e-3
            else:
                radius_m = complete_m * min(8.0, max(1.5, sqrt(1.5 * k / (len(slots) + 0.25))))
                looked_at = int(looked_at * (radius_m / complete_m) ** 2)
        return self._scan()

    def _scan(self) -> tuple[IntArray, FloatArray]:
        index = self._index
        owned = len(index._users)
        both, require, *_ = self._filters
        slots = np.flatnonzero((index.flags[:owned] & both) == require)
        found, squares = self._rank(self._eligible(slots))
        return found, _arc_m(squares)

    def _eligible(self, slots: AnyInts) -> AnyInts:
        index = self._index
        both, require, skills, seen_after, mask = self._filters
        # Flags first and alone: they exclude most, and each further column costs a cache miss for each slot.
        slots = slots.compress((index.flags.take(slots) & both) == require)
        if skills:
            wanted = np.uint64(skills)
            slots = slots.compress((index.skills.take(slots) & wanted) == wanted)
        if seen_after > -inf:
            slots = slots.compress(index.seen_at.take(slots) >= seen_after)
        if mask is not None:
            slots = slots.compress(mask.take(slots))
        return slots

    def _rank(self, slots: AnyInts) -> tuple[IntArray, FloatArray]:
        """The k nearest of some slots, ordered by (distance, slot)."""
        offset = self._index._unit.take(slots, axis=0)
        offset -= self._unit
        squares: FloatArray = np.einsum("ij,ij->i", offset, offset)
        if self._within_m < inf:
            near = squares <= self._chord_max
            slots, squares = slots.compress(near), squares.compress(near)
        if len(slots) > 4 * self._k:
            # Everybody as near as the k-th stays, so that ties are broken by slot and not by chance.
            limit = np.partition(squares, self._k - 1)[self._k - 1]
            near = squares <= limit
            slots, squares = slots.compress(near), squares.compress(near)
        order = np.lexsort((slots, squares))[: self._k]
        return slots.take(order).astype(np.int64), squares.take(order)

    def _learn(self, passed: int, looked_at: int) -> None:
        """Remember which share passes these filters; it steers the first radius only, never the answer."""
        if looked_at < 8:
            return
        shares = self._index._selectivity
        if len(shares) >= _SELECTIVITIES_MAX and self._key not in shares:
            shares.clear()
        share = (passed + 0.5) / (looked_at + 1.0)
        before = shares.get(self._key, share)
        shares[self._key] = min(1.0, before + 0.1 * (share - before))


def _unit_vectors(lat_deg: FloatArray, lng_deg: FloatArray) -> FloatArray:
    lat, lng = np.radians(lat_deg), np.radians(lng_deg)
    cos_lat = np.cos(lat)
    unit = np.empty((len(lat), 3))
    unit[:, 0] = cos_lat * np.cos(lng)
    unit[:, 1] = cos_lat * np.sin(lng)
    unit[:, 2] = np.sin(lat)
    return unit


def _chord_square(arc_m: float) -> float:
    """Square of the chord, on the unit sphere, under an arc in metres."""
    half = arc_m / (2.0 * EARTH_RADIUS_M)
    return 4.0 * sin(half) ** 2 if half < 1.5 else inf


def _arc_m(squares: FloatArray) -> FloatArray:
    arcs: FloatArray = (2.0 * EARTH_RADIUS_M) * np.arcsin(np.minimum(np.sqrt(squares) * 0.5, 1.0))
    return arcs


def slots_of(index: PositionIndex, users: Sequence[UserId]) -> IntArray:
    """Slots of many people, -1 for those who own none."""
    return index.slots(users)
