"""Log lines: JSON when nobody reads them on a terminal. Event text is constant, data stands in ``extra``."""

import json
import logging
import re
import sys
import time
from typing import Any, Final, TextIO

from aiohttp.http_exceptions import HttpProcessingError

from api.app import request_id_now
from server.settings import LogFormat, LogSettings

_STANDARD: Final = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {
    "message",
    "asctime",
    "taskName",
}
_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""What a terminal obeys or does not show, line ends among it, and what no encoding can write."""


def visible(text: str) -> str:
    """``text`` in one line, with every character that could forge or hide a line written as its number."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    found = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
    request_id = request_id_now.get()
    if request_id and "request_id" not in found:
        found["request_id"] = request_id
    return found


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; whatever JSON does not know is written as text."""
        line: dict[str, Any] = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        # Data may not take the place of what every line says: a line without its level is never looked at.
        line |= {f"{name}_" if name in line else name: value for name, value in _extra(record).items()}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        # Line ends are escaped by JSON; the rest can stand in its strings only, where this is how it is written.
        return visible(json.dumps(line, ensure_ascii=False, default=str))


class TextLines(logging.Formatter):
    """For a person at a terminal. Times are UTC, as everywhere."""

    converter = time.gmtime  # type: ignore[assignment]  # as the library documents it

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, event, data; an error follows in lines that begin with blanks, as no other does."""
        data = " ".join(f"{name}={value}" for name, value in _extra(record).items())
        line = f"{self.formatTime(record, '%H:%M:%SZ')} {record.levelname.lower():7} {record.getMessage()}"
        if data:
            line += f"  {data}"
        line = visible(line)
        if record.exc_info:
            told = self.formatException(record.exc_info).split("\n")
            line += "".join(f"\n    {visible(part)}" for part in told)
        return line


class PeersMistakes(logging.Filter):
    """Drops what aiohttp says of requests that are no HTTP, and of peers that are gone before they are answered.

    The first are told 400, the others nothing; a line would hold their address, and anybody can send these without end.

    A failure of ours in the same place has another kind of error and is kept.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to keep the record."""
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError | ConnectionError)


def set_up_logs(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send all log lines to ``stream`` (stderr). Call once, at the start of the process."""
    target = stream or sys.stderr
    as_text = settings.format is LogFormat.TEXT or (settings.format is LogFormat.AUTO and target.isatty())
    handler = logging.StreamHandler(target)
    handler.setFormatter(TextLines() if as_text else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.value.upper())
    # picows writes a line for each handshake; aiohttp's access log is ours (`request answered`).
    logging.getLogger("picows").setLevel(logging.ERROR)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    requests = logging.getLogger("aiohttp.server")
    requests.filters[:] = [PeersMistakes()]
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
