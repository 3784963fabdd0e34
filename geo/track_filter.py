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
from math import inf, pi
from typing import Final

import numpy as np
from numpy.typing import NDArray

from geo.arrays import BoolArray, ByteArray, FloatArray, IntArray
from geo.distance import EARTH_RADIUS_M, haversine_m
from geo.pings import FIX_DTYPE, Correction, JudgedBatch, PingBatch, Verdict
from geo.seq_runs import SeqRuns
from geo.settings import PositionSettings
from geo.trail import TrailFix, is_reachable, is_same_stretch, live_fix

__all__ = ["Correction", "JudgedBatch", "PingBatch", "TrackFilter", "Verdict", "live_fix"]

NULL_ISLAND_DEG: Final = 0.001
"""Half the side of the square at 0, 0 (111 m) in which no fix is believed."""
_DEVICES_MAX: Final = 4
_OPEN_MAX: Final = 1024
"""Trails that stay open after the exact path (10 KB each): whoever needed it once often needs it again."""
_PATIENCE: Final = 4
"""Ordinary pings that an open trail takes one by one before it goes back into the ring: closing and opening it again
costs as much as four of them."""

_BYTES: Final = np.dtype(f"V{FIX_DTYPE.itemsize}")

_AT, _LAT, _LNG, _SENT, _RECEIVED, _SEEN, _ACCURACY, _SPEED, _HEADING = range(9)
"""Rows of the columns that are sorted together; the first five are also what is remembered of each slot."""

_FIELDS: Final = (
    ("fixed_at", _AT), ("lat", _LAT), ("lng", _LNG), ("seen_at", _SEEN), ("accuracy_m", _ACCURACY),
    ("speed_mps", _SPEED), ("heading_deg", _HEADING),
)  # fmt: skip

