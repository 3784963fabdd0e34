"""Why a technician got no offer, from the stored rounds."""

from core.ids import UserId
from dispatch import events as e
from dispatch.model import DutyState
from dispatch.not_offered import RoundSeen, look, page
from tests.unit.dispatch.world import ANNA, World, draft, north

FAR = UserId("far")


def test_a_round_is_told_with_terms_rank_and_whom_it_chose_instead() -> None:
    world = World()
    world.join("near", 400)
    world.join("far", 2_000)
    order = world.place()
    seen = look(world.ledger.rounds[0], FAR)
    assert isinstance(seen, RoundSeen)
    assert seen.outcomes == {"dearer": 1}
    (told,) = seen.nearest
    assert (told.order_id, told.outcome, told.rank, told.chosen) == (order.order_id, "dearer", 2, ("near",))
    assert told.cost_s is not None
    assert told.best_cost_s is not None
    assert told.cost_s == sum(term.seconds for term in told.terms)
    assert told.cost_s > told.best_cost_s


def test_an_exclusion_is_told_as_the_reason() -> None:
    world = World()
    world.join("near", 400)
    world.join("far", 2_000)
    world.feed(e.DutySet(FAR, DutyState.PAUSED))
    world.place()
    seen = look(world.ledger.rounds[0], FAR)
    assert isinstance(seen, RoundSeen)
    (told,) = seen.nearest
    assert (told.outcome, told.rank, told.cost_s, told.terms) == ("off_duty", None, None, ())


def test_every_order_of_a_round_is_counted_and_the_nearest_are_told() -> None:
    world = World()
    world.join("far", 2_000)
    world.batch([e.OrderPlaced(draft(north(100 * i)), ANNA) for i in range(12)])
    world.tick(2)
    (first, *_) = [found for found in (look(r, FAR) for r in world.ledger.rounds) if isinstance(found, RoundSeen)]
    assert sum(first.outcomes.values()) == 12
    assert first.outcomes["chosen"] == 1
    assert len(first.nearest) == 10
    distances = [order.distance_m for order in first.nearest]
    assert distances == sorted(distances)


def test_a_page_sums_up_and_says_where_the_next_begins() -> None:
    world = World()
    world.join("near", 400)
    world.join("far", 2_000)
    world.place()
    world.feed(e.OfferDeclined(world.offer_of("near").offer_id, UserId("near")))
    stored = world.ledger.rounds
    assert len(stored) == 2
    whole = page(stored, FAR, limit=10)
    assert (whole.rounds_len, whole.outcomes, whole.last) == (2, {"chosen": 1, "dearer": 1}, None)
    first = page(stored[:1], FAR, limit=1)
    assert first.last == (stored[0].at, stored[0].round_id)
    assert page(stored, UserId("stranger"), limit=10).seen == ()


def test_since_when_somebody_is_off_duty_is_known_whatever_else_of_them_changes() -> None:
    world = World()
    world.join("near", 400)
    world.tick(50)
    world.feed(e.DutySet(UserId("near"), DutyState.OFF))
    left_at = world.now
    world.tick(90)
    world.put("near", tier="gold")
    who = world.ledger.technicians[UserId("near")]
    assert (who.duty, who.duty_at) == (DutyState.OFF, left_at)
