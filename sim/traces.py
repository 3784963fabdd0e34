"""Recorded GPS traces as streams of points: T-Drive, cabspotting, GTFS-RT captures, GeoLife PLT, any CSV.

Real files are dirty. A row that cannot be read, or whose numbers no phone could send, becomes a ``BadRow``
with its line and reason; nothing is dropped in silence and nothing stops the reading.
"""

import csv
import gzip
import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Final, TextIO

from core.units import EPOCH_S_MAX, EPOCH_S_MIN, LAT_DEG_MAX, LNG_DEG_MAX, SPEED_MPS_MAX

DEFAULT_ACCURACY_M: Final = 10.0
"""None of these files tells an accuracy; a consumer receiver in the open has about this."""
PLT_HEADER_LINES: Final = 6
DETECT_BYTES: Final = 4096


class TraceFormat(StrEnum):
    """What a file holds."""

    AUTO = "auto"
    TDRIVE = "tdrive"
    CABS = "cabs"
    TRANSIT = "transit"
    TRACKS = "tracks"
    GEOLIFE = "geolife"
    CSV = "csv"
    """Any CSV, with a column mapping."""


@dataclass(frozen=True, slots=True)
class TracePoint:
    """One recorded fix, WGS-84; ``fixed_at`` in UTC epoch seconds."""

    vehicle: str
    fixed_at: float
    lat: float
    lng: float
    speed_mps: float | None = None
    accuracy_m: float = DEFAULT_ACCURACY_M


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is no fix. ``line`` counts from 1, the header included."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds what.

    Attributes:
        id: Empty: the whole file is one vehicle, named after it.
        utc_offset_h: Zone of times that name none themselves.
    """

    time: str
    lat: str
    lng: str
    id: str = ""
    speed: str = ""
    accuracy: str = ""
    utc_offset_h: float = 0.0


KNOWN: Final[dict[TraceFormat, Columns]] = {
    # T-Drive (Yuan et al., Microsoft Research 2010/2011): Beijing local time.
    TraceFormat.TDRIVE: Columns(time="time", id="taxi_id", lat="lat", lng="lon", utc_offset_h=8.0),
    # cabspotting (Piorkowski et al., CRAWDAD epfl/mobility 2009): epoch seconds.
    TraceFormat.CABS: Columns(time="ts", id="cab", lat="lat", lng="lon"),
    # A GTFS-RT capture (scascketta/CapMetrics): ISO 8601 with offset, speed in m/s.
    TraceFormat.TRANSIT: Columns(time="timestamp", id="vehicle_id", lat="latitude", lng="longitude", speed="speed"),
    # movingpandas' export of GeoLife tracks.
    TraceFormat.TRACKS: Columns(time="t", id="trajectory_id", lat="Y", lng="X"),
}


class UnknownTrace(ValueError):
    """The file cannot be read as a trace: of no known kind (say what its columns mean), broken, or without a fix."""


def parse_columns(text: str) -> Columns:
    """Read ``time=t,id=car,lat=y,lng=x,speed=v,accuracy=a,utc_offset_h=8``.

    Raises:
        ValueError: A name is unknown, or time, lat or lng is missing.
    """
    known = set(Columns.__dataclass_fields__)
    given: dict[str, str] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name.strip() not in known or not value:
            raise ValueError(f"columns: must be name=column with a name of {', '.join(sorted(known))}, is {part!r}")
        given[name.strip()] = value.strip()
    missing = {"time", "lat", "lng"} - set(given)
    if missing:
        raise ValueError(f"columns: must name {', '.join(sorted(missing))}")
    offset_h = float(given.pop("utc_offset_h", "0"))
    return Columns(**given, utc_offset_h=offset_h)


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """A plain or gzipped text file; bytes that are not UTF-8 become replacement signs.

    Raises:
        UnknownTrace: While it is read: not what gzip writes, or not all of it.
    """
    if path.suffix != ".gz":
        with path.open(encoding="utf-8", errors="replace", newline="") as lines:
            yield lines
        return
    try:
        with gzip.open(path, "rt", encoding="utf-8", errors="replace", newline="") as lines:
            yield lines
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnknownTrace(f"{path} cannot be unpacked by gzip: {error}") from error


def detect(path: Path) -> TraceFormat:
    """What kind of trace a file is, by its name and first line.

    Raises:
        UnknownTrace: None of the known kinds.
    """
    if path.suffix.lower() == ".plt":
        return TraceFormat.GEOLIFE
    with open_text(path) as lines:
        header = lines.readline(DETECT_BYTES)
    names = set(next(csv.reader([header], delimiter=_delimiter(header)), []))
    for kind, columns in KNOWN.items():
        if {columns.time, columns.id, columns.lat, columns.lng} <= names:
            return kind
    raise UnknownTrace(f"{path.name}: columns {sorted(names)} are of no known kind; name them with --columns")


def read(
    path: Path, kind: TraceFormat = TraceFormat.AUTO, columns: Columns | None = None
) -> Iterator[TracePoint | BadRow]:
    """The rows of a file in file order, one at a time.

    Raises:
        UnknownTrace: ``kind`` is AUTO and the file is none of the known ones, or CSV without ``columns``.
    """
    if columns is not None:
        kind = TraceFormat.CSV
    elif kind is TraceFormat.AUTO:
        kind = detect(path)
    if kind is TraceFormat.GEOLIFE:
        return _read_plt(path)
    chosen = columns or KNOWN.get(kind)
    if chosen is None:
        raise UnknownTrace(f"{path.name}: a plain CSV needs a column mapping")
    return _read_csv(path, chosen)


def _delimiter(header: str) -> str:
    return max(",;\t|", key=header.count)


def _read_csv(path: Path, columns: Columns) -> Iterator[TracePoint | BadRow]:
    zone = timezone(timedelta(hours=columns.utc_offset_h))
    stem = path.name.split(".")[0]
    with open_text(path) as lines:
        header = lines.readline()
        delimiter = _delimiter(header)
        names = next(csv.reader([header], delimiter=delimiter), [])
        try:
            at = {f: names.index(getattr(columns, f)) for f in ("time", "lat", "lng")}
            at |= {f: names.index(getattr(columns, f)) for f in ("id", "speed", "accuracy") if getattr(columns, f)}
        except ValueError as error:
            raise UnknownTrace(f"{path.name}: {error} of {names}") from error
        for line, row in _rows(lines, delimiter):
            if isinstance(row, BadRow):
                yield row
            elif row:
                yield _point(row, at, line, stem, lambda text: parse_time(text, zone))


def _rows(lines: TextIO, delimiter: str) -> Iterator[tuple[int, list[str] | BadRow]]:
    """CSV rows; one that the parser refuses (an endless field, a NUL) is a bad row, not the end."""
    reader = csv.reader((line.replace("\0", "") for line in lines), delimiter=delimiter)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num + 1, BadRow(reader.line_num + 1, str(error))
        else:
            yield reader.line_num + 1, row


def _point(
    row: list[str], at: dict[str, int], line: int, stem: str, time_of: Callable[[str], float]
) -> TracePoint | BadRow:
    try:
        speed = row[at["speed"]] if "speed" in at else ""
        accuracy = row[at["accuracy"]] if "accuracy" in at else ""
        point = TracePoint(
            vehicle=row[at["id"]] if "id" in at else stem,
            fixed_at=time_of(row[at["time"]]),
            lat=float(row[at["lat"]]),
            lng=float(row[at["lng"]]),
            speed_mps=float(speed) if speed else None,
            accuracy_m=float(accuracy) if accuracy else DEFAULT_ACCURACY_M,
        )
    except (ValueError, IndexError, OverflowError) as error:
        return BadRow(line, f"{type(error).__name__}: {str(error)[:80]}")
    return _sendable(point, line)


def _sendable(point: TracePoint, line: int) -> TracePoint | BadRow:
    """A phone cannot even say what lies outside the wire's bounds."""
    if not point.vehicle:
        return BadRow(line, "no vehicle")
    if not (abs(point.lat) <= LAT_DEG_MAX and abs(point.lng) <= LNG_DEG_MAX):
        return BadRow(line, "not on this planet")
    if not EPOCH_S_MIN <= point.fixed_at <= EPOCH_S_MAX:
        return BadRow(line, "time out of range")
    if not (math.isfinite(point.accuracy_m) and point.accuracy_m >= 0):
        return BadRow(line, "accuracy out of range")
    speed_mps = point.speed_mps
    if speed_mps is not None and not 0 <= speed_mps <= SPEED_MPS_MAX:
        # The place is good; only the speed is nonsense (buses report -1 for "unknown").
        return TracePoint(point.vehicle, point.fixed_at, point.lat, point.lng, None, point.accuracy_m)
    return point


