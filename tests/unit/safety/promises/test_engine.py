"""What holds of every incident, whatever history it has: the promises that the engine keeps by itself."""

import copy
import hashlib
from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Conflict, NotFound
from core.ids import IncidentId, OrderId, UserId
from core.principal import Principal, Role
from core.ranges import ranges_of
from safety.engine import SafetyEngine
from safety.events import (
    ArrivedOnScene,
    CancelAsked,
    DeliveryReceived,
    Handled,
    IncidentAcknowledged,
    IncidentClosed,
    IncidentJoined,
    IncidentReopened,
    IncidentResolved,
    NoteTaken,
    NotifyTargets,
    OfferDeclined,
    ResponderAssigned,
    ResponseOffered,
    SosRaised,
    SoundAlarm,
    SubjectAnswered,
    SubjectOffDuty,
    UpdateTargets,
)
from safety.incident import MOVES, Step, fold
from safety.model import CapStatus, Incident, IncidentEvent, IncidentState, OfferState, SlotState, SosReport
from safety.ports import JournalEntry, SafetyState
from safety.settings import SafetySettings
from safety.unstored import to_replay
from store.journal import ENTRY
from tests.unit.safety.neighbourhood import ACME, CountingIds, Neighbourhood, fix_at, person, town
from tests.unit.safety.promises.history import (
    BREAKABLE,
    HANDLER_ACTS,
    PIN_ACTS,
    SUBJECT_ACTS,
    SUBJECTS,
    Act,
    Life,
    Turn,
    active,
    acts,
    answer_to,
    histories,
    often,
)

STEP_MAX_S = 60.0
OPS_USERS = {"ops_0", "ops_1", "ops_bj"}


def events_of(life: Life) -> dict[IncidentId, list[IncidentEvent]]:
    found: dict[IncidentId, list[IncidentEvent]] = {}
    for turn in life.turns:
        for event in turn.changes.events:
            found.setdefault(event.incident_id, []).append(event)
    return found


# -- taps -----------------------------------------------------------------------------------------------


@often(60)
@given(
    st.one_of(
        histories(*SUBJECT_ACTS, *SUBJECT_ACTS, *PIN_ACTS, *HANDLER_ACTS, "wait", longest=30),
        histories("tap", "ack", "resolve", "reopen"),
    ),
    st.sampled_from([CapStatus.ACTUAL, CapStatus.EXERCISE]),
)
def test_p02_one_incident_a_key_one_active_a_person_and_every_further_tap_is_taken(
    history: list[Act], status: CapStatus
) -> None:
    life = Life(status=status).live(history)
    of_key: dict[tuple[UserId, str], IncidentId] = {}
    for turn in life.turns:
        subjects = [i.subject for i in turn.after.values() if i.is_active]
        assert len(subjects) == len(set(subjects)), "one active incident a person"
        if not isinstance(turn.event, SosRaised):
            continue
        incident, key = answer_to(turn).incident, turn.event.report.key
        assert incident.subject == turn.event.who.user
        known = of_key.get((incident.subject, key))
        if known is not None and turn.before[known].is_active:
            assert incident.incident_id == known, "one incident a key"
        of_key[incident.subject, key] = incident.incident_id
        mine = [i for i in turn.before.values() if i.subject == incident.subject and i.is_active]
        if mine:
            assert incident.incident_id == mine[0].incident_id, "whoever taps again taps for the same emergency"
        if known is None:
            taps = turn.before[incident.incident_id].triggers if incident.incident_id in turn.before else 0
            assert incident.triggers == taps + 1, "a further tap counts"
            assert [trigger.key for trigger in turn.changes.triggers] == [key], "and is kept"


# -- the machine ----------------------------------------------------------------------------------------


def is_ops(who: Principal, incident: Incident) -> bool:
    return Role.OPS in who.roles and (incident.city is None or incident.city in who.cities)


def is_told(who: Principal, incident: Incident) -> bool:
    return any(target.user == who.user for target in incident.targets)


