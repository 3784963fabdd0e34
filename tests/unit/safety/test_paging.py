"""Who is called outside the hub, when, and that nothing but a receipt or a human ends it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.ids import TenantId, UserId
from core.principal import Role
from safety.events import (
    ArrivedOnScene,
    CallOutcome,
    CallTo,
    CancelAsked,
    IncidentAcknowledged,
    IncidentResolved,
    NoteTaken,
    OfferDeclined,
    PageSettled,
    ResponderAssigned,
    ResponseOffered,
    SendPage,
)
from safety.model import CapStatus, IncidentState, PinVerdict
from safety.pages import HOP_MOVES, Address, Channel, HopState, HopStep, PageOutcome
from safety.paging import LOST_AFTER_S, Paging
from safety.ports import SafetyState
from safety.reach import ReachSettings, SafetyWebhookSettings
from safety.settings import SafetySettings
from tests.unit.safety.calls import REACH, Calls, Person
from tests.unit.safety.neighbourhood import NEAR, OPS, SH, T0, Neighbourhood, fix_at, person

PERSON = "person:tec_00"


def failing(effect: SendPage) -> PageOutcome:
    return PageOutcome.FAILED


# -- the clocks -----------------------------------------------------------------------------------------


def test_somebody_whose_device_confirms_nothing_is_woken_at_3_written_to_at_10_and_called_at_30() -> None:
    calls = Calls(online={"ops_0", "tec_00"})
    calls.sos()
    calls.run(35)
    first = calls.first()
    assert first[PERSON, "push"] == 3
    assert first[PERSON, "sms"] == 10
    assert first[PERSON, "voice"] == 30


def test_somebody_without_a_connection_is_woken_at_once() -> None:
    calls = Calls()
    calls.sos()
    calls.run(1)
    assert calls.first()[PERSON, "push"] == 0


@pytest.mark.parametrize(("after_s", "tried"), [(2, set()), (5, {"push"}), (15, {"push", "sms"})])
def test_a_receipt_spares_what_was_not_tried_yet(after_s: float, tried: set[str]) -> None:
    calls = Calls(online={"ops_0", "tec_00"})
    incident = calls.sos()
    calls.run(after_s)
    calls.receive(incident, "tec_00")
    calls.run(50 - after_s)
    assert {channel for _, channel, who in calls.calls() if who == PERSON} == tried
    spared = {hop.channel for hop in calls.page(incident, PERSON).hops if hop.state is HopState.SPARED}
    assert spared == {"push", "sms", "voice"} - tried


def test_every_minute_it_rings_again_without_end_until_a_human_has_it() -> None:
    calls = Calls(online={"ops_0", "tec_00"})
    incident = calls.sos()
    calls.run(600)
    texts = [at for at, _, who in calls.calls(Channel.SMS) if who == PERSON]
    assert len(texts) == 10
    calls.tell(IncidentAcknowledged(OPS, incident.incident_id))
    before = len(calls.sent)
    calls.run(120)
    asked = {f"person:{offer.user}" for offer in calls.now_of(incident).offers}
    assert {effect.pages[0].recipient for _, effect in calls.sent[before:]} <= {*asked, "robot:hq", "robot:sh"}


def test_robots_of_the_city_and_of_headquarters_are_told_at_once_and_at_each_level() -> None:
    calls = Calls()
    calls.sos()
    calls.run(125)
    told = [(at, who) for at, _, who in calls.calls(Channel.ROBOT)]
    assert {who for _, who in told} == {"robot:hq", "robot:sh"}
    assert [at for at, who in told if who == "robot:hq"] == [0, 30, 60, 120]


def test_what_is_named_for_one_tenant_never_carries_anothers_incident_whatever_its_level_or_city() -> None:
    hook = SafetyWebhookSettings(tenant="rival", url="https://guards.example/", secret_env="X", external=True)
    theirs = replace(REACH.supervisors["night"], tenant="rival")
    reach = replace(
        REACH,
        webhooks={"rival": hook, "ours": replace(hook, tenant="acme")},
        supervisors={**REACH.supervisors, "theirs": theirs},
    )
    calls = Calls(reach=reach, online=set())
    for number in range(30):  # more than a robot's line takes in a minute
        calls.sos(f"cus_{number}")
        calls.sos(f"cus_{number}", tenant=TenantId("rival"))
    calls.run(150)
    named = {"rival": "rival", "theirs": "rival", "hq": "acme", "sh": "acme", "bj": "acme", "ours": "acme"}
    told = {(e.pages[0].name, one.tenant) for _, e in calls.sent for one in e.incidents if e.pages[0].name in named}
    assert max(len(effect.incidents) for _, effect in calls.sent) > 1
    assert {(name, named[name]) for name, _ in told} == told, "also where a full line tells of several at once"
    assert {name for name, _ in told} == {"rival", "theirs", "hq", "sh", "ours"}


def test_supervisors_are_called_at_once_when_no_console_is_connected_and_else_from_level_2() -> None:
    calls = Calls(online=set())
    calls.sos()
    calls.run(1)
    assert calls.first()["supervisor:night", "sms"] == 0
    calls = Calls(online={"ops_1"})
    calls.sos()
    calls.run(61)
    assert calls.first()["supervisor:night", "sms"] == 60


def test_a_call_and_what_goes_outside_the_house_waits_until_the_subject_can_no_longer_abort() -> None:
    calls = Calls(online=set())
    calls.sos()
    calls.run(10)
    assert calls.first()["supervisor:night", "voice"] == 5  # the window; the short message did not wait
    calls = Calls(online=set(), reach=replace(REACH, contacts_level=0))
    calls.people["cus_anna"] = Person("Anna", "1", emergency=(Address("Mother", "137"),))
    calls.sos()
    calls.run(10)
    assert calls.first()["contact:1", "sms"] == 5


def test_emergency_contacts_are_told_from_their_level_on_and_hear_of_the_end() -> None:
    calls = Calls()
    calls.people["cus_anna"] = Person("Anna", "1", emergency=(Address("Mother", "137"), Address("Nobody")))
    incident = calls.sos()
    calls.run(70)
    assert calls.first()["contact:1", "sms"] == 60
    assert ("contact:2", "sms") not in calls.first()
    calls.tell(IncidentAcknowledged(OPS, incident.incident_id))
    calls.tell(IncidentResolved(OPS, incident.incident_id, "real_handled"))
    calls.run(5)
    last = calls.sent[-4:]
    assert "contact:1" in {effect.pages[0].recipient for _, effect in last}
    assert calls.page(incident, "contact:1").reason == "resolved"


def test_once_a_human_has_it_only_the_owner_and_who_was_asked_are_called_when_it_rings_again() -> None:
    calls = Calls(online=set())
    incident = calls.sos()
    calls.run(1)
    calls.tell(IncidentAcknowledged(NEAR, incident.incident_id))
    calls.run(10)
    already = len(calls.sent)
    calls.sos(key="k2")
    calls.run(15)
    people = {e.pages[0].recipient for _, e in calls.sent[already:] if e.channel is not Channel.ROBOT}
    assert people == {f"person:{offer.user}" for offer in calls.now_of(incident).offers} | {PERSON}
    assert "person:ops_0" not in people


def test_what_cannot_be_taken_back_is_not_begun_once_the_subject_took_it_back() -> None:
    calls = Calls(online=set(), reach=replace(REACH, contacts_level=0))
    calls.people["cus_anna"] = Person("Anna", "1", emergency=(Address("Mother", "137"),))
    incident = calls.sos()
    calls.run(2)
    calls.tell(CancelAsked(person("cus_anna"), incident.incident_id, PinVerdict.RIGHT))
    calls.run(40)
    assert ("contact:1", "sms") not in calls.first()
    assert ("supervisor:night", "voice") not in calls.first()
    assert (PERSON, "voice") not in calls.first()
    assert calls.first()[PERSON, "sms"] == 10  # whoever has to verify it hears all the same
    calls.run(400)  # nobody has: it rings again, and now outside as well
    assert ("contact:1", "sms") in calls.first()
    assert (PERSON, "voice") in calls.first()


def test_under_duress_nothing_is_held_back() -> None:
    calls = Calls(online=set(), reach=replace(REACH, contacts_level=0))
    calls.people["cus_anna"] = Person("Anna", "1", emergency=(Address("Mother", "137"),))
    incident = calls.sos()
    calls.run(2)
    calls.tell(CancelAsked(person("cus_anna"), incident.incident_id, PinVerdict.DURESS))
    calls.run(10)
    assert calls.first()["contact:1", "sms"] == 2  # nor does the abort window hold it
    assert calls.first()["supervisor:night", "voice"] == 2


def test_somebody_who_is_sent_there_is_called_although_another_has_it_in_hand() -> None:
    calls = Calls(online={"ops_0"})
    incident = calls.sos()
    calls.run(1)
    calls.tell(IncidentAcknowledged(OPS, incident.incident_id))
    began = calls.now - T0
    calls.tell(ResponderAssigned(OPS, incident.incident_id, UserId("tec_06")))
    calls.run(40)
    first = calls.first()
    assert first["person:tec_06", "sms"] == began + 10
    assert first["person:tec_06", "voice"] == began + 30


# -- somebody has it, and that is not enough --------------------------------------------------------------


def test_the_nearest_who_were_asked_are_called_although_ops_had_it_at_once() -> None:
    calls = Calls(settings=SafetySettings(reach=REACH))
    incident = calls.sos()
    calls.run(1)
    calls.tell(IncidentAcknowledged(OPS, incident.incident_id))
    calls.run(32)
    first = calls.first()
    for nth in range(5):
        assert first[f"person:tec_0{nth}", "sms"] == 10
        assert first[f"person:tec_0{nth}", "voice"] == 30
    assert ("person:ops_1", "sms") not in first


def test_who_declines_or_need_not_go_any_more_is_not_called() -> None:
    calls = Calls(settings=SafetySettings(reach=REACH, responder_slots=1))
    incident = calls.sos()
    calls.run(1)
    calls.tell(OfferDeclined(NEAR, incident.incident_id))
    calls.tell(IncidentAcknowledged(OPS, incident.incident_id))
    calls.run(4)
    calls.tell(ResponseOffered(person("tec_01", Role.RESPONDER), incident.incident_id))
    calls.run(40)
    assert not [who for _, channel, who in calls.calls() if who.startswith("person:tec") and channel == "sms"]


def test_while_nobody_goes_everyone_of_the_level_is_called_whoever_has_it() -> None:
    calls = Calls(settings=SafetySettings(reach=REACH))
    incident = calls.sos()
    calls.run(1)
    calls.tell(IncidentAcknowledged(OPS, incident.incident_id))
    for _ in range(4):
        calls.run(50)
        calls.tell(IncidentAcknowledged(OPS, incident.incident_id))
    first = calls.first()
    assert calls.paging.pages(incident.incident_id)[0].reason == "nobody_comes"
    assert {f"person:tec_0{nth}" for nth in range(8)} <= {who for who, channel in first if channel == "voice"}
    assert first["supervisor:night", "sms"] == 61
    assert first["last_resort:last_resort", "log"] == 181
    assert first["person:ops_1", "sms"] == 71


def test_nobody_calls_back_ops_and_supervisors_are_called_and_it_ends_with_the_first_call() -> None:
    calls = Calls()
    incident = calls.sos()
    calls.run(1)
    calls.tell(IncidentAcknowledged(OPS, incident.incident_id))
    calls.tell(CancelAsked(person("cus_anna"), incident.incident_id, PinVerdict.RIGHT))
    calls.run(65)
    assert calls.first()["supervisor:night", "voice"] == 61
    assert calls.page(incident, "person:ops_1").reason == "call_back_due"
    calls.tell(NoteTaken(OPS, incident.incident_id, "", CallTo.SUBJECT, CallOutcome.NO_ANSWER))
    calls.run(60)
    assert ("person:ops_1", "sms") not in calls.first()


def test_one_silent_responder_who_says_that_they_are_there_stops_nothing() -> None:
    """Their own phone is the last to say that something is wrong."""
    calls = Calls(settings=SafetySettings(reach=REACH), online=set())
    incident = calls.sos()
    calls.run(5)
    calls.tell(ResponseOffered(NEAR, incident.incident_id))
    calls.run(55)
    calls.place.live[NEAR.user] = (SH, fix_at(at=calls.now))
    calls.tell(ArrivedOnScene(NEAR, incident.incident_id))
    arrived, before = calls.now - T0, len(calls.sent)
    calls.run(600)
    others = [(at, who) for at, _, who in calls.calls()[before:] if who != PERSON and not who.startswith("robot")]
    assert others[0][0] == arrived + 180
    assert {who for _, who in others} >= {
        "person:ops_0",
        "supervisor:night",
        "last_resort:last_resort",
        "person:tec_07",
    }
    assert (calls.now_of(incident).state, calls.now_of(incident).level) == (IncidentState.OPEN, 3)


def test_an_arrival_that_ops_have_to_confirm_calls_them() -> None:
    calls = Calls(online={"ops_0"})
    incident = calls.sos()
    calls.run(1)
    calls.tell(ResponseOffered(NEAR, incident.incident_id))
    calls.run(10)
    calls.tell(ArrivedOnScene(NEAR, incident.incident_id))
    began = calls.now - T0
    calls.run(35)
    assert calls.first()["person:ops_0", "sms"] == began + 10
    assert calls.page(incident, "person:ops_0").reason == "arrival_claimed"


# -- nobody -------------------------------------------------------------------------------------------------


def test_when_nobody_can_be_reached_the_last_resort_is_called_at_once() -> None:
    """P21: the set of those who are called is never empty."""
    calls = Calls(place=Neighbourhood(), online=set(), reach=replace(REACH, supervisors={}))
    calls.sos()
    calls.run(1)
    assert calls.first()["last_resort:last_resort", "log"] == 0


def test_the_last_resort_is_called_at_the_last_level() -> None:
    calls = Calls()
    calls.sos()
    calls.run(121)
    assert calls.first()["last_resort:last_resort", "log"] == 120


@given(
    st.booleans(), st.booleans(), st.sets(st.sampled_from(["ops_0", "tec_00", "tec_01"])), st.booleans(), st.booleans()
)
def test_whoever_is_there_somebody_is_called(
    push: bool, sms: bool, online: set[str], staff: bool, phones: bool
) -> None:
    """P18 and P21: no configuration and no absence leaves an incident without a call."""
    reach = replace(REACH, sms=REACH.sms if sms else ReachSettings().sms, supervisors={}, robots={})
    calls = Calls(reach=reach, with_push=push, online=online)
    if not staff:
        calls.place.people.clear()
        calls.place.staff.clear()
    if not phones:
        calls.phoneless |= {*calls.place.people, *calls.place.staff}
    incident = calls.sos()
    calls.run(121)
    # Over the hub, or outside; and everybody at the last level.
    assert calls.sent or any(target.user in online for target in incident.targets)
    assert ("last_resort:last_resort", "log") in calls.first()


# -- failures -----------------------------------------------------------------------------------------------


def test_a_failed_attempt_is_made_again_ever_less_often_and_never_given_up() -> None:
    calls = Calls(online={"ops_0", "tec_00"}, answer=failing)
    incident = calls.sos()
    calls.run(29)
    assert [at for at, _, who in calls.calls(Channel.PUSH) if who == PERSON] == [3, 8.1, 18.2]
    calls.run(300)
    for recipient, hops in calls.hops(incident.incident_id).items():
        for hop in hops:
            assert hop.state in (HopState.WAITING, HopState.SENDING), recipient
            assert hop.due_at <= calls.now + 60


def test_the_next_channel_takes_over_on_the_clock_whatever_the_first_one_does() -> None:
    for answer in (failing, lambda effect: None):
        calls = Calls(online={"ops_0", "tec_00"}, answer=answer)
        calls.sos()
        calls.run(35)
        first = calls.first()
        assert (first[PERSON, "push"], first[PERSON, "sms"], first[PERSON, "voice"]) == (3, 10, 30)


def test_an_attempt_without_a_result_is_made_again() -> None:
    calls = Calls(online={"ops_0", "tec_00"}, answer=lambda effect: None)
    calls.sos()
    calls.run(20)
    assert [at for at, _, who in calls.calls(Channel.PUSH) if who == PERSON] == [3, 3 + LOST_AFTER_S]


def test_after_a_restart_an_attempt_without_a_result_is_made_again_at_once() -> None:
    calls = Calls(online={"ops_0", "tec_00"}, answer=lambda effect: None)
    incident = calls.sos()
    calls.run(4)
    stored = calls.paging.pages(incident.incident_id)
    again = Calls(online={"ops_0", "tec_00"})
    again.engine, again.now = calls.engine, calls.now
    again.paging = Paging(REACH, calls.paging._plan, calls.engine.incident)
    again.paging.load(stored)
    again.turn()
    assert (4.0, "push", PERSON) in again.calls()


def test_a_result_that_comes_after_it_was_given_up_changes_nothing() -> None:
    calls = Calls(online={"ops_0", "tec_00"}, answer=lambda effect: None)
    incident = calls.sos()
    calls.run(4)
    (_, effect) = next(one for one in calls.sent if one[1].pages[0].recipient == PERSON)
    calls.receive(incident, "tec_00")
    settled = PageSettled(effect.pages, effect.channel, PageOutcome.FAILED)
    calls.paging.settled(settled, calls.now)
    calls.paging.settled(settled, calls.now)
    assert calls.page(incident, PERSON).hops[0].state is HopState.SPARED


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_hop_is_ever_dead_ended(data: st.DataObject) -> None:
    """P9 and P10: taken, due again, under way, or not wanted because a device or a human has it."""
    outcomes = st.sampled_from([*PageOutcome, None])
    calls = Calls(online=data.draw(st.sets(st.sampled_from(["ops_0", "ops_1", "tec_00"]))))
    calls.answer = lambda effect: data.draw(outcomes)
    incident, acknowledged = calls.sos(), False
    for _ in range(data.draw(st.integers(1, 12))):
        match data.draw(st.sampled_from(["wait", "wait", "receive", "acknowledge", "tap"])):
            case "wait":
                calls.run(data.draw(st.sampled_from([1, 7, 31, 200])))
            case "receive":
                calls.receive(incident, data.draw(st.sampled_from(["ops_0", "tec_00", "tec_03"])))
            case "acknowledge" if not acknowledged:
                acknowledged = True
                calls.tell(IncidentAcknowledged(OPS, incident.incident_id))
            case "tap":
                calls.sos(key=f"k{data.draw(st.integers(2, 5))}")
        current = calls.engine.incident(incident.tenant, incident.incident_id)
        assert current is not None
        for page in calls.paging.pages(incident.incident_id):
            for hop in page.hops:
                if hop.state is HopState.SPARED:
                    assert page.received_at is not None or current.owner is not None
                elif hop.state is HopState.WAITING:
                    assert hop.due_at <= calls.now + 300
        # Until a human has it, something is due or under way.
        if current.owner is None:
            assert calls.paging.next_deadline() is not None or calls.engine.next_deadline() is not None


# -- lines --------------------------------------------------------------------------------------------------


def test_what_a_robot_does_not_take_is_merged_and_nothing_is_lost() -> None:
    calls = Calls()
    incidents = [calls.sos(f"cus_{n}") for n in range(60)]
    calls.run(60)
    robot = [(at, effect) for at, effect in calls.sent if effect.pages[0].recipient == "robot:hq"]
    told = {incident.incident_id for _, effect in robot for incident in effect.incidents}
    assert told == {incident.incident_id for incident in incidents}
    in_a_minute = [sum(1 for at, _ in robot if start <= at < start + 60) for start, _ in robot]
    assert max(in_a_minute) < 20
    first = {i.incident_id: at - T0 for at, effect in reversed(robot) for i in effect.incidents}
    assert max(first.values()) <= 4.1
    assert calls.paging.counters.merged > 40


@settings(max_examples=8, deadline=None)
@given(st.lists(st.floats(0, 70), min_size=1, max_size=30))
def test_no_robot_gets_more_than_its_service_allows(taps: list[float]) -> None:
    calls = Calls()
    told = set()
    for n, at in enumerate(sorted(taps)):
        calls.run(T0 + at - calls.now)
        told.add(calls.sos(f"cus_{n}").incident_id)
    calls.run(30)
    for name, limit in (("robot:hq", 20), ("robot:sh", 100)):
        at_once = [at for at, effect in calls.sent if effect.pages[0].recipient == name]
        assert all(sum(1 for other in at_once if at <= other < at + 60) <= limit for at in at_once)
        assert all(sum(1 for other in at_once if at <= other < at + 1) <= 5 for at in at_once)
        reached = {i.incident_id for _, e in calls.sent if e.pages[0].recipient == name for i in e.incidents}
        assert reached == told


# -- drills -------------------------------------------------------------------------------------------------


def test_an_exercise_is_planned_like_the_real_thing() -> None:
    """P22: the same code, until the last hop, which is the pager's to withhold."""
    real, drill = Calls(online=set()), Calls(online=set())
    real.sos()
    drill.sos(cap_status=CapStatus.EXERCISE)
    real.run(130)
    drill.run(130)
    assert drill.calls() == real.calls()


