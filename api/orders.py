"""Orders over HTTP: place, read, list, cancel, confirm, rate, step; and for staff why, when and where."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import msgspec

from api.bodies import (
    AddTimeIn,
    AssignIn,
    CancelIn,
    Done,
    Explanation,
    ModeIn,
    OrderIn,
    RatingIn,
    ReassignIn,
    RoundExplained,
    ScheduleIn,
    StepIn,
    TimeAnswerIn,
    Timeline,
    TimelineEntry,
    Track,
    WhatIfIn,
    WhatIfOut,
)
from api.cities import Cities, ShardParts
from api.exchange import Request, Response, answer, check_said
from api.inbound import Inbound
from api.listing import Listing, asked_filter
from api.nearby import CELL_REACH_M
from api.picks import CANDIDATES_MAX, Picks
from api.ports import Looks, Tracks
from api.tracks import track_body
from api.views import TECHNICIAN_STATES, Reader, cancellation_view, is_staff_of, order_view
from core.errors import Forbidden, Invalid, NotFound
from core.ids import CLIENT_KEY_LEN_MAX, CityId, OrderId, UserId
from core.principal import Principal, Role
from dispatch import events
from dispatch.explaining import Explanation as RoundExplanation
from dispatch.model import Fallback, Gender, Mode, Order, OrderState, Site
from dispatch.ports import DispatchStore
from geo.frames import convert_point
from geo.point import Frame, LatLng
from geo.position_index import Flag
from realtime.messages import JobStep, OrderView
from safety.looks import LookKind

_POSITION: Final = frozenset({"lat", "lng"})
"""Facts of a step in an order's history that say where its technician was."""


def no_such_order() -> NotFound:
    """Absent and foreign look the same."""
    return NotFound("there is no such order")


