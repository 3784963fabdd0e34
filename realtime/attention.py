"""How closely each user is attended to: causes give levels, the highest decides.

A cause is anything that makes somebody matter more than an idle phone: a live offer, a job, an open SOS. The
level decides how often the phone reports, how often it is heard, and how soon it is taken for dead.
"""

from enum import IntEnum

from realtime.messages import PingPolicy
from realtime.settings import AttentionSettings, LevelSettings


class Level(IntEnum):
    """How much somebody matters now; a higher level contains the lower."""

    IDLE = 0
    JOB = 1
    SOS_LATE = 2
    """An SOS that has lasted for a while: as close at hand, with a battery to think of."""
    SOS = 3

    @property
    def is_sos(self) -> bool:
        """Whether they have an open SOS."""
        return self >= Level.SOS_LATE

    @property
    def reason(self) -> str:
        """The word for it on the wire; a phone need not know how long an SOS has lasted."""
        return "sos" if self.is_sos else self.name.lower()


class Causes:
    """The causes of one user. Made when the first one appears."""

    __slots__ = ("_levels", "kept_as", "owed")

    def __init__(self) -> None:
        self._levels: dict[str, Level] = {}
        self.kept_as: list[str] = []
        """Causes under whose name positions go to the position log, newest last."""
        self.owed: set[str] = set()
        """Those of them that the phone must wait for."""

    def put(self, cause: str, level: Level | None, *, keep: bool = False, owed: bool = True) -> None:
        """Set the level of a cause; None ends it. Idempotent."""
        (self.owed.add if keep and owed and level is not None else self.owed.discard)(cause)
        if level is None:
            self._levels.pop(cause, None)
            if cause in self.kept_as:
                self.kept_as.remove(cause)
            return
        self._levels[cause] = level
        if keep and cause not in self.kept_as:
            self.kept_as.append(cause)
        elif not keep and cause in self.kept_as:
            self.kept_as.remove(cause)

    @property
    def level(self) -> Level:
        """The highest of all causes."""
        return max(self._levels.values(), default=Level.IDLE)

    def __bool__(self) -> bool:
        """Whether any cause stands."""
        return bool(self._levels)


def level_settings(level: Level, settings: AttentionSettings) -> LevelSettings:
    """The row of the settings for a level."""
    return (settings.idle, settings.job, settings.sos_late, settings.sos)[level]


def ping_policy(level: Level, settings: AttentionSettings) -> PingPolicy:
    """The frame that tells a phone how to report at this level."""
    row = level_settings(level, settings)
    return PingPolicy(
        interval_s=row.interval_s,
        min_distance_m=row.min_distance_m,
        accuracy=row.accuracy,  # type: ignore[arg-type]  # checked by LevelSettings
        reason=level.reason,
        heartbeat_s=row.heartbeat_s,
    )


def liveness(level: Level, settings: AttentionSettings, *, urgent: bool) -> LevelSettings:
    """Heartbeat and dead-peer limit; ``urgent`` people (responders, ops consoles) never go below JOB."""
    return level_settings(max(level, Level.JOB) if urgent else level, settings)
