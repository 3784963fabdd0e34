"""Blocks between customers and technicians over HTTP: set, lift, list. Nobody reads here whom the other has blocked."""

from api.bodies import BlockIn, BlockPage, BlockView, Done
from api.cities import Cities, ShardParts
from api.cursor import next_cursor, read_cursor
from api.exchange import Request, Response, answer, check_said, whole
from api.inbound import Inbound
from api.settings import ApiSettings
from api.technicians import no_such_technician
from api.views import stamp
from core.errors import Forbidden, Invalid, NotFound
from core.ids import UserId
from core.principal import Principal, Role
from dispatch import events
from dispatch.listing import BlockFilter, ListFilter
from dispatch.model import BlockSide, Order, PairBlock, Technician
from dispatch.ports import DispatchStore, Listings

_USER_LEN_MAX = 64


def no_such_person() -> NotFound:
    """Absent, and never met, look the same."""
    return NotFound("there is no such person for you")


class Blocks:
    """Handlers of ``/v1/customers/{id}/blocks``, ``/v1/technicians/{id}/blocks`` and ``/v1/blocks``."""

    def __init__(
        self, cities: Cities, store: DispatchStore, listings: Listings, inbound: Inbound, settings: ApiSettings
    ) -> None:
        """Keep what the handlers need."""
        self._cities = cities
        self._store = store
        self._listings = listings
        self._inbound = inbound
        self._settings = settings

    async def put_by_customer(self, who: Principal, request: Request) -> Response:
        """PUT /v1/customers/{id}/blocks/{technician}."""
        return await self._put(who, request, BlockSide.CUSTOMER)

    async def put_by_technician(self, who: Principal, request: Request) -> Response:
        """PUT /v1/technicians/{id}/blocks/{customer}."""
        return await self._put(who, request, BlockSide.TECHNICIAN)

    async def delete_by_customer(self, who: Principal, request: Request) -> Response:
        """DELETE /v1/customers/{id}/blocks/{technician}."""
        return await self._delete(who, request, BlockSide.CUSTOMER)

    async def delete_by_technician(self, who: Principal, request: Request) -> Response:
        """DELETE /v1/technicians/{id}/blocks/{customer}."""
        return await self._delete(who, request, BlockSide.TECHNICIAN)

    async def listing(self, who: Principal, request: Request) -> Response:
        """GET /v1/blocks: the caller's own, or for staff those with technicians of their cities; newest first.

        A page of staff may be shorter than asked for: blocks with technicians of other cities are left out of it.
        """
        wanted, is_staff = _asked(who, request)
        limit = whole(request, "limit", 1, self._settings.page_len_max, min(50, self._settings.page_len_max))
        asked = {name: text for name, text in request.query.items() if name not in ("limit", "after")}
        asked[""] = "blocks"
        before = read_cursor(request.query.get("after"), asked)
        found = await self._listings.blocks(who.tenant, wanted, before=before, limit=limit + 1)
        rows = found[:limit]
        following = next_cursor(asked, rows[-1].set_at, rows[-1].block_id) if len(found) > limit else None
        if is_staff and not (who.holds(Role.SERVICE) and not who.cities):
            known = {user: await self._record(who, user) for user in dict.fromkeys(row.technician for row in rows)}
            rows = [row for row in rows if _is_staff_of(who, known[row.technician])]
        return answer(BlockPage([_view(row, is_staff=is_staff) for row in rows], following))

    # -- inside -------------------------------------------------------------------------------------------

    async def _put(self, who: Principal, request: Request, side: BlockSide) -> Response:
        body: BlockIn = request.data
        customer, technician, record, staff = await self._pair(who, request, side)
        if staff:
            if record is None:
                raise no_such_technician()
            check_said(body.reason, "staff say why they set it")
        elif not await self._have_met(who, customer, technician):
            raise no_such_person()
        event = events.PairBlocked(customer, technician, side, who.user, staff, body.reason)
        # One after the other for each person: how many they have blocked is known in every city before the next.
        async with self._inbound.turns.taken((who.tenant, customer if side is BlockSide.CUSTOMER else technician)):
            await self._owner(who, record).dispatch.ask(event)
        standing = [order.order_id for order in self._between(who, customer, technician)]
        return answer(Done({"customer": customer, "technician": technician, "by": side.value, "orders": standing}))

    async def _delete(self, who: Principal, request: Request, side: BlockSide) -> Response:
        customer, technician, record, staff = await self._pair(who, request, side)
        event = events.PairUnblocked(customer, technician, side, who.user, staff)
        async with self._inbound.turns.taken((who.tenant, customer if side is BlockSide.CUSTOMER else technician)):
            await self._owner(who, record).dispatch.ask(event)
        return answer(Done({"customer": customer, "technician": technician, "by": side.value}))

    async def _pair(
        self, who: Principal, request: Request, side: BlockSide
    ) -> tuple[UserId, UserId, Technician | None, bool]:
        """Customer, technician, the technician's record, and whether the caller speaks as staff.

        Raises:
            NotFound: Neither their own block nor that of a technician of their cities.
        """
        for name, text in request.path.items():
            if not (0 < len(text) <= _USER_LEN_MAX and text.isprintable()):
                raise Invalid(f"between 1 and {_USER_LEN_MAX} printable characters", field=name)
        owner = UserId(request.path["id"])
        is_customer = side is BlockSide.CUSTOMER
        customer = owner if is_customer else UserId(request.path["customer"])
        technician = UserId(request.path["technician"]) if is_customer else owner
        record = await self._record(who, technician)
        if who.holds(Role.CUSTOMER if is_customer else Role.TECHNICIAN) and who.user == owner:
            return customer, technician, record, False
        if not _is_staff_of(who, record):
            raise no_such_person() if is_customer else no_such_technician()
        return customer, technician, record, True

    async def _record(self, who: Principal, technician: UserId) -> Technician | None:
        found = self._cities.technician(who.tenant, technician)
        return found[1] if found is not None else await self._store.technician(who.tenant, technician)

    def _owner(self, who: Principal, record: Technician | None) -> ShardParts:
        """The city that decides: where the technician is on duty an offer ends in the same moment."""
        city = record.duty_city if record is not None else None
        part = self._cities.get(who.tenant, city) if city is not None else None
        if part is None and record is not None:
            found = self._cities.technician(who.tenant, record.technician)
            part = found[0] if found is not None else None
        return part or self._cities.of(who.tenant)[0]

    def _between(self, who: Principal, customer: UserId, technician: UserId) -> list[Order]:
        """Open orders of the customer that the technician has."""
        open_orders = [order for _, order in self._cities.orders_of(who.tenant, customer)]
        return [order for order in open_orders if (order.customer, order.technician) == (customer, technician)]

    async def _have_met(self, who: Principal, customer: UserId, technician: UserId) -> bool:
        """Whether the technician has, had or lost an order of the customer: only then do they know each other's id."""
        open_orders = [order for _, order in self._cities.orders_of(who.tenant, customer)]
        if any(o.customer == customer and technician in (o.technician, *o.lost_by) for o in open_orders):
            return True
        wanted = ListFilter(customer=customer, technician=technician)
        return bool(await self._listings.orders(who.tenant, wanted, limit=1))


