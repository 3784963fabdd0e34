"""A busy day in a small city: many rounds, decided by a seed alone."""

import random
from dataclasses import replace
from typing import Any

from core.ids import OrderId, UserId
from dispatch import events as e
from dispatch.model import Gender, OrderState
from dispatch.settings import DispatchSettings, RoundSettings
from geo.point import LatLng
from tests.unit.dispatch.world import ALL_STEPS, CENTRE, M_PER_DEG, T0, World, draft


def busy_day(decisions: int, seed: int, **settings: Any) -> World:
    """Live until at least so many decisions (orders looked at by a stored round) have been made."""
    rng = random.Random(seed)
    world = World(replace(DispatchSettings(), round=replace(RoundSettings(), keep_every_s=0.0), **settings))
    world.check_every = 100
    people = [UserId(f"t{number:02d}") for number in range(24)]
    for user in people:
        world.join(
            user,
            rng.uniform(0, 6_000),
            gender=rng.choice([Gender.FEMALE, Gender.MALE]),
            tier=rng.choice(["", "silver", "gold"]),
            skills=frozenset(rng.sample(["massage", "yoga", "cupping"], 2)),
        )
    made, counted = 0, 0
    while made < decisions:
        world.tick(world.now - T0 + rng.uniform(1, 30))
        for user in people:
            world.seen(user, _somewhere(rng), connected=rng.random() < 0.95)
        drafts = [
            draft(
                _somewhere(rng),
                customer=UserId(f"c{rng.randrange(40)}"),
                skills=(rng.choice(["massage", "yoga"]),),
                gender_preference=rng.choice([None, None, Gender.FEMALE]),
            )
            for _ in range(rng.randrange(1, 7))
        ]
        world.batch([e.OrderPlaced(d, d.customer) for d in drafts])
        for offer in world.engine.live_offers():
            answer = e.OfferDeclined if rng.random() < 0.3 else e.OfferAccepted
            world.feed(answer(offer.offer_id, offer.technician))
        for order in list(world.engine.open_orders()):
            if order.state is OrderState.ASSIGNED and rng.random() < 0.7:
                world.steps(order, *ALL_STEPS)
            elif order.state is OrderState.MATCHING and rng.random() < 0.5:
                world.feed(e.OrderCancelled(OrderId(order.order_id), order.customer))
        made += sum(len(stored.orders) for stored in world.ledger.rounds[counted:])
        counted = len(world.ledger.rounds)
    return world


def _somewhere(rng: random.Random) -> LatLng:
    return LatLng(
        CENTRE.lat_deg + rng.uniform(-4_000, 4_000) / M_PER_DEG,
        CENTRE.lng_deg + rng.uniform(-4_000, 4_000) / M_PER_DEG,
    )
