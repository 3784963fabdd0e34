"""What one person's devices mean together."""

from dataclasses import replace
from typing import Any, cast

import pytest

from api.rights import Rights
from core.errors import NotFound
from core.ids import CityId, DeviceId, TenantId, UserId
from core.principal import Principal, Role
from core.shard import Shard
from geo.point import Frame
from geo.position_index import Flag
from geo.settings import PositionSettings
from geo.shard_positions import ShardPositions
from realtime.attention import Level
from safety.model import CapStatus, Incident, IncidentState, SubjectView
from server.aside import Aside, aside_of
from server.fleet import Fleet
from server.last_seen import LastSeen
from store.directory import Directory
from tests.contract.store_values import make_incident

TENANT, CITY = TenantId("acme"), CityId("shenzhen")
SHARD = Shard(TENANT, CITY)
USER = UserId("res_1")
NOW = 1.8e9


class _Clock:
    at = NOW

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return 0.0


class _House:
    """A fleet whose directory hears of each device first, as in the hub."""

    def __init__(self) -> None:
        positions = {SHARD: ShardPositions(PositionSettings(), Frame.GCJ02)}
        self.index = positions[SHARD].index
        self.directory = Directory()
        last_seen = LastSeen(positions, cast(Any, None))
        self.clock = _Clock()
        self.aside = Aside((TENANT,), PositionSettings(), Frame.GCJ02)
        self.rights = Rights(frozenset({SHARD}), aside_of)
        self.fleet = Fleet(positions, self.rights, last_seen, self.directory, self.clock, self.aside)
        self.fleet.responder_on_duty(TENANT, USER, SHARD)

    def open(self, device: str, *roles: Role) -> None:
        who = Principal(TENANT, USER, roles[0], frozenset(roles), frozenset({CITY}), DeviceId(device), NOW + 60)
        self.directory.note(who, NOW)
        self.fleet.opened(who)

    @property
    def is_responder(self) -> bool:
        slot = self.index.slot(USER)
        assert slot is not None
        return bool(self.index.flags[slot] & Flag.RESPONDER)


@pytest.mark.parametrize("other", [Role.CUSTOMER, Role.TECHNICIAN])
def test_a_second_device_without_the_role_takes_no_responder_away(other: Role) -> None:
    house = _House()
    house.open("phone", Role.RESPONDER)
    house.open("tablet", other)
    assert house.is_responder
    house.open("phone", other)
    assert not house.is_responder, "no device has the role any more"


def test_a_responder_known_from_before_a_restart_stays_one() -> None:
    house = _House()
    house.directory.note(Principal(TENANT, USER, Role.RESPONDER, frozenset(), frozenset(), DeviceId("phone"), 0.0), NOW)
    house.fleet.know_responders(TENANT, {USER: None})
    house.open("tablet", Role.CUSTOMER)
    assert house.is_responder


def test_who_agreed_to_help_is_marked_on_duty_and_no_longer_once_they_withdraw() -> None:
    house = _House()
    slot = house.index.slot(USER)
    assert slot is not None
    house.fleet.consent_changed(TENANT, USER, True)
    assert house.index.flags[slot] & Flag.HELPER
    house.fleet.responder_on_duty(TENANT, USER, None)
    house.fleet.responder_on_duty(TENANT, USER, SHARD)
    assert house.index.flags[house.index.slot(USER) or 0] & Flag.HELPER, "also when they come on duty later"
    house.fleet.consent_changed(TENANT, USER, False)
    assert not house.index.flags[house.index.slot(USER) or 0] & Flag.HELPER


# -- an alarm outside duty ----------------------------------------------------------------------------------

CUSTOMER = UserId("cus_1")


class _Hub:
    def __init__(self) -> None:
        self.slots: list[tuple[str, Shard | None]] = []
        self.levels: dict[str, Level | None] = {}
        self.quiet: dict[str, bool] = {}
        self.kept: dict[str, tuple[bool, bool]] = {}

    def duty_changed(self, tenant: TenantId, user: UserId, shard: Shard | None, *, quiet: bool = False) -> None:
        self.slots.append((user, shard))
        self.quiet[user] = quiet or shard is None

    def attend(
        self, tenant: TenantId, user: UserId, cause: str, level: Level | None, *, keep: bool, owed: bool
    ) -> None:
        self.levels[user] = level
        self.kept[user] = keep, owed

    def seen_by_phone(self, user: UserId) -> tuple[object, ...]:
        """Whether its pings count, how often it is asked, whether it waits for the disk."""
        return self.quiet.get(user, True), self.levels.get(user) or Level.IDLE, self.kept[user][1]

    def rights_changed(self, topic: str) -> None:
        pass


def _alarm(subject: UserId, **changes: Any) -> Incident:
    return replace(
        make_incident(subject=subject, state=IncidentState.OPEN, last_trigger_at=NOW), tenant=TENANT, **changes
    )


def _ended(incident: Incident) -> Incident:
    return replace(incident, state=IncidentState.RESOLVED)


def test_whoever_calls_for_help_outside_duty_is_listened_to_until_it_is_over() -> None:
    house, hub = _House(), _Hub()
    house.fleet.connect(cast(Any, hub), {})
    alarm = _alarm(CUSTOMER)
    house.fleet.incident_changed(alarm)
    house.fleet.incident_changed(replace(alarm, version=2))
    assert house.fleet.heard_in(TENANT, CUSTOMER) == aside_of(TENANT)
    assert (hub.slots, hub.levels) == ([(CUSTOMER, aside_of(TENANT))], {CUSTOMER: Level.SOS})
    assert house.index.slot(CUSTOMER) is None, "nobody is near whom dispatch or others may find"
    assert house.fleet.shard_of(TENANT, CUSTOMER) is None
    house.fleet.incident_changed(_ended(alarm))
    assert house.fleet.heard_in(TENANT, CUSTOMER) is None
    assert hub.slots[-1] == (CUSTOMER, None)
    assert hub.levels == {CUSTOMER: None}
    assert house.aside.live(TENANT, CUSTOMER) is None


