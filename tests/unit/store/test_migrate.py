import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import MetaData, create_engine

from store import schema
from store.lock import FolderInUse, FolderLock
from store.migrate import FILES, MAIN_FILE, DatabaseFile, DatabaseTooNew, NoDatabase, migrate, renew_epochs
from tests.contract.store_values import CountedIds

TABLES = {"main": schema.MAIN, "safety": schema.SAFETY, "tracks": schema.TRACKS}


def shape(path: Path) -> dict[str, str]:
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    finally:
        connection.close()
    return {name: " ".join(str(sql).split()) for name, sql in rows if name != "alembic_version"}


def epochs(folder: Path) -> list[str]:
    found = []
    for file in FILES:
        connection = sqlite3.connect(folder / file.name)
        found.append(connection.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()[0])
        connection.close()
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_migrations_make_exactly_the_tables_of_the_code(tmp_path: Path, file: DatabaseFile) -> None:
    migrate(tmp_path / "migrated", CountedIds())
    metadata: MetaData = TABLES[file.branch]
    engine = create_engine(f"sqlite:///{tmp_path / 'made.db'}")
    metadata.create_all(engine)
    engine.dispose()
    assert shape(tmp_path / "migrated" / file.name) == shape(tmp_path / "made.db")


def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    first = migrate(tmp_path, CountedIds())
    before = epochs(tmp_path)
    assert migrate(tmp_path, CountedIds()) == first
    assert epochs(tmp_path) == before
    assert len(set(before)) == 3


def test_new_epochs_are_given_after_a_restore(tmp_path: Path) -> None:
    migrate(tmp_path, CountedIds())
    before = epochs(tmp_path)
    renew_epochs(tmp_path, CountedIds())
    assert not set(before) & set(epochs(tmp_path))


def test_a_database_of_newer_code_is_refused_and_left_alone(tmp_path: Path) -> None:
    migrate(tmp_path, CountedIds())
    path = tmp_path / MAIN_FILE.name
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    before = shape(path)
    with pytest.raises(DatabaseTooNew, match=r"doorstep\.db has revision 9999.*newer version"):
        migrate(tmp_path, CountedIds())
    assert shape(path) == before


def test_a_folder_has_one_owner_also_within_a_process(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(FolderInUse, match="in use by process"):
        migrate(tmp_path, CountedIds())
    lock.release()
    lock.release()
    migrate(tmp_path, CountedIds())


@pytest.mark.slow
def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\nfrom store.lock import FolderLock\n"
        "FolderLock(pathlib.Path(sys.argv[1]))\nprint('held', flush=True)\nsys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(FolderInUse, match=str(process.pid)):
        FolderLock(tmp_path)
    process.kill()
    process.communicate()
    FolderLock(tmp_path).release()


def test_a_folder_with_signs_that_mean_something_elsewhere_works(tmp_path: Path) -> None:
    migrate(tmp_path / "100% ?#données", CountedIds())
    assert (tmp_path / "100% ?#données" / MAIN_FILE.name).exists()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "doorstep.db").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(NoDatabase, match=r"doorstep\.db cannot be read as a SQLite database"):
        migrate(tmp_path, CountedIds())
    assert (tmp_path / "doorstep.db").read_bytes().startswith(b"this is")
