"""Phones whose connection breaks off while they have an offer."""

from core.ids import UserId
from dispatch import events as e
from dispatch.events import CloseReason
from dispatch.model import Mode, OfferState
from dispatch.settings import DispatchSettings
from tests.unit.dispatch.world import World, asks, closes, heard, north

TINA = UserId("tina")


def two(settings: DispatchSettings | None = None) -> World:
    world = World(settings)
    world.join("tina", 400)
    world.join("ben", 2_000)
    return world


def test_an_offer_whose_phone_is_lost_goes_to_the_next_at_once_and_is_no_refusal() -> None:
    world = two()
    order = world.place()
    offer = world.receive("tina")
    effects = heard(world.feed(e.PhoneLost(TINA), 1))
    assert effects == [closes("tina", CloseReason.UNDELIVERED), asks("ben")]
    ended = world.engine.offer(offer.offer_id)
    assert ended is not None
    assert ended.state is OfferState.UNDELIVERED
    world.feed(e.OfferDeclined(world.offer_of("ben").offer_id, UserId("ben"), ""), 2)
    world.tick(3)
    world.seen(TINA, north(400))
    assert asks("tina", order__order_id=order.order_id) in world.tick(10)


def test_a_phone_that_comes_back_in_time_keeps_its_offer() -> None:
    world = two(DispatchSettings(phone_lost_s=2.0))
    world.place()
    offer = world.receive("tina")
    assert heard(world.feed(e.PhoneLost(TINA), 1)) == []
    assert heard(world.feed(e.PhoneFound(TINA), 2)) == []
    assert heard(world.tick(6)) == []
    assert world.offer_of("tina").offer_id == offer.offer_id


def test_an_offer_that_never_arrived_gets_its_time_again_when_the_phone_comes_back() -> None:
    world = two(DispatchSettings(phone_lost_s=2.0, undelivered_s=3.0))
    world.place()
    world.feed(e.PhoneLost(TINA), 1)
    world.feed(e.PhoneFound(TINA), 2)
    assert heard(world.tick(4.5)) == []
    assert heard(world.tick(5)) == [closes("tina", CloseReason.UNDELIVERED), asks("ben")]


def test_whom_the_customer_picked_is_waited_for() -> None:
    world = two()
    world.place(mode=Mode.DIRECTED, technician=TINA)
    offer = world.receive("tina")
    assert heard(world.feed(e.PhoneLost(TINA), 1)) == []
    assert world.offer_of("tina").offer_id == offer.offer_id


def test_phones_without_an_offer_are_of_no_matter() -> None:
    world = two()
    assert world.feed(e.PhoneLost(TINA)) == []
    assert world.feed(e.PhoneFound(TINA)) == []
    assert world.feed(e.PhoneLost(UserId("stranger"))) == []
