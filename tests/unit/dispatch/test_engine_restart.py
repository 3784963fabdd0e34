"""What outlives a restart, and what does not outlive its time."""

from dispatch import events as e
from dispatch.model import OfferState
from dispatch.settings import DispatchSettings
from tests.unit.dispatch.world import ANNA, CENTRE, T0, World, draft


def test_an_offer_that_nobody_received_before_a_restart_fails_in_time_after_it() -> None:
    world = World()
    world.join("tina", 500)
    world.join("ursa", 900)
    order = world.place()
    first = world.offer_of("tina")
    world.tick(2.0)
    world.restart()
    world.tick(4.9)  # the phone had no server to acknowledge to: its three seconds begin again
    assert world.offer_of("tina") == first
    world.tick(5.1)
    ended = world.engine.offer(first.offer_id)
    assert ended is not None
    assert ended.state is OfferState.UNDELIVERED
    assert world.offer_of("ursa").order_id == order.order_id


def test_an_offer_that_was_received_before_a_restart_keeps_its_deadline() -> None:
    world = World()
    world.join("tina", 500)
    world.place()
    offer = world.receive("tina")
    world.restart()
    world.tick(offer.expires_at - T0)
    assert world.offer_of("tina").offer_id == offer.offer_id
    world.tick(offer.expires_at - T0 + 0.1)
    ended = world.engine.offer(offer.offer_id)
    assert ended is not None
    assert ended.state is OfferState.EXPIRED


def test_a_key_is_remembered_for_its_time_and_no_longer() -> None:
    keep_s = DispatchSettings().idempotency_keep_s

    def place(world: World) -> str:
        (first, *_) = world.feed(e.OrderPlaced(draft(CENTRE, ANNA), ANNA, "k", "f"))
        if isinstance(first, e.OrderRepeated):
            return first.order_id
        assert isinstance(first, e.OrderChanged)
        return first.order.order_id

    world = World()
    first = place(world)
    world.tick(keep_s)
    assert place(world) == first
    world.tick(keep_s + 0.1)
    assert place(world) != first
