"""What became of everything that trackers sent, for the metrics."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counts:
    """Since the start.

    Attributes:
        points: By app, kind (``accepted``, ``poison``, ``refused``) and outcome.
        alarms: By app and outcome (``raised``, ``failed``, ``passed_over``).
    """

    points: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    alarms: Counter[tuple[str, str]] = field(default_factory=Counter)
