"""Tables of the three database files.

Columns are what is searched by; the rest of a value is one MessagePack ``body`` (``blobs.py``). Each file has its own
``MetaData`` and its own migrations (``migrations/<file>/versions``): a change here needs one there, and a test
compares the two. Times are UTC epoch seconds. Every key begins with the tenant.
"""

from typing import Final

from sqlalchemy import DDL, Column, Float, Index, Integer, LargeBinary, MetaData, Table, Text, event, text

MAIN: Final = MetaData()
"""``doorstep.db``: dispatch, its outbox, devices."""
SAFETY: Final = MetaData()
"""``safety.db``: incidents and their outbox; apart, so that nothing else can hold its lock."""
TRACKS: Final = MetaData()
"""``tracks.db``: positions of jobs and incidents; apart, so that a flush never delays an order."""


def _key(name: str) -> Column[str]:
    return Column(name, Text, primary_key=True, nullable=False)


def _text(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, Text, nullable=nullable)


def _real(name: str, *, nullable: bool = False) -> Column[float]:
    return Column(name, Float, nullable=nullable)


def _integer(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False)


def _body() -> Column[bytes]:
    return Column("body", LargeBinary, nullable=False)


def _meta(metadata: MetaData) -> Table:
    """Facts about the file itself; ``epoch`` is the random id it got when it was made."""
    return Table("meta", metadata, _key("name"), _text("value"))


def _outbox(metadata: MetaData) -> Table:
    """Messages that must arrive. One file holds one stream, so the stream is not a column."""
    return Table(
        "outbox",
        metadata,
        _key("tenant"),
        _key("recipient"),
        Column("seq", Integer, primary_key=True, nullable=False, autoincrement=False),
        _real("created_at"),
        _text("receipt"),
        _body(),
    )


def _streams(metadata: MetaData) -> Table:
    """Last number given (``seq``) and smallest number held (``first_seq``) of each recipient."""
    return Table(
        "streams",
        metadata,
        _key("tenant"),
        _key("recipient"),
        _integer("seq"),
        _integer("first_seq"),
        sqlite_with_rowid=False,
    )


def _acks(metadata: MetaData) -> Table:
    """Cumulative acknowledgement of each device; ``acked_at`` is when it last rose."""
    return Table(
        "acks",
        metadata,
        _key("tenant"),
        _key("user"),
        _key("device"),
        _integer("seq"),
        _real("acked_at"),
        sqlite_with_rowid=False,
    )


main_meta: Final = _meta(MAIN)
main_outbox: Final = _outbox(MAIN)
main_streams: Final = _streams(MAIN)
main_acks: Final = _acks(MAIN)

orders: Final = Table(
    "orders",
    MAIN,
    _key("tenant"),
    _key("order_id"),
    _text("city"),
    _text("customer"),
    _real("placed_at"),
    _text("state"),
    _text("technician", nullable=True),
    _real("settled_at", nullable=True),  # NULL while somebody must still act
    _integer("version"),
    _body(),
    Index("orders_unsettled", "tenant", "city", "settled_at"),
    Index("orders_by_time", "tenant", "placed_at", "order_id"),
    Index("orders_by_city", "tenant", "city", "placed_at", "order_id"),
    Index("orders_by_customer", "tenant", "customer", "placed_at", "order_id"),
    Index("orders_by_technician", "tenant", "technician", "placed_at", "order_id"),
    # Written once, when an order settles. Open ones are few and found by orders_unsettled.
    Index(
        "orders_settled", "tenant", "city", "state", "placed_at", "order_id",
        sqlite_where=text("settled_at IS NOT NULL"),
    ),
)  # fmt: skip
ORDER_CHANGING: Final = ("state", "technician", "settled_at", "version", "body")
"""Columns that an update writes; the others never change, so their indexes are left alone."""

offers: Final = Table(
    "offers",
    MAIN,
    _key("tenant"),
    _key("offer_id"),
    _text("city"),
    _text("order_id"),
    _text("technician"),
    _real("offered_at"),
    _text("state"),
    _integer("version"),
    _body(),
    Index("offers_by_order", "tenant", "order_id"),
    Index("offers_by_technician", "tenant", "technician", "offered_at", "offer_id"),
    Index("offers_by_state", "tenant", "city", "state", "offered_at", "offer_id"),
)
OFFER_CHANGING: Final = ("state", "version", "body")