def test_a_test_tries_every_channel_and_every_desk_at_once() -> None:
    calls = Calls(place=Neighbourhood(), online=set())
    calls.sos(cap_status=CapStatus.TEST)
    calls.run(6)
    tried = set(calls.first())
    assert {("supervisor:synthetic", channel) for channel in ("push", "sms", "voice", "log")} <= tried
    assert {("robot:hq", "robot"), ("robot:bj", "robot"), ("robot:rival", "robot")} <= tried


# -- the table and the auditor ------------------------------------------------------------------------------


def test_only_being_spared_ends_a_hop_that_failed() -> None:
    assert HOP_MOVES[HopState.SENDING, HopStep.FAILED] is HopState.WAITING
    assert {step for (state, step) in HOP_MOVES if HOP_MOVES[state, step] is HopState.SPARED} == {HopStep.SPARE}
    assert set(HOP_MOVES.values()) == set(HopState)


def test_how_late_the_latest_call_is() -> None:
    calls = Calls(online={"ops_0"}, answer=lambda effect: None)
    assert calls.paging.overdue_s(T0) == 0
    calls.sos()
    assert calls.paging.overdue_s(T0 + 7) == 7  # nobody has begun it
    calls.run(0)
    assert calls.paging.overdue_s(T0 + 2) == 0
    assert calls.paging.overdue_s(T0 + 9) == 6  # it has no result, 6 s beyond its budget


