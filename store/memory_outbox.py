"""What the in-memory stores share: faults on demand, and the numbering of messages."""

import asyncio
from collections.abc import Iterable, Sequence

from core.errors import Unavailable
from core.ids import DeviceId, TenantId, UserId
from core.outbox import OutboxDraft, OutboxRow, Stream
from core.service import pause
from realtime.ports import StreamHead


class Faults:
    """What one in-memory database does wrong. Affects commits and reads that begin afterwards.

    Attributes:
        delay_s: Every commit takes this long, in the loop's time.
        commits: Commits that were stored, for assertions.
    """

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.commits = 0
        self._failing_commits = 0
        self._stored_anyway = False
        self._failing_reads = 0
        self._gate: asyncio.Event | None = None

    def fail_commits(self, count: int = 1, *, stored_anyway: bool = False) -> None:
        """Let the next ``count`` commits raise ``Unavailable``.

        Args:
            count: How many; a large number means a database that is down.
            stored_anyway: The outcome is unknown to the caller and the change is in fact there.
        """
        self._failing_commits = count
        self._stored_anyway = stored_anyway

    def fail_reads(self, count: int = 1) -> None:
        """Let the next ``count`` loads and reads raise ``Unavailable``."""
        self._failing_reads = count

    def hold(self) -> None:
        """Let commits wait until ``release``."""
        self._gate = asyncio.Event()

    def release(self) -> None:
        """Let held commits go on. Idempotent."""
        if self._gate is not None:
            self._gate.set()
            self._gate = None

    async def before_commit(self) -> bool:
        """Wait as told; returns whether the change is to be stored although the commit fails.

        Raises:
            Unavailable: The commit fails and nothing is stored.
        """
        if self._gate is not None:
            await self._gate.wait()
        await pause(self.delay_s)  # even without a delay a commit is never done within the same turn of the loop
        if self._failing_commits == 0:
            return False
        self._failing_commits -= 1
        if not self._stored_anyway:
            raise Unavailable("the database was told to fail", code="store_unavailable")
        return True

    def before_read(self) -> None:
        """Raise ``Unavailable`` if told so."""
        if self._failing_reads:
            self._failing_reads -= 1
            raise Unavailable("the database was told to fail", code="store_unavailable")


class MemoryOutbox:
    """The outbox of one stream: numbers drafts without gaps and keeps the rows."""

    def __init__(self, stream: Stream, epoch: str) -> None:
        self.stream = stream
        self.epoch = epoch
        self.rows: dict[tuple[TenantId, UserId], list[OutboxRow]] = {}
        self.heads: dict[tuple[TenantId, UserId], int] = {}
        self.acks: dict[tuple[TenantId, UserId, DeviceId], int] = {}

    def append(self, drafts: Sequence[OutboxDraft], now: float) -> Sequence[OutboxRow]:
        """Number and keep ``drafts``; all must belong to this stream (see ``check``)."""
        written = []
        for draft in drafts:
            key = (draft.tenant, draft.recipient)
            seq = self.heads.get(key, 0) + 1
            row = OutboxRow(
                draft.tenant, draft.recipient, draft.stream, seq, self.epoch, draft.body, draft.receipt, now
            )
            self.heads[key] = seq
            self.rows.setdefault(key, []).append(row)
            written.append(row)
        return written

    def check(self, drafts: Iterable[OutboxDraft]) -> None:
        """Raise ``ValueError`` for a draft of the other stream, before anything is stored."""
        for draft in drafts:
            if draft.stream is not self.stream:
                raise ValueError(f"a message of stream {draft.stream} cannot be stored with stream {self.stream}")

    def head(self, tenant: TenantId, user: UserId) -> StreamHead:
        """Where the stream of a user stands."""
        rows, seq = self.rows.get((tenant, user)), self.heads.get((tenant, user), 0)
        return StreamHead(self.epoch, seq, rows[0].seq if rows else seq + 1)
