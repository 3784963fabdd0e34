"""Topics that show one person: who may watch, what was sent, and that nothing is sent without a right.

A subscription remembers the version of the right it was granted on. Every send compares it with the version
now; a send on an older one is not made. ``WatchRights`` says who may; this file only holds to it.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from core.errors import DoorstepError, NotFound
from core.ids import TenantId, UserId
from core.principal import Role
from core.shard import Shard
from geo.arrays import AnyInts
from geo.frames import convert_point
from geo.point import Frame, LatLng
from geo.position_index import Flag
from geo.shard_positions import ShardPositions
from realtime.codec import Codec
from realtime.messages import Position, Unwatched
from realtime.ports import Arrivals, WatchGrant, WatchRights
from realtime.session import Session

_K = TypeVar("_K")
_PLACED: Final = int(Flag.PLACED)

ITEM: Final = ""
"""Conflation key within a topic of one person: the newest position replaces the waiting one."""


GAP_S_MAX: Final = 8.0
"""A longer silence says nothing of how often somebody reports."""
PACE_SHARE: Final = 0.2
"""Weight of the last gap in the usual one."""
PACE_EARLY_SHARE: Final = 0.2
"""Part of the usual gap by which a position may come early: phones are no clocks."""
RIGHT_ENDED: Final = "ended"
"""Reason of ``unwatched`` when there is nothing to see any more: the job or the duty is over."""


def ended_because(error: DoorstepError) -> str:
    """The reason of ``unwatched`` for a right that was not granted again."""
    return RIGHT_ENDED if isinstance(error, NotFound) else error.code


class Subscription:
    """One session's right to one topic."""

    __slots__ = ("grant", "is_staff", "session", "topic")

    def __init__(self, topic: "Topic", session: Session, grant: WatchGrant) -> None:
        self.topic = topic
        self.session = session
        self.grant = grant
        self.look_at_roles()

    def look_at_roles(self) -> None:
        """Take over what the session's token says now."""
        who = self.session.who
        self.is_staff = who is not None and who.holds(Role.OPS, Role.RESPONDER, Role.SERVICE)


class Topic:
    """One name that is watched within a tenant, and whom it shows now."""

    __slots__ = ("gap_s", "moved_at", "name", "next_at", "shard", "slot", "subject", "subscriptions", "tenant")

    def __init__(self, tenant: TenantId, name: str) -> None:
        self.tenant = tenant
        self.name = name
        self.subscriptions: dict[Session, Subscription] = {}
        self.subject: UserId | None = None
        self.shard: Shard | None = None
        self.slot = -1
        self.forget_pace()

    def forget_pace(self) -> None:
        """It shows somebody else now."""
        self.gap_s = 0.0
        """Usual time between two positions of whom it shows; 0 while that is not known."""
        self.moved_at = 0.0
        self.next_at = 0.0

    def note_pace(self, now: float) -> None:
        """Another position of somebody without an SOS: so often those who watch are used to hear."""
        gap_s = min(now - self.moved_at, GAP_S_MAX) if self.moved_at else 0.0
        self.gap_s += (gap_s - self.gap_s) * (PACE_SHARE if self.gap_s else 1.0)
        self.moved_at = now
        self.next_at = now + self.gap_s

    def keeps_pace(self, pace_s: float, now: float) -> bool:
        """Whether a position of somebody in an SOS comes as often as before; ``pace_s`` where that is not known."""
        gap_s = self.gap_s or pace_s
        if now < self.next_at - PACE_EARLY_SHARE * gap_s:
            return False
        self.next_at = max(self.next_at, now - gap_s) + gap_s
        return True