def may(event: Handled, incident: Incident) -> bool:
    """The table of who does what, in words of its own."""
    who = event.who
    kept_out = {incident.subject, *incident.avoid}
    if who.tenant != incident.tenant or who.user in kept_out or who.restricted:
        return False
    match event:
        case ResponderAssigned() | IncidentReopened() | IncidentClosed():
            return is_ops(who, incident)
        case ResponseOffered() | OfferDeclined():
            return is_told(who, incident)
        case ArrivedOnScene(_, _, responder) if responder not in (None, who.user):
            return is_ops(who, incident)
        case IncidentAcknowledged() | IncidentJoined() | NoteTaken() | ArrivedOnScene() | IncidentResolved():
            return is_ops(who, incident) or is_told(who, incident)
    raise AssertionError(event)


@often(60)
@given(histories(longest=30))
def test_p04_the_state_is_what_the_history_folds_to_by_known_arrows_of_those_who_may(history: list[Act]) -> None:
    life = Life().live(history)
    for incident_id, events in events_of(life).items():
        incident = life.incidents[incident_id]
        assert fold(events) == (incident.state, incident.level)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        for one, other in pairwise(events):
            assert MOVES[one.state, Step(other.what)] is other.state
    for turn in life.turns:
        if turn.refusal is not None:
            assert not turn.changes, "what was refused changed nothing"
        event = turn.event
        told = SosRaised | SubjectAnswered | CancelAsked | DeliveryReceived | SubjectOffDuty
        if event is not None and not isinstance(event, told):
            before = turn.before[event.incident_id]
            assert turn.refusal is not None or may(event, before), "done by somebody who may not"
            for written in turn.changes.events:
                if written.who not in ("system", event.who.user):
                    raise AssertionError(f"{written} in the name of another")


@often(60)
@given(histories(longest=30))
def test_p05_whatever_is_active_acts_by_itself_within_a_minute(history: list[Act]) -> None:
    life = Life()
    for act in history:
        life.do(act)
        due = [at for i in active(life).values() if (at := i.deadline) is not None]
        assert len(due) == len(active(life)), "an active incident has a timer"
        assert max(due, default=0.0) <= life.now + STEP_MAX_S
        assert life.engine.next_deadline() == min(due, default=None), "and it is the one that is waited for"


DUE = {
    "repeat_at": {Step.REPEATED, Step.REOPENED, Step.WENT_STALE, Step.OWNER_LOST, Step.ALL_STALLED, Step.LET_GO},
    "widen_at": {Step.WIDENED},
    "stale_at": {Step.WENT_STALE, Step.REPEATED, Step.WIDENED, Step.LET_GO},
    "assign_by": {Step.NOBODY_COMES, Step.WENT_STALE, Step.OWNER_LOST, Step.LET_GO},
    "reopen_at": {Step.REOPENED},
    "call_back_by": {Step.REPEATED, Step.REOPENED},
}
"""Timers with the events one of which says that they were heard."""


@often(60)
@given(histories(longest=30))
def test_p06_what_was_due_is_done_and_written_down(history: list[Act]) -> None:
    life = Life().live([*history, Act("oversleep", 0, 8)])
    for turn in life.turns:
        if turn.event is not None:
            continue
        for incident_id, before in turn.before.items():
            if not before.is_active or before.deadline is None or before.deadline > turn.at:
                continue
            after = turn.after[incident_id]
            assert after.deadline is not None
            assert after.deadline > turn.at, "nothing that was due is still due"
            written = {Step(e.what) for e in turn.changes.events if e.incident_id == incident_id}
            told = [e for e in turn.effects if isinstance(e, NotifyTargets | UpdateTargets)]
            is_told = any(e.incident.incident_id == incident_id for e in told)
            for timer, heard in DUE.items():
                at = getattr(before, timer)
                if at is not None and at <= turn.at:
                    # What a PIN led to is told first, and that rings as well; where nobody is, by the alarm.
                    is_rung = timer == "repeat_at" and before.tell_at is not None and before.tell_at <= turn.at
                    assert written & heard or is_rung, f"{timer} came and nothing was written of it"
                    assert is_told or not after.targets, f"{timer} came and nobody was told"


