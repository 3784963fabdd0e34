"""Where the subject is, from all that is known."""

from dataclasses import replace

from core.ids import UserId
from geo.point import LatLng
from safety.model import FixSource, SosReport
from safety.whereabouts import find_booking, look_around, newest_fix
from tests.unit.safety.neighbourhood import ANNA, BJ, HOME, SH, T0, answer, booked, engine_in, fix_at, tap, town

LIVE = fix_at(LatLng(31.3, 121.5), T0, FixSource.LIVE)


def test_the_taps_own_fix_counts_unless_the_live_one_is_clearly_newer() -> None:
    tapped = fix_at(at=T0 - 20)
    assert newest_fix(tapped, LIVE) is tapped
    assert newest_fix(replace(tapped, fixed_at=T0 - 31), LIVE) is LIVE
    assert newest_fix(None, LIVE) is LIVE
    assert newest_fix(tapped, None) is tapped
    assert newest_fix(None, None) is None


def test_the_city_comes_from_the_best_source_there_is() -> None:
    place = town()
    report = SosReport(key="k", fix=fix_at())
    assert look_around(place, replace(ANNA, cities=frozenset()), report, T0).city == SH
    far = SosReport(key="k", fix=fix_at(LatLng(1.0, 2.0)))
    place.live[ANNA.user] = (BJ, replace(LIVE, fixed_at=T0 - 100))
    assert look_around(place, ANNA, far, T0).city == BJ
    place.live.clear()
    place.bookings[ANNA.user] = replace(booked(), city=BJ)
    assert look_around(place, ANNA, far, T0).city == BJ
    place.bookings.clear()
    assert look_around(place, ANNA, far, T0).city == SH
    assert look_around(place, replace(ANNA, cities=frozenset({SH, BJ})), far, T0).city is None


def test_the_booked_address_is_never_a_fix() -> None:
    place = town()
    place.bookings[ANNA.user] = booked()
    around = look_around(place, ANNA, SosReport(key="k"), T0)
    assert around.fix is None
    assert around.booked is not None
    assert around.booked.point == HOME
    assert around.kept_out == ("tec_00",)


def test_broken_look_ups_are_named_and_survived() -> None:
    place = town()
    place.broken = {"last_fix", "booking", "city_of"}
    around = look_around(place, ANNA, SosReport(key="k", fix=fix_at()), T0)
    assert around.city == SH
    assert around.failures == ("last_fix: RuntimeError", "booking: RuntimeError", "city_of: RuntimeError")


def test_a_booking_is_found_later_too() -> None:
    place, failures = town(), list[str]()
    incident = answer(tap(engine_in(place))).incident
    assert find_booking(place, incident, failures) is None
    place.bookings[UserId("cus_anna")] = booked()
    assert find_booking(place, incident, failures) == booked()
    assert failures == []
