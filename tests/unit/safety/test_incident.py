"""The table of arrows and the law that a history folds to its state."""

from dataclasses import replace

import pytest

from core.ids import IncidentId
from safety.incident import DISPOSITIONS, MOVES, SYSTEM, ImpossibleStep, Step, advance, fold
from safety.model import IncidentEvent, IncidentState
from tests.unit.safety.neighbourhood import ACME


def event(seq: int, step: Step, state: IncidentState, level: int = 0) -> IncidentEvent:
    return IncidentEvent(ACME, IncidentId("inc_1"), seq, 100.0 + seq, step, "ops_0", state, level)


RAISED = event(1, Step.RAISED, IncidentState.OPEN)


ENDED = (IncidentState.RESOLVED, IncidentState.CLOSED)
ACTIVE = [state for state in IncidentState if state not in ENDED]


def test_only_a_humans_resolve_leads_out_of_the_active_states() -> None:
    ends = {(state, step) for (state, step), to in MOVES.items() if state in ACTIVE and to in ENDED}
    assert {step for _, step in ends} == {Step.RESOLVED}
    assert IncidentState.OPEN not in {state for state, _ in ends}, "whoever ends it has seen it"


def test_a_history_in_which_the_system_ends_it_does_not_fold() -> None:
    acknowledged = event(2, Step.ACKNOWLEDGED, IncidentState.ACKNOWLEDGED)
    ended = replace(event(3, Step.RESOLVED, IncidentState.RESOLVED), who=SYSTEM)
    with pytest.raises(ImpossibleStep, match="the system never ends"):
        fold([RAISED, acknowledged, ended])


def test_a_resolved_one_opens_again_or_is_closed_and_a_closed_one_is_frozen() -> None:
    leave = {(step, to) for (state, step), to in MOVES.items() if state is IncidentState.RESOLVED and to is not state}
    assert leave == {
        (Step.REOPENED, IncidentState.OPEN),
        (Step.DURESS, IncidentState.OPEN),
        (Step.CLOSED, IncidentState.CLOSED),
    }
    assert all(state is not IncidentState.CLOSED for state, _ in MOVES)


def test_the_subject_can_take_it_back_and_be_forced_to_in_every_active_state_and_neither_ends_it() -> None:
    for state in ACTIVE:
        assert advance(state, Step.CANCEL_ASKED) is IncidentState.CANCEL_PENDING
        assert advance(state, Step.DURESS) is IncidentState.OPEN


def test_every_tap_of_an_active_incident_has_an_arrow() -> None:
    for state in ACTIVE:
        assert advance(state, Step.TAPPED) is state


def test_every_step_has_an_arrow() -> None:
    assert {step for _, step in MOVES} | {Step.RAISED} == set(Step)


def test_a_missing_arrow_tells_the_story() -> None:
    with pytest.raises(ImpossibleStep, match=r"(?s)no arrow for resolved in open.*1\. raised") as caught:
        advance(IncidentState.OPEN, Step.RESOLVED, ["1. raised"])
    assert isinstance(caught.value, AssertionError)


def test_a_sound_history_folds_to_its_state_and_level() -> None:
    history = [
        RAISED,
        event(2, Step.WIDENED, IncidentState.OPEN, 1),
        event(3, Step.ACKNOWLEDGED, IncidentState.ACKNOWLEDGED, 1),
        event(4, Step.RESOLVED, IncidentState.RESOLVED, 1),
    ]
    assert fold(history) == (IncidentState.RESOLVED, 1)


@pytest.mark.parametrize(
    "history",
    [
        [],
        [event(1, Step.WIDENED, IncidentState.OPEN, 1)],
        [RAISED, event(3, Step.TAPPED, IncidentState.OPEN)],
        [RAISED, event(2, Step.TAPPED, IncidentState.ACKNOWLEDGED)],
        [RAISED, event(2, Step.RESOLVED, IncidentState.RESOLVED)],
        [RAISED, event(2, Step.WIDENED, IncidentState.OPEN, 1), event(3, Step.TAPPED, IncidentState.OPEN, 0)],
    ],
)
def test_a_history_with_a_fault_does_not_fold(history: list[IncidentEvent]) -> None:
    with pytest.raises(ImpossibleStep):
        fold(history)


def test_the_dispositions_are_the_words_of_the_wire() -> None:
    assert len(set(DISPOSITIONS)) == 6
    assert all(1 <= len(word) <= 64 for word in DISPOSITIONS)
