"""Statements that are built and compiled once.

Building a Core statement at each call costs more than running it on SQLite (docs/adr/0004). Here it is built from
the tables once, at import, and run on the driver's cursor with positional values, so that the tables stay the only
place where columns are named. Values pass as they are: these tables use text, numbers and bytes only. The transaction
around is SQLAlchemy's, and must have begun.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, select, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.selectable import FromClause

from store.rules import version_conflict


class _Compiler(SQLiteCompiler):
    """SQLAlchemy leaves SQLite's hints out."""

    def get_from_hint_text(self, table: FromClause, text: str | None) -> str | None:
        """``INDEXED BY`` as it was given, behind the table's name."""
        return text


_DIALECT = sqlite.dialect(paramstyle="qmark")
_DIALECT.statement_compiler = _Compiler

Row = tuple[Any, ...]
"""Values of one row: what a driver takes and gives. Their types are the table's."""


class Statement:
    """One statement. Its parameters (``bindparam``) are given by position, in the order in which they stand in it.

    Constants become parameters of the text too (SQLAlchemy adds some by itself); they are filled in here.
    """

    def __init__(self, element: ClauseElement) -> None:
        compiled = element.compile(dialect=_DIALECT)
        self.text = str(compiled)
        names = compiled.positiontup or []  # type: ignore[attr-defined]  # of SQLCompiler
        required = {name: bind.required for name, bind in compiled.binds.items()}  # type: ignore[attr-defined]
        self._constants = [(at, compiled.params[name]) for at, name in enumerate(names) if not required[name]]

    def _filled(self, values: Sequence[Any]) -> Row:
        if not self._constants:
            return tuple(values)
        filled = list(values)
        for at, constant in self._constants:
            filled.insert(at, constant)
        return tuple(filled)

    def change(self, connection: Connection, *values: Any) -> int:
        """Run an INSERT, UPDATE or DELETE; returns the number of rows changed."""
        cursor = connection.connection.cursor()
        cursor.execute(self.text, self._filled(values))
        return cursor.rowcount

    def change_many(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Run it for each row; returns the sum of rows changed."""
        if not rows:
            return 0
        cursor = connection.connection.cursor()
        cursor.executemany(self.text, [self._filled(row) for row in rows] if self._constants else rows)
        return cursor.rowcount

    def one(self, connection: Connection, *values: Any) -> Row | None:
        """Run a SELECT; the first row."""
        rows = self.all(connection, *values)
        return rows[0] if rows else None

    def all(self, connection: Connection, *values: Any) -> list[Row]:
        """Run a SELECT; all rows."""
        cursor = connection.connection.cursor()
        cursor.execute(self.text, self._filled(values))
        return list(cursor.fetchall())


def run_text(connection: Connection, text: str) -> None:
    """Run a statement without values, as SAVEPOINT, on the driver's cursor."""
    connection.connection.cursor().execute(text)


def insert_row(table: Table) -> Statement:
    """INSERT of one row; values in the order of the table's columns."""
    return Statement(insert(table).values({column.name: bindparam(column.name) for column in table.columns}))


def upsert(table: Table) -> Statement:
    """INSERT or, where the key exists, UPDATE of all other columns; values in the order of the table's columns."""
    statement = insert(table).values({column.name: bindparam(column.name) for column in table.columns})
    keys = [column.name for column in table.primary_key]
    others = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    return Statement(statement.on_conflict_do_update(index_elements=keys, set_=others))


def newer_row(table: Table) -> Statement:
    """``upsert`` that leaves a row alone whose ``version`` is not lower; values in the order of the table's columns."""
    statement = insert(table).values({column.name: bindparam(column.name) for column in table.columns})
    keys = [column.name for column in table.primary_key]
    others = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    is_newer = table.c.version < statement.excluded.version
    return Statement(statement.on_conflict_do_update(index_elements=keys, set_=others, where=is_newer))


class VersionedRows:
    """Rows that are written only over the version before: the guard against two owners of one thing.

    Args:
        table: Its key is (tenant, id); it has a column ``version``.
        changing: Columns that an update writes, ``version`` among them.
        kind: What a row is called in errors.
    """

    def __init__(self, table: Table, changing: Sequence[str], kind: str) -> None:
        self._kind = kind
        names = [column.name for column in table.columns]
        self._version_at = names.index("version")
        self._changing_at = [names.index(name) for name in changing]
        tenant, key = table.primary_key
        where = (tenant == bindparam("key_1"), key == bindparam("key_2"))
        self._insert = Statement(
            insert(table).values({name: bindparam(name) for name in names}).on_conflict_do_nothing()
        )
        # Values are given by position, and SET writes columns in the order of the table.
        self._changing_at.sort()
        self._update = Statement(
            update(table)
            .values({names[at]: bindparam(names[at]) for at in self._changing_at})
            .where(*where, table.c.version == bindparam("version_before"))
        )
        self._stored = Statement(select(table.c.version).where(*where))

    def put(self, connection: Connection, *values: Any) -> None:
        """Write one row; values in the order of the table's columns.

        Raises:
            Unavailable: The stored row is not at the version before (``store_conflict``).
        """
        key, version = values[:2], values[self._version_at]
        if version == 1:
            changed = self._insert.change(connection, *values)
        else:
            changed = self._update.change(connection, *(values[at] for at in self._changing_at), *key, version - 1)
        if changed != 1:
            row = self._stored.one(connection, *key)
            raise version_conflict(self._kind, key[1], found=0 if row is None else row[0], writing=version)
