"""Somebody who hears everything that a shard tells people, remembers it across restarts, and never looks inside."""

from collections.abc import Iterable

from core.ids import OrderId, UserId
from dispatch import events as e
from dispatch.model import OfferState, OrderState
from tests.unit.dispatch.world import Ledger

BUSY = (OrderState.ASSIGNED, OrderState.EN_ROUTE, OrderState.ARRIVED, OrderState.IN_SERVICE, OrderState.FINISHED)


class Witness:
    """Holds dispatch to its promises by what was said and what was stored."""

    def __init__(self) -> None:
        self.refused: set[tuple[OrderId, UserId]] = set()
        """Who declined an order, let it lapse, or lost it."""
        self.holder: dict[OrderId, UserId] = {}
        """Who was told that an order is theirs, until told that it is not, or until they have left its door."""
        self.ended: dict[OrderId, OrderState] = {}
        self.accepted: dict[OrderId, list[UserId]] = {}
        """Whose acceptance was taken, in turn."""
        self.taken_from: dict[OrderId, int] = {}
        """How often staff took an order from somebody."""

    def hear(self, effects: Iterable[e.Effect]) -> None:
        """Effects in the order in which they are performed."""
        for effect in effects:
            match effect:
                case e.SendOffer(offer, order):
                    assert (order.order_id, offer.technician) not in self.refused, "asked again after a refusal"
                    assert order.order_id not in self.ended, "an offer of an order that has ended"
                    assert order.order_id not in self.holder, "an offer of an order that somebody has"
                    assert offer.technician not in self.holder.values(), "an offer to somebody in a job"
                case e.CloseOffer(offer, e.CloseReason.EXPIRED):
                    self.refused.add((offer.order_id, offer.technician))
                case e.OfferAnswered(offer) if offer.state is OfferState.DECLINED:
                    self.refused.add((offer.order_id, offer.technician))
                case e.OfferAnswered(offer):
                    self.accepted.setdefault(offer.order_id, []).append(offer.technician)
                case e.OrderChanged():
                    self._order_changed(effect)

    def _order_changed(self, news: e.OrderChanged) -> None:
        order_id, what, technician = news.order.order_id, news.what, news.order.technician
        if what == "assigned":
            assert technician is not None
            assert order_id not in self.ended, "given to somebody after its end"
            assert order_id not in self.holder, "given to a second technician"
            assert technician not in self.holder.values(), "a second job beside the first"
            self.holder[order_id] = technician
        elif what == "reassigned":
            assert news.previous_technician == self.holder.pop(order_id)
            self.refused.add((order_id, news.previous_technician))
            self.taken_from[order_id] = self.taken_from.get(order_id, 0) + 1
        elif what in ("cancelled", "unfilled", "confirmed"):
            assert order_id not in self.ended, "ended twice"
            self.ended[order_id] = news.order.state
            self.holder.pop(order_id, None)
        elif what == "departed_safe":
            self.holder.pop(order_id)

    def read(self, ledger: Ledger) -> None:
        """What is stored agrees with what was said."""
        stored = {o.order_id: o.technician for o in ledger.orders.values() if o.state in BUSY}
        assert stored == self.holder
        assert len(set(stored.values())) == len(stored), "a technician with two jobs"
        for order_id, state in self.ended.items():
            assert ledger.orders[order_id].state is state, "an order left its end"
        accepted: dict[OrderId, set[UserId]] = {}
        for offer in ledger.offers.values():
            if offer.state is OfferState.ACCEPTED:
                accepted.setdefault(offer.order_id, set()).add(offer.technician)
        assert accepted == {order_id: set(who) for order_id, who in self.accepted.items()}
        for order_id, who in self.accepted.items():
            assert len(who) == len(set(who)) <= 1 + self.taken_from.get(order_id, 0), "two acceptances for one job"
