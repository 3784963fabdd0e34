"""Technicians and responders: they drive, answer offers, do the steps of a job, and help.

Every wait and choice is drawn from the agent's own random stream, so a run repeats from its seed.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from doorstep_client.events import (
    CheckinChanged,
    DrillChanged,
    Event,
    IncidentRaised,
    OfferClosed,
    OfferReceived,
    OrderChanged,
    PolicyChanged,
    RequestDone,
    RequestFailed,
    SnapshotReceived,
    SosAcked,
    Welcomed,
)
from doorstep_client.ping_buffer import Fix
from doorstep_client.protocol import ClientProtocol

from sim.agent import Agent, Tally
from sim.motion import Mover, offset

UNPROVED = frozenset({"position_needed", "not_at_place", "dwell_needed", "too_early"})
"""Refusals of a step that a later position or moment cures."""
NEXT_STEP = {
    "assigned": "en_route",
    "en_route": "arrived",
    "arrived": "in_service",
    "in_service": "finished",
    "finished": "departed_safe",
}
"""From an order's state to the technician's next step."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How technicians act. Ranges are uniform, in seconds unless the name says otherwise."""

    accept_probability: float = 0.85
    ignore_probability: float = 0.02
    """Offers neither accepted nor declined: they expire."""
    think_s: tuple[float, float] = (0.5, 3.0)
    set_out_s: tuple[float, float] = (0.5, 2.0)
    drive_speed_mps: float = 12.0
    """Towards a job."""
    settle_s: tuple[float, float] = (0.5, 2.0)
    """Between arriving and starting, and between finishing and leaving."""
    service_s: tuple[float, float] = (5.0, 15.0)
    ask_again_s: float = 2.0
    """At least this long before a step is reported again that was not believed; longer where the refusal says so."""
    ping_interval_s: float | None = None
    """Fixed interval of reports; None follows the server's policy."""
    tap_s: tuple[float, float] = (0.5, 3.0)
    """Until a question whether all is well is answered, and the alarm is tried at the start of duty."""
    noise_m: float = 4.0
    """Standard deviation of a fix on each axis."""


class RovingPhone(Agent):
    """A phone that moves and reports where it is."""

    def __init__(
        self,
        protocol: ClientProtocol,
        rng: np.random.Generator,
        tally: Tally,
        mover: Mover,
        behaviour: Behaviour,
        city: str,
    ) -> None:
        super().__init__(protocol, rng, tally)
        self.mover = mover
        self.city = city
        self._behaviour = behaviour
        self._interval_s = behaviour.ping_interval_s or 5.0
        self._min_distance_m = 0.0
        self._pinging = False

    def handle(self, event: Event, now: float) -> None:
        """Adds: duty at the first welcome, pings from then on, the server's ping policy."""
        super().handle(event, now)
        if isinstance(event, Welcomed) and not self._pinging:
            self._pinging = True
            self.protocol.duty(True, now, self.city)
            # Spread over one interval: thousands of phones that start together do not report together.
            self.later(now + self.between(0, self._interval_s), self._ping)
        elif isinstance(event, PolicyChanged) and self._behaviour.ping_interval_s is None:
            self._interval_s = max(event.interval_s, 0.5)
            self._min_distance_m = event.min_distance_m

    def _ping(self, now: float) -> None:
        self.report(now)
        interval_s = self._interval_s
        speed_mps = self.mover.speed_mps
        if self._min_distance_m and speed_mps:
            interval_s = min(interval_s, max(self._min_distance_m / speed_mps, 1.0))
        self.later(now + interval_s, self._ping)

    def report(self, now: float) -> None:
        """Measure and send one position."""
        lat, lng = self.mover.at(now)
        noise_m = self._behaviour.noise_m
        lat, lng = offset(lat, lng, float(self._rng.normal(0, noise_m)), float(self._rng.normal(0, noise_m)))
        fix = Fix(
            lat=round(lat, 6),
            lng=round(lng, 6),
            fixed_at=now,
            accuracy_m=round(self.between(4, 15), 1),
            speed_mps=round(self.mover.speed_mps, 1),
            heading_deg=round(self.mover.heading_deg, 1) % 360.0,
        )
        self.protocol.send_ping(fix, now)
        self._tally.add("pings")


