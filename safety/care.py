"""Decides about the care for people at work: whom to ask whether all is well, and when silence becomes an incident.

Synchronous and deterministic. ``checks.py`` has the life of a question, ``way.py`` what positions show. An alarm is
kept with its key until it is known to be stored as an incident, and raised again until then: a crash between the two
loses none, and the key makes one of both.
"""

from dataclasses import replace
from hashlib import blake2b
from math import ceil
from typing import Final

from core.errors import NotFound
from core.ids import IdSource, OrderId, TenantId, UserId
from safety import checks, way
from safety.care_events import (
    AlarmStored,
    AskPerson,
    CareEffect,
    CareEvent,
    CheckAnswered,
    JobChanged,
    JobsFound,
    Line,
    RaiseAlarm,
    TellConsole,
)
from safety.care_model import (
    CHECK_PREFIX,
    CHECKS_KEPT_MAX,
    WATCH_PREFIX,
    Alarm,
    Answer,
    Cause,
    Check,
    CheckKind,
    CheckState,
    Gravity,
    Job,
    JobState,
    Watch,
    WatchId,
    Way,
)
from safety.care_ports import CareChanges, CareState, Phones
from safety.care_settings import CareSettings
from safety.checks import CheckStep
from safety.deadlines import Deadlines

ALARM_RETRY_S: Final = 5.0
"""Until an alarm that is not known to be stored is raised again."""
_LOOK_GRID_S: Final = 1.0
"""Looks fall on this grid, so that those of many jobs share a turn."""
_PLANS: Final = {
    JobState.EN_ROUTE: (CheckKind.ARRIVAL,),
    JobState.ARRIVED: (),
    JobState.IN_SERVICE: (CheckKind.CHECK_IN, CheckKind.OVERDUE),
    JobState.FINISHED: (CheckKind.LEAVING,),
}
"""The questions of each state of a job; another state ends them."""
_ON_THE_WAY: Final = (CheckKind.STOP, CheckKind.DETOUR)


ANSWER_ALARMS: Final = {
    Answer.NO: (Cause.CHECKIN_NO, Gravity.DURESS),
    Answer.HELP: (Cause.CHECKIN_HELP, Gravity.PANIC),
}
"""What an answer other than ``ok`` is raised as."""


def answer_key(check_id: str, who: UserId, answer: Answer) -> str:
    """The key of the alarm of an answer: the same for each repeat, another one for the other side of the job."""
    return f"{check_id}_{answer}_{blake2b(who.encode(), digest_size=6).hexdigest()}"