@often(60)
@given(histories(longest=30))
def test_p07_a_level_never_sinks(history: list[Act]) -> None:
    life = Life().live(history)
    for turn in life.turns:
        for incident_id, before in turn.before.items():
            assert turn.after[incident_id].level >= before.level
    for events in events_of(life).values():
        assert [event.level for event in events] == sorted(event.level for event in events)


@often(60)
@given(histories("tap", "wait", "oversleep", *PIN_ACTS, *HANDLER_ACTS, "call", "resolve", "close", longest=30))
def test_p08_only_a_person_of_ops_ends_an_incident(history: list[Act]) -> None:
    life = Life().live(history)
    for turn in life.turns:
        for incident_id, before in turn.before.items():
            after = turn.after[incident_id]
            if (before.is_active, before.state) == (after.is_active, after.state) or after.is_active:
                continue
            event = turn.event
            assert isinstance(event, IncidentResolved | IncidentClosed)
            assert is_ops(event.who, before), "of a responder it is a proposal"
            assert after.resolved_by in OPS_USERS
    for events in events_of(life).values():
        assert {e.who for e in events if Step(e.what) in (Step.RESOLVED, Step.CLOSED)} <= OPS_USERS


# -- owners and grants ----------------------------------------------------------------------------------


@often(70)
@given(histories("ack", "respond", "respond", "decline", "assign", "arrive", "move", "tap", "wait", longest=30))
def test_p12_one_owner_one_winner_a_slot_and_nothing_under_an_old_grant(history: list[Act]) -> None:
    life = Life(SafetySettings(responders_level_0=3, offers_parallel=3, responder_slots=1)).live(history)
    granted: dict[tuple[IncidentId, int], UserId] = {}
    for turn in life.turns:
        for incident_id, after in turn.after.items():
            before = turn.before.get(incident_id)
            if before is not None and before.owner is not None and after.owner != before.owner:
                assert after.owner is None or before.owner in after.avoid, "nobody takes it from its owner"
                assert turn.event is None or not isinstance(turn.event, IncidentAcknowledged | ResponseOffered)
            assert before is None or after.fence >= before.fence
            held = {slot.user: slot.fence for slot in before.slots} if before is not None else {}
            for slot in after.slots:
                assert granted.setdefault((incident_id, slot.fence), slot.user) == slot.user, "a grant is of one person"
                assert before is None or slot.fence == held.get(slot.user) or slot.fence > before.fence, "and new"
            own_word = [slot for slot in after.slots if slot.by == slot.user and slot.state is not SlotState.STALLED]
            is_won = any(slot.state is SlotState.COMING and slot.fence not in held.values() for slot in own_word)
            assert len(own_word) == 1 or not is_won, "one slot, one winner"
            # Whoever stalled, and is there all the same when another one goes, is there.
            assert sum(slot.state is SlotState.COMING for slot in own_word) <= 1
    for incident in active(life).values():
        for slot in incident.slots:
            twin = copy.deepcopy(life.engine)
            said = ArrivedOnScene(person(slot.user, Role.RESPONDER), incident.incident_id, None, slot.fence - 1)
            _refused(twin, said, life.now, incident)
        for offer in incident.offers:
            if offer.state is OfferState.PENDING and incident.slot_of(offer.user) is None:
                going = ResponseOffered(person(offer.user, Role.RESPONDER), incident.incident_id, offer.fence - 1)
                _refused(copy.deepcopy(life.engine), going, life.now, incident)


def _refused(engine: SafetyEngine, event: Handled, now: float, incident: Incident) -> None:
    try:
        engine.handle(event, now)
    except (Conflict, NotFound):
        assert engine.incident(ACME, incident.incident_id) == incident
    else:
        raise AssertionError(f"taken under an old grant: {event}")


# -- who is told ----------------------------------------------------------------------------------------


@often(60)
@given(
    st.one_of(
        histories("tap", "book", "ack", "respond", "assign", "arrive", "join", "right_pin", "move", "wait"),
        st.lists(acts("ack", "join", "respond"), max_size=8).map(lambda later: [Act("tap"), Act("book"), *later]),
    ),
    st.lists(st.sampled_from(["tec_01", "ops_1", "tec_05"]), max_size=2),
)
def test_p14_the_other_side_of_a_booking_is_never_told_and_never_let_in(history: list[Act], others: list[str]) -> None:
    life = Life()
    for act in history:
        if act.what == "book":
            life.do(act)
            for user, place in life.place.bookings.items():
                life.place.bookings[user] = replace(place, others=tuple(UserId(o) for o in others if o != user))
            continue
        for turn in life.do(act):
            _keeps_out(life, turn)


