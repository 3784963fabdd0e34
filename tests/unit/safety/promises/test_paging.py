"""Calls outside the hub: none is dropped (P9), each has a successor (P10), and in a drill none is real (P22)."""

import asyncio
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

import sim.loop
from api.outbound import SafetyOutbound
from geo.point import Frame
from safety.drills import DRILL_CAUSE
from safety.events import IncidentAcknowledged, IncidentResolved, NotifyTargets, SendPage, UpdateTargets
from safety.model import CapStatus
from safety.page_text import PageMessage
from safety.pages import Address, Channel, HopState, PageOutcome, RecipientKind
from sim.clock import VirtualClock
from tests.unit.safety.calls import REACH, Calls, Person
from tests.unit.safety.neighbourhood import NEAR, OPS, T0
from tests.unit.safety.promises.history import Act, Life, histories, often
from transport.pager import Pager

OUTCOMES = [*PageOutcome, None]
CLOCKS_S = {"push": 3.0, "sms": 10.0, "voice": 30.0}
PAUSE_MAX_S = 300.0
PEOPLE = [*(f"tec_{n:02d}" for n in range(5)), "ops_0", "ops_1"]


@often(25)
@given(
    st.sets(st.sampled_from(["ops_0", "ops_1", "tec_00"])),
    st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=8),
    st.lists(
        st.sampled_from(["wait 1", "wait 7", "wait 31", "wait 200", "receive", "acknowledge", "tap", "resolve"]),
        max_size=10,
    ),
)
def test_p09_a_call_is_taken_or_due_again_or_not_wanted_any_more(
    online: set[str], outcomes: list[PageOutcome | None], history: list[str]
) -> None:
    calls = Calls(online=online)
    calls.answer = lambda effect: outcomes[len(calls.sent) % len(outcomes)]
    incident = calls.sos()
    for n, what in enumerate(history):
        current = calls.engine.incident(incident.tenant, incident.incident_id)
        assert current is not None
        match what.split():
            case ["wait", seconds]:
                calls.run(float(seconds))
            case ["receive"]:
                calls.receive(incident, ["ops_0", "tec_00", "tec_03"][n % 3])
            case ["acknowledge"] if current.is_active and current.owner is None:
                calls.tell(IncidentAcknowledged([OPS, NEAR][n % 2], incident.incident_id))
            case ["tap"] if current.is_active:
                calls.sos(key=f"k{n}")
            case ["resolve"] if current.is_active and current.owner is not None:
                calls.tell(IncidentResolved(OPS, incident.incident_id, "real_handled"))
        current = calls.engine.incident(incident.tenant, incident.incident_id)
        assert current is not None
        pages = calls.paging.pages(incident.incident_id)
        assert len({page.recipient for page in pages}) == len(pages), "one row for each recipient"
        for page in pages:
            assert len({hop.channel for hop in page.hops}) == len(page.hops), "and channel"
            for hop in page.hops:
                match hop.state:
                    case HopState.SPARED:
                        assert page.received_at is not None or current.owner is not None or not current.is_active
                    case HopState.WAITING:
                        assert hop.due_at <= calls.now + PAUSE_MAX_S
                        assert calls.paging.next_deadline() is not None
                    case HopState.SENDING:
                        assert hop.begun_at is not None
                    case HopState.TAKEN:
                        assert hop.outcome in (PageOutcome.TAKEN, PageOutcome.WITHHELD)


