from dataclasses import dataclass
from math import inf, nan
from typing import Annotated

import pytest

from core.ranges import Range, Ranged, check_ranges, ranges_of


@dataclass(frozen=True, slots=True)
class Pool(Ranged):
    size: Annotated[int, Range(1, 31_622_400)] = 8
    idle_max: Annotated[int, Range(0, "size")] = 2
    wait_s: Annotated[float, Range(0.1)] = 1.0
    name: str = ""


@dataclass(frozen=True, slots=True)
class NamedPool(Pool):
    size: Annotated[int, Range(4, 16)] = 8
    label: str = "a"

    def __post_init__(self) -> None:
        check_ranges(self)
        if not self.label:
            raise ValueError("label must not be empty")


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"size": 0}, "size must be between 1 and 31622400, is 0"),
        ({"size": 31_622_401}, "size must be between 1 and 31622400, is 31622401"),
        ({"idle_max": 9}, "idle_max must be between 0 and 8, is 9"),
        ({"size": 1, "idle_max": 2}, "idle_max must be between 0 and 1, is 2"),
        ({"wait_s": 0.05}, "wait_s must be at least 0.1, is 0.05"),
        ({"wait_s": nan}, "wait_s must be at least 0.1, is nan"),
        ({"size": inf}, "size must be between 1 and 31622400, is inf"),
    ],
)
def test_a_value_outside_its_range_is_refused_by_name(wrong: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}$"):
        Pool(**wrong)  # type: ignore[arg-type]


def test_both_ends_of_a_range_are_allowed() -> None:
    assert Pool(size=1, idle_max=0, wait_s=0.1).size == 1
    assert Pool(size=31_622_400, idle_max=31_622_400).idle_max == 31_622_400


def test_a_class_has_the_ranges_of_its_bases_and_its_own_instead_of_theirs() -> None:
    assert ranges_of(NamedPool) == {"size": Range(4, 16), "idle_max": Range(0, "size"), "wait_s": Range(0.1)}
    with pytest.raises(ValueError, match="size must be between 4 and 16, is 3"):
        NamedPool(size=3)
    with pytest.raises(ValueError, match="label"):
        NamedPool(label="")