_METRES_PER_DEG: Final = EARTH_RADIUS_M * pi / 180.0 * (1.0 + 1e-9)
"""Length of a degree of a great circle, a hair too long, so that rounding cannot make a bound too small."""

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
        # What the next ping is compared with, a row for each of `_AT` to `_RECEIVED`: time and place of the trail's
        # newest fix, and both clocks at the newest number of the device heard last.
        self._last = np.zeros((_RECEIVED + 1, 0))
        self._segment = np.zeros(0, dtype=np.int32)
        # Run of numbers last seen from the device heard last.
        self._device = np.zeros(0, dtype=np.int64)
        self._run_low = np.zeros(0, dtype=np.int64)
        self._run_high = np.zeros(0, dtype=np.int64)
        self._older_runs: dict[int, dict[int, SeqRuns]] = {}
        self._open: dict[int, list[_Entry]] = {}
        """Trails as entries, the latest used last; these count, and the ring's rows of their slots do not."""
        self._patience: dict[int, int] = {}
        """Of each open trail."""
        self.grow(capacity)

    def grow(self, capacity: int) -> None:
        """Make room for slots below ``capacity``."""
        if capacity <= self._capacity:
            return
        more = capacity - self._capacity
        for name in (
            "_head", "_kept", "_is_tail_live", "_segment", "_device", "_run_low", "_run_high", "_ring",
        ):  # fmt: skip
            column = getattr(self, name)
            setattr(self, name, np.concatenate([column, np.zeros((more, *column.shape[1:]), dtype=column.dtype)]))
        self._last = np.hstack([self._last, np.zeros((len(self._last), more))])
        self._capacity = capacity

    def forget(self, slot: int) -> None:
        """Clear a slot whose owner has left."""
        self._head[slot] = self._kept[slot] = 0
        self._is_tail_live[slot] = False
        self._segment[slot] = 0
        self._older_runs.pop(slot, None)
        self._open.pop(slot, None)
        self._patience.pop(slot, None)

    def trail(self, slot: int) -> list[TrailFix]:
        """The fixes that are kept of a slot, oldest first."""
        entries = self._open.get(slot)
        return [entry.fix for entry in (self._read(slot) if entries is None else entries)]

    # -- judging ----------------------------------------------------------------------------------------

    @np.errstate(all="ignore")
    def judge(self, batch: PingBatch) -> JudgedBatch:
        """Judge pings in arrival order.

        Args:
            batch: Pings in the platform's frame; slots are below the filter's capacity.

        Returns:
            Verdicts and what they changed. Pings of one slot are judged as if each had come alone.

        Cost:
            0.2 ms for the call and 0.1 us a ping on the common path, 10 to 40 us a ping on the exact one.
        """
        # A phone that does not say when it sent is taken to have sent on arrival.
        sent_at = np.where(np.isnan(batch.sent_at), batch.received_at, batch.sent_at)
        rate = _rate(batch, self._settings)
        age_s = (sent_at - batch.fixed_at) / rate
        seen_at = batch.received_at - np.maximum(age_s, 0.0)
        if self._are_storable(batch, age_s):
            verdict = np.zeros(len(batch), dtype=np.uint8)
            order = np.argsort(batch.slot, kind="stable")
        else:
            verdict = self._alone(batch, age_s)
            storable = verdict == Verdict.LIVE
            seen_at[~storable] = np.nan
            order = np.flatnonzero(storable)
            order = order[np.argsort(batch.slot[order], kind="stable")]
        if len(order) == 0:
            return JudgedBatch(batch, batch, verdict, seen_at, order, np.empty(0, dtype=FIX_DTYPE), ())
        run = _Run(self, batch, order, sent_at, rate, seen_at, verdict)
        run.judge()
        return JudgedBatch(batch, batch, verdict, seen_at, *run.live(), run.corrections)

    def _are_storable(self, batch: PingBatch, age_s: FloatArray) -> bool:
        """Whether rule 1 plainly holds for every ping, told from the extremes; False says nothing. NaN is False."""
        if len(batch) == 0:
            return False
        settings = self._settings
        (lat_min, lng_min, accuracy_min, age_min), (lat_max, lng_max, accuracy_max, age_max) = _extremes(
            batch.lat, batch.lng, batch.accuracy_m, age_s
        )
        return (
            -90.0 <= lat_min <= lat_max <= 90.0
            and -180.0 <= lng_min <= lng_max <= 180.0
            and 0.0 <= accuracy_min <= accuracy_max <= settings.accuracy_max_m
            and -settings.future_s <= age_min <= age_max < inf
            # All on one side of null island.
            and (lat_min > NULL_ISLAND_DEG or lat_max < -NULL_ISLAND_DEG or lng_min > NULL_ISLAND_DEG
                 or lng_max < -NULL_ISLAND_DEG)
            and int(np.minimum.reduce(batch.slot)) >= 0
        )  # fmt: skip

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

    def _open_trail(self, slot: int) -> list[_Entry]:
        entries = self._open.pop(slot, None)
        return self._read(slot) if entries is None else entries

    def _keep_open(self, slot: int, entries: list[_Entry], *, evicted: bool) -> None:
        """Take over a trail as the exact path left it; its rows are written when something else needs them."""
        kept = len(entries)
        # A head beyond the ring's size says that something was evicted.
        self._head[slot] = kept + (self._len_max if evicted else 0)
        self._kept[slot] = kept
        tail = entries[-1]
        self._last[: _LNG + 1, slot] = tail.fix[1], tail.fix[4], tail.fix[5]
        self._is_tail_live[slot] = tail.link != _BROKEN
        self._open[slot] = entries
        self._patience.setdefault(slot, _PATIENCE)
        if len(self._open) > _OPEN_MAX:
            self._close_trail(next(iter(self._open)))

    def _close_trail(self, slot: int) -> None:
        entries = self._open.pop(slot)
        self._patience.pop(slot, None)
        self._ring[slot, : len(entries)] = np.array([entry.row() for entry in entries], dtype=FIX_DTYPE)

    def close_trails(self, slots: IntArray) -> None:
        """Write the rows of those of these slots that are open: they go on in the ring."""
        if self._open:
            for slot in self._open.keys() & set(slots.tolist()):
                self._close_trail(slot)

    def hold_open(self, slots: IntArray, sizes: IntArray, plain: BoolArray) -> None:
        """Take ordinary groups of open trails back to the exact path while there is patience."""
        places = np.flatnonzero(np.isin(slots, np.fromiter(self._open, np.int64, len(self._open))))
        for place, slot, size in zip(places.tolist(), slots[places].tolist(), sizes[places].tolist(), strict=True):
            left = self._patience[slot] - size
            if not plain[place]:
                self._patience[slot] = _PATIENCE
            elif left >= 0:
                self._patience[slot] = left
                plain[place] = False

    def _link(self, before: TrailFix, after: TrailFix) -> int:
        if not is_same_stretch(before, after, self._settings):
            return _STARTS
        return _JOINED if is_reachable(before, after, self._settings) else _BROKEN

    def _segment_of(self, slot: int, entries: list[_Entry], fix: TrailFix, step_s: float) -> int:
        """Clock segment of a new number; sets the slot's present one."""
        highest = self._highest(slot, fix.device)
        if highest is not None and fix.seq < highest:
            present = int(self._segment[slot])
            if entries[0].fix.segment == present == entries[-1].fix.segment:
                return present  # sorted by segment, so that there is no other
            own = [(entry.fix.seq, entry.fix.segment) for entry in entries if entry.fix.device == fix.device]
            before = [pair for pair in own if pair[0] < fix.seq]
            if before:
                return max(before)[1]
            return min(segment for _, segment in own) if own else present
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
            self._last[_SENT:, slot] = sent_at, received_at
        else:
            sent_before, received_before = self._last[_SENT:, slot].tolist()
            step_s = abs(received_at - received_before - (sent_at - sent_before) / rate)
            highest = self._highest(slot, fix.device)
            segment = self._segment_of(slot, entries, fix, step_s)
            if segment:
                entry.fix = fix = fix._replace(segment=segment)
            if highest is None or fix.seq > highest:
                self._last[_SENT:, slot] = sent_at, received_at
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


