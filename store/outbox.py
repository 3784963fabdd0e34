"""Numbers messages inside the transaction of the change they tell of, and reads them back.

One file holds one stream, so a number belongs to (tenant, recipient). The last number of each recipient is cached in
the writer's thread; the cache has three layers, so that it shares the fate of savepoint and transaction: a number
taken by a job that failed is taken again by the next one, and no number is ever given twice.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, Table, bindparam, select, update

from core.ids import TenantId, UserId
from core.outbox import OutboxDraft, OutboxRow, Stream
from store.statements import Statement, insert_row

_CACHED_HEADS_MAX: Final = 200_000
"""About 40 MB; a cleared cache costs one look-up for each recipient."""

_Key = tuple[TenantId, UserId]


class Outbox:
    """The outbox of one file. ``append`` and the ``Follower`` calls belong to the writer's thread.

    Args:
        stream: The stream that this file holds.
        outbox: Its table of messages.
        streams: Its table of heads.
    """

    def __init__(self, stream: Stream, outbox: Table, streams: Table) -> None:
        self.stream = stream
        self.epoch = ""
        self._insert = insert_row(outbox)
        self._new_head = insert_row(streams)
        key = (streams.c.tenant == bindparam("t"), streams.c.recipient == bindparam("r"))
        # SET comes first in the text, so ``seq`` is the first value.
        self._move_head = Statement(update(streams).values(seq=bindparam("s")).where(*key))
        self._head = Statement(select(streams.c.seq, streams.c.first_seq).where(*key))
        self._read = Statement(
            select(outbox.c.seq, outbox.c.created_at, outbox.c.receipt, outbox.c.body)
            .where(
                outbox.c.tenant == bindparam("t"),
                outbox.c.recipient == bindparam("r"),
                outbox.c.seq > bindparam("s"),
            )
            .order_by(outbox.c.seq)
            .limit(bindparam("n"))
        )
        self._committed: dict[_Key, int] = {}
        self._in_batch: dict[_Key, int] = {}
        self._in_job: dict[_Key, int] = {}

    def append(self, connection: Connection, drafts: Sequence[OutboxDraft], now: float) -> Sequence[OutboxRow]:
        """Number and store ``drafts`` in the current job.

        Raises:
            ValueError: A draft belongs to the other stream, which lives in another file.
        """
        written = []
        moved: dict[_Key, int] = {}
        fresh: dict[_Key, None] = {}
        for draft in drafts:
            if draft.stream is not self.stream:
                raise ValueError(f"a message of stream {draft.stream} cannot be stored with stream {self.stream}")
            key = (draft.tenant, draft.recipient)
            seq = moved.get(key)
            if seq is None:
                seq = self._last(connection, key)
                if seq == 0:
                    fresh[key] = None
            moved[key] = seq = seq + 1
            written.append(
                OutboxRow(draft.tenant, draft.recipient, draft.stream, seq, self.epoch, draft.body, draft.receipt, now)
            )
        self._insert.change_many(
            connection, [(r.tenant, r.recipient, r.seq, r.created_at, r.receipt, r.body) for r in written]
        )
        self._new_head.change_many(connection, [(*key, moved[key], 1) for key in fresh])
        self._move_head.change_many(connection, [(seq, *key) for key, seq in moved.items() if key not in fresh])
        self._in_job.update(moved)
        return written

    def _last(self, connection: Connection, key: _Key) -> int:
        for layer in (self._in_job, self._in_batch, self._committed):
            seq = layer.get(key)
            if seq is not None:
                return seq
        row = self._head.one(connection, *key)
        return 0 if row is None else int(row[0])

    # -- Follower -------------------------------------------------------------------------------------

    def keep_job(self) -> None:
        """The job's numbers hold within the transaction."""
        self._in_batch.update(self._in_job)
        self._in_job.clear()

    def drop_job(self) -> None:
        """The job's numbers are free again."""
        self._in_job.clear()

    def keep_batch(self) -> None:
        """The transaction's numbers are given."""
        if len(self._committed) + len(self._in_batch) > _CACHED_HEADS_MAX:
            self._committed.clear()
        self._committed.update(self._in_batch)
        self._in_batch.clear()

    def drop_batch(self) -> None:
        """Whether the numbers are given, only the file knows."""
        self._in_job.clear()
        self._in_batch.clear()
        self._committed.clear()

    # -- reading, in any thread -----------------------------------------------------------------------

    def head(self, connection: Connection, tenant: TenantId, user: UserId) -> tuple[int, int]:
        """(last number given, smallest number held); (0, 1) for a user without messages."""
        row = self._head.one(connection, tenant, user)
        return (0, 1) if row is None else (int(row[0]), int(row[1]))

    def read(
        self, connection: Connection, tenant: TenantId, user: UserId, *, after_seq: int, limit: int
    ) -> Sequence[OutboxRow]:
        """Rows with a larger number, in order."""
        return [
            OutboxRow(tenant, user, self.stream, seq, self.epoch, body, receipt, created_at)
            for seq, created_at, receipt, body in self._read.all(connection, tenant, user, after_seq, limit)
        ]
