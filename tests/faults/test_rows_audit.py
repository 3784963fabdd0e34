"""Row 76 of the fault table: however the audit is changed, `doorstep audit verify` names the first bad row."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.audited import SECRET, Audited

ROWS = 8


@pytest.fixture
async def audited(tmp_path: Path) -> Audited:
    made = Audited(tmp_path)
    made.anchor(await made.remember(4))
    made.anchor(await made.remember(ROWS - 4))
    return made


async def test_row_76_an_untouched_audit_is_sound(audited: Audited) -> None:
    told = audited.verify()
    assert told.exit_code == 0, told.output
    assert f"acme: {ROWS} rows sound, 2 anchors agree" in told.output


CHANGES: dict[str, tuple[Callable[[Audited], None], int]] = {
    "edit_the_actor": (lambda a: a.tamper("UPDATE audit SET actor = 'somebody else' WHERE seq = 3"), 3),
    "edit_the_time": (lambda a: a.tamper("UPDATE audit SET at = at + 1 WHERE seq = 8"), 8),
    "edit_the_payload": (lambda a: a.tamper("UPDATE audit_payloads SET body = x'c0' WHERE seq = 2"), 2),
    "edit_the_history": (lambda a: a.tamper("UPDATE incident_events SET body = x'c0' WHERE seq = 5"), 5),
    "delete_from_the_history": (lambda a: a.tamper("DELETE FROM incident_events WHERE seq = 6"), 6),
    "delete": (lambda a: a.tamper("DELETE FROM audit WHERE seq = 4"), 4),
    "delete_and_renumber": (
        lambda a: a.tamper(
            "DELETE FROM audit WHERE seq = 4",
            "UPDATE audit SET seq = -seq WHERE seq > 4",
            "UPDATE audit SET seq = -seq - 1 WHERE seq < 0",
        ),
        4,
    ),
    "reorder": (
        lambda a: a.tamper(
            "UPDATE audit SET seq = -5 WHERE seq = 5",
            "UPDATE audit SET seq = 5 WHERE seq = 6",
            "UPDATE audit SET seq = 6 WHERE seq = -5",
        ),
        5,
    ),
    "truncate_the_tail": (lambda a: a.forget_from(7), 7),
    "truncate_everything": (lambda a: a.forget_from(1), 1),
}


@pytest.mark.parametrize("how", CHANGES)
async def test_row_76_a_change_is_found_at_its_first_row(audited: Audited, how: str) -> None:
    change, first_bad = CHANGES[how]
    change(audited)
    told = audited.verify()
    assert told.exit_code == 1
    assert f"acme: row {first_bad}:" in told.output


async def test_row_76_an_end_that_the_server_wrote_anew_is_found_by_the_anchor(audited: Audited) -> None:
    audited.forget_from(6)
    await audited.remember(5, detail="nothing happened")
    told = audited.verify()
    assert told.exit_code == 1
    # The anchor of row 4 agrees and that of row 8 does not.
    assert "acme: row 5: the end was cut off and written anew, somewhere from here to row 8" in told.output


async def test_row_76_the_wrong_key_is_told_as_such(audited: Audited) -> None:
    told = audited.verify("another key of thirty-two bytes or more!")
    assert told.exit_code == 1
    assert "acme: row 1: the anchors were signed by key" in told.output
    assert SECRET not in told.output


async def test_row_76_the_database_itself_refuses_to_change_a_row(audited: Audited) -> None:
    for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit WHERE seq = 8"):
        with pytest.raises(sqlite3.IntegrityError, match="can only be added to"):
            audited.tamper(statement, disarm=False)
    assert audited.verify().exit_code == 0


async def test_row_76_what_was_erased_is_counted_and_the_chain_stays_sound(audited: Audited) -> None:
    audited.tamper("DELETE FROM audit_payloads WHERE seq IN (2, 3)")
    told = audited.verify()
    assert told.exit_code == 0
    assert f"{ROWS} rows sound, 2 erased" in told.output