def _keeps_out(life: Life, turn: Turn) -> None:
    for effect in turn.effects:
        incident, place = effect.incident, life.place.bookings.get(effect.incident.subject)
        kept_out = {incident.subject, *incident.avoid}
        assert not {target.user for target in incident.targets} & kept_out
        if isinstance(effect, NotifyTargets | UpdateTargets):
            users = {target.user for target in effect.targets}
            assert not users & kept_out
            # An update goes to who was told; a ring asks for the booking as it is now.
            if isinstance(effect, NotifyTargets) and place is not None:
                assert not users & set(place.kept_out)
    event = turn.event
    if turn.refusal is None and isinstance(event, Handled):
        place = life.place.bookings.get(turn.before[event.incident_id].subject)
        is_over = not turn.before[event.incident_id].is_active
        assert is_over or place is None or event.who.user not in place.kept_out, "let in"
    for incident in turn.after.values():
        assert incident.owner not in incident.avoid or not incident.is_active
        assert not {slot.user for slot in incident.slots} & set(incident.avoid) or not incident.is_active


ANY_PLACE = st.sampled_from(["town", "nobody", "only ops", "only responders", "far"])


def place_of(what: str, broken: set[str]) -> Neighbourhood:
    place = town()
    if what in ("nobody", "only ops", "far"):
        far = place.people.pop(UserId("tec_bj"))
        place.people.clear()
        if what == "far":
            place.people[UserId("tec_bj")] = far
    if what in ("nobody", "only responders", "far"):
        place.staff.clear()
    place.broken |= broken
    return place


def _draw_settings(data: st.DataObject) -> SafetySettings:
    """Any settings that the server would start with."""
    chosen: dict[str, Any] = {}
    defaults = SafetySettings()
    for name, span in ranges_of(SafetySettings).items():
        low = chosen[span.least] if isinstance(span.least, str) else span.least
        high = span.most if isinstance(span.most, float | int) else defaults.triggers_kept_max
        drawn = st.integers(int(low + 0.999), int(high)) if high - low >= 1 else st.just(low)
        value = data.draw(st.one_of(st.just(max(low, getattr(defaults, name))), st.just(low), st.just(high), drawn))
        chosen[name] = int(value) if isinstance(getattr(defaults, name), int) else float(value)
    return SafetySettings(**chosen)


@often(50)
@given(st.data(), histories("tap", "ack", "ack", "respond", "right_pin", "duress_pin", "resolve", longest=4))
def test_p18_no_setting_and_no_state_keeps_a_first_tap_from_being_stored_and_told(
    data: st.DataObject, history: list[Act]
) -> None:
    life = Life(_draw_settings(data)).live(history)
    life.now += 60.0  # nobody has tapped for a minute; timers may be late as well
    who = data.draw(st.sampled_from(SUBJECTS))
    who = replace(who, restricted=data.draw(st.booleans()), cities=data.draw(st.sampled_from([(), who.cities])))
    order = data.draw(st.sampled_from([None, OrderId("ord_1"), OrderId("nonsense")]))
    report = SosReport("new", fix=data.draw(st.sampled_from([None, fix_at()])), order_id=order)
    turn = life.tell(SosRaised(who, report, life.now))
    incident = answer_to(turn).incident
    assert turn.refusal is None
    assert [trigger.key for trigger in turn.changes.triggers] == ["new"], "stored"
    assert turn.changes.incidents[incident.incident_id] == incident
    assert any(isinstance(e, NotifyTargets) and e.incident.incident_id == incident.incident_id for e in turn.effects)


