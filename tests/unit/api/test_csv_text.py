"""CSV that every reader takes apart alike and no spreadsheet runs."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from api.csv_text import csv_rows, harmless


def read(lines: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(lines.decode(), newline="")))


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+86 138-0000",
        "+86 138+1",
        "-1-1",
        "+1.5.2",
        "+A1",
        "+１",
        "+86 138\n=1",
        "@SUM(A1)",
        "\t=1",
        " =1",
        "\n=cmd|' /C calc'!A0",
        "\r=1",
        "＝1",
        "=\x00",
        "\x00=1",
        "\tx",
    ],
)
def test_what_begins_like_a_formula_is_text(text: str) -> None:
    ((cell,),) = read(csv_rows([[text]]))
    assert cell.startswith("'")


@pytest.mark.parametrize("text", ["", "李雷", "1=1", "a-b", "3-201", "'x"])
def test_other_text_is_left_alone(text: str) -> None:
    assert harmless(text) == text


@pytest.mark.parametrize("text", ["-1", "+1.5", "+8613800000000", "+86 138 0000 0000"])
def test_a_plain_number_or_a_phones_is_left_alone(text: str) -> None:
    assert harmless(text) == text


def test_numbers_stay_numbers_and_nothing_is_empty() -> None:
    assert csv_rows([["a", -1.5, 7, True, None, UNSET]]) == b'"a",-1.5,7,"true","",""\r\n'


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), min_size=1, max_size=5))
def test_every_text_stays_in_its_cell(cells: list[str]) -> None:
    (row,) = read(csv_rows([cells]))
    assert [cell.removeprefix("'") for cell in row] == [cell.removeprefix("'") for cell in cells]
    plain = set("0123456789 .")
    assert not any(cell.lstrip()[:1] in ("=", "+", "-", "@") and not set(cell[1:]) <= plain for cell in row if cell)


def test_a_separator_in_a_text_splits_nothing_under_another_separator() -> None:
    line = csv_rows([["a;=1+1", "b"]]).decode()
    assert next(csv.reader([line], delimiter=";"))[0] == 'a;=1+1,"b"'
