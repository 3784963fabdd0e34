"""One call's work on one incident, apart from the engine: nothing in it is true before the engine keeps it.

Also what must hold for every incident that is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from core.ids import UserId
from core.principal import Principal
from safety.access import told_the_end
from safety.audit import AuditEntry
from safety.events import (
    AckRaiser,
    AnswerCancel,
    Effect,
    NotifyTargets,
    RaiseForReal,
    Reason,
    ReviseRights,
    SoundAlarm,
    UpdateTargets,
)
from safety.incident import LEVEL_LAST, Step, advance
from safety.model import (
    BookedPlace,
    Incident,
    IncidentEvent,
    IncidentState,
    SlotState,
    SubjectRecord,
    Target,
    Trigger,
)

ORDERS_MAX: Final = 32
"""Orders of one incident that are held."""
ORDERS_NOT_HELD: Final = "orders_not_held"
"""The alarm of an incident that has to do with more orders than it holds."""


@dataclass(slots=True)
class Case:
    """The incident before and now, and everything that the call adds.

    Attributes:
        before: As the engine knows it, None for a new one.
        now: As it will be.
        last_seq: Number of its last event.
        story: Its last events in words.
        ring: Whom to tell the whole case, by reason.
        update: Why everyone else is to learn of the change, None for not at all.
        answer: The reply to the tap that is being handled.
        alarms: What operators of the platform must hear of.
        facts: What the audit remembers beside the events.
        outcome: The reply to a PIN.
        forced: Who gave a PIN for a drill which says that they are forced.
        subject: What is kept of the person from now on, None for what was kept before.
    """

    before: Incident | None
    now: Incident
    last_seq: int
    story: Sequence[str]
    events: list[IncidentEvent] = field(default_factory=list)
    triggers: list[Trigger] = field(default_factory=list)
    ring: dict[Reason, list[UserId]] = field(default_factory=dict)
    update: Reason | None = None
    answer: AckRaiser | None = None
    alarms: list[str] = field(default_factory=list)
    facts: list[AuditEntry] = field(default_factory=list)
    outcome: AnswerCancel | None = None
    forced: Principal | None = None
    subject: SubjectRecord | None = None

    def change(self, **changes: object) -> None:
        """Replace fields of the incident."""
        self.now = self.now.with_changes(**changes)

    def keep_orders(self, booked: BookedPlace | None) -> None:
        """Remember the orders that it has to do with; beyond ``ORDERS_MAX`` only that of the last tap is held."""
        orders = tuple(dict.fromkeys((*self.now.orders, *(booked.orders if booked is not None else ()))))
        if len(orders) > ORDERS_MAX:
            self.alarms.append(ORDERS_NOT_HELD)
        if orders[:ORDERS_MAX] != self.now.orders:
            self.change(orders=orders[:ORDERS_MAX])

    def step(self, step: Step, who: str, at: float, detail: str = "", **changes: object) -> None:
        """Follow an arrow, replace fields and write it down. Raises ``ImpossibleStep``."""
        if step is not Step.RAISED:
            changes["state"] = advance(self.now.state, step, self.story)
        self.change(changed_at=at, **changes)
        self.last_seq += 1
        self.events.append(
            IncidentEvent(
                tenant=self.now.tenant,
                incident_id=self.now.incident_id,
                seq=self.last_seq,
                at=at,
                what=step,
                who=who,
                state=self.now.state,
                level=self.now.level,
                detail=detail,
            )
        )

    @property
    def is_news(self) -> bool:
        """Whether the raiser must hear that more people know, or that somebody has it in hand."""
        before = self.before
        if before is None or self.answer is not None:
            return False
        told, tells = before.seen_by_subject, self.now.seen_by_subject
        return (told.delivered, told.seen) != (tells.delivered, tells.seen)

    def effects(self) -> list[Effect]:
        """What the work means for others. Rights come first: one is taken away before the news goes out."""
        incident = self.now
        aside = _aside(incident)
        effects: list[Effect] = []
        if self._audience(self.before) != self._audience(incident):
            effects.append(ReviseRights(incident))
        told: set[UserId] = set()
        for reason, users in self.ring.items():
            targets = self._targets([user for user in users if user not in told and user not in aside])
            told.update(users)
            if targets:  # whom two reasons ring at once rings once
                effects.append(NotifyTargets(incident, targets, reason))
        withdrawn = self._targets(list(aside - _aside(self.before)))
        if withdrawn:
            effects.append(UpdateTargets(incident, withdrawn, Reason.WITHDRAWN))
        if self.update is not None:
            rest = self._targets([t.user for t in incident.targets if t.user not in told and t.user not in aside])
            if rest:
                effects.append(UpdateTargets(incident, rest, self.update))
        if self.answer is not None:
            effects.append(replace(self.answer, incident=incident))
        if self.outcome is not None:
            effects.append(replace(self.outcome, incident=incident))
        if self.forced is not None:
            effects.append(RaiseForReal(incident, self.forced))
        effects.extend(SoundAlarm(incident, what) for what in dict.fromkeys(self.alarms))
        return effects

    def _targets(self, users: Sequence[UserId]) -> tuple[Target, ...]:
        wanted = set(users)
        return tuple(target for target in self.now.targets if target.user in wanted)

    @staticmethod
    def _audience(incident: Incident | None) -> object:
        if incident is None:
            return None
        users = frozenset(target.user for target in incident.targets)
        taken_back_at = incident.shown.ended_at if incident.shown is not None else None
        return incident.state, incident.owner, incident.avoid, users, _aside(incident), taken_back_at


def _aside(incident: Incident | None) -> frozenset[UserId]:
    """Targets who are told nothing as long as others go."""
    return told_the_end(incident) if incident is not None and incident.is_active else frozenset()


def broken_rule(incident: Incident) -> str | None:
    """Which rule an incident breaks, None for a sound one."""
    users = [target.user for target in incident.targets]
    state, is_last = incident.state, incident.level == LEVEL_LAST
    is_owned = state in (IncidentState.ACKNOWLEDGED, IncidentState.RESPONDING, IncidentState.ON_SCENE)
    nobody = incident.is_active and incident.owner is None
    waits = state is IncidentState.CANCEL_PENDING
    there = any(slot.state is SlotState.ON_SCENE for slot in incident.slots)
    going = {slot.user for slot in incident.slots}
    fences = [slot.fence for slot in incident.slots]
    rules = {
        "an active incident has a deadline, an ended one none": incident.is_active == (incident.deadline is not None),
        "an open incident has no owner": state is not IncidentState.OPEN or incident.owner is None,
        "what somebody does for it, somebody owns": not is_owned or incident.owner is not None,
        "an incident that nobody owns repeats": not nobody or incident.repeat_at is not None,
        "it widens up to the last level": not nobody or (incident.widen_at is None) == is_last,
        "exactly what is acknowledged can go stale": is_owned == (incident.stale_at is not None),
        "only of those on the scene somebody asks how it goes": state is IncidentState.ON_SCENE
        or incident.quiet_since is None,
        "exactly what nobody goes to must find somebody": (state is IncidentState.ACKNOWLEDGED)
        == (incident.assign_by is not None),
        "who has it in hand or is on the way is looked after": not incident.is_active
        or (incident.owner is not None or bool(incident.slots)) == (incident.look_at is not None),
        "exactly what was taken back opens again": waits == (incident.reopen_at is not None),
        "somebody is on the way": state is not IncidentState.RESPONDING or (bool(incident.coming) and not there),
        "somebody is there": state is not IncidentState.ON_SCENE or there,
        "nobody is on the way unnoticed": state is not IncidentState.ACKNOWLEDGED or not incident.coming,
        "one slot a person, one person a slot": len(going) == len(fences) == len(set(fences)),
        "a grant is not newer than the latest": all(fence <= incident.fence for fence in fences),
        "who goes there is told": going <= set(users),
        "its level is on the ladder": 0 <= incident.level <= LEVEL_LAST,
        "nobody is a target twice": len(users) == len(set(users)),
        "neither the subject nor the other party is a target": not {incident.subject, *incident.avoid} & set(users),
    }
    return next((rule for rule, holds in rules.items() if not holds), None)
