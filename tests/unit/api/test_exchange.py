"""Query parameters and errors of the HTTP edge."""

from typing import Any

import msgspec
import pytest

from api import bodies
from api.errors import MESSAGE_LEN_MAX, problem, status_of, undecodable
from api.exchange import Param, Request, check_query, check_said, number, whole
from core.errors import Conflict, DoorstepError, Forbidden, Invalid, NotFound, Refused, Unavailable


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "x", "", "91", "-91", "1" * 100, "0x10", "１e5"])
def test_a_number_out_of_bounds_or_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        number(Request(0, query={"lat": text}), "lat", -90, 90)
    assert caught.value.field == "lat"


def test_a_missing_number_is_its_default_or_refused() -> None:
    assert number(Request(0), "lat", 0, 1, 0.5) == 0.5
    with pytest.raises(Invalid, match="required"):
        number(Request(0), "lat", 0, 1)


@pytest.mark.parametrize("text", ["0", "101", "-1", "1.5", "²", "x", "9" * 30])
def test_a_whole_number_out_of_bounds_or_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        whole(Request(0, query={"limit": text}), "limit", 1, 100, 50)


@pytest.mark.parametrize("text", ["", " ", "\t\u3000 "])
def test_blanks_are_no_reason(text: str) -> None:
    with pytest.raises(Invalid, match="staff say why") as caught:
        check_said(text, "staff say why")
    assert caught.value.field == "reason"
    check_said(f"{text}x", "staff say why")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("x"), 404), (Forbidden("x"), 403), (Conflict("x", code="offer_taken"), 409), (Invalid("x"), 422),
        (Refused("x", code="token_expired"), 401), (Refused("x", code="too_large"), 413),
        (Unavailable("x"), 503), (DoorstepError("x"), 500), (Refused("x"), 422),
    ],
)  # fmt: skip
def test_each_family_has_its_status(error: DoorstepError, status: int) -> None:
    assert status_of(error) == status
    answered = problem(error, "req_1")
    body = msgspec.json.decode(answered.body)
    assert (body["status"], body["code"], body["request_id"]) == (status, error.code, "req_1")
    assert ("Retry-After" in answered.headers) == error.retry
    assert ("WWW-Authenticate" in answered.headers) == (status == 401)


def test_a_wrong_field_is_named_without_echoing_the_body() -> None:
    class Body(msgspec.Struct):
        inner: dict[str, list[int]]

    error = _refused(Body, b'{"inner": {"b": [2], "a": [1, "secret"]}}')
    assert error.field == "inner.a[1]"
    assert "secret" not in error.message


def _refused(kind: Any, body: bytes) -> Invalid:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(body, type=kind)
    return undecodable(caught.value, kind, body)


@pytest.mark.parametrize(
    ("kind", "body", "field", "words"),
    [
        (bodies.ModeIn, {"mode": "AUTO"}, "mode", "auto, broadcast, directed, manual"),
        (bodies.OrderIn, {"fallback": "none"}, "fallback", "auto, cancel"),
        (bodies.CalendarIn, {"shifts": [{"days": ["mon", "fun"]}]}, "shifts[0].days[1]", "mon, tue, wed"),
        (bodies.ModeIn, {"mode": "directed", "fallback": "x" * 5_000}, "fallback", "auto, cancel"),
    ],
)
def test_where_names_are_expected_the_answer_tells_them(kind: Any, body: object, field: str, words: str) -> None:
    error = _refused(kind, msgspec.json.encode(body))
    assert error.field == field
    assert f"must be one of {words}" in error.message
    assert len(error.message) <= MESSAGE_LEN_MAX


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"papers": {"id": 1.9e9, "health": "2027-01-01", "visa": None}}, "papers.health"),
        ({"zones": {"shenzhen": ["a"], "zhuhai": ["b", 7]}}, "zones.zhuhai[1]"),
        ({"papers": {"x" * 200: 1.9e9}}, "papers"),
    ],
)
def test_a_wrong_member_of_a_map_is_named(more: dict[str, object], field: str) -> None:
    record = {"name": "Li", "cities": ["shenzhen"], **more}
    assert _refused(bodies.TechnicianIn, msgspec.json.encode(record)).field == field


def test_a_body_that_goes_wrong_twice_is_still_answered() -> None:
    error = _refused(bodies.ModeIn, b'{"mode": "AUTO", "x": [[[')
    assert (error.field, "must be one of auto" in error.message) == ("mode", True)


@pytest.mark.parametrize(("asked", "near"), [("stat", "state"), ("order", "customer"), ("x" * 300, "")])
def test_an_unknown_parameter_is_refused_by_name_with_the_nearest_there_is(asked: str, near: str) -> None:
    known = [Param("state", "string", ""), Param("customer", "string", "")]
    check_query(Request(0, query={"state": "placed"}), known)
    with pytest.raises(Invalid, match=f"did you mean {near}") as caught:
        check_query(Request(0, query={"state": "placed", asked: "1"}), known)
    assert (caught.value.code, caught.value.field) == ("parameter_unknown", asked[:64])


def test_a_parameter_that_is_given_twice_is_refused_by_name_after_one_that_there_is_not() -> None:
    known = [Param("city", "string", ""), Param("state", "string", "")]
    with pytest.raises(Invalid, match="once") as caught:
        check_query(Request(0, query={"city": "a"}, repeated=("city",)), known)
    assert (caught.value.code, caught.value.field) == ("parameter_repeated", "city")
    with pytest.raises(Invalid) as caught:
        check_query(Request(0, query={"town": "a"}, repeated=("town",)), known)
    assert caught.value.code == "parameter_unknown"
