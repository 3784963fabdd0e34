"""Positions and alarms of other people's apps: known by their secret, taken whole, answered as each app needs it.

An app keeps what was not answered with success and sends it again, and some send nothing else before. So success means
that what is worth keeping is on the disk, and that nothing of the rest would ever be taken; everything else is 503.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from api.cities import Cities
from api.exchange import Caller, PublicHandler, Request, Response
from api.limits import Buckets, RequestLimits
from api.sos_acks import first_ack
from api.tracker_alarms import sos_of
from core.errors import Unavailable
from core.principal import Principal, Role
from dispatch.model import Order, OrderState
from geo.frames import convert_point
from geo.pings import Verdict
from geo.point import Frame
from realtime.messages import Pings
from realtime.ports import Reply, SendDirect
from realtime.service import RealtimeService
from safety.alarms import has_alarm
from safety.model import SosReport, TriggerSource
from safety.service import SafetyService
from trackers.counts import Counts
from trackers.credentials import hash_of, secret_in_head
from trackers.errors import UnknownDevice
from trackers.forms import is_json
from trackers.gpslogger import read_gpslogger
from trackers.model import Alarm, App, Device, Poison, Reading, Report
from trackers.numbers import seq_of
from trackers.osmand import read_osmand
from trackers.overland import read_overland
from trackers.owntracks import read_owntracks
from trackers.registry import Registry
from trackers.settings import TrackerSettings
from trackers.steering import NOTHING, Goal, overland_answer, owntracks_answer
from trackers.traccar import read_traccar

_log = logging.getLogger(__name__)
ROWS_AT_ONCE: Final = 128
"""Positions that are judged in one turn of the loop: out of order they cost 40 us each."""
ASIDE_BYTES: Final = 32_768
"""A longer body is read in a thread: a batch of 1,000 points takes longer than the loop may stand still."""
GOAL_RADIUS_M: Final = 100.0
TELL_AGAIN_S: Final = 600.0
"""The same region is told again after this long: an answer may have been lost."""
_UNDER_WAY: Final = frozenset({OrderState.ASSIGNED, OrderState.EN_ROUTE, OrderState.ARRIVED, OrderState.IN_SERVICE})
_HEAD_ONLY: Final = frozenset({App.OWNTRACKS, App.OVERLAND})
"""Apps that name themselves in the head or not at all: nobody's body is waited for."""
_NEVER: Final = frozenset({Verdict.FUTURE, Verdict.INACCURATE, Verdict.NULL_ISLAND, Verdict.INVALID})
_KIND_OF: Final[Mapping[str, str]] = {
    **{verdict.word: "poison" if verdict in _NEVER else "accepted" for verdict in Verdict},
    Verdict.SHED.word: "refused",
}


