"""What the engine sees of jobs under way: proof of steps, the fence around the place, news of coming nearer.

The position index is looked at when a technician reports a step, and in between every second or so. So the path of
pings knows nothing of orders.
"""

from dataclasses import replace
from math import ceil, isnan
from typing import Any, Final

from core.ids import OrderId
from dispatch import arrival
from dispatch import events as e
from dispatch.arrival import Fence, Sighting
from dispatch.book import Book
from dispatch.deadlines import Deadlines, Due
from dispatch.errors import conflict
from dispatch.events import Effect, News, Step
from dispatch.model import Order, OrderState
from dispatch.places import Places
from dispatch.ports import TravelRate
from dispatch.settings import DepartureProof, DispatchSettings
from geo.distance import distance_m
from geo.point import LatLng

WATCHED: Final = frozenset({OrderState.EN_ROUTE, OrderState.ARRIVED, OrderState.IN_SERVICE, OrderState.FINISHED})
"""States in which it matters whether the technician is at the place."""

_LOOK_S: Final = 1.0
"""Between two looks at somebody on the way, or about to cross the fence."""
_LOOK_THERE_S: Final = 3.0
"""Between two looks at somebody who has arrived."""
_LOOK_GRID_S: Final = 0.5
"""Looks fall on this grid, so that those of many jobs share a turn."""


