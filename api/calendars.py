"""A technician's calendar over HTTP: shifts and rests to read and set, booked jobs to read."""

from typing import Final

from api.bodies import BookingView, CalendarIn, CalendarView, RestRow, ShiftRow
from api.cities import Cities, ShardParts
from api.exchange import Request, Response, answer
from api.inbound import Inbound
from api.technicians import may_see, no_such_technician
from api.views import stamp
from core.errors import Invalid
from core.ids import UserId
from core.principal import Principal
from dispatch import events
from dispatch.model import Rest, Shift, Technician
from dispatch.order import is_booking

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Calendars:
    """Handlers of ``/v1/technicians/{id}/calendar``."""

    def __init__(self, cities: Cities, inbound: Inbound) -> None:
        """Keep what the handlers need."""
        self._cities = cities
        self._inbound = inbound

    async def read(self, who: Principal, request: Request) -> Response:
        """GET /v1/technicians/{id}/calendar."""
        part, record = self._visible(who, UserId(request.path["id"]))
        return self._answer(part, record)

    async def put(self, who: Principal, request: Request) -> Response:
        """PUT /v1/technicians/{id}/calendar: shifts and rests, whole. Jobs that are booked stay booked."""
        body: CalendarIn = request.data
        technician = UserId(request.path["id"])
        self._visible(who, technician)
        shifts = tuple(_shift(row) for row in body.shifts)
        rests = tuple(_rest(row, number) for number, row in enumerate(body.rests))
        async with self._inbound.turns.taken((who.tenant, technician)):
            part, _ = self._visible(who, technician)
            await part.dispatch.ask(events.CalendarSet(technician, shifts, rests))
        return self._answer(*self._visible(who, technician))

    def _visible(self, who: Principal, technician: UserId) -> tuple[ShardParts, Technician]:
        found = self._cities.technician(who.tenant, technician)
        if found is None or not may_see(who, found[1]):
            raise no_such_technician()
        # Where they are on duty a change must take effect at once.
        duty_city = found[1].duty_city
        part = self._cities.get(who.tenant, duty_city) if duty_city is not None else None
        return part or found[0], found[1]

    def _answer(self, part: ShardParts, record: Technician) -> Response:
        orders = [order for _, order in self._cities.orders_of(record.tenant, record.technician)]
        booked = sorted((o for o in orders if is_booking(o)), key=lambda o: (o.booked_for or 0.0, o.order_id))
        bookings = [
            BookingView(o.order_id, stamp(o.booked_for), stamp(o.booked_for + o.duration_s))
            for o in booked
            if o.booked_for is not None
        ]
        shifts = [
            ShiftRow([_DAYS[day] for day in shift.days], _clock(shift.begins_min), _clock(shift.ends_min))
            for shift in record.shifts
        ]
        rests = [RestRow(stamp(rest.begins_at), stamp(rest.ends_at)) for rest in record.rests]
        return answer(CalendarView(record.technician, part.timezone, shifts, rests, bookings))


def _shift(row: ShiftRow) -> Shift:
    return Shift(tuple(sorted({_DAYS.index(day) for day in row.days})), _minutes(row.begins), _minutes(row.ends))


def _rest(row: RestRow, number: int) -> Rest:
    if row.ends_at <= row.begins_at:
        raise Invalid("must be later than begins_at", field=f"rests[{number}].ends_at")
    return Rest(row.begins_at, row.ends_at)


def _minutes(clock: str) -> int:
    hours, _, minutes = clock.partition(":")
    return int(hours) * 60 + int(minutes)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
