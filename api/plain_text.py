"""The one rule for texts that people and programs write: no control characters, which break screens and logs.

A line holds none at all; a note may hold newlines and tabs. Asked where a body or a message has just been decoded, of
all its texts. Keys that clients choose (`ref`, `device`) are any string, and nobody reads them. What comes with an SOS
is not judged here: it is taken as it is.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from core.errors import Invalid

_IN_LINE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Unicode's category Cc."""
_IN_NOTE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""The same without newline and tab."""
NOTES: Final = frozenset({"entrance_note", "evidence", "note"})
"""Fields in which people write more than one line; every other text is a line."""
_OPAQUE: Final = frozenset({"ref", "device"})


def refuse_control_characters(body: Any) -> None:
    """Refuse a decoded body or message with a control character in any of its texts.

    Raises:
        Invalid: With the first such field (``location.address``, ``skills``).
    """
    for field, text in _texts(body, ""):
        is_note = field.rpartition(".")[2] in NOTES
        if (_IN_NOTE if is_note else _IN_LINE).search(text):
            allowed = " but newline and tab" if is_note else ""
            raise Invalid(f"must not contain control characters{allowed}", field=field)


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, path)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            if name in _OPAQUE:
                continue
            yield from _texts(getattr(value, name), f"{path}.{name}" if path else name)
