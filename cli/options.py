"""Kinds of option values that click does not have."""

import math
from pathlib import Path
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """A number in a range: click's own takes ``nan`` for one within any bounds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Text to number; refuses what is not finite."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number of that range.", param, ctx)
        return float(number)


class NewFile(click.Path):
    """A file that will be written at the end, after work that must not be lost for a wrong name."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Text to path; refuses one whose folder is not there."""
        path = Path(str(super().convert(value, param, ctx)))
        if not path.absolute().parent.is_dir():
            self.fail(f"the folder of {str(path)!r} does not exist.", param, ctx)
        return path
