"""P13: whoever looks over the shoulder of somebody who gives a PIN cannot tell which PIN it was, then or later."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.outbound import SafetyOutbound
from api.safety import sos_status
from core.ids import IncidentId
from geo.point import Frame
from safety.events import AckRaiser, AnswerCancel, CancelAsked, NotifyTargets, UpdateTargets
from safety.model import PinVerdict
from tests.unit.safety.neighbourhood import ACME, ANNA, person
from tests.unit.safety.promises.history import Act, Life, Turn, acts, histories, often

OUTBOUND = SafetyOutbound(Frame.GCJ02)


def seen_by_the_subject(life: Life, which: IncidentId, turns: list[Turn]) -> list[Any]:
    """Everything that their devices get of these turns, as bytes, with when; and what they may ask for."""
    seen: list[Any] = []
    for turn in turns:
        for effect in turn.effects:
            match effect:
                case AnswerCancel():
                    seen.append((turn.at, "cancel", effect.accepted))
                case AckRaiser() if effect.incident.subject == ANNA.user:
                    seen.append((turn.at, OUTBOUND.sos_ack(effect, durable=True)))
                case NotifyTargets() | UpdateTargets():
                    drafts = OUTBOUND.drafts([effect], turn.at)
                    assert ANNA.user not in {draft.recipient for draft in drafts}
    incident = life.engine.incident(ACME, which)
    assert incident is not None
    return [*seen, sos_status(incident)]


def of_anna(act: Act) -> Act:
    return Act(act.what, 0, act.n)


@often(70)
@given(
    st.one_of(
        histories("tap", "ack", "respond", "arrive", "receive", "receive", "wait", "right_pin", "resolve", longest=12),
        st.just([Act("tap"), Act("wait", 0, 8), Act("resolve")]),  # too long ago for a key to be a repeat
    ),
    st.lists(
        acts("tap", "repeat", "keyless", "forced", "right_pin", "wrong_pin", "receive", "wait", "oversleep"),
        max_size=10,
    ),
    st.sampled_from([PinVerdict.DURESS, PinVerdict.WRONG]),
)
def test_p13_no_byte_and_no_time_tells_the_subject_which_pin_it_was(
    before: list[Act], after: list[Act], other: PinVerdict
) -> None:
    life = Life().live([of_anna(act) if act.what in ("tap", "right_pin") else act for act in before])
    which = life.some(0)
    assert which is not None
    if other is PinVerdict.WRONG:  # the third wrong one in a row counts as the duress PIN
        for _ in range(life.settings.pins.tries_max - 1):
            life.tell(CancelAsked(ANNA, which, PinVerdict.WRONG))
        after = [act for act in after if act.what not in ("right_pin", "wrong_pin")]
    if life.incidents[which].subject != ANNA.user:
        return
    life.turns.clear()
    twins = []
    for verdict in (PinVerdict.RIGHT, other):
        twin = copy.deepcopy(life)
        turn = twin.tell(CancelAsked(person(ANNA.user), which, verdict))
        twins.append((len(turn.changes.events), seen_by_the_subject(twin, which, [turn])))
        for act in after:
            twin.do(of_anna(act) if act.what != "receive" else act)
            twins[-1] = (*twins[-1], seen_by_the_subject(twin, which, twin.turns))  # type: ignore[assignment]
    assert twins[0] == twins[1]
