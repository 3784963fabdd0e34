"""The emergency journal: what was appended is there after whatever happened to the file, and damage is told."""

import asyncio
import os
import random
import threading
from pathlib import Path

import pytest

from core.ids import UserId
from core.outbox import OutboxDraft, Stream
from safety.errors import JournalRefused
from safety.events import AckRaiser
from safety.ports import JournalEntry
from store.journal import BLOCK_BYTES, FILE_NAME, MIB, WAITING_MAX, EmergencyJournal, JournalFile, JournalFull
from tests.unit.safety.neighbourhood import ACME, engine_in, fix_at, tap, town

SMALL = 16 * BLOCK_BYTES
DATA_AT = 2 * BLOCK_BYTES


def opened(path: Path, size: int = SMALL) -> JournalFile:
    return JournalFile(path, size)


def held(path: Path) -> tuple[list[bytes], str]:
    file = opened(path)
    file.close()
    return file.payloads, file.damage


def filled(path: Path, *payloads: bytes) -> None:
    file = opened(path)
    for payload in payloads:
        file.append(payload)
    file.close()


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def test_what_was_appended_is_read_in_order(tmp_path: Path) -> None:
    payloads = [b"a", b"b" * 5000, b"", b"c" * BLOCK_BYTES]
    filled(tmp_path / "j", *payloads)
    assert held(tmp_path / "j") == (payloads, "")


def test_a_new_one_takes_its_space_at_once(tmp_path: Path) -> None:
    opened(tmp_path / "j", MIB).close()
    found = (tmp_path / "j").stat()
    assert (found.st_size, found.st_blocks * 512 >= MIB) == (MIB, True)


def test_it_goes_on_behind_what_it_holds(tmp_path: Path) -> None:
    filled(tmp_path / "j", b"a")
    filled(tmp_path / "j", b"b")
    assert held(tmp_path / "j") == ([b"a", b"b"], "")


def test_cleared_it_holds_nothing_and_what_lies_there_is_no_damage(tmp_path: Path) -> None:
    file = opened(tmp_path / "j")
    for payload in (b"a" * 9000, b"b" * 9000):
        file.append(payload)
    file.clear()
    assert file.held_bytes == 0
    file.close()
    assert held(tmp_path / "j") == ([], "")
    filled(tmp_path / "j", b"c")
    assert held(tmp_path / "j") == ([b"c"], "")


def test_many_generations(tmp_path: Path) -> None:
    rng = random.Random(5)
    wanted: list[bytes] = []
    for _ in range(25):
        file = opened(tmp_path / "j")
        assert (file.payloads, file.damage) == (wanted, "")
        if rng.random() < 0.6:
            file.clear()
            wanted = []
        try:
            for _ in range(rng.randrange(4)):
                payload = rng.randbytes(rng.randrange(9000))
                file.append(payload)
                wanted = [*wanted, payload]
        except JournalFull:
            pass
        file.close()


def test_full_it_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    file = opened(tmp_path / "j")
    for _ in range(14):
        file.append(b"x")
    with pytest.raises(JournalFull):
        file.append(b"x")
    file.close()
    assert held(tmp_path / "j") == ([b"x"] * 14, "")


