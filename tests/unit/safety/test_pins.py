import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Invalid
from safety.pins import check_pins

PINS = st.text("0123456789", min_size=4, max_size=12)


@pytest.mark.parametrize(
    ("pin", "duress", "field"),
    [
        ("123", "8350", "pins.pin"),
        ("1" * 13, "8350", "pins.pin"),
        ("48a1", "8350", "pins.pin"),
        ("４８２１", "8350", "pins.pin"),
        ("0000", "8350", "pins.pin"),
        ("1234", "8350", "pins.pin"),
        ("7890", "8350", "pins.pin"),
        ("4321", "8350", "pins.pin"),
        ("1212", "8350", "pins.pin"),
        ("482482", "8350", "pins.pin"),
        ("4821", "9999", "pins.duress_pin"),
        ("4821", "4821", "pins.duress_pin"),
        ("4821", "1284", "pins.duress_pin"),
        ("4821", "4822", "pins.duress_pin"),
        ("4821", "4820", "pins.duress_pin"),
        ("10273", "010274", "pins.duress_pin"),
    ],
)
def test_pins_that_are_guessed_or_mistyped_are_refused(pin: str, duress: str, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_pins(pin, duress)
    assert (caught.value.code, caught.value.field) == ("pin_weak", field)
    assert pin not in caught.value.message
    assert duress not in caught.value.message


def test_good_pins_pass() -> None:
    check_pins("4821", "8350")
    check_pins("482193", "7350")


def test_neighbours_are_seen_also_across_the_end_of_the_numbers() -> None:
    with pytest.raises(Invalid, match="plus or minus one"):
        check_pins("90000", "89999")


@given(pin=PINS, duress=PINS)
def test_what_passes_is_never_a_neighbour_or_a_mirror(pin: str, duress: str) -> None:
    try:
        check_pins(pin, duress)
    except Invalid:
        return
    assert duress not in (pin, pin[::-1])
    assert abs(int(pin) - int(duress)) != 1
    assert len(set(pin)) > 1
    assert len(set(duress)) > 1
