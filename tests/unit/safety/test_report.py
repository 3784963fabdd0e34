from dataclasses import replace

from core.ids import UserId
from safety.model import Incident, IncidentEvent, IncidentState, Target
from safety.report import response_times
from tests.contract.store_values import NOW, make_incident, make_incident_event


def event(seq: int, what: str, after_s: float) -> IncidentEvent:
    return replace(make_incident_event(seq=seq), what=what, at=NOW + after_s)


def raised(**changes: object) -> Incident:
    return replace(make_incident(), raised_at=NOW, state=IncidentState.OPEN, **changes)  # type: ignore[arg-type]


def test_spans_are_told_beside_their_budgets() -> None:
    targets = (
        Target(UserId("ops_1"), "ops", 0, received_at=NOW + 1.5),
        Target(UserId("res_1"), "responder", 0, received_at=NOW + 0.5),
        Target(UserId("res_2"), "responder", 0),
    )
    events = [
        event(1, "raised", 0), event(2, "acknowledged", 12), event(3, "went_stale", 200),
        event(4, "acknowledged", 230), event(5, "responded", 90), event(6, "arrived", 400), event(7, "resolved", 900),
    ]  # fmt: skip
    told = response_times(raised(targets=targets), events)
    assert [(span.took_s, span.budget_s, span.is_kept) for span in told] == [
        (0.5, 2.0, True), (12.0, 30.0, True), (78.0, 60.0, False), (400.0, None, None), (900.0, None, None),
    ]  # fmt: skip


def test_what_did_not_happen_has_no_span_and_keeps_no_budget() -> None:
    told = response_times(raised(targets=()), [event(1, "raised", 0)])
    assert [(span.took_s, span.is_kept) for span in told] == [
        (None, False), (None, False), (None, False), (None, None), (None, None),
    ]  # fmt: skip