technicians: Final = Table(
    "technicians",
    MAIN,
    _key("tenant"),
    _key("technician"),
    _text("cities"),  # one per line, with a line break at both ends
    _integer("version"),
    _body(),
)
TECHNICIAN_CHANGING: Final = ("cities", "version", "body")

order_events: Final = Table(
    "order_events",
    MAIN,
    _key("tenant"),
    _key("order_id"),
    Column("seq", Integer, primary_key=True, nullable=False, autoincrement=False),
    _real("at"),
    _body(),
)

rounds: Final = Table(
    "rounds",
    MAIN,
    _key("tenant"),
    _key("round_id"),
    _text("city"),
    _real("at"),
    _body(),
    Index("rounds_by_time", "at"),
)

round_orders: Final = Table(
    "round_orders",
    MAIN,
    _key("tenant"),
    _key("order_id"),
    _key("round_id"),
    _real("at"),
    Index("round_orders_by_round", "tenant", "round_id"),
    sqlite_with_rowid=False,
)

idempotency: Final = Table(
    "idempotency",
    MAIN,
    _key("tenant"),
    _key("city"),
    _key("user"),
    _key("key"),
    _real("at"),
    _body(),
    Index("idempotency_by_time", "at"),
)

devices: Final = Table(
    "devices",
    MAIN,
    _key("tenant"),
    _key("user"),
    _key("device"),
    _real("seen_at"),
    _body(),
)

pair_blocks: Final = Table(
    "pair_blocks",
    MAIN,
    _key("tenant"),
    _key("customer"),
    _key("technician"),
    _key("side"),  # whose block it is: customer or technician
    _integer("by_staff"),
    _real("set_at"),
    _text("block_id"),
    _body(),
    Index("pair_blocks_by_time", "tenant", "set_at", "block_id"),
    Index("pair_blocks_by_customer", "tenant", "customer", "set_at", "block_id"),
    Index("pair_blocks_by_technician", "tenant", "technician", "set_at", "block_id"),
)

sign_outs: Final = Table(
    "sign_outs",
    MAIN,
    _key("tenant"),
    _key("sign_in"),
    _real("until_at"),
    Index("sign_outs_by_time", "until_at"),
)

tracker_devices: Final = Table(
    "tracker_devices",
    MAIN,
    _key("tenant"),
    _key("device"),
    _text("technician"),
    _text("app"),
    _text("name"),
    Column("secret_hash", LargeBinary, nullable=False),
    _real("added_at"),
    _text("added_by"),
    Index("tracker_devices_by_secret", "secret_hash", unique=True),
)

browser_sessions: Final = Table(
    "browser_sessions",
    MAIN,
    _key("tenant"),
    _key("session_id"),
    _real("expires_at"),
    _body(),
    Index("browser_sessions_by_end", "expires_at"),
)

webhook_events: Final = Table(
    "webhook_events",
    MAIN,
    _key("tenant"),
    _key("endpoint"),
    _key("event_id"),
    _text("kind"),
    _real("created_at"),
    _integer("attempts"),
    _real("next_at"),
    _real("dead_at", nullable=True),  # NULL while it is to be tried
    _text("dead_because"),
    _body(),
    Index("webhook_events_due", "endpoint", "next_at", "event_id", sqlite_where=text("dead_at IS NULL")),
    Index("webhook_events_dead", "dead_at"),
)

safety_meta: Final = _meta(SAFETY)
safety_outbox: Final = _outbox(SAFETY)
safety_streams: Final = _streams(SAFETY)
safety_acks: Final = _acks(SAFETY)

incidents: Final = Table(
    "incidents",
    SAFETY,
    _key("tenant"),
    _key("incident_id"),
    _text("subject"),
    _real("raised_at"),
    _text("city", nullable=True),
    _text("state"),
    _real("settled_at", nullable=True),  # NULL while somebody must still act
    _integer("version"),
    _body(),
    Column("cap_status", Text, nullable=False, server_default="actual"),
    Index("incidents_unsettled", "settled_at"),
    Index("incidents_by_status", "cap_status", "settled_at"),
    Index("incidents_by_time", "tenant", "raised_at", "incident_id"),
    Index("incidents_by_subject", "tenant", "subject", "raised_at"),
)
INCIDENT_CHANGING: Final = ("city", "state", "settled_at", "version", "body")

triggers: Final = Table(
    "triggers",
    SAFETY,
    _key("tenant"),
    _key("trigger_id"),
    _text("incident_id"),
    _real("received_at"),
    _body(),
    Index("triggers_by_incident", "tenant", "incident_id"),
)

