"""kill -9 proves nothing about the disk: the system calls show that what is acknowledged was synced before.

The server runs under strace. For each SOS and each order: the page that holds it is written to the write-ahead log,
the log is synced, and only then do the bytes of the answer leave through the socket.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

import geo
from core.principal import Role
from sim.local_server import AUDIT_KEY_ENV, SECRET_ENV, LocalCity, LocalServer
from tests.faults.ledger import Ledger
from tests.faults.people import CITY, LAT, Tasks, Technician, Web, order_body
from tests.faults.trace import read_trace, synced_before_sent
from tests.needs import missing

CALLS = "fdatasync,fsync,pwrite64,pwritev,sendto,sendmsg,write,writev"
SOS_COUNT, ORDER_COUNT = 6, 4

SAFE = r"""
7 pwrite64(9</d/safety.db-wal>, "\0key\244tap-1"..., 4096, 56) = 4096
7 fdatasync(9</d/safety.db-wal> <unfinished ...>
6 sendto(12<socket:[77]>, "{\"type\":\"ok\"}", 13, 0, NULL, 0) = 13
7 <... fdatasync resumed>) = 0
6 sendto(12<socket:[77]>, "{\"type\":\"sos_ack\",\"key\":\"tap-1\"}", 33, 0, NULL, 0) = 33
"""


def _check_tap(trace: str) -> None:
    synced_before_sent(
        read_trace(trace.splitlines()), "safety.db-wal", written="tap-1", sent=("sos_ack", '"key":"tap-1"')
    )


def test_an_ack_after_the_sync_is_in_order() -> None:
    _check_tap(SAFE)


@pytest.mark.parametrize("where", ["before the sync began", "while it was under way", "never synced", "sync failed"])
def test_an_ack_that_left_too_early_is_noticed(where: str) -> None:
    _, write, begin, other, end, ack = SAFE.splitlines()
    trace = {
        "before the sync began": [write, ack, begin, other, end],
        "while it was under way": [write, begin, ack, other, end],
        "never synced": [write, other, ack],
        "sync failed": [write, begin, other, end.replace("= 0", "= -1 EIO (Input/output error)"), ack],
    }[where]
    with pytest.raises(AssertionError, match="synced"):
        _check_tap("\n".join(trace))


def _why_not() -> str:
    """Why this machine cannot trace, empty when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    probe = subprocess.run(
        ["strace", "-f", "-e", "trace=fsync", sys.executable, "-c", "print('traced')"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return "" if "traced" in probe.stdout else f"strace cannot trace here: {probe.stderr.strip()[-300:]}"


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[tuple[LocalServer, Path]]:
    reason = _why_not()
    if reason:
        missing(f"{reason}; `make test` installs it (tools/system_packages.sh strace)")
    (tmp_path / "server").mkdir()
    overrides = {"log": {"level": "warning"}, "safety": {"commit_wait_s": 10.0}}
    server = LocalServer([LocalCity(CITY, Path(geo.__file__).parent / "cities" / f"{CITY}.geojson")], overrides,
                         folder=tmp_path / "server")  # fmt: skip
    trace, log = tmp_path / "trace", tmp_path / "log"
    secret = (server.folder / "secret").read_text()
    with log.open("wb") as out:
        # -y names the files behind descriptors, -s shows whole pages.
        process = subprocess.Popen(
            ["strace", "-f", "-y", "-s", "8192", "-e", f"trace={CALLS}", "-o", str(trace),
             sys.executable, *server.command, "--config", str(server.write_config())],
            env={**os.environ, SECRET_ENV: secret, AUDIT_KEY_ENV: "kR4u7w2pX9-an-audit-key-with-enough-letters"},
            stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not server._is_ready():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield server, trace
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
async def test_row_11_what_is_acknowledged_was_synced_before_its_answer_left(traced: tuple[LocalServer, Path]) -> None:
    server, trace = traced
    ledger = Ledger()
    customer = server.token("cus_1", Role.CUSTOMER)
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as http, asyncio.TaskGroup() as group:
        tasks, web = Tasks(group), Web(server.http_url, http, ledger)
        record = {"name": "Wang", "cities": [CITY], "skills": ["massage"], "verified": True}
        for name in ("tec_1", "tec_2"):
            await web.call("PUT", f"/v1/technicians/{name}", server.token("prog", Role.SERVICE), record)
        token = server.token("tec_1", Role.TECHNICIAN)
        phone = Technician(server.hub_url, token, "tec_1", "phone", ledger, 1, tasks, True)
        tasks.start(phone.run())
        tasks.start(phone.live())
        # Whoever has an open alarm is given no order.
        caller = Technician(
            server.hub_url, server.token("tec_2", Role.TECHNICIAN), "tec_2", "phone", ledger, 2, tasks, True
        )
        tasks.start(caller.run())
        async with asyncio.timeout(60):
            for n in range(SOS_COUNT):
                if n % 2:
                    await caller.tap(f"hub-tap-{n}")
                else:
                    status, ack = await web.call("POST", "/v1/sos", customer, {"key": f"web-tap-{n}", "lat": LAT})
                    assert status == 200
                    assert ack["durable"] is True
            for n in range(ORDER_COUNT):
                status, order = await web.call("POST", "/v1/orders", customer, order_body(), f"k{n}")
                assert status == 201
                ledger.orders[order["order"]] = ("cus_1", f"k{n}", {})
                while ledger.states.get(order["order"]) != "departed_safe":
                    await asyncio.sleep(0.05)
                    assert not ledger.faults, ledger.faults
        tasks.cancel()

    await asyncio.sleep(0.2)  # strace writes what the server has already done
    calls = read_trace(trace.read_text(errors="replace").splitlines())
    for n in range(SOS_COUNT):
        key = f"hub-tap-{n}" if n % 2 else f"web-tap-{n}"
        synced_before_sent(calls, "safety.db-wal", written=key, sent=("sos_ack", f'"key":"{key}"', '"durable":true'))
    for order in ledger.orders:
        synced_before_sent(calls, "doorstep.db-wal", written=order, sent=('"type":"order"', order, "HTTP/1.1 201"))
        synced_before_sent(calls, "doorstep.db-wal", written=order, sent=('"type":"offer"', order))
    for offer, (_, order) in ledger.accepts.items():
        synced_before_sent(calls, "doorstep.db-wal", written=offer, sent=('"type":"offer"', offer))
        # The row of the offer: its ids with the city between them, its time, its state.
        row = rf"{offer}[a-z]+{order}tec_1.{{0,60}}accepted"
        synced_before_sent(calls, "doorstep.db-wal", written=row, sent=('"type":"ok"', offer, '"accepted"'))
    syncs = sum(call.name in ("fdatasync", "fsync") for call in calls)
    print(f"{len(calls)} calls traced, {syncs} syncs; {SOS_COUNT} SOS and {len(ledger.orders)} orders in order")
