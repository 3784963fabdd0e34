"""Who may do what, over every route: each caller against each relation, from one table written by hand.

Words of the table: ``yes`` (the caller gets through to the thing; a state that refuses is no matter of access),
``no`` (403: this role never), ``hid`` (404: like absent), ``bad`` (422: a city beyond the token), ``who`` (401).
"""

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.principal import Role
from tests.integration.served import LAT, LNG, Served, order, served
from tools import generate_docs

pytestmark = pytest.mark.slow

CALLERS = (
    # name, user, role, other roles, tenant, cities
    ("customer", "cus_1", "customer", (), "demo", ("shenzhen",)),
    ("stranger", "cus_2", "customer", (), "demo", ("shenzhen",)),
    ("technician", "tec_1", "technician", (), "demo", ("shenzhen",)),
    ("colleague", "tec_2", "technician", (), "demo", ("shenzhen",)),
    ("responder", "res_1", "responder", (), "demo", ("shenzhen",)),
    ("bystander", "res_2", "responder", (), "demo", ("shenzhen",)),
    ("ops", "ops_1", "ops", (), "demo", ("shenzhen",)),
    ("far_ops", "ops_2", "ops", (), "demo", ("beijing",)),
    ("program", "prog", "service", (), "demo", ()),
    ("far_program", "prog_2", "service", (), "demo", ("beijing",)),
    # The same names in another tenant: an id is worth nothing without its tenant.
    ("other_customer", "cus_1", "customer", (), "other", ("shenzhen",)),
    ("other_technician", "tec_1", "technician", (), "other", ("shenzhen",)),
    ("other_ops", "ops_1", "ops", (), "other", ("shenzhen",)),
    ("other_program", "prog", "service", (), "other", ()),
    # Two roles in one token: each opens its own doors, together they open no third.
    ("customer_far_ops", "cus_1", "customer", ("ops",), "demo", ("beijing",)),
    ("technician_far_ops", "tec_1", "technician", ("ops",), "demo", ("beijing",)),
    ("customer_far_program", "cus_1", "customer", ("service",), "demo", ("beijing",)),
)
NAMES = tuple(caller[0] for caller in CALLERS)


def _row(words: str) -> dict[str, str]:
    return dict(zip(NAMES, words.split(), strict=True))


#                          customer stranger technician colleague responder bystander ops far_ops program far_program
#                          | other: customer technician ops program
#                          | two roles: customer and far_ops, technician and far_ops, customer and far_program
ORDER_READ = _row("            yes hid yes hid no no yes hid yes hid   hid hid hid hid   yes yes yes")
ORDER_ACT = _row("             yes hid no no no no yes hid yes hid   hid no hid hid   yes hid yes")
ORDER_OPS = _row("             no no no no no no yes hid no no   no no hid no   hid hid no")
ORDER_STAFF = _row("           no no no no no no yes hid yes hid   no no hid hid   hid hid hid")
TECHNICIAN_READ = _row("       no no yes hid no no yes hid yes hid   no hid hid hid   hid yes hid")
INCIDENT = _row("              no no hid hid yes hid yes hid no no   no hid hid no   hid hid no")
# Their own incident: whoever raised one is told so, whatever else they are.
INCIDENT_ACT = _row("          no no no hid yes hid yes hid no no   no hid hid no   hid no no")
INCIDENT_OPS = _row("          no no no no no no yes hid no no   no no hid no   hid no no")
TRIP = _row("                  yes hid yes hid no no no no no no   hid hid no no   yes yes yes")
# None of them is a page of ours, whatever they are beside it: tests/integration/test_browser_sign_in.py.
NO_PAGE = dict.fromkeys(NAMES, "no")
EVERYONE = _row("              yes yes yes yes yes yes yes yes yes yes   yes yes yes yes   yes yes yes")

