"""What dispatch needs from others; filled in ``server/wiring.py``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from core.ids import CityId, OrderId, TenantId, UserId
from core.notice import Notice
from core.outbox import OutboxDraft, OutboxRow
from core.shard import Shard
from dispatch.listing import BlockFilter, ListFilter, Place
from dispatch.model import (
    BlockMark,
    BlockSide,
    IdempotencyRecord,
    Offer,
    Order,
    OrderEvent,
    PairBlock,
    SkippedRounds,
    StoredRound,
    Technician,
    Wake,
    WakeOutcome,
)
from dispatch.problem import FloatArray
from geo.point import LatLng

if TYPE_CHECKING:
    from dispatch.events import Effect, PairBlockChanged


@dataclass(slots=True)
class DispatchChanges:
    """What one turn of the engine changed. Upserts by id; events and rounds are only added."""

    orders: dict[OrderId, Order] = field(default_factory=dict)
    offers: dict[str, Offer] = field(default_factory=dict)
    technicians: dict[UserId, Technician] = field(default_factory=dict)
    events: list[OrderEvent] = field(default_factory=list)
    rounds: list[StoredRound] = field(default_factory=list)
    idempotency: list[IdempotencyRecord] = field(default_factory=list)
    blocks: dict[tuple[UserId, UserId, BlockSide], PairBlock | None] = field(default_factory=dict)
    """By customer, technician and side; None for one that is lifted."""
    alive_at: float | None = None
    """That the shard was served then, for a later start to know how long it was not; None to leave it."""
    skipped: dict[OrderId, SkippedRounds] | None = None
    """Rounds of each order that were not stored since its last stored one, in place of what was said before; None to
    leave that."""
    notices: list[Notice] = field(default_factory=list)
    """What programs outside are to be told of these changes; put in by the service, stored with them."""

    def __bool__(self) -> bool:
        """Whether anything changed."""
        people = self.technicians or self.blocks
        marks = self.alive_at is not None or self.skipped is not None
        told = self.events or self.rounds or self.idempotency or marks
        return bool(self.orders or self.offers or people or told)


@dataclass(frozen=True, slots=True)
class DispatchState:
    """What a shard's engine starts from.

    Attributes:
        orders: Orders not yet confirmed, cancelled or unfilled, and those settled in the last hour.
        offers: All offers of these orders, live and settled (who already refused survives a restart).
        technicians: All technicians whose ``cities`` contain the city, and those on duty in it, or with a job of it
            that they have accepted for later, all the same.
        event_seqs: Last event number of each order.
        idempotency: Keys of the last 24 h.
        alive_at: The last ``DispatchChanges.alive_at``; None for a shard that never stored any.
        skipped: The last ``DispatchChanges.skipped``; also of orders whose search has ended since.
        blocks: Blocks between people of the whole tenant, in no particular order.
    """

    orders: Sequence[Order]
    offers: Sequence[Offer]
    technicians: Sequence[Technician]
    event_seqs: dict[OrderId, int]
    idempotency: Sequence[IdempotencyRecord]
    blocks: Sequence[BlockMark] = ()
    alive_at: float | None = None
    skipped: dict[OrderId, SkippedRounds] = field(default_factory=dict)


class DispatchStore(Protocol):
    """Durable state of dispatch (``store/dispatch.py``; twin ``store/memory.py``)."""

    async def load(self, shard: Shard, now: float) -> DispatchState:
        """Read what the shard's engine starts from. Raises ``Unavailable``."""
        ...

    async def commit(
        self, shard: Shard, changes: DispatchChanges, drafts: Sequence[OutboxDraft], now: float
    ) -> Sequence[OutboxRow]:
        """Store everything or nothing, with fsync, and number the drafts.

        The batch is a savepoint in the writer's transaction. An order, offer or technician is written only over
        ``version - 1``: anything else fails the batch. For an order or offer it means that two owners exist; a
        technician is written by every city that has to do with them.

        Raises:
            Unavailable: Nothing was stored; ``store_conflict`` for a wrong version.
        """
        ...

    async def order(self, tenant: TenantId, order_id: OrderId) -> Order | None:
        """One order, also long settled."""
        ...

    async def events(self, tenant: TenantId, order_id: OrderId) -> Sequence[OrderEvent]:
        """An order's history in order."""
        ...

    async def offers(self, tenant: TenantId, order_id: OrderId) -> Sequence[Offer]:
        """All offers of an order, oldest first."""
        ...

    async def rounds(self, tenant: TenantId, order_id: OrderId) -> Sequence[StoredRound]:
        """Stored rounds that looked at this order, oldest first."""
        ...

    async def rounds_between(
        self,
        tenant: TenantId,
        city: CityId,
        *,
        from_at: float,
        to_at: float,
        after: tuple[float, str] | None = None,
        limit: int,
    ) -> Sequence[StoredRound]:
        """Stored rounds of a city in a window of time, both ends included.

        Oldest first by (at, round_id), strictly after ``after``.
        """
        ...

    async def technician(self, tenant: TenantId, technician: UserId) -> Technician | None:
        """One technician."""
        ...


