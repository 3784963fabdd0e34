"""What was expected where a decoder has refused a value: the names that are allowed there, and where it really is.

A decoder says ``Invalid enum value 'AUTO' - at `$.mode` `` and, for a member of a map, ``$.papers[...]``. What it was
decoding into knows the rest. For frames of the hub and bodies of HTTP alike.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec

NAME_LEN_MAX: Final = 64
"""Characters of a map's key that are sent back."""

_STEP: Final = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<at>\d+|\.\.\.)\]")


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of the place of a refused value.

    Attributes:
        field: Where it is, without the ``$.`` of decoders; empty for the whole.
        words: The values that are allowed there; empty where they are not a list of names.
    """

    field: str
    words: tuple[str, ...]


def expected_at(kind: Any, value: Any, path: str) -> Expected:
    """Look up a decoder's path in the type that it was to fill, and in what it was given.

    Args:
        kind: A type as ``msgspec`` takes it.
        value: What was decoded without a type.
        path: ``$.zones[...][0]``.
    """
    kinds, field = list(_alternatives(kind)), ""
    for step in _STEP.finditer(path):
        name, at = step["name"], step["at"]
        if name is not None:
            kinds = [inner for k in kinds for inner in _members(k, name)]
            value = value.get(name) if isinstance(value, dict) else None
            field += f".{name}" if field else name
            continue
        held = [held for k in kinds for held in _held(k, at)]
        key = _refused_key(held, value) if at == "..." else at
        value = _item(value, key)
        field += f".{key[:NAME_LEN_MAX]}" if at == "..." and key is not None else f"[{at}]"
        kinds = [inner for k in held for inner in _alternatives(k)]
    return Expected(field, tuple(str(w) for k in kinds if get_origin(k) is Literal for w in get_args(k)))


def with_words(text: str, words: tuple[str, ...], len_max: int) -> str:
    """A decoder's message, cut, with the names that are allowed."""
    allowed = f"; must be one of {', '.join(words)}" if words else ""
    return f"{text[: max(0, len_max - len(allowed))]}{allowed}"[:len_max]


def _alternatives(kind: Any) -> Iterator[Any]:
    """The types of a union, each without its limits."""
    if get_origin(kind) is Annotated:
        yield from _alternatives(get_args(kind)[0])
    elif get_origin(kind) in (Union, UnionType):
        for one in get_args(kind):
            yield from _alternatives(one)
    else:
        yield kind


def _members(kind: Any, name: str) -> Iterator[Any]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for member in msgspec.structs.fields(kind):
            if member.encode_name == name:
                yield from _alternatives(member.type)


def _held(kind: Any, at: str) -> Iterator[Any]:
    """With their limits, so that a value can be tried."""
    args = get_args(kind)
    match get_origin(kind):
        case origin if origin is dict and at == "...":
            yield args[1]
        case origin if origin is list and at != "...":
            yield args[0]
        case origin if origin is tuple and at != "..." and int(at) < len(args):
            yield args[int(at)]


def _refused_key(kinds: list[Any], value: Any) -> str | None:
    """The first key of a map whose value none of the types takes."""
    if not isinstance(value, dict):
        return None
    return next((key for key, held in value.items() if isinstance(key, str) and not _fits(held, kinds)), None)


def _fits(value: Any, kinds: list[Any]) -> bool:
    for kind in kinds:
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError:
            continue
        return True
    return False


def _item(value: Any, key: str | None) -> Any:
    if isinstance(value, dict):
        return value.get(key)
    return value[int(key)] if isinstance(value, list) and key is not None and int(key) < len(value) else None