TABLE: dict[str, dict[str, str]] = {
    "order_place": _row("      yes yes no no no no yes bad yes bad   yes no yes yes   yes bad yes"),
    "order_list": _row("       yes yes yes yes no no yes yes yes yes   yes yes yes yes   yes yes yes"),
    "offer_list": _row("       no no yes yes no no yes yes yes yes   no yes yes yes   yes yes yes"),
    "order_read": ORDER_READ,
    "order_cancel": ORDER_ACT,
    "order_confirm": ORDER_ACT,
    "order_rating": ORDER_ACT,
    # Whose order it is may know that it is there.
    "order_step": _row("       no no yes hid no no yes hid yes hid   no hid hid hid   no yes no"),
    "order_explain": ORDER_OPS,
    "order_what_if": ORDER_OPS,
    "order_track": ORDER_OPS,
    "order_timeline": ORDER_STAFF,
    "order_cancellation": ORDER_ACT,
    "order_add_time": ORDER_READ,
    "order_add_time_agree": ORDER_ACT,
    "order_add_time_refuse": ORDER_ACT,
    "order_schedule": ORDER_ACT,
    # The technician with two roles has given it away by then: it is theirs no more.
    "order_reassign": _row("   no no hid hid no no yes hid yes hid   no hid hid hid   hid yes hid"),
    "order_assign": ORDER_OPS,
    "order_mode": ORDER_STAFF,
    "technician_calendar_read": TECHNICIAN_READ,
    "technician_calendar_put": TECHNICIAN_READ,
    "technician_nearby": _row("yes yes no no no no yes hid yes yes   yes no yes yes   yes hid yes"),
    # A record that names a city beyond the token is refused; the other tenant writes its own tec_1.
    "technician_put": _row("   no no no no no no yes hid yes hid   no no yes yes   hid hid hid"),
    "technician_read": TECHNICIAN_READ,
    "technician_duty": TECHNICIAN_READ | {"technician_far_ops": "bad"},
    "technician_track": _row(" no no no no no no yes hid no no   no no hid no   hid hid no"),
    "technician_why_no_offers": _row(" no no no no no no yes hid no no   no no hid no   hid hid no"),
    # The two have met: cus_1 has an order that tec_1 has. Others' blocks look like people whom one never met; to lift
    # a block of one's own that is not there is no news.
    "customer_block_put": _row("yes hid no no no no yes hid yes hid   hid no hid hid   yes hid yes"),
    "customer_block_delete": _row("yes hid no no no no yes hid yes hid   yes no hid yes   yes hid yes"),
    "technician_block_put": _row("no no yes hid no no yes hid yes hid   no hid hid hid   hid yes hid"),
    "technician_block_delete": _row("no no yes hid no no yes hid yes hid   no yes hid yes   hid yes hid"),
    # Everybody's token is nobody's device: those who are registered are a matter of tests/integration/test_trackers.py.
    **dict.fromkeys(
        (
            "in_osmand_get",
            "in_osmand_post",
            "in_traccar_get",
            "in_traccar_post",
            "in_owntracks_post",
            "in_overland_post",
            "in_gpslogger_get",
            "in_gpslogger_post",
        ),
        dict.fromkeys(NAMES, "who"),
    ),
    "tracker_add": ORDER_STAFF,
    "tracker_list": ORDER_STAFF,
    "tracker_remove": ORDER_STAFF,
    "block_list": _row("       yes yes yes yes no no yes yes yes yes   yes yes yes yes   yes yes yes"),
    "sos": EVERYONE,
    "incident_list": _row("    no no no no no no yes yes no no   no no yes no   yes yes no"),
    "incident_read": INCIDENT,
    "incident_timeline": INCIDENT,
    "incident_trail": INCIDENT,
    "incident_report": ORDER_OPS,
    "incident_hold": ORDER_OPS,
    "incident_export_list": ORDER_OPS,
    "incident_export_ask": ORDER_OPS,
    "incident_export_allow": ORDER_OPS,
    "incident_report_page": ORDER_OPS,
    "incident_cap": ORDER_OPS,
    "looks_own": EVERYONE,
    "incident_call_text": INCIDENT,
    "incident_deliveries": ORDER_OPS,
    "incident_ack": INCIDENT_ACT,
    "incident_join": INCIDENT_ACT,
    "incident_note": INCIDENT_ACT,
    "incident_respond": INCIDENT_ACT,
    "incident_decline": INCIDENT_ACT,
    "incident_assign": INCIDENT_OPS,
    "incident_on_scene": INCIDENT_ACT,
    "incident_reopen": INCIDENT_OPS,
    "incident_close": INCIDENT_OPS,
    "incident_resolve": INCIDENT_ACT,
    "checkin_list": EVERYONE,
    # Nobody is asked anything yet: whose a check is, is a matter of tests/unit/safety/test_care.py.
    "checkin_answer": dict.fromkeys(NAMES, "hid"),
    "trip_share": TRIP,
    "trip_list": TRIP,
    # Nobody holds a link here: what one opens is a matter of tests/integration/test_care.py.
    "trip_revoke": TRIP | {name: "hid" for name, word in TRIP.items() if word == "yes"},
    "trip_read": dict.fromkeys(NAMES, "hid"),
    "trip_page": dict.fromkeys(NAMES, "hid"),
    "drill_tap": _row("       no no yes yes yes yes no no no no   no yes no no   no yes no"),
    "drill_list": _row("      no no yes yes yes yes yes yes no no   no yes yes no   yes yes no"),
    "profile_read": EVERYONE,
    "profile_put": EVERYONE,
    "profile_put_person": _row("no no no no no no yes hid yes hid   no no yes yes   hid hid hid"),
    "safety_export": EVERYONE,
    "person_erase": _row("      no no no no no no yes hid yes hid   no no yes yes   hid hid hid"),
    "person_sos": _row("       no no no no no no yes hid yes hid   no no yes yes   hid hid hid"),
    # The incident is tec_1's of this tenant: for all the others there is none.
    "sos_cancel": _row("       hid hid bad hid hid hid hid hid hid hid   hid hid hid hid   hid bad hid"),
    "sos_status": _row("       hid hid yes hid hid hid hid hid hid hid   hid hid hid hid   hid yes hid"),
    "sos_pass": _row("         bad bad bad bad bad bad bad bad bad bad   bad bad bad bad   bad bad bad"),
    "positions": _row("        yes yes yes yes yes yes no no no no   yes yes no no   yes yes yes"),
    "ticket": EVERYONE,
    "sign_out": EVERYONE,
    "sign_in_code": ORDER_STAFF,
    "sign_in": NO_PAGE,
    "session_token": NO_PAGE,
    "session_list": EVERYONE,
    # Nobody is signed in on a page here.
    "session_end": dict.fromkeys(NAMES, "hid"),
    "arrival_link_make": ORDER_ACT,
    "arrival_link_list": ORDER_ACT,
    # Nobody holds a link here: what one opens is a matter of tests/integration/test_arrivals.py.
    "arrival_link_revoke": ORDER_ACT | {name: "hid" for name, word in ORDER_ACT.items() if word == "yes"},
    "arrive": dict.fromkeys(NAMES, "hid"),
    "city_map": _row("         yes yes yes yes yes yes yes hid yes hid   yes yes yes yes   hid hid hid"),
    "page_app": EVERYONE,
    "page_arrival": EVERYONE,
    "page_order": EVERYONE,
    "page_console": EVERYONE,
    # There is no file of such a name.
    "files_app": dict.fromkeys(NAMES, "hid"),
    "files_arrival": dict.fromkeys(NAMES, "hid"),
    "files_order": dict.fromkeys(NAMES, "hid"),
    "files_console": dict.fromkeys(NAMES, "hid"),
    "assets": dict.fromkeys(NAMES, "hid"),
    "config": EVERYONE,
    "openapi": EVERYONE,
    "asyncapi": EVERYONE,
    "page": EVERYONE,
    "sos_page": EVERYONE,
    "sos_style": EVERYONE,
    "sos_script": EVERYONE,
    "style": EVERYONE,
    "security_txt": dict.fromkeys(NAMES, "hid"),  # nobody is named in the config
}
# Tried last, in this order: they end what the others need, or make a tec_1 in the other tenant.
LAST = (
    "order_reassign",
    "order_mode",
    "order_assign",
    "order_cancel",
    "technician_duty",
    "incident_resolve",
    "incident_close",
    "sos",
    "technician_put",
)