incident_events: Final = Table(
    "incident_events",
    SAFETY,
    _key("tenant"),
    _key("incident_id"),
    Column("seq", Integer, primary_key=True, nullable=False, autoincrement=False),
    _real("at"),
    _body(),
)

pages: Final = Table(
    "pages",
    SAFETY,
    _key("tenant"),
    _key("incident_id"),
    _key("recipient"),
    _body(),
    sqlite_with_rowid=False,
)

sos_subjects: Final = Table(
    "sos_subjects",
    SAFETY,
    _key("tenant"),
    _key("subject"),
    _body(),
    sqlite_with_rowid=False,
)

profiles: Final = Table(
    "profiles",
    SAFETY,
    _key("tenant"),
    _key("user"),
    _real("changed_at"),
    _body(),
)

audit: Final = Table(
    "audit",
    SAFETY,
    _key("tenant"),
    Column("seq", Integer, primary_key=True, nullable=False, autoincrement=False),
    _real("at"),
    _text("actor"),
    _text("action"),
    _text("subject"),
    Column("payload_hash", LargeBinary, nullable=False),
    Column("prev", LargeBinary, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    Index("audit_by_subject", "tenant", "subject", "seq"),
)
AUDIT_TRIGGERS: Final = tuple(
    f"CREATE TRIGGER audit_no_{verb.lower()} BEFORE {verb} ON audit "
    "BEGIN SELECT RAISE(ABORT, 'the audit can only be added to'); END"
    for verb in ("UPDATE", "DELETE")
)
"""Nothing of ours changes a row; whoever takes these away first is found by the chain."""
for _trigger in AUDIT_TRIGGERS:
    event.listen(audit, "after_create", DDL(_trigger))  # type: ignore[no-untyped-call]

audit_payloads: Final = Table(
    "audit_payloads",  # apart, so that what is personal can be erased
    SAFETY,
    _key("tenant"),
    Column("seq", Integer, primary_key=True, nullable=False, autoincrement=False),
    Column("salt", LargeBinary, nullable=False),
    _body(),
)

care_watches: Final = Table(
    "care_watches",
    SAFETY,
    _key("tenant"),
    _key("watch_id"),
    _text("order_id"),
    _real("settled_at", nullable=True),  # NULL while it is watched, or an alarm of it is not known to be stored
    _integer("version"),
    _body(),
    Index("care_watches_unsettled", "settled_at"),
    Index("care_watches_by_order", "tenant", "order_id"),
)

looks: Final = Table(
    "looks",
    SAFETY,
    Column("look_id", Integer, primary_key=True, nullable=False),
    _text("tenant"),
    _text("subject"),
    _real("at"),
    _body(),
    Index("looks_by_subject", "tenant", "subject", "at"),
)

trips: Final = Table(
    "trips",
    SAFETY,
    _key("tenant"),
    _key("trip_id"),
    _text("order_id"),
    _real("expires_at"),
    _integer("version"),
    _body(),
    Index("trips_by_end", "expires_at"),
)

drills: Final = Table(
    "drills",
    SAFETY,
    _key("tenant"),
    _key("drill_id"),
    _text("user"),
    _real("asked_at"),
    _integer("version"),
    _body(),
    Index("drills_by_time", "asked_at"),
)

holds: Final = Table("holds", SAFETY, _key("tenant"), _key("incident_id"), _body())
"""What ops said about the evidence of an incident last."""

tracks_meta: Final = _meta(TRACKS)

points: Final = Table(
    "points",
    TRACKS,
    Column("point_id", Integer, primary_key=True),
    _text("tenant"),
    _text("city"),
    _text("technician"),
    _text("job"),  # an order's or an incident's id
    _real("fixed_at"),
    _real("received_at"),
    _real("lat"),
    _real("lng"),
    _real("accuracy_m"),
    _real("speed_mps", nullable=True),
    _real("heading_deg", nullable=True),
    Index("points_by_job", "tenant", "job", "fixed_at"),
    Index("points_by_technician", "tenant", "technician", "fixed_at"),
)

last_positions: Final = Table(
    "last_positions",
    TRACKS,
    _key("tenant"),
    _key("technician"),
    _text("city"),
    _real("fixed_at"),
    _real("received_at"),
    _real("lat"),
    _real("lng"),
    _real("accuracy_m"),
    Index("last_positions_by_city", "tenant", "city"),
)
