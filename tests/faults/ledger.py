"""What clients were told, and the proof that it is so: in the files as a kill left them, and over HTTP."""

import json
import shutil
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

STEPS = ("en_route", "arrived", "in_service", "finished", "departed_safe")
RANK = {state: n for n, state in enumerate(("placed", "matching", "assigned", *STEPS, "confirmed"))}
INCIDENT_RANK = {
    "open": 0, "acknowledged": 1, "responding": 2, "on_scene": 3, "cancel_pending": 4, "resolved": 5, "closed": 6
}  # fmt: skip
OUTBOXES = {"main": "doorstep.db", "safety": "safety.db"}
VARYING = ("stream", "seq", "epoch", "remaining_ms")
"""Members that are added when a row is sent, or depend on the moment."""


def canonical(message: dict[str, Any]) -> str:
    """A reliable message without what differs from one sending of it to the next."""
    return json.dumps({name: value for name, value in message.items() if name not in VARYING}, sort_keys=True)


@dataclass
class Received:
    """One device's share of one stream: every row it was ever sent, by number."""

    base: int
    epoch: str
    rows: dict[int, str] = field(default_factory=dict)
    repeats: int = 0

    @property
    def last(self) -> int:
        return max(self.rows, default=self.base)

    @property
    def missing(self) -> list[int]:
        return [seq for seq in range(self.base + 1, self.last + 1) if seq not in self.rows]


@dataclass
class Ledger:
    """Everything the server has acknowledged, and everything that was wrong."""

    orders: dict[str, tuple[str, str, dict[str, Any]]] = field(default_factory=dict)
    """order -> customer, idempotency key, body"""
    states: dict[str, str] = field(default_factory=dict)
    """order -> highest state that was acknowledged"""
    cancelled: set[str] = field(default_factory=set)
    """Orders whose cancel was acknowledged; ``cancel_asked`` those for which it was asked."""
    cancel_asked: set[str] = field(default_factory=set)
    accepts: dict[str, tuple[str, str]] = field(default_factory=dict)
    """offer -> technician, order"""
    declines: dict[str, str] = field(default_factory=dict)
    sos: dict[str, tuple[str, str]] = field(default_factory=dict)
    """key -> subject, incident"""
    incidents: dict[str, str] = field(default_factory=dict)
    """incident -> highest state that was acknowledged"""
    duty: dict[str, bool | None] = field(default_factory=dict)
    """technician -> what was acknowledged last; None while the outcome of a request is unknown"""
    received: dict[tuple[str, str, str], Received] = field(default_factory=dict)
    """user, device, stream -> rows"""
    faults: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    def fault(self, text: str) -> None:
        if len(self.faults) < 50:
            self.faults.append(text)

    def raise_state(self, order: str, state: str) -> None:
        known = self.states.get(order)
        if known is None or RANK[state] > RANK[known]:
            self.states[order] = state

    def raise_incident(self, incident: str, state: str) -> None:
        if INCIDENT_RANK[state] > INCIDENT_RANK.get(self.incidents.get(incident, ""), -1):
            self.incidents[incident] = state

    def accepted(self, offer: str, technician: str, order: str) -> None:
        for other, (who, what) in self.accepts.items():
            if what == order and other != offer:
                self.fault(f"order {order} was given to {who} by {other} and to {technician} by {offer}")
        self.accepts[offer] = (technician, order)
        self.raise_state(order, "assigned")


# -- the files ------------------------------------------------------------------------------------------


