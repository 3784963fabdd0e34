"""Listings of orders and offers: who may ask for what, pages in JSON, and whole exports as CSV."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from api.bodies import OfferPage, OfferRow, OrderPage
from api.csv_text import BOM, CSV_TYPE, csv_rows
from api.cursor import next_cursor, read_cursor
from api.exchange import Request, Response, answer, number, whole
from api.settings import ApiSettings
from api.views import is_staff_of
from core.errors import Forbidden, Invalid, NotFound, Refused, Unavailable
from core.ids import CityId, OrderId, TenantId, UserId
from core.principal import Principal, Role
from dispatch.listing import ListFilter, Place
from dispatch.model import Offer, OfferState, Order, OrderState
from dispatch.ports import Listings

_log = logging.getLogger(__name__)
_NOT_FILTERS: Final = frozenset({"after", "limit", "format", "charset"})
_EPOCH_S_MAX: Final = 4e9
_EXPORT_PAGE_LEN: Final = 100
"""Rows that are shown and written in one turn of the loop: a few milliseconds."""
RowT = TypeVar("RowT")
RowT_co = TypeVar("RowT_co", covariant=True)
StateT = TypeVar("StateT", OrderState, OfferState)


def asked_filter(who: Principal, request: Request, states: type[StateT]) -> ListFilter:
    """What the caller asks for, narrowed to what they may see: the authorisation of a listing.

    Staff: their cities, or one of them. Technicians: what has to do with them. Customers: their own orders. Of the
    roles in one token the strongest counts, unless ``technician`` or ``customer`` names the caller.

    Raises:
        NotFound: The city is not one of the caller's.
        Forbidden: The caller names somebody else.
        Invalid: A parameter is not what it should be.
    """
    query = request.query
    technician, customer, order = query.get("technician"), query.get("customer"), query.get("order")
    city = CityId(query["city"]) if "city" in query else None
    cities = None if city is None else frozenset({city})
    match _capacity(who, technician, customer):
        case Role.OPS:
            cities = _staff_cities(who, city)
        case Role.TECHNICIAN:
            if customer is not None:
                raise Forbidden("only staff lists by customer")
            technician = _self_only(who, "technician", technician)
        case _:
            if technician is not None or states is OfferState:
                raise Forbidden("only staff lists by technician")
            customer = _self_only(who, "customer", customer)
    from_at, to_at = _time(request, "from"), _time(request, "to")
    if from_at is not None and to_at is not None and not from_at < to_at:
        raise Invalid("must be later than from", field="to")
    return ListFilter(
        cities=cities,
        state=_state(request, states),
        technician=UserId(technician) if technician is not None else None,
        customer=UserId(customer) if customer is not None else None,
        order=OrderId(order) if order is not None else None,
        from_at=from_at,
        to_at=to_at,
    )


def _capacity(who: Principal, technician: str | None, customer: str | None) -> Role:
    """In which of their roles somebody asks; ``OPS`` stands for staff of either kind."""
    if customer == who.user and technician is None and who.holds(Role.CUSTOMER):
        return Role.CUSTOMER
    if technician == who.user and customer is None and who.holds(Role.TECHNICIAN):
        return Role.TECHNICIAN
    if who.holds(Role.OPS, Role.SERVICE):
        return Role.OPS
    return Role.TECHNICIAN if who.holds(Role.TECHNICIAN) else Role.CUSTOMER


def _staff_cities(who: Principal, city: CityId | None) -> frozenset[CityId] | None:
    """Cities that staff may list; None for all of the tenant."""
    if city is None:
        return None if who.holds(Role.SERVICE) and not who.cities else who.cities
    if not is_staff_of(who, city):
        raise NotFound("there is no such city", field="city")
    return frozenset({city})


def _self_only(who: Principal, field: str, named: str | None) -> str:
    if named not in (None, who.user):
        raise Forbidden(f"only staff lists by another {field}")
    return who.user


def _time(request: Request, name: str) -> float | None:
    return number(request, name, 0.0, _EPOCH_S_MAX) if name in request.query else None


def _state(request: Request, states: type[StateT]) -> StateT | None:
    text = request.query.get("state")
    if text is None:
        return None
    try:
        return states(text)
    except ValueError:
        raise Invalid(f"must be one of {', '.join(states)}", field="state") from None


class Format(StrEnum):
    """How a listing is answered."""

    JSON = "json"
    CSV = "csv"


def asked_format(request: Request) -> Format:
    """``format``, else what ``Accept`` names; JSON unless CSV is asked for. Raises ``Invalid``."""
    text = request.query.get("format")
    if text is not None:
        try:
            return Format(text)
        except ValueError:
            raise Invalid("must be json or csv", field="format") from None
    accepted = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
    wants_csv = "text/csv" in accepted and "application/json" not in accepted
    return Format.CSV if wants_csv else Format.JSON


_BOMS: Final = {"utf-8": b"", "utf-8-bom": BOM}


def _charset(request: Request) -> str:
    text = request.query.get("charset", "utf-8").lower()
    if text not in _BOMS:
        raise Invalid(f"must be one of {', '.join(_BOMS)}", field="charset")
    return text


class Exports:
    """Counts exports under way: each holds a page and a reader's time."""

    def __init__(self, settings: ApiSettings) -> None:
        """Keep the bound."""
        self._most = settings.exports_max
        self._now = 0

    def begin(self) -> None:
        """One more; ``end`` must follow. Raises ``Unavailable`` (``overloaded``)."""
        if self._now >= self._most:
            raise Unavailable(f"{self._most} exports are being written", code="overloaded")
        self._now += 1

    def end(self) -> None:
        """One is done, or was given up."""
        self._now -= 1


