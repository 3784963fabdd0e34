"""Row 70: every route and every message, for every role, with ids of others: made from the tables, not listed.

One law for all of them: the id of a thing that is somebody else's is worth what an id is worth that does not exist.
Whoever asks, the two are answered with the same bytes; and a role that a route does not name is refused by it.
What stands here by name are only exceptions, each with its reason: a new route or message is held to the law.
"""

import json
import re
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import pytest

from api.exchange import Access, Route
from core.principal import Role
from realtime import messages
from tests.hostile.damage import BODIES, EXAMPLES
from tests.integration.served import Served, Session, order, served

pytestmark = pytest.mark.slow

NAMES_THE_PERSON: Final = {
    "technician_put": "staff who register somebody learn that the id is taken: two may not share it",
    "profile_put_person": "who is no technician belongs to no city, so that any staff may speak for them",
    "person_erase": "likewise; of who is unknown nothing is kept, and nothing is erased",
    "person_sos": "likewise; an SOS is raised rather for one too many than for one too few",
}
"""Routes on which a name that nobody has is one that may be given: the law holds for other roles and tenants."""
ABSENT: Final = {
    "id": "abs_ent", "technician": "tec_absent", "customer": "cus_absent", "trip": "trp_absent",
    "tracker": "trk_absent", "link": "trp_absent", "city": "shenzhen",
}  # fmt: skip
IDS: Final = ("order", "offer", "incident", "checkin", "topic")
"""Fields of messages that name a thing."""
NAMES_NOTHING: Final = frozenset({"hello", "refresh", "heartbeat", "ack", "ping", "pings", "duty", "drill.tap"})
"""Messages that name no thing of anybody: they speak of the sender alone."""


class Things:
    """What belongs to one customer and one technician of one tenant."""

    def __init__(self, order_id: str, offer: str, incident: str) -> None:
        self.order, self.offer, self.incident = order_id, offer, incident

    def of(self, route: Route) -> dict[str, str]:
        """Ids for a route's path, by the kind of thing that its path begins with."""
        kind = route.path.split("/")[2]
        mine = {"orders": self.order, "incidents": self.incident, "sos": self.incident, "customers": "cus_1"}
        # A city is nobody's thing: each tenant may have one of that name.
        return {
            "id": mine.get(kind, "tec_1"), "technician": "tec_1", "customer": "cus_1", "trip": "trp_absent",
            "tracker": "trk_absent", "link": "trp_absent", "city": "shenzhen",
        }  # fmt: skip


async def furnished(server: Served) -> Things:
    phone = await server.technician("tec_1")
    await server.session("ops_1", "ops")
    placed = (await server.call("POST", "/v1/orders", server.token("cus_1", "customer"), order()))[1]["order"]
    offer = (await phone.until("offer"))["offer"]
    await phone.ask("offer.accept", offer=offer)
    await phone.send("sos", key="help")
    return Things(placed, offer, (await phone.until("sos_ack", key="help"))["incident"])


def plain(answer: Any, ids: dict[str, str]) -> str:
    """An answer without what names the one request, and with the id that was asked for made equal."""
    told = {k: v for k, v in answer.items() if k != "request_id"} if isinstance(answer, dict) else str(answer)
    text = json.dumps(told)
    for id_ in sorted(set(ids.values()), key=len, reverse=True):
        text = text.replace(id_, "ID")
    return re.sub(r"\d{10}\.\d+", "TIME", re.sub(r"inc_[\w-]{20}", "INCIDENT", text))


def strangers(server: Served) -> dict[str, tuple[str, str]]:
    """Tokens of somebody of each role who has nothing to do with the things, by name; with their tenant."""
    found = {}
    for role in Role:
        found[f"{role} of another city"] = (server.token(f"{role}_9", role.value, cities=("beijing",)), "demo")
        found[f"{role} of another tenant"] = (server.token(f"{role}_9", role.value, tenant="other"), "other")
    # The very same names in another tenant: an id is worth nothing without its tenant.
    found["the technician's name elsewhere"] = (server.token("tec_1", "technician", tenant="other"), "other")
    found["the customer's name elsewhere"] = (server.token("cus_1", "customer", tenant="other"), "other")
    return found


