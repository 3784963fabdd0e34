"""Errors of the domains as HTTP answers: problem+json (RFC 9457) with the same stable codes as on the hub."""

import re
from typing import Any, Final

import msgspec

from api.exchange import Response
from core.errors import Conflict, DoorstepError, Forbidden, Invalid, NotFound, Refused, Unavailable
from realtime.expected import expected_at, with_words

_BY_CODE: Final[dict[str, int]] = {
    "device_needed": 401,
    "token_missing": 401,
    "token_invalid": 401,
    "token_expired": 401,
    "token_revoked": 401,
    "tracker_unknown": 401,
    "session_missing": 401,
    "session_over": 401,
    "token_restricted": 403,
    "malformed": 400,
    "method_not_allowed": 405,
    "too_large": 413,
    "encoding_unsupported": 415,
    "json_needed": 415,
    "head_too_large": 431,
    "rate_limited": 429,
}
_BY_FAMILY: Final[tuple[tuple[type[DoorstepError], int], ...]] = (
    (NotFound, 404),
    (Forbidden, 403),
    (Conflict, 409),
    (Invalid, 422),
    (Refused, 422),
    (Unavailable, 503),
)
MESSAGE_LEN_MAX: Final = 300
_PATH = re.compile(r" - at (?:`key` in )?`(?P<path>[^`]{1,200})`$")


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An answer that is an error (RFC 9457 section 3)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retry: bool = msgspec.field(default=False)
    request_id: str = ""
    field: str | None = None
    facts: dict[str, Any] = {}
    """What a program needs to ask for something else instead; what it holds depends on the code."""


def status_of(error: DoorstepError) -> int:
    """HTTP status of an error: by its code where the code says more than its family."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    return next((status for family, status in _BY_FAMILY if isinstance(error, family)), 500)


def problem(error: DoorstepError, request_id: str) -> Response:
    """The answer that tells of ``error``. Unknown failures say nothing but their code."""
    status = status_of(error)
    body = Problem(
        type=f"urn:doorstep:problem:{error.code}",
        title=error.code.replace("_", " "),
        status=status,
        detail=error.message[:MESSAGE_LEN_MAX],
        code=error.code,
        retry=error.retry,
        request_id=request_id,
        field=error.field,
        facts=error.facts,
    )
    headers: dict[str, str] = {"Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer" if error.code == "token_missing" else 'Bearer error="invalid_token"'
    if error.retry:
        headers["Retry-After"] = "1"
    return Response(status, msgspec.json.encode(body), "application/problem+json", headers)


def undecodable(error: Exception, kind: Any, body: bytes) -> Invalid:
    """The error for a body that is not what the route's struct expects; names the field, echoes little.

    Args:
        kind: The type that ``body`` was to be decoded into.
    """
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return Invalid("the body is not valid JSON", code="malformed")
    found = _PATH.search(text)
    if found is None:
        return Invalid(text[:MESSAGE_LEN_MAX])
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None  # it goes wrong a second time, behind what was refused first
    expected = expected_at(kind, value, found["path"])
    return Invalid(with_words(_PATH.sub("", text), expected.words, MESSAGE_LEN_MAX), field=expected.field or None)
