"""Orders for later whose customer picked somebody: the pick is asked as soon as they can be, not an hour before.

An order is asked for early when its technician is on duty and free; one after the other, the oldest first. A second
customer who picked the same person for the same hour hears at once that it cannot be, not when it is nearly time.
"""

from core.ids import UserId
from dispatch import schedule
from dispatch.book import Book, in_order
from dispatch.events import Effect
from dispatch.exclusions import LASTING, WOKEN
from dispatch.model import Order, OrderState, Technician
from dispatch.moves import Moves
from dispatch.pairs import Pairs
from dispatch.problem import Exclusion
from dispatch.settings import DispatchSettings


class Picks:
    """Looks after the scheduled picks of one shard, at the end of each turn that touched them."""

    def __init__(self, book: Book, moves: Moves, pairs: Pairs, settings: DispatchSettings) -> None:
        self._book = book
        self._moves = moves
        self._pairs = pairs
        self._settings = settings

    def hopeless(self, order: Order, who: Technician, now: float) -> list[Exclusion]:
        """What speaks against a pick however long one waits."""
        reasons, _ = self._pairs.against(order, who, now)
        is_early = schedule.opens_at(order, self._settings.schedule) > now
        return [r for r in reasons if r in LASTING or (is_early and r is Exclusion.CALENDAR)]

    def settle(self, now: float) -> list[Effect]:
        """Ask those who can be asked now, and end first refusals that have become impossible."""
        book = self._book
        if not book.picks_of:
            return []
        touched = {order.picked for order in (*book.changes.orders.values(), *book.aside.orders.values()) if order}
        users = book.picks_of.keys() & (touched | book.changes.technicians.keys())
        return [effect for user in sorted(users) for effect in self._look(user, now)]

    def _look(self, user: UserId, now: float) -> list[Effect]:
        book = self._book
        who = book.technicians.get(user)
        if who is None:
            return []
        effects: list[Effect] = []
        orders = in_order(book.orders[order_id] for order_id in book.picks_of[user])
        left = []
        for order in orders:
            if order.state is OrderState.SCHEDULED and self.hopeless(order, who, now):
                effects.extend(self._moves.end_search(order, now))
            else:
                left.append(order)
        if user not in book.idle or any(order.state is OrderState.MATCHING for order in left):
            return effects
        for order in left:
            if self._may_ask(order, who, now):
                return [*effects, *self._moves.open(order, now)]
        return effects

    def _may_ask(self, order: Order, who: Technician, now: float) -> bool:
        before = self._book.aside.orders.get(order.order_id)
        if before is not None and before.state is OrderState.MATCHING and before.scheduled_for == order.scheduled_for:
            return False  # was asked for in vain just now: not again until something changes
        reasons, travel_s = self._pairs.against_now(order, who, now)
        return travel_s is not None and WOKEN.issuperset(reasons)
