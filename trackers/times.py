"""Times as trackers write them: epoch seconds or milliseconds, ISO 8601 in its spellings, and a date with a blank."""

import re
from datetime import UTC, datetime
from typing import Any, Final

from trackers.numbers import number

MILLISECONDS_FROM: Final = 2**31 - 1
"""A number from here on counts milliseconds, as Traccar reads it: as seconds it would be the year 2038 or later."""
EARLIEST_AT: Final = 946_684_800.0
"""2000-01-01: no such app is older, and a receiver without a fix says 1970 or 1980."""
AHEAD_S_MAX: Final = 86_400.0
"""A time further ahead than this is no time; one less far is judged as every position is."""
_TEXT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,12}))?\s{0,2}(Z|[+-]?\d\d:?\d\d)?", re.ASCII | re.IGNORECASE
)


def read_time(value: Any) -> float | None:
    """UTC epoch seconds; None for what is no time. A text without a zone is UTC."""
    counted = number(value)
    if counted is not None:
        return counted / 1_000 if counted >= MILLISECONDS_FROM else counted
    found = _TEXT.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= 64 else None
    if found is None:
        return None
    day, clock, fraction, zone = found.groups()
    zone = "" if zone is None or zone in "Zz" else zone
    if zone and zone[0] not in "+-":
        zone = f"+{zone}"  # an unescaped plus of a query arrives as a blank
    try:
        whole = datetime.fromisoformat(f"{day}T{clock}{zone}")
        at = (whole if zone else whole.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return at + float(f"0.{fraction or 0}")


def is_possible(at: float, received_at: float) -> bool:
    """Whether a phone may have been somewhere then."""
    return EARLIEST_AT <= at <= received_at + AHEAD_S_MAX
