"""Judges pings: one verdict each, and each person's live position as the law of ``trail.py`` says.

Not here: the law itself (``trail.py``), frames, the index (``shard_positions.py``).

Two paths. Nearly every ping follows its predecessor in order, in the same clock segment and at a believable speed:
these are judged together in numpy. A person with anything else in the batch (late, repeated, implausible, another
device, a clock step, the first fix of all) goes through the exact path, fix by fix.

Clocks. ``fixed_at`` and ``sent_at`` are the phone's. Age = (sent_at - fixed_at) / clock_rate, the server's time of the
fix = received_at - age. A ping with a newer number than any before it from its device starts a new clock segment when
received_at - sent_at (at the declared rate) has changed by more than ``clock_step_s`` since the ping before; one with
an older number belongs to the segment of the pings around it, so that delayed frames never look like a clock step.

Bounds. Of each person the newest ``trail_len_max`` fixes are kept. A fix older than all of them is late and changes
nothing any more; how the oldest one kept was joined to its predecessor is remembered. The law therefore holds exactly
as long as no fix arrives after ``trail_len_max`` newer ones and no run of implausible fixes is as long as that.
Numbers seen are kept as runs for the four latest devices of a person; a repetition that is older than 64 gaps in the
numbers of its device would be judged late instead of duplicate.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from geo.arrays import BoolArray, ByteArray, FloatArray, IntArray
from geo.distance import haversine_m
from geo.pings import FIX_DTYPE, Correction, JudgedBatch, PingBatch, Verdict
from geo.seq_runs import SeqRuns
from geo.settings import PositionSettings
from geo.trail import TrailFix, is_reachable, is_same_stretch, live_fix

__all__ = ["Correction", "JudgedBatch", "PingBatch", "TrackFilter", "Verdict", "live_fix"]

NULL_ISLAND_DEG: Final = 0.001
"""Half the side of the square at 0, 0 (111 m) in which no fix is believed."""
_DEVICES_MAX: Final = 4

_BYTES: Final = np.dtype(f"V{FIX_DTYPE.itemsize}")

_Scalar = TypeVar("_Scalar", bound=np.generic)

_BROKEN, _JOINED, _STARTS = 0, 1, 2
"""How a fix hangs on the one before it: out of reach, within reach, first of a stretch."""


class _Entry:
    """A fix of the trail in the exact path."""

    __slots__ = ("accuracy_m", "fix", "heading_deg", "link", "quarantined", "seen_at", "speed_mps")

    def __init__(self, fix: TrailFix, seen_at: float, accuracy_m: float, speed_mps: float, heading_deg: float) -> None:
        self.fix = fix
        self.seen_at = seen_at
        self.accuracy_m = accuracy_m
        self.speed_mps = speed_mps
        self.heading_deg = heading_deg
        self.link = _STARTS
        self.quarantined = False

    @property
    def key(self) -> tuple[int, float, int, int]:
        return self.fix[:4]

    def row(self) -> tuple[float | int | bool, ...]:
        fix = self.fix
        return (
            fix.fixed_at, fix.lat_deg, fix.lng_deg, self.seen_at, fix.seq, fix.device, self.accuracy_m,
            self.speed_mps, self.heading_deg, fix.segment, self.link, self.quarantined,
        )  # fmt: skip


class TrackFilter:
    """State of the filter for the slots of one index.

    Args:
        settings: Limits.
        capacity: Slots to make room for at first; grows by itself.

    Memory: ``trail_len_max`` x 72 bytes and 64 bytes more for each slot.
    """

    def __init__(self, settings: PositionSettings, capacity: int = 1024) -> None:
        self._settings = settings
        self._len_max = settings.trail_len_max
        self._capacity = 0
        self._ring = np.zeros((0, self._len_max), dtype=FIX_DTYPE)
        # Ring: number of fixes ever appended (next place = head % len_max) and how many are kept.
        self._head = np.zeros(0, dtype=np.int64)
        self._kept = np.zeros(0, dtype=np.int64)
        # Whether the trail's newest fix is supported, that is: is the live one.
        self._is_tail_live = np.zeros(0, dtype=np.bool_)
        self._tail_at = np.zeros(0)
        self._tail_lat = np.zeros(0)
        self._tail_lng = np.zeros(0)
        self._segment = np.zeros(0, dtype=np.int32)
        # Run of numbers last seen from the device heard last, and both clocks at its newest number.
        self._device = np.zeros(0, dtype=np.int64)
        self._run_low = np.zeros(0, dtype=np.int64)
        self._run_high = np.zeros(0, dtype=np.int64)
        self._sent_at = np.zeros(0)
        self._received_at = np.zeros(0)
        self._older_runs: dict[int, dict[int, SeqRuns]] = {}
        self.grow(capacity)

    def grow(self, capacity: int) -> None:
        """Make room for slots below ``capacity``."""
        if capacity <= self._capacity:
            return
        more = capacity - self._capacity
        for name in (
            "_head", "_kept", "_is_tail_live", "_tail_at", "_tail_lat", "_tail_lng", "_segment", "_device",
            "_run_low", "_run_high", "_sent_at", "_received_at", "_ring",
        ):  # fmt: skip
            column = getattr(self, name)
            setattr(self, name, np.concatenate([column, np.zeros((more, *column.shape[1:]), dtype=column.dtype)]))
        self._capacity = capacity

    def forget(self, slot: int) -> None:
        """Clear a slot whose owner has left."""
        self._head[slot] = self._kept[slot] = 0
        self._is_tail_live[slot] = False
        self._segment[slot] = 0
        self._older_runs.pop(slot, None)

    def trail(self, slot: int) -> list[TrailFix]:
        """The fixes that are kept of a slot, oldest first."""
        return [entry.fix for entry in self._read(slot)]

    # -- judging ----------------------------------------------------------------------------------------

    @np.errstate(all="ignore")
    def judge(self, batch: PingBatch) -> JudgedBatch:
        """Judge pings in arrival order.

        Args:
            batch: Pings in the platform's frame; slots are below the filter's capacity.

        Returns:
            Verdicts and what they changed. Pings of one slot are judged as if each had come alone.

        Cost:
            About 0.5 us a ping on the common path, 20 us on the exact one.
        """
        # A phone that does not say when it sent is taken to have sent on arrival.
        sent_at = np.where(np.isnan(batch.sent_at), batch.received_at, batch.sent_at)
        rate = np.clip(batch.clock_rate, 1.0, self._settings.clock_rate_max)
        age_s = (sent_at - batch.fixed_at) / rate
        verdict = self._alone(batch, age_s)
        seen_at = batch.received_at - np.maximum(age_s, 0.0)
        storable = verdict == Verdict.LIVE
        if storable.all():
            order = np.argsort(batch.slot, kind="stable")
        else:
            seen_at[~storable] = np.nan
            order = np.flatnonzero(storable)
            order = order[np.argsort(batch.slot[order], kind="stable")]
        if len(order) == 0:
            return JudgedBatch(batch, batch, verdict, seen_at, order, np.empty(0, dtype=FIX_DTYPE), ())
        run = _Run(self, batch, order, sent_at, rate, seen_at, verdict)
        run.judge()
        return JudgedBatch(batch, batch, verdict, seen_at, *run.live(), run.corrections)

    def _alone(self, batch: PingBatch, age_s: FloatArray) -> ByteArray:
        """Rule 1: verdicts that depend on the ping alone; LIVE stands for "storable"."""
        settings = self._settings
        verdict = np.zeros(len(batch), dtype=np.uint8)
        lat_abs, lng_abs = np.abs(batch.lat), np.abs(batch.lng)
        valid = (lat_abs <= 90.0) & (lng_abs <= 180.0) & (batch.accuracy_m >= 0.0) & np.isfinite(age_s)
        verdict[batch.accuracy_m > settings.accuracy_max_m] = Verdict.INACCURATE
        verdict[age_s < -settings.future_s] = Verdict.FUTURE
        verdict[(lat_abs < NULL_ISLAND_DEG) & (lng_abs < NULL_ISLAND_DEG)] = Verdict.NULL_ISLAND
        verdict[~valid] = Verdict.INVALID
        verdict[batch.slot < 0] = Verdict.OFF_DUTY
        return verdict

    # -- numbers seen -----------------------------------------------------------------------------------

    def _runs_of(self, slot: int, device: int) -> SeqRuns:
        """Older runs of a device; it becomes the latest of the slot's devices."""
        devices = self._older_runs.setdefault(slot, {})
        runs = devices.pop(device, None) or SeqRuns()
        devices[device] = runs
        while len(devices) > _DEVICES_MAX:
            del devices[next(iter(devices))]
        return runs

    def _was_seen(self, slot: int, device: int, seq: int) -> bool:
        if device == self._device[slot] and self._run_low[slot] <= seq <= self._run_high[slot]:
            return True
        runs = self._older_runs.get(slot, {}).get(device)
        return runs is not None and seq in runs

    def _highest(self, slot: int, device: int) -> int | None:
        if device == self._device[slot]:
            return int(self._run_high[slot])
        runs = self._older_runs.get(slot, {}).get(device)
        return runs.highest if runs is not None else None

    def _note(self, slot: int, device: int, seq: int) -> None:
        """Remember a number that is new for its device."""
        low, high = int(self._run_low[slot]), int(self._run_high[slot])
        if device == self._device[slot]:
            if seq == high + 1:
                self._run_high[slot] = seq
                return
            if seq < low:
                self._runs_of(slot, device).add(seq, seq)
                return
        self._runs_of(slot, int(self._device[slot])).add(low, high)
        highest = self._highest(slot, device)
        if device == self._device[slot] or highest is None or seq > highest:
            self._device[slot] = device
            self._run_low[slot] = self._run_high[slot] = seq
        else:
            self._runs_of(slot, device).add(seq, seq)

    # -- the trail in the exact path --------------------------------------------------------------------

    def _read(self, slot: int) -> list[_Entry]:
        kept, head, size = int(self._kept[slot]), int(self._head[slot]), self._len_max
        places = np.arange(head - kept, head) % size
        entries = []
        for at, lat, lng, seen, seq, device, accuracy, speed, heading, segment, link, quarantined in self._ring[slot][
            places
        ].tolist():
            entry = _Entry(TrailFix(segment, at, seq, device, lat, lng), seen, accuracy, speed, heading)
            entry.link, entry.quarantined = link, quarantined
            entries.append(entry)
        return entries

    def _write(self, slot: int, entries: list[_Entry], *, evicted: bool) -> None:
        kept = len(entries)
        self._ring[slot, :kept] = np.array([entry.row() for entry in entries], dtype=FIX_DTYPE)
        # A head beyond the ring's size says that something was evicted.
        self._head[slot] = kept + (self._len_max if evicted else 0)
        self._kept[slot] = kept
        tail = entries[-1]
        self._tail_at[slot], self._tail_lat[slot], self._tail_lng[slot] = tail.fix[1], tail.fix[4], tail.fix[5]
        self._is_tail_live[slot] = tail.link != _BROKEN

    def _link(self, before: TrailFix, after: TrailFix) -> int:
        if not is_same_stretch(before, after, self._settings):
            return _STARTS
        return _JOINED if is_reachable(before, after, self._settings) else _BROKEN

    def _segment_of(self, slot: int, entries: list[_Entry], fix: TrailFix, step_s: float) -> int:
        """Clock segment of a new number; sets the slot's present one."""
        highest = self._highest(slot, fix.device)
        if highest is not None and fix.seq < highest:
            own = [(entry.fix.seq, entry.fix.segment) for entry in entries if entry.fix.device == fix.device]
            before = [pair for pair in own if pair[0] < fix.seq]
            if before:
                return max(before)[1]
            return min(segment for _, segment in own) if own else int(self._segment[slot])
        if step_s > self._settings.clock_step_s:
            self._segment[slot] += 1
        return int(self._segment[slot])

    def judge_one(
        self, slot: int, entries: list[_Entry], entry: _Entry, clocks: tuple[float, float, float], *, evicted: bool
    ) -> tuple[Verdict, bool, list[Correction]]:
        """The exact path for one ping; ``entries`` is changed in place.

        Args:
            slot: Whose.
            entries: The trail that is kept.
            entry: The new fix; its segment is set here.
            clocks: sent_at, received_at, clock_rate.
            evicted: Whether fixes older than ``entries`` have existed.

        Returns:
            Verdict, whether older fixes have existed now, corrections.
        """
        fix = entry.fix
        sent_at, received_at, rate = clocks
        if entries and self._was_seen(slot, fix.device, fix.seq):
            return Verdict.DUPLICATE, evicted, []
        if not entries:
            self._device[slot] = fix.device
            self._run_low[slot] = self._run_high[slot] = fix.seq
            self._sent_at[slot], self._received_at[slot] = sent_at, received_at
        else:
            step_s = abs(received_at - float(self._received_at[slot]) - (sent_at - float(self._sent_at[slot])) / rate)
            highest = self._highest(slot, fix.device)
            entry.fix = fix = fix._replace(segment=self._segment_of(slot, entries, fix, step_s))
            if highest is None or fix.seq > highest:
                self._sent_at[slot], self._received_at[slot] = sent_at, received_at
            self._note(slot, fix.device, fix.seq)
        place = bisect_left(entries, entry.key, key=lambda other: other.key)
        if place == 0 and evicted:
            return Verdict.LATE, evicted, []
        if place:
            entry.link = self._link(entries[place - 1].fix, fix)
        entries.insert(place, entry)
        if place + 1 < len(entries):
            entries[place + 1].link = self._link(fix, entries[place + 1].fix)
        live = _newest_supported(entries)
        verdict = Verdict.LIVE if place == live else Verdict.LATE if _is_supported(entries, place) else Verdict.TELEPORT
        entry.quarantined = verdict is Verdict.TELEPORT
        corrections = []
        for other in (place - 1, place + 1):
            if 0 <= other < len(entries) and entries[other].quarantined and _is_supported(entries, other):
                entries[other].quarantined = False
                now = Verdict.LIVE if other == live else Verdict.LATE
                corrections.append(Correction(slot, entries[other].fix.device, entries[other].fix.seq, now))
        if len(entries) > self._len_max:
            del entries[0]
            evicted = True
        return verdict, evicted, corrections


