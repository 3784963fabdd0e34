"""How long things take under 10,000 pings/s: order placed -> offer at the technician, ping -> watcher, and from an
offer that is declined, or expires, or whose phone loses its connection, to the next offer at another phone. Measured in
the clients' process while another one makes the load. For SOS see ``overload.py``.
"""

import asyncio
import itertools
import json
import time
from typing import Any

import numpy as np
from doorstep_client.events import (
    Disconnected,
    Event,
    OfferReceived,
    OrderChanged,
    PositionReceived,
    Welcomed,
)
from doorstep_client.http import Api
from doorstep_client.load import Swarm
from doorstep_client.ping_buffer import Fix
from doorstep_client.protocol import ClientProtocol

from bench.hub_load import Job, LoadProcess, Phase
from bench.ingest import technicians
from core.principal import Role
from sim import fast_loop
from sim.agent import Agent, Tally
from sim.clock import python_random
from sim.demo import BOUNDARY, CITY
from sim.local_server import LocalCity, LocalServer
from sim.phones import NEXT_STEP

BACKGROUND_PER_S = 10_000
BACKGROUND_S = 17
CONNECTIONS = 1_000
WORKERS = 60
ORDERS = 200
ORDER_EVERY_S = 0.05
PLACE = (22.55, 114.06)
OFFER_TTL_S = 2.0
RECEIPT_S = 0.1
"""Before a phone is lost: it has acknowledged the offer by then."""
MANNERS = ("decline", "expiry", "loss")
"""How the first offer of an order ends, in turn."""
NEXT = tuple(f"next_offer_after_{manner}" for manner in MANNERS)
CONFIG: dict[str, Any] = {
    "coordinates": {"frame": "wgs84"},
    "realtime": {"sessions": {"pings_per_s": 1_000}},
    # Jobs are over as soon as they are taken: whoever says so is believed.
    "dispatch": {"offer_ttl_s": OFFER_TTL_S, "arrival": {"en_route_proof": "none", "arrived_proof": "none"}},
    "log": {"level": "warning"},
}