class TechnicianPhone(RovingPhone):
    """Answers offers and does the jobs."""

    def __init__(
        self,
        protocol: ClientProtocol,
        rng: np.random.Generator,
        tally: Tally,
        mover: Mover,
        behaviour: Behaviour,
        city: str,
    ) -> None:
        super().__init__(protocol, rng, tally, mover, behaviour, city)
        self.order: str | None = None
        self.state = ""
        self._answers: dict[str, tuple[str, float]] = {}
        self._offers: set[str] = set()
        self._booked: dict[str, dict[str, object]] = {}
        """Orders accepted beside the job, which follow it."""
        self._sos_at: dict[str, float] = {}
        self._drills: set[str] = set()

    def handle(self, event: Event, now: float) -> None:
        """Adds: offers, the steps of a job, SOS acknowledgements, check-ins and the drill."""
        super().handle(event, now)
        if isinstance(event, OfferReceived):
            self._consider(event.offer, now)
        elif isinstance(event, OfferClosed):
            self._offers.discard(event.offer)
            self._tally.add(f"offer.{event.reason}")
        elif isinstance(event, OrderChanged):
            self._follow(event.order, event.state, event.body, now)
        elif isinstance(event, SnapshotReceived):
            for body in event.orders:
                self._follow(body["order"], body["state"], body, now)
            for body in event.offers:
                self._consider(body["offer"], now)
        elif isinstance(event, RequestDone | RequestFailed):
            self._answered(event, now)
        elif isinstance(event, SosAcked):
            sent_at = self._sos_at.pop(event.key, None)
            if sent_at is not None and event.durable:
                self._tally.took("sos_ack", now - sent_at)
                self._tally.add("sos_acked")
        elif isinstance(event, CheckinChanged) and event.state == "asked":
            self._tally.add("checkins")
            self.later(now + self.between(*self._behaviour.tap_s), lambda at: self._all_is_well(event.checkin, at))
        elif isinstance(event, DrillChanged) and event.state == "asked" and event.drill not in self._drills:
            self._drills.add(event.drill)
            self._tally.add("drills")
            self.later(now + self.between(*self._behaviour.tap_s), self._try_alarm)

    # -- offers ---------------------------------------------------------------------------------------

    def _consider(self, offer: str, now: float) -> None:
        if offer in self._offers:
            return
        self._offers.add(offer)
        self._tally.add("offers")
        mood = self.between(0, 1)
        if mood < self._behaviour.ignore_probability:
            return
        accepts = mood < self._behaviour.ignore_probability + self._behaviour.accept_probability
        self.later(now + self.between(*self._behaviour.think_s), lambda at: self._answer(offer, accepts, at))

    def _answer(self, offer: str, accepts: bool, now: float) -> None:
        if offer not in self._offers:
            return  # closed while thinking
        self._offers.discard(offer)
        ref = self.protocol.accept(offer, now) if accepts else self.protocol.decline(offer, now, reason="busy")
        self._answers[ref] = ("accept" if accepts else "decline", now)

    def _answered(self, event: RequestDone | RequestFailed, now: float) -> None:
        what, asked_at = self._answers.pop(event.ref, ("", 0.0))
        if not what:
            return
        if what == "drill" and isinstance(event, RequestDone):
            self._tally.took("drill.server", event.result["round_trip_ms"] / 1000.0)
        if isinstance(event, RequestFailed) and event.code in UNPROVED and self.order is not None:
            order, state = self.order, self.state
            wait_s = max(self._behaviour.ask_again_s, float(event.facts.get("retry_in_s", 0.0)))
            self.later(now + wait_s, lambda at: self._step(order, state, at))
        self._tally.took(what, now - asked_at)
        self._tally.add(f"{what}.ok" if isinstance(event, RequestDone) else f"{what}.{event.code}")

    # -- the job --------------------------------------------------------------------------------------

    def _follow(self, order: str, state: str, body: dict[str, object], now: float) -> None:
        self._booked.pop(order, None)
        if self.order is not None and order != self.order:
            if state == "assigned" and "booked_for" in body:
                self._booked[order] = body
            elif state in NEXT_STEP:
                self._tally.add("second_job")  # must never happen: one technician, one job
            return
        if state not in NEXT_STEP:
            if order == self.order:
                self._tally.add(f"job.{state}")
                self.order, self.state = None, ""
                self.mover.send_to(None, now)
                if self._booked:
                    following = next(iter(self._booked))
                    self._follow(following, "assigned", self._booked[following], now)
            return
        if (order, state) == (self.order, self.state):
            return
        self.order, self.state = order, state
        self.later(now + self._wait_for(state, body, now), lambda at: self._step(order, state, at))

    def _wait_for(self, state: str, body: dict[str, object], now: float) -> float:
        behaviour = self._behaviour
        if state == "assigned":
            return self.between(*behaviour.set_out_s)
        if state == "en_route":
            place = body.get("location")
            if isinstance(place, dict) and "lat" in place:
                self.mover.send_to((place["lat"], place["lng"]), now, behaviour.drive_speed_mps)
                return max(self.mover.arrives_at() - now, 0.0) + 1.0
            return 5.0
        if state == "in_service":
            return self.between(*behaviour.service_s)
        return self.between(*behaviour.settle_s)

    def _step(self, order: str, state: str, now: float) -> None:
        if (order, state) != (self.order, self.state):
            return  # cancelled or reassigned meanwhile
        step = NEXT_STEP[state]
        ref = self.protocol.step(order, step, now)
        self._answers[ref] = (f"step.{step}", now)

    # -- help -----------------------------------------------------------------------------------------

    def _all_is_well(self, checkin: str, now: float) -> None:
        self._answers[self.protocol.answer_checkin(checkin, "ok", now)] = ("checkin", now)

    def _try_alarm(self, now: float) -> None:
        self._answers[self.protocol.tap_drill(now)] = ("drill", now)

    def call_for_help(self, now: float) -> str:
        """Tap SOS where it stands; returns the key of the tap."""
        lat, lng = self.mover.at(now)
        fields: dict[str, Any] = {"lat": round(lat, 6), "lng": round(lng, 6), "accuracy_m": 8.0, "fixed_at": now}
        if self.order is not None:
            fields["order"] = self.order
        key = self.protocol.send_sos(now, **fields)
        self._sos_at[key] = now
        self._tally.add("sos_sent")
        return key


