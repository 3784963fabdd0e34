"""What an incident does by itself while somebody has it in hand."""

from typing import Any

import pytest

from core.ids import UserId
from safety.events import CallOutcome, CallTo, Reason, SoundAlarm
from safety.model import IncidentState, SlotState
from tests.unit.safety.desk import Desk, desk, responder, rung
from tests.unit.safety.neighbourhood import OPS, OPS_2, T0


def watched(**settings: Any) -> Desk:
    return desk(look_s=10, responder_slots=1, **settings)


def test_acknowledged_and_nobody_goes_the_next_level_hears_of_it_every_minute() -> None:
    one = desk(assign_within_s=60)
    one.ack()
    done = one.run(130)
    assert [at for at, _ in rung(done, Reason.NOBODY_COMES)] == [61.0, 121.0]
    assert {e.what for _, e in done if isinstance(e, SoundAlarm)} == {"nobody_comes"}
    assert (one.incident.level, one.incident.owner) == (2, OPS.user)


def test_the_way_is_watched_and_who_comes_nearer_is_left_alone() -> None:
    one = watched()
    one.go(responder(0))
    for metres in range(2_000, 200, -60):
        one.stands(0, metres)
        one.run(10)
    assert one.incident.state is IncidentState.RESPONDING
    assert one.incident.owner == "tec_00", "coming nearer is doing something"


@pytest.mark.parametrize(("why", "after_s"), [("no position", 60), ("not nearer", 180)])
def test_a_responder_who_stalls_is_noticed_and_everyone_is_rung_again(why: str, after_s: float) -> None:
    one = watched(ack_stale_s=3_600)
    one.go(responder(0))
    began = one.now
    done = []
    while one.now - began < after_s + 20:
        if why == "not nearer":
            one.stands(0, 900)
        done += one.run(5)
    stalled = [at for at, _ in rung(done, Reason.STALLED)]
    assert stalled
    assert after_s < stalled[0] + T0 - began <= after_s + 20
    assert one.incident.state is IncidentState.OPEN
    assert one.incident.slots[0].state is SlotState.STALLED
    assert one.asked(), "and the next are asked"


def test_one_of_two_stalls_ops_hear_it_another_is_asked_and_the_other_goes_on() -> None:
    one = desk(look_s=10, responder_slots=2, ack_stale_s=3_600, offers_parallel=2)
    one.go(responder(0))
    one.go(responder(1))
    done = []
    for metres in range(3_000, 1_000, -50):
        one.stands(1, metres)
        if one.now - T0 > 100:
            break
        done += one.run(5)
    assert [users for _, users in rung(done, Reason.STALLED)] == [["tec_00", "ops_0", "ops_1"]]
    assert one.incident.state is IncidentState.RESPONDING
    assert one.asked() == ["tec_02", "tec_03"]


def test_who_moves_on_has_their_slot_again_unless_it_was_given_away() -> None:
    for given in (False, True):
        one = watched(ack_stale_s=3_600)
        one.go(responder(0))
        one.run(90)
        assert one.incident.slots[0].state is SlotState.STALLED
        old = one.incident.slots[0].fence
        if given:
            one.go(responder(1))
            one.stands(1, 1_500)
        one.stands(0, 800)
        one.run(12)
        slot = one.incident.slot_of(UserId("tec_00"))
        assert slot is not None
        assert (slot.state is SlotState.COMING) is not given
        assert (slot.fence > old) is not given


def test_a_position_at_the_place_only_asks_whether_they_are_there() -> None:
    one = watched(arrival_m=100)
    one.go(responder(0))
    one.stands(0, 90)
    done = one.run(60)
    assert [users for _, users in rung(done, Reason.ARRIVAL_SEEN)] == [["tec_00"]]
    assert one.incident.state is IncidentState.RESPONDING


def test_an_owner_whose_connection_is_gone_for_a_minute_is_the_owner_no_more() -> None:
    one = watched()
    one.ack()
    one.run(15)
    one.place.away.add(OPS.user)
    done = one.run(90)
    assert [at for at, _ in rung(done, Reason.OWNER_LOST)] == [81.0]
    assert (one.incident.state, one.incident.level) == (IncidentState.OPEN, 1)


