"""Rules for the two PINs of a person: the one that calls an alarm off, and the one that only seems to. Pure."""

from collections.abc import Callable
from itertools import pairwise
from typing import Final, Protocol

from core.errors import Invalid

PIN_LEN_MIN: Final = 4
PIN_LEN_MAX: Final = 12


Look = Callable[[tuple[bool, bool] | None], None]
"""Told whether a PIN is the one behind each of two hashes; None when that could not be looked at."""


class PinHasher(Protocol):
    """Hashes PINs slowly, away from the event loop (``server/pin_hasher.py``)."""

    async def hash(self, pin: str) -> str:
        """A salted hash that says how it was made."""
        ...

    def look(self, hashes: tuple[str, str] | None, pin: str, done: Look) -> None:
        """Compare a PIN with two hashes and call ``done`` on the event loop.

        Both are always looked at, and without hashes two of nobody's are: the work says nothing of the outcome.
        """
        ...

    async def compare(self, hashes: tuple[str, str] | None, pin: str) -> tuple[bool, bool] | None:
        """``look`` for callers that wait."""
        ...


def check_pins(pin: str, duress: str) -> None:
    """Refuse PINs that are guessed, or mistyped for each other.

    Raises:
        Invalid: ``pin_weak`` with the field and what was expected.
    """
    _check_one(pin, "pins.pin")
    _check_one(duress, "pins.duress_pin")
    if duress == pin:
        raise Invalid("must differ from the PIN", code="pin_weak", field="pins.duress_pin")
    if duress == pin[::-1]:
        raise Invalid("must not be the PIN read backwards", code="pin_weak", field="pins.duress_pin")
    if _are_neighbours(pin, duress):
        raise Invalid("must not be the PIN plus or minus one", code="pin_weak", field="pins.duress_pin")


def _check_one(pin: str, name: str) -> None:
    if not (PIN_LEN_MIN <= len(pin) <= PIN_LEN_MAX and pin.isascii() and pin.isdigit()):
        raise Invalid(f"must be {PIN_LEN_MIN} to {PIN_LEN_MAX} digits", code="pin_weak", field=name)
    if _is_trivial(pin):
        raise Invalid("must not be one digit, a run or a repetition: it would be guessed", code="pin_weak", field=name)


def _is_trivial(pin: str) -> bool:
    """One digit repeated (0000), a run either way (1234, 9876, 7890), or a part repeated (1212, 123123)."""
    steps = {(int(b) - int(a)) % 10 for a, b in pairwise(pin)}
    if steps in ({0}, {1}, {9}):
        return True
    return any(pin == pin[:size] * (len(pin) // size) for size in range(1, len(pin) // 2 + 1) if len(pin) % size == 0)


def _are_neighbours(pin: str, duress: str) -> bool:
    if abs(int(pin) - int(duress)) == 1:
        return True
    whole = 10 ** len(pin)
    return len(pin) == len(duress) and (int(pin) - int(duress)) % whole in (1, whole - 1)
