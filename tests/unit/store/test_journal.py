"""The emergency journal as safety's port: it takes turns, refuses by name, and is rewritten while it takes more."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.ids import UserId
from core.outbox import OutboxDraft, Stream
from safety.errors import JournalRefused
from safety.events import AckRaiser
from safety.ports import JournalEntry
from store.journal import FILE_NAME, WAITING_MAX, EmergencyJournal
from store.journal_file import MIB, JournalFile
from tests.unit.safety.neighbourhood import ACME, engine_in, fix_at, tap, town


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
    for _ in range(127):
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
    monkeypatch.setattr(JournalFile, "append", lambda self, *a, **k: (go_on.wait(5), real(self, *a, **k))[1])
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
    file = JournalFile(tmp_path / FILE_NAME, MIB)
    file.append(b"not compressed")
    file.close()
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


async def test_it_is_rewritten_while_it_takes_more(tmp_path: Path) -> None:
    journal = EmergencyJournal(tmp_path, 1)
    wanted = entry()
    for _ in range(100):
        await put(journal, wanted)
    assert journal.share > 0.7
    rewriting = asyncio.ensure_future(journal.rewrite([wanted] * 20))
    await put(journal, wanted)
    assert await rewriting
    assert journal.rewrites == 1
    assert journal.share < 0.2
    await journal.stop()
    again = EmergencyJournal(tmp_path, 1)
    found = await again.read()
    assert (len(found.entries), found.damage) in ((21, ""), (20, "")), "20, and the turn where it came behind them"
    await again.stop()


async def test_what_does_not_fit_and_what_breaks_leave_it_as_it_was(tmp_path: Path) -> None:
    journal = EmergencyJournal(tmp_path, 1)
    await put(journal, entry())
    assert not await journal.rewrite([entry()] * 200)

    def broken() -> Iterator[JournalEntry]:
        yield entry()
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await journal.rewrite(broken())
    await put(journal, entry())
    await journal.stop()
    again = EmergencyJournal(tmp_path, 1)
    assert len((await again.read()).entries) == 2
    await again.stop()


async def test_room_is_kept_for_alarms(tmp_path: Path) -> None:
    journal = EmergencyJournal(tmp_path, 1, 0.25)
    answers: list[JournalRefused | None] = []
    for _ in range(100):
        journal.append(entry(), answers.append, is_alarm=False)
        await journal.read()
    assert [refusal.outcome for refusal in answers if refusal][:1] == ["full"]
    assert 0.7 < journal.share < 0.76
    await put(journal, entry())
    await journal.stop()
