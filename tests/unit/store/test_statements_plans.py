"""Every statement finds its rows by an index: what is fast on an empty file must be fast after years."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import store.audit
import store.dispatch
import store.forgetting
import store.holds
import store.looks
import store.safety
import store.sqlite
import store.streams
import store.tracks
from core.outbox import Stream
from store import schema
from store.listings import blocks_statement, offers_statement, orders_statement
from store.migrate import migrate
from store.outbox import Outbox
from store.statements import Statement, VersionedRows
from tests.contract.store_values import CountedIds

FILES: dict[str, tuple[object, ...]] = {
    "doorstep.db": (
        store.dispatch,
        store.sqlite,
        store.streams,
        Outbox(Stream.MAIN, schema.main_outbox, schema.main_streams),
        store.streams._AckTable(schema.main_acks, schema.main_streams, schema.main_outbox),
    ),
    "safety.db": (
        store.audit,
        store.forgetting,
        store.holds,
        store.looks,
        store.safety,
        Outbox(Stream.SAFETY, schema.safety_outbox, schema.safety_streams),
        store.streams._AckTable(schema.safety_acks, schema.safety_streams, schema.safety_outbox),
    ),
    "tracks.db": (store.tracks,),
}
# Read at start, or once an hour, or bounded by LIMIT from the front of the table.
SCANS = {"_LOAD_MARKS", "_LOAD_SUBJECTS", "_LIVING_DEVICES", "_FORGET_DEVICES", "forget", "_PRUNE"}
# All technicians of a tenant are looked through for those of the city, and all blocks between people are needed in
# each: once for each shard at its start.
# Somebody is forgotten seldom, and of drills and links there is what retention has left.
# The end of a tenant's audit is the first row of its index from behind.
WHOLE_TENANT = {"_LOAD_TECHNICIANS", "_LOAD_BLOCKS", "_HEAD", "_DROP_DRILLS", "_TRIPS"}


def statements(holder: object, prefix: str = "") -> Iterator[tuple[str, Statement]]:
    for name, value in sorted(vars(holder).items()):
        if isinstance(value, Statement):
            yield prefix + name, value
        elif isinstance(value, VersionedRows):
            yield from statements(value, f"{name}.")


WALKS = (
    *((orders_statement, index, ()) for index in ("orders_by_time", "orders_by_city", "orders_settled")),
    *((orders_statement, f"orders_by_{who}", (who,)) for who in ("customer", "technician")),
    (orders_statement, "orders_unsettled", ("city", "state")),
    (offers_statement, "offers_by_state", ("city", "state")),
    (offers_statement, "offers_by_technician", ("technician",)),
    (offers_statement, "offers_by_order", ("order_id",)),
    (offers_statement, "orders_by_customer", ("customer",)),
)
# Few rows, so they may be sorted: one order's offers, one customer's offers, the open orders of a city.
SORTED = {"offers_by_order", "orders_by_customer", "orders_unsettled"}


@pytest.mark.parametrize("counting", [False, True])
@pytest.mark.parametrize(("build", "index", "least"), WALKS)
def test_a_listing_walks_one_index_in_its_order(
    tmp_path: Path, build: Callable[..., Statement], index: str, least: tuple[str, ...], counting: bool
) -> None:
    migrate(tmp_path, CountedIds())
    connection = sqlite3.connect(tmp_path / "doorstep.db")
    if index in ("orders_by_city", "orders_settled"):
        least = ("city",) if index == "orders_by_city" else ("city", "state")
    others = [name for name in ("city", "state", "customer", "technician") if name not in least]
    for extra in ((), *((name,) for name in others), tuple(others)):
        for span in ((), ("from", "to"), ("before",), ("from", "to", "before")):
            if counting and "before" in span:
                continue
            statement = build(index, (*least, *extra, *span), counting)
            values = [1] * statement.text.count("?")
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement.text}", values)]
            assert any(index in step for step in plan), plan
            assert not any("SCAN" in step and "subquery" not in step and "anon" not in step for step in plan), plan
            # Not by the tenant alone: that is everything it ever had.
            assert index == "orders_by_time" or not any(step.endswith("(tenant=?)") for step in plan), plan
            is_sorted = any("B-TREE" in step for step in plan)
            assert not is_sorted or index in SORTED, plan
    connection.close()


@pytest.mark.parametrize("file", FILES)
def test_no_statement_walks_through_a_table(tmp_path: Path, file: str) -> None:
    migrate(tmp_path, CountedIds())
    connection = sqlite3.connect(tmp_path / file)
    looked_at = 0
    for holder in FILES[file]:
        for name, statement in statements(holder):
            values = [1] * statement.text.count("?")
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement.text}", values)]
            looked_at += 1
            assert name in SCANS or not any("SCAN" in step for step in plan), (name, plan)
            assert name in WHOLE_TENANT or not any(step.endswith("(tenant=?)") for step in plan), (name, plan)
    connection.close()
    assert looked_at >= 5


@pytest.mark.parametrize(
    ("index", "least"),
    [
        ("pair_blocks_by_time", ()),
        ("pair_blocks_by_customer", ("customer",)),
        ("pair_blocks_by_technician", ("technician",)),
    ],
)
def test_a_listing_of_blocks_walks_one_index_in_its_order(tmp_path: Path, index: str, least: tuple[str, ...]) -> None:
    migrate(tmp_path, CountedIds())
    connection = sqlite3.connect(tmp_path / "doorstep.db")
    for extra in ((), ("side",), ("before",), ("side", "before")):
        statement = blocks_statement(index, (*least, *extra), False)
        values = [1] * statement.text.count("?")
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement.text}", values)]
        assert any(index in step for step in plan), plan
        assert not any("SCAN" in step or "B-TREE" in step for step in plan), plan
    connection.close()
