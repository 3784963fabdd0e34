"""Who may see whose position, now. Implements ``realtime.ports.WatchRights``.

Kept apart from the engines' state on purpose: it changes only with what is committed, in ``tracking_changed``,
``incident_changed`` and ``duty_changed``, each of which raises the topic's version before anybody hears the news.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from api.views import TECHNICIAN_STATES, TRACKED_STATES
from core.errors import NotFound
from core.ids import CityId, OrderId, TenantId, UserId
from core.principal import Principal, Role
from core.shard import Shard
from dispatch.model import Order, OrderState
from dispatch.order import SETTLED_STATES
from geo.point import LatLng
from realtime.ports import WatchGrant
from safety.access import may_read
from safety.model import Incident

ORDER_TOPIC: Final = "order"
TECHNICIAN_TOPIC: Final = "technician"
INCIDENT_TOPIC: Final = "incident"
AREA_TOPIC: Final = "area"
_AREA_PREFIX: Final = f"{AREA_TOPIC}:"


def no_such_topic() -> NotFound:
    """Foreign, absent and misspelt look the same."""
    return NotFound("there is no such topic for you", field="topic")


@dataclass(frozen=True, slots=True)
class _Tracked:
    """An order as far as watching it goes."""

    tenant: TenantId
    city: CityId
    customer: UserId
    technician: UserId | None
    customer_sees: bool
    is_over: bool
    """The job is done: nothing is left for the customer to watch."""
    destination: LatLng | None


class Rights:
    """The table of rights. Every look-up is from memory; ``version`` is one dictionary look-up.

    Topics do not name their tenant, so two tenants' technicians with one id share a version: a change for one
    only makes the hub ask again for the other.
    """

    def __init__(
        self, shards: frozenset[Shard], outside_duty: Callable[[TenantId], Shard | None] = lambda _tenant: None
    ) -> None:
        """Know the open shards, and what stands for those with an alarm outside duty; nobody is on duty yet."""
        self._shards = shards
        self._outside_duty = outside_duty
        self._orders: dict[tuple[TenantId, OrderId], _Tracked] = {}
        self._incidents: dict[tuple[TenantId, str], Incident] = {}
        self._on_duty: dict[tuple[TenantId, UserId], Shard] = {}
        self._versions: dict[str, int] = {}
        self._clock = 0
        self._forgotten = 0

    # -- what changes -----------------------------------------------------------------------------------

    def tracking_changed(self, order: Order) -> str | None:
        """Take in a committed order; returns the topic when its rights changed, else None."""
        key = (order.tenant, order.order_id)
        known = self._orders.get(key)
        topic = f"{ORDER_TOPIC}:{order.order_id}"
        if order.state in SETTLED_STATES:
            if self._orders.pop(key, None) is None:
                return None
            self._forget(topic)
            return topic
        now_tracked = _Tracked(
            order.tenant,
            order.city,
            order.customer,
            order.technician if order.state in TECHNICIAN_STATES else None,
            order.state in TRACKED_STATES,
            order.state in (OrderState.FINISHED, OrderState.DEPARTED_SAFE),
            order.site.point if order.state in (OrderState.ASSIGNED, OrderState.EN_ROUTE) else None,
        )
        if now_tracked == known:
            return None
        self._orders[key] = now_tracked
        self._bump(topic)
        return topic

    def incident_changed(self, incident: Incident) -> str:
        """Take in a committed incident; returns its topic."""
        key = (incident.tenant, incident.incident_id)
        topic = f"{INCIDENT_TOPIC}:{incident.incident_id}"
        if incident.is_active:
            self._incidents[key] = incident
            self._bump(topic)
        else:
            self._incidents.pop(key, None)
            self._forget(topic)
        return topic

    def duty_changed(self, tenant: TenantId, user: UserId, shard: Shard | None) -> list[str]:
        """Take in where somebody is on duty; returns the topics whose rights changed."""
        key = (tenant, user)
        if self._on_duty.get(key) == shard:
            return []
        if shard is None:
            del self._on_duty[key]
        else:
            self._on_duty[key] = shard
        topics = [f"{TECHNICIAN_TOPIC}:{user}"]
        topics += [
            f"{ORDER_TOPIC}:{oid}"
            for (owner, oid), t in self._orders.items()
            if owner == tenant and t.technician == user
        ]
        topics += [
            f"{INCIDENT_TOPIC}:{iid}"
            for (owner, iid), i in self._incidents.items()
            if owner == tenant and i.subject == user
        ]
        for topic in topics:
            self._bump(topic)
        return topics

    def shard_of(self, tenant: TenantId, user: UserId) -> Shard | None:
        """Where somebody is on duty."""
        return self._on_duty.get((tenant, user))

    # -- WatchRights ------------------------------------------------------------------------------------

    def version(self, topic: str) -> int:
        """Current version of a topic; of a forgotten one, a version that no running grant has.

        Whether somebody may watch an area is a matter of their token alone: its version never changes.
        """
        if topic.startswith(_AREA_PREFIX):
            return 0
        return self._versions.get(topic, self._forgotten)

    def grant(self, who: Principal, topic: str, now: float) -> WatchGrant:
        """The right of ``who`` to ``topic``. Raises ``NotFound``."""
        kind, _, name = topic.partition(":")
        if not name or who.restricted or (who.order and topic != f"{ORDER_TOPIC}:{who.order}"):
            raise no_such_topic()
        if kind == ORDER_TOPIC:
            return self._order(who, topic, OrderId(name))
        if kind == TECHNICIAN_TOPIC:
            return self._technician(who, topic, UserId(name))
        if kind == INCIDENT_TOPIC:
            return self._incident(who, topic, name)
        if kind == AREA_TOPIC:
            return self._area(who, topic, CityId(name))
        raise no_such_topic()

    def _order(self, who: Principal, topic: str, order_id: OrderId) -> WatchGrant:
        order = self._orders.get((who.tenant, order_id))
        if order is None:
            raise no_such_topic()
        if who.holds(Role.OPS) and order.city in who.cities:
            return self._grant(who.tenant, order.technician, topic, order.destination)
        if who.holds(Role.CUSTOMER) and order.customer == who.user and not order.is_over:
            subject = order.technician if order.customer_sees else None
            return self._grant(who.tenant, subject, topic, order.destination)
        raise no_such_topic()

    def _technician(self, who: Principal, topic: str, user: UserId) -> WatchGrant:
        shard = self._on_duty.get((who.tenant, user))
        if shard is None or not who.holds(Role.OPS) or shard.city not in who.cities:
            raise no_such_topic()
        return self._grant(who.tenant, user, topic)

    def _incident(self, who: Principal, topic: str, name: str) -> WatchGrant:
        incident = self._incidents.get((who.tenant, name))
        if incident is None or not may_read(incident, who):
            raise no_such_topic()
        grant = self._grant(who.tenant, incident.subject, topic)
        # Outside duty, whoever called for help is shown to those of their incident and to nobody else.
        return grant if grant.shard is not None else replace(grant, shard=self._outside_duty(who.tenant))

    def _area(self, who: Principal, topic: str, city: CityId) -> WatchGrant:
        shard = Shard(who.tenant, city)
        if shard not in self._shards or not who.holds(Role.OPS) or city not in who.cities:
            raise no_such_topic()
        return WatchGrant(None, shard, self.version(topic))

    def _grant(
        self, tenant: TenantId, subject: UserId | None, topic: str, destination: LatLng | None = None
    ) -> WatchGrant:
        shard = self._on_duty.get((tenant, subject)) if subject is not None else None
        return WatchGrant(subject, shard, self.version(topic), destination if subject is not None else None)

    def _bump(self, topic: str) -> None:
        self._clock += 1
        self._versions[topic] = self._clock

    def _forget(self, topic: str) -> None:
        """Drop a topic's version; whoever still holds a grant of any forgotten topic has to ask again."""
        self._clock += 1
        self._forgotten = self._clock
        self._versions.pop(topic, None)
