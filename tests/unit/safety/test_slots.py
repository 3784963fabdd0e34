"""Who goes there: asked nearest first, one winner a slot, nothing under an old number."""

from dataclasses import replace

import pytest

from core.errors import Conflict, Forbidden, Invalid, NotFound
from core.ids import UserId
from core.principal import Role
from core.units import ACCURACY_M_MAX
from geo.point import LatLng
from safety.errors import SlotTaken
from safety.events import NotifyTargets, Reason, SosRaised
from safety.model import IncidentState, SlotState, SosReport
from tests.unit.safety.desk import Desk, desk, responder, rung, updates
from tests.unit.safety.neighbourhood import (
    ANNA,
    OPS,
    OPS_BJ,
    SH,
    booked,
    engine_in,
    fix_at,
    incident_id,
    ladder,
    person,
    tap,
    town,
)


def told(effect: NotifyTargets) -> list[str]:
    return [target.user for target in effect.targets]


def test_the_nearest_are_asked_at_once_and_the_next_when_nobody_answers() -> None:
    one = desk(offer_ttl_s=20, offers_parallel=3, responders_level_0=5)
    assert one.asked() == ["tec_00", "tec_01", "tec_02"]
    done = one.run(21)
    assert one.asked() == ["tec_03", "tec_04", "tec_05"], "told already, or not: the next nearest"
    assert rung(done, Reason.OFFERED) == [(20.0, ["tec_03", "tec_04", "tec_05"])]


def test_no_distance_limits_who_is_asked_and_other_cities_are_asked_once_the_level_says_so() -> None:
    far = town(responders=2)
    far.people[UserId("tec_far")] = (SH, LatLng(40.0, 121.47))
    one = desk(far, offer_ttl_s=20, responders_level_0=2, offers_parallel=2)
    assert one.asked() == ["tec_00", "tec_01"]
    one.run(21)
    assert one.asked() == ["tec_far"], "a thousand kilometres away, but of the city"
    asked = {second: one.asked() for second in range(22, 100) if one.run(1) is not None}
    assert not any("tec_bj" in users for second, users in asked.items() if second < 60)
    assert any("tec_bj" in users for users in asked.values())


def test_ops_may_send_somebody_of_another_city_at_any_level() -> None:
    one = desk(town(responders=2))
    one.send("tec_bj")
    assert [slot.user for slot in one.incident.slots] == ["tec_bj"]


def test_a_yes_is_an_acknowledgement_and_stops_the_asking() -> None:
    one = desk(offer_ttl_s=20, responder_slots=1)
    effects = one.go(responder(0))
    incident = one.incident
    assert (incident.state, incident.owner) == (IncidentState.RESPONDING, "tec_00")
    assert [(slot.user, slot.state) for slot in incident.slots] == [("tec_00", SlotState.COMING)]
    assert one.asked() == []
    assert updates(effects) == [Reason.WITHDRAWN, Reason.RESPONDING]
    one.stands(0, 900)
    assert rung(one.run(58), Reason.OFFERED) == []


def test_one_wins_a_slot_and_the_others_are_told_who() -> None:
    one = desk(responder_slots=2)
    one.go(responder(0))
    one.go(responder(1))
    with pytest.raises(SlotTaken) as caught:
        one.go(responder(2))
    assert caught.value.code == "taken"
    assert caught.value.facts == {"taken_by": ["tec_00", "tec_01"]}
    assert len(one.incident.slots) == 2
    one.join(responder(2))


def test_saying_so_again_changes_nothing() -> None:
    one = desk()
    one.go(responder(0))
    before = one.incident
    assert one.go(responder(0)) == []
    assert one.incident == before


def test_whoever_was_told_may_go_though_their_time_to_answer_is_over() -> None:
    one = desk(offer_ttl_s=20, offers_parallel=2)
    one.run(25)
    one.go(responder(0))
    assert one.incident.slot_of(UserId("tec_00")) is not None


