"""Attempts are made within their budget, by the right channel, and each has a result."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, ParamSpec

import pytest

import sim.loop
from core.ids import TenantId, UserId
from safety.contacts import Contact, EmergencyContact
from safety.events import PageSettled, SendPage
from safety.model import CapStatus, Incident
from safety.page_text import PageMessage
from safety.pages import Address, Channel, Page, PageOutcome, RecipientKind
from safety.reach import LastResortSettings, ReachSettings, RobotSettings
from sim.clock import VirtualClock
from tests.contract.store_values import make_incident, make_page
from tests.unit.safety.calls import REACH, Person
from transport.page_channel import PageChannel
from transport.pager import Pager

P = ParamSpec("P")


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        sim.loop.run(test(*args, **kwargs))

    return run


class Phones:
    def __init__(self) -> None:
        self.people = {"ops_1": Person("Ops", "138", "ops@example.com", (Address("Mother", "137"),))}

    def of(self, tenant: TenantId, user: UserId) -> Person | None:
        return self.people.get(user)


class Told:
    """A channel that answers as told and keeps what it was given."""

    def __init__(self, outcome: PageOutcome | None = PageOutcome.TAKEN) -> None:
        self.outcome = outcome
        self.got: list[tuple[PageMessage, bool]] = []
        self.fault = False

    async def send(self, message: PageMessage, *, dry: bool) -> PageOutcome:
        self.got.append((message, dry))
        if self.fault:
            raise RuntimeError("broken")
        if self.outcome is None:
            await asyncio.Event().wait()
        assert self.outcome is not None
        return PageOutcome.WITHHELD if dry else self.outcome


class Desk:
    def __init__(self, settings: ReachSettings = REACH, **channels: PageChannel) -> None:
        self.results: list[PageSettled] = []
        self.clock = VirtualClock(asyncio.get_running_loop())
        lines = {name.replace("__", ":"): channel for name, channel in channels.items()}
        self.pager = Pager(self.clock, settings, lines, Phones(), self.results.append)

    async def send(
        self, channel: Channel, *, incident: Incident | None = None, page: Page | None = None
    ) -> PageOutcome:
        self.pager.send(SendPage(channel, (incident or make_incident(),), (page or make_page(),)))
        while self.pager._tasks:
            await asyncio.sleep(0.1)
        return self.results[-1].outcome


@pytest.fixture
def page_of() -> Callable[[RecipientKind, str], Page]:
    return lambda kind, name: replace(make_page(), kind=kind, name=name)


@in_virtual_time
async def test_a_person_is_written_to_at_their_own_phone() -> None:
    sms = Told()
    desk = Desk(sms=sms)
    assert await desk.send(Channel.SMS) is PageOutcome.TAKEN
    message, dry = sms.got[0]
    assert (message.phone, message.user, dry) == ("138", "ops_1", False)
    assert message.event_id.startswith("evt_")


@pytest.mark.parametrize("status", [CapStatus.EXERCISE, CapStatus.TEST])
@in_virtual_time
async def test_a_drill_goes_through_everything_but_the_last_hop(status: CapStatus) -> None:
    """P22."""
    sms = Told()
    desk = Desk(sms=sms)
    assert await desk.send(Channel.SMS, incident=make_incident(cap_status=status)) is PageOutcome.WITHHELD
    assert sms.got[0][1] is True


@in_virtual_time
async def test_who_has_no_phone_is_not_called_in_vain(page_of: Callable[[RecipientKind, str], Page]) -> None:
    desk = Desk(sms=Told())
    assert await desk.send(Channel.SMS, page=page_of(RecipientKind.PERSON, "nobody")) is PageOutcome.NO_ADDRESS
    assert await desk.send(Channel.VOICE) is PageOutcome.NO_ADDRESS  # no such channel


@in_virtual_time
async def test_each_kind_of_recipient_has_its_address(page_of: Callable[[RecipientKind, str], Page]) -> None:
    sms, robot = Told(), Told()
    desk = Desk(sms=sms, robot__hq=robot)
    await desk.send(Channel.SMS, page=page_of(RecipientKind.SUPERVISOR, "night"))
    assert sms.got[-1][0].phone == "139"
    await desk.send(
        Channel.SMS, page=page_of(RecipientKind.CONTACT, "1"), incident=make_incident(subject=UserId("ops_1"))
    )
    assert sms.got[-1][0].phone == "137"
    await desk.send(Channel.ROBOT, page=page_of(RecipientKind.ROBOT, "hq"))
    assert len(robot.got) == 1
    assert (
        await desk.send(Channel.SMS, page=page_of(RecipientKind.LAST_RESORT, "last_resort")) is PageOutcome.NO_ADDRESS
    )


@in_virtual_time
async def test_whom_the_subject_named_is_told_at_the_address_of_the_tap(
    page_of: Callable[[RecipientKind, str], Page],
) -> None:
    sms = Told()
    desk = Desk(sms=sms)
    at_the_tap = Contact(UserId("ops_1"), "Li", emergency=(EmergencyContact("Mum", "136"),))
    incident = make_incident(subject=UserId("ops_1"), contact=at_the_tap)
    await desk.send(Channel.SMS, page=page_of(RecipientKind.CONTACT, "1"), incident=incident)
    assert sms.got[-1][0].phone == "136", "the phonebook says 137 by now"
    nobody = make_incident(subject=UserId("ops_1"), contact=Contact(UserId("ops_1")))
    outcome = await desk.send(Channel.SMS, page=page_of(RecipientKind.CONTACT, "1"), incident=nobody)
    assert outcome is PageOutcome.NO_ADDRESS


@in_virtual_time
async def test_an_attempt_has_its_budget_and_no_longer() -> None:
    desk = Desk(sms=Told(None))
    before = desk.clock.monotonic()
    assert await desk.send(Channel.SMS) is PageOutcome.TIMEOUT
    assert desk.clock.monotonic() - before == pytest.approx(3.0, abs=0.2)


@in_virtual_time
async def test_a_channel_that_hangs_holds_no_other() -> None:
    desk = Desk(sms=Told(None), push=Told())
    for _ in range(50):
        desk.pager.send(SendPage(Channel.SMS, (make_incident(),), (make_page(),)))
    desk.pager.send(SendPage(Channel.PUSH, (make_incident(),), (make_page(),)))
    await asyncio.sleep(0.01)
    assert [r.channel for r in desk.results] == [Channel.PUSH]
    await asyncio.sleep(60)
    assert len(desk.results) == 51  # every one has a result
    assert len(desk.pager._tasks) == 0


@in_virtual_time
async def test_a_channel_that_breaks_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    sms = Told()
    sms.fault = True
    desk = Desk(sms=sms)
    assert await desk.send(Channel.SMS) is PageOutcome.FAILED
    assert "a channel broke" in caplog.text


@in_virtual_time
async def test_a_channel_that_fails_again_and_again_is_left_alone_and_tried_once() -> None:
    sms = Told(PageOutcome.FAILED)
    desk = Desk(replace(REACH, breaker_failures=3, breaker_rest_s=10), sms=sms)
    outcomes = [await desk.send(Channel.SMS) for _ in range(5)]
    assert outcomes == [PageOutcome.FAILED] * 3 + [PageOutcome.LEFT_ALONE] * 2
    await asyncio.sleep(10)
    sms.outcome = PageOutcome.TAKEN
    assert await desk.send(Channel.SMS) is PageOutcome.TAKEN
    assert await desk.send(Channel.SMS) is PageOutcome.TAKEN


@in_virtual_time
async def test_details_stand_only_where_the_config_wants_them(page_of: Callable[[RecipientKind, str], Page]) -> None:
    quiet, full = Told(), Told()
    robots = {
        "quiet": RobotSettings(tenant="acme", secret_env="X"),
        "full": RobotSettings(tenant="acme", secret_env="X", details=True),
    }
    desk = Desk(replace(REACH, robots=robots), robot__quiet=quiet, robot__full=full)
    incident = make_incident(subject=UserId("ops_1"))
    for name in ("quiet", "full"):
        await desk.send(Channel.ROBOT, page=page_of(RecipientKind.ROBOT, name), incident=incident)
    assert "救命" not in quiet.got[0][0].text
    assert "救命" in full.got[0][0].text
    assert "Ops" in full.got[0][0].text


@in_virtual_time
async def test_an_alarm_goes_straight_to_the_channels_that_work() -> None:
    sms, robot, log = Told(), Told(), Told()
    settings = replace(REACH, last_resort=LastResortSettings(phone="110", log=True))
    desk = Desk(settings, sms=sms, robot__hq=robot, log=log, push=Told())
    assert await desk.pager.alarm("it is broken", without={"robot:hq"}) == 3
    assert sorted(message.phone for message, _ in sms.got) == ["110", "139"]
    assert all(not dry and "it is broken" in message.title for message, dry in sms.got)
    assert (len(log.got), robot.got) == (1, [])
    sms.outcome = None  # it hangs: its budget is spent, and the others are told all the same
    assert await desk.pager.alarm("it is broken") == 2
    sms.fault = True
    assert await desk.pager.alarm("it is broken") == 2


@in_virtual_time
async def test_a_channel_whose_secret_has_changed_is_replaced_and_no_other_is_added() -> None:
    before, after, other = Told(), Told(), Told()
    desk = Desk(sms=before)
    desk.pager.renew({"sms": after, "voice": other})
    assert await desk.send(Channel.SMS) is PageOutcome.TAKEN
    assert (len(before.got), len(after.got)) == (0, 1)
    assert await desk.send(Channel.VOICE) is PageOutcome.NO_ADDRESS
