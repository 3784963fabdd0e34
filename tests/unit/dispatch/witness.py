"""Somebody who hears everything that a shard tells people, remembers it across restarts, and never looks inside."""

import itertools
from collections.abc import Iterable

from core.ids import OrderId, UserId
from dispatch import events as e
from dispatch.model import BlockMark, OfferState, Order, OrderState
from tests.unit.dispatch.world import Ledger

BUSY = (OrderState.ASSIGNED, OrderState.EN_ROUTE, OrderState.ARRIVED, OrderState.IN_SERVICE, OrderState.FINISHED)


class Witness:
    """Holds dispatch to its promises by what was said and what was stored."""

    def __init__(self) -> None:
        self.refused: set[tuple[OrderId, UserId]] = set()
        """Who declined an order, let it lapse, or lost it."""
        self.holder: dict[OrderId, UserId] = {}
        """Who was told that an order is theirs, until told that it is not, or until they have left its door."""
        self.busy: dict[UserId, OrderId] = {}
        """Who is in a job now: bookings begin when their technician sets out."""
        self.serving: set[UserId] = set()
        """Who of them has begun with the service: what follows it may be offered before its end."""
        self.ended: dict[OrderId, OrderState] = {}
        self.accepted: dict[OrderId, list[UserId]] = {}
        """Whose acceptance was taken, in turn."""
        self.taken_from: dict[OrderId, int] = {}
        """How often an order was taken from somebody, or given away by them."""

        self.apart: set[BlockMark] = set()
        """Blocks that were stored; whoever set them does not matter here."""

    def hear(self, effects: Iterable[e.Effect]) -> None:
        """Effects in the order in which they are performed."""
        for effect in effects:
            match effect:
                case e.SendOffer(offer, order):
                    assert (order.order_id, offer.technician) not in self.refused, "asked again after a refusal"
                    assert not self.is_apart(order.customer, offer.technician), "an offer between two kept apart"
                    assert order.order_id not in self.ended, "an offer of an order that has ended"
                    assert order.order_id not in self.holder, "an offer of an order that somebody has"
                    is_free = offer.technician not in self.busy or offer.technician in self.serving
                    assert is_free, "an offer to somebody in a job"
                case e.CloseOffer(offer, e.CloseReason.EXPIRED):
                    self.refused.add((offer.order_id, offer.technician))
                case e.OfferAnswered(offer) if offer.state is OfferState.DECLINED:
                    self.refused.add((offer.order_id, offer.technician))
                case e.OfferAnswered(offer):
                    self.accepted.setdefault(offer.order_id, []).append(offer.technician)
                case e.PairBlockChanged(mark, _, is_set):
                    self.apart = self.apart - {mark._replace(by_staff=True), mark._replace(by_staff=False)}
                    if is_set:
                        self.apart.add(mark)
                case e.OrderChanged():
                    self._order_changed(effect)

    def is_apart(self, customer: UserId, technician: UserId) -> bool:
        """Whether either of the two has blocked the other."""
        return any((mark.customer, mark.technician) == (customer, technician) for mark in self.apart)

    def _order_changed(self, news: e.OrderChanged) -> None:
        order_id, what, technician = news.order.order_id, news.what, news.order.technician
        if what == "assigned":
            assert technician is not None
            pinned = news.order.pinned_by is not None
            self._may_begin_again(order_id, by_staff=pinned)
            assert order_id not in self.ended, "given to somebody after its end"
            assert pinned or order_id not in self.holder, "given to a second technician"
            assert news.previous_technician == self._end(order_id)
            if news.previous_technician is not None:
                self._take_from(order_id, news.previous_technician)
            self.holder[order_id] = technician
            if news.order.booked_for is None:
                self._begin(order_id, technician)
        elif what == "en_route":
            assert technician is not None
            if self.busy.get(technician) != order_id:
                self._begin(order_id, technician)
        elif what == "in_service":
            assert technician is not None
            self.serving.add(technician)
        elif what == "reassigned":
            assert news.previous_technician is not None
            assert news.previous_technician == self._end(order_id)
            self._take_from(order_id, news.previous_technician)
        elif what == "switched":
            self._may_begin_again(order_id, by_staff=True)
        elif what in ("cancelled", "unfilled", "confirmed"):
            assert order_id not in self.ended, "ended twice"
            self.ended[order_id] = news.order.state
            self._end(order_id)
        elif what == "departed_safe":
            self._end(order_id)

    def _may_begin_again(self, order_id: OrderId, *, by_staff: bool) -> None:
        """Staff may have an order looked for again that nobody took."""
        if by_staff and self.ended.get(order_id) is OrderState.UNFILLED:
            del self.ended[order_id]

    def _take_from(self, order_id: OrderId, technician: UserId) -> None:
        self.refused.add((order_id, technician))
        self.taken_from[order_id] = self.taken_from.get(order_id, 0) + 1

    def _begin(self, order_id: OrderId, technician: UserId) -> None:
        assert technician not in self.busy, "a second job beside the first"
        self.busy[technician] = order_id

    def _end(self, order_id: OrderId) -> UserId | None:
        technician = self.holder.pop(order_id, None)
        if technician is not None and self.busy.get(technician) == order_id:
            del self.busy[technician]
            self.serving.discard(technician)
        return technician

    def read(self, ledger: Ledger) -> None:
        """What is stored agrees with what was said."""
        stored = {o.order_id: o.technician for o in ledger.orders.values() if o.state in BUSY}
        assert stored == self.holder
        self._check_calendars([o for o in ledger.orders.values() if o.state in BUSY])
        for order_id, state in self.ended.items():
            assert ledger.orders[order_id].state is state, "an order left its end"
        accepted: dict[OrderId, set[UserId]] = {}
        for offer in ledger.offers.values():
            if offer.state is OfferState.ACCEPTED:
                accepted.setdefault(offer.order_id, set()).add(offer.technician)
        assert accepted == {order_id: set(who) for order_id, who in self.accepted.items()}
        for order_id, who in self.accepted.items():
            assert len(who) == len(set(who)) <= 1 + self.taken_from.get(order_id, 0), "two acceptances for one job"

    def _check_calendars(self, given: list[Order]) -> None:
        booked: dict[UserId | None, list[tuple[float, float]]] = {}
        for order in given:
            if order.state is OrderState.ASSIGNED and order.booked_for is not None:
                if order.pinned_by is not None:
                    continue  # staff may have passed over the calendar by name
                booked.setdefault(order.technician, []).append((order.booked_for, order.duration_s + order.booked_for))
            else:
                assert order.technician is not None
                assert self.busy.get(order.technician) == order.order_id, "a technician with two jobs"
        for spans in booked.values():
            spans.sort()
            assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans)), "bookings that overlap"