class ReadPage(Protocol[RowT_co]):
    """Reads a page of rows (``dispatch.ports.Listings``)."""

    def __call__(  # noqa: D102 - the class says it
        self, tenant: TenantId, wanted: ListFilter, *, before: Place | None = None, limit: int
    ) -> Awaitable[Sequence[RowT_co]]: ...


class CountRows(Protocol):
    """Counts rows up to a bound (``dispatch.ports.Listings``)."""

    def __call__(  # noqa: D102 - the class says it
        self, tenant: TenantId, wanted: ListFilter, *, before: Place | None = None, most: int
    ) -> Awaitable[int]: ...


@dataclass(frozen=True, slots=True)
class Listing(Generic[RowT]):
    """How one kind of rows is read, found again and written.

    Attributes:
        kind: Its word, part of what a cursor is bound to.
        place: Where a row stands.
        page: Makes the JSON answer of views and the next cursor.
        columns: Of the CSV: headings, and the view's field below each; a dot goes into a field that may be absent.
    """

    kind: str
    read: ReadPage[RowT]
    count: CountRows
    place: Callable[[RowT], Place]
    page: Callable[[list[Any], str | None], Any]
    columns: Mapping[str, str]
    exports: Exports
    settings: ApiSettings

    async def answer(
        self, tenant: TenantId, request: Request, wanted: ListFilter, view: Callable[[RowT], msgspec.Struct]
    ) -> Response:
        """A page in JSON, or everything as CSV; ``view`` shows one row as the caller may see it.

        Raises:
            Invalid: ``limit``, ``after`` or ``format`` is wrong.
            Refused: More rows than an export may hold (``export_too_large``).
            Unavailable: The store cannot be read, or too many exports are under way.
        """
        asked = {name: text for name, text in request.query.items() if name not in _NOT_FILTERS}
        asked[""] = self.kind
        before = read_cursor(request.query.get("after"), asked)
        if asked_format(request) is Format.CSV:
            return await self._export(tenant, request, wanted, before, view)
        longest = self.settings.page_len_max
        limit = whole(request, "limit", 1, longest, min(50, longest))
        rows = await self.read(tenant, wanted, before=before, limit=limit + 1)
        views = [view(row) for row in rows[:limit]]
        following = next_cursor(asked, *self.place(rows[limit - 1])) if len(rows) > limit else None
        return answer(self.page(views, following))

    # -- CSV ----------------------------------------------------------------------------------------------

    async def _export(
        self,
        tenant: TenantId,
        request: Request,
        wanted: ListFilter,
        before: Place | None,
        view: Callable[[RowT], msgspec.Struct],
    ) -> Response:
        longest = self.settings.export_rows_max
        limit = whole(request, "limit", 1, longest, longest)
        head = _BOMS[_charset(request)]
        counted = "limit" not in request.query
        if counted and await self.count(tenant, wanted, before=before, most=longest + 1) > longest:
            # Refused, not cut: a table that silently lacks its oldest rows is worse than none.
            raise Refused(f"more than {longest} rows; narrow `from` and `to`, or give `limit`", code="export_too_large")
        self.exports.begin()
        chunks = self._chunks(tenant, wanted, before, limit, view)
        # The first is taken here: an error in it is still a proper answer, and from here on `aclose` ends the count.
        first = await anext(chunks)
        headers = {"Content-Disposition": f'attachment; filename="{self.kind}.csv"'}
        return Response(200, head + first, CSV_TYPE, headers, chunks)

    async def _chunks(
        self,
        tenant: TenantId,
        wanted: ListFilter,
        before: Place | None,
        limit: int,
        view: Callable[[RowT], msgspec.Struct],
    ) -> AsyncGenerator[bytes, None]:
        left = limit
        try:
            head = csv_rows([list(self.columns)])
            while left > 0:
                rows = await self.read(tenant, wanted, before=before, limit=min(_EXPORT_PAGE_LEN, left))
                views = [view(row) for row in rows]
                body = csv_rows([_field(shown, path) for path in self.columns.values()] for shown in views)
                yield head + body
                head = b""
                if len(rows) < min(_EXPORT_PAGE_LEN, left):
                    break
                left -= len(rows)
                before = self.place(rows[-1])
        finally:
            self.exports.end()


_ORDER_COLUMNS: Final[Mapping[str, str]] = {
    **{name: name for name in ("order", "state", "service", "city", "placed_at", "changed_at", "customer")},
    "technician": "technician.technician",
    "technician_name": "technician.name",
    **{
        name: name
        for name in ("duration_s", "scheduled_for", "price_fen", "eta_s", "reason", "contact_name", "contact_phone")
    },
    **{name: f"location.{name}" for name in ("address", "unit", "entrance_note", "lat", "lng", "crs")},
    **{name: name for name in ("said", "said_by")},
}
"""Headings, and the fields of ``OrderView`` below them; what the caller may not see is an empty cell."""


def order_listing(listings: Listings, exports: Exports, settings: ApiSettings) -> Listing[Order]:
    """Orders by the time they were placed."""
    return Listing(
        "orders",
        listings.orders,
        listings.count_orders,
        lambda order: (order.placed_at, order.order_id),
        OrderPage,
        _ORDER_COLUMNS,
        exports,
        settings,
    )


def offer_listing(listings: Listings, exports: Exports, settings: ApiSettings) -> Listing[Offer]:
    """Offers by the time they were made."""
    return Listing(
        "offers",
        listings.offers,
        listings.count_offers,
        lambda offer: (offer.offered_at, offer.offer_id),
        OfferPage,
        {name: name for name in OfferRow.__struct_fields__},
        exports,
        settings,
    )


def _field(view: object, column: str) -> object:
    found = view
    for step in column.split("."):
        found = getattr(found, step, None)  # UNSET has no fields
    return found
