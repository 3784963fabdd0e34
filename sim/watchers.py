"""Those who look: a customer who follows their order, and an ops console that sees a whole city."""

import numpy as np
from doorstep_client.events import (
    AreaReceived,
    Event,
    IncidentRaised,
    OrderChanged,
    PositionReceived,
    SnapshotReceived,
    Unwatched,
    Welcomed,
)
from doorstep_client.protocol import ClientProtocol

from sim.agent import Agent, Tally

VISIBLE = frozenset({"en_route", "arrived", "in_service"})
"""States in which a customer may see their technician."""


class CustomerPhone(Agent):
    """Follows its own orders and watches the technician while that is allowed."""

    def __init__(self, protocol: ClientProtocol, rng: np.random.Generator, tally: Tally) -> None:
        super().__init__(protocol, rng, tally)
        self.orders: dict[str, str] = {}
        self.positions = 0
        self._watched: set[str] = set()
        self._placed_at: dict[str, float] = {}

    def placed(self, order: str, now: float) -> None:
        """An order of this customer was placed over HTTP."""
        self._placed_at[order] = now

    def handle(self, event: Event, now: float) -> None:
        """Adds: orders and their positions."""
        super().handle(event, now)
        if isinstance(event, OrderChanged):
            self._follow(event.order, event.state, now)
        elif isinstance(event, SnapshotReceived):
            for body in event.orders:
                self._follow(body["order"], body["state"], now)
        elif isinstance(event, PositionReceived):
            self.positions += 1
            self._tally.add("positions_seen")
        elif isinstance(event, Unwatched):
            self._tally.add(f"unwatched.{event.reason}")

    def _follow(self, order: str, state: str, now: float) -> None:
        before = self.orders.get(order)
        if before == state:
            return
        self.orders[order] = state
        self._tally.add(f"order.{state}")
        if state == "assigned" and order in self._placed_at:
            self._tally.took("matched", now - self._placed_at.pop(order))
        if state in VISIBLE and order not in self._watched:
            self._watched.add(order)
            self.protocol.watch(f"order:{order}", now)


class OpsConsole(Agent):
    """Sees the city and every incident of it."""

    def __init__(
        self,
        protocol: ClientProtocol,
        rng: np.random.Generator,
        tally: Tally,
        city: str,
        bbox: tuple[float, float, float, float],
    ) -> None:
        super().__init__(protocol, rng, tally)
        self.incidents: dict[str, str] = {}
        self.seen_at: dict[str, float] = {}
        self._city = city
        self._bbox = bbox

    def handle(self, event: Event, now: float) -> None:
        """Adds: the area and incidents."""
        super().handle(event, now)
        if isinstance(event, Welcomed):
            self.protocol.watch(f"area:{self._city}", now, bbox=self._bbox)
        elif isinstance(event, IncidentRaised):
            self.incidents[event.incident] = event.state
            if event.incident not in self.seen_at:
                self.seen_at[event.incident] = now
                self._tally.add("incidents_on_console")
        elif isinstance(event, AreaReceived):
            self._tally.add("area_frames")
