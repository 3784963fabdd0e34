"""Which phones are woken, and what is counted of those that are not."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from core.ids import OfferId, TenantId, UserId
from dispatch.model import Wake, WakeOutcome, WakeReason
from dispatch.wakes import WakeDesk
from tests.contract.store_values import NOW, make_offer

OFFER = make_offer()


class Phones:
    """The hub and the push service in one."""

    def __init__(self, online: bool = False, answer: WakeOutcome | None = WakeOutcome.SENT) -> None:
        self.is_online = online
        self.answer = answer
        self.woken: list[Wake] = []
        self.waiting: list[Callable[[WakeOutcome], None]] = []

    def online(self, tenant: TenantId, user: UserId) -> bool:
        return self.is_online

    def wake(self, wake: Wake, done: Callable[[WakeOutcome], None]) -> None:
        self.woken.append(wake)
        if self.answer is None:
            self.waiting.append(done)
        else:
            done(self.answer)


def desk(phones: Phones, under_way_max: int = 2) -> WakeDesk:
    return WakeDesk(phones, phones, quiet_s=10.0, under_way_max=under_way_max)


def test_a_phone_without_a_session_is_woken_and_one_with_is_not() -> None:
    phones = Phones()
    wakes = desk(phones)
    wakes.offer_sent(OFFER, NOW)
    (wake,) = phones.woken
    assert wake == Wake(OFFER.tenant, OFFER.technician, OFFER.offer_id, WakeReason.NO_SOCKET, NOW, OFFER.expires_at)
    phones.is_online = True
    wakes.offer_sent(OFFER, NOW + 60)
    assert len(phones.woken) == 1
    assert wakes.counts == {WakeOutcome.SENT: 1, WakeOutcome.CONNECTED: 1}


def test_a_session_that_did_not_take_its_offer_is_no_session() -> None:
    phones = Phones(online=True)
    desk(phones).offer_undelivered(OFFER, NOW + 3)
    assert phones.woken[0].reason is WakeReason.UNDELIVERED


def test_nobody_is_woken_twice_at_once_or_for_what_is_over() -> None:
    phones = Phones()
    wakes = desk(phones)
    wakes.offer_sent(OFFER, NOW)
    wakes.offer_undelivered(OFFER, NOW + 3)
    wakes.offer_sent(replace(OFFER, offer_id=OfferId("ofr_2")), NOW + 9.9)
    assert len(phones.woken) == 1
    wakes.offer_sent(OFFER, NOW + 10)
    wakes.offer_sent(OFFER, OFFER.expires_at)
    assert len(phones.woken) == 2
    assert wakes.counts == {WakeOutcome.SENT: 2, WakeOutcome.REPEATED: 2, WakeOutcome.LATE: 1}


@pytest.mark.parametrize("answer", [WakeOutcome.FAILED, WakeOutcome.OFF])
def test_after_a_wake_that_failed_the_next_offer_tries_again(answer: WakeOutcome) -> None:
    phones = Phones(answer=answer)
    wakes = desk(phones)
    wakes.offer_sent(OFFER, NOW)
    wakes.offer_sent(OFFER, NOW + 1)
    assert wakes.counts == {answer: 2}


def test_only_so_many_are_woken_at_the_same_time() -> None:
    phones = Phones(answer=None)
    wakes = desk(phones)
    for n in range(3):
        wakes.offer_sent(replace(OFFER, technician=UserId(f"tec_{n}")), NOW)
    assert (len(phones.woken), wakes.counts) == (2, {WakeOutcome.CROWDED: 1})
    phones.waiting.pop()(WakeOutcome.SENT)
    wakes.offer_sent(replace(OFFER, technician=UserId("tec_9")), NOW)
    assert len(phones.woken) == 3