class Orders:
    """Handlers of ``/v1/orders``."""

    def __init__(
        self,
        cities: Cities,
        store: DispatchStore,
        tracks: Tracks,
        inbound: Inbound,
        frame: Frame,
        listing: Listing[Order],
        picks: Picks,
        nearby_radius_m: float,
        looks: Looks,
    ) -> None:
        """Keep what the handlers need; within ``nearby_radius_m`` of an order its customer may have seen cards."""
        self._looks = looks
        self._cities = cities
        self._store = store
        self._tracks = tracks
        self._inbound = inbound
        self._frame = frame
        self._listing = listing
        self._picks = picks
        self._nearby_radius_m = nearby_radius_m

    # -- handlers ---------------------------------------------------------------------------------------

    async def place(self, who: Principal, request: Request) -> Response:
        """POST /v1/orders. A repeat with the same Idempotency-Key answers 200 with the order as it is now."""
        body: OrderIn = request.data
        _check_mode(body)
        key = _idempotency_key(request)
        location = body.location
        raw = LatLng(location.lat, location.lng)
        point = convert_point(raw, Frame(location.crs), self._frame)
        part, district, zone = self._cities.open_city(who.tenant, point)
        customer = _customer(who, body, part.shard.city)
        if body.mode == "manual" and not is_staff_of(who, part.shard.city):
            raise Invalid("mode manual is for staff: nobody is asked in it", code="mode_unsupported", field="mode")
        draft = events.OrderDraft(
            customer=customer,
            service=body.service,
            skills=tuple(sorted(set(body.skills))),
            duration_s=body.duration_s,
            site=Site(point, raw, location.crs, location.address, location.unit, location.entrance_note, district),
            contact_name=body.contact.name,
            contact_phone=body.contact.phone,
            service_fen=body.price.service_fen,
            travel_fen=body.price.travel_fen,
            gender_preference=Gender(body.gender_preference) if body.gender_preference is not None else None,
            mode=Mode(body.mode),
            technician=self._picked(who, body.technician, part, point, request.now),
            fallback=Fallback(body.fallback),
            scheduled_for=body.scheduled_for,
            tier_min=body.tier_min,
            zone=zone,
        )
        fingerprint = hashlib.sha256(msgspec.json.encode(body)).hexdigest() if key else ""
        effects = await part.dispatch.ask(events.OrderPlaced(draft, who.user, key, fingerprint))
        for effect in effects:
            if isinstance(effect, events.OrderRepeated):
                known = effect.order or await self._store.order(who.tenant, effect.order_id)
                if known is None:
                    raise no_such_order()
                return self._answer(known, request.now, _reader(who, known))
            if isinstance(effect, events.OrderChanged):
                order = part.dispatch.order(effect.order.order_id) or effect.order
                return self._answer(order, request.now, _reader(who, order), 201)
        raise AssertionError("an order was placed without an effect")

    async def read(self, who: Principal, request: Request) -> Response:
        """GET /v1/orders/{id}."""
        _, order = await self._visible(who, request.path["id"])
        return self._answer(order, request.now, _reader(who, order))

    async def listing(self, who: Principal, request: Request) -> Response:
        """GET /v1/orders: the caller's own, or for staff those of their cities; newest first."""
        wanted = asked_filter(who, request, OrderState)
        return await self._listing.answer(
            who.tenant, request, wanted, lambda order: self._view(order, _reader(who, order), request.now)
        )

    async def cancel(self, who: Principal, request: Request) -> Response:
        """POST /v1/orders/{id}/cancel."""
        body: CancelIn = request.data
        part, order = await self._own(who, request.path["id"])
        staff = _is_staff(who, order)
        if body.waive_fee and not staff:
            raise Forbidden("only staff may waive a fee")
        await part.dispatch.ask(
            events.OrderCancelled(
                order.order_id, who.user, body.reason, staff=staff, fee_fen_max=body.fee_fen_max, waive=body.waive_fee
            )
        )
        return await self.read(who, request)

    async def cancellation(self, who: Principal, request: Request) -> Response:
        """GET /v1/orders/{id}/cancellation: what ``cancel`` would cost now."""
        part, order = await self._own(who, request.path["id"])
        outcome = part.dispatch.cancellation(order, staff=_is_staff(who, order))
        return answer(cancellation_view(outcome, _reader(who, order)))

    async def add_time(self, who: Principal, request: Request) -> Response:
        """POST /v1/orders/{id}/add-time. A repeat with the same Idempotency-Key adds nothing.

        The technician only asks: the customer hears of it by their stream.
        """
        body: AddTimeIn = request.data
        part, order = await self._visible(who, request.path["id"])
        staff = _is_staff(who, order)
        if body.price_fen is not None and not staff:
            raise Forbidden("only staff may name a price", field="price_fen")
        key = _idempotency_key(request)
        fingerprint = hashlib.sha256(b"add-time" + order.order_id.encode() + msgspec.json.encode(body)).hexdigest()
        added_s = body.minutes * 60.0
        await part.dispatch.ask(
            events.TimeAdded(order.order_id, who.user, added_s, body.price_fen, staff, key, fingerprint)
        )
        return await self.read(who, request)

    async def agree_time(self, who: Principal, request: Request) -> Response:
        """POST /v1/orders/{id}/add-time/agree."""
        return await self._answer_time(who, request, agrees=True)

    async def refuse_time(self, who: Principal, request: Request) -> Response:
        """POST /v1/orders/{id}/add-time/refuse."""
        return await self._answer_time(who, request, agrees=False)

    async def _answer_time(self, who: Principal, request: Request, *, agrees: bool) -> Response:
        body: TimeAnswerIn = request.data
        part, order = await self._own(who, request.path["id"])
        staff = _is_staff(who, order)
        await part.dispatch.ask(events.TimeAnswered(order.order_id, who.user, body.request, agrees, staff))
        return await self.read(who, request)

    async def reschedule(self, who: Principal, request: Request) -> Response:
        """POST /v1/orders/{id}/schedule."""
        body: ScheduleIn = request.data
        part, order = await self._own(who, request.path["id"])
        staff = _is_staff(who, order)
        await part.dispatch.ask(
            events.Rescheduled(order.order_id, who.user, body.scheduled_for, body.reason, staff=staff)
        )
        return await self.read(who, request)

    async def reassign(self, who: Principal, request: Request) -> Response:
        """POST /v1/orders/{id}/reassign. The technician who gives it away cannot read it any more."""
        body: ReassignIn = request.data
        part, order = await self._visible(who, request.path["id"])
        staff = _is_staff(who, order)
        await part.dispatch.ask(events.OrderReassigned(order.order_id, who.user, body.reason, staff=staff))
        return answer(Done({"order": order.order_id}))

    async def assign(self, who: Principal, request: Request) -> Response:
        """POST /v1/orders/{id}/assign: who did it and why is kept in the order's history."""
        body: AssignIn = request.data
        check_said(body.reason, "staff say why they give the order to somebody")
        part, order = await self._visible(who, request.path["id"], _is_ops)
        await part.dispatch.ask(
            events.OrderAssigned(
                order.order_id,
                UserId(body.technician),
                who.user,
                body.reason,
                tuple(dict.fromkeys(body.override)),
                await part.dispatch.recall(order.order_id),
            )
        )
        return await self.read(who, request)

    async def set_mode(self, who: Principal, request: Request) -> Response:
        """POST /v1/orders/{id}/mode."""
        body: ModeIn = request.data
        part, order = await self._visible(who, request.path["id"], _is_staff)
        await part.dispatch.ask(
            events.ModeSet(
                order.order_id,
                Mode(body.mode),
                who.user,
                body.reason,
                UserId(body.technician) if body.technician is not None else None,
                Fallback(body.fallback),
                await part.dispatch.recall(order.order_id),
            )
        )
        return await self.read(who, request)

    async def confirm(self, who: Principal, request: Request) -> Response:
        """POST /v1/orders/{id}/confirm."""
        part, order = await self._own(who, request.path["id"])
        await part.dispatch.ask(events.OrderConfirmed(order.order_id, who.user, staff=_is_staff(who, order)))
        return await self.read(who, request)

    async def rate(self, who: Principal, request: Request) -> Response:
        """POST /v1/orders/{id}/rating."""
        body: RatingIn = request.data
        part, order = await self._own(who, request.path["id"])
        recalled = await part.dispatch.recall(order.order_id)
        staff = _is_staff(who, order)
        await part.dispatch.ask(events.OrderRated(order.order_id, who.user, body.stars, staff=staff, recalled=recalled))
        return answer(Done({"order": order.order_id, "stars": body.stars}))

    async def step(self, who: Principal, request: Request) -> Response:
        """POST /v1/orders/{id}/step: ``job.step`` for phones whose socket cannot live, and for staff in their place."""
        body: StepIn = request.data
        part, order = await self._visible(who, request.path["id"])
        if not (who.holds(Role.TECHNICIAN) and order.technician == who.user) and _is_staff(who, order):
            return await self._override(who, part, order, body)
        message = JobStep(request.path["id"], body.step, body.evidence or None)
        return answer(Done(await self._inbound.ask(who, message, request.now)))

    async def _override(self, who: Principal, part: ShardParts, order: Order, body: StepIn) -> Response:
        """Staff take a step for the technician: nothing is proved, so somebody answers for it by name and reason."""
        check_said(body.reason, "staff say why they take the step")
        step = events.Step(body.step)
        taken = events.StepTaken(order.order_id, who.user, step, body.evidence, staff=True, reason=body.reason)
        await part.dispatch.ask(taken)
        state = OrderState.CANCELLED.value if step is events.Step.NO_SHOW else body.step
        return answer(Done({"order": order.order_id, "state": state}))

    async def explain(self, who: Principal, request: Request) -> Response:
        """GET /v1/orders/{id}/explain: each round that looked at the order, recomputed from what was stored."""
        part, order = await self._visible(who, request.path["id"], _is_ops)
        rounds = await part.dispatch.explain(order.order_id)
        return answer(Explanation(order.order_id, [_explained(found) for found in rounds]))

    async def what_if(self, who: Principal, request: Request) -> Response:
        """POST /v1/orders/{id}/what-if: whom a round would choose for this order alone; nothing is changed."""
        body: WhatIfIn = request.data
        part, order = await self._visible(who, request.path["id"], _is_ops)
        numbers = msgspec.to_builtins(body.policy)
        found = await part.dispatch.what_if(order.order_id, numbers, body.waive)
        return answer(WhatIfOut(order.order_id, _explained(found.as_is), _explained(found.asked)))

    async def timeline(self, who: Principal, request: Request) -> Response:
        """GET /v1/orders/{id}/timeline: positions in it are for whom ``track`` tells, and logged as there."""
        _, order = await self._visible(who, request.path["id"], _is_staff)
        told = await self._store.events(who.tenant, order.order_id)
        hidden = _POSITION
        if _is_ops(who, order):
            hidden = frozenset()
            if any(not _POSITION.isdisjoint(event.detail) for event in told):
                await self._looked(who, order)
        entries = [
            TimelineEntry(
                e.seq,
                e.at,
                e.what,
                e.who,
                e.state.value,
                {name: fact for name, fact in e.detail.items() if name not in hidden},
            )
            for e in told
        ]
        return answer(Timeline(order.order_id, entries))

    async def track(self, who: Principal, request: Request) -> Response:
        """GET /v1/orders/{id}/track: kept positions of the job; who asked is logged."""
        _, order = await self._visible(who, request.path["id"], _is_ops)
        await self._looked(who, order)
        points = await self._tracks.track(who.tenant, order.order_id)
        return answer(Track(self._frame.value, track_body(points)))

    # -- inside -----------------------------------------------------------------------------------------

    async def _looked(self, who: Principal, order: Order) -> None:
        """Remember who reads where the technician was. Raises ``Unavailable``: then nobody reads it."""
        if order.technician is not None:
            await self._looks.kept(who, order.technician, LookKind.TRACK, order.order_id)

    async def _visible(
        self, who: Principal, order_id: str, may: Callable[[Principal, Order], bool] | None = None
    ) -> tuple[ShardParts, Order]:
        """An order that the caller may read, or ``NotFound``.

        ``may`` asks for one capacity: of the roles in one token, each opens only its own doors.
        """
        found = self._cities.order(who.tenant, OrderId(order_id))
        if found is None:
            stored = await self._store.order(who.tenant, OrderId(order_id))
            part = self._cities.get(who.tenant, stored.city) if stored is not None else None
            if stored is None or part is None:
                raise no_such_order()
            found = (part, stored)
        if not (may or _is_reader)(who, found[1]):
            raise no_such_order()
        return found

    async def _own(self, who: Principal, order_id: str) -> tuple[ShardParts, Order]:
        """An order that the caller may act on as its customer or as staff."""
        part, order = await self._visible(who, order_id)
        if not (_is_staff(who, order) or (who.holds(Role.CUSTOMER) and order.customer == who.user)):
            raise no_such_order()
        return part, order

    def _picked(self, who: Principal, named: str | None, part: ShardParts, point: LatLng, now: float) -> UserId | None:
        if named is None:
            return None
        index = part.positions.index
        slots, _ = index.nearest(
            point, CANDIDATES_MAX, require=int(Flag.TECHNICIAN), within_m=self._nearby_radius_m + CELL_REACH_M
        )
        return self._picks.technician(who, named, (index.user(slot) for slot in slots.tolist()), now)

    def _view(self, order: Order, reader: Reader, now: float) -> OrderView:
        part = self._cities.get(order.tenant, order.city)
        technician = None
        rating = None
        shown = TECHNICIAN_STATES | {OrderState.CONFIRMED}
        if part is not None and order.technician is not None and order.state in shown:
            technician = part.dispatch.technician(order.technician)
            rating = part.dispatch.rating(order.technician, now)
        if part is not None:
            order = replace(order, eta_s=part.dispatch.eta_s(order))
        return order_view(order, reader, self._frame, technician, rating)

    def _answer(self, order: Order, now: float, reader: Reader, status: int = 200) -> Response:
        view = self._view(order, reader, now)
        if status == 201:
            return answer(view, 201, location=f"/v1/orders/{order.order_id}")
        return answer(view, status)


