"""What clients say, to the domains: commands of hub and HTTP become events. Implements ``realtime.ports.Inbound``."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from api.cancels import Cancels
from api.cities import Cities, ShardParts
from api.incident_words import handled, reply_of
from api.plain_text import refuse_control_characters
from api.ports import Presence
from api.turns import Turns
from core.errors import DoorstepError, Forbidden, Invalid, NotFound, Unavailable
from core.ids import INCIDENT_PREFIX, OFFER_PREFIX, CityId, IncidentId, OfferId, OrderId, TenantId, UserId
from core.principal import Principal, Role
from dispatch import events
from dispatch.errors import conflict
from dispatch.model import DutyState, OrderState
from geo.point import Frame
from realtime import messages
from realtime.messages import Command
from realtime.ports import Reply, SendDirect
from safety import events as safety_events
from safety.care_model import Answer
from safety.care_service import CareService, ServiceEffect
from safety.drills import ShowDrill
from safety.intake import decode_sos
from safety.model import TriggerSource
from safety.service import SafetyService

_log = logging.getLogger(__name__)
Result = Callable[[Sequence[Any]], dict[str, object] | None]


class Inbound:
    """Turns messages into events of the right city's dispatch, or of safety."""

    def __init__(
        self,
        cities: Cities,
        safety: SafetyService,
        cancels: Cancels,
        care: CareService,
        presence: Presence,
        frame: Frame,
    ) -> None:
        """Keep the domains to hand things to."""
        self._cities = cities
        self._safety = safety
        self._care = care
        self._cancels = cancels
        self._presence = presence
        self._frame = frame
        self.turns: Turns[tuple[TenantId, UserId]] = Turns()
        """Changes of a technician's record and duty. Each city's engine sees only its own, so two cities could both
        say yes: one change is committed, and known in every city, before the next is decided."""

    # -- realtime.ports.Inbound -------------------------------------------------------------------------

    def command(self, who: Principal, message: Command, now: float, reply: Reply) -> None:
        """Hand a request to its domain; ``reply`` is called exactly once, after the commit."""
        try:
            if who.restricted and not isinstance(message, messages.CheckinAnswer):
                raise Forbidden("the token has expired; only SOS still works", code="token_restricted")
            refuse_control_characters(message)
            self._dispatch(who, message, now, reply)
        except DoorstepError as error:
            reply(error)

    def sos(
        self,
        who: Principal,
        payload: bytes,
        *,
        is_json: bool,
        crs: Frame = Frame.WGS84,
        now: float,
        send: SendDirect,
        reply: Reply,
        source: TriggerSource = TriggerSource.HUB,
    ) -> None:
        """Hand over the raw frame of an SOS."""
        report = decode_sos(payload, is_json, now, self._frame, default_crs=crs)
        try:
            self._safety.raise_sos(who, report, now, send, reply, source=source)
        except DoorstepError as error:
            reply(error)

    def receipt(self, tenant: TenantId, recipient: UserId, receipt: str, now: float) -> None:
        """A device acknowledged an offer or an incident."""
        try:
            if receipt.startswith(OFFER_PREFIX):
                found = self._cities.offer(tenant, OfferId(receipt))
                if found is not None:
                    found[0].dispatch.post(events.OfferReceived(OfferId(receipt), recipient))
            elif receipt.startswith(INCIDENT_PREFIX):
                self._safety.post(safety_events.DeliveryReceived(tenant, recipient, IncidentId(receipt)))
        except DoorstepError as error:
            # Receipts come again with the next session; without one the message is repeated.
            _log.warning("a receipt was not taken", extra={"code": error.code})

    def opened(self, who: Principal, now: float) -> None:
        """A session began: what its token says of roles takes effect."""
        self._presence.opened(who)
        self._tell_of_phone(who, events.PhoneFound(who.user))

    def closed(self, who: Principal, now: float, *, lost: bool) -> None:
        """A session ended: duty stays, the last position ages by itself; an open offer may not wait for them."""
        if lost:
            self._tell_of_phone(who, events.PhoneLost(who.user))

    def _tell_of_phone(self, who: Principal, event: events.PhoneFound | events.PhoneLost) -> None:
        shard = self._presence.shard_of(who.tenant, who.user)
        part = self._cities.get(shard.tenant, shard.city) if shard is not None else None
        if part is None or part.dispatch.live_offer(who.user) is None:
            return  # of no matter to anybody else: nearly all sessions
        try:
            part.dispatch.post(event)
        except DoorstepError as error:
            # The offer then ends by its own deadline.
            _log.warning("a phone's coming or going was not taken", extra={"code": error.code})

    # -- for HTTP ---------------------------------------------------------------------------------------

    async def ask(self, who: Principal, message: Command, now: float) -> dict[str, object]:
        """``command`` for callers that wait. Raises what it was refused with."""
        return await _answered(lambda reply: self.command(who, message, now, reply))

    async def ask_duty(self, who: Principal, technician: UserId, on: bool, city: CityId | None) -> dict[str, object]:
        """Set a technician's duty for staff, who must have been checked. Raises what it was refused with."""
        return await _answered(lambda reply: self.set_duty(who.tenant, technician, on, city, reply, allowed=who.cities))

    # -- one command after the other --------------------------------------------------------------------

    def _dispatch(self, who: Principal, message: Command, now: float, reply: Reply) -> None:
        match message:
            case messages.SosCancel(incident=incident, pin=pin):
                self._cancels.ask(who, incident, pin, now, reply)
            case messages.OfferAccept(offer=offer):
                part = self._offer(who, offer)
                accepted = events.OfferAccepted(OfferId(offer), who.user)
                _post(part, accepted, reply, lambda effects: _offer_result(offer, "accepted", part))
            case messages.OfferDecline(offer=offer, reason=reason):
                part = self._offer(who, offer)
                declined = events.OfferDeclined(OfferId(offer), who.user, reason)
                _post(part, declined, reply, lambda effects: _offer_result(offer, "declined", part))
            case messages.JobStep(order=order, step=step, evidence=evidence):
                part = self._job(who, order)
                taken = events.StepTaken(OrderId(order), who.user, events.Step(step), evidence or "")
                state = OrderState.CANCELLED.value if step == "no_show" else step
                _post(part, taken, reply, lambda effects: {"order": order, "state": state})
            case messages.Duty(on=on, city=city):
                self._duty(who, on, CityId(city) if city is not None else None, reply)
            case messages.CheckinAnswer(checkin=checkin, answer=answer):
                self._answer_checkin(who, checkin, answer, reply)
            case messages.DrillTap():
                _require(who, Role.TECHNICIAN, Role.RESPONDER)
                shard = self._presence.shard_of(who.tenant, who.user)
                city = shard.city if shard is not None else min(who.cities, default=CityId(""))
                self._care.drill(who, city, lambda outcome: reply(_drill_result(outcome)))
            case _:
                self._handle_incident(who, message, reply)

    def _handle_incident(self, who: Principal, message: messages.IncidentCommand, reply: Reply) -> None:
        """Of all who are no customers: whoever consented to help has no other role than their own."""
        _require(who, Role.OPS, Role.RESPONDER, Role.TECHNICIAN)
        incident_id = message.incident

        def done(outcome: Sequence[safety_events.Effect] | DoorstepError) -> None:
            if isinstance(outcome, DoorstepError):
                reply(outcome)
            else:
                reply(reply_of(self._safety.incident(who.tenant, IncidentId(incident_id)), who, incident_id))

        self._safety.post(handled(who, message), done)

    def _answer_checkin(self, who: Principal, checkin: str, answer: str, reply: Reply) -> None:
        """One reply for all answers: whoever looks on must not see which it was."""

        def done(outcome: object) -> None:
            reply(outcome if isinstance(outcome, DoorstepError) else {"checkin": checkin, "state": "answered"})

        role = Role.TECHNICIAN if who.holds(Role.TECHNICIAN) else who.role
        self._care.answer(who.tenant, who.user, role, checkin, Answer(answer), done)

    def _offer(self, who: Principal, offer: str) -> ShardParts:
        _require(who, Role.TECHNICIAN)
        found = self._cities.offer(who.tenant, OfferId(offer))
        if found is None or found[1].technician != who.user:
            raise NotFound("there is no such offer")
        return found[0]

    def _job(self, who: Principal, order: str) -> ShardParts:
        _require(who, Role.TECHNICIAN)
        found = self._cities.order(who.tenant, OrderId(order))
        if found is None or found[1].technician != who.user:
            raise NotFound("there is no such order")
        return found[0]

    def _duty(self, who: Principal, on: bool, city: CityId | None, reply: Reply) -> None:
        _require(who, Role.TECHNICIAN, Role.RESPONDER)
        begins = on and self._presence.shard_of(who.tenant, who.user) is None
        if begins and self._care.needs_drill(who.tenant, who.user):
            raise conflict("drill_needed", "try the alarm first: it must come through before you go on duty")
        if who.holds(Role.TECHNICIAN):
            self.set_duty(who.tenant, who.user, on, city, reply, allowed=who.cities)
            return
        current = self._presence.shard_of(who.tenant, who.user)
        part = self._duty_city(who.tenant, city or (current.city if current else None), sorted(who.cities))
        if who.cities and part.shard.city not in who.cities:
            raise Invalid("your token is not good for this city", code="city_not_allowed", field="city")
        self._presence.responder_on_duty(who.tenant, who.user, part.shard if on else None)
        reply({"duty": "on" if on else "off", "city": part.shard.city})

    def set_duty(
        self,
        tenant: TenantId,
        technician: UserId,
        on: bool,
        city: CityId | None,
        reply: Reply,
        *,
        allowed: frozenset[CityId] = frozenset(),
    ) -> None:
        """Change a technician's duty, for themselves or (checked by the caller) by staff.

        Args:
            city: None for the city they are on duty in, or their only one.
            reply: Gets ``NotFound`` for no such technician or city, ``Invalid`` when the city must be named or is
                not allowed, ``Conflict`` for what duty itself refuses.
            allowed: Cities the speaker may act in; empty for any.
        """
        key = (tenant, technician)

        def ended(outcome: dict[str, object] | DoorstepError | None) -> None:
            try:
                reply(outcome)
            finally:
                self.turns.end(key)

        def start() -> None:
            try:
                self._set_duty(tenant, technician, on, city, ended, allowed)
            except DoorstepError as error:
                ended(error)

        try:
            self.turns.take(key, start)
        except Unavailable as error:
            reply(error)

    def _set_duty(
        self,
        tenant: TenantId,
        technician: UserId,
        on: bool,
        city: CityId | None,
        reply: Reply,
        allowed: frozenset[CityId],
    ) -> None:
        found = self._cities.technician(tenant, technician)
        if found is None:
            raise NotFound("there is no such technician")
        record = found[1]
        part = self._duty_city(tenant, city or record.duty_city, list(record.cities))
        if allowed and part.shard.city not in allowed:
            raise Invalid("the token is not good for this city", code="city_not_allowed", field="city")
        if record.duty_city is not None and record.duty_city != part.shard.city:
            raise conflict("on_duty_elsewhere", f"on duty in {record.duty_city}")
        duty = DutyState.ON if on else DutyState.OFF

        def result(effects: object) -> dict[str, object]:
            known = part.dispatch.technician(technician)  # who leaves in a job is not off duty yet
            return {"duty": (duty if known is None else known.duty).value, "city": part.shard.city}

        _post(part, events.DutySet(technician, duty), reply, result)

    def _duty_city(self, tenant: TenantId, city: CityId | None, choices: Sequence[CityId]) -> ShardParts:
        if city is None:
            if len(choices) != 1:
                raise Invalid("name the city: there are several", field="city")
            city = choices[0]
        return self._cities.require(tenant, city)


