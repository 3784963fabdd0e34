"""What must hold in a shard's book after every event. Broken ones are bugs, told with the story of the thing."""

from typing import Final

from dispatch.book import Book, pick_of
from dispatch.deadlines import Deadlines, Due
from dispatch.endings import agreed_end_at
from dispatch.model import DutyState, Mode, OfferState, OrderState, Technician, WorkState
from dispatch.order import is_booking, is_job

_ENDED_BY: Final = {
    OrderState.SCHEDULED: (Due.OPEN,),
    OrderState.MATCHING: (Due.GIVE_UP,),
    OrderState.ASSIGNED: (Due.LEASE, Due.OVERDUE),
    OrderState.EN_ROUTE: (Due.LEASE, Due.OVERDUE),
    OrderState.ARRIVED: (Due.OVERDUE,),
    OrderState.IN_SERVICE: (Due.OVERDUE,),
    OrderState.FINISHED: (Due.CONFIRM,),
    OrderState.DEPARTED_SAFE: (Due.CONFIRM,),
}
"""The deadlines that take each order on when nobody does, or tell people of it again and again."""


class BrokenInvariant(AssertionError):
    """The book contradicts itself. Never caught by name."""


def check_book(book: Book) -> None:
    """Check that the indexes agree with the values and that nobody is in two places.

    Raises:
        BrokenInvariant: With the facts.

    Cost:
        O(everything in memory); for tests and diagnosis.
    """
    _check_offers(book)
    _check_jobs(book)
    for technician in book.technicians.values():
        _check_technician(book, technician)


def check_next_events(book: Book, deadlines: Deadlines, *, is_looking: bool) -> None:
    """Check that each open order and each live offer has a next event of its own, whatever becomes of the others.

    Args:
        is_looking: Whether a round is due or under way.

    Raises:
        BrokenInvariant: With the facts.
    """
    for order in book.orders.values():
        has_all = all(deadlines.has(due, order.order_id) for due in _ENDED_BY.get(order.state, ()))
        # A search whose time is over waits for the offers that are still open.
        is_answered = order.state is OrderState.MATCHING and order.order_id in book.live_of_order
        if not (has_all or is_answered):
            raise BrokenInvariant("an order without a next event", order.state, book.story(order.order_id))
    for offer_id in book.live_of_technician.values():
        is_known = book.offers[offer_id].delivered_at is not None
        if not deadlines.has(Due.EXPIRE, offer_id):
            raise BrokenInvariant("an offer that never expires", book.story(offer_id))
        if not (is_known or deadlines.has(Due.UNDELIVERED, offer_id)):
            raise BrokenInvariant("an offer that may be lost", book.story(offer_id))
    _hold(is_looking or not book.waiting, "orders that nobody looks at again", book.waiting)


def _hold(condition: bool, *facts: object) -> None:
    if not condition:
        raise BrokenInvariant(*facts)


def _check_offers(book: Book) -> None:
    live = {o.offer_id: o for o in book.offers.values() if o.state is OfferState.PENDING}
    by_order = sorted(offer_id for offer_ids in book.live_of_order.values() for offer_id in offer_ids)
    _hold(by_order == sorted(live), "live offers by order", book.live_of_order, live)
    _hold(all(book.live_of_order.values()), "an order without live offers among those with", book.live_of_order)
    _hold(sorted(book.live_of_technician.values()) == sorted(live), "by technician", book.live_of_technician, live)
    for offer in live.values():
        story = book.story(offer.order_id)
        order = book.orders[offer.order_id]
        live_len = len(book.live_of_order[offer.order_id])
        _hold(offer.offer_id in book.live_of_order[offer.order_id], "a live offer of another order", story)
        _hold(live_len <= order.offers_len_max, "more live offers than the mode allows", live_len, story)
        _hold(order.mode is not Mode.MANUAL, "an offer of an order that only staff give away", story)
        _hold(order.picked in (None, offer.technician), "an offer to somebody else than the picked one", story)
        _hold(book.live_of_technician[offer.technician] == offer.offer_id, "two offers for one technician", story)
        _hold(order.state is OrderState.MATCHING, "offer of an order not in matching", story)
        _hold(not book.has_refused(offer.order_id, offer.technician), "asked again after a refusal", story)
    _check_waiting(book)
    for order_id, offer_ids in book.offers_of.items():
        _hold(order_id in book.orders, "offers of a forgotten order", order_id)
        _hold(all(i in book.offers for i in offer_ids), "offers by order", order_id)


