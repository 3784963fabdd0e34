"""Any history of people, taps, timers and faults around one engine: what the properties of the promises are tried on.

An ``Act`` is one thing that happens; ``Life.do`` lets it happen and gives the ``Turn`` that came of it. Names of people
are those of ``neighbourhood.town``: Anna and Bea are customers, ``tec_02`` is a technician who may raise one too.
"""

from dataclasses import dataclass, field
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st

from core.errors import DoorstepError
from core.ids import IncidentId, TenantId, UserId
from core.principal import Principal, Role
from geo.point import LatLng
from safety.engine import SafetyEngine
from safety.events import (
    AckRaiser,
    ArrivedOnScene,
    CallOutcome,
    CallTo,
    CancelAsked,
    DeliveryReceived,
    Effect,
    Event,
    IncidentAcknowledged,
    IncidentClosed,
    IncidentJoined,
    IncidentReopened,
    IncidentResolved,
    NoteTaken,
    OfferDeclined,
    ResponderAssigned,
    ResponseOffered,
    SosRaised,
)
from safety.model import CapStatus, FixSource, Incident, IncidentKind, PinVerdict, SosReport, TriggerSource
from safety.ports import SafetyChanges
from safety.settings import SafetySettings
from tests.unit.safety.neighbourhood import (
    ACME,
    ANNA,
    HOME,
    NEAR,
    OPS,
    OPS_2,
    OPS_BJ,
    SH,
    T0,
    CountingIds,
    Neighbourhood,
    booked,
    fix_at,
    person,
    town,
)

BEA: Final = person("cus_bea")
TEC_2: Final = person("tec_02", Role.TECHNICIAN, Role.RESPONDER)
FAR: Final = person("tec_07", Role.RESPONDER)
RIVAL_OPS: Final = person("ops_0", Role.OPS, tenant=TenantId("rival"))
OLD_OPS: Final = person("ops_1", Role.OPS, restricted=True)
STRANGER: Final = person("cus_eve")

SUBJECTS: Final = (ANNA, ANNA, BEA, TEC_2)
HANDLERS: Final = (OPS, OPS, OPS_2, NEAR, person("tec_01", Role.RESPONDER), TEC_2, FAR, OPS_BJ)
OUTSIDERS: Final = (RIVAL_OPS, OLD_OPS, STRANGER, ANNA, BEA)
BREAKABLE: Final = ("responders", "responders_of_city", "ops", "last_fix", "booking", "city_of", "connected")
OTHER_SIDES: Final = {"cus_anna": "tec_00", "cus_bea": "ops_0", "tec_02": "cus_anna"}
WAITS_S: Final = (0.001, 1.0, 3.0, 16.0, 31.0, 61.0, 182.0, 301.0, 1_000.0)

SYSTEM_ACTS: Final = ("wait", "wait", "wait", "oversleep")
SUBJECT_ACTS: Final = ("tap", "tap", "tap", "repeat", "keyless", "forced", "silence")
PIN_ACTS: Final = ("right_pin", "duress_pin", "wrong_pin")
HANDLER_ACTS: Final = (
    "ack", "ack", "join", "respond", "respond", "decline", "assign", "arrive", "arrive", "note", "call", "resolve",
    "resolve", "give_up", "reopen", "close",
)  # fmt: skip
WORLD_ACTS: Final = ("receive", "receive", "move", "move", "leave", "break", "mend", "book", "go_home", "come_back")
ALL_ACTS: Final = (*SYSTEM_ACTS, *SUBJECT_ACTS, *PIN_ACTS, *HANDLER_ACTS, *WORLD_ACTS)
TIMER_ACTS: Final = ("tap", "ack", "ack", "respond", "move", "right_pin", "forced", "wait", "wait", "oversleep")
ENDING_ACTS: Final = (
    "tap",
    "ack",
    "call",
    "right_pin",
    "duress_pin",
    "resolve",
    "resolve",
    "reopen",
    "close",
    "wait",
    "wait",
)


