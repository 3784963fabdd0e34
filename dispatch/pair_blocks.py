"""Blocks between a customer and a technician: who may set and lift them, and what a new one does to open orders.

Part of the engine; pure. A block is set by one of the two or by staff in their name, each side has its own, and either
keeps them apart. Neither learns of the other's: what they see of it looks like any technician who is not there.
"""

from dataclasses import replace
from typing import Final

from core.ids import BLOCK_PREFIX, IdSource, TenantId, UserId
from dispatch import cancellation
from dispatch.book import Book, in_order, pick_of
from dispatch.errors import conflict
from dispatch.events import Effect, JobNews, News, PairBlockChanged, PairBlockCopied, PairBlocked, PairUnblocked
from dispatch.matchmaker import Matchmaker
from dispatch.model import BlockMark, BlockSide, Order, OrderReason, OrderState, PairBlock
from dispatch.moves import SYSTEM, Moves
from dispatch.order import JOB_STATES, SETTLED_STATES, is_booking
from dispatch.problem import Exclusion
from dispatch.settings import DispatchSettings

_BLOCKED: Final = Exclusion.BLOCKED.label
"""The filter's name in ``Order.override``."""


class PairBlocks:
    """Blocks as one shard's engine sees them: all of its tenant, of which it stores those that it is told to set."""

    def __init__(
        self,
        tenant: TenantId,
        book: Book,
        moves: Moves,
        matchmaker: Matchmaker,
        ids: IdSource,
        settings: DispatchSettings,
    ) -> None:
        self._tenant = tenant
        self._book = book
        self._moves = moves
        self._matchmaker = matchmaker
        self._ids = ids
        self._settings = settings

    def block(self, event: PairBlocked, now: float) -> list[Effect]:
        """Set a block. See ``PairBlocked`` for refusals."""
        barred = self._book.barred
        pair = event.customer, event.technician
        is_set = barred.is_set(*pair, event.side)
        if is_set and barred.is_by_staff(*pair, event.side) and not event.staff:
            return []
        owner = event.customer if event.side is BlockSide.CUSTOMER else event.technician
        len_max = self._settings.blocks_len_max
        if not is_set and barred.set_len(event.side, owner) >= len_max:
            raise conflict("blocks_full", f"at most {len_max} may be blocked: lift one that is not needed")
        stored = PairBlock(
            tenant=self._tenant,
            block_id=self._ids.new(BLOCK_PREFIX),
            customer=event.customer,
            technician=event.technician,
            side=event.side,
            set_at=now,
            set_by=event.by,
            by_staff=event.staff,
            reason=event.reason,
        )
        was_apart = barred.holds(*pair)
        self._book.put_block(stored)
        effects: list[Effect] = [PairBlockChanged(stored.mark, event.by, is_set=True)]
        return effects if was_apart else [*effects, *self._part(stored.mark, event.by, now)]

    def unblock(self, event: PairUnblocked, now: float) -> list[Effect]:
        """Lift a block. See ``PairUnblocked`` for refusals."""
        barred = self._book.barred
        pair = event.customer, event.technician
        if not barred.is_set(*pair, event.side):
            return []
        if barred.is_by_staff(*pair, event.side) and not event.staff:
            raise conflict("block_held", "staff set it: only they lift it")
        mark = BlockMark(*pair, event.side, by_staff=False)
        self._book.lift_block(mark)
        self._matchmaker.want()
        return [PairBlockChanged(mark, event.by, is_set=False)]

    def copied(self, event: PairBlockCopied, now: float) -> list[Effect]:
        """Another city's engine has stored it: nothing to store here but what it does to the orders of this city."""
        barred, mark = self._book.barred, event.mark
        if not event.is_set:
            barred.lift(mark)
            self._matchmaker.want()
            return []
        was_apart = barred.holds(mark.customer, mark.technician)
        barred.put(mark)
        return [] if was_apart else self._part(mark, event.by, now)

    def overtaken(self) -> list[Order]:
        """Open orders that go on as if their two sides were not kept apart.

        There are some only at a start: another city stored the block, and the process died, or this city was read
        anew, before it was heard of here. An order that staff gave to somebody in spite of a block is none of them.
        """
        book = self._book
        found = []
        for order in in_order(o for o in book.orders.values() if o.state not in SETTLED_STATES):
            holder = order.technician if _BLOCKED not in order.override and not order.is_told_apart else None
            asked = (offer.technician for offer in book.live_offers_of(order.order_id))
            others = (holder if order.state in JOB_STATES else None, pick_of(order), *asked)
            if any(user is not None and book.barred.holds(order.customer, user) for user in others):
                found.append(order)
        return found

    def catch_up(self, now: float) -> list[Effect]:
        """Do to these orders what their blocks would have done."""
        barred = self._book.barred
        effects: list[Effect] = []
        for order in self.overtaken():
            for technician in list(barred.technicians(order.customer)):
                pair = order.customer, technician
                # Of two blocks the customer's is not the cause: it was all the same to them.
                is_theirs = not barred.is_set(*pair, BlockSide.TECHNICIAN)
                side = BlockSide.CUSTOMER if is_theirs else BlockSide.TECHNICIAN
                mark = BlockMark(*pair, side, barred.is_by_staff(*pair, side))
                effects.extend(self._part_in(self._book.orders[order.order_id], mark, SYSTEM, now))
        return effects

    def _part(self, mark: BlockMark, by: UserId, now: float) -> list[Effect]:
        """Keep two people apart: offers end, a pick falls back, accepted orders stand or are released."""
        orders = [order for order in self._book.open_orders_of(mark.customer) if order.customer == mark.customer]
        return [effect for order in orders for effect in self._part_in(order, mark, by, now)]

    def _part_in(self, order: Order, mark: BlockMark, by: UserId, now: float) -> list[Effect]:
        technician = mark.technician
        effects: list[Effect] = []
        if order.technician == technician:
            effects.append(self._tell(order, by, now))
            order = self._book.orders[order.order_id]
            if self._settings.blocks_release and is_booking(order) and order.pinned_by is None:
                effects.extend(self._release(order, mark, by, now))
        offer = self._book.live_offer(technician)
        if offer is not None and offer.order_id == order.order_id:
            effects.extend(self._moves.withdraw_offer(technician, now))
        order = self._book.orders[order.order_id]
        if order.picked == technician and order.state in (OrderState.MATCHING, OrderState.SCHEDULED):
            effects.extend(self._moves.end_search(order, now))
        return effects

    def _release(self, order: Order, mark: BlockMark, by: UserId, now: float) -> list[Effect]:
        """Take a booked order from its technician; who has caused that bears what calling it off costs."""
        if mark.side is BlockSide.CUSTOMER and not mark.by_staff:
            order = self._book.put_order(cancellation.released(order, now, self._settings.cancellation))
        # The reason of every order that is taken from somebody: nobody learns who has blocked whom.
        return self._moves.take_back(order, now, by, OrderReason.REASSIGNED)[1]

    def _tell(self, order: Order, by: UserId, now: float) -> Effect:
        """Staff hear of an accepted order and may give it to somebody else."""
        order = self._book.put_order(replace(order, is_told_apart=True))
        self._book.note(order, now, "blocked", by, technician=order.technician)
        return JobNews(order, News.BLOCKED, now)
