"""A small city for tests of dispatch: an engine with a real index, a store that checks versions, and a script."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from core.errors import DoorstepError
from core.ids import CityId, OfferId, OrderId, TenantId, UserId
from core.shard import Shard
from dispatch import events as e
from dispatch import rounds
from dispatch.engine import DispatchEngine
from dispatch.model import (
    BlockSide,
    DutyState,
    Gender,
    IdempotencyRecord,
    Offer,
    Order,
    OrderEvent,
    PairBlock,
    Site,
    SkippedRounds,
    StoredRound,
    Technician,
)
from dispatch.order import SETTLED_STATES
from dispatch.places import Places
from dispatch.ports import DispatchChanges, DispatchState, OrderHolds, TravelRate
from dispatch.settings import ArrivalProof, ArrivalSettings, DepartureProof, DispatchSettings
from geo.arrays import FloatArray
from geo.distance import distance_m
from geo.point import LatLng
from geo.position_index import Flag, PositionIndex

SHARD = Shard(TenantId("acme"), CityId("hz"))
T0 = 1_700_000_000.0
CENTRE = LatLng(30.25, 120.16)
M_PER_DEG = 111_195.08
ANNA = UserId("cus_anna")
OPS = UserId("ops_1")
ON_TRUST = ArrivalSettings(en_route_proof=DepartureProof.NONE, arrived_proof=ArrivalProof.NONE)
"""Technicians' words are believed: for tests that are about something else."""


def north(metres: float, of: LatLng = CENTRE) -> LatLng:
    """A point so many metres north."""
    return LatLng(of.lat_deg + metres / M_PER_DEG, of.lng_deg)


def draft(at: LatLng = CENTRE, customer: UserId = ANNA, **facts: Any) -> e.OrderDraft:
    """An order for a massage at a point."""
    site = Site(at, at, "gcj02", "1 Lake Road", unit="7", entrance_note="ring twice", district="West Lake")
    known: dict[str, Any] = {
        "customer": customer,
        "service": "massage",
        "skills": ("massage",),
        "duration_s": 3600.0,
        "site": site,
        "contact_name": "Anna",
        "contact_phone": "13800000000",
        "service_fen": 30_000,
        "travel_fen": 2_000,
    }
    return e.OrderDraft(**(known | facts))


class Ids:
    """Ids that count."""

    def __init__(self) -> None:
        self._number = 0

    def new(self, prefix: str) -> str:
        self._number += 1
        return f"{prefix}{self._number}"


class Walk:
    """One metre takes a quarter of a second; setting out takes a minute."""

    def rate(self, now: float) -> tuple[float, float]:
        return 60.0, 0.25

    def between_s(self, origin: LatLng, destination: LatLng, now: float) -> float:
        return 60.0 + 0.25 * distance_m(origin, destination)

    def has_learned(self) -> bool:
        return False

    def learned_s(self, origins: FloatArray, destinations: FloatArray, now: float) -> FloatArray | None:
        return None


