"""Pick tokens mean one technician to one customer, for a while."""

from dataclasses import replace

import pytest

from api.picks import Picks
from core.errors import Invalid
from core.ids import UserId
from tests.unit.api.test_nearby import NOW, WHO

PEOPLE = [UserId(f"tec_{number}") for number in range(20)]
PICKS = Picks(b"key", 900.0)


def test_a_token_is_read_back_in_its_period_and_the_next() -> None:
    token = PICKS.token(WHO, PEOPLE[7], NOW)
    assert PICKS.technician(WHO, token, PEOPLE, NOW) == "tec_7"
    assert PICKS.technician(WHO, token, PEOPLE, NOW + 900.0) == "tec_7"
    with pytest.raises(Invalid) as caught:
        PICKS.technician(WHO, token, PEOPLE, NOW + 1_800.0)
    assert (caught.value.code, caught.value.field) == ("pick_unknown", "technician")


def test_a_token_is_nothing_to_another_customer_and_for_somebody_not_near() -> None:
    token = PICKS.token(WHO, PEOPLE[7], NOW)
    for who, people in ((replace(WHO, user=UserId("cus_2")), PEOPLE), (WHO, PEOPLE[:7])):
        with pytest.raises(Invalid):
            PICKS.technician(who, token, people, NOW)


def test_an_id_needs_no_reading() -> None:
    assert PICKS.technician(WHO, "tec_99", [], NOW) == "tec_99"
