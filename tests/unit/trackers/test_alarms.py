import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackers.alarms import called_for_help, words_of


@pytest.mark.parametrize(
    ("value", "called"),
    [
        ("sos", "sos"), ("SOS", "SOS"), ("general", "general"), ("lowBattery,sos", "sos"), (["door", "panic"], "panic"),
        (True, "True"), (1, "1"), ("tampering", "tampering"), ("no word that we know", "no word that we know"),
        ("lowBattery", ""), ("geofenceEnter", ""),
        ("false", ""), ("0", ""), (False, ""), (None, ""), ("", ""), ([], ""),
    ],
)  # fmt: skip
def test_every_word_calls_for_help_but_those_about_vehicles_and_batteries(value: object, called: str) -> None:
    assert called_for_help(words_of(value)) == called


@given(st.text() | st.lists(st.text() | st.integers()) | st.dictionaries(st.text(), st.text()) | st.floats())
def test_no_value_breaks_it(value: object) -> None:
    assert isinstance(called_for_help(words_of(value)), str)
