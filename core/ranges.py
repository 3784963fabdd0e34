"""Ranges of settings, each stated once and beside its field, and the one check that reads them.

::

    class PoolSettings(Ranged):
        size: Annotated[int, Range(1, 100)] = 8
        idle_max: Annotated[int, Range(0, "size")] = 2
"""

import functools
from dataclasses import dataclass
from math import inf
from typing import Annotated, Any, get_args, get_origin, get_type_hints


@dataclass(frozen=True, slots=True)
class Range:
    """Least and most that a number may be, both allowed; the name of another field stands for that field's value."""

    least: float | str
    most: float | str = inf


class Ranged:
    """Base of settings classes; those with rules beyond ranges begin their ``__post_init__`` with ``check_ranges``."""

    __slots__ = ()

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self)


def check_ranges(settings: object) -> None:
    """Raise ``ValueError`` for the first field whose value is outside the range that its type states."""
    cls: Any = type(settings)
    for name, span in ranges_of(cls).items():
        least = getattr(settings, span.least) if isinstance(span.least, str) else span.least
        most = getattr(settings, span.most) if isinstance(span.most, str) else span.most
        check_range(name, getattr(settings, name), least, most)


def check_range(name: str, value: float, least: float, most: float = inf) -> None:
    """Raise ``ValueError`` unless ``least <= value <= most``; a NaN is never within."""
    if least <= value <= most:
        return
    expected = f"at least {_shown(least)}" if most == inf else f"between {_shown(least)} and {_shown(most)}"
    raise ValueError(f"{name} must be {expected}, is {_shown(value)}")


@functools.cache
def ranges_of(cls: Any) -> dict[str, Range]:
    """The ranges that a settings class states, by field in their order, those of its bases included."""
    hints: dict[str, Any] = get_type_hints(cls, include_extras=True)
    stated = {name: get_args(kind)[1:] for name, kind in hints.items() if get_origin(kind) is Annotated}
    return {name: next(mark for mark in marks if isinstance(mark, Range)) for name, marks in stated.items()}


def _shown(number: float) -> str:
    """All digits of a bound (``:g`` alone would round 31622400 and write it as a power)."""
    return f"{number:.12g}"