def test_an_answer_to_an_old_offer_is_void_and_fences_only_grow() -> None:
    one = desk(offer_ttl_s=20, offers_parallel=2)
    old = next(offer.fence for offer in one.incident.offers if offer.user == "tec_00")
    one.run(61)  # everyone is asked anew with the repeat
    new = next(offer.fence for offer in one.incident.offers if offer.user == "tec_00")
    assert new > old
    with pytest.raises(Conflict) as caught:
        one.go(responder(0), old)
    assert caught.value.code == "old_fence"
    one.go(responder(0), new)
    assert one.incident.slots[0].fence > new


def test_who_declines_is_not_asked_again_and_the_next_is_at_once() -> None:
    one = desk(offers_parallel=1)
    one.decline(responder(0))
    assert one.asked() == ["tec_01"]
    assert one.decline(responder(0)) == []
    one.run(120)
    assert "tec_00" not in one.asked()


def test_who_cannot_go_on_is_let_go_and_everyone_is_rung_again() -> None:
    one = desk(responder_slots=1)
    one.go(responder(0))
    effects = one.decline(responder(0))
    assert (one.incident.state, one.incident.slots, one.incident.level) == (IncidentState.OPEN, (), 1)
    assert [e.reason for e in effects if isinstance(e, NotifyTargets)] == [Reason.DECLINED]


def test_ops_send_somebody_beyond_the_slots_and_they_are_rung() -> None:
    one = desk(responder_slots=1)
    one.go(responder(0))
    effects = one.send("tec_07")
    assert [slot.user for slot in one.incident.slots] == ["tec_00", "tec_07"]
    assert [[t.user for t in e.targets] for e in effects if isinstance(e, NotifyTargets)] == [["tec_07"]]
    assert one.send("tec_07") == []


def test_ops_can_send_nobody_who_may_not_hear_of_it_or_is_no_responder() -> None:
    place = town()
    one = desk(place)
    place.bookings[UserId("cus_anna")] = booked("tec_01")
    one.run(61)
    for nobody in ("tec_01", "cus_anna", "nobody"):
        with pytest.raises(Invalid) as caught:
            one.send(nobody)
        assert caught.value.field == "responder"


def test_only_ops_send_and_only_who_was_told_goes() -> None:
    one = desk()
    with pytest.raises(Forbidden):
        one.send("tec_01", responder(0))
    with pytest.raises(Forbidden):
        one.go(person("ops_new", Role.OPS))
    for stranger in (responder(7), OPS_BJ):
        with pytest.raises(NotFound):
            one.go(stranger)


def test_who_is_there_says_so_under_the_number_of_their_grant() -> None:
    one = desk()
    with pytest.raises(Conflict) as caught:
        one.arrive(responder(0))
    assert caught.value.code == "no_slot"
    one.go(responder(0))
    with pytest.raises(Conflict) as caught:
        one.arrive(responder(0), fence=one.incident.slots[0].fence - 1)
    assert caught.value.code == "old_fence"
    one.stands(0, 50)
    effects = one.arrive(responder(0), fence=one.incident.slots[0].fence)
    assert one.incident.state is IncidentState.ON_SCENE
    assert updates(effects) == [Reason.WITHDRAWN, Reason.ON_SCENE], "those who are not waited for, and all others"
    assert one.arrive(responder(0)) == []
    with pytest.raises(Conflict):
        one.decline(responder(0))


