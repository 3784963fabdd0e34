"""Texts that people read on one line: no control characters, which no keyboard types and which break screens and logs.

Whatever comes with an SOS is not judged here: it is taken as it is.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from core.errors import Invalid

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Unicode's category Cc, line breaks among them."""


def refuse_control_characters(body: msgspec.Struct) -> None:
    """Refuse a body with a control character in any of its texts.

    Raises:
        Invalid: With the first such field (``location.address``, ``skills``).
    """
    for field, text in _texts(body, ""):
        if _CONTROL.search(text):
            raise Invalid("must not contain control characters", field=field)


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, path)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _texts(getattr(value, name), f"{path}.{name}" if path else name)
