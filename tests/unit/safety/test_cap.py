from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety.cap import CapPlace, cap_message
from safety.model import CapStatus, Incident, IncidentEvent, IncidentKind, IncidentState
from tests.cap_rules import broken_rules
from tests.contract.store_values import make_incident, make_incident_event

SENDER = "doorstep.acme"
HERE = CapPlace("1 Secret Road", 22.5431, 114.0579, 16.2)


def raised(**changes: object) -> Incident:
    return replace(make_incident(), state=IncidentState.OPEN, **changes)  # type: ignore[arg-type]


def history(length: int) -> list[IncidentEvent]:
    return [make_incident_event(seq=n) for n in range(1, length + 1)]


def test_an_incident_is_an_alert_then_updates_then_a_cancel_that_refer_to_it() -> None:
    incident = raised()
    alert = cap_message(incident, history(1), SENDER, HERE)
    changed = replace(incident, changed_at=incident.raised_at + 60)
    update = cap_message(changed, history(4), SENDER, HERE)
    ended = replace(changed, state=IncidentState.RESOLVED, disposition="false_accident")
    cancel = cap_message(ended, history(6), SENDER, HERE)
    for text in (alert, update, cancel):
        assert broken_rules(text) == []
    sent = alert.split("<sent>")[1].split("<")[0]
    reference = f"<references>{SENDER},{incident.incident_id}.1,{sent}</references>"
    assert ("<msgType>Alert<" in alert, "<references>" in alert) == (True, False)
    assert ("<msgType>Update<" in update, reference in update, f"{incident.incident_id}.4<" in update) == (True,) * 3
    assert ("<msgType>Cancel<" in cancel, reference in cancel, "<note>false_accident<" in cancel) == (True,) * 3
    assert "<circle>22.543100,114.057900 0.016</circle>" in alert


@pytest.mark.parametrize("status", CapStatus)
def test_a_drill_is_never_taken_for_an_emergency(status: CapStatus) -> None:
    assert f"<status>{status.value.capitalize()}</status>" in cap_message(
        raised(cap_status=status), history(1), SENDER, None
    )


@given(
    note=st.text(max_size=200), what=st.text(max_size=50), kind=st.sampled_from(IncidentKind),
    status=st.sampled_from(CapStatus), state=st.sampled_from(IncidentState), length=st.integers(1, 5),
    lat=st.floats(-90, 90), lng=st.floats(-180, 180), radius=st.none() | st.floats(0, 2e5),
)  # fmt: skip
def test_whatever_an_incident_holds_the_message_keeps_the_rules(
    note: str, what: str, kind: IncidentKind, status: CapStatus, state: IncidentState, length: int, lat: float,
    lng: float, radius: float | None,
) -> None:  # fmt: skip
    incident = replace(raised(note=note, kind=kind, cap_status=status), state=state)
    assert broken_rules(cap_message(incident, history(length), SENDER, CapPlace(what, lat, lng, radius))) == []


@pytest.mark.parametrize("sender", ["", "two words", "a,b", "a<b", "a&b"])
def test_a_sender_that_the_standard_forbids_is_refused(sender: str) -> None:
    with pytest.raises(ValueError, match="sender"):
        cap_message(raised(), history(1), sender, None)


GOOD = cap_message(raised(), history(3), SENDER, HERE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<status>Actual", "<status>actual"),
        ("<scope>Restricted", "<scope>Private"),
        ("-00:00</sent>", "Z</sent>"),
        ("<identifier>", "<identifier>a b"),
        ("<category>Security</category>\n", ""),
        ("<urgency>Immediate</urgency>\n", ""),
        ("<references>", "<references>nobody,"),
        ("<circle>22.5", "<circle>122.5"),
        ("<circle>", "<circle>x"),
        ("<areaDesc>1 Secret Road</areaDesc>\n", ""),
        ("cap:1.2", "cap:1.1"),
        ("</info>", ""),
        ("<certainty>", "<colour>red</colour><certainty>"),
    ],
)
def test_the_rules_bite(old: str, new: str) -> None:
    assert broken_rules(GOOD) == []
    assert old in GOOD
    assert broken_rules(GOOD.replace(old, new)) != []
