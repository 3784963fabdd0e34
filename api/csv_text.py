"""Rows as CSV (RFC 4180, UTF-8, CRLF) that a spreadsheet shows and never runs. Pure.

Spreadsheets take a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, and a customer's name or a note
may begin so. Such a text gets an apostrophe in front, which they hide; a plain number or a phone's does not, for it
computes nothing and other programs read the file too. Text is always quoted and numbers never are,
so that a line in a field stays in its field whatever the program takes for its separator.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import UNSET

CSV_TYPE: Final = "text/csv; charset=utf-8"
BOM: Final = b"\xef\xbb\xbf"
"""Before the first line, for spreadsheets that take UTF-8 for their country's older encoding without it."""
_PLAIN: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?|\+[0-9][0-9 ]*", re.ASCII)
"""Numbers, and phone numbers as +86 138 0000 0000. Not those with hyphens: a spreadsheet would subtract."""
_FORMULA_STARTS: Final = frozenset("=+-@＝＋－＠")
Cell = object
"""Text, a number, a bool, or None and UNSET for an empty cell."""


def csv_rows(rows: Iterable[Sequence[Cell]]) -> bytes:
    """The rows' lines."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return buffer.getvalue().encode("utf-8", "replace")


def _cell(value: Cell) -> str | float:
    if value is None or value is UNSET:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return value
    return harmless(str(value))


def harmless(text: str) -> str:
    """The text as it may stand in a cell: no formula, no NUL."""
    text = text.replace("\x00", "")
    if _PLAIN.fullmatch(text):
        return text
    first = text.lstrip()[:1]  # some skip blanks, tabs and line breaks before they look
    return f"'{text}" if first in _FORMULA_STARTS or text[:1] in ("\t", "\r") else text
