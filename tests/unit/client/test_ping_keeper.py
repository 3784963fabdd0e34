"""Pings on the disk, a moment behind memory: a kill loses nothing, no number comes twice, a full disk is told."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from doorstep_client.events import Event, PingsKept
from doorstep_client.ping_buffer import Fix
from doorstep_client.ping_file import PingFile
from doorstep_client.ping_keeper import AGAIN_S, RESERVED, PingKeeper
from doorstep_client.protocol import ClientProtocol
from doorstep_client.settings import ClientSettings
from hypothesis import given
from hypothesis import strategies as st

FIX = Fix(31.2, 121.4, 1e9)


class App:
    """One life of the application on a file."""

    def __init__(self, path: Path, at: float = 1_000.0, settings: ClientSettings | None = None) -> None:
        self.protocol = ClientProtocol(device="d", token="t", settings=settings)
        self.at = at
        self.events: list[Event] = []
        self.file = PingFile(path)
        self.keeper = PingKeeper(self.file, self.protocol, lambda: self.at, self.events.extend)

    def ping(self) -> int:
        seq = self.protocol.send_ping(FIX, self.at)
        self.keeper.stir()
        return seq

    def acked(self, stored_seq: int) -> None:
        buffer = self.protocol.ping_buffer
        assert buffer is not None
        buffer.take(len(buffer), self.at)
        buffer.forget(stored_seq, self.at)
        self.keeper.stir()

    @property
    def waiting(self) -> list[int]:
        buffer = self.protocol.ping_buffer
        return [] if buffer is None else [seq for seq, _ in buffer.newer_than(-1)]

    def kill(self) -> None:
        self.file.leave()


def failing(error: int) -> Callable[[int, bytes], int]:
    def write(descriptor: int, data: bytes) -> int:
        raise OSError(error, os.strerror(error))

    return write


async def test_a_close_in_peace_keeps_what_waits_and_the_numbers_go_on_without_a_gap(tmp_path: Path) -> None:
    app = App(tmp_path / "pings")
    await app.keeper.open()
    seqs = [app.ping() for _ in range(5)]
    app.acked(seqs[1])
    await app.keeper.close()
    again = App(tmp_path / "pings")
    await again.keeper.open()
    assert again.waiting == seqs[2:]
    assert again.ping() == seqs[-1] + 1
    await again.keeper.close()
    assert app.events == again.events == []


async def test_a_kill_loses_nothing_that_was_written_and_no_number_comes_twice(tmp_path: Path) -> None:
    app = App(tmp_path / "pings")
    await app.keeper.open()
    seqs = [app.ping() for _ in range(5)]
    assert await app.keeper.written()
    unwritten = [app.protocol.send_ping(FIX, app.at) for _ in range(3)]
    app.kill()
    again = App(tmp_path / "pings")
    await again.keeper.open()
    assert again.waiting == seqs
    assert again.ping() > unwritten[-1]
    await again.keeper.close()


@given(lives=st.lists(st.lists(st.sampled_from(["ping", "written", "ack"]), max_size=8), min_size=2, max_size=4))
async def test_over_any_lives_that_end_in_kills_no_number_comes_twice_and_what_was_written_and_not_acked_is_there(
    lives: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("lives") / "pings"
    used: list[int] = []
    must_be_there: set[int] = set()
    for life in lives:
        app = App(path)
        await app.keeper.open()
        assert must_be_there <= set(app.waiting)
        for what in life:
            if what == "ping":
                used.append(app.protocol.send_ping(FIX, app.at))
            elif what == "written":
                assert await app.keeper.written()
                must_be_there = set(app.waiting)
            elif app.waiting:
                must_be_there -= set(app.waiting[:2])
                app.acked(app.waiting[:2][-1])
        await app.keeper.written()
        must_be_there = set(app.waiting)
        app.kill()
    assert used == sorted(set(used))


async def test_a_full_disk_is_told_once_pings_wait_in_memory_and_are_written_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App(tmp_path / "pings")
    await app.keeper.open()
    first = app.ping()
    assert await app.keeper.written()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing(errno.ENOSPC))
        second = app.ping()
        assert not await app.keeper.written()
        app.at += AGAIN_S
        third = app.ping()
        assert not await app.keeper.written()
    assert app.waiting == [first, second, third]
    assert [(e.on_disk, "No space" in e.reason) for e in app.events if isinstance(e, PingsKept)] == [(False, True)]
    app.at += AGAIN_S
    assert await app.keeper.written()
    assert [e.on_disk for e in app.events if isinstance(e, PingsKept)] == [False, True]
    app.kill()
    again = App(tmp_path / "pings")
    await again.keeper.open()
    assert again.waiting == [first, second, third]
    await again.keeper.close()


async def test_numbers_that_could_not_be_marked_at_the_start_do_not_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App(tmp_path / "pings", at=1.0)
    await app.keeper.open()
    app.ping()
    await app.keeper.close()
    full = App(tmp_path / "pings", at=500.0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing(errno.ENOSPC))
        await full.keeper.open()
        on_full_disk = full.ping()
        full.kill()
    after = App(tmp_path / "pings", at=600.0)
    await after.keeper.open()
    assert after.ping() != on_full_disk
    await after.keeper.close()
    assert [e.on_disk for e in full.events if isinstance(e, PingsKept)] == [False]


async def test_a_file_that_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pings").mkdir()
    app = App(tmp_path / "pings")
    await app.keeper.open()
    app.ping()
    assert not await app.keeper.written()
    await app.keeper.close()
    assert [e.on_disk for e in app.events if isinstance(e, PingsKept)] == [False]


async def test_a_damaged_file_is_told_with_its_damage(tmp_path: Path) -> None:
    app = App(tmp_path / "pings")
    await app.keeper.open()
    seqs = [app.ping() for _ in range(3)]
    await app.keeper.written()
    app.kill()
    raw = (tmp_path / "pings").read_bytes()
    (tmp_path / "pings").write_bytes(raw[:-5])
    again = App(tmp_path / "pings")
    await again.keeper.open()
    assert again.waiting == seqs[:2]
    assert [(e.on_disk, e.damaged) for e in again.events if isinstance(e, PingsKept)] == [(True, 1)]
    await again.keeper.close()


async def test_marks_are_renewed_before_they_are_used_up(tmp_path: Path) -> None:
    app = App(tmp_path / "pings")
    await app.keeper.open()
    for _ in range(3):
        last = [app.ping() for _ in range(RESERVED // 2)][-1]
        await app.keeper.written()
        marked = app.file.read().next_seq
        assert marked is not None
        assert marked - last > RESERVED // 4
    app.kill()


async def test_the_oldest_are_dropped_and_counted_when_the_buffer_is_full_over_restarts_too(tmp_path: Path) -> None:
    small = ClientSettings(ping_buffer_max=4, ping_batch_max=4)
    app = App(tmp_path / "pings", settings=small)
    await app.keeper.open()
    seqs = [app.ping() for _ in range(6)]
    assert (app.waiting, app.protocol.pings_dropped) == (seqs[2:], 2)
    await app.keeper.close()
    smaller = ClientSettings(ping_buffer_max=3, ping_batch_max=3)
    again = App(tmp_path / "pings", settings=smaller)
    await again.keeper.open()
    assert (again.waiting, again.protocol.pings_dropped) == (seqs[3:], 1)
    await again.keeper.close()