@dataclass(frozen=True)
class Things:
    order: str
    incident: str


def _body(name: str) -> Any:
    return {
        "order_place": order(customer=None),
        "order_cancel": {"reason": "x"},
        "order_rating": {"stars": 5},
        "order_what_if": {},
        "order_step": {"step": "en_route", "reason": "x"},
        "order_add_time": {"minutes": 15},
        "order_add_time_agree": {"request": "req_1"},
        "order_add_time_refuse": {"request": "req_1"},
        "order_schedule": {"scheduled_for": time.time() + 7_200},
        "order_reassign": {},
        "order_assign": {"technician": "tec_1", "reason": "x"},
        "order_mode": {"mode": "auto"},
        "technician_calendar_put": {},
        "customer_block_put": {"reason": "x"},
        "technician_block_put": {"reason": "x"},
        "technician_put": {"name": "Name", "cities": ["shenzhen"], "skills": ["massage"], "verified": True},
        "technician_duty": {"on": True, "city": "shenzhen"},
        "incident_hold": {"hold": True, "reason": "asked for"},
        "incident_export_ask": {"reason": "asked for"},
        "incident_export_allow": {"by": "ops_1"},
        "incident_resolve": {"disposition": "false_test"},
        "incident_note": {"text": "x"},
        "incident_respond": {},
        "incident_assign": {"responder": "res_1"},
        "incident_on_scene": {},
        "incident_reopen": {},
        "incident_close": {},
        "checkin_answer": {"answer": "ok"},
        "trip_share": {},
        "positions": {"device": "d", "pings": [[1, time.time(), LAT + 0.01, LNG, 5, None, None]]},
        "ticket": {"device": "d"},
        "tracker_add": {"app": "overland"},
        "sign_in_code": {"user": "tec_1", "role": "technician"},
        "sign_in": {"code": "AAAAA-AAAAA", "page": "app", "device": "d"},
        "session_token": {"page": "app"},
        "arrival_link_make": {},
        "arrive": {"token": "none", "device": "d"},
        "profile_put": {"phone": "138"},
        "sos_cancel": {"pin": "9173"},
        "person_sos": {"key": "matrix", "reason": "x"},
        "profile_put_person": {"phone": "138"},
        "sos": {"key": "matrix"},
    }.get(name)


