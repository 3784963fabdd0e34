"""The reserve on the data disk: held while there is room, given up when there is none, made again later."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from store.reserve import MIB, Reserve


class Disk:
    """What ``statvfs`` says."""

    def __init__(self, free_mib: float) -> None:
        self.free_mib = free_mib

    def __call__(self, _path: object) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=int(self.free_mib * MIB), f_frsize=1)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk(1_000)
    monkeypatch.setattr(os, "statvfs", disk)
    return disk


def test_it_takes_its_space(tmp_path: Path, disk: Disk) -> None:
    reserve = Reserve(tmp_path, 2)
    reserve.open()
    assert (reserve.is_held, reserve.is_low) == (True, False)
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 2 * MIB


def test_positions_go_first_then_the_reserve_and_both_come_back_with_room(tmp_path: Path, disk: Disk) -> None:
    reserve = Reserve(tmp_path, 8)
    reserve.open()
    disk.free_mib = 2.1
    reserve.look()
    assert not reserve.is_low
    disk.free_mib = 1.9
    reserve.look()
    assert (reserve.is_low, reserve.is_held) == (True, True)
    reserve.release()
    assert (reserve.is_held, reserve.released) == (False, 1)
    reserve.release()
    assert reserve.released == 1
    disk.free_mib = 9.9  # its own space: nobody but safety may have it
    reserve.look()
    assert (reserve.is_low, reserve.is_held) == (True, False)
    disk.free_mib = 16.1
    reserve.look()
    assert (reserve.is_low, reserve.is_held) == (False, True)


def test_a_start_on_a_full_disk_gives_it_up_at_once(tmp_path: Path, disk: Disk) -> None:
    Reserve(tmp_path, 8).open()
    disk.free_mib = 0.5
    reserve = Reserve(tmp_path, 8)
    reserve.open()
    assert (reserve.is_held, reserve.is_low) == (False, True)


def test_without_a_size_nothing_is_held_and_nothing_dropped(tmp_path: Path, disk: Disk) -> None:
    reserve = Reserve(tmp_path, 0)
    disk.free_mib = 0.1
    reserve.open()
    reserve.note_full()
    assert (reserve.is_held, reserve.is_low) == (False, False)


def test_a_disk_that_has_no_room_for_it_keeps_nothing_half(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    reserve = Reserve(tmp_path, 2)
    reserve.open()
    assert not reserve.is_held
    assert "no room for the reserve" in caplog.text
