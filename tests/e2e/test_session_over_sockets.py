"""A real server in its own process, spoken to by the independent ``websockets`` client and plain HTTP."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from core.principal import Role
from server.keys import Key
from server.settings import Algorithm, AuthSettings
from server.system import SystemClock, SystemIds
from server.tokens import issue

SECRET = b"an end-to-end secret of 32 bytes or more"
KEYS = {"DOORSTEP_JWT_SECRET": SECRET.decode(), "DOORSTEP_AUDIT_KEY": "a" * 40}
LAST_RESORT = {"DOORSTEP__SAFETY__REACH__LAST_RESORT__LOG": "true"}
CITY = "shenzhen"
LAT, LNG = 22.5431, 114.0579
pytestmark = pytest.mark.slow


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Server:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.http_port, self.hub_port, self.admin_port = _free_ports(3)
        config = {
            "http": {"port": self.http_port},
            "hub": {"port": self.hub_port},
            "admin": {"port": self.admin_port},
            "data_folder": str(folder / "data"),
            "realtime": {"drain": {"over_s": 0.3, "reconnect_min_ms": 100, "reconnect_spread_ms": 500}},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "serve", "--config", str(self.folder / "config.yaml")],
                env={
                    **os.environ,
                    "DOORSTEP_JWT_SECRET": SECRET.decode(),
                    "DOORSTEP_AUDIT_KEY": "kR4u7w2pX9-an-audit-key-with-enough-letters",
                    **LAST_RESORT,
                },
                stderr=log,
                cwd=Path(__file__).parents[2],
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.admin_port), 1) as probe:
                    probe.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    if b" 200 " in probe.recv(64):
                        return
            except OSError:
                pass
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def token(self, user: str, role: Role, *roles: Role) -> str:
        key = Key("main", Algorithm.HS256, SECRET, SECRET)
        return issue(
            key,
            AuthSettings(),
            SystemClock(),
            SystemIds(),
            user=user,
            role=role,
            tenant="demo",
            cities=[CITY],
            roles=roles,
        )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    if server.process is not None and server.process.poll() is None:
        server.process.kill()
        server.process.wait()


class Session:
    """A client that acknowledges at once and keeps what it was sent."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def until(self, kind: str, timeout_s: float = 10.0, **fields: Any) -> dict[str, Any]:
        async with asyncio.timeout(timeout_s):
            while True:
                for message in self.seen:
                    if message["type"] == kind and all(message.get(name) == value for name, value in fields.items()):
                        self.seen.remove(message)
                        return message
                message = json.loads(await self.socket.recv())
                if "stream" in message:
                    await self.send("ack", **{message["stream"]: message["seq"]})
                self.seen.append(message)


async def _session(server: Server, user: str, role: Role, *roles: Role, **hello: Any) -> Session:
    socket = await connect(f"ws://127.0.0.1:{server.hub_port}/ws", subprotocols=["doorstep.v1.json"])  # type: ignore[list-item]
    session = Session(socket)
    await session.send("hello", token=server.token(user, role, *roles), device=f"{user}-phone", **hello)
    welcome = await session.until("welcome")
    assert welcome["user"] == user
    return session


def _order() -> dict[str, Any]:
    return {
        "service": "massage",
        "skills": ["massage"],
        "duration_s": 3600,
        "location": {"lat": LAT, "lng": LNG, "address": "1 Test Road", "unit": "7B"},
        "contact": {"name": "Li", "phone": "13800000000"},
        "price": {"service_fen": 20_000},
    }