async def _answered(start: Callable[[Reply], None]) -> dict[str, object]:
    answered: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()

    def reply(outcome: dict[str, object] | DoorstepError | None) -> None:
        if answered.done():
            return  # the caller went away
        if isinstance(outcome, DoorstepError):
            answered.set_exception(outcome)
        else:
            answered.set_result(outcome or {})

    start(reply)
    return await answered


def _require(who: Principal, *roles: Role) -> None:
    if not who.holds(*roles):
        raise Forbidden("your role may not do this")


def _post(part: ShardParts, event: events.DispatchEvent, reply: Reply, result: Result) -> None:
    def done(outcome: Sequence[events.Effect] | DoorstepError) -> None:
        reply(outcome if isinstance(outcome, DoorstepError) else result(outcome))

    part.dispatch.post(event, done)


def _offer_result(offer: str, state: str, part: ShardParts) -> dict[str, object]:
    known = part.dispatch.offer(OfferId(offer))
    result: dict[str, object] = {"offer": offer, "state": state}
    if known is not None:
        result["order"] = known.order_id
    return result


def _drill_result(outcome: Sequence[ServiceEffect] | DoorstepError) -> dict[str, object] | DoorstepError:
    if isinstance(outcome, DoorstepError):
        return outcome
    drill = next(effect.drill for effect in outcome if isinstance(effect, ShowDrill))
    return {"drill": drill.drill_id, "state": drill.state.value, "round_trip_ms": drill.round_trip_ms}
