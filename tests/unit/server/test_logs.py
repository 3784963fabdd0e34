"""Log lines: one event is one line, whatever a client has put into it, and its time is UTC."""

import io
import json
import logging
import re

import pytest
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import given
from hypothesis import strategies as st

from server.logs import JsonLines, PeersMistakes, TextLines, visible

FORGED = "x\r\n12:00:00Z info    all is well\x1b[2K\x1b[1A\x9b2J\u2028\u202egnorw\x00\ud800"
FORMATTERS = [JsonLines(), TextLines()]


def _record(text: str, *, fails: bool = False) -> logging.LogRecord:
    record = logging.LogRecord("a", logging.WARNING, "f.py", 1, "event %s", (text,), None)
    record.created = 1_800_000_000.5
    record.peer_said = text
    if fails:
        error = ValueError(text)
        record.exc_info = (ValueError, error, None)
    return record


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_nothing_that_a_client_sends_makes_or_hides_a_line(formatter: logging.Formatter) -> None:
    line = formatter.format(_record(FORGED))
    assert line.isprintable(), ascii(line)
    assert "\\u001b" in line or "\\x1b" in line
    line.encode()


def test_json_gives_back_what_was_sent() -> None:
    line = json.loads(JsonLines().format(_record(FORGED)))
    assert line["peer_said"] == FORGED
    assert line["at"] == 1_800_000_000.5


def test_the_lines_of_an_error_cannot_look_like_lines_of_the_log() -> None:
    first, *more = TextLines().format(_record(FORGED, fails=True)).split("\n")
    assert first.startswith("08:00:00Z warning event x")
    assert more
    assert all(re.match(r"    \S", part) and part.isprintable() for part in more)
    assert "\n" not in JsonLines().format(_record(FORGED, fails=True))


@given(st.text())
def test_any_text_is_one_line_that_can_be_written(text: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    stream.write(visible(text))
    assert len(visible(text).splitlines()) <= 1


def test_data_never_takes_the_place_of_what_every_line_says() -> None:
    record = _record("x")
    record.level, record.at, record.event = 3, "noon", "forged"
    line = json.loads(JsonLines().format(record))
    assert (line["level"], line["at"], line["event"]) == ("warning", 1_800_000_000.5, "event x")
    assert (line["level_"], line["at_"], line["event_"]) == (3, "noon", "forged")


@pytest.mark.parametrize(
    ("error", "is_told"), [(HttpProcessingError(code=400), False), (ConnectionResetError(), False), (KeyError(), True)]
)
def test_what_peers_do_wrong_is_no_line_and_what_we_do_is(error: Exception, is_told: bool) -> None:
    record = logging.LogRecord("aiohttp.server", logging.ERROR, "f.py", 1, "failed", (), (type(error), error, None))
    assert PeersMistakes().filter(record) is is_told
