"""Pings in columns, what became of each, and the words for it.

Not here: the rules (``trail.py``), the decisions (``track_filter.py``). A ping is one position report; a fix is a ping
that may enter a trail. One batch is what one tick of the ping path collected: arrays of equal length, not objects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from hashlib import blake2b
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.ids import DeviceId
from geo.arrays import ByteArray, FloatArray, IntArray
from geo.point import Frame


class Verdict(IntEnum):
    """What became of a ping; exactly one for each. ``MEANINGS`` says what each means."""

    LIVE = 0
    LATE = 1
    DUPLICATE = 2
    TELEPORT = 3
    FUTURE = 4
    INACCURATE = 5
    NULL_ISLAND = 6
    INVALID = 7
    OFF_DUTY = 8
    RATE_LIMITED = 9
    SHED = 10

    @property
    def word(self) -> str:
        """The word on the wire."""
        return self.name.lower()

    @property
    def is_in_trail(self) -> bool:
        """Whether the fix entered the person's trail."""
        return self in (Verdict.LIVE, Verdict.LATE, Verdict.TELEPORT)


MEANINGS: Final[Mapping[Verdict, str]] = {
    Verdict.LIVE: "where the person now is",
    Verdict.LATE: "older than the live position; kept in the trail",
    Verdict.DUPLICATE: "a repeat of one that had come before",
    Verdict.TELEPORT: "too far away for its time; held back until a second one agrees, and corrected then",
    Verdict.FUTURE: "measured after it was sent",
    Verdict.INACCURATE: "coarser than the server accepts",
    Verdict.NULL_ISLAND: "0, 0: a receiver that knows no place",
    Verdict.INVALID: "not a place or not a time; a field is missing or out of range",
    Verdict.OFF_DUTY: "from somebody off duty; not kept",
    Verdict.RATE_LIMITED: "more than the connection may send; not looked at, to be sent again later",
    Verdict.SHED: "the server was too busy to look; to be sent again later",
}
"""In words that somebody understands who has read nothing else."""


FRAME_CODES: Final[Mapping[Frame, int]] = {Frame.WGS84: 0, Frame.GCJ02: 1, Frame.BD09: 2}
"""Values of the ``crs`` column."""
FRAMES: Final = tuple(FRAME_CODES)


def device_number(device: DeviceId) -> int:
    """The number that stands for a device in columns: 63 bits of a hash, so that nothing has to be remembered.

    Two devices of one person would share a number once in about 10**18 pairs. Compute it once for each session.
    """
    return int.from_bytes(blake2b(device.encode("utf-8", "surrogatepass"), digest_size=8).digest()) >> 1


