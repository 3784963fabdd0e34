"""Requests to watch, for persons and areas alike; rights are asked here and held to in the channels."""

from collections.abc import Callable

from core.errors import DoorstepError, Unavailable
from core.shard import Shard
from geo.arrays import IntArray
from geo.frames import convert_point
from geo.point import Frame, LatLng
from realtime.areas import AreaMember, Areas, Box, check_cells
from realtime.channels import RIGHT_ENDED, Channels, Subscription, ended_because
from realtime.messages import Ok, Unwatch, Unwatched, Watch
from realtime.ports import RealtimePorts
from realtime.session import Session
from realtime.settings import RealtimeSettings

_AREA = "area:"


class Watching:
    """All subscriptions.

    Args:
        settings: Limits.
        ports: The hub's ports.
        channels: Topics of single persons.
        areas: Topics of cities.
        count: Counts a named outcome.
    """

    def __init__(
        self,
        settings: RealtimeSettings,
        ports: RealtimePorts,
        channels: Channels,
        areas: Areas,
        count: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._ports = ports
        self._count = count
        self._area_sent_at = 0.0
        self.channels = channels
        self.areas = areas

    def __len__(self) -> int:
        """Number of topics and views."""
        return len(self.channels) + len(self.areas)

    def watch(self, session: Session, request: Watch, now: float) -> None:
        """Subscribe; a repetition replaces the former subscription.

        Raises:
            NotFound: No such topic, or no right to it.
            Unavailable: Too many topics.
            Invalid: Cells that are none.
        """
        watching = session.watching or {}
        if request.topic not in watching and len(watching) >= self._settings.watching.topics_max:
            raise Unavailable("too many topics", code="too_many_topics")
        if request.cells is not None:
            check_cells(request.cells)
        grant = self._ports.rights.grant(session.principal, request.topic, now)
        self._drop(session, request.topic)
        if session.watching is None:
            session.watching = {}
        session.send(Ok(ref=request.ref))
        self._count("watch")
        if self._ports.looks is not None and (grant.subject is not None or request.topic.startswith(_AREA)):
            self._ports.looks.watched(session.principal, grant.subject or request.topic, request.topic)
        if not request.topic.startswith(_AREA):
            # In the table before the first send: a right that ends on it must find the subscription there.
            subscription = session.watching[request.topic] = self.channels.subscribe(session, request.topic, grant)
            self.channels.show(subscription, now)
            return
        bbox = None if request.bbox is None else self._box(session, request.bbox)
        session.watching[request.topic] = self.areas.watch(session, request.topic, grant, bbox, request.cells)

    def unwatch(self, session: Session, request: Unwatch) -> None:
        """End a subscription; one that does not exist has ended already."""
        self._drop(session, request.topic)
        session.send(Ok(ref=request.ref))

    def left(self, session: Session) -> None:
        """A session is over: so are its subscriptions."""
        for topic in list(session.watching or ()):
            self._drop(session, topic)
        session.watching = None

    def _drop(self, session: Session, topic: str) -> None:
        held = None if session.watching is None else session.watching.pop(topic, None)
        if isinstance(held, Subscription):
            self.channels.unwatch(held)
        elif isinstance(held, AreaMember):
            self.areas.unwatch(held)

    def rights_changed(self, topic: str, now: float) -> None:
        """Purge what waits, ask again, tell those whose right ended."""
        self.channels.rights_changed(topic, now)
        for member in self.areas.members_of(topic):
            member.session.queue.purge(topic)
            member.behind = True
            self._renew(member, now)

    def renew(self, session: Session, now: float) -> None:
        """Ask again for everything that a session watches: its token is another one."""
        for topic, held in list((session.watching or {}).items()):
            session.queue.purge(topic)
            if isinstance(held, Subscription):
                held.look_at_roles()
                if self.channels.renew(held, now):
                    self.channels.show(held, now)
            elif isinstance(held, AreaMember):
                held.behind = True
                self._renew(held, now)

    def _renew(self, member: AreaMember, now: float) -> bool:
        session, topic = member.session, member.view.key[0]
        try:
            grant = self._ports.rights.grant(session.principal, topic, now)
        except DoorstepError as error:
            self._drop(session, topic)
            session.send(Unwatched(topic=topic, reason=ended_because(error)))
            self._count("watch_ended")
            return False
        if grant.shard != member.view.key[1]:
            self._drop(session, topic)
            session.send(Unwatched(topic=topic, reason=RIGHT_ENDED))
            return False
        member.grant = grant
        return True

    def moved(self, shard: Shard, slots: IntArray, now: float) -> None:
        """Live positions changed."""
        self.channels.changed(shard, slots, now)
        self.areas.changed(shard, slots)

    @property
    def is_busy(self) -> bool:
        """Whether areas are watched."""
        return len(self.areas) > 0

    def tick(self, now: float) -> None:
        """Send areas when their time has come."""
        if now - self._area_sent_at >= self._settings.watching.area_interval_s:
            self._area_sent_at = now
            if len(self.areas):
                self.areas.send(now, lambda member: self._renew(member, now))

    def _box(self, session: Session, bbox: tuple[float, float, float, float]) -> Box:
        west, south, east, north = bbox
        source, frame = session.source, self._settings.frame
        if source is not Frame(frame):
            corner = convert_point(LatLng(south, west), source, frame)
            other = convert_point(LatLng(north, east), source, frame)
            return (corner.lng_deg, corner.lat_deg, other.lng_deg, other.lat_deg)
        return (west, south, east, north)
