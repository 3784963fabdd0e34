"""Control characters in the texts of orders and of technicians' records."""

from typing import Any

import msgspec
import pytest

from api.bodies import OrderIn, TechnicianIn
from api.plain_text import refuse_control_characters
from core.errors import Invalid


def _order(**changes: Any) -> OrderIn:
    body = {
        "service": "全身按摩",
        "skills": ["massage", "oil"],
        "duration_s": 3600,
        "location": {"lat": 22.5, "lng": 114.0, "address": "1 Lake Road", "unit": "7", "entrance_note": "ring 👋🏽"},
        "contact": {"name": "Zoë O’Hara", "phone": "+86 138"},
        "price": {"service_fen": 100},
    }
    for path, value in changes.items():
        section, _, name = path.rpartition("__")
        part: Any = body[section] if section else body
        part[name] = value
    return msgspec.convert(body, OrderIn)


def test_texts_of_any_language_are_accepted() -> None:
    refuse_control_characters(_order())
    refuse_control_characters(TechnicianIn(name="王 小明", cities=["hz"]))


@pytest.mark.parametrize("bad", ["\x00", "a\x1bb", "a\n", "\x7f", "a\u0085"])
@pytest.mark.parametrize(
    "field",
    ["service", "location__address", "location__unit", "location__entrance_note", "contact__name", "contact__phone"],
)
def test_a_control_character_in_a_text_of_an_order_is_refused_with_its_field(field: str, bad: str) -> None:
    with pytest.raises(Invalid, match="control characters") as caught:
        refuse_control_characters(_order(**{field: bad}))
    assert caught.value.field == field.replace("__", ".")


def test_a_control_character_in_a_skill_or_a_name_is_refused_with_its_field() -> None:
    with pytest.raises(Invalid) as caught:
        refuse_control_characters(_order(skills=["massage", "o\x00l"]))
    assert caught.value.field == "skills"
    for field, body in {
        "name": TechnicianIn(name="W\x00", cities=["hz"]),
        "skills": TechnicianIn(name="W", cities=["hz"], skills=["\t"]),
    }.items():
        with pytest.raises(Invalid) as caught:
            refuse_control_characters(body)
        assert caught.value.field == field