def test_an_owner_who_comes_back_in_time_or_never_had_a_connection_stays() -> None:
    one = watched()
    one.ack()
    one.run(15)
    one.place.away.add(OPS.user)
    one.run(40)
    one.place.away.clear()
    one.run(60)
    assert one.incident.owner == OPS.user
    other = watched()
    other.place.away.add(OPS.user)
    other.ack()
    other.run(150)
    assert other.incident.owner == OPS.user


@pytest.mark.parametrize("act", ["note", "call", "assign", "confirm", "propose"])
def test_anything_that_the_owner_does_renews_their_acknowledgement(act: str) -> None:
    one = desk(ack_stale_s=180)
    one.ack()
    one.run(170)
    match act:
        case "note":
            one.note("on the phone")
        case "call":
            one.call(CallOutcome.NO_ANSWER, CallTo.POLICE)
        case "assign":
            one.send("tec_00")
        case "confirm":
            one.ack()
        case _:
            one.resolve("unreachable")
    one.run(50)
    assert one.incident.owner == OPS.user


def test_what_others_do_does_not_renew_it() -> None:
    one = desk(ack_stale_s=180)
    one.ack()
    one.run(170)
    one.note("I see her", responder(0))
    one.run(20)
    assert one.incident.owner is None


def on_scene(**settings: Any) -> Desk:
    one = watched(ack_stale_s=60, **settings)
    one.go(responder(0))
    one.stands(0, 30)
    one.arrive(responder(0))
    assert one.incident.state is IncidentState.ON_SCENE
    return one


def test_quiet_on_the_scene_ops_ask_first_and_then_it_is_open_again_and_others_go() -> None:
    one = on_scene()
    done = one.run(119)
    assert rung(done, Reason.ACK_STALE) == [(62.0, ["tec_00", "ops_0", "ops_1"])]
    assert one.incident.state is IncidentState.ON_SCENE
    done = one.run(2)
    ((at, users),) = rung(done, Reason.ACK_STALE)
    assert at == 122.0
    assert len(users) == 10, "everyone of the next level"
    incident = one.incident
    assert (incident.state, incident.level, incident.owner) == (IncidentState.OPEN, 1, None)
    assert incident.slots[0].is_silent
    assert one.asked(), "others are asked to go"
    one.stands(0, 20)
    one.run(60)
    assert one.incident.slots[0].state is SlotState.STALLED, "a phone that lies there says nothing"
    one.stands(0, 20)
    one.arrive(responder(0))
    assert one.incident.state is IncidentState.ON_SCENE
    assert one.incident.quiet_since is None


@pytest.mark.parametrize("who", ["there", "there again", "ops", "two"])
def test_a_word_of_anybody_there_or_of_ops_counts(who: str) -> None:
    one = on_scene()
    one.run(100)
    assert one.incident.quiet_since is not None
    match who:
        case "there":
            one.note("talking to her", responder(0))
        case "there again":
            one.arrive(responder(0))
        case "ops":
            one.note("I hear them on the phone", OPS_2)
        case _:
            one.send("tec_03")
            one.arrive(OPS, "tec_03")
            one.note("I help", responder(3))
    assert one.incident.quiet_since is None
    one.run(55)
    assert one.incident.state is IncidentState.ON_SCENE
    assert one.incident.quiet_since is None


def test_a_word_of_somebody_who_is_not_there_does_not_count() -> None:
    one = on_scene()
    one.run(100)
    one.note("how is it?", responder(2))
    one.run(30)
    assert one.incident.state is IncidentState.OPEN


def test_a_look_that_finds_nothing_new_says_nothing() -> None:
    one = watched()
    one.go(responder(0))
    one.stands(0, 500)
    one.run(11)
    one.engine.take_changes()
    assert one.run(20) == []
    assert one.engine.take_changes().events == []
