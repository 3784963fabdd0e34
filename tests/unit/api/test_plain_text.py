"""Control characters in texts: none in a line, newline and tab in a note."""

from typing import Any

import msgspec
import pytest

from api.bodies import CancelIn, OrderIn, PositionsIn, ResolveIn, StepIn, TechnicianIn
from api.plain_text import refuse_control_characters
from core.errors import Invalid
from realtime.messages import IncidentResolve, JobStep, OfferDecline


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
    ["service", "location__address", "location__unit", "contact__name", "contact__phone"],
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


NOTES = [
    _order(location__entrance_note="gate B\n\tring twice"),
    StepIn("arrived", "two lines\nof it"),
    JobStep("ord_1", "arrived", "two lines\nof it"),
    ResolveIn("real_handled", "a\nb\tc"),
    IncidentResolve("inc_1", "real_handled", "a\nb\tc"),
]


@pytest.mark.parametrize("body", NOTES, ids=lambda body: type(body).__name__)
def test_a_note_may_have_lines_and_tabs(body: Any) -> None:
    refuse_control_characters(body)


@pytest.mark.parametrize("bad", ["\x00", "a\x1bb", "a\r\n", "\x0b", "\x7f", "a\u0085"])
def test_any_other_control_character_in_a_note_is_refused_with_its_field(bad: str) -> None:
    for body, field in (
        (_order(location__entrance_note=bad), "location.entrance_note"),
        (StepIn("arrived", bad), "evidence"),
        (JobStep("ord_1", "arrived", bad), "evidence"),
        (ResolveIn("real_handled", bad), "note"),
        (IncidentResolve("inc_1", "real_handled", bad), "note"),
    ):
        with pytest.raises(Invalid, match="but newline and tab") as caught:
            refuse_control_characters(body)
        assert caught.value.field == field


def test_a_reason_is_one_line() -> None:
    for body in (CancelIn("late\n"), OfferDecline("ofr_1", "too\tfar")):
        with pytest.raises(Invalid) as caught:
            refuse_control_characters(body)
        assert caught.value.field == "reason"


def test_keys_that_clients_choose_are_any_string() -> None:
    refuse_control_characters(OfferDecline("ofr_1", "far", ref="\x00\n"))
    refuse_control_characters(PositionsIn("d\x001", [(1, 1e9, 22.5, 114.0, 5.0, None, None)]))