@dataclass
class Ledger:
    """What a store would hold; refuses any version that is not the next."""

    orders: dict[OrderId, Order] = field(default_factory=dict)
    offers: dict[str, Offer] = field(default_factory=dict)
    technicians: dict[UserId, Technician] = field(default_factory=dict)
    events: list[OrderEvent] = field(default_factory=list)
    rounds: list[StoredRound] = field(default_factory=list)
    keys: dict[tuple[UserId, str], IdempotencyRecord] = field(default_factory=dict)
    alive_at: float | None = None
    skipped: dict[OrderId, SkippedRounds] = field(default_factory=dict)
    blocks: dict[tuple[UserId, UserId, BlockSide], PairBlock] = field(default_factory=dict)
    event_seqs: dict[OrderId, int] = field(default_factory=dict)

    def commit(self, changes: DispatchChanges) -> None:
        self.alive_at = changes.alive_at or self.alive_at
        self.skipped = changes.skipped if changes.skipped is not None else self.skipped
        for pair, block in changes.blocks.items():
            if block is None:
                self.blocks.pop(pair, None)
            else:
                self.blocks[pair] = block
        for order in changes.orders.values():
            stored = self.orders.get(order.order_id)
            assert order.version == (stored.version if stored else 0) + 1, order
            self.orders[order.order_id] = order
        for offer in changes.offers.values():
            before = self.offers.get(offer.offer_id)
            assert offer.version == (before.version if before else 0) + 1, offer
            self.offers[offer.offer_id] = offer
        for technician in changes.technicians.values():
            known = self.technicians.get(technician.technician)
            assert technician.version == (known.version if known else 0) + 1, technician
            self.technicians[technician.technician] = technician
        for event in changes.events:
            assert event.seq == 1 + self.event_seqs.get(event.order_id, 0)
            self.event_seqs[event.order_id] = event.seq
            self.events.append(event)
        self.rounds.extend(changes.rounds)
        self.keys.update({(record.user, record.key): record for record in changes.idempotency})

    def copied(self, technician: Technician) -> None:
        """Another city's engine has stored this."""
        known = self.technicians.get(technician.technician)
        if known is None or technician.version > known.version:
            self.technicians[technician.technician] = technician

    def state(self, now: float) -> DispatchState:
        orders = [o for o in self.orders.values() if o.state not in SETTLED_STATES or o.changed_at > now - 3600]
        ids = {o.order_id for o in orders}
        return DispatchState(
            orders=orders,
            offers=[o for o in self.offers.values() if o.order_id in ids],
            technicians=list(self.technicians.values()),
            event_seqs={i: self.event_seqs.get(i, 0) for i in ids},
            idempotency=list(self.keys.values()),
            blocks=[block.mark for block in self.blocks.values()],
            alive_at=self.alive_at,
            skipped=self.skipped,
        )