async def test_row_70_every_route_answers_a_foreign_id_as_one_that_does_not_exist(tmp_path: Path) -> None:
    async with served(
        tmp_path, safety__pins__answer_after_s="0.05", safety__pins__memory_kib="8", api__requests_burst="100000"
    ) as server:
        things = await furnished(server)
        routes = [r for r in server.app.house.api.routes if "{" in r.path and r.access is not Access.PUBLIC]
        assert len(routes) > 30
        wrong: list[tuple[object, ...]] = []
        asked = 0
        for route in routes:
            good = BODIES.get((route.method.lower(), route.path), (None, None))[1]
            for name, (token, tenant) in strangers(server).items():
                role = name.split()[0]
                if "name elsewhere" in name:
                    role = "technician" if "technician" in name else "customer"
                    if route.path.startswith(("/v1/technicians", "/v1/customers", "/v1/people")):
                        continue  # there it is their own name
                if route.name == "technician_put" and tenant == "other":
                    continue  # it would make a person of theirs, whom the other routes then find
                answers = {}
                for kind, ids in (("foreign", things.of(route)), ("absent", ABSENT)):
                    path = route.path.format(**ids)
                    status, answer, _ = await server.call(route.method, path, token, good)
                    answers[kind] = (status, plain(answer, ids))
                    asked += 1
                may = {r.value for r in route.who}
                if role not in may and answers["foreign"][0] != 403:
                    wrong.append((route.name, name, "the role is not refused", answers["foreign"]))
                is_excepted = route.name in NAMES_THE_PERSON and tenant == "demo"
                if answers["foreign"] != answers["absent"] and not is_excepted:
                    wrong.append((route.name, name, answers["foreign"], answers["absent"]))
        print(f"{len(routes)} routes with ids, {asked} requests")
        assert not wrong, "\n".join(map(str, wrong))


async def test_row_70_every_route_refuses_the_roles_that_it_does_not_name(tmp_path: Path) -> None:
    async with served(
        tmp_path, safety__pins__answer_after_s="0.05", safety__pins__memory_kib="8", api__requests_burst="100000"
    ) as server:
        wrong: list[tuple[object, ...]] = []
        asked = 0
        for route in server.app.house.api.routes:
            if route.access in (Access.PUBLIC, Access.TRACKER):
                continue  # a device has no role
            good = BODIES.get((route.method.lower(), route.path), (None, None))[1]
            path = route.path.format(**ABSENT)
            for role in Role:
                status, _, _ = await server.call(route.method, path, server.token(f"{role}_9", role.value), good)
                asked += 1
                if role not in route.who and status != 403:
                    wrong.append((route.name, role, status))
            if (await server.call(route.method, path, None, good))[0] != 401:
                wrong.append((route.name, "nobody", "is not asked who they are"))
        print(f"{asked} requests")
        assert not wrong, "\n".join(map(str, wrong))


def catalogue() -> dict[str, set[str]]:
    """Every message of clients with its fields that name a thing."""
    structs = get_args(messages.ClientMessage)
    return {
        str(s.__struct_config__.tag): {f.encode_name for f in msgspec.structs.fields(s)} & set(IDS) for s in structs
    }


def test_row_70_every_message_that_names_a_thing_is_held_to_the_law() -> None:
    assert {name for name, ids in catalogue().items() if not ids} == NAMES_NOTHING
    assert set(catalogue()) <= set(EXAMPLES)


async def _answer(session: Session, ref: str, ids: dict[str, str]) -> str:
    while True:
        message = json.loads(await session.socket.recv())
        if message.get("ref") == ref:
            return plain({k: v for k, v in message.items() if k != "ref"}, ids)


async def test_row_70_every_message_answers_a_foreign_id_as_one_that_does_not_exist(tmp_path: Path) -> None:
    async with served(
        tmp_path,
        safety__pins__answer_after_s="0.05",
        safety__pins__memory_kib="8",
        realtime__sessions__violations_max="100000",
    ) as server:
        things = await furnished(server)
        wrong: list[tuple[object, ...]] = []
        asked = 0
        people = [(f"{r}_9", r.value, "demo", ("beijing",)) for r in Role]
        people += [(f"{r}_9", r.value, "other", ("shenzhen",)) for r in Role]
        people += [("tec_1", "technician", "other", ("shenzhen",)), ("cus_1", "customer", "other", ("shenzhen",))]
        for user, role, tenant, cities in people:
            session = await server.session(user, role, tenant=tenant, cities=cities)
            for name, fields in catalogue().items():
                for field in sorted(fields):
                    foreign = {"incident": things.incident, "offer": things.offer}.get(field, things.order)
                    pairs = [(foreign, "abs_ent")]
                    if field == "topic":
                        pairs = [
                            (f"order:{things.order}", "order:abs_ent"),
                            ("technician:tec_1", "technician:tec_absent"),
                            (f"incident:{things.incident}", "incident:abs_ent"),
                            ("area:shenzhen", "area:nowhere"),
                        ]
                    for theirs, none in pairs:
                        if name == "unwatch" or (theirs == "area:shenzhen" and tenant == "other"):
                            continue  # ends only what the session itself has; and every tenant has its own city
                        answers = []
                        for value in (theirs, none):
                            asked += 1
                            ref = f"r{asked}"
                            body = {k: v for k, v in EXAMPLES[name].items() if k not in ("bbox", "cells")}
                            await session.send(name, **{**body, field: value, "ref": ref})
                            answers.append(await _answer(session, ref, {"id": value.partition(":")[2] or value}))
                        if answers[0] != answers[1] or '"ok"' in answers[0]:
                            wrong.append((f"{role} {tenant}", name, theirs, answers))
        print(f"{asked} messages")
        assert not wrong, "\n".join(map(str, wrong))
