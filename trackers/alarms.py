"""Which alarm words of trackers call for help. A word that nobody knows does: one too many is better than one too few.

The words that do not are those which Traccar's protocol table gives to vehicles and batteries.
"""

from collections.abc import Sequence
from typing import Any, Final

_NONE: Final = frozenset({"", "0", "0.0", "false", "no", "none", "null", "off"})
_NO_CALL: Final = frozenset(
    {
        "bonnet", "door", "fatiguedriving", "fault", "footbrake", "fuelleak", "geofence", "geofenceenter",
        "geofenceexit", "gpsantennacut", "hardacceleration", "hardbraking", "hardcornering", "highrpm", "idle",
        "lanechange", "lock", "lowbattery", "lowpower", "lowspeed", "movement", "overspeed", "parking", "powercut",
        "poweroff", "poweron", "powerrestored", "temperature", "tow", "unlock", "vibration",
    }
)  # fmt: skip
_WORD_LEN_MAX: Final = 64
_WORDS_MAX: Final = 16


def words_of(value: Any) -> list[str]:
    """The alarm words in a value: one, several with commas between them, or a list; without those that say no."""
    parts: Sequence[Any] = value if isinstance(value, list) else str(value)[:1_024].split(",")
    words = (str(part)[:_WORD_LEN_MAX].strip() for part in parts[:_WORDS_MAX])
    return [word for word in words if word.lower() not in _NONE]


def called_for_help(words: Sequence[str]) -> str:
    """The first word that calls for help; ``""`` without one."""
    return next((word for word in words if word.lower() not in _NO_CALL), "")