@pytest.mark.parametrize(
    ("metres", "own_m", "place_m", "is_believed"),
    [
        (180, 10, 10, True),
        (260, 10, 10, False),
        (260, 50, 10, True),  # their position may be wrong by so much
        (260, 10, 50, True),
        (599, 50_000, 50_000, True),  # and by no more than that
        (601, 50_000, 50_000, False),
        (260, ACCURACY_M_MAX, ACCURACY_M_MAX, False),  # who says nothing of it gains nothing
    ],
)
def test_the_word_of_a_responder_counts_where_their_position_shows_it(
    metres: float, own_m: float, place_m: float, is_believed: bool
) -> None:
    one = desk(arrival_m=100, arrival_believed_m=200)
    one.go(responder(0))
    one.stands(0, metres, own_m)
    one.place.live[UserId("cus_anna")] = (SH, replace(fix_at(at=one.now), accuracy_m=place_m))
    one.arrive(responder(0))
    assert (one.incident.state is IncidentState.ON_SCENE) is is_believed


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("far", "4.2 km away"),
        ("old", "position unknown"),
        ("none", "position unknown"),
        ("made up", "position unknown"),
        ("nobody knows the place", "position unknown"),
    ],
)
def test_else_it_is_a_claim_that_ops_hear_of_and_confirm_and_every_timer_goes_on(what: str, words: str) -> None:
    one = desk(arrival_fix_s=120, ack_stale_s=3_600, stall_fix_s=600)
    one.go(responder(0))
    one.stands(0, 4_200 if what == "far" else 20)
    user = UserId("tec_00")
    match what:
        case "old":
            one.run(130)
        case "none":
            del one.place.live[user]
        case "made up":
            city, fix = one.place.live[user]
            one.place.live[user] = (city, replace(fix, is_made_up=True))
        case "nobody knows the place":
            one.place.broken.add("last_fix")
    before = one.incident
    effects = one.arrive(responder(0))
    incident = one.incident
    assert (incident.state, incident.stale_at) == (IncidentState.RESPONDING, before.stale_at)
    assert [(e.reason, told(e)) for e in effects if isinstance(e, NotifyTargets)] == [
        (Reason.ARRIVAL_CLAIMED, ["ops_0", "ops_1"])
    ]
    assert updates(effects) == [Reason.ARRIVAL_CLAIMED]
    assert one.engine.take_changes().events[-1].detail == f"says they are there, {words}"
    slot = incident.slots[0]
    assert slot.claimed_at == one.now
    assert (slot.claimed_m is None) is (words == "position unknown")
    assert one.arrive(responder(0)) == [], "said again at once it is no news"
    one.arrive(OPS, "tec_00")
    assert one.incident.state is IncidentState.ON_SCENE
    assert one.incident.slots[0].claimed_at is None


def test_nobody_confirms_their_own_word_ops_or_not() -> None:
    one = desk()
    both = person("tec_00", Role.OPS, Role.RESPONDER)
    one.go(both)
    one.arrive(both, "tec_00")
    assert one.incident.state is IncidentState.RESPONDING


def test_a_claim_whose_position_comes_in_later_is_believed_when_it_is_said_again() -> None:
    one = desk()
    one.go(responder(0))
    one.arrive(responder(0))
    one.stands(0, 40)
    one.arrive(responder(0))
    assert one.incident.state is IncidentState.ON_SCENE


def test_the_booked_address_is_the_place_of_whom_no_position_is_known() -> None:
    place = town()
    place.bookings[UserId("cus_anna")] = booked(None)
    engine = engine_in(place, ladder())
    one = Desk(place, engine, incident_id(tap(engine)))
    one.send("tec_00")
    one.stands(0, 40)
    one.arrive(responder(0))
    assert one.incident.state is IncidentState.ON_SCENE


def test_ops_may_say_it_of_somebody_and_others_may_not() -> None:
    one = desk()
    one.go(responder(0))
    with pytest.raises(Forbidden):
        one.arrive(responder(1), "tec_00")
    one.arrive(OPS, "tec_00")
    assert one.incident.state is IncidentState.ON_SCENE


def test_who_goes_still_goes_when_the_owner_is_forgotten_and_another_takes_it() -> None:
    one = desk(ack_stale_s=30)
    one.ack(OPS)
    one.send("tec_00")
    for _ in range(4):
        one.run(10)
        one.stands(0, 900)
    assert one.incident.owner is None, "the owner went quiet"
    one.ack(OPS)
    assert one.incident.state is IncidentState.RESPONDING


def test_whoever_turns_out_to_be_the_other_party_goes_nowhere_and_owns_nothing() -> None:
    place = town()
    one = desk(place)
    one.go(responder(0))
    place.bookings[UserId("cus_anna")] = booked("tec_00")
    one.do(SosRaised(ANNA, SosReport("k9"), one.now))
    incident = one.incident
    assert (incident.state, incident.owner, incident.slots) == (IncidentState.OPEN, None, ())
    assert "tec_00" not in {t.user for t in incident.targets} | {o.user for o in incident.offers}
