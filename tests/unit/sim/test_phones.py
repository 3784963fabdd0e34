from typing import Any

import msgspec
import pytest
from doorstep_client.protocol import ClientProtocol
from hypothesis import given
from hypothesis import strategies as st

from sim.agent import Agent, Tally
from sim.clock import python_random, stream_of
from sim.motion import Mover, metres_between, offset
from sim.phones import Behaviour, ResponderPhone, RovingPhone, TechnicianPhone
from sim.watchers import CustomerPhone

NOW = 1_900_000_000.0
HOME = (39.9, 116.4)
WELCOME: dict[str, Any] = {
    "type": "welcome",
    "session": "s",
    "user": "u",
    "role": "technician",
    "restricted": False,
    "heartbeat_s": 30,
    "limits": {"pings_per_s": 50, "ping_batch": 100},
    "streams": {},
}


def in_disc(lat: float, lng: float) -> bool:
    return metres_between(HOME, (lat, lng)) < 3000


class Script:
    """Lets one agent live against hand-written messages."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.now = NOW
        self.seq = 0
        agent.protocol.connected(self.now)
        self.say(**WELCOME)

    def say(self, **body: Any) -> None:
        if body["type"] in ("order", "offer", "offer.closed", "incident"):
            self.seq += 1
            body |= {"stream": "main", "seq": self.seq, "epoch": "e"}
        for event in self.agent.protocol.receive(msgspec.json.encode(body), self.now):
            self.agent.handle(event, self.now)

    def wait(self, seconds: float) -> list[dict[str, Any]]:
        """Lets time pass and returns what the agent said, each request answered with ok."""
        said: list[dict[str, Any]] = []
        until = self.now + seconds
        while True:
            for raw in self.agent.protocol.frames_to_send(self.now):
                frame = msgspec.json.decode(raw)
                said.append(frame)
                if "ref" in frame:
                    result = {"round_trip_ms": 5.0} if frame["type"] == "drill.tap" else None
                    self.say(type="ok", ref=frame["ref"], result=result)
            due = self.agent.next_deadline()
            if due is None or due > until:
                self.now = until
                return said
            self.now = max(due, self.now)
            self.agent.on_deadline(self.now)


def phone(kind: type[RovingPhone] = TechnicianPhone, **behaviour: Any) -> RovingPhone:
    rng = stream_of(1, "test")
    protocol = ClientProtocol(device="d", token="t", rng=python_random(1, "d"))
    return kind(protocol, rng, Tally(), Mover(HOME, in_disc, rng, now=NOW), Behaviour(**behaviour), "beijing")


def kinds(frames: list[dict[str, Any]]) -> list[str]:
    return [f["type"] for f in frames if f["type"] not in ("ping", "pings", "ack", "heartbeat", "hello")]


@given(st.integers(0, 2**31), st.lists(st.floats(0.01, 500), min_size=1, max_size=30))
def test_a_mover_stays_in_the_city_and_keeps_its_speed(seed: int, waits: list[float]) -> None:
    mover = Mover(HOME, in_disc, stream_of(seed), now=0.0)
    now, before = 0.0, HOME
    for wait_s in waits:
        now += wait_s
        here = mover.at(now)
        assert in_disc(*here)
        assert metres_between(before, here) <= 10.0 * wait_s + 1.0
        before = here


def test_a_mover_reaches_where_it_is_sent_and_stays() -> None:
    mover = Mover(HOME, in_disc, stream_of(3), now=0.0)
    target = offset(*HOME, 300.0, 400.0)
    mover.send_to(target, 0.0, speed_mps=10.0)
    assert mover.arrives_at() == pytest.approx(50.0, rel=0.01)
    assert metres_between(mover.at(25.0), target) == pytest.approx(250.0, rel=0.02)
    assert mover.at(1000.0) == target


def test_a_phone_goes_on_duty_and_reports_at_the_interval_it_is_told() -> None:
    script = Script(phone())
    said = script.wait(20.0)
    assert kinds(said) == ["duty"]
    assert 4 <= sum(f["type"] == "ping" for f in said) <= 5
    script.say(type="ping_policy", interval_s=2, min_distance_m=0, accuracy="best", reason="job")
    script.wait(5.0)
    assert sum(f["type"] == "ping" for f in script.wait(20.0)) == 10


def test_a_technician_takes_an_offer_and_does_every_step_of_the_job() -> None:
    agent = phone(accept_probability=1.0, ignore_probability=0.0)
    assert isinstance(agent, TechnicianPhone)
    script = Script(agent)
    script.wait(1.0)
    script.say(type="offer", offer="ofr_1", order="ord_1", remaining_ms=15000)
    assert kinds(script.wait(5.0)) == ["offer.accept"]
    steps = []
    place = dict(zip(("lat", "lng"), offset(*HOME, 100.0, 0.0), strict=True))
    for state in ("assigned", "en_route", "arrived", "in_service", "finished", "departed_safe"):
        script.say(type="order", order="ord_1", state=state, location=place)
        steps += [f["step"] for f in script.wait(300.0) if f["type"] == "job.step"]
    assert steps == ["en_route", "arrived", "in_service", "finished", "departed_safe"]
    assert agent.order is None
    assert metres_between(agent.mover.at(script.now), (place["lat"], place["lng"])) > 1.0


def test_a_closed_offer_is_not_answered_and_a_cancelled_job_is_dropped() -> None:
    agent = phone(accept_probability=1.0, ignore_probability=0.0)
    assert isinstance(agent, TechnicianPhone)
    script = Script(agent)
    script.wait(1.0)
    script.say(type="offer", offer="ofr_1", order="ord_1", remaining_ms=15000)
    script.say(type="offer.closed", offer="ofr_1", reason="revoked")
    assert kinds(script.wait(10.0)) == []
    script.say(type="order", order="ord_2", state="assigned")
    script.say(type="order", order="ord_2", state="cancelled")
    assert kinds(script.wait(60.0)) == []


def test_a_responder_acknowledges_and_resolves_each_incident_once() -> None:
    script = Script(phone(ResponderPhone))
    script.wait(1.0)
    for _ in range(2):
        script.say(type="incident", incident="inc_1", state="open")
    assert kinds(script.wait(60.0)) == ["incident.ack", "incident.resolve"]


def test_a_customer_watches_only_while_that_is_allowed() -> None:
    protocol = ClientProtocol(device="d", token="t", rng=python_random(1, "d"))
    customer = CustomerPhone(protocol, stream_of(1), Tally())
    script = Script(customer)
    customer.placed("ord_1", script.now)
    for state in ("placed", "matching", "assigned"):
        script.say(type="order", order="ord_1", state=state)
    assert kinds(script.wait(1.0)) == []
    script.say(type="order", order="ord_1", state="en_route")
    script.say(type="order", order="ord_1", state="arrived")
    assert kinds(script.wait(1.0)) == ["watch"]


def test_a_technician_tries_the_alarm_once_and_answers_that_all_is_well() -> None:
    script = Script(phone())
    drill = {"drill": "drl_1", "state": "asked", "asked_at": NOW, "until": NOW + 300}
    script.say(type="drill", **drill)
    script.say(type="drill", **drill)
    script.say(type="checkin", checkin="chk_1", order="ord_1", kind="stop", state="reminded", at=NOW)
    script.say(type="checkin", checkin="chk_1", order="ord_1", kind="stop", state="asked", at=NOW)
    said = [frame for frame in script.wait(10.0) if frame["type"] in ("drill.tap", "checkin.answer")]
    assert kinds(said).count("drill.tap") == 1
    (answer,) = [frame for frame in said if frame["type"] == "checkin.answer"]
    assert (answer["checkin"], answer["answer"]) == ("chk_1", "ok")