def _explained(found: RoundExplanation) -> RoundExplained:
    return msgspec.convert(found, RoundExplained, from_attributes=True)


def _customer(who: Principal, body: OrderIn, city: CityId) -> UserId:
    """Whose order it is. Staff power reaches as far as their cities; beyond them a token is a customer's or none."""
    if is_staff_of(who, city):
        if body.customer is not None:
            return UserId(body.customer)
        if not who.holds(Role.CUSTOMER):
            raise Invalid("is required", field="customer")
    elif not who.holds(Role.CUSTOMER):
        raise Invalid("the token is not good for this city", code="city_not_allowed", field="location")
    elif body.customer is not None and body.customer != who.user:
        raise Forbidden("a customer places orders for themselves only")
    return who.user


def _check_mode(body: OrderIn) -> None:
    if (body.mode == "directed") != (body.technician is not None):
        raise Invalid("is needed for mode directed and for no other", field="technician")


def _idempotency_key(request: Request) -> str:
    key = request.headers.get("idempotency-key", "")
    if len(key) > CLIENT_KEY_LEN_MAX or not key.isprintable():
        raise Invalid(f"at most {CLIENT_KEY_LEN_MAX} printable characters", field="Idempotency-Key")
    return key


def _is_ops(who: Principal, order: Order) -> bool:
    """Ops of the order's city."""
    return who.holds(Role.OPS) and order.city in who.cities


def _is_staff(who: Principal, order: Order) -> bool:
    return is_staff_of(who, order.city)


def _is_reader(who: Principal, order: Order) -> bool:
    return _is_staff(who, order) or who.user in _sides(who, order)


def _sides(who: Principal, order: Order) -> set[UserId]:
    sides = set()
    if who.holds(Role.CUSTOMER):
        sides.add(order.customer)
    if who.holds(Role.TECHNICIAN) and order.technician is not None:
        sides.add(order.technician)
    return sides


def _reader(who: Principal, order: Order) -> Reader:
    if who.order:
        return Reader.LINK
    if _is_staff(who, order):
        return Reader.STAFF
    return Reader.CUSTOMER if who.holds(Role.CUSTOMER) and order.customer == who.user else Reader.TECHNICIAN
