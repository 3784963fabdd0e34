"""The file of anchors: heads of the audit as lines of JSON, only ever added to, on the disk when they were added."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.ids import TenantId
from safety.audit import Anchor


class AnchorsUnreadable(ValueError):
    """A line of the file is none of ours; the text says which."""


def append_anchors(path: Path, anchors: Sequence[Anchor]) -> None:
    """Add lines and wait for the disk. Blocks. Raises ``OSError``."""
    lines = "".join(json.dumps(_written(anchor), separators=(",", ":")) + "\n" for anchor in anchors)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, lines.encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def read_anchors(path: Path) -> list[Anchor]:
    """All anchors of the file in their order; none when there is no file. Blocks.

    A last line without an end was being written when the process died: it is passed over.

    Raises:
        AnchorsUnreadable: Another line cannot be read.
        OSError: The file cannot be.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    lines = text.split("\n")[:-1]
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(_read(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise AnchorsUnreadable(f"line {number} of {path} is no anchor: {error!r}") from None
    return found


def _written(anchor: Anchor) -> dict[str, Any]:
    return {
        "tenant": anchor.tenant,
        "seq": anchor.seq,
        "mac": anchor.mac.hex(),
        "at": anchor.at,
        "key": anchor.key,
        "sign": anchor.sign.hex(),
    }


def _read(line: Any) -> Anchor:
    return Anchor(
        TenantId(str(line["tenant"])),
        int(line["seq"]),
        bytes.fromhex(line["mac"]),
        float(line["at"]),
        str(line["key"]),
        bytes.fromhex(line["sign"]),
    )