class JobWatch:
    """Watches the technicians of jobs. Fences are in memory only: after a restart a dwell begins again."""

    def __init__(
        self, book: Book, deadlines: Deadlines, places: Places, travel: TravelRate, settings: DispatchSettings
    ) -> None:
        self._book = book
        self._deadlines = deadlines
        self._places = places
        self._travel = travel
        self._settings = settings
        self._fences: dict[OrderId, Fence] = {}

    # -- watching -------------------------------------------------------------------------------------------

    def arm(self, order: Order) -> None:
        """Watch the order, or stop, as its state says; and the end of its technician's wait."""
        id_ = order.order_id
        if order.state is OrderState.ARRIVED and order.waits_until is not None and not order.wait_over_told:
            self._deadlines.set(order.waits_until, Due.WAIT_OVER, id_)
        else:
            self._deadlines.drop(Due.WAIT_OVER, id_)
        if order.state not in WATCHED:
            self._deadlines.drop(Due.LOOK, id_)
            self._fences.pop(id_, None)
        elif not self._deadlines.has(Due.LOOK, id_):
            self._deadlines.set(order.changed_at + _LOOK_S, Due.LOOK, id_)

    def wait_over(self, id_: str, now: float) -> list[Effect]:
        """The deadline: the technician need not wait any longer for an absent customer."""
        order = self._book.put_order(replace(self._book.orders[OrderId(id_)], wait_over_told=True))
        self._book.note(order, now, News.WAIT_OVER, "system")
        return [e.JobNews(order, News.WAIT_OVER, now)]

    def look(self, id_: str, now: float) -> list[Effect]:
        """The deadline: see where the technician is, and look again soon."""
        order = self._book.orders[OrderId(id_)]
        order, effects = self.take_in(order, now)
        is_moving = order.state is OrderState.EN_ROUTE or self._fence(order).crossing_since is not None
        wait_s = _LOOK_S if is_moving else _LOOK_THERE_S
        self._deadlines.set(ceil((now + wait_s) / _LOOK_GRID_S) * _LOOK_GRID_S, Due.LOOK, id_)
        return effects

    def take_in(self, order: Order, now: float) -> tuple[Order, list[Effect]]:
        """Judge the newest position of the order's technician."""
        seen = self.sighting(order, now)
        if seen is None or order.state not in WATCHED:
            return order, []
        before = self._fence(order)
        fence = self._fences[order.order_id] = arrival.judge(before, seen, self._settings.arrival)
        effects: list[Effect] = []
        if fence.is_inside != before.is_inside:
            news = News.AT_PLACE if fence.is_inside else News.LEFT_PLACE
            order = self._book.put_order(replace(order, at_place_since=seen.seen_at if fence.is_inside else None))
            effects.append(self._tell(order, news, seen, now))
        stage_m = None
        if order.state is OrderState.EN_ROUTE and not seen.is_mock:
            stage_m = arrival.stage_reached(seen.distance_m, order.near_told_m, self._settings.arrival.near_m)
        if stage_m is not None:
            order = self._book.put_order(replace(order, near_told_m=stage_m))
            effects.append(self._tell(order, News.NEAR, seen, now, within_m=stage_m))
        return order, effects

    def _tell(self, order: Order, news: News, seen: Sighting, now: float, within_m: float | None = None) -> Effect:
        detail: dict[str, Any] = _facts(seen, now) if within_m is None else {"within_m": within_m}
        self._book.note(order, now, news, "system", **detail)
        eta_s = self.eta_s(order, now) if news is News.NEAR else None
        return e.JobNews(order, news, now, within_m=within_m, eta_s=eta_s)

    def _fence(self, order: Order) -> Fence:
        known = self._fences.get(order.order_id)
        return known if known is not None else Fence(is_inside=order.at_place_since is not None)

    # -- what is known now ----------------------------------------------------------------------------------

    def sighting(self, order: Order, now: float) -> Sighting | None:
        """Where the order's technician is, if that is known well and lately enough to be evidence."""
        slot = self._places.slot(order.technician) if order.technician is not None else None
        if slot is None:
            return None
        index, settings = self._places.index, self._settings
        lat, lng = float(index.lat[slot]), float(index.lng[slot])
        seen_at, accuracy_m = float(index.seen_at[slot]), float(index.accuracy_m[slot])
        is_lost = isnan(lat) or now - seen_at > settings.position_fresh_s
        if is_lost or accuracy_m > settings.arrival.accuracy_m_max:  # an unknown accuracy is NaN and passes
            return None
        point = LatLng(lat, lng)
        known_m = None if isnan(accuracy_m) else accuracy_m
        is_mock = seen_at <= float(index.mocked_at[slot])
        return Sighting(point, seen_at, distance_m(point, order.site.point), known_m, is_mock)

    def eta_s(self, order: Order, now: float) -> float | None:
        """Seconds until the technician is there: by the newest position once they are on the way."""
        return self.travel_s(order, now) if order.state is OrderState.EN_ROUTE else order.eta_s

    def travel_s(self, order: Order, now: float) -> float | None:
        """Seconds from the newest position; the order's own estimate without one."""
        seen = self.sighting(order, now)
        if seen is None:
            return order.eta_s
        return self._travel.between_s(seen.point, order.site.point, now)

    def way_m(self, order: Order, now: float) -> float | None:
        """Great-circle metres from the newest position; what the order knows of it without one."""
        seen = self.sighting(order, now)
        return order.way_m if seen is None else seen.distance_m

    # -- proof ----------------------------------------------------------------------------------------------

    def check_step(self, order: Order, event: e.StepTaken, now: float) -> None:
        """Refuse a step that is not believed; what staff say is.

        Raises:
            Conflict: ``position_needed``, ``not_at_place``, ``dwell_needed`` or ``photo_needed``: what is missing.
        """
        if event.staff:
            return
        settings = self._settings.arrival
        seen = self.sighting(order, now)
        is_known = seen is not None and not seen.is_mock
        if event.step is Step.EN_ROUTE and settings.en_route_proof is DepartureProof.POSITION and not is_known:
            raise arrival.no_position(settings, is_mock=seen is not None)
        if event.step is Step.ARRIVED:
            fence = self._judged(order, seen)
            refusal = arrival.refuse_arrival(settings.arrived_proof, event.evidence, fence, seen, settings)
            if refusal is not None:
                raise refusal

    def take_step(self, order: Order, event: e.StepTaken, now: float) -> tuple[Order, list[Effect], dict[str, Any]]:
        """Look before a step: the order and the news after it, and what the history keeps of the step."""
        order, effects = self.take_in(order, now)
        seen = self.sighting(order, now)
        detail = _detail(event, seen, now)
        settings = self._settings.arrival
        if (
            event.step is Step.ARRIVED
            and not event.staff
            and arrival.rests_on_photo(settings.arrived_proof, event.evidence)
        ):
            is_far = seen is not None and seen.distance_m > settings.leave_m
            if seen is not None and is_far:
                far_m = round(seen.distance_m, 1)
                detail["far_m"] = far_m
                effects = [*effects, e.JobNews(order, News.FAR_PHOTO, now, far_m=far_m)]
        return order, effects, detail

    def proof_of_waiting(self, order: Order, event: e.StepTaken, now: float) -> dict[str, Any]:
        """Facts of a technician who gives up waiting for the customer, for the history.

        Raises:
            Conflict: ``no_show_too_early``; ``position_needed``, ``not_at_place`` or ``dwell_needed`` unless a live
                position has them at the place.
        """
        seen = self.sighting(order, now)
        if event.staff:
            return _detail(event, seen, now)
        settings = self._settings.arrival
        left_s = (order.waits_until or arrival.waits_until(order, order.changed_at, settings)) - now
        if left_s > 0.0:
            raise conflict("no_show_too_early", f"the customer is waited for: repeat in {ceil(left_s)} s")
        refusal = arrival.refuse_no_show(self._judged(order, seen), seen, settings)
        if refusal is not None:
            raise refusal
        return _detail(event, seen, now)

    def _judged(self, order: Order, seen: Sighting | None) -> Fence:
        """The fence as the newest position has it, taken in or not."""
        fence = self._fence(order)
        return fence if seen is None else arrival.judge(fence, seen, self._settings.arrival)


def _detail(event: e.StepTaken, seen: Sighting | None, now: float) -> dict[str, Any]:
    facts = {} if seen is None else _facts(seen, now)
    said = {"evidence": event.evidence, "said": event.reason if event.staff else ""}
    return facts | {name: text for name, text in said.items() if text}


def _facts(seen: Sighting, now: float) -> dict[str, Any]:
    """A position as it stands in an order's history."""
    facts: dict[str, Any] = {
        "lat": round(seen.point.lat_deg, 6),
        "lng": round(seen.point.lng_deg, 6),
        "distance_m": round(seen.distance_m, 1),
        "age_s": round(now - seen.seen_at, 1),
    }
    if seen.is_mock:
        facts["mock"] = True
    return facts if seen.accuracy_m is None else facts | {"accuracy_m": round(seen.accuracy_m, 1)}
