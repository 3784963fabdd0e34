"""Clock, ids and randomness of a simulated run: all follow from the loop and a seed."""

import asyncio
import hashlib
import random  # noqa: TID251  # only ever seeded here
from typing import Final

import numpy as np

START_AT: Final = 1_900_000_000.0
"""Where simulated runs begin (2030-03-17 17:46:40 UTC): a whole number, so that sums of seconds stay exact."""


class VirtualClock:
    """A clock that follows the running loop; fulfils ``core.clock.Clock``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start_at: float = START_AT) -> None:
        self._loop = loop
        self._start_at = start_at

    def now(self) -> float:
        """UTC epoch seconds of the simulated world."""
        return self._start_at + self._loop.time()

    def monotonic(self) -> float:
        """The loop's own time line."""
        return self._loop.time()


class SeededIds:
    """Ids that a seed and their order decide; fulfils ``core.ids.IdSource``."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._count = 0

    def new(self, prefix: str) -> str:
        """``prefix`` and 96 bits as hexadecimal digits."""
        self._count += 1
        digest = hashlib.blake2b(f"{self._seed}:{self._count}".encode(), digest_size=12)
        return prefix + digest.hexdigest()


def stream_of(seed: int, *names: str | int) -> np.random.Generator:
    """An independent random stream for each name, so that one actor's draws never shift another's.

    Source: NumPy's SeedSequence is made for spawning; the names are hashed, not Python's ``hash``, which
    differs between processes.
    """
    digest = hashlib.blake2b(repr(names).encode(), digest_size=16).digest()
    return np.random.default_rng([seed & 0xFFFFFFFF, *np.frombuffer(digest, dtype=np.uint32).tolist()])


def python_random(seed: int, *names: str | int) -> random.Random:
    """The standard generator, for code that wants one; seeded like ``stream_of``."""
    digest = hashlib.blake2b(repr((seed, *names)).encode(), digest_size=16).digest()
    return random.Random(digest)  # noqa: S311  # a simulation wants repeatable draws, not secret ones