def _rate(batch: PingBatch, settings: PositionSettings) -> FloatArray:
    if settings.clock_rate_max == 1.0:
        return np.ones(len(batch))
    return np.clip(batch.clock_rate, 1.0, settings.clock_rate_max)


def _extremes(*columns: FloatArray) -> tuple[list[float], list[float]]:
    """Smallest and largest value of each column; NaN where a column has one."""
    table = np.concatenate(columns).reshape(len(columns), -1)
    return np.minimum.reduce(table, axis=1).tolist(), np.maximum.reduce(table, axis=1).tolist()


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
        columns = np.concatenate(
            [
                batch.fixed_at, batch.lat, batch.lng, sent_at, batch.received_at, seen_at, batch.accuracy_m,
                batch.speed_mps, batch.heading_deg,
            ]
        )  # fmt: skip
        self._columns: FloatArray = columns.reshape(_HEADING + 1, -1).take(order, axis=1)
        self._slot = batch.slot.take(order)
        self._seq = batch.seq.take(order)
        self._device = batch.device.take(order)
        self._rate = rate.take(order)
        is_first = np.empty(len(order), dtype=np.bool_)
        is_first[0] = True
        np.not_equal(self._slot[1:], self._slot[:-1], out=is_first[1:])
        self._starts = np.flatnonzero(is_first)
        self._sizes = np.diff(self._starts, append=len(order))
        self._heads = self._slot.take(self._starts)
        self._is_fresh = owner._kept.take(self._heads) == 0
        self._link = np.empty(0, dtype=np.uint8)
        self.corrections: list[Correction] = []
        self._live_slots: list[IntArray] = []
        self._live_rows: list[NDArray[np.void]] = []
        self._exact: list[tuple[int, tuple[float | int | bool, ...]]] = []
        """Slot and live fix of those of the exact path whose live position changed."""

    def live(self) -> tuple[IntArray, NDArray[np.void]]:
        """Slots whose live position changed, and their fixes."""
        if self._exact:
            self._live_slots.append(np.array([slot for slot, _ in self._exact]))
            self._live_rows.append(np.array([row for _, row in self._exact], dtype=FIX_DTYPE))
        if not self._live_slots:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=FIX_DTYPE)
        if len(self._live_slots) == 1:
            return self._live_slots[0], self._live_rows[0]
        return np.concatenate(self._live_slots), np.concatenate(self._live_rows)

    def judge(self) -> None:
        """Split the groups between the two paths."""
        starts, sizes = self._starts, self._sizes
        plain, gap, self._link = self._is_plain()
        if not self._owner._open and plain.all():
            self._append(None, gap)
            return
        plain_groups = np.logical_and.reduceat(plain, starts)
        if self._owner._open:
            self._owner.hold_open(self._heads, sizes, plain_groups)
        if plain_groups.any():
            self._append(plain_groups, gap)
        for start, size in zip(starts[~plain_groups].tolist(), sizes[~plain_groups].tolist(), strict=True):
            self._judge_exactly(start, start + size)

    def _is_plain(self) -> tuple[BoolArray, BoolArray, ByteArray]:
        """Which pings simply continue their trail, which of them skip numbers, and how each is joined to it.

        Each ping is compared with the one before it: the one above it, or what its slot remembers.
        """
        owner, settings, starts, heads = self._owner, self._owner._settings, self._starts, self._heads
        now = self._columns[: _RECEIVED + 1]
        before = np.empty_like(now)
        before[:, 1:] = now[:, :-1]
        before[:, starts] = owner._last.take(heads, axis=1)
        seq, device = self._seq, self._device
        seq_before, device_before = np.empty_like(seq), np.empty_like(device)
        seq_before[1:], device_before[1:] = seq[:-1], device[:-1]
        seq_before[starts], device_before[starts] = owner._run_high.take(heads), owner._device.take(heads)
        gap_s, north_deg, east_deg, sent_s, received_s = now - before
        # Along a meridian and then along a parallel is never shorter than the great circle.
        reach_m = (np.abs(north_deg) + np.abs(east_deg)) * _METRES_PER_DEG
        far_m = settings.speed_max_mps * gap_s
        begins = gap_s > settings.stretch_s
        plain: BoolArray = (reach_m <= far_m) | begins
        unsure = np.flatnonzero(~plain)
        if len(unsure):
            lat, lng = before[_LAT].take(unsure), before[_LNG].take(unsure)
            distance_m = haversine_m(lat, lng, now[_LAT].take(unsure), now[_LNG].take(unsure))
            plain[unsure] = distance_m <= far_m.take(unsure)
        # Two fixes of one moment are ordered by number and device: left to the exact path.
        plain &= (seq > seq_before) & (gap_s > 0.0) & (device == device_before)
        plain &= np.abs(received_s - sent_s / self._rate) <= settings.clock_step_s
        plain[starts] &= owner._is_tail_live.take(heads)
        # Before the first fix of all there is nothing that it could contradict.
        fresh = starts[self._is_fresh]
        plain[fresh] = begins[fresh] = True
        skips: BoolArray = seq != seq_before + 1
        skips[fresh] = False
        return plain, skips, np.where(begins, np.uint8(_STARTS), np.uint8(_JOINED))

    def _append(self, groups: BoolArray | None, skips: BoolArray) -> None:
        """Continue the trails of plain groups; None for all of them."""
        owner, columns = self._owner, self._columns
        slot, seq, device, link = self._slot, self._seq, self._device, self._link
        starts, sizes, heads, is_fresh = self._starts, self._sizes, self._heads, self._is_fresh
        if groups is not None:
            chosen = np.flatnonzero(np.repeat(groups, sizes))
            columns, skips = columns.take(chosen, axis=1), skips.take(chosen)
            slot, seq, device, link = slot.take(chosen), seq.take(chosen), device.take(chosen), link.take(chosen)
            sizes, heads, is_fresh = sizes[groups], heads[groups], is_fresh[groups]
            starts = np.cumsum(sizes) - sizes
        if is_fresh.any():
            fresh, first = heads[is_fresh], starts[is_fresh]
            owner._device[fresh] = device[first]
            owner._run_low[fresh] = owner._run_high[fresh] = seq[first]
            owner._is_tail_live[fresh] = True
        rows = np.zeros(len(slot), dtype=FIX_DTYPE)
        for name, row in _FIELDS:
            rows[name] = columns[row]
        rows["seq"], rows["device"], rows["link"] = seq, device, link
        rows["segment"] = owner._segment.take(slot)
        owner.close_trails(heads)
        rank = np.arange(len(slot)) - np.repeat(starts, sizes)
        # A group longer than the ring overwrites itself; numpy keeps the last of equal places.
        places = slot * owner._len_max + (owner._head.take(slot) + rank) % owner._len_max
        # As opaque bytes: numpy copies a record field by field otherwise, ten times slower.
        owner._ring.reshape(-1).view(_BYTES)[places] = rows.view(_BYTES)
        owner._head[heads] += sizes
        owner._kept[heads] = np.minimum(owner._kept.take(heads) + sizes, owner._len_max)
        for place in np.flatnonzero(skips).tolist():
            who = int(slot[place])
            if rank[place]:
                owner._run_high[who] = seq[place - 1]
            owner._note(who, int(owner._device[who]), int(seq[place]))
        last = starts + sizes - 1
        owner._run_high[heads] = seq.take(last)
        owner._last[:, heads] = columns[: _RECEIVED + 1].take(last, axis=1)
        self._live_slots.append(heads)
        self._live_rows.append(rows.view(_BYTES).take(last).view(FIX_DTYPE))

    def _judge_exactly(self, start: int, stop: int) -> None:
        owner = self._owner
        slot = int(self._slot[start])
        if self._are_all_seen(slot, start, stop):
            self._verdict[self._order[start:stop]] = Verdict.DUPLICATE
            self._seen_at[self._order[start:stop]] = np.nan
            return
        entries = owner._open_trail(slot)
        evicted = int(owner._head[slot]) > owner._len_max
        live_before = _newest_supported(entries)
        key_before = entries[live_before].key if live_before is not None else None
        for place, row, seq, device, rate in zip(
            range(start, stop),
            self._columns[:, start:stop].T.tolist(),
            self._seq[start:stop].tolist(),
            self._device[start:stop].tolist(),
            self._rate[start:stop].tolist(),
            strict=True,
        ):
            at, lat, lng, sent_at, received_at, seen, accuracy, speed, heading = row
            entry = _Entry(TrailFix(0, at, seq, device, lat, lng), seen, accuracy, speed, heading)
            verdict, evicted, corrections = owner.judge_one(
                slot, entries, entry, (sent_at, received_at, rate), evicted=evicted
            )
            self._verdict[self._order[place]] = verdict
            if verdict is Verdict.DUPLICATE:
                self._seen_at[self._order[place]] = np.nan
            self.corrections += corrections
        owner._keep_open(slot, entries, evicted=evicted)
        live = _newest_supported(entries)
        if live is not None and entries[live].key != key_before:
            self._exact.append((slot, entries[live].row()))

    def _are_all_seen(self, slot: int, start: int, stop: int) -> bool:
        """Whether a group is nothing but repetitions (a backlog sent again): no need to open the trail."""
        if not self._owner._kept[slot]:
            return False
        numbers = zip(self._device[start:stop].tolist(), self._seq[start:stop].tolist(), strict=True)
        return all(self._owner._was_seen(slot, device, seq) for device, seq in numbers)
