"""What staff do with an order by hand: give it to somebody, or have it looked for in another way.

Part of the engine; pure. Nothing here passes over a filter in silence: staff name what they override, and what keeps
people safe or a promise true cannot be overridden at all.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from core.errors import Conflict, Invalid
from core.ids import OrderId, UserId
from dispatch import modes
from dispatch.book import Book
from dispatch.calendar import Calendars, service_begins_at
from dispatch.errors import OVER, conflict, no_such_order, no_such_technician
from dispatch.events import CloseReason, Effect, ModeSet, OrderAssigned, OrderFact, Recalled
from dispatch.exclusions import OVERRIDABLE, PRIVATE, by_label, labels
from dispatch.model import Mode, Order, OrderReason, OrderState, Technician
from dispatch.moves import Moves
from dispatch.order import JOB_STATES, OrderMove
from dispatch.pairs import Pairs
from dispatch.picks import Picks
from dispatch.problem import Exclusion
from dispatch.settings import DispatchSettings

REFUSALS: Final = {
    OrderState.ARRIVED: ("order_arrived", "the technician is at the door"),
    OrderState.IN_SERVICE: ("order_in_service", "the service has begun"),
    **OVER,
}
"""Why nobody is given an order any more, or taken from it."""


class Desk:
    """Assignments and changes of mode of one shard."""

    def __init__(
        self,
        book: Book,
        moves: Moves,
        pairs: Pairs,
        picks: Picks,
        calendars: Calendars,
        settings: DispatchSettings,
    ) -> None:
        self._book = book
        self._moves = moves
        self._pairs = pairs
        self._picks = picks
        self._calendars = calendars
        self._settings = settings

    # -- giving an order to somebody ------------------------------------------------------------------------

    def assign(self, event: OrderAssigned, now: float) -> list[Effect]:
        """Give an order to a technician without asking them. See ``OrderAssigned`` for refusals."""
        overridden = _overridden(event.override)
        order = self._order(event.order_id, event.recalled)
        who = self._technician(event.technician)
        if order.technician == who.technician and order.state in JOB_STATES:
            return self._pin(order, event, overridden, now)
        if order.state in REFUSALS:
            raise conflict(*REFUSALS[order.state])
        reasons, travel_s = self._pairs.against(order, who, now)
        _refuse(who, reasons, overridden)
        lost_by = order.technician
        effects: list[Effect] = []
        if order.state is OrderState.UNFILLED:
            order = self._moves.switch(order, Mode.MANUAL, now, event.by)
        if lost_by is not None:
            order, effects = self._moves.release(
                order, OrderMove.TAKE_BACK, now, event.by, OrderReason.REASSIGNED, event.reason
            )
        effects += self._moves.revoke_live(order, CloseReason.TAKEN, now)
        arrives_at = now + (travel_s or 0.0)
        begins_at = service_begins_at(order, arrives_at)
        is_later = who.technician in self._book.job_of or begins_at > arrives_at
        if not is_later:
            effects += self._moves.withdraw_offer(who.technician, now, event.by)
        detail = {"technician": who.technician, "said": event.reason}
        passed_over = tuple(by_label(overridden))
        if passed_over:
            detail["override"] = ", ".join(passed_over)
        order = self._moves.move(
            order,
            OrderMove.ASSIGN,
            now,
            event.by,
            detail,
            technician=who.technician,
            eta_s=travel_s,
            booked_for=begins_at if is_later else None,
            mode=Mode.MANUAL,
            picked=None,
            offers_len_max=modes.offers_len_max(Mode.MANUAL, self._settings),
            pinned_by=event.by,
            override=passed_over,
            reason="",
        )
        taken = self._moves.follow(who.technician, order, now)
        taken += self._withdraw_unfit_offer(who, event.by, now)
        return [self._moves.tell(order, OrderState.ASSIGNED, now, lost_by=lost_by), *taken, *effects]

    def _withdraw_unfit_offer(self, who: Technician, by: UserId, now: float) -> list[Effect]:
        """What they are being asked for meanwhile stays, as long as it can be done beside the new booking."""
        offer = self._book.live_offer(who.technician)
        if offer is None:
            return []
        asked = self._book.orders[offer.order_id]
        fits = self._calendars.clash(asked, who.technician, now, offer.offered_at + offer.travel_s) is None
        return [] if fits else self._moves.withdraw_offer(who.technician, now, by)

    def _pin(self, order: Order, event: OrderAssigned, overridden: frozenset[Exclusion], now: float) -> list[Effect]:
        """They have it already: from now on nobody but staff moves it, and what staff pass over does not count."""
        passed_over = tuple(sorted({*order.override, *by_label(overridden)}))
        if order.pinned_by is not None and passed_over == order.override:
            return []
        changed = replace(order, mode=Mode.MANUAL, picked=None, offers_len_max=0, pinned_by=event.by)
        order = self._book.put_order(replace(changed, override=passed_over))
        detail = {"technician": event.technician, "said": event.reason}
        if overridden:
            detail["override"] = ", ".join(by_label(overridden))
        self._book.note(order, now, "pinned", event.by, **detail)
        return [self._moves.tell(order, OrderFact.PINNED, now)]

    # -- another way of looking for somebody ----------------------------------------------------------------

    def set_mode(self, event: ModeSet, now: float) -> list[Effect]:
        """Look for a technician in another mode. See ``ModeSet`` for refusals."""
        if (event.mode is Mode.DIRECTED) != (event.technician is not None):
            raise Invalid("is needed for mode directed and for no other", field="technician")
        order = self._order(event.order_id, event.recalled)
        if order.state not in (OrderState.MATCHING, OrderState.SCHEDULED, OrderState.UNFILLED):
            if order.state in (OrderState.ASSIGNED, OrderState.EN_ROUTE):
                raise conflict("already_assigned", f"the order is {order.state}: take it from its technician first")
            raise conflict(*REFUSALS[order.state])
        picked = event.technician
        unchanged = order.mode is event.mode and order.picked == picked and order.fallback is event.fallback
        if unchanged and order.state is not OrderState.UNFILLED:
            return []
        if picked is not None:
            self.check_pick(order, picked, now)
        keep_len = modes.keeps(order, event.mode, picked, self._settings)
        cheapest = sorted(self._book.live_offers_of(order.order_id), key=lambda o: (o.cost_s, o.offer_id))
        keep = frozenset(offer.offer_id for offer in cheapest[:keep_len])
        revoked = self._moves.revoke_live(order, CloseReason.REVOKED, now, keep)
        said = {"said": event.reason} if event.reason else {}
        order = self._moves.switch(order, event.mode, now, event.by, said, picked=picked, fallback=event.fallback)
        return [self._moves.tell(order, OrderFact.SWITCHED, now), *revoked]

    def check_pick(self, order: Order, picked: UserId, now: float, *, is_told: bool = True) -> None:
        """Refuse a pick that cannot succeed however long one waits.

        Args:
            is_told: Whoever asks may know what speaks against the technician.

        Raises:
            NotFound: The city does not know the technician.
            Conflict: ``filter_failed``, naming each filter that fails; ``pick_unavailable`` instead when one of them
                is not for a customer's ears.
        """
        who = self._technician(picked)
        reasons, _ = self._pairs.against(order, who, now)
        if not is_told and not PRIVATE.isdisjoint(reasons):
            raise Conflict("this technician cannot be picked", code="pick_unavailable", field="technician")
        lasting = self._picks.hopeless(order, who, now)
        if lasting:
            raise Conflict(
                f"the technician cannot do this order: {labels(lasting)}", code="filter_failed", field="technician"
            )

    # -- inside ---------------------------------------------------------------------------------------------

    def _order(self, order_id: OrderId, recalled: Recalled | None) -> Order:
        order = self._book.orders.get(order_id)
        if order is None and recalled is not None and recalled.order.order_id == order_id:
            self._book.recall(recalled.order, recalled.event_seq, recalled.offers)
            self._moves.arm(recalled.order)
            order = recalled.order
        if order is None:
            raise no_such_order()
        return order

    def _technician(self, user: UserId) -> Technician:
        who = self._book.technicians.get(user)
        if who is None:
            raise no_such_technician()
        return who


def _overridden(names: Collection[str]) -> frozenset[Exclusion]:
    known = by_label(OVERRIDABLE)
    unknown = sorted(set(names) - known.keys())
    if unknown:
        raise Invalid(
            f"{unknown[0][:64]} cannot be overridden: only {', '.join(known)}",
            code="filter_holds",
            field="override",
        )
    return frozenset(known[name] for name in names)


def _refuse(who: Technician, reasons: Sequence[Exclusion], overridden: frozenset[Exclusion]) -> None:
    """Raise when a filter fails that was not overridden, naming each."""
    failing = [reason for reason in reasons if reason not in overridden]
    holding = labels(reason for reason in failing if reason not in OVERRIDABLE)
    named = labels(reason for reason in failing if reason in OVERRIDABLE)
    if holding:
        more = f"; and fails {named}, which may be overridden by name" if named else ""
        raise Conflict(
            f"{who.technician} fails {holding}, which cannot be overridden{more}",
            code="filter_holds",
            field="technician",
        )
    if named:
        raise Conflict(
            f"{who.technician} fails {named}: name each in override to assign all the same",
            code="filter_failed",
            field="override",
        )
