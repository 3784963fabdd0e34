"""Numbers of orders and technicians as rows of tables, so that a round takes them as columns. Reads the book; pure.

A row is worked out once for each record: records are never changed in place, so a row is stale exactly when the book
holds another record, or when names have got other bits. Nothing has to be told of a change, and positions are not
here: a round takes them from the index. Taking a thousand rows costs about 0.2 ms, working them out about 4 ms.
"""

from collections.abc import Callable, Hashable, Sequence
from math import inf
from typing import Any, Final, Generic, TypeVar

import numpy as np

from core.ids import OrderId, UserId
from dispatch import eligibility, rating
from dispatch.book import Book
from dispatch.candidates import GENDER_CODES
from dispatch.model import DutyState, Order, Shift, Technician, WorkState
from dispatch.problem import Exclusion, Table

_Key = TypeVar("_Key", bound=Hashable)
_Record = TypeVar("_Record")

SPARE_LEN: Final = 1_024
"""Rows that a sheet may keep besides twice as many as the city has things."""

HARD: Final = tuple(reason for reason in Exclusion if Exclusion.NONE < reason <= Exclusion.CITY)
"""What speaks against a technician whatever the order, the most telling first: the lowest numbers. Those that the
record says are bits of the column ``against``, ``1 << reason``."""

TECHNICIAN: Final = np.dtype(
    [
        ("against", np.uint8),
        ("unheard_at", np.float64),
        ("skills", np.uint64),
        ("zones", np.uint64),
        ("services", np.uint64),
        ("gender", np.uint8),
        ("tier", np.int64),
        ("rating_sum", np.float64),
        ("rating_weight", np.float64),
        ("rating_at", np.float64),
        ("rated_len", np.int64),
        ("idle_at", np.float64),
        ("turns", np.float64),
        ("turns_at", np.float64),
        ("papers_until", np.float64),
        ("walks", np.bool_),
        ("answered", np.bool_),
        ("dated", np.bool_),
        ("shifts", np.int64),
    ]
)
"""``tier`` and ``shifts`` are numbers of ``Sheets.tiers`` and ``Sheets.shifts``; ``dated``: has bookings or rests."""

ORDER: Final = np.dtype(
    [
        ("lat_deg", np.float64),
        ("lng_deg", np.float64),
        ("skills", np.uint64),
        ("skill_unknown", np.bool_),
        ("gender", np.uint8),
        ("picked", np.bool_),
        ("lost", np.bool_),
        ("placed_at", np.float64),
        ("changed_at", np.float64),
        ("begins_at", np.float64),
        ("duration_s", np.float64),
        ("tier_min", np.int64),
        ("zone_bit", np.uint64),
        ("service_bit", np.uint64),
        ("offers_len_max", np.int64),
    ]
)


class Sheet(Generic[_Key, _Record]):
    """One table.

    Args:
        dtype: Its columns.
        numbers: The row of a record.
    """

    def __init__(self, dtype: np.dtype[Any], numbers: Callable[[_Record], tuple[Any, ...]]) -> None:
        self._numbers = numbers
        self._table: Table = np.zeros(64, dtype=dtype)
        self._row_of: dict[_Key, int] = {}
        self._records: list[_Record | None] = []
        self._free: list[int] = []

    def __len__(self) -> int:
        """Rows in use."""
        return len(self._row_of)

    def take(self, keys: Sequence[_Key], records: Sequence[_Record]) -> Table:
        """A copy of the rows of these records, stale ones worked out again."""
        known = self._records
        rows: list[int] = []
        for key, record in zip(keys, records, strict=True):
            row = self._row_of.get(key)
            if row is None or known[row] is not record:
                row = self._write(key, record)
            rows.append(row)
        return self._table[np.array(rows, dtype=np.int64)]

    def refresh(self, keys: Sequence[_Key], records: Sequence[_Record], most: int) -> int:
        """Work out at most so many stale rows of these; returns how many it were."""
        worked_out = 0
        for key, record in zip(keys, records, strict=True):
            row = self._row_of.get(key)
            if row is None or self._records[row] is not record:
                self._write(key, record)
                worked_out += 1
                if worked_out == most:
                    break
        return worked_out

    def keep(self, keys: Callable[[], set[_Key]], len_max: int) -> None:
        """Give up the rows of everything else once there are more than ``len_max``; others use them again."""
        if len(self._row_of) > len_max:
            kept = keys()
            for key in [key for key in self._row_of if key not in kept]:
                row = self._row_of.pop(key)
                self._records[row] = None
                self._free.append(row)

    def clear(self) -> None:
        """Every row is stale."""
        self._records = [None] * len(self._records)

    def check(self) -> None:
        """Assert that every row says what its record says now, and that no two things share one."""
        assert len(set(self._row_of.values())) == len(self._row_of), "two keys of one row"  # noqa: S101
        assert not set(self._free) & set(self._row_of.values()), "a free row in use"  # noqa: S101
        for key, row in self._row_of.items():
            record = self._records[row]
            if record is not None:
                kept = self._table[row].item()
                now = np.array([self._numbers(record)], dtype=self._table.dtype)[0].item()
                assert kept == now, (key, kept, now)  # noqa: S101

    def _write(self, key: _Key, record: _Record) -> int:
        row = self._row_of.get(key)
        if row is None:
            row = self._free.pop() if self._free else len(self._records)
            if row == len(self._records):
                self._records.append(None)
                if row == len(self._table):
                    self._table = np.concatenate([self._table, np.zeros_like(self._table)])
            self._row_of[key] = row
        self._table[row] = self._numbers(record)
        self._records[row] = record
        return row


