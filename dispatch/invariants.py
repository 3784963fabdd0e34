"""What must hold in a shard's book after every event. Broken ones are bugs, told with the story of the thing."""

from dispatch.book import Book
from dispatch.model import DutyState, OfferState, OrderState, Technician, WorkState
from dispatch.order import JOB_STATES


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


def _hold(condition: bool, *facts: object) -> None:
    if not condition:
        raise BrokenInvariant(*facts)


def _check_offers(book: Book) -> None:
    live = {o.offer_id: o for o in book.offers.values() if o.state is OfferState.PENDING}
    _hold(sorted(book.live_of_order.values()) == sorted(live), "live offers by order", book.live_of_order, live)
    _hold(sorted(book.live_of_technician.values()) == sorted(live), "by technician", book.live_of_technician, live)
    for offer in live.values():
        story = book.story(offer.order_id)
        _hold(book.live_of_order[offer.order_id] == offer.offer_id, "two live offers for one order", story)
        _hold(book.live_of_technician[offer.technician] == offer.offer_id, "two offers for one technician", story)
        _hold(book.orders[offer.order_id].state is OrderState.MATCHING, "offer of an order not in matching", story)
        _hold(not book.has_refused(offer.order_id, offer.technician), "asked again after a refusal", story)
    matching = {o.order_id for o in book.orders.values() if o.state is OrderState.MATCHING}
    _hold(book.waiting.keys() == matching - book.live_of_order.keys(), "waiting orders", book.waiting)
    for order_id, offer_ids in book.offers_of.items():
        _hold(order_id in book.orders, "offers of a forgotten order", order_id)
        _hold(all(i in book.offers for i in offer_ids), "offers by order", order_id)


def _check_jobs(book: Book) -> None:
    jobs = {o.order_id: o for o in book.orders.values() if o.state in JOB_STATES}
    _hold(sorted(book.job_of.values()) == sorted(jobs), "jobs", book.job_of, sorted(jobs))
    for order in jobs.values():
        story = book.story(order.order_id)
        _hold(order.technician is not None and book.job_of[order.technician] == order.order_id, "job", story)
        accepted = [
            offer.technician
            for offer in (book.offers[i] for i in book.offers_of.get(order.order_id, ()))
            if offer.state is OfferState.ACCEPTED and not book.has_refused(order.order_id, offer.technician)
        ]
        _hold(accepted == [order.technician], "acceptances of one job", accepted, story)


def _check_technician(book: Book, technician: Technician) -> None:
    user = technician.technician
    work = WorkState.IDLE
    if user in book.job_of:
        work = WorkState.BUSY
    elif user in book.live_of_technician:
        work = WorkState.OFFERED
    here = book.on_duty_here(technician)
    if here or work is not WorkState.IDLE:
        _hold(technician.work is work, user, "work is", technician.work, "should be", work)
        _hold(here, user, "works here but is not on duty here")
    if work is WorkState.OFFERED:
        _hold(technician.duty is DutyState.ON, user, "has an offer and duty", technician.duty)
    free = here and technician.duty is DutyState.ON and work is WorkState.IDLE
    _hold((user in book.idle) == free, user, "idle index", free)
    _hold((user in book.unheard) == (technician.unheard_since is not None), user, "unheard index")
