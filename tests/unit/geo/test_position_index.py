from math import cos, inf, radians, sin

import h3
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.ids import UserId
from geo.arrays import FloatArray, IntArray
from geo.distance import EARTH_RADIUS_M, haversine_m
from geo.point import LatLng
from geo.position_index import Flag, PositionIndex, slots_of

TECHNICIAN, IDLE = int(Flag.TECHNICIAN), int(Flag.IDLE)


def brute_force(
    index: PositionIndex, point: LatLng, k: int, *, require: int = 0, within_m: float = inf
) -> tuple[list[int], FloatArray]:
    """Distances of everybody, sorted: the model. Shares nothing with the index but the columns."""
    slots = [
        slot
        for user in index
        if (slot := index.slot(user)) is not None
        and not np.isnan(index.lat[slot])
        and int(index.flags[slot]) & require == require
    ]
    lat, lng = radians(point.lat_deg), radians(point.lng_deg)
    here = np.array((cos(lat) * cos(lng), cos(lat) * sin(lng), sin(lat)))
    lats, lngs = np.radians(index.lat[slots]), np.radians(index.lng[slots])
    there = np.stack((np.cos(lats) * np.cos(lngs), np.cos(lats) * np.sin(lngs), np.sin(lats)), axis=1)
    chords = ((there - here) ** 2).sum(axis=1)
    arcs = 2.0 * EARTH_RADIUS_M * np.arcsin(np.minimum(np.sqrt(chords) / 2.0, 1.0))
    ranked = sorted((arc, slot) for arc, slot in zip(arcs.tolist(), slots, strict=True) if arc <= within_m)[:k]
    return [slot for _, slot in ranked], np.array([arc for arc, _ in ranked])


def filled(lat: FloatArray, lng: FloatArray) -> PositionIndex:
    index = PositionIndex()
    slots = np.array([index.claim(UserId(f"tec_{number}")) for number in range(len(lat))], dtype=np.int64)
    index.move(slots, lat, lng, seen_at=0.0)
    return index


def assert_same(index: PositionIndex, point: LatLng, k: int, *, require: int = 0, within_m: float = inf) -> None:
    slots, distance_m = index.nearest(point, k, require=require, within_m=within_m)
    expected, expected_m = brute_force(index, point, k, require=require, within_m=within_m)
    np.testing.assert_allclose(distance_m, expected_m, rtol=1e-9, atol=1e-6)
    if slots.tolist() != expected:  # only among distances that rounding cannot tell apart
        by_slot = dict(zip(expected, expected_m.tolist(), strict=True))
        for slot, metres in zip(slots.tolist(), distance_m.tolist(), strict=True):
            # Near the antipode a metre is the square root of what a double resolves.
            assert by_slot.get(slot, expected_m[-1]) == pytest.approx(metres, rel=1e-9, abs=1e-6)


PENTAGONS = [h3.cell_to_latlng(cell) for cell in h3.get_pentagons(9)]

centers = st.one_of(
    st.tuples(st.floats(-89.0, 89.0), st.floats(-180.0, 180.0)),
    st.just((22.5431, 114.0579)),
    st.sampled_from([(0.0, 180.0), (0.0, -180.0), (51.0, 179.9999), (-17.0, -179.9999)]),
    st.sampled_from([(90.0, 0.0), (-90.0, 0.0), (89.9999, 45.0), (-89.995, 170.0), (85.0, -120.0)]),
    st.sampled_from(PENTAGONS),
)
# From one building to the whole world, in degrees.
spreads = st.sampled_from([0.0, 1e-6, 1e-4, 0.003, 0.03, 0.3, 3.0, 30.0, 180.0])


def cloud(
    rng: np.random.Generator, center: tuple[float, float], spread: float, n: int
) -> tuple[FloatArray, FloatArray]:
    lat = np.clip(center[0] + rng.normal(0.0, spread, n), -90.0, 90.0)
    stretch = max(cos(radians(center[0])), 0.01)
    lng = (center[1] + rng.normal(0.0, spread / stretch, n) + 180.0) % 360.0 - 180.0
    return lat, lng


def check_clouds(
    seed: int, clouds: list[tuple[tuple[float, float], float, int]], k: int, share: float, near: float, within_m: float
) -> None:
    rng = np.random.default_rng(seed)
    parts = [cloud(rng, center, spread, n) for center, spread, n in clouds]
    lat, lng = (np.concatenate(axis) for axis in zip(*parts, strict=True))
    index = filled(lat, lng)
    for slot in np.flatnonzero(rng.random(len(lat)) < share).tolist():
        index.set_flags(slot, IDLE)
    index.check()
    for _ in range(4):
        center = clouds[int(rng.integers(len(clouds)))][0]
        at_lat, at_lng = cloud(rng, center, near, 1)
        point = LatLng(float(at_lat[0]), float(at_lng[0]))
        assert_same(index, point, k, require=IDLE)
        assert_same(index, point, k, require=IDLE, within_m=within_m)
        assert_same(index, LatLng(float(lat[0]), float(lng[0])), k)


