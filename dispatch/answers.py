"""What becomes of an offer: its technician answers, lets it lapse, or cannot be reached. Part of the engine; pure."""

from dataclasses import replace

from core.ids import OfferId, UserId
from dispatch import events as e
from dispatch import offer as offers
from dispatch import turns as turns_of
from dispatch import willing
from dispatch.book import Book
from dispatch.calendar import Calendars, service_begins_at
from dispatch.deadlines import Deadlines, Due
from dispatch.errors import conflict, no_such_offer
from dispatch.events import CloseReason, Effect
from dispatch.exclusions import Moment
from dispatch.matchmaker import DEADLINE_GRACE_S, Matchmaker
from dispatch.model import Offer, OfferState, OrderState
from dispatch.moves import SYSTEM, Moves
from dispatch.offer import OfferMove
from dispatch.order import OrderMove
from dispatch.settings import DispatchSettings
from dispatch.standing import Standing


class Answers:
    """Offers of one shard, once they are made."""

    def __init__(
        self,
        book: Book,
        deadlines: Deadlines,
        moves: Moves,
        matchmaker: Matchmaker,
        calendars: Calendars,
        standing: Standing,
        settings: DispatchSettings,
    ) -> None:
        self._book = book
        self._deadlines = deadlines
        self._moves = moves
        self._matchmaker = matchmaker
        self._calendars = calendars
        self._standing = standing
        self._settings = settings
        self._missed: set[OfferId] = set()
        """Offers whose time ended while the server was down: that is nobody's refusal."""

    def arm(self, offer: Offer, back_at: float, now: float) -> None:
        """Take over an offer that was open when the server ended.

        Args:
            back_at: When its phone can have found the server again, and its technician answered.
        """
        self._deadlines.set(offer.expires_at + DEADLINE_GRACE_S, Due.EXPIRE, offer.offer_id)
        if offer.expires_at < back_at:
            self._missed.add(offer.offer_id)
        if offer.delivered_at is None:
            # The phone had no server to acknowledge to: it gets its time again.
            self._deadlines.set(now + self._settings.undelivered_s, Due.UNDELIVERED, offer.offer_id)
        self._matchmaker.arm_reminder(offer, now)

    # -- answers --------------------------------------------------------------------------------------------

    def accept(self, event: e.OfferAccepted, now: float) -> list[Effect]:
        """The offer becomes the job, and the other offers of the order end in the same turn. Idempotent.

        Raises:
            NotFound: No such offer, or not theirs.
            Conflict: It came too late, or the two do not fit each other any more (``no_longer_fits``,
                ``calendar_conflict``).
        """
        offer = self._offer_for(event.offer_id, event.technician)
        book = self._book
        order = book.orders[offer.order_id]
        if offer.state is OfferState.ACCEPTED and order.technician == offer.technician:
            return []
        if offer.state is not OfferState.PENDING or offers.is_late(offer, now):
            raise offers.too_late(offer, order, now)
        self._standing.check(order, offer.technician, now, Moment.ACCEPT)
        # The time for thinking is not held against them: what the round saw is judged by what has come since.
        arrives_at = offer.offered_at + offer.travel_s
        clash = self._calendars.clash(order, offer.technician, now, arrives_at)
        if clash is not None:
            raise conflict("calendar_conflict", f"it cannot be done beside the {clash.kind} at {clash.from_at:.0f}")
        begins_at = service_begins_at(order, arrives_at)
        is_later = offer.technician in book.job_of or begins_at - offer.travel_s > now
        offer = self._moves.close(offer, OfferMove.ACCEPT, now, delivered_at=offer.delivered_at or now)
        self._note_answer(offer, now, refused=False)
        order = self._moves.move(
            order,
            OrderMove.ASSIGN,
            now,
            event.technician,
            {"offer": offer.offer_id, "technician": offer.technician},
            technician=offer.technician,
            eta_s=offer.travel_s,
            way_m=offer.distance_m,
            booked_for=begins_at if is_later else None,
            reason="",
        )
        # In the same turn, so that losers of a broadcast hear of it as soon as the winner does.
        lost = self._moves.revoke_live(order, CloseReason.TAKEN, now)
        return [
            e.OfferAnswered(offer),
            self._moves.tell(order, OrderState.ASSIGNED, now),
            *self._moves.follow(offer.technician, order, now),
            *lost,
        ]

    def decline(self, event: e.OfferDeclined, now: float) -> list[Effect]:
        """The order goes on to the next best. Idempotent; raises as ``accept`` for what came too late."""
        offer = self._offer_for(event.offer_id, event.technician)
        if offer.state is OfferState.DECLINED:
            return []
        if offer.state is not OfferState.PENDING or offers.is_late(offer, now):
            raise offers.too_late(offer, self._book.orders.get(offer.order_id), now)
        received_at = offer.delivered_at or now
        offer = self._moves.close(offer, OfferMove.DECLINE, now, reason=event.reason, delivered_at=received_at)
        self._note_answer(offer, now, refused=True)
        return [e.OfferAnswered(offer), *self._moves.next_best(offer, "declined", event.technician, now)]

    def received(self, event: e.OfferReceived, now: float) -> list[Effect]:
        """A device of the technician has it: it need not be given up as undelivered."""
        offer = self._book.offers.get(event.offer_id)
        if offer is None or offer.technician != event.technician or offer.state is not OfferState.PENDING:
            return []
        if offer.delivered_at is None:
            self._book.put_offer(replace(offer, delivered_at=now))
            self._deadlines.drop(Due.UNDELIVERED, offer.offer_id)
        return []

    def phone_lost(self, event: e.PhoneLost, now: float) -> list[Effect]:
        """The last device is gone: the offer goes on soon unless one comes back."""
        offer = self._book.live_offer(event.technician)
        # Whom the customer picked is waited for: their phone is woken and reminded instead.
        if offer is not None and self._book.orders[offer.order_id].picked is None:
            self._deadlines.set(now + self._settings.phone_lost_s, Due.UNDELIVERED, offer.offer_id)
        return []

    def phone_found(self, event: e.PhoneFound, now: float) -> list[Effect]:
        """A device is back: it has its time to receive the offer."""
        offer = self._book.live_offer(event.technician)
        if offer is not None and offer.delivered_at is not None:
            self._deadlines.drop(Due.UNDELIVERED, offer.offer_id)
        elif offer is not None:
            self._deadlines.set(now + self._settings.undelivered_s, Due.UNDELIVERED, offer.offer_id)
        return []

    # -- time ------------------------------------------------------------------------------------------------

    def expire(self, id_: str, now: float) -> list[Effect]:
        """The time for an answer is over."""
        if OfferId(id_) in self._missed:
            self._missed.discard(OfferId(id_))
            return self._moves.withdraw_offer(self._book.offers[OfferId(id_)].technician, now)
        offer = self._moves.close(self._book.offers[OfferId(id_)], OfferMove.EXPIRE, now)
        self._note_answer(offer, now, refused=True)
        closed = e.CloseOffer(offer, CloseReason.EXPIRED)
        return [closed, *self._moves.next_best(offer, "expired", SYSTEM, now)]

    def undelivered(self, id_: str, now: float) -> list[Effect]:
        """No device has received the offer in time."""
        offer = self._moves.close(self._book.offers[OfferId(id_)], OfferMove.FAIL, now)
        who = self._book.technicians.get(offer.technician)
        if who is not None:
            self._book.put_technician(replace(who, unheard_since=now))
        closed = e.CloseOffer(offer, CloseReason.UNDELIVERED)
        return [closed, *self._moves.next_best(offer, "undelivered", SYSTEM, now)]

    def remind(self, id_: str, now: float) -> list[Effect]:
        """An offer without an answer is told again."""
        return self._matchmaker.remind(self._book.offers[OfferId(id_)], now)

    # -- small things ---------------------------------------------------------------------------------------

    def _note_answer(self, offer: Offer, now: float, *, refused: bool) -> None:
        """Count how a technician has answered: what they will probably do next time is part of the cost."""
        who = self._book.technicians.get(offer.technician)
        if who is not None:
            order = self._book.orders[offer.order_id]
            hour = self._calendars.hours.hour(willing.served_at(order, offer.offered_at))
            counted = willing.answered(who, order.service, hour, now, self._settings.decline, refused=refused)
            # Work that is taken counts when it is given (``Moves.move``).
            self._book.put_technician(turns_of.had(counted, now, self._settings.turn) if refused else counted)

    def _offer_for(self, offer_id: OfferId, by: UserId) -> Offer:
        offer = self._book.offers.get(offer_id)
        if offer is None or offer.technician != by:
            raise no_such_offer()
        return offer