def _copied(folder: Path, to: Path) -> Path:
    """The databases as they lie there. A copy: opening the real ones would repair what the server must repair."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    for name in OUTBOXES.values():
        for suffix in ("", "-wal"):
            if (folder / f"{name}{suffix}").exists():
                shutil.copy(folder / f"{name}{suffix}", to / f"{name}{suffix}")
    return to


def _rows(folder: Path, name: str, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / name)) as database:
        return database.execute(query).fetchall()


def _bodies(folder: Path, name: str, query: str) -> list[dict[str, Any]]:
    return [msgspec.msgpack.decode(row[0]) for row in _rows(folder, name, query)]


def check_files(folder: Path, scratch: Path, ledger: Ledger) -> None:
    """Hold the files of a dead server against what it had told its clients."""
    copy = _copied(folder, scratch)
    for name in OUTBOXES.values():
        assert _rows(copy, name, "PRAGMA integrity_check") == [("ok",)], name
    _check_orders(copy, ledger)
    _check_incidents(copy, ledger)
    _check_streams(copy, ledger)


def _check_orders(copy: Path, ledger: Ledger) -> None:
    orders = {order["order_id"]: order for order in _bodies(copy, "doorstep.db", "SELECT body FROM orders")}
    offers = {offer["offer_id"]: offer for offer in _bodies(copy, "doorstep.db", "SELECT body FROM offers")}
    lost = ledger.orders.keys() - orders.keys()
    assert not lost, f"acknowledged orders are gone: {sorted(lost)[:5]}"
    for order_id, (customer, _, _) in ledger.orders.items():
        assert orders[order_id]["customer"] == customer
    for order_id, state in ledger.states.items():
        stored = orders[order_id]["state"]
        if stored in RANK:
            assert RANK[stored] >= RANK[state], f"{order_id} was told to be {state}, is {stored}"
        elif stored == "cancelled":
            assert order_id in ledger.cancel_asked, f"{order_id} was cancelled by nobody"
    for order_id in ledger.cancelled:
        assert orders[order_id]["state"] == "cancelled"
    for offer_id, (technician, order_id) in ledger.accepts.items():
        assert offers[offer_id]["state"] == "accepted", f"{offer_id} was accepted, is {offers[offer_id]['state']}"
        assert offers[offer_id]["technician"] == technician
        assert orders[order_id]["technician"] == technician
    for offer_id in ledger.declines:
        assert offers[offer_id]["state"] == "declined"
    accepted = Counter(offer["order_id"] for offer in offers.values() if offer["state"] == "accepted")
    assert not [order_id for order_id, count in accepted.items() if count > 1], "an order was accepted twice"
    for offer in offers.values():
        if offer["state"] == "accepted":
            assert orders[offer["order_id"]]["technician"] == offer["technician"]
    _check_events(copy, "doorstep.db", "order_events", "order_id")
    _check_one_job_each(copy)
    technicians = _bodies(copy, "doorstep.db", "SELECT body FROM technicians")
    for record in technicians:
        told = ledger.duty.get(record["technician"])
        wanted = ("on",) if told else ("off", "ending")  # who leaves in a job leaves after it
        assert told is None or record["duty"] in wanted, record


def _check_events(copy: Path, name: str, table: str, key: str) -> None:
    seqs = defaultdict(list)
    for row_id, seq in _rows(copy, name, f"SELECT {key}, seq FROM {table} ORDER BY seq"):  # noqa: S608
        seqs[row_id].append(seq)
    for row_id, found in seqs.items():
        assert found == list(range(1, len(found) + 1)), f"the history of {row_id} has a gap: {found}"


def _check_one_job_each(copy: Path) -> None:
    """Nobody works on two orders at once: the stored histories, replayed."""
    busy: dict[str, str] = {}
    working: dict[str, str] = {}
    query = "SELECT body FROM order_events ORDER BY at, rowid"
    orders = {o["order_id"]: o["technician"] for o in _bodies(copy, "doorstep.db", "SELECT body FROM orders")}
    for event in _bodies(copy, "doorstep.db", query):
        order, state, who = event["order_id"], event["state"], orders[event["order_id"]]
        if state == "en_route" and who is not None and order not in working:  # what is accepted before may follow
            assert who not in busy, f"{who} set out for {order} while working on {busy[who]}"
            busy[who], working[order] = order, who
        elif state not in STEPS[:-1] and order in working:
            busy.pop(working.pop(order), None)


def _check_incidents(copy: Path, ledger: Ledger) -> None:
    incidents = {i["incident_id"]: i for i in _bodies(copy, "safety.db", "SELECT body FROM incidents")}
    taps = {t["key"]: t["incident_id"] for t in _bodies(copy, "safety.db", "SELECT body FROM triggers")}
    for key, (subject, incident_id) in ledger.sos.items():
        assert incident_id in incidents, f"the incident of tap {key} is gone"
        assert incidents[incident_id]["subject"] == subject
        assert taps.get(key) == incident_id, f"tap {key} is not stored"
    events = _bodies(copy, "safety.db", "SELECT body FROM incident_events")
    lived = {(event["incident_id"], event["state"]) for event in events}
    for incident_id, state in ledger.incidents.items():
        # An owner who is gone loses it again: what was told must have been, not be.
        assert (incident_id, state) in lived, f"{incident_id} was told to be {state}, and never was"
    _check_events(copy, "safety.db", "incident_events", "incident_id")


def stored_streams(folder: Path) -> dict[tuple[str, str], dict[int, str]]:
    """user, stream -> every row of the outbox; the numbers must reach from 1 to the head."""
    found: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for stream, name in OUTBOXES.items():
        for user, seq, body in _rows(folder, name, "SELECT recipient, seq, body FROM outbox"):
            found[user, stream][seq] = canonical(json.loads(body))
        for user, head, first in _rows(folder, name, "SELECT recipient, seq, first_seq FROM streams"):
            assert sorted(found[user, stream]) == list(range(first, head + 1)), f"{stream} of {user} has a hole"
    return found


def _check_streams(copy: Path, ledger: Ledger) -> None:
    stored = stored_streams(copy)
    for (user, device, stream), got in ledger.received.items():
        rows = stored.get((user, stream), {})
        assert got.last <= max(rows, default=0), f"{device} of {user} was sent a row that is not stored"
        for seq, body in got.rows.items():
            assert rows[seq] == body, f"row {seq} of {user}/{stream} is not what was sent"


def heads(folder: Path) -> dict[tuple[str, str], int]:
    """user, stream -> last number given; of a running server."""
    found = {}
    for stream, name in OUTBOXES.items():
        for user, head in _rows(folder, name, "SELECT recipient, seq FROM streams"):
            found[user, stream] = head
    return found