@dataclass(frozen=True, slots=True)
class PingBatch:
    """Pings in arrival order, one row each.

    Attributes:
        slot: Row of the person in the shard's index, -1 for somebody who is not on duty here. Resolve it when the
            batch is judged, not when the ping arrives: a slot may have changed hands in between.
        device: ``device_number`` of the phone.
        seq: The device's own number of the ping.
        fixed_at: Phone's time of the fix.
        sent_at: Phone's time of sending; NaN when it said nothing (then its clock is taken for right).
        received_at: Server's time of arrival.
        lat, lng: Degrees, in the frame that ``crs`` names.
        accuracy_m: Error radius.
        speed_mps, heading_deg: NaN when unknown.
        crs: Value of ``FRAME_CODES``.
        clock_rate: Phone seconds per server second, 1 but for replays.
    """

    slot: IntArray
    device: IntArray
    seq: IntArray
    fixed_at: FloatArray
    sent_at: FloatArray
    received_at: FloatArray
    lat: FloatArray
    lng: FloatArray
    accuracy_m: FloatArray
    speed_mps: FloatArray
    heading_deg: FloatArray
    crs: ByteArray
    clock_rate: FloatArray

    def __len__(self) -> int:
        """Number of pings."""
        return len(self.slot)

    @classmethod
    def of(
        cls,
        *,
        slot: Sequence[int],
        seq: Sequence[int],
        fixed_at: Sequence[float],
        received_at: Sequence[float],
        lat: Sequence[float],
        lng: Sequence[float],
        device: Sequence[int] | None = None,
        sent_at: Sequence[float] | None = None,
        accuracy_m: Sequence[float] | None = None,
        speed_mps: Sequence[float] | None = None,
        heading_deg: Sequence[float] | None = None,
        crs: Sequence[int] | None = None,
        clock_rate: Sequence[float] | None = None,
    ) -> "PingBatch":
        """Build a batch from lists; what is left out is device 0, unknown, WGS-84, rate 1, accuracy 0.

        Raises:
            ValueError: The lists differ in length.
        """
        n = len(slot)

        def floats(values: Sequence[float] | None, default: float) -> FloatArray:
            return np.full(n, default) if values is None else np.asarray(values, dtype=np.float64)

        def ints(values: Sequence[int] | None) -> IntArray:
            return np.zeros(n, dtype=np.int64) if values is None else np.asarray(values, dtype=np.int64)

        batch = cls(
            slot=ints(slot),
            device=ints(device),
            seq=ints(seq),
            fixed_at=floats(fixed_at, np.nan),
            sent_at=floats(sent_at, np.nan),
            received_at=floats(received_at, np.nan),
            lat=floats(lat, np.nan),
            lng=floats(lng, np.nan),
            accuracy_m=floats(accuracy_m, 0.0),
            speed_mps=floats(speed_mps, np.nan),
            heading_deg=floats(heading_deg, np.nan),
            crs=np.zeros(n, dtype=np.uint8) if crs is None else np.asarray(crs, dtype=np.uint8),
            clock_rate=floats(clock_rate, 1.0),
        )
        for field in fields(batch):
            if len(getattr(batch, field.name)) != n:
                raise ValueError(f"{field.name} must have {n} rows like slot, has {len(getattr(batch, field.name))}")
        return batch

    def moved_to(self, lat: FloatArray, lng: FloatArray) -> "PingBatch":
        """The same pings at other coordinates (converted into another frame)."""
        return replace(self, lat=lat, lng=lng)


class Correction(NamedTuple):
    """A quarantined fix of an earlier moment that a second fix has confirmed."""

    slot: int
    device: int
    seq: int
    verdict: Verdict
    """LIVE or LATE instead of TELEPORT."""


FIX_DTYPE: Final = np.dtype(
    [
        ("fixed_at", np.float64),
        ("lat", np.float64),
        ("lng", np.float64),
        ("seen_at", np.float64),
        ("seq", np.int64),
        ("device", np.int64),
        ("accuracy_m", np.float32),
        ("speed_mps", np.float32),
        ("heading_deg", np.float32),
        ("segment", np.int32),
        ("link", np.uint8),
        ("quarantined", np.bool_),
    ],
    align=True,
)
"""One fix of a trail, as the filter keeps it (72 bytes)."""


@dataclass(frozen=True, slots=True)
class JudgedBatch:
    """A batch with its verdicts.

    Attributes:
        pings: The pings, in the platform's frame.
        raw: The pings as they came.
        verdict: One value of ``Verdict`` for each ping, uint8.
        seen_at: Server's time of each fix (arrival minus age); NaN for pings that are not in the trail.
        live_slots: Slots whose live position changed, each once.
        live: Their live fixes (``FIX_DTYPE``), row by row.
        corrections: Fixes quarantined earlier and confirmed now.
    """

    pings: PingBatch
    raw: PingBatch
    verdict: ByteArray
    seen_at: FloatArray
    live_slots: IntArray
    live: NDArray[np.void]
    corrections: Sequence[Correction]

    def counts(self) -> dict[Verdict, int]:
        """How many pings got which verdict; those that none got are left out."""
        numbers = np.bincount(self.verdict, minlength=len(Verdict)).tolist()
        return {verdict: count for verdict, count in zip(Verdict, numbers, strict=True) if count}