class Sheets:
    """The tables of one shard.

    Args:
        book: Whose records.
        papers: Names of the papers without which nobody works in the city.
    """

    def __init__(self, book: Book, papers: tuple[str, ...]) -> None:
        self._book = book
        self._papers = papers
        self._names_version = book.names_version
        self.tiers: dict[str, int] = {"": 0}
        """Number of each tier that a record has named."""
        self.shifts: dict[tuple[Shift, ...], int] = {(): 0}
        """Number of each set of shifts that a record has had."""
        self._technicians: Sheet[UserId, Technician] = Sheet(TECHNICIAN, self._technician)
        self._orders: Sheet[OrderId, Order] = Sheet(ORDER, self._order)

    def technicians(self, users: Sequence[UserId], records: Sequence[Technician]) -> Table:
        """Rows of these technicians."""
        self._tidy()
        return self._technicians.take(users, records)

    def orders(self, orders: Sequence[Order]) -> Table:
        """Rows of these orders."""
        self._tidy()
        return self._orders.take([order.order_id for order in orders], orders)

    def refresh(self, users: Sequence[UserId], orders: Sequence[Order], most: int) -> int:
        """Work out at most so many stale rows of each; returns how many it were."""
        self._tidy()
        technicians = self._book.technicians
        worked_out = self._technicians.refresh(users, [technicians[user] for user in users], most)
        return worked_out + self._orders.refresh([order.order_id for order in orders], orders, most)

    def check(self) -> None:
        """Assert that every row that does not count as stale says what its record says. Cost: all rows anew."""
        self._tidy()
        self._technicians.check()
        self._orders.check()

    def _tidy(self) -> None:
        book = self._book
        if self._names_version != book.names_version or len(self.shifts) > SPARE_LEN + 2 * len(book.technicians):
            self._names_version = book.names_version
            self.shifts = {(): 0}
            self._technicians.clear()
            self._orders.clear()
        self._technicians.keep(lambda: set(book.technicians), SPARE_LEN + 2 * len(book.technicians))
        self._orders.keep(lambda: set(book.searching), SPARE_LEN + 2 * len(book.searching))

    def _technician(self, who: Technician) -> tuple[Any, ...]:
        masks = self._book.masks(who)
        return (
            against(who, self._book),
            -inf if who.unheard_since is None else who.unheard_since,
            masks.skills,
            masks.zones,
            masks.services,
            GENDER_CODES[who.gender],
            self.tiers.setdefault(who.tier, len(self.tiers)),
            who.rating_sum,
            who.rating_weight,
            who.rating_at,
            rating.rated_len(who),
            inf if who.idle_since is None else who.idle_since,
            who.turns,
            who.turns_at,
            eligibility.papers_until(who, self._papers),
            not who.own_transport,
            bool(who.answers),
            bool(who.bookings or who.rests),
            self.shifts.setdefault(who.shifts, len(self.shifts)),
        )

    def _order(self, order: Order) -> tuple[Any, ...]:
        book = self._book
        return (
            order.site.point.lat_deg,
            order.site.point.lng_deg,
            book.skill_bits.mask(order.skills),
            not book.skill_bits.knows(order.skills),
            GENDER_CODES[order.gender_preference] if order.gender_preference else 0,
            order.picked is not None,
            bool(order.lost_by),
            order.placed_at,
            order.changed_at,
            -inf if order.scheduled_for is None else order.scheduled_for,
            order.duration_s,
            self.tiers.setdefault(order.tier_min, len(self.tiers)),
            book.zone_bits.wanted(order.zone),
            book.service_bits.wanted(order.service),
            order.offers_len_max,
        )


def against(who: Technician, book: Book) -> int:
    """What the record says against every order, of the ``HARD`` reasons, as bits."""
    bits = 0
    if who.duty is not DutyState.ON or not book.on_duty_here(who):
        bits |= 1 << Exclusion.OFF_DUTY
    if who.work is WorkState.BUSY:
        bits |= 1 << Exclusion.BUSY
    if not who.verified:
        bits |= 1 << Exclusion.UNVERIFIED
    if book.shard.city not in who.cities:
        bits |= 1 << Exclusion.CITY
    return bits