@often(60)
@given(histories(*SUBJECT_ACTS, *HANDLER_ACTS, "wait", longest=20), st.floats(-86_400, 86_400))
def test_p20_a_phone_whose_clock_is_a_day_off_changes_no_timer_and_no_order(history: list[Act], skew_s: float) -> None:
    straight, skewed = Life(), Life()
    for act in history:
        turns = straight.do(act)
        for turn in turns:
            if isinstance(turn.event, SosRaised):
                report = replace(turn.event.report, sent_at=turn.event.received_at + skew_s)
                skewed.now = turn.at
                skewed.tell(replace(turn.event, report=report))
        if not any(isinstance(turn.event, SosRaised) for turn in turns):
            skewed.do(act)
        skewed.now = straight.now
    assert {i.incident_id: i for i in straight.engine.active()} == {i.incident_id: i for i in skewed.engine.active()}
    assert straight.engine.next_deadline() == skewed.engine.next_deadline()
    for incident_id, told in events_of(straight).items():
        other = events_of(skewed)[incident_id]
        assert [(e.seq, e.at, e.what, e.who) for e in told] == [(e.seq, e.at, e.what, e.who) for e in other]
        assert [e.at for e in told] == sorted(e.at for e in told)


@often(100)
@given(ANY_PLACE, st.sets(st.sampled_from(BREAKABLE)), st.lists(acts("tap", "wait", "oversleep", "leave"), max_size=8))
def test_p21_somebody_is_told_or_an_alarm_sounds_and_it_is_tried_again(
    what: str, broken: set[str], history: list[Act]
) -> None:
    life = Life(place=place_of(what, broken))
    for turn in [turn for act in [Act("tap"), *history] for turn in life.do(act)]:
        for incident in turn.changes.incidents.values():
            if any(target.told_at is not None for target in incident.targets):
                continue
            alarms = [e.what for e in turn.effects if isinstance(e, SoundAlarm)]
            assert "nobody_to_tell" in alarms, "nobody is told, and nobody hears of that either"
            assert incident.deadline is not None
            assert incident.deadline <= turn.at + life.settings.unreached_repeat_s
            assert incident.level == 3, "it was looked for everywhere"
        if what == "nobody":
            continue
        for incident in active(life).values():
            is_lookable = not broken & {"ops", "responders"}
            assert incident.targets or not is_lookable, "there was somebody to tell"


# -- the same again -------------------------------------------------------------------------------------


def state_hash(engine: SafetyEngine) -> str:
    """One word for all that an engine knows of its incidents, and for how it goes on."""
    book = engine._book
    incidents = [book.incidents[which] for which in sorted(book.incidents)]
    taps = [[trigger.trigger_id for trigger in book.triggers[which]] for which in sorted(book.incidents)]
    places = [sorted((*key, which) for key, which in of.items()) for of in (book.active_of, book.ended_of)]
    seqs, keys = sorted(book._event_seqs.items()), sorted((*key, t.trigger_id) for key, t in book.keys.items())
    rest = (
        [book.subject(i.tenant, i.subject) for i in incidents],
        [engine._deadlines.of(i.incident_id) for i in incidents],
    )
    return hashlib.sha256(msgspec.msgpack.encode((incidents, taps, places, seqs, keys, rest))).hexdigest()


@often(60)
@given(histories(longest=25))
def test_p23_all_messages_again_into_an_empty_node_are_the_same_state(history: list[Act]) -> None:
    life = Life().live(history)
    again = Life()
    for act in history:
        again.do(act)
    assert state_hash(again.engine) == state_hash(life.engine), "decided by what was told and the time alone"
    # The journal of all turns, as its bytes, into a node without a database.
    entries = [JournalEntry(turn.changes, (), turn.at) for turn in life.turns if turn.changes]
    read = [ENTRY.unpack(payload) for payload in [ENTRY.pack(entry) for entry in entries]]
    batches, gaps = to_replay(read, {}, {})
    assert gaps == set()
    empty = SafetyEngine(life.settings, CountingIds(), Neighbourhood())
    empty.load(SafetyState((), (), {}))
    for batch in batches:
        empty.adopt(batch.changes)
    assert state_hash(empty) == state_hash(life.engine)
    closed = [i for i in life.incidents.values() if i.state is IncidentState.CLOSED]
    assert all(empty.incident(ACME, i.incident_id) == i for i in closed)