def parse_time(text: str, zone: timezone) -> float:
    """Epoch seconds, or ISO 8601 with or without an offset (then ``zone``).

    Raises:
        ValueError: Neither.
    """
    text = text.strip()
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return moment.timestamp()


def _read_plt(path: Path) -> Iterator[TracePoint | BadRow]:
    """GeoLife (Zheng et al., Microsoft Research): lat, lng, 0, altitude_ft, days since 1899-12-30, date, time (UTC)."""
    vehicle = path.name.split(".")[0]
    with open_text(path) as lines:
        for line, text in enumerate(lines, start=1):
            if line <= PLT_HEADER_LINES or not text.strip():
                continue
            row = text.strip().split(",")
            if len(row) < 7:
                yield BadRow(line, "too few columns")
                continue
            fields = [row[0], row[1], f"{row[5]} {row[6]}"]
            at = {"lat": 0, "lng": 1, "time": 2}
            yield _point(fields, at, line, vehicle, lambda value: parse_time(value, UTC))


@dataclass(slots=True)
class TraceSet:
    """All points of some files by vehicle, with what could not be read.

    ``rows`` counts every data row; it is the number of points plus ``bad``.
    """

    vehicles: dict[str, list[TracePoint]] = field(default_factory=dict)
    rows: int = 0
    bad: list[tuple[str, BadRow]] = field(default_factory=list)

    @property
    def points(self) -> int:
        """Points of all vehicles."""
        return self.rows - len(self.bad)


def load(
    paths: list[Path],
    kind: TraceFormat = TraceFormat.AUTO,
    columns: Columns | None = None,
    *,
    vehicles_max: int | None = None,
) -> TraceSet:
    """Read files whole and group them; vehicles of different files are different, named ``file/vehicle``.

    Args:
        vehicles_max: Keep only the first so many vehicles of each file.
    """
    found = TraceSet()
    for path in paths:
        stem = path.name.split(".")[0]
        kept: dict[str, list[TracePoint]] = {}
        for row in read(path, kind, columns):
            if isinstance(row, BadRow):
                found.rows += 1
                found.bad.append((path.name, row))
                continue
            points = kept.get(row.vehicle)
            if points is None:
                if vehicles_max is not None and len(kept) >= vehicles_max:
                    continue
                points = kept[row.vehicle] = []
            found.rows += 1
            points.append(row)
        found.vehicles.update({f"{stem}/{vehicle}": points for vehicle, points in kept.items()})
    return found


def as_utc(at: float) -> str:
    """A readable moment."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
