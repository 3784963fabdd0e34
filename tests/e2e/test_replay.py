"""``doorstep replay`` on real traces; where each vehicle must have ended is worked out here, by code of its own."""

import csv
import gzip
import json
import math
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.needs import real_data

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SLICE = HERE.parent / "data" / "austin_slice.csv"

Row = tuple[float, float, float]
"""time, lat, lng"""


def metres(a: Row, b: Row) -> float:
    """Spherical law of cosines on unit vectors, not the haversine that the server uses."""
    (la, lo), (lb, lp) = ((math.radians(v) for v in r[1:]) for r in (a, b))
    va = (math.cos(la) * math.cos(lo), math.cos(la) * math.sin(lo), math.sin(la))
    vb = (math.cos(lb) * math.cos(lp), math.cos(lb) * math.sin(lp), math.sin(lb))
    cross = (va[1] * vb[2] - va[2] * vb[1], va[2] * vb[0] - va[0] * vb[2], va[0] * vb[1] - va[1] * vb[0])
    dot = sum(p * q for p, q in zip(va, vb, strict=True))
    return 6_371_008.8 * math.atan2(math.hypot(*cross), dot)


def expected_end(rows: list[Row]) -> Row | None:
    """The newest fix of a trail that its stretch begins with, or that a neighbour within 600 s reaches at 55 m/s."""
    trail = sorted((r for r in rows if not (abs(r[1]) < 0.001 and abs(r[2]) < 0.001)), key=lambda r: r[0])

    def joined(n: int, m: int) -> bool:
        return metres(trail[n], trail[m]) <= 55.0 * (trail[m][0] - trail[n][0])

    def apart(n: int, m: int) -> bool:
        return trail[m][0] - trail[n][0] > 600.0

    for n in reversed(range(len(trail))):
        if n == 0 or apart(n - 1, n) or joined(n - 1, n):
            return trail[n]
        if n + 1 < len(trail) and not apart(n, n + 1) and joined(n, n + 1):
            return trail[n]
    return None


def read_csv(path: Path) -> dict[str, list[Row]]:
    """Everything the file says, with the test's own reading of each format."""
    vehicles: dict[str, list[Row]] = defaultdict(list)
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    stem = path.name.split(".")[0]
    for r in csv.DictReader(text.splitlines(), delimiter=";" if "geolife" in path.name else ","):
        if "taxi_id" in r:
            at = datetime.strptime(r["time"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone(timedelta(hours=8)))
            name, when, lat, lng = r["taxi_id"], at.timestamp(), r["lat"], r["lon"]
        elif "cab" in r:
            name, when, lat, lng = r["cab"], float(r["ts"]), r["lat"], r["lon"]
        elif "vehicle_id" in r:
            when = datetime.fromisoformat(r["timestamp"]).timestamp()
            name, lat, lng = r["vehicle_id"], r["latitude"], r["longitude"]
        else:
            when = datetime.strptime(r["t"], "%Y-%m-%d %H:%M:%S+00").replace(tzinfo=UTC).timestamp()
            name, lat, lng = r["trajectory_id"], r["Y"], r["X"]
        if abs(float(lat)) <= 90 and abs(float(lng)) <= 180:
            vehicles[f"{stem}/{name}"].append((when, float(lat), float(lng)))
    return vehicles


def read_plt(path: Path) -> dict[str, list[Row]]:
    rows = []
    for line in path.read_text().splitlines()[6:]:
        lat, lng, _, _, _, day, time = line.split(",")
        at = datetime.strptime(f"{day} {time}", "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        rows.append((at.timestamp(), float(lat), float(lng)))
    return {f"{path.stem}/{path.stem}": rows}


def replay(files: list[Path], speed: float, folder: Path, timeout_s: float, *more: str) -> dict[str, Any]:
    out = folder / "report.json"
    command = [sys.executable, "-m", "cli.main", "replay", *map(str, files), "--speed", str(speed), "--out", str(out)]
    done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=timeout_s, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(out.read_text())
    return report


def check(report: dict[str, Any], vehicles: dict[str, list[Row]]) -> None:
    assert sum(report["verdicts"].values()) == report["points"] == sum(map(len, vehicles.values()))
    assert report["unjudged"] == 0
    assert set(report["vehicles"]) == set(vehicles)
    wrong = []
    for name, rows in vehicles.items():
        found = report["vehicles"][name]
        assert sum(found["verdicts"].values()) == found["points"] == len(rows), name
        want = expected_end(rows)
        live = found["live"]
        if want is None or live is None:
            same = want is None and live is None
        else:
            same = metres(want, (0.0, live["lat"], live["lng"])) < 0.5
        if not same:
            wrong.append((name, want, live))
    assert not wrong, f"{len(wrong)} of {len(vehicles)} vehicles ended elsewhere: {wrong[:5]}"


@pytest.mark.slow
@pytest.mark.parametrize("order", ["time", "file"])
def test_a_slice_of_austins_buses_ends_where_the_law_says(tmp_path: Path, order: str) -> None:
    report = replay([SLICE], 3600, tmp_path, 110, "--order", order)
    check(report, read_csv(SLICE))
    assert report["verdicts"]["null_island"] > 0


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("pattern", "speed", "start"),
    [
        ("tdrive*.csv.gz", 60, "recorded"),
        ("sf*.csv.gz", 600, "recorded"),
        ("austin*.csv.gz", 600, "recorded"),
        ("geolife_small.csv.gz", 600, "together"),
        ("geolife_plt/*.plt", 600, "together"),
    ],
)
def test_every_real_trace_ends_where_the_law_says(tmp_path: Path, pattern: str, speed: float, start: str) -> None:
    files = real_data(f"gps/{pattern}")
    vehicles: dict[str, list[Row]] = {}
    for file in files:
        vehicles.update(read_plt(file) if file.suffix == ".plt" else read_csv(file))
    check(replay(files, speed, tmp_path, 800, "--start", start), vehicles)