class CareEngine:
    """All jobs under way, of all cities."""

    def __init__(self, settings: CareSettings, ids: IdSource, phones: Phones) -> None:
        self._settings = settings
        self._ids = ids
        self._phones = phones
        self._changes = CareChanges()
        self._began_at = 0.0
        self._heard_at: dict[WatchId, float] = {}
        self._clear()

    def _clear(self) -> None:
        self._watches: dict[WatchId, Watch] = {}
        self._open: dict[OrderId, WatchId] = {}
        self._watch_of: dict[str, WatchId] = {}
        self._jobs_of: dict[tuple[TenantId, UserId], set[WatchId]] = {}
        self._ways: dict[WatchId, Way] = {}
        self._look_at: dict[WatchId, float] = {}
        self._deadlines: Deadlines[WatchId] = Deadlines()

    # -- state in and out -----------------------------------------------------------------------------

    def load(self, state: CareState, now: float, *, is_start: bool = True) -> None:
        """Replace everything by what is stored; changes not taken yet are dropped.

        Args:
            is_start: The process begins: nobody could answer while there was none, so whoever had been asked gets
                ``restart_answer_s`` to do so, once for each question.
        """
        self._changes = CareChanges()
        self._clear()
        if is_start:
            self._began_at = now
        for watch in sorted(state.watches, key=lambda w: (w.began_at, w.watch_id)):
            self._put(watch, now)
            if watch.way is not None:
                self._ways[watch.watch_id] = watch.way
            if is_start and watch.ended_at is None:
                self._spare(watch, now)

    def adopt(self, changes: CareChanges, now: float) -> None:
        """Put changes on top of what was loaded: decided before, not stored yet."""
        for watch in changes.watches.values():
            self._put(watch, now)

    def take_changes(self) -> CareChanges:
        """What changed since the last call."""
        changes, self._changes = self._changes, CareChanges()
        return changes

    def watch(self, order_id: OrderId) -> Watch | None:
        """The watch of an order's job while it lasts."""
        watch_id = self._open.get(order_id)
        return self._watches[watch_id] if watch_id is not None else None

    def watches(self) -> list[Watch]:
        """All jobs that are watched, the oldest first. Cost: O(n log n)."""
        found = [self._watches[watch_id] for watch_id in self._open.values()]
        return sorted(found, key=lambda w: (w.began_at, w.watch_id))

    def asked_of(self, tenant: TenantId, user: UserId) -> list[tuple[Watch, Check]]:
        """What somebody is asked now or soon, by when it is due."""
        found = [
            (self._watches[watch_id], check)
            for watch_id in sorted(self._jobs_of.get((tenant, user), ()))
            for check in self._watches[watch_id].checks
            if check.is_open and user in check.asked and check.state is not CheckState.PLANNED
            if check.kind is not CheckKind.SILENCE and user not in dict(check.said)
        ]
        return sorted(found, key=lambda pair: (pair[1].ask_at or 0.0, pair[1].check_id))

    def asked(self, tenant: TenantId, user: UserId, check_id: str) -> tuple[Watch, Check] | None:
        """A check of a running job, open or not, that was put to this user."""
        watch_id = self._watch_of.get(check_id)
        watch = self._watches[watch_id] if watch_id is not None else None
        if watch is None or watch.job.tenant != tenant:
            return None
        check = next(check for check in watch.checks if check.check_id == check_id)
        return (watch, check) if user in check.asked and check.kind is not CheckKind.SILENCE else None

    # -- deciding -------------------------------------------------------------------------------------

    def handle(self, event: CareEvent, now: float) -> list[CareEffect]:
        """Decide about one event. Raises ``NotFound`` for an answer to a check that nobody knows."""
        match event:
            case JobChanged(job):
                return self._job_changed(job, now)
            case JobsFound():
                return self._jobs_found(event, now)
            case CheckAnswered():
                return self._answered(event, now)
            case AlarmStored():
                return self._alarm_stored(event, now)

    def _jobs_found(self, event: JobsFound, now: float) -> list[CareEffect]:
        effects: list[CareEffect] = []
        for job in event.jobs:
            effects += self._job_changed(job, now)
        found = {job.order_id for job in event.jobs}
        for watch in self.watches():
            job = watch.job
            if job.order_id not in found and (job.tenant, job.city) in event.cities:
                effects += self._end(watch, now)
        return effects

    def _job_changed(self, job: Job, now: float) -> list[CareEffect]:
        watch = self.watch(job.order_id)
        effects: list[CareEffect] = []
        if watch is not None and job.version <= watch.job.version:
            return []
        if watch is not None and (job.state is JobState.OVER or watch.job.technician != job.technician):
            effects, watch = self._end(watch, now), None
        if job.state is JobState.OVER:
            return effects
        if watch is None and job.state is JobState.FINISHED:
            return effects  # it was watched, and is not any more: they have set out for the next one
        if watch is None:
            watch = Watch(WatchId(self._ids.new(WATCH_PREFIX)), job, version=0, began_at=now)
        before, watch = watch.job, replace(watch, job=job)
        self._look_at[watch.watch_id] = now
        effects += self._left_for(job, now)
        watch, more = self._replanned(watch, before, now)
        self._keep(watch, now)
        return effects + more

    def _left_for(self, job: Job, now: float) -> list[CareEffect]:
        """Whoever is on the way to another job has left the one before: nobody need ask them."""
        effects: list[CareEffect] = []
        for watch_id in sorted(self._jobs_of.get((job.tenant, job.technician), ())):
            other = self._watches[watch_id]
            is_left = other.job.state is JobState.FINISHED and other.job.technician == job.technician
            if is_left and other.job.order_id != job.order_id and other.ended_at is None:
                effects += self._end(other, now)
        return effects

    def _replanned(self, watch: Watch, before: Job, now: float) -> tuple[Watch, list[CareEffect]]:
        """The watch with the questions that its job's state asks for, and without those of another state."""
        job, effects = watch.job, list[CareEffect]()
        kinds = _PLANS[job.state]
        kept = (*kinds, CheckKind.SILENCE, *(_ON_THE_WAY if job.state is JobState.EN_ROUTE else ()))
        for check in watch.checks:
            is_moved = check.kind is CheckKind.OVERDUE and job.ends_at != before.ends_at
            if check.is_open and (check.kind not in kept or is_moved):
                watch, more = self._dropped(watch, check, now)
                effects += more
        for kind in kinds:
            if watch.open_check(kind) is None:
                watch = self._planned(watch, kind, now)
        return watch, effects

    def _planned(self, watch: Watch, kind: CheckKind, now: float, after: float | None = None) -> Watch:
        """Plan the next question of a kind; ``after`` an answer an interval later, else by the job's own times."""
        job, settings = watch.job, self._settings
        if kind is CheckKind.CHECK_IN:
            if not settings.interval_s(job.tenant, job.service):
                return watch
            return self._with(watch, checks.check_in(self._new_id(), job, after or job.since, settings))
        if kind is CheckKind.OVERDUE:
            from_at, wait_s = job.ends_at, settings.overdue_s
        elif kind is CheckKind.ARRIVAL:
            from_at, wait_s = job.expected_at or job.since + settings.way_max_s, settings.arrival_s
        else:
            from_at, wait_s = job.since, settings.leaving_s
        if from_at is None:
            return watch
        ask_at = max(from_at, after or from_at) + wait_s
        return self._with(watch, checks.planned(self._new_id(), kind, job, ask_at, now, settings))

    def _end(self, watch: Watch, now: float) -> list[CareEffect]:
        effects: list[CareEffect] = []
        for check in watch.checks:
            if check.is_open:
                watch, more = self._dropped(watch, check, now)
                effects += more
        over = replace(watch.job, state=JobState.OVER)
        self._keep(replace(watch, job=over, ended_at=now, lost_at=None), now)
        return effects

    # -- answers --------------------------------------------------------------------------------------

    def _answered(self, event: CheckAnswered, now: float) -> list[CareEffect]:
        found = self.asked(event.tenant, event.who, event.check_id)
        if found is None:
            if event.answer is Answer.OK:
                raise NotFound("there is no such check")
            return []  # who raises it for them has their word alone
        watch, check = found
        effects: list[CareEffect] = []
        if event.who == watch.job.technician:
            self._heard_at[watch.watch_id] = now
        if event.answer is not Answer.OK:
            cause, gravity = ANSWER_ALARMS[event.answer]
            key = answer_key(check.check_id, event.who, event.answer)
            watch, effects = self._alarmed(watch, check, event.who, cause, gravity, key, now)
        if check.is_open:
            watch, more = self._settled(watch, check, event, now)
            effects = more + effects
        self._keep(watch, now)
        return effects

    def _settled(self, watch: Watch, check: Check, event: CheckAnswered, now: float) -> tuple[Watch, list[CareEffect]]:
        after = checks.answered(check, event.who, event.answer, now)
        watch = self._without(watch, after)
        effects: list[CareEffect] = []
        if after.is_open:
            return watch, [AskPerson(watch, replace(after, state=CheckState.ANSWERED), (event.who,))]
        if check.state in checks.GRAVITIES:
            effects.append(TellConsole(watch, Line.ANSWERED_LATE, now, after))
        # Asked again just as after any other answer: whoever looks on must not see from it what was said.
        if check.kind in _PLANS.get(watch.job.state, ()):
            watch = self._planned(watch, check.kind, now, after=now)
        if check.kind in _ON_THE_WAY:
            watch = self._quiet(watch, check, now)
        return watch, [AskPerson(watch, after, after.asked), *effects]

    def _quiet(self, watch: Watch, check: Check, now: float) -> Watch:
        seen = self._ways.get(watch.watch_id)
        if seen is not None and check.at is not None and check.kind is CheckKind.STOP:
            seen = self._ways[watch.watch_id] = replace(seen, known=(*seen.known[-9:], check.at))
        quiet_until = watch.quiet_until | {check.kind: now + self._settings.quiet_s}
        return replace(watch, quiet_until=quiet_until, way=seen)

    # -- alarms ---------------------------------------------------------------------------------------

    def _alarmed(
        self, watch: Watch, check: Check, subject: UserId, cause: Cause, gravity: Gravity, key: str, now: float
    ) -> tuple[Watch, list[CareEffect]]:
        if any(alarm.key == key for alarm in watch.alarms):
            return watch, []
        alarm = Alarm(key, check.check_id, subject, cause, gravity, decided_at=now, retry_at=now + ALARM_RETRY_S)
        watch = replace(watch, alarms=(*watch.alarms, alarm))
        return watch, [RaiseAlarm(watch, alarm)]

    def _alarm_stored(self, event: AlarmStored, now: float) -> list[CareEffect]:
        watch = self._watches.get(event.watch_id)
        if watch is None or all(alarm.key != event.key or alarm.incident is not None for alarm in watch.alarms):
            return []
        alarms = tuple(
            replace(alarm, incident=event.incident_id) if alarm.key == event.key else alarm for alarm in watch.alarms
        )
        self._keep(replace(watch, alarms=alarms), now)
        return []

    # -- timers ---------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When a watch acts by itself next. Cost: amortised O(log n)."""
        return self._deadlines.next_at()

    def due(self, now: float) -> list[WatchId]:
        """Watches whose deadline has come, the longest overdue first."""
        return self._deadlines.due(now)

    def postpone(self, watch_id: WatchId, until: float) -> None:
        """Its deadline failed by a fault of ours: let the others go on and try again then."""
        self._deadlines.postpone(watch_id, until)

    def owed_at(self) -> float | None:
        """When the longest overdue of the watches that failed should have acted; None while none did."""
        return self._deadlines.owed_at()

    def act(self, watch_id: WatchId, now: float) -> list[CareEffect]:
        """Let one watch act on what is due: look, ask, raise."""
        watch = before = self._watches[watch_id]
        effects: list[CareEffect] = []
        if watch.ended_at is None and self._look_at.get(watch_id, now) <= now:
            watch, effects = self._look(watch, now)
            wait_s = self._settings.look_way_s if watch.job.state is JobState.EN_ROUTE else self._settings.look_there_s
            self._look_at[watch_id] = ceil((now + wait_s) / _LOOK_GRID_S) * _LOOK_GRID_S
        for check in watch.checks:
            watch, more = self._stages(watch, check, now)
            effects += more
        for alarm in watch.pending:
            if alarm.retry_at <= now:
                again = replace(alarm, retry_at=now + ALARM_RETRY_S)
                alarms = tuple(again if other.key == alarm.key else other for other in watch.alarms)
                # In memory alone: a restart raises it at once.
                watch = replace(watch, alarms=alarms)
                effects.append(RaiseAlarm(watch, again))
        if _without_retries(watch) == _without_retries(before):
            self._put(watch, now)
        else:
            self._keep(watch, now)
        return effects

    def _stages(self, watch: Watch, check: Check, now: float) -> tuple[Watch, list[CareEffect]]:
        """What time does to a check, stage by stage."""
        effects: list[CareEffect] = []
        while (due := checks.next_stage(check)) is not None and due[1] <= now:
            step = due[0]
            if step is CheckStep.REMIND and check.ask_at is not None and check.ask_at <= now:
                step = CheckStep.ASK  # no use in announcing what is asked now
            check = checks.follow(check, step, now)
            watch = self._without(watch, check)
            if step in (CheckStep.REMIND, CheckStep.ASK):
                effects.append(AskPerson(watch, check, check.asked))
                continue
            cause, gravity = checks.CAUSES[check.kind], checks.GRAVITIES[check.state]
            key = f"{check.check_id}_{gravity}"
            watch, more = self._alarmed(watch, check, check.asked[0], cause, gravity, key, now)
            effects += more
            if step is CheckStep.DOUBT:
                effects.append(TellConsole(watch, Line.UNANSWERED, now, check))
        return watch, effects

    # -- what is seen ---------------------------------------------------------------------------------

    def _look(self, watch: Watch, now: float) -> tuple[Watch, list[CareEffect]]:
        job = watch.job
        contact = self._phones.of(job.tenant, job.city, job.technician)
        watch, effects = self._listen(watch, contact.heard_at, now)
        if job.state is not JobState.EN_ROUTE or contact.point is None or contact.seen_at is None:
            return watch, effects
        seen = self._ways.get(watch.watch_id)
        if seen is None:
            seen = way.set_out(contact.point, contact.seen_at)
        seen = self._ways[watch.watch_id] = way.walked(seen, contact.point, contact.seen_at, job.site, self._settings)
        if way.is_worth_storing(watch.way, seen, self._settings):
            watch = replace(watch, way=seen)
        stops = way.stands_oddly(seen, job.site, self._settings)
        for kind, is_odd in ((CheckKind.STOP, stops), (CheckKind.DETOUR, way.is_astray(seen, self._settings))):
            asked = watch.open_check(kind)
            if is_odd and asked is None and watch.quiet_until.get(kind, now) <= now:
                watch = self._with(watch, checks.seen(self._new_id(), kind, job, now, self._settings, at=seen.halt))
            elif asked is not None and asked.state not in checks.GRAVITIES and not is_odd:
                watch, more = self._dropped(watch, asked, now)  # they went on by themselves
                effects += more
        return watch, effects

    def _listen(self, watch: Watch, heard_at: float | None, now: float) -> tuple[Watch, list[CareEffect]]:
        """Whether there is a sign of the phone. Before the server began nobody listened: that is no silence."""
        job = watch.job
        if heard_at is None:
            return watch, []
        heard_at = max(heard_at, self._heard_at.get(watch.watch_id, 0.0))
        last_at = max(heard_at, self._began_at, watch.began_at)
        if watch.lost_at is None:
            if now - last_at < self._settings.silence_s:
                return watch, []
            check = checks.unheard(self._new_id(), job, last_at, now, self._settings)
            watch = self._with(replace(watch, lost_at=last_at), check)
            return watch, [TellConsole(watch, Line.LOST_CONTACT, now, check)]
        if heard_at <= watch.lost_at:
            return watch, []
        watch = replace(watch, lost_at=None)
        effects: list[CareEffect] = [TellConsole(watch, Line.CONTACT_BACK, now)]
        silence = watch.open_check(CheckKind.SILENCE)
        if silence is not None:
            watch, more = self._dropped(watch, silence, now)
            effects += more
        return watch, effects

    # -- keeping --------------------------------------------------------------------------------------

    def _new_id(self) -> str:
        return self._ids.new(CHECK_PREFIX)

    def _with(self, watch: Watch, check: Check) -> Watch:
        """The watch with one more check; of too many that have ended the first are forgotten."""
        all_checks = [*watch.checks, check]
        ended = [c for c in all_checks if not c.is_open][: max(0, len(all_checks) - CHECKS_KEPT_MAX)]
        return replace(watch, checks=tuple(c for c in all_checks if c not in ended))

    def _without(self, watch: Watch, check: Check) -> Watch:
        """The watch with this check in place of its former self."""
        return replace(watch, checks=tuple(check if c.check_id == check.check_id else c for c in watch.checks))

    def _dropped(self, watch: Watch, check: Check, now: float) -> tuple[Watch, list[CareEffect]]:
        after = checks.follow(check, CheckStep.DROP, now)
        watch = self._without(watch, after)
        was_shown = check.kind is not CheckKind.SILENCE and check.state is not CheckState.PLANNED
        return watch, [AskPerson(watch, after, after.asked)] if was_shown else []

    def _spare(self, watch: Watch, now: float) -> None:
        spared = []
        for check in watch.checks:
            due = checks.next_stage(check)
            by_s = now + self._settings.restart_answer_s - due[1] if due is not None else 0.0
            is_alarm = due is not None and due[0] in (CheckStep.DOUBT, CheckStep.ALARM)
            if is_alarm and by_s > 0.0 and not check.is_spared:
                check = replace(checks.shifted(check, by_s), is_spared=True)
            spared.append(check)
        if tuple(spared) != watch.checks:
            self._keep(replace(watch, checks=tuple(spared)), now)

    def _keep(self, watch: Watch, now: float) -> None:
        """Make it true, and to be stored: one version a transaction, however often it changes in it."""
        if watch.watch_id not in self._changes.watches:
            watch = replace(watch, version=watch.version + 1)
        self._changes.watches[watch.watch_id] = watch
        self._put(watch, now)

    def _put(self, watch: Watch, now: float) -> None:
        id_, job = watch.watch_id, watch.job
        former = self._watches.pop(id_, None)
        if former is not None:
            self._forget_names(former)
        if watch.ended_at is not None and not watch.pending:
            for kept in (self._ways, self._look_at, self._heard_at):
                kept.pop(id_, None)
            self._deadlines.set(id_, None)
            return
        self._watches[id_] = watch
        if watch.ended_at is None:
            self._open[job.order_id] = id_
        for check in watch.checks:
            self._watch_of[check.check_id] = id_
        for user in (job.technician, job.customer):
            self._jobs_of.setdefault((job.tenant, user), set()).add(id_)
        self._deadlines.set(id_, self._deadline(watch, now))

    def _forget_names(self, watch: Watch) -> None:
        job = watch.job
        if self._open.get(job.order_id) == watch.watch_id:
            del self._open[job.order_id]
        for check in watch.checks:
            self._watch_of.pop(check.check_id, None)
        for key in ((job.tenant, job.technician), (job.tenant, job.customer)):
            watches = self._jobs_of.get(key, set())
            watches.discard(watch.watch_id)
            if not watches:
                self._jobs_of.pop(key, None)

    def _deadline(self, watch: Watch, now: float) -> float:
        moments = [alarm.retry_at for alarm in watch.pending]
        if watch.ended_at is None:
            moments.append(self._look_at.setdefault(watch.watch_id, now))
            moments += [due[1] for check in watch.checks if (due := checks.next_stage(check)) is not None]
        return min(moments)

    # -- invariants -----------------------------------------------------------------------------------

    def check(self) -> None:
        """Assert what must always hold. Raises ``AssertionError`` naming the order."""
        for watch_id, watch in self._watches.items():
            problem = self._broken_rule(watch)
            if problem is None and watch.ended_at is None and self._open.get(watch.job.order_id) != watch_id:
                problem = "two watches of one order"
            if problem is not None:
                raise AssertionError(f"{watch.job.order_id}: {problem}\n  {watch}")

    def _broken_rule(self, watch: Watch) -> str | None:
        job = watch.job
        is_open = watch.ended_at is None
        for check in watch.checks:
            broken = checks.broken_rule(check)
            if broken is not None:
                return f"{check.check_id}: {broken}"
        keys = [alarm.key for alarm in watch.alarms]
        kinds = [check.kind for check in watch.checks if check.is_open]
        needed = [kind for kind in _PLANS.get(job.state, ()) if self._is_needed(job, kind)] if is_open else []
        raised = {(alarm.check_id, alarm.gravity) for alarm in watch.alarms}
        missed = [(c.check_id, checks.GRAVITIES[c.state]) for c in watch.checks if c.state in checks.GRAVITIES]
        deadline = self._deadlines.of(watch.watch_id)
        rules = {
            "a watched job has a timer": deadline is not None and deadline >= self._deadline(watch, deadline),
            "its state's questions are planned": all(kind in kinds for kind in needed),
            "no question stands twice": len(kinds) == len(set(kinds)),
            "an ended watch asks nothing": is_open or not kinds,
            "no alarm has two keys, no key two alarms": len(keys) == len(set(keys)),
            "what nobody answered was raised": all(one in raised for one in missed),
            "a lost phone is counted down": watch.lost_at is None or not is_open or CheckKind.SILENCE in kinds,
        }
        return next((rule for rule, holds in rules.items() if not holds), None)

    def _is_needed(self, job: Job, kind: CheckKind) -> bool:
        if kind is CheckKind.CHECK_IN:
            return self._settings.interval_s(job.tenant, job.service) > 0
        return kind is not CheckKind.OVERDUE or job.ends_at is not None


def _without_retries(watch: Watch) -> Watch:
    """The watch as it is stored: when an alarm is tried again is known from memory."""
    return replace(watch, alarms=tuple(replace(alarm, retry_at=0.0) for alarm in watch.alarms))
