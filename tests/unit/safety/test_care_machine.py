"""Any order of jobs, answers, positions, silence, time, crashes and lost receipts keeps what care promises.

The disk is what ``take_changes`` gave; a crash goes back to it. Safety is a dictionary by key that sometimes forgets to
answer. After every step: no question goes unasked or unanswered past its time without an alarm; an alarm once decided
reaches safety whatever happens; nothing is decided by an answer but what that answer says.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.errors import NotFound
from core.ids import IncidentId, OrderId, UserId
from safety.care import ALARM_RETRY_S, CareEngine
from safety.care_events import (
    AlarmStored,
    AskPerson,
    CareEffect,
    CareEvent,
    CheckAnswered,
    JobChanged,
    JobsFound,
    RaiseAlarm,
)
from safety.care_model import Answer, CheckKind, CheckState, Contact, Gravity, Job, JobState, Watch, WatchId
from safety.care_ports import CareState
from safety.care_settings import CareSettings
from tests.unit.safety.careful_street import ANNA, Pockets, a_job, north
from tests.unit.safety.neighbourhood import ACME, SH, T0, CountingIds

PEOPLE = [UserId("tec_mei"), UserId("tec_li")]
ORDERS = [OrderId("ord_1"), OrderId("ord_2"), OrderId("ord_3")]
NEXT = {
    None: JobState.EN_ROUTE,
    JobState.EN_ROUTE: JobState.ARRIVED,
    JobState.ARRIVED: JobState.IN_SERVICE,
    JobState.IN_SERVICE: JobState.FINISHED,
    JobState.FINISHED: JobState.OVER,
    JobState.OVER: JobState.EN_ROUTE,
}
GRACE_S = 5.0
"""Rounding of looks and of the steps below."""


class CareMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.care = CareSettings(check_in_s=600.0)
        self.now = T0
        self.ids = CountingIds()
        self.phones = Pockets()
        self.disk: dict[WatchId, Watch] = {}
        self.jobs: dict[OrderId, Job] = {}
        self.safety: dict[str, str] = {}
        self.decided: dict[str, float] = {}
        self.ask_seen: dict[str, float] = {}
        self.forgets = False
        self.restarts = 0
        self.engine = self._new()

    def _new(self) -> CareEngine:
        engine = CareEngine(self.care, self.ids, self.phones)
        engine.load(CareState([w for w in self.disk.values() if w.ended_at is None or w.pending]), self.now)
        return engine

    def _tell(self, event: CareEvent, *, crash: bool = False) -> list[CareEffect]:
        effects = self.engine.handle(event, self.now)
        self._took(effects, crash=crash)
        return effects

    def _took(self, effects: list[CareEffect], *, crash: bool = False) -> None:
        # Alarms go out before the commit; a crash then finds a disk without them.
        for effect in effects:
            if isinstance(effect, RaiseAlarm):
                self.safety.setdefault(effect.alarm.key, effect.alarm.gravity)
        changes = self.engine.take_changes()
        if crash:
            self.restarts += 1
            self.engine = self._new()
            return
        for watch_id, watch in changes.watches.items():
            known = self.disk.get(watch_id)
            assert watch.version == (known.version if known is not None else 0) + 1
            self.disk[watch_id] = watch
        for effect in effects:
            if isinstance(effect, AskPerson) and effect.check.state is CheckState.ASKED:
                self.ask_seen[effect.check.check_id] = self.now
            if isinstance(effect, RaiseAlarm):
                self.decided.setdefault(effect.alarm.key, self.now)
                if not self.forgets:
                    stored = AlarmStored(effect.watch.watch_id, effect.alarm.key, IncidentId("inc"))
                    self._took(self.engine.handle(stored, self.now))

    def _run(self, until: float) -> None:
        while (at := self.engine.next_deadline()) is not None and at <= until:
            self.now = self.phones.now = max(self.now, at)
            for watch_id in self.engine.due(self.now):
                self._took(self.engine.act(watch_id, self.now))
        self.now = self.phones.now = until

    # -- what happens ---------------------------------------------------------------------------------

    @rule(order=st.sampled_from(ORDERS), skip=st.booleans(), who=st.sampled_from(PEOPLE), crash=st.booleans())
    def step(self, order: OrderId, skip: bool, who: UserId, crash: bool) -> None:
        known = self.jobs.get(order)
        state = NEXT[known.state if known is not None else None]
        if skip and known is not None:
            state = JobState.OVER
        technician = who if known is None or known.state is JobState.OVER else known.technician
        facts: dict[str, Any] = {"since": self.now, "technician": technician, "order_id": order}
        if state is JobState.EN_ROUTE:
            facts["expected_at"] = self.now + 900.0
        if state is JobState.IN_SERVICE:
            facts["ends_at"] = self.now + 3_600.0
        job = a_job(state, version=known.version + 1 if known is not None else 1, **facts)
        self.jobs[order] = job
        self._tell(JobChanged(job), crash=crash)
        if crash:
            self._reconcile()

    @rule(order=st.sampled_from(ORDERS), more_s=st.sampled_from([600.0, 3_600.0]))
    def add_time(self, order: OrderId, more_s: float) -> None:
        job = self.jobs.get(order)
        if job is not None and job.state is JobState.IN_SERVICE and job.ends_at is not None:
            self.jobs[order] = a_job(
                job.state,
                version=job.version + 1,
                since=job.since,
                ends_at=job.ends_at + more_s,
                technician=job.technician,
                order_id=order,
            )
            self._tell(JobChanged(self.jobs[order]))

    @rule(order=st.sampled_from(ORDERS))
    def hear_old_news(self, order: OrderId) -> None:
        if order in self.jobs:
            assert self._tell(JobChanged(self.jobs[order])) == []

    @rule(
        order=st.sampled_from(ORDERS),
        kind=st.sampled_from(list(CheckKind)),
        answer=st.sampled_from(list(Answer)),
        by_customer=st.booleans(),
    )
    def answer(self, order: OrderId, kind: CheckKind, answer: Answer, by_customer: bool) -> None:
        watch = self.engine.watch(order)
        check = watch.open_check(kind) if watch is not None else None
        if watch is None or check is None:
            return
        who = ANNA if by_customer else watch.job.technician
        may = who in check.asked and kind is not CheckKind.SILENCE
        raised = set(self.safety)
        try:
            self._tell(CheckAnswered(ACME, who, check.check_id, answer))
        except NotFound:
            assert answer is Answer.OK
            assert not may
            return
        new = {key: gravity for key, gravity in self.safety.items() if key not in raised}
        after = self.engine.watch(order)
        assert after is not None
        stays = next(c for c in after.checks if c.check_id == check.check_id)
        if not may:
            assert new == {}
            assert stays == check
        else:
            wanted = {Answer.OK: set(), Answer.NO: {Gravity.DURESS}, Answer.HELP: {Gravity.PANIC}}[answer]
            assert set(new.values()) <= wanted
            assert stays.is_open == by_customer

    @rule(seconds=st.sampled_from([1.0, 30.0, 121.0, 301.0, 601.0, 1_801.0]))
    def wait(self, seconds: float) -> None:
        self._run(self.now + seconds)

    @rule(who=st.sampled_from(PEOPLE), metres=st.integers(-9_000, 9_000), east_m=st.integers(-9_000, 9_000))
    def move(self, who: UserId, metres: int, east_m: int) -> None:
        self.phones.known[who] = Contact(self.now, north(metres, east_m), self.now)

    @rule(who=st.sampled_from(PEOPLE), state=st.sampled_from(["silent", "off", "heard"]))
    def phone(self, who: UserId, state: str) -> None:
        if state == "heard":
            self.phones.known.pop(who, None)
        else:
            self.phones.known[who] = Contact(None if state == "off" else self.now)

    @rule(down_s=st.sampled_from([0.0, 20.0, 400.0, 4_000.0]))
    def restart(self, down_s: float) -> None:
        self.restarts += 1
        self.now = self.phones.now = self.now + down_s
        self.engine = self._new()
        self._took([])
        self._reconcile()

    def _reconcile(self) -> None:
        jobs = [job for job in self.jobs.values() if job.state is not JobState.OVER]
        self._tell(JobsFound(jobs, frozenset({(ACME, SH)})))

    @rule(forgets=st.booleans())
    def receipts(self, forgets: bool) -> None:
        self.forgets = forgets

    @precondition(lambda self: not self.forgets)
    @rule()
    def settle(self) -> None:
        """With receipts arriving, no alarm is pending for longer than its retry."""
        self._run(self.now + ALARM_RETRY_S + GRACE_S)
        assert all(not w.pending or w.alarms[-1].decided_at > self.now - 2 * ALARM_RETRY_S for w in self._all())

    # -- what always holds ----------------------------------------------------------------------------

    def _all(self) -> list[Watch]:
        return list(self.engine._watches.values())

    @invariant()
    def sound(self) -> None:
        self.engine.check()

    @invariant()
    def nothing_is_due_and_left(self) -> None:
        for watch in self.engine.watches():
            for check in watch.checks:
                if check.state in (CheckState.UNCONFIRMED, CheckState.PANIC):
                    assert f"{check.check_id}_unconfirmed" in self.safety

    @invariant()
    def every_decided_alarm_reached_safety_and_is_on_the_disk(self) -> None:
        on_disk = {alarm.key for watch in self.disk.values() for alarm in watch.alarms}
        assert set(self.decided) <= set(self.safety)
        assert set(self.decided) <= on_disk

    @invariant()
    def who_was_never_asked_is_not_missed(self) -> None:
        for watch in self._all():
            for check in watch.checks:
                if check.kind is CheckKind.SILENCE or f"{check.check_id}_unconfirmed" not in self.decided:
                    continue
                waited_s = self.decided[f"{check.check_id}_unconfirmed"] - self.ask_seen[check.check_id]
                least_s = min(self.care.unconfirmed_s, self.care.way_answer_s)
                assert waited_s >= least_s - 1e-6

    @invariant()
    def the_disk_is_what_the_engine_knows(self) -> None:
        for watch in self.engine.watches():
            assert self.disk[watch.watch_id].job == watch.job

    @invariant()
    def each_job_under_way_is_watched(self) -> None:
        for order, job in self.jobs.items():
            watch = self.engine.watch(order)
            if job.state in (JobState.EN_ROUTE, JobState.ARRIVED, JobState.IN_SERVICE):
                assert watch is not None, job
            elif job.state is JobState.OVER:
                assert watch is None


TestCare = CareMachine.TestCase
TestCare.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.full
def test_a_hundred_thousand_steps() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    many = settings(max_examples=1_000, stateful_step_count=100, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(CareMachine, settings=many)
