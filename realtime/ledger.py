"""What became of one phone's pings on one connection, and what the phone has not been told yet."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from core.ids import DeviceId
from geo.pings import Verdict, device_number
from realtime.messages import PingAck

_WORDS: Final = tuple(verdict.word for verdict in Verdict)
_LIVE: Final = int(Verdict.LIVE)
_SHED: Final = int(Verdict.SHED)
_NO_SEQ: Final = -1


class DiskDebt:
    """Positions of one device that were handed to the log and are not on the disk yet.

    Shared by all connections of the device: a repeated ping is known there, but no safer than its first copy.
    """

    __slots__ = ("_last", "_tickets", "_waiting", "stored")

    def __init__(self) -> None:
        self.stored = _NO_SEQ
        """Everything up to here is on the disk, or was dropped for want of room."""
        self._tickets: deque[tuple[int, int]] = deque()
        self._last = 0
        self._waiting: dict[Callable[[], None], int] = {}

    @property
    def is_open(self) -> bool:
        """Whether anything is not on the disk."""
        return bool(self._tickets)

    def hand_over(self, seq: int) -> int:
        """Positions up to ``seq`` go to the log; returns the number to call ``on_disk`` with."""
        self._last += 1
        self._tickets.append((self._last, seq))
        return self._last

    def on_disk(self, ticket: int) -> None:
        """The batch of this number was written. One before it that never was has been dropped: it is not awaited."""
        while self._tickets and self._tickets[0][0] <= ticket:
            self.stored = max(self.stored, self._tickets.popleft()[1])
        for call in [call for call, last in self._waiting.items() if last <= ticket]:
            del self._waiting[call]
            call()

    def when_on_disk(self, call: Callable[[], None]) -> None:
        """``call`` once everything that was handed over until now is on the disk."""
        self._waiting[call] = self._last

    def wait_no_longer(self, call: Callable[[], None]) -> None:
        """It need not be called any more. Idempotent."""
        self._waiting.pop(call, None)


class PingLedger:
    """Verdicts not told yet, and how far the phone may forget.

    ``judged`` is the highest number below which nothing is missing, counted from the first ping of the
    connection: a phone sends its oldest ping first, so that it never forgets one that was not judged. Pings that
    were shed or rate-limited are missing; the phone sends them again.

    While positions are kept (a job, an incident), what may be forgotten waits for the disk: see ``DiskDebt``.
    """

    __slots__ = (
        "_corrected",
        "_counts",
        "_told",
        "acked_at",
        "ahead",
        "armed",
        "debt",
        "device",
        "highest",
        "judged",
        "live",
        "shed",
    )

    def __init__(self, device: DeviceId) -> None:
        self.device = device_number(device)
        self.judged = _NO_SEQ
        self.highest = 0
        self.acked_at = 0.0
        self.armed = False
        """Whether an acknowledgement is already due at some time."""
        self.live = 0
        """Pings in order that are live and were not told yet; other verdicts are counted apart."""
        self.shed = 0
        """Pings that were shed and not told yet: apart as well, for it is then that there is no time."""
        self.debt: DiskDebt | None = None
        """What the disk owes the device, None when nothing was kept."""
        self._told = 0
        self._corrected: dict[str, int] | None = None
        self._counts: list[int] | None = None
        self.ahead: set[int] | None = None
        """Numbers judged beyond a missing one."""

    @property
    def is_new(self) -> bool:
        """Whether no ping was judged yet."""
        return self.judged == _NO_SEQ

    @property
    def stored_seq(self) -> int:
        """Everything up to here may be forgotten by the phone."""
        debt = self.debt
        return max(self.judged if debt is None or not debt.is_open else min(self.judged, debt.stored), self._told)

    @property
    def unwritten(self) -> DiskDebt | None:
        """What has to be written before everything judged may be forgotten; None when nothing has."""
        debt = self.debt
        return debt if debt is not None and debt.is_open and debt.stored < self.judged else None

    @property
    def is_dirty(self) -> bool:
        """Whether there is something to tell."""
        return bool(
            self.live or self.shed or self._counts is not None or self._corrected or self.stored_seq > self._told
        )

    def count(self, verdict: int, number: int = 1) -> None:
        """Note verdicts that have no number of a ping."""
        counts = self._counts
        if counts is None:
            counts = self._counts = [0] * len(_WORDS)
        counts[verdict] += number

    def note(self, seq: int, verdict: int, ahead_len_max: int) -> None:
        """Note the verdict on one ping."""
        counts = self._counts
        if counts is None:
            counts = self._counts = [0] * len(_WORDS)
        counts[verdict] += 1
        if seq > self.highest:
            self.highest = seq
        if seq == self.judged + 1 and self.ahead is None:
            self.judged = seq
        else:
            self._judge(seq, ahead_len_max)

    def note_many(self, seqs: Sequence[int], verdicts: Sequence[int], ahead_len_max: int) -> None:
        """Note the verdicts on the pings of one frame; cheap when they are the next ones and all live."""
        first, length = seqs[0], len(seqs)
        if (
            self.ahead is None
            and (first == self.judged + 1 or self.judged == _NO_SEQ)
            and verdicts.count(_LIVE) == length
            and seqs == list(range(first, first + length))
        ):
            self.live += length
            self.judged = first + length - 1
            self.highest = max(self.highest, self.judged)
            return
        for seq, verdict in zip(seqs, verdicts, strict=True):
            self.note(seq, verdict, ahead_len_max)

    def miss(self, seq: int | None) -> None:
        """A ping was not judged and must come again; only matters before the first one that was."""
        if seq is not None and self.judged == _NO_SEQ:
            self.judged = seq - 1

    def correct(self, word: str) -> None:
        """A quarantined ping was confirmed as ``word``."""
        if self._corrected is None:
            self._corrected = {}
        self._corrected[word] = self._corrected.get(word, 0) + 1

    def take(self, now: float) -> PingAck:
        """The acknowledgement of everything since the last one."""
        counts, self._counts = self._counts, None
        corrected, self._corrected = self._corrected, None
        self.acked_at = now
        self._told = self.stored_seq
        verdicts: dict[str, int] = {}
        if counts is not None:
            counts[_LIVE] += self.live
            verdicts = {_WORDS[i]: n for i, n in enumerate(counts) if n}
        elif self.live:
            verdicts = {_WORDS[_LIVE]: self.live}
        if self.shed:
            verdicts[_WORDS[_SHED]] = verdicts.get(_WORDS[_SHED], 0) + self.shed
        self.live = self.shed = 0
        return PingAck(seq=self.highest, verdicts=verdicts, stored_seq=self._told, corrected=corrected or {})

    def _judge(self, seq: int, ahead_len_max: int) -> None:
        if self.judged == _NO_SEQ:
            self.judged = seq
            return
        if seq <= self.judged:
            return
        ahead = self.ahead
        if ahead is None:
            ahead = self.ahead = set()
        ahead.add(seq)
        if len(ahead) > ahead_len_max:
            # The missing one will not come any more; waiting on would keep the phone from ever forgetting.
            self.judged = min(ahead) - 1
        while self.judged + 1 in ahead:
            self.judged += 1
            ahead.discard(self.judged)
        if not ahead:
            self.ahead = None