class Listings(Protocol):
    """Pages of everything that was ever stored (``store/listings.py``). Read beside the writer, for people.

    A page holds the newest rows strictly before a ``Place``, newest first. A row's place never changes, so a row that
    fits the filter all the while is on exactly one page, whatever is written between two of them.
    """

    async def orders(
        self, tenant: TenantId, wanted: ListFilter, *, before: Place | None = None, limit: int
    ) -> Sequence[Order]:
        """A page of orders, by (placed_at, order_id). Raises ``Unavailable``."""
        ...

    async def offers(
        self, tenant: TenantId, wanted: ListFilter, *, before: Place | None = None, limit: int
    ) -> Sequence[Offer]:
        """A page of offers, by (offered_at, offer_id). Raises ``Unavailable``."""
        ...

    async def blocks(
        self, tenant: TenantId, wanted: BlockFilter, *, before: Place | None = None, limit: int
    ) -> Sequence[PairBlock]:
        """A page of blocks between people, by (set_at, block_id). Raises ``Unavailable``."""
        ...

    async def count_orders(
        self, tenant: TenantId, wanted: ListFilter, *, before: Place | None = None, most: int
    ) -> int:
        """How many orders before a place fit, counted no further than ``most``. Raises ``Unavailable``."""
        ...

    async def count_offers(
        self, tenant: TenantId, wanted: ListFilter, *, before: Place | None = None, most: int
    ) -> int:
        """How many offers before a place fit, counted no further than ``most``. Raises ``Unavailable``."""
        ...


class Outbound(Protocol):
    """Turns committed-to-be effects into messages for people (``api/outbound.py``). Pure."""

    def drafts(self, effects: Sequence["Effect"], now: float) -> Sequence[OutboxDraft]:
        """Messages that these effects mean, roles already expanded to users."""
        ...


class Outside(Protocol):
    """Tells programs outside of order events (``api/notices.py``)."""

    def notices(self, effects: Sequence["Effect"], now: float) -> list[Notice]:
        """What these effects mean to whom, to be stored with the change."""
        ...

    def committed(self, notices: Sequence[Notice]) -> None:
        """They are stored: deliver them. Never blocks; what it does not hear it finds in the store."""
        ...


class Reach(Protocol):
    """Knows who has a session (the hub)."""

    def online(self, tenant: TenantId, user: UserId) -> bool:
        """Whether any device of the user has a session."""
        ...


class Notifier(Protocol):
    """Wakes phones (``transport/notifiers.py``)."""

    def wake(self, wake: Wake, done: Callable[[WakeOutcome], None]) -> None:
        """Try to wake one, and tell once what became of it: ``off``, ``sent`` or ``failed``. Never blocks."""
        ...


class Watchers(Protocol):
    """Tells the hub whose position an order's topic shows (``server/wiring.py`` -> realtime).

    Called before anything else of a turn is performed: a right is taken away before the news of it goes out.
    """

    def tracking_changed(self, order: Order) -> None:
        """The order's technician or state changed, so rights to watch and ping policy may have."""
        ...


class Fleet(Protocol):
    """What the rest of the process must know of technicians (``server/wiring.py``). Called after the commit.

    Calls are made in the order of the changes; none may block or raise.
    """

    def duty_changed(self, tenant: TenantId, technician: UserId, shard: Shard | None) -> None:
        """The technician is now on duty in ``shard`` or nowhere.

        When it returns, the shard's ``ShardPositions`` holds a slot for them exactly if ``shard`` is not None:
        dispatch writes the slot's flags next.
        """
        ...

    def attend(self, tenant: TenantId, technician: UserId, cause: str, *, active: bool) -> None:
        """A live offer or a job (``cause``: its id) begins or ends to need the technician's phone close at hand."""
        ...

    def block_changed(self, shard: Shard, change: "PairBlockChanged") -> None:
        """``shard`` committed a block between two people, or that it is lifted: post ``PairBlockCopied`` to the
        tenant's other engines."""
        ...

    def technician_changed(self, shard: Shard, technician: Technician) -> None:
        """``shard`` committed a new version: post ``TechnicianCopied`` to every other engine that should know it.

        Those are the cities of the record, and those that know an older one: a city that the record no longer
        names must not go on by it.
        """
        ...


class OrderHolds(Protocol):
    """Which orders are evidence of an incident (``safety.holds``). From memory, at once; never raises."""

    def is_held(self, tenant: TenantId, order_id: OrderId, now: float) -> bool:
        """Whether the order must not be confirmed, settled or taken away by itself."""
        ...


class TravelRate(Protocol):
    """How fast technicians get to places: the default estimate, without waiting.

    A round needs seconds for thousands of pairs at once and must be repeatable from what it stored: two numbers for
    all of them, and single ways as far as the city's own trips have taught more.
    """

    def rate(self, now: float) -> tuple[float, float]:
        """(seconds before moving, seconds for each great-circle metre) at this time of day."""
        ...

    def between_s(self, origin: LatLng, destination: LatLng, now: float) -> float:
        """Seconds of one way that is begun now, as well as is known."""
        ...

    def has_learned(self) -> bool:
        """Whether ``learned_s`` knows more than ``rate``."""
        ...

    def learned_s(self, origins: FloatArray, destinations: FloatArray, now: float) -> FloatArray | None:
        """Seconds of n ways by what was learned of their places at this hour; None while that is too little.

        Args:
            origins, destinations: Rows of latitude and longitude, shape (n, 2).

        Returns:
            Shape (n,), each what ``between_s`` says.

        Cost:
            4 us a way.
        """
        ...
