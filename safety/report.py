"""What is counted after an incident: how long everything took, beside what it should take."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from safety.incident import Step
from safety.model import Incident, IncidentEvent


@dataclass(frozen=True, slots=True)
class ResponseTime:
    """One span of an incident, seconds.

    Attributes:
        took_s: None when it did not happen.
        budget_s: What it should take at most; None where nobody has said.
    """

    name: str
    took_s: float | None
    budget_s: float | None

    @property
    def is_kept(self) -> bool | None:
        """Whether the budget was kept; None without one."""
        return None if self.budget_s is None else self.took_s is not None and self.took_s <= self.budget_s


DELIVERED_S: Final = 2.0
ACKNOWLEDGED_S: Final = 30.0
"""When the first level ends: NENA-STA-020 wants 95 % of emergency calls answered within 20 s."""
COMING_S: Final = 60.0
"""From the acknowledgement until somebody goes there (NFPA 1225: dispatched within 60 s)."""

_HUMAN: Final = (Step.ACKNOWLEDGED,)
_COMING: Final = (Step.RESPONDED, Step.ASSIGNED)


def response_times(incident: Incident, events: Iterable[IncidentEvent]) -> list[ResponseTime]:
    """All spans, in the order in which they should happen.

    Args:
        incident: The case.
        events: Its history, in order.
    """
    at: dict[str, float] = {}
    for event in events:
        at.setdefault(event.what, event.at)
    raised = incident.raised_at
    received = min((t.received_at for t in incident.targets if t.received_at is not None), default=None)
    human = _first(at, _HUMAN)
    coming = _first(at, _COMING)
    return [
        ResponseTime("raised to first device", _span(raised, received), DELIVERED_S),
        ResponseTime("raised to human acknowledgement", _span(raised, human), ACKNOWLEDGED_S),
        ResponseTime("acknowledged to somebody going there", _span(human, coming), COMING_S),
        ResponseTime("raised to somebody on the scene", _span(raised, _first(at, (Step.ARRIVED,))), None),
        ResponseTime("raised to resolved", _span(raised, _first(at, (Step.RESOLVED,))), None),
    ]


def _first(at: dict[str, float], steps: Iterable[Step]) -> float | None:
    return min((at[step.value] for step in steps if step.value in at), default=None)


def _span(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else round(max(0.0, end - start), 3)