def _check_waiting(book: Book) -> None:
    picks = sorted((user, order_id) for user, order_ids in book.picks_of.items() for order_id in order_ids)
    wanted = sorted((user, o.order_id) for o in book.orders.values() if (user := pick_of(o)) is not None)
    _hold(picks == wanted and all(book.picks_of.values()), "picks", book.picks_of, wanted)
    hungry = {
        o.order_id
        for o in book.orders.values()
        if o.state is OrderState.MATCHING and len(book.live_of_order.get(o.order_id, ())) < o.offers_len_max
    }
    _hold(book.waiting.keys() == hungry, "waiting orders", book.waiting)
    _hold(book.unasked.keys() == hungry - book.live_of_order.keys(), "orders nobody was asked for", book.unasked)


def _check_jobs(book: Book) -> None:
    taken = {o.order_id: o for o in book.orders.values() if is_job(o) or is_booking(o)}
    jobs = [order_id for order_id, order in taken.items() if is_job(order)]
    _hold(sorted(book.job_of.values()) == sorted(jobs), "jobs", book.job_of, sorted(jobs))
    ends = {user: agreed_end_at(book.orders[order_id]) for user, order_id in book.job_of.items()}
    serving = {user: end_at for user, end_at in ends.items() if end_at is not None}
    _hold(book.endings.all() == serving, "ends of services", book.endings.all(), serving)
    booked = [order_id for order_ids in book.bookings_of.values() for order_id in order_ids]
    _hold(sorted(booked) == sorted(taken.keys() - set(jobs)), "bookings", book.bookings_of, sorted(jobs))
    for order in taken.values():
        story = book.story(order.order_id)
        if is_job(order):
            _hold(order.technician is not None and book.job_of[order.technician] == order.order_id, "job", story)
        else:
            mine = book.bookings_of.get(order.technician, ()) if order.technician is not None else ()
            _hold(order.order_id in mine, "booking", story)
        accepted = [
            offer.technician
            for offer in (book.offers[i] for i in book.offers_of.get(order.order_id, ()))
            if offer.state is OfferState.ACCEPTED and not book.has_refused(order.order_id, offer.technician)
        ]
        is_pinned = order.pinned_by is not None and not accepted
        _hold(accepted == [order.technician] or is_pinned, "acceptances of one job", accepted, story)


def _check_technician(book: Book, technician: Technician) -> None:
    user = technician.technician
    work = book.work_of(user)
    here = book.on_duty_here(technician)
    if here or work is not WorkState.IDLE:
        _hold(technician.work is work, user, "work is", technician.work, "should be", work)
        _hold(here, user, "works here but is not on duty here")
    if work is WorkState.OFFERED:
        _hold(technician.duty is DutyState.ON, user, "has an offer and duty", technician.duty)
    ending = here and technician.duty is DutyState.ENDING
    _hold((user in book.ending) == ending, user, "ending index", ending)
    _hold(not ending or user in book.job_of or user in book.bookings_of, user, "leaves duty, and nothing would end it")
    recorded = {b.order_id for b in technician.bookings if b.city == book.shard.city and b.busy_since is None}
    _hold(recorded == set(book.bookings_of.get(user, ())), user, "bookings of the record", recorded)
    doing = {b.order_id for b in technician.bookings if b.city == book.shard.city and b.busy_since is not None}
    job_id = book.job_of.get(user)
    is_shown = job_id is not None and any(city != book.shard.city for city in technician.cities)
    _hold(doing == ({job_id} if is_shown else set()), user, "the running job of the record", doing)
    free = here and technician.duty is DutyState.ON and work is WorkState.IDLE
    _hold((user in book.idle) == free, user, "idle index", free)
    _hold((user in book.unheard) == (technician.unheard_since is not None), user, "unheard index")