CLOUDS = {
    "seed": st.integers(0, 2**32 - 1),
    "clouds": st.lists(st.tuples(centers, spreads, st.integers(1, 300)), min_size=1, max_size=4),
    "k": st.sampled_from([1, 2, 10, 40, 2000]),
    "share": st.sampled_from([0.01, 0.05, 0.5, 1.0]),
    "near": spreads,
    "within_m": st.sampled_from([0.0, 50.0, 1_000.0, 30_000.0, 5_000_000.0]),
}


@pytest.mark.slow
@given(**CLOUDS)
@settings(max_examples=60)
def test_nearest_equals_brute_force_on_clusters_anywhere_on_earth(
    seed: int, clouds: list[tuple[tuple[float, float], float, int]], k: int, share: float, near: float, within_m: float
) -> None:
    check_clouds(seed, clouds, k, share, near, within_m)


@pytest.mark.full
@pytest.mark.timeout(1200)
@given(**CLOUDS)
@settings(max_examples=3_000)
def test_nearest_equals_brute_force_on_many_clusters(
    seed: int, clouds: list[tuple[tuple[float, float], float, int]], k: int, share: float, near: float, within_m: float
) -> None:
    check_clouds(seed, clouds, k, share, near, within_m)


@pytest.mark.parametrize("center", PENTAGONS)
def test_nearest_is_exact_around_every_pentagon(center: tuple[float, float]) -> None:
    lat, lng = cloud(np.random.default_rng(5), center, 0.01, 200)
    assert_same(filled(lat, lng), LatLng(*center), 12)


def test_ties_are_broken_by_slot() -> None:
    index = filled(np.full(50, 22.5), np.full(50, 114.0))
    slots, distance_m = index.nearest(LatLng(22.5, 114.0), 7)
    assert slots.tolist() == list(range(7))
    assert distance_m.tolist() == [0.0] * 7


def test_asking_for_more_than_there_are_gives_all() -> None:
    index = filled(np.array([22.5, 22.6]), np.array([114.0, 114.0]))
    slots, _ = index.nearest(LatLng(22.59, 114.0), 10)
    assert slots.tolist() == [1, 0]


def test_an_empty_index_has_nobody() -> None:
    slots, distance_m = PositionIndex().nearest(LatLng(0, 0), 3)
    assert (len(slots), len(distance_m)) == (0, 0)


def test_every_filter_filters() -> None:
    index = filled(np.full(6, 22.5), np.full(6, 114.0))
    for slot in range(6):
        index.set_flags(slot, TECHNICIAN)
    index.set_flags(1, clear=TECHNICIAN)
    index.set_flags(2, int(Flag.BUSY))
    index.skills[:] = 0b11
    index.skills[3] = 0b01
    index.seen_at[4] = -1.0
    mask = np.ones(index.capacity, dtype=np.bool_)
    mask[5] = False
    slots, _ = index.nearest(
        LatLng(22.5, 114.0), 9, require=TECHNICIAN, forbid=int(Flag.BUSY), skills=0b10, seen_after=0.0, mask=mask
    )
    assert slots.tolist() == [0]


def test_the_highest_skill_bit_works() -> None:
    index = filled(np.array([22.5]), np.array([114.0]))
    index.skills[0] = 1 << 63
    assert len(index.nearest(LatLng(22.5, 114.0), 1, skills=1 << 63)[0]) == 1
    assert len(index.nearest(LatLng(22.5, 114.0), 1, skills=1 << 62)[0]) == 0


def test_within_gives_everybody_in_the_circle() -> None:
    lat, lng = cloud(np.random.default_rng(2), (22.5, 114.0), 0.02, 300)
    index = filled(lat, lng)
    slots, distance_m = index.within(LatLng(22.5, 114.0), 1500.0)
    metres = haversine_m(lat, lng, 22.5, 114.0)
    assert sorted(slots.tolist()) == np.flatnonzero(metres <= 1500.0).tolist()
    assert (np.diff(distance_m) >= 0).all()


def test_a_box_may_cross_the_antimeridian() -> None:
    index = filled(np.array([0.0, 0.0, 0.0]), np.array([179.5, -179.5, 0.0]))
    assert index.in_box(179.0, -1.0, -179.0, 1.0).tolist() == [0, 1]
    assert index.in_box(-1.0, -1.0, 1.0, 1.0).tolist() == [2]


def test_nobody_is_found_before_their_first_position() -> None:
    index = PositionIndex()
    index.claim(UserId("tec_a"))
    assert len(index) == 1
    assert index.placed_len == 0
    assert len(index.nearest(LatLng(0, 0), 1)[0]) == 0


