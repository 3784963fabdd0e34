"""kill -9 while phone trackers upload the way of a job: every point that was acknowledged is on the disk."""

import asyncio
import base64
import os
import random
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import geo
from core.principal import Role
from sim.local_server import LocalCity, LocalServer

SEED = int(os.environ.get("DOORSTEP_FAULT_SEED", "20260101"))
CITY, LAT, LNG = "shenzhen", 22.5431, 114.0579
BOUNDARY = Path(geo.__file__).parent / "cities" / f"{CITY}.geojson"
APPS = ("osmand", "traccar", "owntracks", "overland", "gpslogger")
ANSWERS = {"owntracks": b"[", "overland": b'{"result":"ok"'}
DIED = (aiohttp.ClientError, OSError, TimeoutError)


class Phone:
    """One app: points wait in its memory until they are acknowledged, the oldest first, as in the real ones."""

    def __init__(self, url: str, app: str, technician: str, added: dict[str, Any]) -> None:
        self.url, self.app, self.technician, self.added = f"{url}/in/{app}", app, technician, added
        self.acked: set[float] = set()
        self.answers: Counter[str] = Counter()
        self._queue: list[tuple[float, float]] = []
        self._made_at = 0.0

    def move(self) -> None:
        at = round(max(time.time(), self._made_at + 0.02), 2)
        self._made_at = at
        self._queue.append((at, LAT + (at % 1000) / 1e6))

    async def upload(self, http: aiohttp.ClientSession) -> None:
        """The next request of the app; what is acknowledged leaves its memory."""
        size = 50 if self.app == "overland" else 1
        sent = self._queue[:size]
        if not sent:
            return
        try:
            async with self._request(http, sent) as answer:
                body = await answer.read()
        except DIED:
            self.answers["cut off"] += 1
            return
        self.answers[str(answer.status)] += 1
        if answer.status == 200 and body.startswith(ANSWERS.get(self.app, b"")):
            self.acked.update(at for at, _ in sent)
            del self._queue[: len(sent)]

    def _request(self, http: aiohttp.ClientSession, sent: list[tuple[float, float]]) -> Any:
        secret, (at, lat) = self.added["secret"], sent[0]
        if self.app == "owntracks":
            who = base64.b64encode(f"{self.added['username']}:{secret}".encode()).decode()
            body = {"_type": "location", "lat": lat, "lon": LNG, "tst": at, "acc": 5}
            return http.post(self.url, json=body, headers={"Authorization": f"Basic {who}"})
        if self.app == "overland":
            points = [
                {
                    "type": "Feature",
                    "geometry": {"type": "Point", "coordinates": [LNG, lat]},
                    "properties": {"timestamp": at, "horizontal_accuracy": 5},
                }
                for at, lat in sent
            ]
            return http.post(self.url, json={"locations": points}, headers={"Authorization": f"Bearer {secret}"})
        if self.app == "traccar":
            coords = {"latitude": lat, "longitude": LNG, "accuracy": 5, "speed": -1}
            return http.post(self.url, json={"device_id": secret, "location": {"timestamp": at, "coords": coords}})
        stamp = str(int(at * 1000)) if self.app == "osmand" else str(at)
        return http.get(self.url, params={"id": secret, "lat": str(lat), "lon": str(LNG), "timestamp": stamp})


async def call(http: aiohttp.ClientSession, method: str, url: str, token: str, body: Any) -> dict[str, Any]:
    async with http.request(method, url, json=body, headers={"Authorization": f"Bearer {token}"}) as answer:
        told: dict[str, Any] = await answer.json(content_type=None)
        assert answer.status < 300, told
        return told


