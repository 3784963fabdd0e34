"""The alarm tried by whoever begins to work: asked for, passed with its time, or skipped. Synchronous.

Skipping is recorded and keeps nobody from work (unless the config says so): a person who is late must not learn to tap
without meaning it.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NewType

from core.ids import CityId, IdSource, TenantId, UserId
from safety.care_settings import DrillSettings
from safety.deadlines import Deadlines

DrillId = NewType("DrillId", str)
DRILL_PREFIX: Final = "drl_"
DRILL_CAUSE: Final = "drill"
"""Cause of the exercise that a drill is: it ends before anybody is called, over the hub too."""


class DrillState(StrEnum):
    """What has become of a drill."""

    ASKED = "asked"
    PASSED = "passed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill of one person. Frozen: each change makes a new value with ``version`` one higher.

    Attributes:
        until: When it counts as skipped.
        round_trip_ms: From the tap's arrival to the incident on the disk.
    """

    tenant: TenantId
    drill_id: DrillId
    user: UserId
    city: CityId
    state: DrillState
    asked_at: float
    until: float
    version: int = 1
    ended_at: float | None = None
    round_trip_ms: float | None = None


@dataclass(frozen=True, slots=True)
class DutyBegan:
    """Somebody has gone on duty. Never refused; who was asked a while ago is not asked again."""

    tenant: TenantId
    user: UserId
    city: CityId


@dataclass(frozen=True, slots=True)
class DrillPassed:
    """Somebody tapped and the alarm came through; also without having been asked. Never refused."""

    tenant: TenantId
    user: UserId
    city: CityId
    round_trip_ms: float


@dataclass(frozen=True, slots=True)
class DrillForgotten:
    """A person is to be forgotten: nothing is known of their drill."""

    tenant: TenantId
    user: UserId


DrillEvent = DutyBegan | DrillPassed | DrillForgotten


@dataclass(frozen=True, slots=True)
class ShowDrill:
    """Show a drill to its person as it stands now."""

    drill: Drill


class Drills:
    """The last drill of each person, as long as it stands for further starts of duty."""

    def __init__(self, settings: DrillSettings, ids: IdSource) -> None:
        self._settings = settings
        self._ids = ids
        self._changes: dict[DrillId, Drill] = {}
        self._clear()

    def _clear(self) -> None:
        self._last: dict[tuple[TenantId, UserId], Drill] = {}
        self._person: dict[DrillId, tuple[TenantId, UserId]] = {}
        self._deadlines: Deadlines[DrillId] = Deadlines()

    def load(self, drills: list[Drill]) -> None:
        """Replace everything by what is stored; changes not taken yet are dropped."""
        self._clear()
        self._changes = {}
        for drill in sorted(drills, key=lambda d: (d.asked_at, d.drill_id)):
            self._put(drill)

    def adopt(self, drills: dict[DrillId, Drill]) -> None:
        """Put changes on top of what was loaded: decided before, not stored yet."""
        for drill in drills.values():
            self._put(drill)

    def take_changes(self) -> dict[DrillId, Drill]:
        """What changed since the last call."""
        changes, self._changes = self._changes, {}
        return changes

    def last(self, tenant: TenantId, user: UserId) -> Drill | None:
        """Somebody's last drill, while it stands."""
        return self._last.get((tenant, user))

    def of(self, tenant: TenantId, cities: frozenset[CityId]) -> list[Drill]:
        """The last drills of these cities, the newest first."""
        found = [d for (owner, _), d in self._last.items() if owner == tenant and d.city in cities]
        return sorted(found, key=lambda d: (d.asked_at, d.drill_id), reverse=True)

    def handle(self, event: DrillEvent, now: float) -> list[ShowDrill]:
        """Decide about one event."""
        known = self._last.get((event.tenant, event.user))
        if isinstance(event, DrillForgotten):
            if known is not None:
                del self._last[event.tenant, event.user]
                self._drop(known)
            return []
        if isinstance(event, DutyBegan):
            if not self._settings.ask or (known is not None and known.state is not DrillState.SKIPPED):
                return []
            drill = self._new(event, DrillState.ASKED, now, until=now + self._settings.answer_s)
        elif known is not None and known.state is DrillState.ASKED:
            drill = replace(known, state=DrillState.PASSED, ended_at=now, round_trip_ms=event.round_trip_ms)
        else:
            drill = self._new(event, DrillState.PASSED, now, until=now)
            drill = replace(drill, ended_at=now, round_trip_ms=event.round_trip_ms)
        return [ShowDrill(self._keep(drill))]

    def next_deadline(self) -> float | None:
        """When a drill is skipped, or does not stand any more."""
        return self._deadlines.next_at()

    def on_deadline(self, now: float) -> list[ShowDrill]:
        """Count as skipped what nobody answered, and forget what stands no more."""
        effects = []
        for drill_id in self._deadlines.due(now):
            person = self._person[drill_id]
            drill = self._last[person]
            if drill.state is DrillState.ASKED:
                effects.append(ShowDrill(self._keep(replace(drill, state=DrillState.SKIPPED, ended_at=now))))
            else:
                del self._last[person]
                self._drop(drill)
        return effects

    def _new(self, event: DutyBegan | DrillPassed, state: DrillState, now: float, until: float) -> Drill:
        drill_id = DrillId(self._ids.new(DRILL_PREFIX))
        return Drill(event.tenant, drill_id, event.user, event.city, state, now, until, version=0)

    def _keep(self, drill: Drill) -> Drill:
        if drill.drill_id not in self._changes:
            drill = replace(drill, version=drill.version + 1)
        self._changes[drill.drill_id] = drill
        self._put(drill)
        return drill

    def _put(self, drill: Drill) -> None:
        person = (drill.tenant, drill.user)
        former = self._last.get(person)
        if former is not None:
            self._drop(former)
        self._last[person] = drill
        self._person[drill.drill_id] = person
        at = drill.until if drill.state is DrillState.ASKED else drill.asked_at + self._settings.valid_s
        self._deadlines.set(drill.drill_id, at)

    def _drop(self, drill: Drill) -> None:
        self._deadlines.set(drill.drill_id, None)
        self._person.pop(drill.drill_id, None)
