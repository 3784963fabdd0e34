"""The audit: who did what, in rows that nobody can change unseen. Pure; the rows lie in ``store/audit.py``.

Each tenant has one chain. A row holds the hash of what it speaks of, the ``mac`` of the row before it, and its own
``mac`` over all of that under a key that does not lie beside the database::

    row n:  seq n | at | actor | action | subject | sha256(salt + payload) | mac of row n-1 | HMAC-SHA256 of it all

So an edit, a deletion in the middle, another order or a row by somebody without the key is found at the row. What the
chain alone cannot show is that its end is missing, or was written anew by the server itself: for that the newest
``mac`` (the head) is exported every few minutes, signed, to another place: an anchor.

The payload and its salt lie apart from the row, so that what is personal can be erased: the row stays and says when.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from core.ids import TenantId
from safety.model import IncidentEvent
from safety.pages import Page

MAC_LEN: Final = 32
NO_MAC: Final = bytes(MAC_LEN)
"""What stands before the first row."""
KEY_BYTES_MIN: Final = 32
INCIDENT_PREFIX: Final = "incident."
"""How the action of a row begins that speaks of an event of an incident; the event's own word follows."""
_ANCHOR: Final = b"anchor"
_KEY_NAME: Final = b"name of the audit key"

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack_event: Final = msgspec.msgpack.Decoder(IncidentEvent).decode


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something that is to be remembered for good.

    Attributes:
        actor: A user's id, or ``system``.
        action: A word, as ``incident.raised``, ``delivery.received``, ``location.read``.
        subject: What it was done to: an incident's or a user's id.
        payload: The facts, as MessagePack. Not in the chain: only its salted hash is.
    """

    tenant: TenantId
    at: float
    actor: str
    action: str
    subject: str
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row of a tenant's chain; ``seq`` counts from 1 without gaps."""

    tenant: TenantId
    seq: int
    at: float
    actor: str
    action: str
    subject: str
    payload_hash: bytes
    prev: bytes
    mac: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain."""

    seq: int = 0
    mac: bytes = NO_MAC


@dataclass(frozen=True, slots=True)
class Anchor:
    """A head as it was exported: from then on the chain must hold this ``mac`` at this ``seq``.

    Attributes:
        key: Name of the key that signed it (``AuditKeys.name``).
        sign: HMAC-SHA256 over the rest.
    """

    tenant: TenantId
    seq: int
    mac: bytes
    at: float
    key: str
    sign: bytes


class AuditKeys:
    """The secret keys of the chain. The first signs, all are good for checking: so a key can be changed.

    Raises:
        ValueError: There is none, or one is shorter than ``KEY_BYTES_MIN``.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or min(len(key) for key in keys) < KEY_BYTES_MIN:
            raise ValueError(f"an audit key must have at least {KEY_BYTES_MIN} bytes")
        self._keys = tuple(keys)
        self.names: Mapping[str, bytes] = {_sign(key, _KEY_NAME)[:4].hex(): key for key in keys}

    @property
    def name(self) -> str:
        """Tells the signing key from others without giving it away."""
        return next(iter(self.names))

    def sign(self, message: bytes) -> bytes:
        """HMAC-SHA256 under the signing key."""
        return _sign(self._keys[0], message)

    def is_good(self, message: bytes, mac: bytes) -> bool:
        """Whether any of the keys made this ``mac``."""
        return any(hmac.compare_digest(_sign(key, message), mac) for key in self._keys)


class AuditPen:
    """Writes rows: the signing key, and where salts come from.

    Args:
        keys: The keys.
        salt: Makes a new salt of at least 16 random bytes.
    """

    def __init__(self, keys: AuditKeys, salt: Callable[[], bytes]) -> None:
        self.keys = keys
        self._salt = salt

    def write(self, entry: AuditEntry, head: Head) -> tuple[AuditRow, bytes]:
        """The row that follows ``head``, and the salt of its payload. Cost: about 10 us."""
        salt = self._salt()
        seq, payload_hash = head.seq + 1, hash_payload(salt, entry.payload)
        message = _message(
            entry.tenant, seq, entry.at, entry.actor, entry.action, entry.subject, payload_hash, head.mac
        )
        row = AuditRow(
            entry.tenant,
            seq,
            entry.at,
            entry.actor,
            entry.action,
            entry.subject,
            payload_hash,
            head.mac,
            self.keys.sign(message),
        )
        return row, salt

    def anchor(self, tenant: TenantId, head: Head, now: float) -> Anchor:
        """A head, signed for another place."""
        at = round(now, 3)
        sign = self.keys.sign(_anchor_message(tenant, head.seq, head.mac, at, self.keys.name))
        return Anchor(tenant, head.seq, head.mac, at, self.keys.name, sign)