async def test_an_order_is_offered_accepted_served_and_an_sos_reaches_ops(server: Server) -> None:
    base = f"http://127.0.0.1:{server.http_port}"
    async with aiohttp.ClientSession(base) as http:

        async def call(method: str, path: str, who: str, role: Role, body: Any = None, status: int = 200) -> Any:
            headers = {"Authorization": f"Bearer {server.token(who, role)}", "Idempotency-Key": "k1"}
            async with http.request(method, path, json=body, headers=headers) as answer:
                assert answer.status == status, await answer.text()
                return await answer.json()

        record = {"name": "Wang", "cities": [CITY], "skills": ["massage"], "verified": True}
        await call("PUT", "/v1/technicians/tec_1", "prog", Role.SERVICE, record, 201)

        ops = await _session(server, "ops_1", Role.OPS)
        customer = await _session(server, "cus_1", Role.CUSTOMER)
        phone = await _session(server, "tec_1", Role.TECHNICIAN)
        await phone.send("duty", on=True, city=CITY, ref="d1")
        assert (await phone.until("ok", ref="d1"))["result"]["duty"] == "on"
        now = time.time()
        await phone.send("ping", seq=1, fixed_at=now, sent_at=now, lat=LAT + 0.01, lng=LNG, accuracy_m=10)
        assert (await phone.until("ping_ack"))["verdicts"] == {"live": 1}

        placed = await call("POST", "/v1/orders", "cus_1", Role.CUSTOMER, _order(), 201)
        again = await call("POST", "/v1/orders", "cus_1", Role.CUSTOMER, _order(), 200)
        assert again["order"] == placed["order"]

        offer = await phone.until("offer")
        assert offer["order"] == placed["order"]
        assert "1 Test Road" not in json.dumps(offer)
        await phone.send("offer.accept", offer=offer["offer"], ref="a1")
        assert (await phone.until("ok", ref="a1"))["result"]["state"] == "accepted"
        job = await phone.until("order", state="assigned")
        assert job["location"]["address"] == "1 Test Road"
        assert (await customer.until("order", state="assigned"))["technician"]["name"] == "Wang"
        await ops.until("order", state="assigned")

        await phone.send("job.step", order=placed["order"], step="en_route", ref="s1")
        await phone.until("ok", ref="s1")
        await customer.until("order", state="en_route")
        await customer.send("watch", topic=f"order:{placed['order']}", ref="w1")
        await customer.until("ok", ref="w1")
        position = await customer.until("position")
        assert position["technician"] == "tec_1"

        for step in ("arrived", "in_service"):
            await phone.send("job.step", order=placed["order"], step=step, ref=step, evidence="photo:door")
            await phone.until("ok", ref=step)

        await phone.send("sos", key="help-1")
        ack = await phone.until("sos_ack", key="help-1")
        assert ack["durable"] is True
        incident = await ops.until("incident", incident=ack["incident"])
        assert incident["subject"] == "tec_1"
        assert incident["order"] == placed["order"]
        await ops.send("incident.ack", incident=ack["incident"], ref="i1")
        await ops.until("ok", ref="i1")
        await phone.until("sos_ack", seen=True)

        for step in ("finished", "departed_safe"):
            await phone.send("job.step", order=placed["order"], step=step, ref=step)
            await phone.until("ok", ref=step)
        await customer.until("unwatched")
        await call("POST", f"/v1/orders/{placed['order']}/confirm", "cus_1", Role.CUSTOMER)
        await call("POST", f"/v1/orders/{placed['order']}/rating", "cus_1", Role.CUSTOMER, {"stars": 5})
        timeline = await call("GET", f"/v1/orders/{placed['order']}/timeline", "ops_1", Role.OPS)
        assert [event["what"] for event in timeline["events"]][:1] == ["placed"]
        assert (await call("GET", f"/v1/orders/{placed['order']}/explain", "ops_1", Role.OPS))["rounds"]
        assert not any("incident" in json.dumps(message) for message in customer.seen)
        for session in (ops, customer, phone):
            await session.socket.close()


async def test_sigterm_sends_clients_away_with_advice_and_loses_no_event(server: Server) -> None:
    ops = await _session(server, "ops_1", Role.OPS)
    phone = await _session(server, "tec_9", Role.TECHNICIAN)
    await phone.send("sos", key="before")
    ack = await phone.until("sos_ack", key="before")
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    advice = await ops.until("reconnect")
    assert advice["reconnect_after_ms"] >= 100
    with pytest.raises(ConnectionClosed) as closed:
        await ops.until("never")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403
    assert await asyncio.to_thread(server.process.wait, 20) == 0

    server.start()
    back = await _session(server, "ops_1", Role.OPS)
    snapshot = await back.until("snapshot")
    assert [incident["incident"] for incident in snapshot["incidents"]] == [ack["incident"]]
    await back.socket.close()
    assert server.stop() == 0


def test_without_keys_the_server_stops_with_a_clear_message_and_exit_code_two(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DOORSTEP")}
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", "serve"],
        env=environ, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "DOORSTEP_JWT_SECRET" in ended.stderr