def test_a_slot_is_handed_on_only_with_cleared_columns() -> None:
    index = filled(np.array([22.5]), np.array([114.0]))
    index.set_flags(0, IDLE)
    index.rating[0], index.skills[0], index.heard_at[0] = 4.5, 3, 9.0
    assert index.release(UserId("tec_0")) == 0
    assert index.release(UserId("tec_0")) is None
    assert index.claim(UserId("tec_b")) == 0
    index.check()
    assert (index.flags[0], index.skills[0], index.rating[0], index.heard_at[0]) == (0, 0, 0.0, -inf)
    assert index.placed_len == 0
    with pytest.raises(KeyError):
        index.user(7)


def test_a_slot_that_stands_twice_in_a_batch_ends_where_its_last_row_says() -> None:
    index = filled(np.array([22.5]), np.array([114.0]))
    index.move(np.array([0, 0]), [23.5, 22.5001], [114.0, 114.0], seen_at=1.0)
    index.check()
    assert index.lat[0] == 22.5001
    assert len(index.nearest(LatLng(22.5, 114.0), 1, within_m=50.0)[0]) == 1
    index.claim(UserId("tec_new"))
    index.move(np.array([1, 1]), [30.0, 40.0], [114.0, 114.0])
    index.check()


def test_the_index_alone_decides_who_is_placed() -> None:
    with pytest.raises(ValueError, match="only a position places"):
        filled(np.array([0.0]), np.array([0.0])).set_flags(0, int(Flag.PLACED))


def test_slots_of_many_users_are_minus_one_for_strangers() -> None:
    index = filled(np.array([0.0]), np.array([0.0]))
    assert slots_of(index, [UserId("tec_0"), UserId("tec_x")]).tolist() == [0, -1]


class IndexAgainstModel(RuleBasedStateMachine):
    """Arbitrary sequences of claim, move, release and expire, beside a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.index = PositionIndex(16)
        self.model: dict[str, tuple[float, float, float]] = {}
        self.on_duty: set[str] = set()
        self.now = 0.0

    names = st.integers(0, 39).map("tec_{}".format)
    lats = st.one_of(st.floats(22.49, 22.51), st.floats(-90, 90), st.sampled_from([90.0, -90.0]))
    lngs = st.one_of(st.floats(113.99, 114.01), st.floats(-180, 180), st.sampled_from([180.0, -180.0]))

    @rule(name=names)
    def claim(self, name: str) -> None:
        self.index.claim(UserId(name))
        self.on_duty.add(name)

    @rule(name=names)
    def release(self, name: str) -> None:
        assert (self.index.release(UserId(name)) is None) == (name not in self.on_duty)
        self.on_duty.discard(name)
        self.model.pop(name, None)

    @precondition(lambda self: self.on_duty)
    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        who = data.draw(st.lists(st.sampled_from(sorted(self.on_duty)), min_size=1, max_size=12))
        places = data.draw(st.lists(st.tuples(self.lats, self.lngs), min_size=len(who), max_size=len(who)))
        self.now += 1.0
        slots: IntArray = slots_of(self.index, [UserId(name) for name in who])
        self.index.move(slots, [p[0] for p in places], [p[1] for p in places], seen_at=self.now)
        self.model.update({name: (*place, self.now) for name, place in zip(who, places, strict=True)})

    @rule(age=st.integers(0, 5))
    def expire(self, age: int) -> None:
        gone = {str(user) for user in self.index.users(self.index.expire(self.now - age))}
        assert gone == {name for name, (_, _, seen) in self.model.items() if seen < self.now - age}
        for name in gone:
            del self.model[name]

    @rule(lat=lats, lng=lngs, k=st.integers(1, 45))
    def ask(self, lat: float, lng: float, k: int) -> None:
        slots, _ = self.index.nearest(LatLng(lat, lng), k)
        assert len(slots) == min(k, len(self.model))
        assert {str(user) for user in self.index.users(slots)} <= self.model.keys()
        assert_same(self.index, LatLng(lat, lng), k)

    @invariant()
    def no_ghosts(self) -> None:
        self.index.check()
        assert len(self.index) == len(self.on_duty)
        assert self.index.placed_len == len(self.model)


TestIndexAgainstModel = pytest.mark.slow(IndexAgainstModel.TestCase)
TestIndexAgainstModel.settings = settings(max_examples=40, stateful_step_count=30)


class IndexAgainstModelAtLength(IndexAgainstModel):
    """The same, many more and longer sequences."""


TestIndexAgainstModelAtLength = pytest.mark.full(pytest.mark.timeout(1200)(IndexAgainstModelAtLength.TestCase))
TestIndexAgainstModelAtLength.settings = settings(max_examples=1_500, stateful_step_count=60)