def _word(status: int, name: str) -> str:
    words = {401: "who", 403: "no", 404: "hid", 422: "bad"}
    # Whatever else refuses a caller is no answer of the table: only a state may, and only one who got through.
    assert status in words or status < 300 or status == 409, (name, status)
    return words.get(status, "yes")


async def _things(server: Served) -> Things:
    await server.session("ops_1", "ops")
    responder = await server.session("res_1", "responder")
    await responder.ask("duty", on=True, city="shenzhen")
    phone = await server.technician("tec_1")
    record = {"name": "Name", "cities": ["shenzhen"], "verified": True}
    await server.call("PUT", "/v1/technicians/tec_2", server.token("prog", "service"), record)
    placed = (await server.call("POST", "/v1/orders", server.token("cus_1", "customer"), order()))[1]["order"]
    offer = await phone.until("offer")
    await phone.ask("offer.accept", offer=offer["offer"])
    await phone.send("sos", key="help")
    ack = await phone.until("sos_ack", key="help")
    await responder.until("incident", incident=ack["incident"])
    return Things(placed, ack["incident"])


async def test_every_route_for_every_caller(tmp_path: Path) -> None:
    async with served(tmp_path, trackers__guesses_burst="100000", api__requests_burst="100000") as server:
        things = await _things(server)
        routes = {route.name: route for route in server.app.house.api.routes}
        assert set(routes) == set(TABLE), "each route needs its row"
        wrong = []
        for name in sorted(routes, key=lambda name: (LAST.index(name) if name in LAST else -1, name)):
            route = routes[name]
            thing = {"/v1/orders": things.order, "/v1/incidents": things.incident, "/v1/sos": things.incident}
            path = route.path
            for prefix, id_ in thing.items():
                if path.startswith(prefix):
                    path = path.replace("{id}", id_)
            path = path.replace("/customers/{id}", "/customers/cus_1").replace("{customer}", "cus_1")
            path = path.replace("{id}", "tec_1").replace("{technician}", "tec_1")
            path = path.replace("{tracker}", "trk_none").replace("{trip}", "trp_none").replace("{token}", "none")
            path = path.replace("{link}", "trp_none").replace("{city}", "shenzhen")
            if name == "technician_nearby":
                path += f"?lat={LAT}&lng={LNG}"
            for caller, user, role, roles, tenant, cities in reversed(CALLERS):
                body = _body(name)
                if name == "order_place" and role in ("ops", "service"):
                    body = order(customer="cus_1")
                token = server.token(user, role, roles=roles, tenant=tenant, cities=cities)
                status, answer, _ = await server.call(route.method, path, token, body)
                if _word(status, name) != TABLE[name][caller]:
                    wrong.append((name, caller, status, TABLE[name][caller], str(answer)[:150]))
            status, _, _ = await server.call(route.method, path, None, _body(name))
            assert (status == 401) == (route.access.value != "public"), (name, status)
        assert not wrong, "\n".join(map(str, wrong))


