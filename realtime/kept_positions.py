"""Positions that are kept: while a job or an incident lasts they go to the position log, under the name of the cause.

A phone may forget a kept position only when it is on the disk. What the disk owes each device (``DiskDebt``) outlives
the connection, so that it is known here and not in a session's ledger.
"""

from collections.abc import Callable, Sequence

from core.ids import TenantId, UserId
from geo.pings import JudgedBatch
from realtime.ledger import DiskDebt, PingLedger
from realtime.people import People
from realtime.pings import Lane, kept_rows
from realtime.ports import RealtimePorts
from realtime.session import Person, Session


class KeptPositions:
    """Hands positions to the log and remembers what is not on the disk yet.

    Args:
        ports: The hub's ports; ``log`` may be None.
        people: Whose phones are told when the disk has written.
        arm: Makes sure that a session's ledger is acknowledged.
    """

    def __init__(self, ports: RealtimePorts, people: People, arm: Callable[[Session], None]) -> None:
        self._ports = ports
        self._people = people
        self._arm = arm
        self._keepers: set[tuple[TenantId, UserId]] = set()
        self._debts: dict[tuple[TenantId, UserId, int], DiskDebt] = {}

    def causes_changed(self, person: Person) -> None:
        """The causes for attention to somebody are others than before."""
        (self._keepers.add if person.keeps else self._keepers.discard)((person.tenant, person.user))

    def keep(self, lane: Lane, judged: JudgedBatch) -> None:
        """Hand over those rows of a judged batch that are kept."""
        log = self._ports.log
        if log is None or not (self._keepers or self._debts):
            return
        kept: dict[int, tuple[Person, dict[PingLedger, None]]] = {}
        for sender in lane.reporters():
            person, ledger = sender.person, sender.ledger
            if person is None or ledger is None or lane.number not in (person.lane, person.quiet):
                continue
            ledger.debt = self._debts.get((person.tenant, person.user, ledger.device), ledger.debt)
            if person.keeps:
                kept.setdefault(person.slot, (person, {}))[1][ledger] = None
        if not kept:
            return
        for slot, columns in kept_rows(judged, kept.keys()).items():
            person, ledgers = kept[slot]
            owed = () if person.causes is None else person.causes.owed
            for cause in person.keeps:
                stored = self._hand_over(person, tuple(ledgers)) if cause in owed else None
                log.append(lane.shard, person.user, cause, columns, stored)

    def _hand_over(self, person: Person, ledgers: Sequence[PingLedger]) -> Callable[[], None]:
        """What these devices sent goes to the log; returns what to call once it is on the disk."""
        tickets: dict[int, int] = {}
        for ledger in ledgers:
            key = (person.tenant, person.user, ledger.device)
            ledger.debt = self._debts.setdefault(key, DiskDebt())
            tickets[ledger.device] = ledger.debt.hand_over(ledger.judged)

        def stored() -> None:
            for device, ticket in tickets.items():
                key = (person.tenant, person.user, device)
                debt = self._debts.get(key)
                if debt is None:
                    continue
                debt.on_disk(ticket)
                if not debt.is_open:
                    del self._debts[key]
            current = self._people.get(person.tenant, person.user)
            for session in () if current is None else current.sessions:
                if session.ledger is not None and session.ledger.device in tickets:
                    self._arm(session)

        return stored
