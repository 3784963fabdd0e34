"""Who else was in reach of a stored round: known by the index alone, because enough nearer people were weighed.

A round weighs the nearest who may be asked. That the others were in reach too, and what spoke against them at a glance,
belongs to its account all the same: it is taken from the index's columns at once, and stored beside the round.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final

import msgspec
import numpy as np

from core.ids import OrderId, UserId
from dispatch.book import Book
from dispatch.model import Gender, Order
from dispatch.places import Places
from dispatch.problem import CodeArray, Exclusion, FloatArray, IntArray, Problem
from geo.distance import EARTH_RADIUS_M
from geo.position_index import Flag

_LEVEL: Final = 1
_FLAGS: Final = (
    # The last one that applies is told, as in ``candidates.exclusions``.
    (Exclusion.DISCONNECTED, int(Flag.CONNECTED)),
    (Exclusion.UNVERIFIED, int(Flag.VERIFIED)),
)
_GENDERS: Final = {Gender.FEMALE: int(Flag.FEMALE), Gender.MALE: int(Flag.MALE)}


@dataclass(frozen=True, slots=True)
class Bystanders:
    """m people in reach of a round of n orders who were not weighed.

    Attributes:
        ids: The nearest of them.
        lat_deg, lng_deg: Where they were, to about a metre.
        codes: What the index had against each, ``Exclusion`` codes of shape (n, m): ``FARTHER`` for nothing.
        others_len: For each order, how many were in its reach besides and are not named.
    """

    ids: tuple[str, ...]
    lat_deg: FloatArray
    lng_deg: FloatArray
    codes: CodeArray
    others_len: tuple[int, ...]


def look(
    problem: Problem, steps: Mapping[OrderId, int], book: Book, places: Places, now: float, *, len_max: int
) -> Bystanders:
    """Everybody within the radius that each order came to who is not of the problem; ``len_max`` are named.

    Args:
        steps: Radius step of each order of the round, in its order.

    Cost:
        About 1 ms for 24 orders and 5,000 on duty.
    """
    index = places.index
    rows = [problem.orders.ids.index(order_id) for order_id in steps]
    cosines = index.cosines(problem.orders.lat_deg[rows], problem.orders.lng_deg[rows])
    flags = index.flags[: cosines.shape[1]]
    radius_m = np.array([problem.policy.radius_steps_m[step] for step in steps.values()])
    known = [slot for slot in map(index.slot, map(UserId, problem.technicians.ids)) if slot is not None]
    is_near = (cosines >= np.cos(radius_m / EARTH_RADIUS_M)[:, None]) & ((flags & int(Flag.TECHNICIAN)) != 0)
    is_near[:, known] = False
    found: IntArray = np.flatnonzero(is_near.any(axis=0))
    left_out = found[:0]
    if len(found) > len_max:
        nearest = np.where(is_near[:, found], cosines[:, found], -inf).max(axis=0)
        ranked = found[np.argsort(-nearest, kind="stable")]
        found, left_out = ranked[:len_max], ranked[len_max:]
    fresh_s = problem.policy.position_fresh_s
    row_of = {slot: row for row, slot in enumerate(found.tolist())}
    codes = np.full((len(steps), len(found)), Exclusion.FARTHER, dtype=np.uint8)
    for row, order_id in enumerate(steps):
        order = book.orders.get(order_id)  # None: settled and forgotten while a thread was solving
        if order is not None:
            codes[row] = _codes(order, found, row_of, book, places, now - fresh_s)
    codes[~is_near[:, found]] = Exclusion.TOO_FAR
    return Bystanders(
        ids=tuple(map(index.user, found.tolist())),
        lat_deg=index.lat[found],
        lng_deg=index.lng[found],
        codes=codes,
        others_len=tuple(is_near[:, left_out].sum(axis=1).tolist()),
    )


def _codes(
    order: Order, slots: IntArray, row_of: Mapping[int, int], book: Book, places: Places, seen_after: float
) -> CodeArray:
    """The most telling thing that the index, or a short list of names, has against each."""
    index = places.index
    flags = index.flags[slots]
    code = np.full(len(slots), Exclusion.FARTHER, dtype=np.uint8)
    code[index.seen_at[slots] < seen_after] = Exclusion.STALE_POSITION
    for reason, bit in _FLAGS:
        code[(flags & bit) == 0] = reason
    if order.gender_preference is not None:
        code[(flags & _GENDERS.get(order.gender_preference, 0)) == 0] = Exclusion.GENDER
    need = np.uint64(book.skill_bits.mask(order.skills))
    lacking = (index.skills[slots] & need) != need
    code[lacking | (not book.skill_bits.knows(order.skills))] = Exclusion.SKILL
    for reason, limits, bit in (
        (Exclusion.ZONE, index.zones, book.zone_bits.wanted(order.zone)),
        (Exclusion.SERVICE, index.services, book.service_bits.wanted(order.service)),
    ):
        if bit:
            code[(limits[slots] & np.uint64(bit)) == 0] = reason
    named: tuple[tuple[Exclusion, Sequence[UserId]], ...] = (
        (Exclusion.REFUSED, tuple(book.refused.get(order.order_id, ()))),
        (Exclusion.BLOCKED, tuple(book.barred.technicians(order.customer))),
        (Exclusion.OWN_ORDER, (order.customer,)),
    )
    for reason, users in named:
        for user in users:
            slot = index.slot(user)
            if slot is not None and slot in row_of:
                code[row_of[slot]] = reason
    code[(flags & int(Flag.ALARM)) != 0] = Exclusion.SOS
    code[(flags & int(Flag.OFFERED)) != 0] = Exclusion.OFFERED
    code[(flags & int(Flag.BUSY)) != 0] = Exclusion.BUSY
    code[(flags & int(Flag.IDLE | Flag.OFFERED | Flag.BUSY)) == 0] = Exclusion.OFF_DUTY
    if order.picked is not None:
        code[:] = Exclusion.NOT_PICKED
    return code


def encode(found: Bystanders) -> bytes:
    """Compressed: an id takes most of the room."""
    plain = [
        list(found.ids),
        found.lat_deg.astype(np.float32).tobytes(),
        found.lng_deg.astype(np.float32).tobytes(),
        found.codes.tobytes(),
        list(found.others_len),
    ]
    return zlib.compress(msgspec.msgpack.encode(plain), _LEVEL)


def decode(stored: bytes) -> Bystanders:
    """What ``encode`` was given; nobody for a round of an earlier version, which stored nothing."""
    if not stored:
        nobody = np.zeros(0)
        return Bystanders((), nobody, nobody, np.zeros((0, 0), dtype=np.uint8), ())
    plain: list[Any] = msgspec.msgpack.decode(zlib.decompress(stored))
    ids, lat, lng, codes, others_len = plain
    return Bystanders(
        ids=tuple(ids),
        lat_deg=np.frombuffer(lat, dtype=np.float32).astype(np.float64),
        lng_deg=np.frombuffer(lng, dtype=np.float32).astype(np.float64),
        codes=np.frombuffer(codes, dtype=np.uint8).reshape(len(others_len), len(ids)),
        others_len=tuple(others_len),
    )
