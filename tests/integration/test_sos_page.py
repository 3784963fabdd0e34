"""The SOS page's way over a real server: ticket, pass, tap, what it is told, and what its pass is not good for."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.served import Served, served

pytestmark = pytest.mark.slow
DEVICE = {"Doorstep-Device": "page-1"}


async def opened(server: Served, user: str = "cus_1", role: str = "customer") -> str:
    """What the page has after it was opened: its pass."""
    token = server.token(user, role)
    status, ticket, _ = await server.call("POST", "/v1/tickets", token, {"device": "app", "kind": "sos"})
    assert status == 201
    assert ticket["page"] == f"/sos#{ticket['ticket']}"
    status, told, headers = await server.call(
        "POST", "/v1/sos/pass", **DEVICE, Authorization=f"Ticket {ticket['ticket']}"
    )
    assert status == 201
    assert headers["Cache-Control"] == "no-store"
    return str(told["pass"])


async def by_page(server: Served, method: str, path: str, pass_: str, body: Any = None) -> tuple[int, Any]:
    status, told, _ = await server.call(method, path, pass_, body, **DEVICE)
    return status, told


async def test_one_tap_is_an_sos_and_the_page_is_told_how_far_it_has_come(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        ops = await server.session("ops_1", "ops")
        pass_ = await opened(server)
        status, ack = await by_page(server, "POST", "/v1/sos", pass_, {"key": "tap"})
        assert (status, ack["durable"], ack["seen"]) == (200, True, False)
        told = await ops.until("incident", incident=ack["incident"])
        assert (told["subject"], told.get("restricted", False)) == ("cus_1", False)
        await ops.ask("incident.ack", incident=ack["incident"])
        status, state = await by_page(server, "GET", f"/v1/sos/{ack['incident']}", pass_)
        assert (status, state["seen"], state["ended"]) == (200, True, False)
        assert state["delivered"] == 1
        assert set(state) == {"incident", "received_at", "delivered", "seen", "ended"}, (
            "and nothing of where anybody is"
        )


async def test_the_pass_outlives_the_server_and_does_nothing_else(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        pass_ = await opened(server)
    async with served(tmp_path) as server:
        status, _ = await by_page(server, "POST", "/v1/sos", pass_, {"key": "tap"})
        assert status == 200
        for method, path, body in (
            ("GET", "/v1/orders", None),
            ("GET", "/v1/me/safety", None),
            ("POST", "/v1/tickets", {"device": "d"}),
            ("PUT", "/v1/me/safety", {"phone": "138"}),
        ):
            assert (await by_page(server, method, path, pass_, body))[0] in (401, 403), path
        for device in ({}, {"Doorstep-Device": "page-2"}):
            status, _, _ = await server.call("POST", "/v1/sos", pass_, {"key": "tap"}, **device)
            assert status == 401


async def test_a_ticket_is_good_once_and_for_its_kind(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        token = server.token("cus_1", "customer")
        for kind in ("sos", "hub"):
            _, ticket, _ = await server.call("POST", "/v1/tickets", token, {"device": "page-1", "kind": kind})
            tries = [
                (await server.call("POST", "/v1/sos/pass", **DEVICE, Authorization=f"Ticket {ticket['ticket']}"))[:2]
                for _ in range(2)
            ]
            assert [status for status, _ in tries] == ([201, 422] if kind == "sos" else [422, 422])
            assert tries[1][1]["code"] == "ticket_invalid"
        for headers in ({}, {"Authorization": "Ticket x"}, {"Authorization": "Bearer x", **DEVICE}):
            status, told, _ = await server.call("POST", "/v1/sos/pass", **headers)
            assert (status, told["code"]) == (422, "ticket_invalid")


async def test_signing_out_ends_the_pass(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        token = server.token("cus_1", "customer", sid="s1")
        _, ticket, _ = await server.call("POST", "/v1/tickets", token, {"device": "app", "kind": "sos"})
        _, told, _ = await server.call("POST", "/v1/sos/pass", **DEVICE, Authorization=f"Ticket {ticket['ticket']}")
        await server.call("POST", "/v1/sign-out", token)
        status, refused = await by_page(server, "POST", "/v1/sos", told["pass"], {"key": "tap"})
        assert (status, refused["code"]) == (401, "token_revoked")


async def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing_that_stands_in_it(tmp_path: Path) -> None:
    async with served(tmp_path, api__emergency_number="112") as server:
        status, html, headers = await server.call("GET", "/sos")
        assert (status, headers["Referrer-Policy"]) == (200, "no-referrer")
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
        assert b"http:" not in html
        assert b"https:" not in html
        assert b"tel:112" in html
        for path, kind in (("/sos.js", "text/javascript"), ("/sos.css", "text/css")):
            _, _, headers = await server.call("GET", path)
            assert headers["Content-Type"].startswith(kind)
