"""What the door promises: nothing in an SOS refuses it (P3), and no position gets in that is none (P15)."""

import json
import math
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from core.ids import CLIENT_KEY_LEN_MAX
from core.units import ACCURACY_M_MAX
from geo.point import Frame
from safety.events import NotifyTargets, SosRaised
from safety.intake import NOTE_LEN_MAX, decode_sos
from safety.model import FixSource, SosReport
from tests.unit.safety.neighbourhood import ACME, ANNA, T0, booked
from tests.unit.safety.promises.history import BREAKABLE, Life, answer_to, often

FIELDS = (
    "key", "lat", "lng", "accuracy_m", "fixed_at", "sent_at", "order", "silent", "battery", "note", "crs",
    "tapped_at", "type", "admin", "level",
)  # fmt: skip
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63),
        st.floats(),
        st.text(max_size=20),
        st.just("x" * 2_000),
        st.sampled_from(["ord_1", "ord_unknown", T0 + 1e6, -1.0, 91.0, 181]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)


def read(fields: object, *, is_json: bool = True, frame: Frame = Frame.WGS84) -> SosReport:
    payload = json.dumps(fields).encode() if is_json else msgspec.msgpack.encode(fields)
    return decode_sos(payload, is_json, T0, frame)


@often(150)
@given(
    st.one_of(
        st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=8).map(lambda f: json.dumps(f).encode()),
        st.binary(max_size=80),
    ),
    st.integers(0, 400),
    st.booleans(),
    st.sets(st.sampled_from(BREAKABLE)),
    st.booleans(),
)
def test_p03_nothing_in_an_sos_and_nothing_around_it_refuses_it(
    payload: bytes, cut: int, is_json: bool, broken: set[str], is_booked: bool
) -> None:
    report = decode_sos(payload[: max(1, len(payload) - cut)] if cut < 100 else payload, is_json, T0, Frame.WGS84)
    assert 0 < len(report.key) <= CLIENT_KEY_LEN_MAX
    assert len(report.note) <= NOTE_LEN_MAX, "cut, and no reason to refuse"
    life = Life()
    life.place.broken |= broken
    if is_booked:
        life.place.bookings[ANNA.user] = booked()
    turn = life.tell(SosRaised(ANNA, report, T0))
    assert turn.refusal is None
    incident = answer_to(turn).incident
    assert life.engine.incident(ACME, incident.incident_id) == incident
    assert incident.is_active
    assert turn.changes.triggers[0].report == report
    assert incident.fix is None or incident.fix == report.fix
    is_blind = {"ops", "responders"} <= broken
    assert is_blind or any(isinstance(effect, NotifyTargets) for effect in turn.effects)


COORDINATES = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=4),
    st.floats(),
    st.integers(-(10**40), 10**40),
    st.floats(-181, 181),
    st.sampled_from([0, -0.0, 90, 90.0001, -180, 180.0001, 1e-9]),
)


@often(200)
@given(
    lat=st.one_of(st.floats(-90, 90), COORDINATES),
    lng=st.one_of(st.floats(-180, 180), COORDINATES),
    accuracy_m=st.one_of(st.floats(0, 99), st.sampled_from([math.nan, math.inf, -1]), COORDINATES),
    fixed_at=st.one_of(COORDINATES, st.floats(0, 4e9)),
    sent_at=st.one_of(COORDINATES, st.floats(0, 4e9)),
    crs=st.sampled_from(["wgs84", "gcj02", "bd09", "mars", 7, None]),
    frame=st.sampled_from(list(Frame)),
)
def test_p15_a_fix_is_finite_in_range_and_tagged_or_there_is_none(frame: Frame, **given_fields: Any) -> None:
    report = read({"key": "k", **given_fields}, is_json=False, frame=frame) if _fits(given_fields) else None
    if report is None:
        return
    fix = report.fix
    lat, lng = given_fields["lat"], given_fields["lng"]
    if type(lat) in (int, float) and type(lng) in (int, float) and lat == 0 and lng == 0:
        assert fix is None, "null island is nowhere"
    if fix is None:
        assert (lat is None and lng is None) or report.ignored, "what was given and is not believed is named"
        return
    # A conversion between frames may step over the pole by what the frames differ.
    assert math.isfinite(fix.point.lat_deg)
    assert math.isfinite(fix.point.lng_deg)
    assert abs(fix.point.lat_deg) <= 90.1
    assert abs(fix.point.lng_deg) <= 180.1
    assert 0 <= fix.accuracy_m <= ACCURACY_M_MAX
    assert fix.source is FixSource.SOS
    # Never in the future, and as old as the phone says at most.
    assert 0 <= fix.fixed_at <= T0
    known = given_fields["accuracy_m"]
    if type(known) not in (int, float) or not 0 <= known <= ACCURACY_M_MAX:
        assert fix.accuracy_m == ACCURACY_M_MAX, "how good it is is not known: as bad as can be"


def _fits(fields: dict[str, Any]) -> bool:
    """Whether MessagePack can say it at all."""
    return all(type(value) is not int or -(2**63) <= value < 2**64 for value in fields.values())