def hash_payload(salt: bytes, payload: bytes) -> bytes:
    """What a row keeps of its payload: without the salt nobody can try what it may have been."""
    return hashlib.sha256(salt + payload).digest()


def incident_entry(event: IncidentEvent) -> AuditEntry:
    """An incident's event as an entry."""
    return AuditEntry(event.tenant, event.at, event.who, INCIDENT_PREFIX + event.what, event.incident_id, _pack(event))


def page_entry(page: Page) -> AuditEntry:
    """What became of calling somebody outside the hub, as it stands."""
    at = max([page.told_at, *(hop.settled_at for hop in page.hops if hop.settled_at is not None)])
    return AuditEntry(page.tenant, at, "system", "delivery.tried", page.incident_id, _pack(page))


def fact_entry(
    tenant: TenantId, at: float, actor: str, action: str, subject: str, facts: Mapping[str, object]
) -> AuditEntry:
    """Anything else as an entry; ``facts`` are plain values."""
    return AuditEntry(tenant, at, actor, action, subject, _pack(dict(facts)))


def event_of(action: str, payload: bytes) -> IncidentEvent | None:
    """The event that a row speaks of; None for other rows and for bytes that are none."""
    if not action.startswith(INCIDENT_PREFIX):
        return None
    try:
        return _unpack_event(payload)
    except msgspec.DecodeError:
        return None


# -- checking ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a chain is not what it was. ``seq`` is the first row that cannot be believed."""

    tenant: TenantId
    seq: int
    what: str

    def __str__(self) -> str:
        """One line for a person."""
        return f"{self.tenant}: row {self.seq}: {self.what}"


def check_chain(
    tenant: TenantId, rows: Iterable[AuditRow], anchors: Sequence[Anchor], keys: AuditKeys
) -> tuple[Head, Fault | None]:
    """Follow one tenant's chain from its beginning.

    Args:
        tenant: Whose chain.
        rows: All of its rows by ``seq``.
        anchors: The tenant's, in any order.
        keys: All keys that may have signed.

    Returns:
        How far it could be followed, and the first fault, None for a sound chain.
    """
    named = {anchor.key for anchor in anchors}
    if named and not named & keys.names.keys():
        return Head(), Fault(tenant, 1, f"the anchors were signed by key {min(named)}, which is not among the keys")
    for anchor in anchors:
        message = _anchor_message(tenant, anchor.seq, anchor.mac, anchor.at, anchor.key)
        if not keys.is_good(message, anchor.sign):
            return Head(), Fault(tenant, max(anchor.seq, 1), "the anchor of this row was not signed by us")
    at_seq: dict[int, set[bytes]] = {}
    for anchor in anchors:
        at_seq.setdefault(anchor.seq, set()).add(anchor.mac)
    head, anchored = Head(), 0
    for row in rows:
        fault = _fault_of(row, head, keys)
        if fault is not None:
            return head, Fault(tenant, head.seq + 1, fault)
        macs = at_seq.pop(row.seq, None)
        if macs is not None and macs != {row.mac}:
            return head, Fault(
                tenant,
                anchored + 1,
                f"the end was cut off and written anew, somewhere from here to row {row.seq}, whose anchor differs",
            )
        head = Head(row.seq, row.mac)
        anchored = row.seq if macs is not None else anchored
    at_seq.pop(0, None)
    if at_seq:
        return head, Fault(
            tenant,
            head.seq + 1,
            f"the end is missing: an anchor knows row {max(at_seq)}; the last that agrees is of row {anchored}",
        )
    return head, None


def _fault_of(row: AuditRow, head: Head, keys: AuditKeys) -> str | None:
    if row.seq != head.seq + 1:
        return "is missing" if row.seq > head.seq else "is there twice"
    if row.prev != head.mac:
        return "does not follow the row before it: rows were deleted, changed or put in another order"
    message = _message(row.tenant, row.seq, row.at, row.actor, row.action, row.subject, row.payload_hash, row.prev)
    if not keys.is_good(message, row.mac):
        return "was changed, or was not written with one of these keys"
    return None


def _message(
    tenant: str, seq: int, at: float, actor: str, action: str, subject: str, payload_hash: bytes, prev: bytes
) -> bytes:
    # MessagePack says where each part ends: no two rows have the same bytes.
    return _pack((tenant, seq, float(at), actor, action, subject, payload_hash, prev))


def _anchor_message(tenant: str, seq: int, mac: bytes, at: float, key: str) -> bytes:
    return _pack((_ANCHOR, tenant, seq, mac, float(at), key))


def _sign(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")
