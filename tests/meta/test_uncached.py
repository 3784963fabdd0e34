"""Answers that hold a place, an address or a phone number are cached by nobody."""

import json
from dataclasses import replace
from typing import Any

import msgspec

from api.app import Api
from api.exchange import Request, Route, answer
from api.limits import RequestLimits
from api.settings import ApiSettings
from tools import generate_docs

SECRET = {"lat", "lng", "address", "unit", "entrance_note", "phone", "note", "cell", "fix", "position"}


def _names(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        return set(schema.get("properties", ())) | {name for value in schema.values() for name in _names(value)}
    return {name for value in schema for name in _names(value)} if isinstance(schema, list) else set()


def secrets_of(route: Route) -> set[str]:
    return _names(msgspec.json.schema(route.result)) & SECRET if route.result is not None else set()


def test_every_route_that_tells_a_place_says_so() -> None:
    told = {route.name: secrets_of(route) for route in generate_docs.routes()}
    assert sum(map(bool, told.values())) > 10
    assert {
        route.name: told[route.name] for route in generate_docs.routes() if told[route.name] and not route.location
    } == {}


async def test_and_then_nobody_caches_it() -> None:
    class Clock:
        def now(self) -> float:
            return 1.8e9

        def monotonic(self) -> float:
            return 0.0

    class Ids:
        def new(self, prefix: str) -> str:
            return prefix

    class Tokens:
        def verify(self, token: str, *, device: str, now: float) -> Any:
            raise AssertionError

        redeem = verify

    public = next(route for route in generate_docs.routes() if route.name == "config")
    for location in (True, False):
        route = replace(public, handler=lambda request: answer({}), location=location)
        api = Api([route], Tokens(), Clock(), Ids(), RequestLimits(ApiSettings()), 600.0)
        response = await api.answer(route, Request(now=1.8e9))
        assert (response.headers.get("Cache-Control") == "no-store") is location
        assert json.loads(response.body) == {}
