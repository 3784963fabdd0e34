"""What a shard's engine knows: orders, offers, technicians, and the indexes over them. Decides nothing.

Every write goes through ``put_*``, which keeps the indexes true and collects what the turn has to store. A value
gets one version more for each turn, not for each write: the store takes each row once. What a value was before the
turn is set aside, for those who may read only what is stored (``stored.py``).
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from core.ids import CityId, OfferId, OrderId, UserId
from core.shard import Shard
from dispatch import booked, rating
from dispatch.barred import Barred
from dispatch.endings import Endings, agreed_end_at
from dispatch.model import (
    BlockMark,
    Booking,
    DutyState,
    IdempotencyRecord,
    Offer,
    OfferState,
    Order,
    OrderEvent,
    OrderState,
    PairBlock,
    RequestState,
    StoredRound,
    Technician,
    WorkState,
)
from dispatch.name_bits import LIMITS_MAX, SKILLS_MAX, Masks, NameBits
from dispatch.offer import REFUSALS
from dispatch.order import SETTLED_STATES, is_booking, is_job
from dispatch.ports import DispatchChanges, DispatchState
from dispatch.rating import Tally
from dispatch.settings import RatingSettings

_Id = TypeVar("_Id", OrderId, UserId)
STORY_LEN: Final = 50
"""Events of an order kept for error messages."""


@dataclass(slots=True)
class Aside:
    """What the turn has changed, as it was before; None for what is new."""

    orders: dict[OrderId, Order | None] = field(default_factory=dict)
    offers: dict[OfferId, Offer | None] = field(default_factory=dict)
    technicians: dict[UserId, Technician | None] = field(default_factory=dict)
    city: Tally | None = None
    """The city's stars, when a technician has changed."""