def _is_supported(entries: Sequence[_Entry], place: int) -> bool:
    if entries[place].link != _BROKEN:
        return True
    return place + 1 < len(entries) and entries[place + 1].link == _JOINED


def _newest_supported(entries: Sequence[_Entry]) -> int | None:
    for place in range(len(entries) - 1, -1, -1):
        if _is_supported(entries, place):
            return place
    return None


class _Run:
    """One call of ``judge``: the storable pings, sorted by slot and within it by arrival."""

    def __init__(
        self,
        owner: TrackFilter,
        batch: PingBatch,
        order: IntArray,
        sent_at: FloatArray,
        rate: FloatArray,
        seen_at: FloatArray,
        verdict: ByteArray,
    ) -> None:
        self._owner = owner
        self._order = order
        self._verdict = verdict
        self._seen_at = seen_at
        self._slot = batch.slot[order]
        self._sent_at = sent_at[order]
        self._received_at = batch.received_at[order]
        self._rate = rate[order]
        rows = np.zeros(len(order), dtype=FIX_DTYPE)
        for name in ("fixed_at", "lat", "lng", "seq", "device", "accuracy_m", "speed_mps", "heading_deg"):
            rows[name] = getattr(batch, name)[order]
        rows["seen_at"] = seen_at[order]
        self._rows = rows
        self._is_first = np.empty(len(order), dtype=np.bool_)
        self._is_first[0] = True
        np.not_equal(self._slot[1:], self._slot[:-1], out=self._is_first[1:])
        self.corrections: list[Correction] = []
        self._live_slots: list[IntArray] = []
        self._live_rows: list[NDArray[np.void]] = []

    def live(self) -> tuple[IntArray, NDArray[np.void]]:
        """Slots whose live position changed, and their fixes."""
        if not self._live_slots:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=FIX_DTYPE)
        if len(self._live_slots) == 1:
            return self._live_slots[0], self._live_rows[0]
        return np.concatenate(self._live_slots), np.concatenate(self._live_rows)

    def judge(self) -> None:
        """Split the groups between the two paths."""
        starts = np.flatnonzero(self._is_first)
        sizes = np.diff(starts, append=len(self._slot))
        plain, gap, link = self._is_plain()
        self._rows["link"] = link
        plain_groups = np.logical_and.reduceat(plain, starts)
        if plain_groups.all():
            self._append(np.arange(len(self._slot)), starts, sizes, gap)
            return
        if plain_groups.any():
            chosen = np.flatnonzero(np.repeat(plain_groups, sizes))
            sizes_plain = sizes[plain_groups]
            self._append(chosen, np.cumsum(sizes_plain) - sizes_plain, sizes_plain, gap)
        for start, size in zip(starts[~plain_groups].tolist(), sizes[~plain_groups].tolist(), strict=True):
            self._judge_exactly(start, start + size)

    def _is_plain(self) -> tuple[BoolArray, BoolArray, ByteArray]:
        """Which pings simply continue their trail, which of them skip numbers, and how each is joined to it."""
        owner, rows, slot, is_first = self._owner, self._rows, self._slot, self._is_first
        settings = owner._settings

        def before(of_slot: NDArray[_Scalar], values: NDArray[_Scalar]) -> NDArray[_Scalar]:
            """Each ping's predecessor: the row above it, or what the slot remembers."""
            above: NDArray[_Scalar] = np.empty_like(values)
            above[1:] = values[:-1]
            np.copyto(above, of_slot.take(slot), where=is_first)
            return above

        at: FloatArray = rows["fixed_at"]
        seq: IntArray = rows["seq"]
        seq_before = before(owner._run_high, seq)
        gap_s = at - before(owner._tail_at, at)
        step_s = self._received_at - before(owner._received_at, self._received_at)
        step_s -= (self._sent_at - before(owner._sent_at, self._sent_at)) / self._rate
        distance_m = haversine_m(
            before(owner._tail_lat, rows["lat"]), before(owner._tail_lng, rows["lng"]), rows["lat"], rows["lng"]
        )
        starts = gap_s > settings.stretch_s
        plain: BoolArray = starts | (distance_m <= settings.speed_max_mps * gap_s)
        # Two fixes of one moment are ordered by number and device: left to the exact path.
        plain &= (seq > seq_before) & (gap_s > 0.0) & (np.abs(step_s) <= settings.clock_step_s)
        plain &= rows["device"] == before(owner._device, rows["device"])
        plain &= ~is_first | (owner._is_tail_live.take(slot) & (owner._kept.take(slot) > 0))
        link = np.where(starts, _STARTS, _JOINED).astype(np.uint8)
        return plain, seq != seq_before + 1, link

    def _append(self, chosen: IntArray, starts: IntArray, sizes: IntArray, gap: BoolArray) -> None:
        """Continue the trails of plain groups; ``starts`` counts within ``chosen``."""
        owner = self._owner
        slot = self._slot[chosen]
        rows = self._rows.take(chosen)
        heads = slot[starts]
        rows["segment"] = owner._segment[slot]
        rank = np.arange(len(chosen)) - np.repeat(starts, sizes)
        # A group longer than the ring overwrites itself; numpy keeps the last of equal places.
        places = slot * owner._len_max + (owner._head[slot] + rank) % owner._len_max
        # As opaque bytes: numpy copies a record field by field otherwise, ten times slower.
        owner._ring.reshape(-1).view(_BYTES)[places] = rows.view(_BYTES)
        owner._head[heads] += sizes
        owner._kept[heads] = np.minimum(owner._kept[heads] + sizes, owner._len_max)
        if gap[chosen].any():
            for place in np.flatnonzero(gap[chosen]).tolist():
                who = int(slot[place])
                if rank[place]:
                    owner._run_high[who] = rows["seq"][place - 1]
                owner._note(who, int(owner._device[who]), int(rows["seq"][place]))
        last = starts + sizes - 1
        tails = rows.take(last)
        owner._run_high[heads] = tails["seq"]
        owner._tail_at[heads] = tails["fixed_at"]
        owner._tail_lat[heads] = tails["lat"]
        owner._tail_lng[heads] = tails["lng"]
        owner._sent_at[heads] = self._sent_at[chosen[last]]
        owner._received_at[heads] = self._received_at[chosen[last]]
        self._live_slots.append(heads)
        self._live_rows.append(tails)

    def _judge_exactly(self, start: int, stop: int) -> None:
        owner = self._owner
        slot = int(self._slot[start])
        if self._are_all_seen(slot, start, stop):
            self._verdict[self._order[start:stop]] = Verdict.DUPLICATE
            self._seen_at[self._order[start:stop]] = np.nan
            return
        entries = owner._read(slot)
        evicted = int(owner._head[slot]) > owner._len_max
        live_before = _newest_supported(entries)
        key_before = entries[live_before].key if live_before is not None else None
        for place in range(start, stop):
            at, lat, lng, seen, seq, device, accuracy, speed, heading, *_ = self._rows[place].item()
            entry = _Entry(TrailFix(0, at, seq, device, lat, lng), seen, accuracy, speed, heading)
            clocks = (float(self._sent_at[place]), float(self._received_at[place]), float(self._rate[place]))
            verdict, evicted, corrections = owner.judge_one(slot, entries, entry, clocks, evicted=evicted)
            self._verdict[self._order[place]] = verdict
            if verdict is Verdict.DUPLICATE:
                self._seen_at[self._order[place]] = np.nan
            self.corrections += corrections
        owner._write(slot, entries, evicted=evicted)
        live = _newest_supported(entries)
        if live is not None and entries[live].key != key_before:
            self._live_slots.append(np.array([slot]))
            self._live_rows.append(np.array([entries[live].row()], dtype=FIX_DTYPE))

    def _are_all_seen(self, slot: int, start: int, stop: int) -> bool:
        """Whether a group is nothing but repetitions (a backlog sent again): no need to open the trail."""
        if not self._owner._kept[slot]:
            return False
        rows = self._rows[start:stop]
        numbers = zip(rows["device"].tolist(), rows["seq"].tolist(), strict=True)
        return all(self._owner._was_seen(slot, device, seq) for device, seq in numbers)