@pytest.mark.parametrize("kept", [0, 1, 511, 4096, 8000])
def test_of_a_torn_tail_nothing_is_believed_and_what_came_before_is(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "j"
    filled(path, b"first", b"y" * 9000)
    content = path.read_bytes()
    tail_at = DATA_AT + BLOCK_BYTES
    path.write_bytes(content[: tail_at + kept] + bytes(len(content) - tail_at - kept))
    payloads, damage = held(path)
    assert payloads == [b"first"]
    assert bool(damage) == (kept > 0), damage


def test_any_flipped_bit_costs_its_own_turn_only_and_is_told(tmp_path: Path) -> None:
    path = tmp_path / "j"
    payloads = [bytes([n]) * (3000 * n) for n in (1, 2, 3)]
    filled(path, *payloads)
    sound = path.read_bytes()
    rng = random.Random(1)
    ends = [DATA_AT, DATA_AT + BLOCK_BYTES, DATA_AT + 3 * BLOCK_BYTES, DATA_AT + 6 * BLOCK_BYTES]
    lengths = [32 + len(p) for p in payloads]
    for which in range(3):
        for _ in range(12):
            damaged = bytearray(sound)
            damaged[ends[which] + rng.randrange(lengths[which])] ^= 1 << rng.randrange(8)
            path.write_bytes(damaged)
            found, damage = held(path)
            assert damage
            assert found == [p for n, p in enumerate(payloads) if n != which]


@pytest.mark.parametrize("slot", [0, 1])
def test_with_a_damaged_header_nothing_that_is_held_is_lost(tmp_path: Path, slot: int) -> None:
    path = tmp_path / "j"
    file = opened(path)
    file.append(b"old")
    file.clear()
    file.append(b"new")
    file.close()
    overwrite(path, slot * BLOCK_BYTES + 9, b"\xff")
    payloads, damage = held(path)
    assert payloads == [b"new"]
    assert "header" in damage


def test_after_damage_it_takes_what_comes(tmp_path: Path) -> None:
    path = tmp_path / "j"
    filled(path, b"a", b"b")
    overwrite(path, DATA_AT + 32, b"\xff")
    overwrite(path, DATA_AT + BLOCK_BYTES + 32, b"\xff")
    filled(path, b"c")
    payloads, damage = held(path)
    assert payloads == [b"c"]
    assert damage
    file = opened(path)
    file.clear()
    file.close()
    assert held(path) == ([], "")


def test_it_belongs_to_one_process(tmp_path: Path) -> None:
    file = opened(tmp_path / "j")
    with pytest.raises(BlockingIOError):
        opened(tmp_path / "j")
    file.close()
    opened(tmp_path / "j").close()


def test_a_smaller_one_grows_and_a_larger_one_stays(tmp_path: Path) -> None:
    filled(tmp_path / "j", b"a")
    opened(tmp_path / "j", 2 * SMALL).close()
    assert (tmp_path / "j").stat().st_size == 2 * SMALL
    assert held(tmp_path / "j") == ([b"a"], "")
    assert (tmp_path / "j").stat().st_size == 2 * SMALL


# -- as safety's port -----------------------------------------------------------------------------------


def entry() -> JournalEntry:
    engine = engine_in(town())
    effects = tap(engine, fix=fix_at())
    incident = next(e for e in effects if isinstance(e, AckRaiser)).incident
    draft = OutboxDraft(ACME, UserId("ops_0"), Stream.SAFETY, b'{"type":"incident"}', incident.incident_id)
    return JournalEntry(engine.take_changes(), [(incident.incident_id, draft)], 5.0)


async def put(journal: EmergencyJournal, wanted: JournalEntry) -> None:
    future: asyncio.Future[JournalRefused | None] = asyncio.get_running_loop().create_future()
    journal.append(wanted, future.set_result)
    refusal = await future
    if refusal is not None:
        raise refusal


async def test_a_turn_comes_back_as_it_was(tmp_path: Path) -> None:
    journal = EmergencyJournal(tmp_path, 1)
    journal.open()
    wanted = entry()
    await put(journal, wanted)
    await journal.stop()
    again = EmergencyJournal(tmp_path, 1)
    again.open()
    content = await again.read()
    assert content.damage == ""
    (found,) = content.entries
    assert found.changes == wanted.changes
    assert (list(found.drafts), found.at) == (list(wanted.drafts), 5.0)
    again.clear()
    await again.read()
    assert again.held_bytes == 0
    await again.stop()


async def test_a_full_one_refuses_by_name(tmp_path: Path) -> None:
    journal = EmergencyJournal(tmp_path, 1)
    for _ in range(254):
        await put(journal, entry())
    with pytest.raises(JournalRefused) as refused:
        await put(journal, entry())
    assert refused.value.outcome == "full"
    assert journal.outcomes["full"] == 1
    assert len((await journal.read()).entries) == 0, "it tells what it held when it was opened"
    await journal.stop()


async def test_a_disk_that_hangs_holds_a_bounded_number_of_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = EmergencyJournal(tmp_path, 1)
    journal.open()
    go_on = threading.Event()
    real = JournalFile.append
    monkeypatch.setattr(JournalFile, "append", lambda self, payload: (go_on.wait(5), real(self, payload))[1])
    answers: list[JournalRefused | None] = []
    wanted = entry()
    for _ in range(WAITING_MAX + 3):
        journal.append(wanted, answers.append)
    assert answers == []
    await asyncio.sleep(0)
    assert [refusal.outcome for refusal in answers if refusal] == ["waiting"] * 3
    go_on.set()
    while len(answers) < WAITING_MAX + 3:
        await asyncio.sleep(0.01)
    await journal.stop()


async def test_one_that_cannot_be_opened_is_tried_again_with_each_turn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    folder.write_text("not a folder")
    journal = EmergencyJournal(folder, 1)
    journal.open()
    assert "cannot be opened" in caplog.text
    assert "cannot be opened" in (await journal.read()).damage
    with pytest.raises(JournalRefused) as refused:
        await put(journal, entry())
    assert refused.value.outcome == "failed"
    folder.unlink()
    await put(journal, entry())
    assert journal.is_open
    await journal.stop()


async def test_a_turn_that_this_code_cannot_read_is_damage_and_holds_no_other(tmp_path: Path) -> None:
    filled(tmp_path / FILE_NAME, b"\xc1 not msgpack")
    journal = EmergencyJournal(tmp_path, 1)
    await put(journal, entry())
    await journal.stop()
    again = EmergencyJournal(tmp_path, 1)
    content = await again.read()
    assert (len(content.entries), "turn 0" in content.damage) == (1, True)
    assert again.outcomes["damaged"] == 1
    await again.stop()


async def test_a_disk_that_fails_once_costs_one_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = EmergencyJournal(tmp_path, 1)
    journal.open()
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(JournalRefused):
        await put(journal, entry())
    monkeypatch.setattr(os, "pwrite", real)
    await put(journal, entry())
    await journal.stop()
    again = EmergencyJournal(tmp_path, 1)
    assert len((await again.read()).entries) == 1
    await again.stop()
