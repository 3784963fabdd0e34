"""Who works: profiles, duty, calendars, copies of other cities' technicians, alarms."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from core.ids import CityId, OrderId, UserId
from core.shard import Shard
from dispatch import events as e
from dispatch import technician
from dispatch.book import Book
from dispatch.calendar import Calendars
from dispatch.errors import conflict, no_such_technician
from dispatch.events import Effect, News
from dispatch.exclusions import Moment, labels
from dispatch.matchmaker import Matchmaker
from dispatch.model import DutyState, OrderState, Technician
from dispatch.moves import SYSTEM, Moves
from dispatch.news import technician_changed
from dispatch.settings import DispatchSettings
from dispatch.standing import Standing


class Roster:
    """Technicians of one shard."""

    def __init__(
        self,
        shard: Shard,
        book: Book,
        moves: Moves,
        matchmaker: Matchmaker,
        calendars: Calendars,
        standing: Standing,
        settings: DispatchSettings,
    ) -> None:
        self._shard = shard
        self._book = book
        self._moves = moves
        self._matchmaker = matchmaker
        self._calendars = calendars
        self._standing = standing
        self._settings = settings

    def check_names(self, user: UserId, skills: Iterable[str], services: Iterable[str], zones: Iterable[str]) -> None:
        """Raise ``Invalid`` when the city cannot know these names of a technician besides those of the others."""
        book = self._book
        known = book.technicians.get(user)
        if known is not None and not book.counts_here(known):
            known = None
        book.skill_bits.check(skills, instead_of=() if known is None else known.skills)
        book.service_bits.check(services, instead_of=() if known is None else known.services)
        book.zone_bits.check(zones, instead_of=() if known is None else book.zones_of(known))

    def set_duty(self, event: e.DutySet, now: float) -> list[Effect]:
        """A technician enters or leaves duty, or pauses."""
        book = self._book
        who = book.technicians.get(event.technician)
        if who is None:
            raise no_such_technician()
        if who.duty is not DutyState.OFF and not book.on_duty_here(who):
            raise conflict("on_duty_elsewhere", f"on duty in {who.duty_city}")
        job_id = book.job_of.get(event.technician)
        done = book.orders[job_id] if job_id is not None else None
        if done is not None and done.state is not OrderState.FINISHED:
            done = None
        duty = event.duty
        in_job = job_id is not None and (done is None or self._has_next(event.technician, now))
        if duty is DutyState.OFF and (in_job or who.duty is DutyState.ENDING):
            duty = DutyState.ENDING  # nobody leaves a customer; the wish is kept
        if who.duty is duty:
            return []
        self._refuse_duty(who, duty)
        # Whoever has finished and goes on or off duty has left, whether they said so or not.
        effects = [] if done is None else self._moves.let_go(done, now)
        effects += self._moves.withdraw_offer(event.technician, now)
        return [*effects, *self._change_duty(event.technician, duty, now)]

    def settle(self, now: float) -> list[Effect]:
        """End a turn: who wished to leave and has nothing more to do is off duty."""
        book = self._book
        if not book.ending:
            return []
        # What was taken from somebody, or is over, has changed their record.
        touched = {order.technician for order in book.changes.orders.values()}
        users = book.ending.keys() & (touched | book.changes.technicians.keys())
        leaving = [user for user in sorted(users) if not self._has_work(user, now)]
        return [effect for user in leaving for effect in self._change_duty(user, DutyState.OFF, now)]

    def _has_work(self, user: UserId, now: float) -> bool:
        """Whether they are in a job, or have one next that they would lose if they left duty now."""
        return user in self._book.job_of or self._has_next(user, now)

    def _has_next(self, user: UserId, now: float) -> bool:
        book, next_s = self._book, self._settings.lost.booked_check_s
        booked = (book.orders[order_id].booked_for for order_id in book.bookings_of.get(user, ()))
        return any(at is not None and at - now <= next_s for at in booked)

    def _change_duty(self, user: UserId, duty: DutyState, now: float) -> list[Effect]:
        book = self._book
        who = book.put_technician(technician.set_duty(book.technicians[user], duty, self._shard.city, now))
        self._matchmaker.want()
        shard = None if duty is DutyState.OFF else self._shard
        return [e.DutyChanged(who, shard), technician_changed(book, who, "duty", now, self._settings.rating)]

    def _refuse_duty(self, who: Technician, duty: DutyState) -> None:
        if not technician.can_set_duty(who, duty):
            raise conflict("not_on_duty", f"duty is {who.duty}, it cannot become {duty}")
        if duty is DutyState.ON and not who.verified:
            raise conflict("unverified", "papers are not verified yet")
        if duty is DutyState.ON and self._shard.city not in who.cities:
            raise conflict("city_not_allowed", f"not registered for {self._shard.city}")

    def put(self, event: e.TechnicianPut, now: float) -> list[Effect]:
        """A technician's profile is new."""
        book = self._book
        known = book.technicians.get(event.technician)
        if self._shard.city in event.cities or (known is not None and book.on_duty_here(known)):
            zones = event.zones.get(self._shard.city, ())
            self.check_names(event.technician, event.skills, event.services, zones)
        if known is None and event.stored is not None:
            known = book.with_duty(event.stored)
        if known is None:
            known = Technician(
                tenant=self._shard.tenant,
                technician=event.technician,
                name=event.name,
                skills=event.skills,
                gender=event.gender,
                tier=event.tier,
                cities=(),
                verified=event.verified,
                version=0,
                changed_at=now,
            )
        cities = tuple(CityId(city) for city in event.cities)
        who = replace(
            known,
            name=event.name,
            skills=event.skills,
            gender=event.gender,
            tier=event.tier,
            cities=cities,
            verified=event.verified,
            papers=dict(event.papers),
            own_transport=event.own_transport,
            services=event.services,
            zones=dict(event.zones),
        )
        if who == known and event.technician in book.technicians:
            return []
        before = self._standing.misfits(event.technician, now)
        who = book.put_technician(replace(who, changed_at=now))
        self._matchmaker.want()
        told = technician_changed(book, who, "put", now, self._settings.rating)
        return [told, *self._look_at_orders(event.technician, before, now)]

    def set_calendar(self, event: e.CalendarSet, now: float) -> list[Effect]:
        """A technician works and rests at other times; an offer that does not fit any more is withdrawn."""
        book = self._book
        who = book.technicians.get(event.technician)
        if who is None:
            raise no_such_technician()
        if (who.shifts, who.rests) == (event.shifts, event.rests):
            return []
        who = book.put_technician(replace(who, shifts=event.shifts, rests=event.rests, changed_at=now))
        self._matchmaker.want()
        effects: list[Effect] = [technician_changed(book, who, "calendar", now, self._settings.rating)]
        return [*effects, *self.withdraw_unfit(event.technician, now)]

    def withdraw_unfit(self, user: UserId, now: float) -> list[Effect]:
        """Withdraw a technician's live offer if it does not fit into their calendar any more."""
        offer = self._book.live_offer(user)
        if offer is None:
            return []
        order, arrives_at = self._book.orders[offer.order_id], offer.offered_at + offer.travel_s
        fits = self._calendars.clash(order, user, now, arrives_at) is None
        return [] if fits else self._moves.withdraw_offer(user, now)

    def take_copy(self, event: e.TechnicianCopied, now: float) -> list[Effect]:
        """See ``TechnicianCopied``."""
        book, copy = self._book, event.technician
        known = book.technicians.get(copy.technician)
        if known is not None and copy.version <= known.version:
            return []
        if known is not None and book.on_duty_here(known):
            # What they do is decided here while they are on duty here.
            copy = replace(
                copy,
                duty=known.duty,
                duty_city=known.duty_city,
                work=known.work,
                idle_since=known.idle_since,
                unheard_since=known.unheard_since,
                turns=known.turns,
                turns_at=known.turns_at,
            )
            self._matchmaker.want()
        is_new_record = known is not None and _record(known) != _record(copy)
        before = self._standing.misfits(copy.technician, now) if is_new_record else {}
        book.take_technician(copy)
        effects: list[Effect] = [technician_changed(book, copy, "copied", now, self._settings.rating)]
        if is_new_record:
            effects.extend(self._look_at_orders(copy.technician, before, now))
        return [*effects, *self.withdraw_unfit(copy.technician, now)]

    def _look_at_orders(self, user: UserId, before: Collection[OrderId], now: float) -> list[Effect]:
        """After a change of a record: withdraw an offer that it does not fit, and tell staff of accepted orders.

        Args:
            before: Orders that it did not fit before either.
        """
        effects: list[Effect] = []
        for order_id, reasons in self._standing.misfits(user, now).items():
            if order_id not in before:
                order = self._book.orders[order_id]
                self._book.note(order, now, News.UNFIT, SYSTEM, technician=user, lacking=labels(reasons))
                effects.append(e.JobNews(order, News.UNFIT, now))
        offer = self._book.live_offer(user)
        if offer is not None:
            order = self._book.orders[offer.order_id]
            if self._standing.against(order, user, now, Moment.ACCEPT | Moment.CHANGE):
                effects.extend(self._moves.withdraw_offer(user, now))
        return effects

    def alarm_raised(self, event: e.AlarmRaised, now: float) -> list[Effect]:
        """See ``AlarmRaised``."""
        return self._moves.withdraw_offer(event.technician, now)


def _record(who: Technician) -> tuple[object, ...]:
    """What of a technician speaks for or against orders whatever they are doing."""
    limits = who.services, who.zones
    return who.verified, who.cities, who.skills, who.gender, who.tier, who.papers, who.own_transport, limits