@often(25)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(PEOPLE), st.sampled_from(list(CLOCKS_S))),
        st.sampled_from([PageOutcome.FAILED, PageOutcome.REFUSED, PageOutcome.THROTTLED, PageOutcome.TIMEOUT, None]),
        max_size=12,
    ),
    st.sets(st.sampled_from(["ops_0", "tec_00", "tec_03"])),
)
def test_p10_every_channel_that_fails_has_a_successor_by_the_clock_until_a_human_has_it(
    faults: dict[tuple[str, str], PageOutcome | None], online: set[str]
) -> None:
    calls = Calls(online=online)
    calls.answer = lambda effect: faults.get((effect.pages[0].name, effect.channel.value), PageOutcome.TAKEN)
    incident = calls.sos()
    told = {target.user for target in incident.targets}
    calls.run(130)
    first = calls.first()
    for user in told:
        for channel, after_s in CLOCKS_S.items():
            clock_s = after_s if user in online or channel != "push" else 0.0
            assert first[f"person:{user}", channel] == clock_s, "whatever became of the channel before"
        tried = [(at, channel) for at, channel, who in calls.calls() if who == f"person:{user}"]
        for channel in CLOCKS_S:
            if faults.get((user, channel), PageOutcome.TAKEN) is not PageOutcome.TAKEN:
                assert sum(1 for _, one in tried if one == channel) > 1, "and the one that failed is tried again"
    assert first["last_resort:last_resort", "log"] == 120, "nobody took it: the last resort"
    before = len(calls.sent)
    calls.tell(IncidentAcknowledged(OPS, incident.incident_id))
    calls.run(100)
    people = {effect.pages[0].name for _, effect in calls.sent[before:] if effect.pages[0].kind is RecipientKind.PERSON}
    assert people <= {OPS.user} | {offer.user for offer in incident.offers}, (
        "then who took it, and whose answer is wanted"
    )


# -- drills ---------------------------------------------------------------------------------------------


def plain(life: Life) -> list[object]:
    """What a life did, without the word that tells a drill."""
    told: list[object] = []
    for turn in life.turns:
        for effect in turn.effects:
            incident = replace(effect.incident, cap_status=CapStatus.ACTUAL)
            told.append((turn.at, type(effect).__name__, incident, getattr(effect, "targets", ())))
    return told


@often(40)
@given(histories("tap", "ack", "respond", "arrive", "move", "wait", "receive", "right_pin", "note", "call"))
def test_p22_a_drill_passes_the_same_code_and_stops_at_the_last_hop(history: list[Act]) -> None:
    real, drill = Life().live(history), Life(status=CapStatus.EXERCISE).live(history)
    assert plain(real) == plain(drill)
    outbound = SafetyOutbound(Frame.WGS84)
    for turn in drill.turns:
        # Who tries the alarm as they go on duty calls nobody out; an exercise that ops lead rings by its name.
        told = [e for e in turn.effects if isinstance(e, NotifyTargets | UpdateTargets)]
        tried = [replace(e, incident=replace(e.incident, cause=DRILL_CAUSE)) for e in told]
        assert outbound.drafts(tried, turn.at) == []
        assert outbound.direct(tried, turn.at) == []
    rung = [turn for turn in (*real.turns, *drill.turns) if any(isinstance(e, NotifyTargets) for e in turn.effects)]
    assert all(outbound.drafts(turn.effects, turn.at) for turn in rung)


class _Line:
    def __init__(self) -> None:
        self.dry: list[bool] = []

    async def send(self, message: PageMessage, *, dry: bool) -> PageOutcome:
        self.dry.append(dry)
        return PageOutcome.WITHHELD if dry else PageOutcome.TAKEN


class _Phones:
    def of(self, tenant: str, user: str) -> Person:
        return Person(user, "138", "x@example.com", (Address("Mother", "137"),))


@often(25)
@given(st.sampled_from(CapStatus), st.sets(st.sampled_from(["ops_0", "tec_00"])), st.sampled_from([1.0, 31.0, 130.0]))
def test_p22_no_channel_makes_the_last_hop_of_what_is_not_real(
    status: CapStatus, online: set[str], seconds: float
) -> None:
    calls = Calls(online=online)
    calls.sos(cap_status=status)
    calls.run(seconds)
    sent: list[SendPage] = [effect for _, effect in calls.sent]
    assert {effect.channel for effect in sent} >= {Channel.ROBOT, Channel.PUSH}

    async def send_all() -> None:
        names = ["sms", "voice", "push", "email", "log", *(f"robot:{name}" for name in REACH.robots)]
        lines = {name: _Line() for name in names}
        settled: list[object] = []
        pager = Pager(VirtualClock(asyncio.get_running_loop()), REACH, lines, _Phones(), settled.append)
        for effect in sent:
            pager.send(effect)
        await asyncio.sleep(60)
        dry = [one for line in lines.values() for one in line.dry]
        assert len(settled) == len(sent)
        assert dry
        assert set(dry) == {status is not CapStatus.ACTUAL}

    sim.loop.run(send_all())
    assert calls.now == T0 + seconds
