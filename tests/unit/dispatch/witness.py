"""Somebody who hears everything that a shard tells people, remembers it across restarts, and never looks inside."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from core.ids import OrderId, UserId
from dispatch import events as e
from dispatch.model import BlockMark, DutyState, Mode, Offer, OfferState, Order, OrderState
from geo.distance import distance_m
from tests.unit.dispatch.world import SHARD, Ledger, Walk

BUSY = (OrderState.ASSIGNED, OrderState.EN_ROUTE, OrderState.ARRIVED, OrderState.IN_SERVICE, OrderState.FINISHED)


@dataclass
class Person:
    """A technician as the platform knows them, whatever dispatch has made of it."""

    skills: frozenset[str] = frozenset()
    verified: bool = False
    is_of_city: bool = False
    papers: Mapping[str, float] = field(default_factory=dict)
    duty: DutyState = DutyState.OFF
    is_alarmed: bool = False
    services: tuple[str, ...] = ()
    """What they do; all when none is named."""
    zones: tuple[str, ...] = ()
    """Where in the city they go; everywhere when none is named."""


class Witness:
    """Holds dispatch to its promises by what was said and what was stored.

    Args:
        buffer_s: Time that a technician has between two jobs besides the way.
        papers: Names of the papers without which nobody is asked.
    """

    def __init__(self, buffer_s: float = 0.0, papers: Sequence[str] = ()) -> None:
        self._buffer_s = buffer_s
        self._papers = papers
        self.people: dict[UserId, Person] = {}
        self.apart: set[BlockMark] = set()
        """Blocks that were stored; whoever set them does not matter here."""
        self.told: dict[OrderId, Order] = {}
        """Each order as people were last told of it."""
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

    def learn(self, event: e.DispatchEvent) -> None:
        """An event that dispatch has taken says who somebody is now."""
        match event:
            case e.TechnicianPut():
                person = self.people.setdefault(event.technician, Person())
                person.skills, person.verified, person.papers = event.skills, event.verified, event.papers
                person.is_of_city = SHARD.city in event.cities
                person.services, person.zones = event.services, event.zones.get(SHARD.city, ())

    def hear(self, effects: Iterable[e.Effect]) -> None:
        """Effects in the order in which they are performed."""
        for effect in effects:
            match effect:
                case e.DutyChanged(technician):
                    self.people[technician.technician].duty = technician.duty
                case e.SendOffer(offer, order):
                    self._may_be_asked(offer, order)
                    assert (order.order_id, offer.technician) not in self.refused, "asked again after a refusal"
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

    def _may_be_asked(self, offer: Offer, order: Order) -> None:
        assert order.mode is not Mode.MANUAL, "an offer of an order that only staff give away"
        assert order.picked in (None, offer.technician), "an offer to somebody else than the picked one"
        papers = self.people[offer.technician].papers
        ends_at = max(order.scheduled_for or 0.0, offer.offered_at) + order.duration_s
        assert all(papers.get(name, 0.0) >= ends_at for name in self._papers), "papers that end before the service"
        self._may_take(order, offer.technician)
        self._may_have(order, offer.technician)

    def _may_take(self, order: Order, technician: UserId) -> None:
        """What only staff can pass over."""
        who = self.people[technician]
        assert who.skills.issuperset(order.skills), "somebody who cannot do it"
        assert not (order.zone and who.zones) or order.zone in who.zones, "somebody who does not go there"
        assert not self.is_apart(order.customer, technician), "two of whom one has blocked the other"

    def _may_have(self, order: Order, technician: UserId) -> None:
        """What nobody can pass over, staff neither."""
        who = self.people[technician]
        assert who.verified, "somebody whose papers nobody has seen"
        assert who.is_of_city, "somebody of another city"
        assert not who.services or order.service in who.services, "somebody who does not do that service"
        is_by_hand_for_later = order.pinned_by is not None and order.booked_for is not None
        assert who.duty is DutyState.ON or is_by_hand_for_later, "somebody who is not working"
        assert not who.is_alarmed, "somebody with an open alarm"

    def _order_changed(self, news: e.OrderChanged) -> None:
        order_id, what, technician = news.order.order_id, news.what, news.order.technician
        before = self.told.get(order_id)
        self.told[order_id] = news.order
        if what == "assigned":
            assert technician is not None
            self._may_have(news.order, technician)
            if news.order.pinned_by is None:
                self._may_take(news.order, technician)
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
        elif what == "rescheduled" and technician is not None:
            assert news.order.booked_for is not None, "moved to now beside what they do"
            if self.busy.get(technician) == order_id:
                del self.busy[technician]
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
        elif what == "time_added":
            assert before is not None
            self._fits_before_bookings(news.order, before)
        elif what == "switched":
            self._may_begin_again(order_id, by_staff=True)
        elif what in ("cancelled", "unfilled", "confirmed"):
            assert order_id not in self.ended, "ended twice"
            self.ended[order_id] = news.order.state
            self._end(order_id)
        elif what == "departed_safe":
            self._end(order_id)
        elif what == "technician_freed":
            assert technician is not None
            assert self.busy.pop(technician) == order_id
            self.serving.discard(technician)

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

    # -- time -----------------------------------------------------------------------------------------------

    def _gap_s(self, one: Order, other: Order) -> float:
        start_s, s_per_m = Walk().rate(0.0)
        return start_s + s_per_m * distance_m(one.site.point, other.site.point) + self._buffer_s

    def _bookings(self, technician: UserId | None, without: OrderId) -> list[Order]:
        """What a technician has accepted for later, as people were told."""
        held = [self.told[i] for i, holder in self.holder.items() if holder == technician and i != without]
        return [o for o in held if o.state is OrderState.ASSIGNED and o.booked_for is not None]

    def _fits_before_bookings(self, order: Order, before: Order) -> None:
        """A service that was just made longer ends early enough for each booking that begins after its former end."""
        ends_at = _agreed_end(order)
        assert ends_at > _agreed_end(before), "longer without being longer"
        for booking in self._bookings(order.technician, order.order_id):
            assert booking.booked_for is not None
            assert ends_at + self._gap_s(order, booking) <= booking.booked_for + 1e-6, "a service made longer over one"

    def accepts(self, offer: Offer, ledger: Ledger, now: float) -> None:
        """An acceptance that was taken: it can be reached beside everything else that they have promised."""
        assert self.can_keep(offer, ledger, now), "an acceptance beside a booking or a rest"
        order = ledger.orders[offer.order_id]
        job = self.told.get(self.busy.get(offer.technician, order.order_id), order)
        if job.order_id != order.order_id and job.state is OrderState.IN_SERVICE:
            assert _span(offer, order)[0] >= _agreed_end(job), "an acceptance for the time of a running service"

    def can_keep(self, offer: Offer, ledger: Ledger, now: float) -> bool:
        """Whether the technician's bookings and rests leave them the time."""
        order = ledger.orders[offer.order_id]
        begins_at, ends_at = _span(offer, order)
        for other in self._bookings(offer.technician, order.order_id):
            assert other.booked_for is not None
            gap_s = self._gap_s(order, other) - 1e-6
            other_ends_at = max(other.booked_for, now) + other.duration_s
            if ends_at + gap_s > other.booked_for and other_ends_at + gap_s > begins_at:
                return False
        rests = ledger.technicians[offer.technician].rests
        return all(ends_at <= rest.begins_at or rest.ends_at <= max(begins_at, now) for rest in rests)

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
            elif order.freed_at is None:
                assert order.technician is not None
                assert self.busy.get(order.technician) == order.order_id, "a technician with two jobs"
        for spans in booked.values():
            spans.sort()
            assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans)), "bookings that overlap"


def _span(offer: Offer, order: Order) -> tuple[float, float]:
    """When the service of an offer would begin and end."""
    arrives_at = offer.offered_at + offer.travel_s
    begins_at = max(order.scheduled_for or arrives_at, arrives_at)
    return begins_at, begins_at + order.duration_s


def _agreed_end(order: Order) -> float:
    """When a service that has begun is over as agreed."""
    assert order.started_at is not None
    return order.started_at + order.duration_s