class World:
    """An engine, its city and its past. Each ``feed`` or ``tick`` is one turn of the service."""

    def __init__(self, settings: DispatchSettings | None = None, **changes: Any) -> None:
        self.settings = replace(settings or DispatchSettings(), **({"arrival": ON_TRUST} | changes))
        self.index = PositionIndex()
        self.places = Places(self.index)
        self.ids = Ids()
        self.ledger = Ledger()
        self.now = T0
        self.solve_later = False
        self.check_every = 1
        """Turns from one check of the engine's invariants to the next: a check looks at everything in memory."""
        self._turns = 0
        self.served: frozenset[CityId] | None = None
        self.to_solve: list[e.SolveRound] = []
        self.asks_roads = False
        self.holds: OrderHolds | None = None
        self.travel: TravelRate = Walk()
        self.to_tell: list[e.AskWays] = []
        self.engine = self._new_engine()

    def _new_engine(self) -> DispatchEngine:
        return DispatchEngine(
            SHARD,
            settings=self.settings,
            places=self.places,
            travel=self.travel,
            ids=self.ids,
            served=self.served,
            asks_roads=self.asks_roads,
            holds=self.holds,
        )

    # -- turns ----------------------------------------------------------------------------------------------

    def feed(self, event: e.DispatchEvent, at: float | None = None) -> list[e.Effect]:
        """One event, with everything that follows from it at this moment."""
        return self.batch([event], at)

    def batch(self, events: Sequence[e.DispatchEvent], at: float | None = None) -> list[e.Effect]:
        """Several events in one turn. ``at`` counts from the beginning of the world."""
        if at is not None:
            self.tick(at)
        effects: list[e.Effect] = []
        for event in events:
            if isinstance(event, e.TechnicianCopied):
                self.ledger.copied(event.technician)
            effects.extend(self.engine.handle(event, self.now))
        effects.extend(self._end_turn())
        self._perform(effects)
        effects.extend(self._catch_up())
        return effects

    def turn(self, events: Sequence[e.DispatchEvent]) -> tuple[list[e.Effect], list[bool]]:
        """Several events in one turn as the service takes them: a refused one changes nothing, the others go on.

        Returns:
            The effects, and for each event whether it was taken.
        """
        effects: list[e.Effect] = []
        taken: list[bool] = []
        for event in events:
            try:
                effects.extend(self.engine.handle(event, self.now))
            except DoorstepError:
                taken.append(False)
            else:
                taken.append(True)
        effects.extend(self._end_turn())
        self._perform(effects)
        effects.extend(self._catch_up())
        return effects, taken

    def tick(self, at: float) -> list[e.Effect]:
        """Let time pass up to ``at`` seconds; each deadline is met when it is due."""
        effects: list[e.Effect] = []
        end = T0 + at
        while (due := self.engine.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            effects.extend(self._catch_up())
        self.now = max(self.now, end)
        return effects

    def _catch_up(self) -> list[e.Effect]:
        effects: list[e.Effect] = []
        for _ in range(100):
            due = self.engine.next_deadline()
            if due is None or due > self.now:
                return effects
            turn = self.engine.on_deadline(self.now)
            turn.extend(self._end_turn())
            self._perform(turn)
            effects.extend(turn)
        raise AssertionError("the engine's deadlines never end at this moment")

    def _end_turn(self) -> list[e.Effect]:
        effects = self.engine.settle(self.now)
        self.ledger.commit(self.engine.changes)
        self.engine.committed()
        return effects

    def _perform(self, effects: Sequence[e.Effect]) -> None:
        for effect in list(effects):
            if isinstance(effect, e.DutyChanged):
                self._claim(effect.technician.technician, effect.shard is not None)
            elif isinstance(effect, e.TechnicianChanged):
                self.places.write(effect.technician, self.engine.masks(effect.technician), effect.rating)
            elif isinstance(effect, e.AskWays):
                self.to_tell.append(effect)
            elif isinstance(effect, e.SolveRound):
                self.to_solve.append(effect)
        for technician in self.engine.take_late():
            self.places.write(
                technician, self.engine.masks(technician), self.engine.rating(technician.technician, self.now)
            )
        self._turns += 1
        if self._turns % self.check_every == 0:
            self.engine.check()
        if self.to_solve and not self.solve_later:
            assert isinstance(effects, list)
            effects.extend(self.solve())

    def solve(self) -> list[e.Effect]:
        """Answer the round that waits for a thread."""
        wanted = self.to_solve.pop(0)
        answer = e.RoundSolved(wanted.round_id, *rounds.solve_and_encode(wanted.problem))
        return self.feed(answer)

    def _claim(self, user: UserId, on: bool) -> None:
        if on:
            self.index.claim(user)
            return
        is_alarmed = self.is_alarmed(user)
        self.index.release(user)
        if is_alarmed:
            self.alarm(user, is_open=True)  # safety shows it again

    def restart(self, *, heard: bool = True) -> None:
        """The process ends and begins again: only what was stored is left. ``heard``: phones report at once."""
        connected = {user: self._where(user) for user in self.index}
        alarmed = [user for user in self.index if self.is_alarmed(user)]
        self.index = PositionIndex()
        self.places = Places(self.index)
        self.engine = self._new_engine()
        self.engine.load(self.ledger.state(self.now), self.now)
        self.to_solve.clear()
        for technician in self.engine.technicians():
            if technician.duty is not DutyState.OFF:
                self.index.claim(technician.technician)
                masks = self.engine.masks(technician)
                self.places.write(technician, masks, self.engine.rating(technician.technician, self.now))
                where, on = connected[technician.technician]
                if heard:
                    self.seen(technician.technician, where, connected=on)
        for user in alarmed:
            self.alarm(user, is_open=True)
        self.engine.check()

    def _where(self, user: UserId) -> tuple[LatLng | None, bool]:
        slot = self.index.claim(user)
        on = bool(int(self.index.flags[slot]) & int(Flag.CONNECTED))
        lat, lng = float(self.index.lat[slot]), float(self.index.lng[slot])
        return (LatLng(lat, lng) if lat == lat else None), on

    # -- people ---------------------------------------------------------------------------------------------

    def put(self, name: str, **facts: Any) -> list[e.Effect]:
        """Register a technician."""
        known: dict[str, Any] = {
            "technician": UserId(name),
            "name": name.title(),
            "skills": frozenset({"massage"}),
            "gender": Gender.FEMALE,
            "tier": "",
            "cities": (SHARD.city,),
            "verified": True,
        }
        return self.feed(e.TechnicianPut(**(known | facts)))

    def join(self, name: str, metres: float = 500.0, **facts: Any) -> UserId:
        """Register a technician, put them on duty, and place them so many metres north of the centre."""
        self.put(name, **facts)
        self.feed(e.DutySet(UserId(name), DutyState.ON))
        self.seen(UserId(name), north(metres))
        return UserId(name)

    def seen(self, user: UserId, where: LatLng | None, *, connected: bool = True) -> None:
        """A ping of this technician arrives now."""
        slot = self.index.claim(user)
        if where is not None:
            self.index.move(self.index_slots(slot), [where.lat_deg], [where.lng_deg], seen_at=self.now)
        self.index.heard_at[slot] = self.now
        bit = int(Flag.CONNECTED)
        self.index.set_flags(slot, set=bit if connected else 0, clear=0 if connected else bit)

    def mocked(self, user: UserId) -> None:
        """The phone says that what it reported just now was made up."""
        self.index.mocked_at[self.index.claim(user)] = self.now

    def alarm(self, user: UserId, *, is_open: bool) -> None:
        """Safety shows in the index whether somebody has an open alarm."""
        bit = int(Flag.ALARM)
        self.index.set_flags(self.index.claim(user), set=bit if is_open else 0, clear=0 if is_open else bit)

    def is_alarmed(self, user: UserId) -> bool:
        """Whether the index shows an open alarm."""
        slot = self.index.slot(user)
        return slot is not None and bool(int(self.index.flags[slot]) & int(Flag.ALARM))

    def index_slots(self, slot: int) -> Any:
        """One slot as an array."""
        return np.array([slot])

    def place(self, at: LatLng = CENTRE, by: UserId = ANNA, key: str = "", **facts: Any) -> Order:
        """Place an order and return it as it is after the turn."""
        effects = self.feed(e.OrderPlaced(draft(at, by, **facts), by, key, "f"))
        placed = next(x for x in effects if isinstance(x, e.OrderChanged) and x.what == "placed")
        return self.order(placed.order.order_id)

    def order(self, order_id: OrderId) -> Order:
        """The order as the engine has it."""
        order = self.engine.order(order_id)
        assert order is not None
        return order

    def offer_of(self, name: str) -> Offer:
        """The live offer of a technician."""
        offer = self.engine.live_offer(UserId(name))
        assert offer is not None, f"{name} has no live offer"
        return offer

    def accept(self, name: str) -> list[e.Effect]:
        """A technician takes the offer they have."""
        return self.feed(e.OfferAccepted(self.offer_of(name).offer_id, UserId(name)))

    def receive(self, name: str) -> Offer:
        """A technician's phone acknowledges the offer it got."""
        offer = self.offer_of(name)
        self.feed(e.OfferReceived(offer.offer_id, UserId(name)))
        return offer

    def steps(self, order: Order, *steps: e.Step) -> None:
        """The order's technician reports steps."""
        technician = self.order(order.order_id).technician
        assert technician is not None
        for step in steps:
            self.feed(e.StepTaken(order.order_id, technician, step))


ALL_STEPS = tuple(step for step in e.Step if step is not e.Step.NO_SHOW)


def offer_id(effects: Sequence[e.Effect]) -> OfferId:
    """The offer sent by these effects."""
    return next(x.offer.offer_id for x in effects if isinstance(x, e.SendOffer))


# -- partial matching -------------------------------------------------------------------------------------


class Like:
    """Equal to any value of a kind whose named fields (``a__b`` goes into ``a``) have these values."""

    def __init__(self, kind: type, **facts: Any) -> None:
        self.kind = kind
        self.facts = facts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, self.kind) and all(_dig(other, k) == v for k, v in self.facts.items())

    def __hash__(self) -> int:
        return hash(self.kind)

    def __repr__(self) -> str:
        told = ", ".join(f"{k}={v!r}" for k, v in self.facts.items())
        return f"{self.kind.__name__}({told}, …)"


def _dig(value: Any, path: str) -> Any:
    for name in path.split("__"):
        value = getattr(value, name)
    return value


def asks(technician: str, **facts: Any) -> Like:
    """An offer goes to this technician."""
    return Like(e.SendOffer, offer__technician=technician, **facts)


def closes(technician: str, reason: e.CloseReason) -> Like:
    """This technician's offer ends."""
    return Like(e.CloseOffer, offer__technician=technician, reason=reason)


def tells(what: str, **facts: Any) -> Like:
    """An order's change is told."""
    return Like(e.OrderChanged, what=what, **facts)


def heard(effects: Sequence[e.Effect]) -> list[e.Effect]:
    """Effects that people hear of: orders and offers, without the bookkeeping of technicians."""
    kinds = (e.OrderChanged, e.SendOffer, e.CloseOffer)
    return [x for x in effects if isinstance(x, kinds)]
