"""The positions of one shard: index, track filter and recent trails, fed with batches of pings.

Not here: sockets and rates (realtime), what is stored of a job's track (store).

Whoever is on duty is *claimed* and owns a slot; ``release`` forgets everything about them. A batch goes through
``ingest``: converted into the platform's frame, judged, indexed, remembered; what changed is in the answer.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from core.ids import UserId
from geo.arrays import IntArray
from geo.frames import convert
from geo.pings import FRAME_CODES, FRAMES, JudgedBatch, PingBatch
from geo.point import Frame, LatLng
from geo.position_index import PositionIndex, slots_of
from geo.recent import RecentFix, RecentPings
from geo.settings import PositionSettings
from geo.track_filter import TrackFilter


class LiveFix(NamedTuple):
    """Where somebody is, as far as is known.

    Attributes:
        point: In the platform's frame.
        fixed_at: Phone's time of the fix.
        seen_at: Server's time of the fix; its age is ``now - seen_at``.
        accuracy_m, speed_mps, heading_deg: None when unknown.
    """

    point: LatLng
    fixed_at: float
    seen_at: float
    accuracy_m: float | None
    speed_mps: float | None
    heading_deg: float | None


class ShardPositions:
    """Everybody on duty in one city of one tenant.

    Args:
        settings: Limits of filter and memory.
        frame: The platform's frame.
        capacity: People to make room for at first; grows by itself.

    Attributes:
        index: The columns and the k-nearest queries.
        frame: The platform's frame.
    """

    def __init__(self, settings: PositionSettings, frame: Frame = Frame.GCJ02, capacity: int = 256) -> None:
        self.index = PositionIndex(capacity)
        self.frame = frame
        self._settings = settings
        self._filter = TrackFilter(settings, self.index.capacity)
        self._recent = RecentPings(settings, self.index.capacity)

    def __len__(self) -> int:
        """People on duty."""
        return len(self.index)

    def claim(self, user: UserId) -> int:
        """Give somebody who comes on duty a slot (their own again if they have one)."""
        slot = self.index.claim(user)
        self._filter.grow(self.index.capacity)
        self._recent.grow(self.index.capacity)
        return slot

    def release(self, user: UserId) -> int | None:
        """Forget somebody who goes off duty; returns the slot they had."""
        slot = self.index.release(user)
        if slot is not None:
            self._filter.forget(slot)
            self._recent.forget(slot)
        return slot

    def slots(self, users: Sequence[UserId]) -> IntArray:
        """Slots of many people for ``PingBatch.slot``; -1 for those who are not on duty here."""
        return slots_of(self.index, users)

    def ingest(self, batch: PingBatch, now: float) -> JudgedBatch:
        """Convert, judge, index and remember one batch.

        Args:
            batch: Pings in arrival order, each in its own frame.
            now: Server's time; everyone in the batch has been heard.

        Returns:
            Verdicts, changed live positions and corrections.

        Cost:
            About 1.5 us a ping when each continues its trail.
        """
        judged = replace(self._filter.judge(self._to_platform_frame(batch)), raw=batch)
        heard = batch.slot[batch.slot >= 0]
        self.index.heard_at[heard] = now
        live = judged.live
        if len(live):
            self.index.move(
                judged.live_slots,
                live["lat"],
                live["lng"],
                fixed_at=live["fixed_at"],
                seen_at=live["seen_at"],
                accuracy_m=live["accuracy_m"],
                heading_deg=live["heading_deg"],
                speed_mps=live["speed_mps"],
            )
        self._recent.append(judged)
        return judged

    def _to_platform_frame(self, batch: PingBatch) -> PingBatch:
        own = FRAME_CODES[self.frame]
        foreign = batch.crs != own
        if not foreign.any():
            return batch
        first = batch.crs[0]
        if (batch.crs == first).all():
            return batch.moved_to(*convert(batch.lat, batch.lng, FRAMES[first], self.frame))
        lat, lng = batch.lat.copy(), batch.lng.copy()
        for code, frame in enumerate(FRAMES):
            rows = np.flatnonzero(batch.crs == code)
            if code != own and len(rows):
                lat[rows], lng[rows] = convert(lat[rows], lng[rows], frame, self.frame)
        return batch.moved_to(lat, lng)

    def expire(self, now: float) -> IntArray:
        """Take positions older than ``stale_s`` out of the index; returns the slots. Their owners stay on duty."""
        return self.index.expire(now - self._settings.stale_s)

    def live(self, user: UserId) -> LiveFix | None:
        """Where somebody is; None when they are not on duty or no fix is known."""
        slot = self.index.slot(user)
        return self.live_at(slot) if slot is not None else None

    def live_at(self, slot: int) -> LiveFix | None:
        """``live`` by slot."""
        index = self.index
        lat = float(index.lat[slot])
        if lat != lat:  # NaN: not placed
            return None
        return LiveFix(
            LatLng(lat, float(index.lng[slot])),
            float(index.fixed_at[slot]),
            float(index.seen_at[slot]),
            _known(index.accuracy_m[slot]),
            _known(index.speed_mps[slot]),
            _known(index.heading_deg[slot]),
        )

    def trail(self, user: UserId, since: float) -> list[RecentFix]:
        """Pings of somebody received at or after ``since`` (at most ``recent_s`` back), by the phone's clock."""
        slot = self.index.slot(user)
        return self._recent.trail(slot, since) if slot is not None else []


def _known(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)