def test_who_goes_off_duty_in_an_alarm_is_heard_on_and_that_is_told() -> None:
    house, hub, told = _House(), _Hub(), list[UserId]()
    house.fleet.connect(cast(Any, hub), {})
    house.fleet.went_off_duty = lambda _tenant, user: told.append(user)
    slot = house.index.slot(USER)
    assert slot is not None
    house.index.heard_at[slot] = NOW - 7
    alarm = _alarm(USER)
    house.fleet.incident_changed(alarm)
    assert hub.slots == []
    house.fleet.duty_changed(TENANT, USER, None)
    shard = aside_of(TENANT)
    assert (hub.slots, told) == ([(USER, shard)], [USER])
    index = house.aside.positions[shard].index
    assert index.heard_at[index.slot(USER)] == NOW - 7, "their phone is not forgotten: its silence will be noticed"
    house.fleet.duty_changed(TENANT, USER, SHARD)
    assert (house.fleet.heard_in(TENANT, USER), hub.slots[-1]) == (SHARD, (USER, SHARD))
    assert not house.aside.holds(TENANT, USER)
    house.fleet.incident_changed(_ended(alarm))
    house.fleet.duty_changed(TENANT, USER, None)
    assert (hub.slots[-1], told) == ((USER, None), [USER])


@pytest.mark.parametrize("status", [CapStatus.EXERCISE, CapStatus.TEST])
def test_an_exercise_makes_nobody_heard_outside_duty(status: CapStatus) -> None:
    house, hub = _House(), _Hub()
    house.fleet.connect(cast(Any, hub), {})
    house.fleet.incident_changed(_alarm(CUSTOMER, cap_status=status))
    assert house.fleet.heard_in(TENANT, CUSTOMER) is None
    assert hub.levels == {CUSTOMER: None}


def test_those_of_an_incident_watch_its_subject_outside_duty_and_nobody_watches_them_otherwise() -> None:
    house = _House()
    alarm = _alarm(CUSTOMER)
    house.fleet.incident_changed(alarm)
    ops = Principal(TENANT, UserId("ops_1"), Role.OPS, frozenset(), frozenset({CITY}), DeviceId("d"), NOW + 60)
    house.fleet.incident_changed(replace(alarm, city=CITY))
    grant = house.rights.grant(ops, f"incident:{alarm.incident_id}", NOW)
    assert (grant.subject, grant.shard) == (CUSTOMER, aside_of(TENANT))
    for topic in (f"technician:{CUSTOMER}", "area:"):
        with pytest.raises(NotFound):
            house.rights.grant(ops, topic, NOW)


AFTER_S = 1_800.0


@pytest.mark.parametrize("on_duty", [False, True])
def test_what_a_phone_sees_after_a_pin_does_not_tell_who_is_forced(on_duty: bool) -> None:
    """One gave the right PIN and ops ended it; the other was forced: what they see is one, what is kept is not."""
    seen: dict[str, list[object]] = {}
    for kind in ("right", "duress"):
        house, hub = _House(), _Hub()
        house.fleet.connect(cast(Any, hub), {})
        user = USER if on_duty else CUSTOMER
        alarm = _alarm(user)
        house.fleet.incident_changed(alarm)
        assert hub.kept[user] == (True, True)
        shown = SubjectView(0, 0, False, ended_at=NOW + 10)
        house.clock.at = NOW + 10
        pending = replace(alarm, state=IncidentState.CANCEL_PENDING if kind == "right" else alarm.state, shown=shown)
        house.fleet.incident_changed(pending)
        assert hub.kept[user] == (True, False), "kept either way, and no phone waits for it"
        last = seen.setdefault(kind, [hub.seen_by_phone(user)])
        house.clock.at = NOW + 40
        current = _ended(pending) if kind == "right" else pending
        house.fleet.incident_changed(current)
        for after_s in (40, 601, AFTER_S + 9, AFTER_S + 11, 5 * AFTER_S):
            house.clock.at = NOW + after_s
            house.fleet.attend_raiser(current)
            last.append(hub.seen_by_phone(user))
            assert hub.kept[user] == (kind == "duress", False), after_s
        assert house.fleet.is_followed(current) == (kind == "duress")
        assert house.aside.holds(TENANT, CUSTOMER) == (kind == "duress" and not on_duty)
    assert seen["right"] == seen["duress"]
    levels = [level for _, level, _ in cast(Any, seen["right"])]
    assert levels == [Level.SOS, Level.SOS, Level.SOS_LATE, Level.SOS_LATE, Level.IDLE, Level.IDLE]


def test_a_pin_after_the_end_asks_no_phone_for_anything() -> None:
    house, hub = _House(), _Hub()
    house.fleet.connect(cast(Any, hub), {})
    alarm = _alarm(CUSTOMER)
    house.fleet.incident_changed(alarm)
    house.fleet.incident_changed(_ended(alarm))
    seen = hub.seen_by_phone(CUSTOMER)
    forced = replace(alarm, shown=SubjectView(0, 0, False, ended_at=0.0))
    house.fleet.incident_changed(forced)
    assert hub.kept[CUSTOMER] == (True, False)
    assert hub.seen_by_phone(CUSTOMER) == seen
