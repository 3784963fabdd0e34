"""The steps of a job: who may take one, when, and what it changes. Part of the engine; pure."""

from dataclasses import replace
from math import ceil
from typing import Any

from core.ids import UserId
from dispatch import arrival, cancellation
from dispatch import events as e
from dispatch import order as orders
from dispatch.book import Book
from dispatch.errors import OVER, conflict, no_such_order
from dispatch.events import Effect
from dispatch.exclusions import Moment
from dispatch.job_watch import JobWatch
from dispatch.model import CancellationStage, Order, OrderReason, OrderState
from dispatch.moves import Moves
from dispatch.order import PATH, STEPS, OrderMove
from dispatch.settings import DispatchSettings
from dispatch.standing import Standing


class Steps:
    """Steps of one shard's orders."""

    def __init__(
        self, book: Book, moves: Moves, watch: JobWatch, standing: Standing, settings: DispatchSettings
    ) -> None:
        self._book = book
        self._moves = moves
        self._watch = watch
        self._standing = standing
        self._settings = settings

    def take(self, event: e.StepTaken, now: float) -> list[Effect]:
        """Take a step, or say what is missing for it. Idempotent: a step that was passed changes nothing.

        Raises:
            NotFound: No such order, or not theirs.
            Conflict: It is not its turn (``step_out_of_order``), or what ``JobWatch.check_step`` asks is missing.
        """
        order = self._book.orders.get(event.order_id)
        if order is None or not (event.staff or order.technician == event.by):
            raise no_such_order()
        if event.step is e.Step.NO_SHOW:
            return self._no_show(order, event, now)
        if order.state is OrderState.CANCELLED:
            raise conflict(*OVER[OrderState.CANCELLED])
        if event.step is e.Step.DEPARTED_SAFE and order.state is OrderState.CONFIRMED and order.left_at is None:
            return self._left_at_last(order, event, now)
        move = OrderMove(event.step)
        if order.state in PATH and PATH.index(OrderState(event.step)) <= PATH.index(order.state):
            return []
        if not orders.can(order, move):
            reached = [step for step in STEPS if orders.can(order, step)]
            expected = reached[0] if reached else "nothing"
            raise conflict("step_out_of_order", f"the order is {order.state}: {expected} comes before {event.step}")
        technician_id = order.technician
        assert technician_id is not None  # noqa: S101 - an order that can take a step has one
        self._watch.check_step(order, event, now)
        effects = self._set_out(order, technician_id, event, now) if orders.is_booking(order) else []
        order, news, detail = self._watch.take_step(order, event, now)
        facts = self._step_facts(order, move, now)
        order = self._moves.move(order, move, now, event.by, detail, booked_for=None, **facts)
        effects = [
            *news,
            self._moves.tell(order, order.state, now),
            *effects,
            *self._moves.follow(technician_id, order, now),
        ]
        if order.state is OrderState.DEPARTED_SAFE:
            effects.extend(self._moves.free(technician_id, order, now))
        return effects

    def _left_at_last(self, order: Order, event: e.StepTaken, now: float) -> list[Effect]:
        """The customer was quicker: the order stays confirmed, and that its technician is safe is on record."""
        _, _, detail = self._watch.take_step(order, event, now)
        order = self._book.put_order(replace(order, left_at=now))
        self._book.note(order, now, e.Step.DEPARTED_SAFE, event.by, **detail)
        return [self._moves.tell(order, OrderState.DEPARTED_SAFE, now)]

    def _set_out(self, order: Order, user: UserId, event: e.StepTaken, now: float) -> list[Effect]:
        """Refuse to begin a booked job beside another one, or that the record does not fit any more.

        An offer that is open meanwhile is withdrawn. Staff may pass over what they may pass over when they assign.
        """
        who = self._book.technicians.get(user)
        if user in self._book.job_of:
            raise conflict("busy", "another job is not over")
        if who is None or not self._book.on_duty_here(who):
            raise conflict("not_on_duty", "go on duty first")
        early_s = self._early_at(order, now) - now
        if early_s > 0.0 and not event.staff:
            raise conflict("too_early", f"the job is not before {order.booked_for:.0f}: set out in {ceil(early_s)} s")
        by_staff = event.staff or order.pinned_by is not None
        self._standing.check(order, user, now, Moment.SET_OUT, by_staff=by_staff)
        return self._moves.withdraw_offer(user, now)

    def _early_at(self, order: Order, now: float) -> float:
        """When the technician may set out for a booked job."""
        booked_for = order.booked_for if order.booked_for is not None else now
        return booked_for - (self._watch.travel_s(order, now) or 0.0) - self._settings.schedule.early_s

    def _step_facts(self, order: Order, move: OrderMove, now: float) -> dict[str, Any]:
        if move is OrderMove.EN_ROUTE:
            return {"eta_s": self._watch.travel_s(order, now), "way_m": self._watch.way_m(order, now)}
        if move is OrderMove.ARRIVE:
            return {"waits_until": arrival.waits_until(order, now, self._settings.arrival)}
        if move is OrderMove.DEPART:
            return {"left_at": now}
        return {"started_at": now} if move is OrderMove.START else {}

    def _no_show(self, order: Order, event: e.StepTaken, now: float) -> list[Effect]:
        """The customer was not there: the technician ends the order once they have waited long enough."""
        ended = order.cancellation
        if ended is not None and ended.stage is CancellationStage.NO_SHOW:
            return []
        if order.state is OrderState.CANCELLED:
            raise conflict(*OVER[OrderState.CANCELLED])
        if order.state is not OrderState.ARRIVED:
            raise conflict("step_out_of_order", f"the order is {order.state}: arrived comes before no_show")
        detail = self._watch.proof_of_waiting(order, event, now)
        outcome = cancellation.quote(order, now, self._settings.cancellation, CancellationStage.NO_SHOW)
        return self._moves.call_off(order, outcome, now, event.by, OrderReason.NO_SHOW, detail=detail)
