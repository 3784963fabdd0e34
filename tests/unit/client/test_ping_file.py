"""The file of pings: what is in it comes back, and damage costs no more than the damaged lines."""

from pathlib import Path

import pytest
from doorstep_client.ping_buffer import Fix, Row
from doorstep_client.ping_file import SPARE_BYTES, PingFile
from hypothesis import given
from hypothesis import strategies as st

ROWS: list[Row] = [
    (7, Fix(31.2, 121.4, 1e9, 8.0, 1.5, 90.0, 0.5, mock=True)),
    (8, Fix(31.3, 121.5, 1e9 + 1.25)),
    (9, Fix(-31.0, -121.0, 1e9 + 2.0, heading_deg=0.0)),
]


def filled(path: Path) -> PingFile:
    file = PingFile(path)
    file.rewrite(ROWS[:1], 1_000)
    file.append(ROWS[1:], None, None, sync=False)
    return file


def test_what_was_written_is_read_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "pings"
    assert PingFile(path).read().next_seq is None
    file = filled(path)
    kept = PingFile(path).read()
    assert (kept.rows, kept.next_seq, kept.is_clean, kept.damaged) == (ROWS, 1_000, False, 0)
    assert path.stat().st_mode & 0o077 == 0
    assert [p.name for p in path.parent.iterdir()] == ["pings"]
    file.leave()


def test_what_is_done_does_not_come_back_and_after_a_close_in_peace_numbers_go_on_without_a_gap(tmp_path: Path) -> None:
    file = filled(tmp_path / "pings")
    file.append([], 8, 2_000, sync=True)
    file.close(10)
    kept = file.read()
    assert kept.rows == ROWS[2:]
    assert kept.next_seq == 10
    assert kept.is_clean


def test_numbers_go_on_behind_the_highest_that_may_be_in_use(tmp_path: Path) -> None:
    file = PingFile(tmp_path / "pings")
    file.rewrite([], 5)
    file.append([(20, ROWS[0][1])], 20, None, sync=False)
    file.leave()
    assert file.read().next_seq == 21


@given(data=st.data())
def test_a_file_torn_at_any_byte_loses_the_torn_tail_only(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("torn") / "pings"
    filled(path).leave()
    whole = path.read_bytes()
    length = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:length])
    lines = whole[:length].split(b"\n")
    complete = len(lines) - 1 + (lines[-1] in whole.split(b"\n") and lines[-1] != b"")
    kept = PingFile(path).read()
    assert kept.rows == ROWS[: max(complete - 1, 0)]
    assert not kept.is_clean


@given(at=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_damaged_byte_costs_its_line_only(at: int, byte: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("damaged") / "pings"
    filled(path).leave()
    raw = bytearray(path.read_bytes())
    raw[at % len(raw)] = byte
    path.write_bytes(raw)
    kept = PingFile(path).read()
    assert set(kept.rows) <= set(ROWS)
    # A line break that is lost takes the next line with it, one that is new takes its own.
    assert len(kept.rows) >= len(ROWS) - 2
    assert kept.rows == ROWS or kept.damaged or kept.next_seq is not None


def test_a_file_grows_to_a_bound_and_says_that_it_is_time_to_write_it_anew(tmp_path: Path) -> None:
    file = filled(tmp_path / "pings")
    appended = 0
    while not file.is_full_of_old:
        file.append(ROWS * 100, 9, None, sync=False)
        appended += 1
        assert appended < 100
    assert (tmp_path / "pings").stat().st_size > SPARE_BYTES
    file.rewrite(ROWS, 2_000)
    assert not file.is_full_of_old
    assert (tmp_path / "pings").stat().st_size < 1_000
    file.leave()


def test_a_rewrite_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    file = filled(tmp_path / "pings")
    (tmp_path / "pings.new").mkdir()
    with pytest.raises(OSError, match=r"pings\.new"):
        file.rewrite([], 5_000)
    assert PingFile(tmp_path / "pings").read().rows == ROWS
    with pytest.raises(OSError, match="not open"):
        file.append([], 9, None, sync=False)