async def at_work(http: aiohttp.ClientSession, server: LocalServer, app: str) -> Phone:
    """A technician whose only phone is this app, on the way to a job."""
    url, user = server.http_url, f"tec_{app}"
    service, ops = server.token("prog", Role.SERVICE), server.token("ops_1", Role.OPS)
    record = {"name": user, "cities": [CITY], "skills": ["massage"], "verified": True}
    await call(http, "PUT", f"{url}/v1/technicians/{user}", service, record)
    await call(http, "POST", f"{url}/v1/technicians/{user}/duty", service, {"on": True, "city": CITY})
    added = await call(http, "POST", f"{url}/v1/technicians/{user}/trackers", service, {"app": app})
    phone = Phone(url, app, user, added)
    phone.move()
    await phone.upload(http)
    order = {
        "customer": f"cus_{app}", "service": "massage", "skills": ["massage"], "duration_s": 3600, "mode": "manual",
        "location": {"lat": LAT, "lng": LNG, "address": "1 Road"}, "contact": {"name": "Li", "phone": "138"},
        "price": {"service_fen": 20_000},
    }  # fmt: skip
    placed = (await call(http, "POST", f"{url}/v1/orders", service, order))["order"]
    await call(
        http,
        "POST",
        f"{url}/v1/orders/{placed}/assign",
        ops,
        {"technician": user, "reason": "x", "override": ["disconnected"]},
    )
    phone.acked.clear()  # before the job nothing is kept
    return phone


def stored(folder: Path) -> dict[str, set[float]]:
    """Times of the fixes on the disk as the kill left it, by technician."""
    found: dict[str, set[float]] = {}
    with closing(sqlite3.connect(f"file:{folder / 'data' / 'tracks.db'}?mode=ro", uri=True)) as tracks:
        for technician, at in tracks.execute("SELECT technician, fixed_at FROM points"):
            found.setdefault(technician, set()).add(round(at, 2))
    return found


async def upload_and_kill(folder: Path, times: int) -> None:
    print(f"seed {SEED} (DOORSTEP_FAULT_SEED), {times} kills")
    rng = random.Random(SEED)
    server = LocalServer([LocalCity(CITY, BOUNDARY)], {"log": {"level": "warning"}}, folder=folder)
    server.start()
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
            phones = [await at_work(http, server, app) for app in APPS]
            for _ in range(times):
                await _upload_until_killed(http, server, phones, rng)
                on_disk = stored(folder)
                for phone in phones:
                    lost = phone.acked - on_disk.get(phone.technician, set())
                    assert not lost, f"{phone.app}: {len(lost)} of {len(phone.acked)} acknowledged points are lost"
                await asyncio.to_thread(server.start)
    finally:
        server.kill()
    for phone in phones:
        print(phone.app, len(phone.acked), dict(phone.answers))
        assert len(phone.acked) >= 2 * times, "too few for a proof"
        assert phone.answers["cut off"], "it was never cut off in the middle"


async def _upload_until_killed(
    http: aiohttp.ClientSession, server: LocalServer, phones: list[Phone], rng: random.Random
) -> None:
    """Everybody uploads; SIGKILL at a random moment after each has something acknowledged anew."""
    before = [len(phone.acked) for phone in phones]
    is_over = asyncio.Event()

    async def live(phone: Phone) -> None:
        while not is_over.is_set():
            for _ in range(rng.randint(1, 5)):
                phone.move()
            await phone.upload(http)
            await asyncio.sleep(0.01)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for phone in phones:
            group.create_task(live(phone))
        while any(len(phone.acked) < had + 2 for phone, had in zip(phones, before, strict=True)):
            await asyncio.sleep(0.02)
        await asyncio.sleep(rng.uniform(0.1, 1.2))
        server.kill()
        await asyncio.sleep(0.1)  # answers on their way were given
        is_over.set()


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_three_kills_during_uploads_lose_no_acknowledged_point(tmp_path: Path) -> None:
    await upload_and_kill(tmp_path, 3)


@pytest.mark.full
@pytest.mark.timeout(900)
async def test_twenty_kills_during_uploads_lose_no_acknowledged_point(tmp_path: Path) -> None:
    await upload_and_kill(tmp_path, 20)