def test_pages_are_let_go_with_their_incident() -> None:
    calls = Calls()
    incident = calls.sos()
    calls.tell(IncidentAcknowledged(OPS, incident.incident_id))
    calls.tell(IncidentResolved(OPS, incident.incident_id, "real_handled"))
    current = calls.engine.incident(incident.tenant, incident.incident_id)
    assert current is not None
    assert current.state is IncidentState.RESOLVED
    calls.run(90_000)
    calls.sos("cus_berta")
    calls.paging.forget(calls.now)
    assert calls.paging.pages(incident.incident_id) == []


def test_a_call_of_an_incident_that_nobody_knows_any_more_is_not_due_for_ever() -> None:
    calls = Calls(answer=failing)
    calls.sos()
    calls.run(20)
    calls.engine.load(SafetyState((), (), {}))
    while (at := calls.paging.next_deadline()) is not None:
        assert at <= calls.now + 60
        calls.now = max(calls.now, at)
        calls.turn()
    assert calls.paging.overdue_s(calls.now + 3_600) == 0.0


def test_a_broken_phonebook_costs_phones_and_not_the_call() -> None:
    calls = Calls()

    def of(tenant: str, user: UserId) -> Person | None:
        raise RuntimeError("no phonebook")

    calls.of = of  # type: ignore[method-assign]
    calls.sos()
    calls.run(1)
    assert calls.first()[PERSON, "push"] == 0