def often(examples: int) -> settings:
    """So many examples in the fast half, and as many times more as the profile has more than 100."""
    return settings(max_examples=examples * settings().max_examples // 100)


@dataclass(frozen=True)
class Act:
    """One thing that happens; what ``who`` and ``n`` choose depends on it."""

    what: str
    who: int = 0
    n: int = 0


@dataclass(frozen=True)
class Turn:
    """What came of one act, or of one timer of it: ``event`` is None for a timer."""

    at: float
    event: Event | None
    effects: list[Effect]
    refusal: DoorstepError | None
    before: dict[IncidentId, Incident]
    after: dict[IncidentId, Incident]
    changes: SafetyChanges


def acts(*what: str) -> st.SearchStrategy[Act]:
    """Acts of these kinds, or of all kinds."""
    return st.builds(Act, st.sampled_from(what or ALL_ACTS), st.integers(0, 11), st.integers(0, 11))


def histories(*what: str, longest: int = 25) -> st.SearchStrategy[list[Act]]:
    """Histories of these kinds of acts, or any; they begin with a tap, and so are about something.

    Of any three: one of everything, one of what makes timers and one of what begins and ends, for much of what is
    promised needs several acts of one kind, and time between them.
    """
    chosen = [what] if what else [ALL_ACTS, TIMER_ACTS, ENDING_ACTS]
    return st.one_of(
        [st.lists(acts(*kinds), max_size=longest).map(lambda later: [Act("tap"), *later]) for kinds in chosen]
    )


@dataclass
class Life:
    """One engine and everything around it.

    Attributes:
        status: Of every SOS: a drill lives the same life.
        log: What was told to the engine, in order: the whole of it makes the same engine again.
    """

    settings: SafetySettings = field(default_factory=lambda: SafetySettings(responders_level_0=3, offers_parallel=2))
    status: CapStatus = CapStatus.ACTUAL
    place: Neighbourhood = field(default_factory=town)
    now: float = T0
    turns: list[Turn] = field(default_factory=list)
    keys: list[tuple[UserId, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ids = CountingIds()
        self.engine = SafetyEngine(self.settings, self.ids, self.place)
        self.incidents: dict[IncidentId, Incident] = {}

    # -- living it ----------------------------------------------------------------------------------

    def live(self, history: list[Act]) -> "Life":
        """All of a history."""
        for act in history:
            self.do(act)
        return self

    def do(self, act: Act) -> list[Turn]:
        """One act; the turns that it made."""
        began = len(self.turns)
        if act.what in WORLD_ACTS and act.what != "receive":
            self._change_the_world(act)
        elif act.what == "wait":
            self.wait(WAITS_S[act.n % len(WAITS_S)])
        elif act.what == "oversleep":
            self.now += WAITS_S[act.n % len(WAITS_S)]
            self._turn(None)
        else:
            event = self.event_of(act)
            if event is not None:
                self._turn(event)
        return self.turns[began:]

    def wait(self, seconds: float) -> None:
        """Every timer at its time."""
        until = self.now + seconds
        while (at := self.engine.next_deadline()) is not None and at <= until:
            self.now = max(self.now, at)
            self._turn(None)
        self.now = until

    def tell(self, event: Event) -> Turn:
        """One event by itself."""
        return self._turn(event)

    def _turn(self, event: Event | None) -> Turn:
        before, refusal, effects = dict(self.incidents), None, list[Effect]()
        try:
            effects = self.engine.on_deadline(self.now) if event is None else self.engine.handle(event, self.now)
        except DoorstepError as error:
            refusal = error
        changes = self.engine.take_changes()
        self.incidents.update(changes.incidents)
        turn = Turn(self.now, event, effects, refusal, before, dict(self.incidents), changes)
        self.turns.append(turn)
        return turn

    # -- what the acts are --------------------------------------------------------------------------

    def event_of(self, act: Act) -> Event | None:
        """What an act tells the engine; None where there is nobody it could be about."""
        if act.what in SUBJECT_ACTS:
            return self._tap_of(act)
        which = self.some(act.n)
        if which is None:
            return None
        if act.what in PIN_ACTS:
            verdict = {"right_pin": PinVerdict.RIGHT, "duress_pin": PinVerdict.DURESS, "wrong_pin": PinVerdict.WRONG}
            return CancelAsked(person(self.incidents[which].subject), which, verdict[act.what])
        if act.what == "receive":
            targets = self.incidents[which].targets or ()
            user = targets[act.who % len(targets)].user if targets else UserId("nobody")
            return DeliveryReceived(ACME, user, which)
        targets = self.incidents[which].targets
        if act.what in ("respond", "decline", "arrive") and act.who % 2 and targets:
            # Most words of responders count only from whom it was sent to.
            asked = targets[act.n % len(targets)].user
            return self._handled(act, person(asked, Role.RESPONDER), which)
        is_known = act.who < len(HANDLERS)
        who = HANDLERS[act.who] if is_known else OUTSIDERS[(act.who + act.n) % len(OUTSIDERS)]
        return self._handled(act, who, which)

    def _tap_of(self, act: Act) -> SosRaised:
        who = SUBJECTS[act.who % len(SUBJECTS)]
        if act.what == "repeat":
            mine = [key for user, key in self.keys if user == who.user]
            key = mine[act.n % len(mine)] if mine else "k0"
        else:
            key = "srv_same" if act.what == "keyless" else f"k{len(self.keys)}"
        self.keys.append((who.user, key))
        fix = fix_at(at=self.now) if act.n % 3 else None
        # Of whoever tapped from a phone whose token had expired, too.
        who = person(who.user, *who.roles, restricted=act.n % 5 == 4, device=("phone", "watch")[act.who % 2])
        report = SosReport(key, fix=fix)
        if act.what in ("forced", "silence"):
            kind = IncidentKind.DURESS if act.what == "forced" else IncidentKind.UNCONFIRMED
            return SosRaised(
                who, report, self.now, source=TriggerSource.SYSTEM, kind=kind, cause="checkin", cap_status=self.status
            )
        return SosRaised(who, report, self.now, cap_status=self.status)

    @staticmethod
    def _handled(act: Act, who: Principal, which: IncidentId) -> Event:
        mover = UserId(f"tec_{act.n % 4:02d}")
        match act.what:
            case "ack":
                return IncidentAcknowledged(who, which)
            case "join":
                return IncidentJoined(who, which)
            case "respond":
                return ResponseOffered(who, which, (None, None, None, 1, 4)[act.n % 5])
            case "decline":
                return OfferDeclined(who, which)
            case "assign":
                return ResponderAssigned(who, which, mover)
            case "arrive":
                return ArrivedOnScene(who, which, mover if act.n % 2 else None, (None, None, 2, 5)[act.n % 4])
            case "note":
                return NoteTaken(who, which, "seen")
            case "call":
                return NoteTaken(who, which, "", CallTo.SUBJECT, list(CallOutcome)[act.n % 2])
            case "resolve":
                return IncidentResolved(who, which, ("real_handled", "false_accident")[act.n % 2])
            case "give_up":
                return IncidentResolved(who, which, "unreachable")
            case "reopen":
                return IncidentReopened(who, which)
            case _:
                return IncidentClosed(who, which)

    def _change_the_world(self, act: Act) -> None:
        place = self.place
        match act.what:
            case "move":
                metres = (50.0, 500.0, 900.0, 3_000.0)[act.n % 4]
                at = LatLng(HOME.lat_deg + metres / 111_195, HOME.lng_deg)
                place.live[UserId(f"tec_{act.who % 4:02d}")] = (SH, fix_at(at, self.now, FixSource.LIVE))
            case "leave":
                place.away ^= {UserId(("ops_0", "ops_1", "tec_00")[act.n % 3])}
            case "break":
                place.broken.add(BREAKABLE[act.n % len(BREAKABLE)])
            case "mend":
                place.broken.clear()
            case "book":
                subject = sorted(OTHER_SIDES)[act.n % len(OTHER_SIDES)]
                place.bookings[UserId(subject)] = booked(OTHER_SIDES[subject])
            case "go_home":
                place.people.clear()
                place.staff.clear()
            case _:
                again = town()
                place.people.update(again.people)
                place.staff.update(again.staff)

    def some(self, n: int) -> IncidentId | None:
        """One of the incidents so far; the newest first, because that is what most acts are about."""
        known = sorted(self.incidents, reverse=True)
        return known[n % len(known)] if known else None


def answer_to(turn: Turn) -> AckRaiser:
    """The one answer to a tap; fails where there is none."""
    (ack,) = [effect for effect in turn.effects if isinstance(effect, AckRaiser) and effect.answer]
    return ack


def active(life: Life) -> dict[IncidentId, Incident]:
    """What somebody still has to end."""
    return {which: incident for which, incident in life.incidents.items() if incident.is_active}
