"""The end of a job on a running server: that somebody has left is kept, and who was freed reads no address any more."""

from pathlib import Path
from typing import Any

from tests.integration.served import Served, Session, order, served

SECRETS = ("Secret", "7B", "13800000000")
STEPS = ("en_route", "arrived", "in_service", "finished")
ON_TRUST = {"dispatch__arrival__en_route_proof": "none", "dispatch__arrival__arrived_proof": "none"}


async def finished(server: Served, phone: Session) -> str:
    """An order whose technician has just finished."""
    placed: str = (await server.call("POST", "/v1/orders", server.token("cus_1", "customer"), order()))[1]["order"]
    await phone.ask("offer.accept", offer=(await phone.until("offer", order=placed))["offer"])
    for step in STEPS:
        await phone.ask("job.step", order=placed, step=step)
    await phone.until("order", order=placed, state="finished")
    return placed


def knows(said: Any) -> bool:
    return any(secret in str(said) for secret in SECRETS)


async def test_leaving_after_the_customers_confirmation_is_on_record(tmp_path: Path) -> None:
    async with served(tmp_path, **ON_TRUST) as server:
        phone = await server.technician()
        console = await server.session("ops_1", "ops")
        placed = await finished(server, phone)
        customer, ops = server.token("cus_1", "customer"), server.token("ops_1", "ops")
        assert (await server.call("POST", f"/v1/orders/{placed}/confirm", customer, {}))[0] == 200
        await console.until("order", order=placed, state="confirmed")
        console.seen.clear()
        result = (await phone.ask("job.step", order=placed, step="departed_safe"))["result"]
        assert result == {"order": placed, "state": "departed_safe"}
        await console.until("order", order=placed, state="confirmed")
        told = (await server.call("GET", f"/v1/orders/{placed}/timeline", ops))[1]["events"]
        assert [(event["what"], event["who"], event["state"]) for event in told][-2:] == [
            ("confirmed", "cus_1", "confirmed"),
            ("departed_safe", "tec_1", "confirmed"),
        ]
        assert (await server.call("GET", f"/v1/orders/{placed}", customer))[1]["state"] == "confirmed"


async def test_who_was_freed_reads_the_address_of_the_former_customer_nowhere(tmp_path: Path) -> None:
    async with served(tmp_path, **ON_TRUST) as server:
        phone = await server.technician()
        placed = await finished(server, phone)
        tec = server.token("tec_1", "technician")
        assert knows((await server.call("GET", f"/v1/orders/{placed}", tec))[1]), "until then they need it"
        phone.seen.clear()
        await phone.ask("duty", on=False)
        told = await phone.until("order", order=placed)
        assert told["state"] == "finished"
        assert not knows([told, *phone.seen])
        assert not knows((await server.call("GET", f"/v1/orders/{placed}", tec))[1])
        listed = (await server.call("GET", "/v1/orders", tec))[1]
        assert placed in str(listed)
        assert not knows(listed)
        again = await server.session("tec_1", "technician")
        snapshot = await again.until("snapshot")
        assert [known["order"] for known in snapshot["orders"]] == [placed]
        assert not knows(snapshot)
        assert knows((await server.call("GET", f"/v1/orders/{placed}", server.token("ops_1", "ops")))[1])


async def test_who_asks_to_leave_duty_in_a_job_leaves_after_it_and_is_asked_for_nothing_more(tmp_path: Path) -> None:
    async with served(tmp_path, **ON_TRUST) as server:
        phone = await server.technician()
        tec, customer = server.token("tec_1", "technician"), server.token("cus_1", "customer")
        placed: str = (await server.call("POST", "/v1/orders", customer, order()))[1]["order"]
        await phone.ask("offer.accept", offer=(await phone.until("offer", order=placed))["offer"])
        ending = {"duty": "ending", "city": "shenzhen"}
        assert (await phone.ask("duty", on=False))["result"] == ending
        status, again, _ = await server.call("POST", "/v1/technicians/tec_1/duty", tec, {"on": False})
        assert (status, again["result"]) == (200, ending)
        assert (await server.call("GET", "/v1/technicians/tec_1", tec))[1]["duty"] == "ending"
        for step in (*STEPS, "departed_safe"):
            await phone.ask("job.step", order=placed, step=step)
        assert (await server.call("GET", "/v1/technicians/tec_1", tec))[1]["duty"] == "off"
        second = (await server.call("POST", "/v1/orders", customer, order()))[1]["order"]
        assert (await server.call("GET", f"/v1/orders/{second}", customer))[1]["state"] == "matching"
        await phone.ask("duty", on=True)