class Book:
    """State of one shard. Attributes are for reading; write through the methods.

    Args:
        shard: Whose state.
        settings: How ratings fade.
        served: Cities of the tenant that are served; None for all that are named anywhere.
    """

    def __init__(self, shard: Shard, settings: RatingSettings, served: Collection[CityId] | None = None) -> None:
        self.shard = shard
        self._settings = settings
        self._served = served
        self.orders: dict[OrderId, Order] = {}
        self.offers: dict[OfferId, Offer] = {}
        self.technicians: dict[UserId, Technician] = {}
        self.barred = Barred()
        """Who is kept apart from whom, in all cities of the tenant."""
        self.changes = DispatchChanges()
        self.aside = Aside()
        self.skill_bits = NameBits("skills", SKILLS_MAX)
        self.zone_bits = NameBits("zones", LIMITS_MAX)
        self.service_bits = NameBits("services", LIMITS_MAX)
        self.city = Tally()
        """Stars of all technicians of the city."""
        self.offers_of: dict[OrderId, list[OfferId]] = {}
        self.live_of_order: dict[OrderId, dict[OfferId, None]] = {}
        """Live offers of each order that has one, in the order in which they were made."""
        self.live_of_technician: dict[UserId, OfferId] = {}
        self.job_of: dict[UserId, OrderId] = {}
        self.endings = Endings()
        """Whose job has come to the service, and when that ends."""
        self.bookings_of: dict[UserId, dict[OrderId, None]] = {}
        """Orders that a technician has accepted and begins with later."""
        self.picks_of: dict[UserId, dict[OrderId, None]] = {}
        """Orders that look, now or later, for the technician whom their customer picked."""
        self.searching: dict[OrderId, None] = {}
        """Orders in matching, whether anybody may be asked for them or not."""
        self.asking: dict[OrderId, None] = {}
        """Orders whose customer is asked for more time and has not answered."""
        self.waiting: dict[OrderId, None] = {}
        """Orders in matching that may be offered to one technician more (insertion order means nothing)."""
        self.unasked: dict[OrderId, None] = {}
        """Those of them without a live offer."""
        self.idle: dict[UserId, None] = {}
        """Technicians on duty here who may be asked."""
        self.unheard: dict[UserId, None] = {}
        self.ending: dict[UserId, None] = {}
        """Technicians on duty here who leave it once what they have is over."""
        self.refused: dict[OrderId, set[UserId]] = {}
        self._open_of: dict[UserId, dict[OrderId, None]] = {}
        self._keys: dict[tuple[UserId, str], IdempotencyRecord] = {}
        self._event_seqs: dict[OrderId, int] = {}
        self._stories: dict[OrderId, deque[str]] = {}

    # -- beginning ------------------------------------------------------------------------------------------

    def load(self, state: DispatchState, barred: Barred | None = None) -> None:
        """Take over what was stored. Work states are derived again, so that they cannot disagree.

        Never refuses: what was good enough to be stored must not keep a city from beginning. An offer whose order
        is not there is left out; a skill beyond what a city can know is known by nobody.

        Args:
            barred: Made of ``state.blocks`` already, for this book alone; None to make it here.
        """
        if barred is None:
            self.barred.take(state.blocks)
        else:
            self.barred = barred
        for technician in state.technicians:
            self.city = self.city.add(rating.tally_of(technician), self._settings.half_life_days)
        for order in state.orders:
            self._index_order(None, order)
        for offer in state.offers:
            if offer.order_id in self.orders:
                self._index_offer(None, offer)
        self._event_seqs.update(state.event_seqs)
        for record in sorted(state.idempotency, key=lambda r: (r.at, r.user, r.key)):
            self._keys[record.user, record.key] = record
        for technician in state.technicians:
            self._index_technician(self._with_work(self.with_duty(technician)))
        self.new_turn()
        for technician in state.technicians:
            self._keep_bookings(technician.technician)  # versions that kept none in the record stored orders too

    def new_turn(self) -> None:
        """What was changed is stored."""
        self.changes = DispatchChanges()
        self.aside = Aside()

    def with_duty(self, technician: Technician) -> Technician:
        """Duty in a city that is not served any more has ended: no engine is left that could end it."""
        if technician.duty_city is None or self._served is None or technician.duty_city in self._served:
            return technician
        return replace(technician, duty=DutyState.OFF, duty_city=None, work=WorkState.IDLE, idle_since=None)

    def _with_work(self, technician: Technician) -> Technician:
        work = self.work_of(technician.technician)
        elsewhere = technician.duty_city is not None and technician.duty_city != self.shard.city
        return technician if elsewhere or technician.work is work else replace(technician, work=work)

    # -- reading --------------------------------------------------------------------------------------------

    def work_of(self, user: UserId) -> WorkState:
        """What a technician is doing: a job goes before an offer."""
        if user in self.job_of:
            return WorkState.BUSY
        return WorkState.OFFERED if user in self.live_of_technician else WorkState.IDLE

    def open_orders_of(self, user: UserId) -> list[Order]:
        """Open orders of a customer or technician, oldest first."""
        return in_order(self.orders[order_id] for order_id in self._open_of.get(user, ()))

    def is_awaited(self) -> bool:
        """Whether somebody has a bounded time to be found or to answer, which a downtime must not take from them."""
        return bool(self.searching or self.asking)

    def live_offer(self, user: UserId) -> Offer | None:
        """The offer that a technician may take."""
        offer_id = self.live_of_technician.get(user)
        return self.offers[offer_id] if offer_id is not None else None

    def live_offers_of(self, order_id: OrderId) -> list[Offer]:
        """Live offers of an order, oldest first."""
        return [self.offers[offer_id] for offer_id in self.live_of_order.get(order_id, ())]

    def bookings(self, technician: Technician) -> list[Booking]:
        """Time that a technician has given away in any city that is served, besides what they are doing in this one."""
        served, here = self._served, self.shard.city
        return [
            b
            for b in technician.bookings
            if (served is None or b.city in served) and (b.busy_since is None or b.city != here)
        ]

    def has_new_bookings(self, user: UserId) -> bool:
        """Whether this turn has changed what a technician has accepted for later."""
        if user not in self.changes.technicians:
            return False
        before = self.aside.technicians[user]
        return self.technicians[user].bookings != (() if before is None else before.bookings)

    def key(self, user: UserId, key: str) -> IdempotencyRecord | None:
        """What a client's key has made."""
        return self._keys.get((user, key)) if key else None

    def on_duty_here(self, technician: Technician) -> bool:
        """Whether they are on duty, perhaps paused, in this city."""
        return technician.duty is not DutyState.OFF and technician.duty_city == self.shard.city

    def skills_here(self, technician: Technician) -> frozenset[str]:
        """Skills for which this city needs bits because of them: none of somebody who has left it."""
        return technician.skills if self.counts_here(technician) else frozenset()

    def zones_of(self, technician: Technician) -> tuple[str, ...]:
        """Zones of this city to which they go; none named is everywhere."""
        return technician.zones.get(self.shard.city, ())

    def counts_here(self, technician: Technician) -> bool:
        """Whether the city needs bits because of them."""
        return self.shard.city in technician.cities or technician.duty_city == self.shard.city

    def masks(self, technician: Technician) -> Masks:
        """Their skills and limits as bits."""
        return Masks(
            self.skill_bits.mask(technician.skills),
            self.zone_bits.limit_mask(self.zones_of(technician)),
            self.service_bits.limit_mask(technician.services),
        )

    @property
    def names_version(self) -> tuple[int, int, int]:
        """Other numbers once masks of unchanged records may be others."""
        return self.skill_bits.version, self.zone_bits.version, self.service_bits.version

    def take_late(self) -> list[Technician]:
        """Technicians who have a name that got its bit after they had been shown without it, since the last call."""
        skills, zones, services = (bits.take_late() for bits in (self.skill_bits, self.zone_bits, self.service_bits))
        if not (skills or zones or services):
            return []
        return [
            person
            for person in self.technicians.values()
            if not (
                skills.isdisjoint(person.skills)
                and zones.isdisjoint(self.zones_of(person))
                and services.isdisjoint(person.services)
            )
        ]

    def has_refused(self, order_id: OrderId, technician: UserId) -> bool:
        """Whether the technician declined the order, let it lapse, or lost it."""
        return technician in self.refused.get(order_id, ())

    def story(self, id_: str) -> tuple[str, ...]:
        """Last events of an order, or of an offer's order."""
        offer = self.offers.get(OfferId(id_))
        order_id = offer.order_id if offer is not None else OrderId(id_)
        return tuple(self._stories.get(order_id, ()))

    # -- writing --------------------------------------------------------------------------------------------

    def put_order(self, order: Order) -> Order:
        """Take over a new or changed order; returns it with its version."""
        before = self.orders.get(order.order_id)
        fresh = order.order_id not in self.changes.orders
        if fresh:
            self.aside.orders[order.order_id] = before
        order = replace(order, version=(before.version if before is not None else order.version) + fresh)
        self._index_order(before, order)
        self.changes.orders[order.order_id] = order
        holders = (None if before is None else before.technician, order.technician)
        for user in dict.fromkeys(holders):
            if user is not None:
                self._keep_bookings(user)
        return order

    def put_offer(self, offer: Offer) -> Offer:
        """Take over a new or changed offer; returns it with its version."""
        before = self.offers.get(offer.offer_id)
        fresh = offer.offer_id not in self.changes.offers
        if fresh:
            self.aside.offers[offer.offer_id] = before
        offer = replace(offer, version=(before.version if before is not None else offer.version) + fresh)
        self._index_offer(before, offer)
        self.changes.offers[offer.offer_id] = offer
        return offer

    def put_technician(self, technician: Technician) -> Technician:
        """Take over a new or changed technician; returns them with their version."""
        before = self.technicians.get(technician.technician)
        fresh = technician.technician not in self.changes.technicians
        if fresh:
            self.aside.technicians[technician.technician] = before
            self.aside.city = self.aside.city or self.city
        technician = self._with_bookings(technician)
        technician = replace(technician, version=(before.version if before is not None else technician.version) + fresh)
        self.take_technician(technician)
        self.changes.technicians[technician.technician] = technician
        return technician

    def _keep_bookings(self, user: UserId) -> None:
        """Write a technician's bookings of this city into their record, for the other cities to see.

        A record is written only over the version that was known, so of two acceptances in two cities that do not know
        of each other one is not stored, and is decided again with the other's booking in the record.
        """
        technician = self.technicians.get(user)
        if technician is not None and self._with_bookings(technician) is not technician:
            self.put_technician(technician)

    def _with_bookings(self, technician: Technician) -> Technician:
        taken = [*self.bookings_of.get(technician.technician, ())]
        job_id = self.job_of.get(technician.technician)
        # Whoever works in one city only is not written at each step of a job.
        if job_id is not None and any(city != self.shard.city for city in technician.cities):
            taken.append(job_id)
        here = [b for b in (booked.booking(self.orders[order_id]) for order_id in taken) if b is not None]
        elsewhere = [b for b in technician.bookings if b.city != self.shard.city]
        bookings = tuple(sorted([*here, *elsewhere], key=lambda b: (b.begins_at, b.order_id)))
        return technician if bookings == technician.bookings else replace(technician, bookings=bookings)

    def take_technician(self, technician: Technician) -> None:
        """Take over a technician whom another city's engine has stored: nothing to store here."""
        before = self.technicians.get(technician.technician)
        half_life_days = self._settings.half_life_days
        if before is not None:
            self.city = self.city.take_out(rating.tally_of(before), half_life_days)
        self.city = self.city.add(rating.tally_of(technician), half_life_days)
        self._index_technician(technician)

    def put_block(self, block: PairBlock) -> None:
        """Take over a block between two people that is new, or was set again."""
        self.barred.put(block.mark)
        self.changes.blocks[block.customer, block.technician, block.side] = block

    def lift_block(self, mark: BlockMark) -> None:
        """Take over that a block is no more."""
        self.barred.lift(mark)
        self.changes.blocks[mark.customer, mark.technician, mark.side] = None

    def put_key(self, record: IdempotencyRecord) -> None:
        """Remember what a client's key has made."""
        self._keys[record.user, record.key] = record
        self.changes.idempotency.append(record)

    def put_round(self, stored: StoredRound) -> None:
        """Store a round."""
        self.changes.rounds.append(stored)

    def recall(self, order: Order, event_seq: int, offers: Sequence[Offer] = ()) -> None:
        """Take a settled order back into memory; with its offers it is known again who refused it."""
        self._index_order(None, order)
        for offer in offers:
            self._index_offer(None, offer)
        self._event_seqs[order.order_id] = event_seq

    def note(self, order: Order, now: float, what: str, who: str, **detail: str | float | int | None) -> None:
        """Write a line of the order's history."""
        seq = self._event_seqs.get(order.order_id, 0) + 1
        self._event_seqs[order.order_id] = seq
        event = OrderEvent(self.shard.tenant, order.order_id, seq, now, what, who, order.state, detail)
        self.changes.events.append(event)
        line = f"{seq}. {what} by {who} at {now:.3f} -> {order.state} {detail}"
        self._stories.setdefault(order.order_id, deque(maxlen=STORY_LEN)).append(line)

    def refuse(self, order_id: OrderId, technician: UserId) -> None:
        """Never ask this technician for this order again."""
        self.refused.setdefault(order_id, set()).add(technician)

    def forget(self, order_id: OrderId) -> None:
        """Let go of a settled order; what was stored stays stored."""
        order = self.orders.pop(order_id, None)
        if order is None:
            return
        for offer_id in self.offers_of.pop(order_id, ()):
            del self.offers[offer_id]
        self.refused.pop(order_id, None)
        self._event_seqs.pop(order_id, None)
        self._stories.pop(order_id, None)

    def forget_keys(self, before: float) -> None:
        """Let go of keys that are older."""
        for key, record in list(self._keys.items()):
            if record.at >= before:
                return
            del self._keys[key]

    # -- indexes --------------------------------------------------------------------------------------------

    def _index_order(self, before: Order | None, order: Order) -> None:
        order_id = order.order_id
        self.orders[order_id] = order
        if before is not None:
            self._drop_order(before)
        if order.state not in SETTLED_STATES:
            for user in (order.customer, order.technician):
                if user is not None:
                    self._open_of.setdefault(user, {})[order_id] = None
        if order.technician is not None:
            if is_job(order):
                self.job_of[order.technician] = order_id
                if (end_at := agreed_end_at(order)) is not None:
                    self.endings.set(order.technician, end_at)
            elif is_booking(order):
                self.bookings_of.setdefault(order.technician, {})[order_id] = None
        if (picked := pick_of(order)) is not None:
            self.picks_of.setdefault(picked, {})[order_id] = None
        for user in order.lost_by:
            self.refuse(order_id, user)
        request = order.time_request
        _mark(self.asking, order_id, request is not None and request.state is RequestState.PENDING)
        self._index_waiting(order)

    def _drop_order(self, before: Order) -> None:
        order_id = before.order_id
        if before.technician is not None and self.job_of.get(before.technician) == order_id:
            del self.job_of[before.technician]
            self.endings.drop(before.technician)
        if before.technician is not None and order_id in self.bookings_of.get(before.technician, ()):
            del self.bookings_of[before.technician][order_id]
            if not self.bookings_of[before.technician]:
                del self.bookings_of[before.technician]
        if (picked := pick_of(before)) is not None:
            del self.picks_of[picked][order_id]
            if not self.picks_of[picked]:
                del self.picks_of[picked]
        for user in (before.customer, before.technician):
            if user is not None and user in self._open_of:
                self._open_of[user].pop(order_id, None)
                if not self._open_of[user]:
                    del self._open_of[user]

    def _index_offer(self, before: Offer | None, offer: Offer) -> None:
        self.offers[offer.offer_id] = offer
        if before is None:
            self.offers_of.setdefault(offer.order_id, []).append(offer.offer_id)
        if offer.state is OfferState.PENDING:
            self.live_of_order.setdefault(offer.order_id, {})[offer.offer_id] = None
            self.live_of_technician[offer.technician] = offer.offer_id
            self._index_waiting(self.orders[offer.order_id])
            return
        order = self.orders[offer.order_id]
        live = self.live_of_order.get(offer.order_id, {})
        if offer.offer_id in live:
            del live[offer.offer_id]
            if not live:
                del self.live_of_order[offer.order_id]
            del self.live_of_technician[offer.technician]
            self._index_waiting(order)
        lost = offer.state is OfferState.ACCEPTED and before is None and order.technician != offer.technician
        if offer.state in REFUSALS or lost:
            self.refuse(offer.order_id, offer.technician)

    def _index_waiting(self, order: Order) -> None:
        live_len = len(self.live_of_order.get(order.order_id, ()))
        wants_more = order.state is OrderState.MATCHING and live_len < order.offers_len_max
        _mark(self.searching, order.order_id, order.state is OrderState.MATCHING)
        _mark(self.waiting, order.order_id, wants_more)
        _mark(self.unasked, order.order_id, wants_more and not live_len)

    def _named(self, technician: Technician | None, names: Callable[[Technician], tuple[str, ...]]) -> tuple[str, ...]:
        return names(technician) if technician is not None and self.counts_here(technician) else ()

    def _index_technician(self, technician: Technician) -> None:
        user = technician.technician
        before = self.technicians.get(user)
        skills = frozenset[str]() if before is None else self.skills_here(before)
        if skills != (now_here := self.skills_here(technician)):
            self.skill_bits.change(skills, now_here)
        if technician.zones or technician.services or (before is not None and (before.zones or before.services)):
            self.zone_bits.change(self._named(before, self.zones_of), self._named(technician, self.zones_of))
            self.service_bits.change(self._named(before, _services), self._named(technician, _services))
        self.technicians[user] = technician
        may_be_asked = (
            technician.duty is DutyState.ON and self.on_duty_here(technician) and technician.work is WorkState.IDLE
        )
        _mark(self.idle, user, may_be_asked)
        _mark(self.unheard, user, technician.unheard_since is not None)
        _mark(self.ending, user, technician.duty is DutyState.ENDING and self.on_duty_here(technician))


def _services(technician: Technician) -> tuple[str, ...]:
    return technician.services


def pick_of(order: Order) -> UserId | None:
    """Whom an order alone may be offered to, while it has nobody."""
    return order.picked if order.state in (OrderState.SCHEDULED, OrderState.MATCHING) else None


def in_order(orders: Iterable[Order]) -> list[Order]:
    """Orders by the time of placing, then by id."""
    return sorted(orders, key=lambda order: (order.placed_at, order.order_id))


def _mark(members: dict[_Id, None], id_: _Id, is_member: bool) -> None:
    if is_member:
        members[id_] = None
    else:
        members.pop(id_, None)
