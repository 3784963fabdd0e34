"""P11: what a device makes of an incident's messages, however often and in whichever order they come."""

import json

from doorstep_client.incidents import OVER, IncidentBook
from hypothesis import given
from hypothesis import strategies as st

from api.outbound import SafetyOutbound
from core.ids import UserId
from core.outbox import Stream
from geo.point import Frame
from store.memory_outbox import MemoryOutbox
from tests.unit.safety.promises.history import Act, Life, histories, often

OUTBOUND = SafetyOutbound(Frame.GCJ02)


def messages_to(user: str, life: Life) -> list[dict[str, object]]:
    """What goes to one person, as it goes over the wire."""
    bodies = []
    for turn in life.turns:
        bodies += [draft.body for draft in OUTBOUND.drafts(turn.effects, turn.at) if draft.recipient == user]
    return [json.loads(body) for body in bodies]


@often(80)
@given(histories("tap", "ack", "respond", "decline", "note", "receive", "wait", "oversleep", "join"), st.data())
def test_p11_any_repeats_in_any_order_are_one_alarm_and_one_view(history: list[Act], data: st.DataObject) -> None:
    life = Life().live(history)
    user = data.draw(st.sampled_from(["ops_0", "tec_00"]))
    told = messages_to(user, life)
    again = data.draw(st.lists(st.sampled_from(range(len(told))), max_size=12)) if told else []
    order = data.draw(st.permutations([*range(len(told)), *again]))
    straight, shuffled, alarms = IncidentBook(), IncidentBook(), dict[str, int]()
    for body in told:
        straight.take(dict(body))
    for n in order:
        which = str(told[n]["incident"])
        alarms[which] = alarms.get(which, 0) + (shuffled.take(dict(told[n])) is True)
    for which, rang in alarms.items():
        assert shuffled.view(which) == straight.view(which)
        assert rang == 1, "nothing here ends an incident: it rings once"
        assert straight.view(which)["state"] not in OVER


@often(60)
@given(histories())
def test_p09_each_event_is_one_row_for_each_who_is_told_and_rows_have_no_gap(history: list[Act]) -> None:
    life, outbox = Life(), MemoryOutbox(Stream.SAFETY, "e1")
    seqs: dict[UserId, int] = {}
    for turn in [turn for act in history for turn in life.do(act)]:
        for effect in turn.effects:
            drafts = OUTBOUND.drafts([effect], turn.at)
            users = [draft.recipient for draft in drafts]
            assert len(users) == len(set(users))
            assert users == [target.user for target in getattr(effect, "targets", ())]
            for row in outbox.append(drafts, turn.at):
                assert row.seq == seqs.get(row.recipient, 0) + 1
                seqs[row.recipient] = row.seq
