import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import pytest

from api.exchange import Request
from api.limits import RequestLimits
from api.settings import ApiSettings
from api.trackers import ROWS_AT_ONCE, Trackers
from core.errors import DoorstepError, Refused, Unavailable
from core.ids import DeviceId, TenantId, UserId
from core.principal import Principal
from geo.point import Frame
from realtime.messages import PingPolicy, Pings
from realtime.service import Taken
from safety.model import SosReport
from trackers.counts import Counts
from trackers.credentials import hash_of
from trackers.model import App, Device
from trackers.registry import Registry
from trackers.settings import TrackerSettings

NOW = 1_700_000_100.0
SECRET = "trs_secret"
DEVICE = Device(TenantId("t"), DeviceId("trk_1"), UserId("tec"), App.OSMAND, "", hash_of(SECRET), 0.0, UserId("ops"))
POINT = f"id={SECRET}&lat=22.5&lon=114.0&timestamp=1700000000"


class Hub:
    """Judges as it is told to."""

    def __init__(self) -> None:
        self.taken = Taken({"live": 1}, is_stored=True)
        self.batches: list[Pings] = []

    async def ingest_device(self, who: Principal, batches: Sequence[Pings]) -> Taken:
        assert (who.user, who.device) == ("tec", "trk_1")
        self.batches += batches
        return self.taken

    def policy(self, tenant: TenantId, user: UserId) -> PingPolicy:
        return PingPolicy(interval_s=5, min_distance_m=5, accuracy="best", reason="job", heartbeat_s=25)


class Safety:
    """Takes alarms, or cannot."""

    def __init__(self) -> None:
        self.raised: list[SosReport] = []
        self.fails: DoorstepError | None = None

    def raise_sos(
        self, who: Principal, report: SosReport, now: float, send: Callable[[bytes], None], failed: Any, *, source: Any
    ) -> None:
        self.raised.append(report)
        if self.fails is None:
            send(b"{}")
        else:
            failed(self.fails)


class Cities:
    """Knows nobody."""

    def technician(self, tenant: TenantId, user: UserId) -> None:
        return None

    def orders_of(self, tenant: TenantId, user: UserId) -> list[Any]:
        return []


class World:
    def __init__(self, *, is_loaded: bool = True, **limits: Any) -> None:
        self.hub, self.safety, self.counts = Hub(), Safety(), Counts()
        registry = Registry(TrackerSettings())
        if is_loaded:
            registry.load([DEVICE])
        hub, safety, cities = cast(Any, self.hub), cast(Any, self.safety), cast(Any, Cities())
        limiter = RequestLimits(ApiSettings(**limits))
        self.trackers = Trackers(
            registry, hub, safety, cities, limiter, Frame.WGS84, TrackerSettings(), self.counts, NOW
        )

    async def send(self, query: str = "", body: bytes = b"", app: App = App.OSMAND, **headers: str) -> Any:
        request = Request(NOW, raw_query=query, body=body, headers=headers, peer="192.0.2.1")
        return await self.trackers.handler(app)(request)  # type: ignore[misc]  # it is awaitable here

    @property
    def told(self) -> Mapping[tuple[str, str], int]:
        return {(kind, outcome): n for (_, kind, outcome), n in self.counts.points.items() if n}


async def test_what_was_shed_or_is_not_on_the_disk_is_to_be_sent_again() -> None:
    world = World()
    world.hub.taken = Taken({"live": 1, "shed": 2}, is_stored=True)
    with pytest.raises(Unavailable, match="busy"):
        await world.send(POINT)
    world.hub.taken = Taken({"live": 1}, is_stored=False)
    with pytest.raises(Unavailable, match="disk"):
        await world.send(POINT)
    assert world.told == {("accepted", "live"): 2, ("refused", "shed"): 2, ("refused", "unwritten"): 1}


async def test_an_alarm_is_raised_also_where_its_point_must_come_again() -> None:
    world = World()
    world.hub.taken = Taken({"shed": 1}, is_stored=True)
    with pytest.raises(Unavailable):
        await world.send(f"{POINT}&alarm=sos")
    assert len(world.safety.raised) == 1
    assert world.counts.alarms["osmand", "raised"] == 1


async def test_an_alarm_that_could_not_be_taken_is_not_acknowledged() -> None:
    world = World()
    world.safety.fails = Unavailable("nothing would ever handle it")
    with pytest.raises(Unavailable, match="nothing would ever"):
        await world.send(f"{POINT}&alarm=sos")
    assert (world.counts.alarms["osmand", "raised"], world.counts.alarms["osmand", "failed"]) == (0, 1)


async def test_an_alarm_is_the_same_by_its_time_and_without_one_by_its_bytes() -> None:
    world = World()
    for query in (POINT, f"{POINT}&batt=7", POINT.replace("0000000", "0000001"), f"id={SECRET}", f"id={SECRET}&x=1"):
        await world.send(f"{query}&alarm=sos")
    keys = [report.key for report in world.safety.raised]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4
    assert [key[:4] for key in keys] == ["trk_", "trk_", "trk_", "srv_", "srv_"]
    assert world.safety.raised[0].note == "osmand: sos"
    fix = world.safety.raised[0].fix
    assert fix is not None
    assert fix.fixed_at == 1_700_000_000.0


async def test_nobody_is_unknown_before_the_devices_were_read() -> None:
    with pytest.raises(Unavailable, match="cannot be read yet"):
        await World(is_loaded=False).send(POINT)
    with pytest.raises(Refused, match="no registered device"):
        await World().send(POINT.replace(SECRET, "other"))


async def test_a_body_is_not_waited_for_where_the_head_must_say_who_it_is() -> None:
    world = World()
    request = Request(NOW, peer="192.0.2.1")
    for app in (App.OWNTRACKS, App.OVERLAND):
        caller = world.trackers.caller(app)
        with pytest.raises(Refused, match="no registered device"):
            caller(request)
    assert world.trackers.caller(App.TRACCAR)(request) is None
    known = world.trackers.caller(App.OVERLAND)(Request(NOW, headers={"authorization": f"Bearer {SECRET}"}))
    assert known is not None
    assert known.user == "tec"


async def test_a_long_batch_is_judged_in_parts_in_the_order_of_its_times() -> None:
    world = World()
    rows = [
        {"geometry": {"coordinates": [114.0, 22.5]}, "properties": {"timestamp": NOW - age_s, "mock": age_s == 7}}
        for age_s in range(300)
    ]
    body = json.dumps({"locations": rows}).encode()
    answer = await world.send(body=body, app=App.OVERLAND, authorization=f"Bearer {SECRET}")
    assert answer.body == b'{"result":"ok","set":{"send_interval":"5s"}}'
    assert [len(batch.pings) for batch in world.hub.batches] == [ROWS_AT_ONCE, ROWS_AT_ONCE, 300 - 2 * ROWS_AT_ONCE]
    times = [row[1] for batch in world.hub.batches for row in batch.pings]
    assert times == sorted(times)
    assert [batch.mock for batch in world.hub.batches] == [False, False, True]


async def test_a_fault_in_a_parser_is_told_in_the_log_and_blocks_no_queue(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a fault")

    monkeypatch.setattr("api.trackers.read_overland", broken)
    world = World()
    answer = await world.send(body=b'{"alarm":"sos"}', app=App.OVERLAND, authorization=f"Bearer {SECRET}")
    assert answer.status == 200
    assert world.told == {("poison", "unreadable"): 1}
    assert len(world.safety.raised) == 1, "an alarm is found in it all the same"
    assert "could not be read" in caplog.text
    assert SECRET not in caplog.text
