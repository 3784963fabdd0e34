"""Rounds on paper: what one saw, compressed, and what it decided. ``explaining.py`` and ``replaying.py`` read them."""

import hashlib
import zlib
from collections.abc import Callable, Collection
from dataclasses import fields, replace
from typing import Any, Final

import msgspec
import numpy as np

from core.errors import Invalid
from core.ids import OrderId, UserId
from dispatch import matching
from dispatch.model import DecidedPair, RoundDecision, StoredRound
from dispatch.problem import (
    BlockColumns,
    OrderColumns,
    PersonColumns,
    Policy,
    Problem,
    Solution,
    Solver,
    TechnicianColumns,
    WayColumns,
)

POLICY: Final = "auto/10"
"""Name and version of the rules by which rounds decide; a change of rules raises the number."""

_UNDECIDED: Final = frozenset({"auto/1", "auto/2", "auto/3"})
"""Rules of whose rounds some were stored without a decision."""
_UNSEALED: Final = _UNDECIDED | {"auto/4", "auto/5", "auto/6", "auto/7", "auto/8", "auto/9"}
"""Rules whose rounds were stored without a seal."""
_REPEATABLE: Final = _UNSEALED | {POLICY}
"""Rules whose rounds are recomputed exactly, as these rules without what their rounds lack: ``auto/9`` decided alike
and sealed nothing, ``auto/8`` let all rows of broadcasts choose at once and took no offer back, ``auto/7`` asked
nobody whose phone sleeps, ``auto/6`` judged papers and the night by the moment of the round, counted neither waiting
nor turns and knew no zones and services, ``auto/5`` knew no ``Problem.people``, ``auto/4`` no ways that were asked
for, ``auto/3`` no calendars, ``auto/2`` no ``OrderColumns.only`` and ``unmatched_s``, ``auto/1`` no ``Problem.own``
either."""

_SEAL: Final = "1"
"""Which fields a seal covers, and how: written before its digest, so that a later version can cover others."""

_ZLIB_LEVEL: Final = 1
"""Level 6 saves 5 % more bytes and costs 4 times as long; both were tried on a round of 1,000 technicians."""


def solve_and_encode(
    problem: Problem, solver: Solver = Solver.EXACT, is_wanted: Callable[[], bool] | None = None
) -> tuple[Solution, bytes]:
    """Both halves of a round's work, for a thread. Raises ``matching.GivenUp`` once ``is_wanted`` says no."""
    return matching.solve(problem, solver, is_wanted), encode(problem)


def decision(solution: Solution, inputs: bytes, made: Collection[tuple[str, str]]) -> RoundDecision:
    """What is stored of a solution. ``made`` are the pairs (order, technician) whose offers were made."""
    pairs = tuple(
        DecidedPair(OrderId(p.order_id), UserId(p.technician), p.cost_s, p.travel_s, (p.order_id, p.technician) in made)
        for p in solution.pairs
    )
    return RoundDecision(solution.solver.value, pairs, solution.steps, digest(inputs))


def digest(inputs: bytes) -> str:
    """Tells whether stored inputs are still those that were stored."""
    return hashlib.blake2b(inputs, digest_size=16).hexdigest()


def sealed(stored: StoredRound) -> StoredRound:
    """The round as it is stored: nothing in it changes any more without being seen."""
    return replace(stored, seal=seal_of(stored))


def seal_of(stored: StoredRound) -> str:
    """Digest of every other field, for what no input gives again: people beside, offers made, the time, the rules.

    Of the inputs the digest that the decision holds is covered in their place: they are hashed once.

    Cost:
        30 us for a small round, 80 us with 25 KB of bystanders.
    """
    return f"{_SEAL}:{digest(msgspec.msgpack.encode(replace(stored, inputs=b'', seal='')))}"


def is_sealed(stored: StoredRound) -> bool:
    """Whether the round has a seal, or must have had one by its rules."""
    return bool(stored.seal) or stored.policy not in _UNSEALED


def may_be_undecided(stored: StoredRound) -> bool:
    """Whether the version that stored the round may have stored no decision."""
    return stored.policy in _UNDECIDED


def is_repeatable(stored: StoredRound) -> bool:
    """Whether this version has the rules that the round was decided by."""
    return stored.policy in _REPEATABLE


def problem_of(stored: StoredRound) -> Problem:
    """What the round saw.

    Raises:
        Invalid: Its rules are not these (``policy_unknown``).
    """
    if not is_repeatable(stored):
        raise Invalid(f"the round was decided by {stored.policy}, this is {POLICY}", code="policy_unknown")
    return decode(stored.inputs)


def _columns_to_plain(columns: Any) -> dict[str, Any]:
    # Any: a kind of columns; all are dataclasses of arrays, most with ids.
    plain: dict[str, Any] = {}
    for f in fields(columns):
        if f.name == "ids":
            plain["ids"] = list(columns.ids)
        else:
            array: np.ndarray[Any, np.dtype[Any]] = getattr(columns, f.name)
            plain[f.name] = [array.dtype.str, array.tobytes()]
    return plain


def _array(plain: list[Any]) -> Any:
    return np.frombuffer(plain[1], dtype=np.dtype(plain[0])).copy()


def encode(problem: Problem) -> bytes:
    """Compress a problem: columns as raw bytes, so that the same floats come back."""
    plain = {
        "at": problem.at,
        "seed": problem.seed,
        "policy": {f.name: getattr(problem.policy, f.name) for f in fields(problem.policy)},
        "orders": _columns_to_plain(problem.orders),
        "technicians": _columns_to_plain(problem.technicians),
        "refused": [problem.refused_order.tobytes(), problem.refused_technician.tobytes()],
        "own": [problem.own_order.tobytes(), problem.own_technician.tobytes()],
        "blocks": _columns_to_plain(problem.blocks),
        "ways": _columns_to_plain(problem.ways),
        "ways_from": problem.ways_from,
        "people": _columns_to_plain(problem.people),
    }
    return zlib.compress(msgspec.msgpack.encode(plain), _ZLIB_LEVEL)


def decode(inputs: bytes) -> Problem:
    """The problem that ``encode`` was given."""
    plain: dict[str, Any] = msgspec.msgpack.decode(zlib.decompress(inputs))
    policy = dict(plain["policy"], radius_steps_m=tuple(plain["policy"]["radius_steps_m"]))

    own = plain.get("own", (b"", b""))  # policy auto/1 did not know of it

    def columns(part: dict[str, Any]) -> dict[str, Any]:
        return {name: tuple(value) if name == "ids" else _array(value) for name, value in part.items()}

    return Problem(
        at=plain["at"],
        seed=plain["seed"],
        policy=Policy(**policy),
        orders=OrderColumns(**columns(plain["orders"])),
        technicians=TechnicianColumns(**columns(plain["technicians"])),
        refused_order=np.frombuffer(plain["refused"][0], dtype=np.int64).copy(),
        refused_technician=np.frombuffer(plain["refused"][1], dtype=np.int64).copy(),
        own_order=np.frombuffer(own[0], dtype=np.int64).copy(),
        own_technician=np.frombuffer(own[1], dtype=np.int64).copy(),
        blocks=BlockColumns(**columns(plain.get("blocks", {}))),  # nor did auto/2 of these
        ways=WayColumns(**columns(plain.get("ways", {}))),  # nor auto/4 of these
        ways_from=plain.get("ways_from", ""),
        people=PersonColumns(**columns(plain.get("people", {}))),
    )