async def test_the_documents_tell_the_routes_of_the_running_server(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
    written = re.findall(r"^\| `(GET|POST|PUT|DELETE|PATCH) (/[^` ]*)` \|", page, re.MULTILINE)
    async with served(tmp_path) as server:
        running = [(route.method, route.path) for route in server.app.house.api.routes]
        paths = (await server.call("GET", "/openapi.json", None))[1]["paths"]
    assert sorted(written) == sorted(running)
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert described == set(running)


def test_the_roles_of_each_route_are_those_of_the_table() -> None:
    """What a route's own row says, and the documents with it, is what every caller of one role is answered."""
    by_role = [(name, role) for name, _, role, others, _, _ in CALLERS if not others]
    for route in generate_docs.routes():
        if TABLE[route.name] is NO_PAGE:
            continue
        who = {role.value for role in route.who or Role}
        for name, role in by_role:
            if TABLE[route.name] is INCIDENT_ACT and name == "technician":
                continue  # the incident is their own
            assert (TABLE[route.name][name] == "no") == (role not in who), (route.name, name)


async def test_foreign_and_absent_are_the_same_answer(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        things = await _things(server)
        for path, id_, user, role in (
            ("/v1/orders/{}", things.order, "cus_2", "customer"),
            ("/v1/incidents/{}", things.incident, "res_2", "responder"),
            ("/v1/technicians/{}", "tec_1", "tec_2", "technician"),
        ):
            answers = []
            for name in (id_, id_[:4] + "absent"):
                token = server.token(user, role)
                status, body, _ = await server.call("GET", path.format(name), token)
                answers.append((status, {key: body[key] for key in body if key != "request_id"}))
            assert answers[0] == answers[1]
            assert answers[0][0] == 404


async def test_the_secret_address_reaches_only_those_who_need_it(tmp_path: Path) -> None:
    """Everything that each hub session was sent is searched for the address."""
    async with served(tmp_path) as server:
        sessions = {
            "customer": await server.session("cus_1", "customer"),
            "stranger": await server.session("cus_2", "customer"),
            "other_ops": await server.session("ops_1", "ops", tenant="other"),
            "far_ops": await server.session("ops_9", "ops", cities=("beijing",)),
        }
        phone = await server.technician("tec_1")
        colleague = await server.technician("tec_2", LAT + 0.05)
        _, placed, _ = await server.call("POST", "/v1/orders", server.token("cus_1", "customer"), order())
        offer = await phone.until("offer")
        assert "Secret" not in json.dumps(phone.seen) + json.dumps(offer)
        await phone.ask("offer.decline", offer=offer["offer"], reason="far")
        second = await colleague.until("offer")
        await colleague.ask("offer.accept", offer=second["offer"])
        await sessions["customer"].until("order", state="assigned")
        token = server.token("tec_1", "technician")
        assert (await server.call("GET", f"/v1/orders/{placed['order']}", token))[0] == 404
        for name in ("stranger", "other_ops", "far_ops"):
            session = sessions[name]
            await session.send("watch", topic=f"order:{placed['order']}", ref="w")
            error = await session.until("error", ref="w")
            assert error["code"] == "not_found"
            assert "Secret" not in json.dumps(session.seen)
            assert not [message for message in session.seen if message["type"] in ("order", "snapshot")]
        assert "Secret" not in json.dumps(phone.seen)
        assert "Secret" in json.dumps(colleague.seen)


async def test_staff_power_ends_at_the_cities_of_the_token(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        for roles, cities in ((("ops",), ("beijing",)), (("ops",), ()), (("service",), ("beijing",))):
            token = server.token("cus_1", "customer", roles=roles, cities=cities)
            status, answer, _ = await server.call("POST", "/v1/orders", token, order(customer="cus_2"))
            assert status == 403, (roles, cities, answer)
            status, answer, _ = await server.call("POST", "/v1/orders", token, order())
            assert (status, answer["customer"]) == (201, "cus_1"), (roles, cities, answer)
        nowhere = server.token("ops_0", "ops", cities=())
        assert (await server.call("POST", "/v1/orders", nowhere, order(customer="cus_1")))[0] == 422
        record = {"name": "Name", "cities": ["shenzhen"], "verified": True}
        assert (await server.call("PUT", "/v1/technicians/tec_9", nowhere, record))[0] == 403
        assert (await server.call("GET", "/v1/orders?city=shenzhen", nowhere))[0] == 404
        both = server.token("cus_3", "customer", roles=("ops",))
        _, answer, _ = await server.call("POST", "/v1/orders", both, order())
        assert answer["customer"] == "cus_3"
        _, answer, _ = await server.call("POST", "/v1/orders", both, order(customer="cus_2"))
        assert answer["customer"] == "cus_2"