class Channels:
    """All topics of single persons.

    Args:
        frame: The platform's frame.
        rights: Who may watch.
        positions: Where people are.
        arrivals: Guesses of arrival, None for none.
        is_in_sos: Whether a person has an open SOS.
        pace_s: Seconds between positions of somebody in an SOS for those who must not learn of it, where it is not
            known how often they came before.
        count: Counts a named outcome.
    """

    __slots__ = (
        "_arrivals", "_by_slot", "_by_subject", "_count", "_frame", "_is_in_sos", "_pace_s", "_positions", "_rights",
        "_topics",
    )  # fmt: skip

    def __init__(
        self,
        frame: Frame,
        rights: Callable[[], WatchRights],
        positions: Mapping[Shard, ShardPositions],
        arrivals: Callable[[], Arrivals | None],
        is_in_sos: Callable[[TenantId, UserId], bool],
        pace_s: float,
        count: Callable[[str], None],
    ) -> None:
        self._frame = frame
        self._rights = rights
        self._positions = positions
        self._arrivals = arrivals
        self._is_in_sos = is_in_sos
        self._pace_s = pace_s
        self._count = count
        self._topics: dict[tuple[TenantId, str], Topic] = {}
        self._by_subject: dict[tuple[TenantId, UserId], list[Topic]] = {}
        self._by_slot: dict[Shard, dict[int, list[Topic]]] = {}

    def __len__(self) -> int:
        """Number of topics that somebody watches."""
        return len(self._topics)

    # -- subscriptions --------------------------------------------------------------------------------

    def subscribe(self, session: Session, name: str, grant: WatchGrant) -> Subscription:
        """Subscribe on a right just taken; ``show`` sends the position as it stands."""
        key = (session.principal.tenant, name)
        topic = self._topics.get(key)
        if topic is None:
            topic = self._topics[key] = Topic(session.principal.tenant, name)
        subscription = topic.subscriptions[session] = Subscription(topic, session, grant)
        self._point(topic, grant)
        return subscription

    def show(self, subscription: Subscription, now: float) -> None:
        """Send one subscriber the position as it stands, where there is one."""
        self._send(subscription.topic, [subscription], now)

    def unwatch(self, subscription: Subscription) -> None:
        """End a subscription and forget what waits for it."""
        topic = subscription.topic
        topic.subscriptions.pop(subscription.session, None)
        subscription.session.queue.purge(topic.name)
        if not topic.subscriptions:
            self._unpoint(topic)
            self._topics.pop((topic.tenant, topic.name), None)

    def rights_changed(self, name: str, now: float) -> None:
        """Purge first, then ask again for each subscriber, then send ``unwatched`` or go on."""
        for topic in [topic for topic in self._topics.values() if topic.name == name]:
            for session in topic.subscriptions:
                session.queue.purge(name)
            for subscription in list(topic.subscriptions.values()):
                self.renew(subscription, now)
            if topic.subscriptions:
                self._send(topic, list(topic.subscriptions.values()), now)

    def renew(self, subscription: Subscription, now: float) -> bool:
        """Take the right again. False when it ended; then the subscriber was told."""
        session, topic = subscription.session, subscription.topic
        try:
            subscription.grant = self._rights().grant(session.principal, topic.name, now)
        except DoorstepError as error:
            self.unwatch(subscription)
            if session.watching is not None:
                session.watching.pop(topic.name, None)
            session.send(Unwatched(topic=topic.name, reason=ended_because(error)))
            self._count("watch_ended")
            return False
        self._point(topic, subscription.grant)
        return True

    # -- whom a topic shows ---------------------------------------------------------------------------

    def moved_in(self, tenant: TenantId, user: UserId) -> None:
        """A person got a slot or lost it: their topics show the new one, or nobody."""
        for topic in self._by_subject.get((tenant, user), ()):
            self._find_slot(topic)

    def _point(self, topic: Topic, grant: WatchGrant) -> None:
        if topic.subject != grant.subject or topic.shard != grant.shard:
            self._unpoint(topic)
            topic.subject, topic.shard = grant.subject, grant.shard
            if topic.subject is not None:
                self._by_subject.setdefault((topic.tenant, topic.subject), []).append(topic)
        self._find_slot(topic)

    def _unpoint(self, topic: Topic) -> None:
        self._lose_slot(topic)
        if topic.subject is not None:
            _remove(self._by_subject, (topic.tenant, topic.subject), topic)
        topic.subject = topic.shard = None
        topic.forget_pace()

    def _find_slot(self, topic: Topic) -> None:
        self._lose_slot(topic)
        if topic.subject is None or topic.shard is None or topic.shard not in self._positions:
            return
        slot = self._positions[topic.shard].index.slot(topic.subject)
        if slot is not None:
            topic.slot = slot
            self._by_slot.setdefault(topic.shard, {}).setdefault(slot, []).append(topic)

    def _lose_slot(self, topic: Topic) -> None:
        if topic.slot >= 0 and topic.shard is not None:
            _remove(self._by_slot[topic.shard], topic.slot, topic)
        topic.slot = -1

    # -- sending --------------------------------------------------------------------------------------

    def changed(self, shard: Shard, slots: AnyInts, now: float) -> None:
        """The live positions of ``slots`` changed: send them to whoever watches. Cost: O(watched ones)."""
        watched = self._by_slot.get(shard)
        if not watched:
            return
        for slot in sorted(watched.keys() & set(slots.tolist())):
            for topic in tuple(watched[slot]):
                subscriptions = list(topic.subscriptions.values())
                # The other party of a booking must not see an SOS in a faster marker: it keeps the pace it had.
                if topic.subject is None or not self._is_in_sos(topic.tenant, topic.subject):
                    topic.note_pace(now)
                elif not topic.keeps_pace(self._pace_s, now):
                    subscriptions = [subscription for subscription in subscriptions if subscription.is_staff]
                self._send(topic, subscriptions, now)

    def _send(self, topic: Topic, subscriptions: list[Subscription], now: float) -> None:
        if topic.slot < 0 or topic.shard is None:
            return
        index = self._positions[topic.shard].index
        if not index.flags[topic.slot] & _PLACED:
            return
        version = self._rights().version(topic.name)
        frames: dict[tuple[Codec, Frame | None, bool, LatLng | None], bytes] = {}
        for subscription in subscriptions:
            if subscription.grant.version != version:
                subscription.session.queue.purge(topic.name)
                if not self.renew(subscription, now) or subscription.grant.version != version or topic.slot < 0:
                    continue
            session, grant = subscription.session, subscription.grant
            key = (session.codec, session.target, grant.names_subject, grant.destination)
            payload = frames.get(key)
            if payload is None:
                payload = frames[key] = session.codec.encode(
                    self._position(topic, topic.shard, grant, session.target, now)
                )
            session.queue.offer_position((topic.name, ITEM), payload, now)

    def _position(self, topic: Topic, shard: Shard, grant: WatchGrant, target: Frame | None, now: float) -> Position:
        index, slot = self._positions[shard].index, topic.slot
        point = LatLng(float(index.lat[slot]), float(index.lng[slot]))
        seen_at = float(index.seen_at[slot])
        eta_s = None
        arrivals = self._arrivals()
        if grant.destination is not None and arrivals is not None:
            eta_s = arrivals.eta_s(shard, point, grant.destination, now)
        shown = point if target is None else convert_point(point, self._frame, target)
        heading_deg, speed_mps = float(index.heading_deg[slot]), float(index.speed_mps[slot])
        return Position(
            topic=topic.name,
            lat=round(shown.lat_deg, 7),
            lng=round(shown.lng_deg, 7),
            crs=(target or self._frame).value,
            accuracy_m=round(float(index.accuracy_m[slot]), 1),
            fixed_at=round(seen_at, 3),
            age_s=round(max(0.0, now - seen_at), 3),
            technician=topic.subject if grant.names_subject else None,
            heading_deg=None if heading_deg != heading_deg else round(heading_deg, 1),
            speed_mps=None if speed_mps != speed_mps else round(speed_mps, 2),
            eta_s=None if eta_s is None else round(eta_s, 1),
            arrives_at=None if eta_s is None else round(now + eta_s, 3),
        )


def _remove(table: dict[_K, list[Topic]], key: _K, topic: Topic) -> None:
    topics = table[key]
    topics.remove(topic)
    if not topics:
        del table[key]