class Worker(Agent):
    """Lets the first offer of every order end in one of three manners, takes the second, and is done at once."""

    def __init__(self, bench: "Bench", user: str, n: int) -> None:
        token = bench.server.token(user, Role.TECHNICIAN)
        super().__init__(
            ClientProtocol(device="bench", token=token, rng=python_random(n, user)),
            np.random.default_rng(n),
            bench.tally,
        )
        self._bench = bench
        self.user = user
        self._n = n
        self._step = 0

    def handle(self, event: Event, now: float) -> None:
        super().handle(event, now)
        bench = self._bench
        if isinstance(event, Disconnected):
            # What was on its way is sent again after the phone is back: that is not how long a ping takes.
            for key in [key for key in bench.pinged_at if key[0] == self.user]:
                del bench.pinged_at[key]
        if isinstance(event, Welcomed) and self._step == 0:
            self.protocol.duty(True, now, CITY)
            self.later(now + 0.01 * self._n, self._ping)
        elif isinstance(event, OfferReceived):
            if event.order not in bench.ended:
                bench.offered(event.order, now)
                self._end_first(event, now)
            else:
                manner, ended_at = bench.ended[event.order]
                if manner:
                    bench.tally.took(f"next_offer_after_{manner}", now - ended_at)
                    bench.ended[event.order] = "", 0.0
                self.protocol.accept(event.offer, now)
        elif isinstance(event, OrderChanged) and event.state in NEXT_STEP:
            self.protocol.step(event.order, NEXT_STEP[event.state], now)
        elif isinstance(event, OrderChanged) and event.state == "departed_safe":
            bench.tally.add("served")

    def _end_first(self, event: OfferReceived, now: float) -> None:
        manner = next(self._bench.manners)
        self._bench.ended[event.order] = manner, now + event.remaining_ms / 1000.0 if manner == "expiry" else now
        if manner == "decline":
            self.protocol.decline(event.offer, now, reason="bench")
        elif manner == "loss":
            self.later(now + RECEIPT_S, lambda at: self._lose(event.order, at))

    def _lose(self, order: str, now: float) -> None:
        self._bench.ended[order] = "loss", now
        self._bench.swarm.cut(self)

    def _ping(self, now: float) -> None:
        self._step += 1
        lat = round(PLACE[0] + 0.001 * (self._n % 8) + 1e-6 * self._step, 6)
        lng = round(PLACE[1] + 0.001 * (self._n // 8), 6)
        if self.online:
            self._bench.pinged_at[(self.user, lat)] = now
        self.protocol.send_ping(Fix(lat, lng, now, accuracy_m=8), now)
        self.later(now + 0.5, self._ping)


class Console(Agent):
    """Watches a few technicians."""

    def __init__(self, bench: "Bench", users: list[str]) -> None:
        token = bench.server.token("ops_bench", Role.OPS)
        super().__init__(ClientProtocol(device="bench", token=token), np.random.default_rng(1), bench.tally)
        self._bench, self._users = bench, users
        self._since = 0.0

    def handle(self, event: Event, now: float) -> None:
        super().handle(event, now)
        if isinstance(event, Welcomed):
            self._since = now + 1.0  # whoever begins to watch is told where everybody was last
            for user in self._users:
                self.protocol.watch(f"technician:{user}", now)
        elif isinstance(event, PositionReceived):
            sent_at = self._bench.pinged_at.get((event.topic.partition(":")[2], event.body["lat"]))
            if sent_at is not None and sent_at >= self._since:
                self._bench.tally.took("ping_to_watcher", now - sent_at)


class Bench:
    """What the agents share."""

    def __init__(self, server: LocalServer) -> None:
        self.server = server
        self.tally = Tally()
        self.swarm = Swarm(server.hub_url)
        self.manners = itertools.cycle(MANNERS)
        self.ended: dict[str, tuple[str, float]] = {}
        """How and when the first offer of each order ended; no manner once the next one has come."""
        self.pinged_at: dict[tuple[str, float], float] = {}
        self._placed_at: dict[str, float] = {}
        self._offered_at: dict[str, float] = {}

    def offered(self, order: str, now: float) -> None:
        """The first offer of an order arrived; the answer to its POST may still be on its way."""
        placed_at = self._placed_at.get(order)
        if placed_at is None:
            self._offered_at[order] = now
        else:
            self.tally.took("order_to_offer", now - placed_at)

    def placed(self, order: str, asked_at: float) -> None:
        """The POST sent at ``asked_at`` made this order."""
        self._placed_at[order] = asked_at
        offered_at = self._offered_at.pop(order, None)
        if offered_at is not None:
            self.tally.took("order_to_offer", offered_at - asked_at)

    async def run(self, load: LoadProcess, phase: Phase) -> None:
        """Everybody in, then orders while the load runs."""
        users = [f"tec_worker_{n:04d}" for n in range(WORKERS)]
        async with Api(self.server.http_url, self.server.token("svc_bench", Role.SERVICE)) as api:
            for user in users:
                body = {"name": "W", "cities": [CITY], "skills": ["bench"], "verified": True}
                await api.call("PUT", f"/v1/technicians/{user}", body)
            for n, user in enumerate(users):
                self.swarm.add(Worker(self, user, n))
            async with asyncio.TaskGroup() as group:
                group.create_task(self.swarm.run())
                await asyncio.sleep(2.0)
                self.swarm.add(Console(self, users[:20]))  # only who is on duty can be watched
                load.go(phase)
                await asyncio.to_thread(load.wait_until, "sending")
                await asyncio.sleep(1.0)
                for n in range(ORDERS):
                    group.create_task(self._order(api, n))
                    await asyncio.sleep(ORDER_EVERY_S)
                await asyncio.sleep(1.0 + OFFER_TTL_S)
                self.background = await asyncio.to_thread(load.result)
                self.swarm.stop()

    async def _order(self, api: Api, n: int) -> None:
        body = {
            "customer": f"cus_{n:04d}",
            "service": "massage-60",
            "skills": ["bench"],
            "duration_s": 3600,
            "location": {"lat": PLACE[0] + 0.0005 * (n % 10), "lng": PLACE[1], "address": "1 Fuhua Road"},
            "contact": {"name": "C", "phone": "13800000000"},
            "mode": "auto",
            "price": {"service_fen": 100, "travel_fen": 0},
        }
        asked_at = self.swarm.now()
        answer = await api.call("POST", "/v1/orders", body, idempotency_key=f"bench-{n}")
        self.placed(answer["order"], asked_at)


def main() -> dict[str, Any]:
    """Every latency's p50 and p99 in milliseconds."""
    with LocalServer([LocalCity(CITY, BOUNDARY)], CONFIG) as server:
        tokens = [server.token(u, Role.TECHNICIAN) for u in technicians(server, CONNECTIONS)]
        bench = Bench(server)
        began = time.perf_counter()
        with LoadProcess(Job(server.hub_url, tokens, CITY)) as load:
            phase = Phase(BACKGROUND_PER_S * BACKGROUND_S // CONNECTIONS, BACKGROUND_PER_S, settle_s=1.0)
            fast_loop.run(bench.run(load, phase))
        tally, background = bench.tally, bench.background
        result: dict[str, Any] = {
            f"{name}_ms": tally.quantiles_ms(name) for name in ("order_to_offer", "ping_to_watcher", *NEXT)
        }
        result["latency_detail"] = {
            "samples": {name: len(samples) for name, samples in tally.samples_s.items()},
            "served": tally.counts["served"],
            "background": {"per_s": round(background.sent / background.sending_s), "verdicts": background.verdicts},
            "took_s": time.perf_counter() - began,
        }
        return result


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
