"""Alarms of care as incidents."""

from dataclasses import replace

import sim.loop
from core.ids import IncidentId, UserId
from safety.care_model import Alarm, Cause, Gravity
from safety.model import IncidentState
from server.care_house import IncidentAlarms
from tests.unit.safety.neighbourhood import ACME, ANNA, OPS, T0, ladder, town
from tests.unit.safety.safety_world import World


def test_a_late_ok_stands_in_the_story_of_the_incident_and_reaches_those_who_were_told() -> None:
    async def story() -> None:
        world = World()
        alarm = Alarm("chk_1_u", "chk_1", UserId("tec_07"), Cause.CHECKIN_MISSED, Gravity.UNCONFIRMED, T0, T0)
        async with world.running() as service:
            alarms = IncidentAlarms(service)
            alarms.raise_alarm(ACME, None, alarm, "technician", world.now(), lambda incident: None)
            await world.sleep(1)
            alarms.answered_late(ACME, alarm)
            await world.sleep(1)
            (incident,) = service._engine.active()
            events = await world.store.events(ACME, incident.incident_id)
        assert [(event.what, event.who, event.detail) for event in events][-1] == (
            "noted", "tec_07", "answered late: ok",
        )  # fmt: skip
        assert incident.state is IncidentState.OPEN
        updates = [user for _, how, user, m in world.post.sent if how == "row" and m["type"] == "incident.update"]
        assert sorted(updates) == sorted(target.user for target in incident.targets)

    sim.loop.run(story())


def test_an_alarm_that_the_journal_holds_is_stored_and_one_that_nothing_holds_is_not() -> None:
    async def main() -> None:
        world = World(town(), ladder())
        stored: list[IncidentId] = []
        alarm = Alarm("chk_1_panic", "chk_1", ANNA.user, Cause.CHECKIN_MISSED, Gravity.PANIC, 0.0, 0.0)
        async with world.running() as service:
            alarms = IncidentAlarms(service)
            world.store.faults.fail_commits(1_000_000)
            alarms.raise_alarm(ACME, None, alarm, "customer", world.now(), stored.append)
            await world.sleep(1)
            (incident,) = service.visible(OPS)
            assert stored == [incident.incident_id]
            assert service.unstored > 0
            world.journal.refuses = "full"
            alarms.raise_alarm(ACME, None, replace(alarm, key="chk_2_panic"), "customer", world.now(), stored.append)
            await world.sleep(1)
            assert len(stored) == 1
            world.store.faults.fail_commits(0)

    sim.loop.run(main())
