import gzip
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.traces import BadRow, Columns, TraceFormat, TracePoint, UnknownTrace, detect, load, parse_columns, read


def epoch(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()  # type: ignore[arg-type,misc]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def test_tdrive_times_are_beijing_time(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv.gz", "time,taxi_id,lon,lat\n2008-02-04 08:00:00,225,116.42,39.9\n")
    assert detect(path) is TraceFormat.TDRIVE
    assert list(read(path)) == [TracePoint("225", epoch(2008, 2, 4), 39.9, 116.42)]


def test_transit_times_carry_their_offset_and_a_negative_speed_is_unknown(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "b.csv",
        "vehicle_id,timestamp,speed,route_id,trip_id,latitude,longitude,trip_headsign\n"
        "7,2015-03-18T21:13:16-05:00,8.5,3,1,30.16,-97.79,NORTHBOUND\n"
        '7,2015-03-18T21:13:17-05:00,-1,3,1,30.16,-97.79,"DOWNTOWN, EAST"\n',
    )
    first, second = read(path)
    assert first == TracePoint("7", epoch(2015, 3, 19, 2, 13, 16), 30.16, -97.79, 8.5)
    assert isinstance(second, TracePoint)
    assert second.speed_mps is None


def test_cabs_semicolon_tracks_and_geolife(tmp_path: Path) -> None:
    cabs = write(tmp_path, "c.csv", "ts,cab,lat,lon,occupied\n1211353200,abc,37.7,-122.4,1\n")
    assert list(read(cabs)) == [TracePoint("abc", 1211353200.0, 37.7, -122.4)]
    tracks = write(
        tmp_path, "d.csv", "X;Y;fid;id;sequence;trajectory_id;tracker;t\n116.3;39.8;1;1;1;5;19;2008-12-11 04:42:14+00\n"
    )
    assert list(read(tracks)) == [TracePoint("5", epoch(2008, 12, 11, 4, 42, 14), 39.8, 116.3)]
    plt = write(tmp_path, "2008.plt", "h\n" * 6 + "39.98,116.31,0,492,39744.12,2008-10-23,02:53:04\nbroken\n")
    point, bad = read(plt)
    assert point == TracePoint("2008", epoch(2008, 10, 23, 2, 53, 4), 39.98, 116.31)
    assert bad == BadRow(8, "too few columns")


def test_any_csv_with_a_mapping(tmp_path: Path) -> None:
    path = write(tmp_path, "e.csv", "when|car|y|x|acc\n100|z|1|2|35\n")
    columns = parse_columns("time=when,id=car,lat=y,lng=x,accuracy=acc")
    assert list(read(path, columns=columns)) == [TracePoint("z", 100.0, 1.0, 2.0, None, 35.0)]
    with pytest.raises(UnknownTrace):
        list(read(path))
    with pytest.raises(UnknownTrace):
        list(read(path, columns=Columns(time="nope", lat="y", lng="x")))


@pytest.mark.parametrize("text", ["time=t", "foo=bar,time=t,lat=y,lng=x", "time", "time=,lat=y,lng=x"])
def test_a_wrong_mapping_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="columns"):
        parse_columns(text)


def test_dirty_rows_are_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    body = [
        "100,a,1,2",
        "x,a,1,2",
        "100,a,91,2",
        "100,a,nan,2",
        "100,a,1",
        "",
        "1e400,a,1,2",
        "-5,a,1,2",
        "100,,1,2",
        "101,a,1,2",
        "0,b,0,0",
    ]
    path = write(tmp_path, "f.csv", "ts,cab,lat,lon,occupied\n" + "\n".join(body) + "\n")
    found = load([path])
    assert found.rows == 10
    assert len(found.bad) == 7
    assert {v: len(p) for v, p in found.vehicles.items()} == {"f/a": 2, "f/b": 1}
    assert found.points == 3
    assert [bad.line for _, bad in found.bad] == [3, 4, 5, 6, 8, 9, 10]


def test_only_the_first_vehicles_of_each_file(tmp_path: Path) -> None:
    lines = "".join(f"{100 + n},v{n % 5},1,2,0\n" for n in range(50))
    path = write(tmp_path, "g.csv", "ts,cab,lat,lon,occupied\n" + lines)
    found = load([path], vehicles_max=2)
    assert (sorted(found.vehicles), found.rows) == (["g/v0", "g/v1"], 20)


@given(st.text(max_size=300))
def test_no_text_stops_the_reading(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "h.csv"
        path.write_text("ts,cab,lat,lon,occupied\n" + text, encoding="utf-8", errors="replace", newline="")
        for row in read(path, TraceFormat.CABS):
            assert isinstance(row, TracePoint | BadRow)


@pytest.mark.parametrize("damage", ["none of gzip's", "cut"])
def test_a_broken_gzip_file_is_no_trace(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.csv.gz"
    whole = gzip.compress(b"vehicle,time,lat,lng\n" + b"".join(b"1,%d,31.2,121.4\n" % n for n in range(9_000)))
    path.write_bytes(random.Random(1).randbytes(500) if damage == "none of gzip's" else whole[: len(whole) // 2])
    with pytest.raises(UnknownTrace, match="cannot be unpacked by gzip"):
        load([path], TraceFormat.CSV, parse_columns("time=time,lat=lat,lng=lng,id=vehicle"))
