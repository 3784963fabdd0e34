"""Crowds: what many incidents at once, or many of one person, mean for those who are called outside the hub."""

from collections import defaultdict
from dataclasses import replace

import pytest

from core.ids import IncidentId
from safety.events import IncidentAcknowledged, IncidentResolved
from safety.pages import Channel
from tests.unit.safety.calls import REACH, Calls
from tests.unit.safety.neighbourhood import OPS

CROWD = 1_000


@pytest.mark.slow
def test_row_64_a_thousand_at_once_are_told_to_everybody_and_to_nobody_too_often() -> None:
    calls = Calls(online={"ops_0"}, reach=replace(REACH, robots={"hq": REACH.robots["hq"]}))
    incidents = [calls.sos(f"cus_{n:04d}") for n in range(CROWD)]
    wanted = {incident.incident_id: {target.user for target in incident.targets} for incident in incidents}
    calls.run(29)  # before the next level
    told: dict[str, set[IncidentId]] = defaultdict(set)
    texts: dict[str, int] = defaultdict(int)
    for _, effect in calls.sent:
        recipient = effect.pages[0].recipient
        told[recipient] |= {incident.incident_id for incident in effect.incidents}
        texts[recipient] += effect.channel is Channel.SMS
    everything = {incident.incident_id for incident in incidents}
    assert told["robot:hq"] == everything
    for user in set().union(*wanted.values()):
        theirs = {incident_id for incident_id, users in wanted.items() if user in users}
        assert told[f"person:{user}"] == theirs  # none is starved
        assert texts[f"person:{user}"] <= 6  # and no phone rings a thousand times
    # Not one of them waits longer for the robot than for its next message.
    first: dict[IncidentId, float] = {}
    for at, effect in calls.sent:
        if effect.pages[0].recipient == "robot:hq":
            for incident in effect.incidents:
                first.setdefault(incident.incident_id, at - incident.raised_at)
    assert max(first.values()) <= 4.1


def test_row_65_needless_alarms_of_one_person_ring_less_and_are_never_refused_or_hidden() -> None:
    calls = Calls(online={"ops_0"})
    began = calls.now
    rings = 0
    for n in range(40):
        before = len(calls.sent)
        incident = calls.sos("cus_wolf", key=f"tap {n}")
        assert incident.is_active  # stored and shown, each of them
        calls.run(11)
        rings += any(effect.channel is Channel.SMS for _, effect in calls.sent[before:])
        told = {i.incident_id for _, effect in calls.sent[before:] for i in effect.incidents}
        assert incident.incident_id in told
        calls.tell(IncidentAcknowledged(OPS, incident.incident_id))
        calls.tell(IncidentResolved(OPS, incident.incident_id, "false_test"))
    minutes = (calls.now - began) / 60
    texts = [at for at, effect in calls.sent if effect.pages[0].recipient == "person:tec_00"]
    by_sms = [e for _, e in calls.sent if e.channel is Channel.SMS and e.pages[0].recipient == "person:tec_00"]
    assert texts
    assert len(by_sms) <= 3 + 6 * minutes + 1
    assert rings > 0