class Trackers:
    """Handlers of ``/in/…``.

    Args:
        registry: Whose phone it is.
        hub: Judges and keeps positions.
        safety: Takes alarms.
        cities: Where technicians belong, and their jobs.
        limits: Requests of one person.
        frame: The platform's.
        settings: Bounds.
        counts: Of what became of it all.
        began_at: When the server started; what was told before it is not known any more.
    """

    def __init__(
        self,
        registry: Registry,
        hub: RealtimeService,
        safety: SafetyService,
        cities: Cities,
        limits: RequestLimits,
        frame: Frame,
        settings: TrackerSettings,
        counts: Counts,
        began_at: float,
    ) -> None:
        self.settings = settings
        self._counts = counts
        self._registry = registry
        self._hub = hub
        self._safety = safety
        self._cities = cities
        self._limits = limits
        self._guesses = Buckets(settings.guesses_per_s, settings.guesses_burst)
        self._frame = frame
        self._began_at = began_at

    # -- who it is --------------------------------------------------------------------------------------

    def caller(self, app: App) -> Caller:
        """Says who asks, by the head; None where the body may tell."""
        return partial(self._caller, app)

    def _caller(self, app: App, request: Request) -> Principal | None:
        secret = secret_in_head(request.raw_query, request.headers)
        may_follow = not secret and app not in _HEAD_ONLY
        return None if may_follow else self._principal(self._device(app, secret, request))

    def _device(self, app: App, secret: str, request: Request) -> Device:
        device = self._registry.by_hash(hash_of(secret)) if secret else None
        if device is not None:
            return device
        if not self._registry.is_loaded:
            raise Unavailable("the registered devices cannot be read yet")
        self._count(app, "refused", "unknown_device")
        if request.peer:
            self._guesses.take(request.peer, request.now)
        raise UnknownDevice("no registered device sends this id, password or token")

    def _principal(self, device: Device) -> Principal:
        found = self._cities.technician(device.tenant, device.technician)
        return Principal(
            tenant=device.tenant,
            user=device.technician,
            role=Role.TECHNICIAN,
            roles=frozenset({Role.TECHNICIAN}),
            cities=frozenset(found[1].cities if found is not None else ()),
            device=device.device,
            expires_at=0.0,
        )

    # -- what it says -----------------------------------------------------------------------------------

    def handler(self, app: App) -> PublicHandler:
        """Answers the requests of one app's path."""
        return partial(self._take, app)

    async def _take(self, app: App, request: Request) -> Response:
        report = await self._read(app, request)
        secret = secret_in_head(request.raw_query, request.headers) or report.secret
        device = self._device(app, secret, request)
        self._registry.note_heard(device, request.now)
        who = self._principal(device)
        for poison, number in report.poison.items():
            self._count(app, "poison", poison.value, number)
        # First of all, and whatever is refused of the rest: an alarm waits for nothing.
        raised = asyncio.gather(*self._raise(app, device, who, report, request), return_exceptions=True)
        try:
            if not report.alarms:
                self._limits.known(who, request.now)
            await self._keep(app, who, report)
        finally:
            failed = [ack for ack in await raised if isinstance(ack, BaseException)]
            self._counts.alarms[app.value, "failed"] += len(failed)
            self._counts.alarms[app.value, "raised"] += len(report.alarms) - len(failed)
        if failed:
            raise failed[0]  # the app keeps it and sends it again, which is known by its key
        return self._answer(app, device, request.now)

    async def _read(self, app: App, request: Request) -> Report:
        read = partial(_read, app, request, self.settings.points_max)
        if len(request.body) > ASIDE_BYTES:
            return await asyncio.get_running_loop().run_in_executor(None, read)
        return read()

    def _raise(
        self, app: App, device: Device, who: Principal, report: Report, request: Request
    ) -> list["asyncio.Future[bytes]"]:
        self._counts.alarms[app.value, "passed_over"] += report.passed_over

        def start(sos: SosReport) -> Callable[[SendDirect, Reply], None]:
            return lambda send, reply: self._safety.raise_sos(
                who, sos, request.now, send, reply, source=TriggerSource.TRACKER
            )

        sent = request.raw_query.encode() + request.body
        return [first_ack(start(sos_of(alarm, device, sent, request.now, self._frame))) for alarm in report.alarms]

    async def _keep(self, app: App, who: Principal, report: Report) -> None:
        """Judge what may be positions. Raises ``Unavailable`` when any of it must be sent again."""
        if not report.readings:
            return
        taken = await self._hub.ingest_device(who, _batches(report.readings))
        for word, number in taken.verdicts.items():
            self._count(app, _KIND_OF[word], word, number)
        if taken.verdicts.get(Verdict.SHED.word):
            raise Unavailable("the server is too busy to look at positions", code="overloaded")
        if not taken.is_stored:
            self._count(app, "refused", "unwritten", len(report.readings))
            raise Unavailable("the positions are not on the disk yet")

    def _count(self, app: App, kind: str, outcome: str, number: int = 1) -> None:
        self._counts.points[app.value, kind, outcome] += number

    # -- the answer -------------------------------------------------------------------------------------

    def _answer(self, app: App, device: Device, now: float) -> Response:
        steer = self.settings.steer
        if app is App.OVERLAND:
            policy = self._hub.policy(device.tenant, device.technician) if steer else None
            return Response(200, overland_answer(policy.interval_s if policy is not None else None))
        if app is App.OWNTRACKS:
            goal = self._goal(device) if steer else None
            return Response(200, owntracks_answer(goal, is_news=steer and self._is_news(device, goal, now)))
        return Response(200, NOTHING, "text/plain")

    def _is_news(self, device: Device, goal: Goal | None, now: float) -> bool:
        """Whether the device is to be told of a region, or that there is none any more."""
        known = self._registry.told
        told = known.get(device.secret_hash)
        if goal is None:
            known[device.secret_hash] = ("", now)
            # What stood in the phone when the server ended is not known: a customer's place must not stay there.
            return told[0] != "" if told is not None else device.added_at < self._began_at
        if told is not None and told[0] == goal.ref and now - told[1] < TELL_AGAIN_S:
            return False
        known[device.secret_hash] = (goal.ref, now)
        return True

    def _goal(self, device: Device) -> Goal | None:
        """The place of the job that its technician is to go to next, as the phone's GPS knows places."""
        jobs = [
            order
            for _, order in self._cities.orders_of(device.tenant, device.technician)
            if order.technician == device.technician and order.state in _UNDER_WAY
        ]
        if not jobs:
            return None
        job = min(jobs, key=_begins_at)
        point = convert_point(job.site.point, self._frame, Frame.WGS84)
        return Goal(job.order_id, point.lat_deg, point.lng_deg, GOAL_RADIUS_M, job.placed_at)


def _begins_at(order: Order) -> tuple[float, str]:
    return (order.placed_at if order.scheduled_for is None else order.scheduled_for, order.order_id)


def _read(app: App, request: Request, points_max: int) -> Report:
    """What a request says. Never raises."""
    body = request.body
    try:
        report = _parsed(app, request.raw_query, body, request.now, points_max)
    except Exception:  # noqa: BLE001 - see below
        # An edge: a defect in a parser must not block the phone's queue behind what it met, nor cost an alarm.
        _log.exception("a tracker's message could not be read", extra={"app": app.value})
        report = Report()
        report.poison[Poison.UNREADABLE] += 1
    if report.poison[Poison.UNREADABLE] and not report.alarms and has_alarm(body):
        return replace(report, alarms=(Alarm("unreadable", {}),))
    return report


def _parsed(app: App, query: str, body: bytes, now: float, points_max: int) -> Report:
    match app:
        case App.OWNTRACKS:
            return read_owntracks(body, now, points_max)
        case App.OVERLAND:
            return read_overland(body, now, points_max)
        case App.GPSLOGGER:
            return read_gpslogger(query, body, now, points_max)
        case _:  # either of the two may have been typed into either version of the app
            return read_traccar(body, now, points_max) if is_json(body) else read_osmand(query, body, now, points_max)


def _batches(readings: tuple[Reading, ...]) -> list[Pings]:
    """Rows as the hub takes them, in the order of their times."""
    found = []
    for start in range(0, len(readings), ROWS_AT_ONCE):
        part = readings[start : start + ROWS_AT_ONCE]
        rows = [
            (seq_of(r.fixed_at, r.lat, r.lng), r.fixed_at, r.lat, r.lng, r.accuracy_m, r.speed_mps, r.heading_deg)
            for r in part
        ]
        # Nothing is known of when the app sent it by its own clock: that of the server is taken.
        found.append(Pings(rows, mock=any(r.is_mock for r in part)))
    return found