class ResponderPhone(RovingPhone):
    """Acknowledges each incident it is told of, and resolves it after a while."""

    def __init__(
        self,
        protocol: ClientProtocol,
        rng: np.random.Generator,
        tally: Tally,
        mover: Mover,
        behaviour: Behaviour,
        city: str,
        *,
        resolve_s: tuple[float, float] = (5.0, 10.0),
    ) -> None:
        super().__init__(protocol, rng, tally, mover, behaviour, city)
        self._resolve_s = resolve_s
        self._seen: set[str] = set()
        self._asked: dict[str, str] = {}

    def handle(self, event: Event, now: float) -> None:
        """Adds: incidents."""
        super().handle(event, now)
        if isinstance(event, IncidentRaised):
            self._tally.add("incidents_told")
            if event.incident not in self._seen and event.state == "open":
                self._seen.add(event.incident)
                self.later(now + self.between(1, 3), lambda at: self._acknowledge(event.incident, at))
        elif isinstance(event, RequestDone) and event.type == "incident.ack":
            incident = self._asked.pop(event.ref, "")
            self._tally.add("incidents_acknowledged")
            self.later(now + self.between(*self._resolve_s), lambda at: self._resolve(incident, at))
        elif isinstance(event, RequestDone) and event.type == "incident.resolve":
            self._tally.add("incidents_resolved")
        elif isinstance(event, RequestFailed):
            self._tally.add(f"{event.type}.{event.code}")

    def _acknowledge(self, incident: str, now: float) -> None:
        self._asked[self.protocol.handle_incident.acknowledge(incident, now)] = incident

    def _resolve(self, incident: str, now: float) -> None:
        self.protocol.handle_incident.resolve(incident, "real_handled", now, note="help arrived")