def _is_staff_of(who: Principal, record: Technician | None) -> bool:
    """Staff of one of the technician's cities, and programs of the whole platform."""
    if who.holds(Role.SERVICE) and not who.cities:
        return True
    return record is not None and who.holds(Role.OPS, Role.SERVICE) and bool(set(record.cities) & who.cities)


def _asked(who: Principal, request: Request) -> tuple[BlockFilter, bool]:
    """What the caller may list of what they ask for, and whether as staff.

    Of the roles in one token staff counts first, unless ``customer`` or ``technician`` names the caller.
    """
    customer, technician = request.query.get("customer"), request.query.get("technician")
    is_staff = who.holds(Role.OPS, Role.SERVICE)
    as_customer = who.holds(Role.CUSTOMER) and technician is None and customer in (None, who.user)
    as_technician = who.holds(Role.TECHNICIAN) and customer is None and technician in (None, who.user)
    if as_customer and (customer is not None or not is_staff):
        return BlockFilter(customer=who.user, side=BlockSide.CUSTOMER), False
    if as_technician and (technician is not None or not is_staff):
        return BlockFilter(technician=who.user, side=BlockSide.TECHNICIAN), False
    if not is_staff:
        raise Forbidden("only staff lists the blocks of others")
    return BlockFilter(
        customer=UserId(customer) if customer is not None else None,
        technician=UserId(technician) if technician is not None else None,
    ), True


def _view(block: PairBlock, *, is_staff: bool) -> BlockView:
    return BlockView(
        customer=block.customer,
        technician=block.technician,
        by=block.side.value,
        set_at=stamp(block.set_at),
        by_staff=block.by_staff,
        # What staff write to each other is not for the person in whose name they act.
        reason=block.reason if is_staff or not block.by_staff else "",
        set_by=block.set_by if is_staff else None,
    )
