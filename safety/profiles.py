"""What a person tells safety of themselves: how to reach them and theirs, whether they help others, and their PINs.

``Profiles`` holds all of them in memory, because an alarm may not wait for a database; each change is stored first,
together with a row of the audit that says who changed what, and never what it was or became.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from core.ids import IncidentId, TenantId, UserId
from safety.audit import AuditEntry, fact_entry
from safety.contacts import Contact

EMERGENCY_CONTACTS_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class PinHashes:
    """Hashes of a PIN and of the one to be given under duress, never shown and never logged.

    Attributes:
        set_at: Since when they count. A PIN that was set after a tap proves nothing about that tap.
    """

    pin: str = field(repr=False)
    duress: str = field(repr=False)
    set_at: float
    forced: bool = False
    """They were changed with the PIN for duress: whoever knows them may be the one who forced it."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One person's safety profile."""

    tenant: TenantId
    contact: Contact
    consents: bool = False
    """Whether they, a technician, may be asked to help somebody near."""
    pins: PinHashes | None = None
    changed_at: float = 0.0

    @property
    def user(self) -> UserId:
        """Whose it is."""
        return self.contact.user


class ProfileStore(Protocol):
    """Profiles in ``safety.db`` (``store/profiles.py``; twin ``store/memory.py``)."""

    async def load(self) -> list[Profile]:
        """All profiles of all tenants. Raises ``Unavailable``."""
        ...

    async def put(self, profile: Profile, entry: AuditEntry) -> None:
        """Store one over the one before, and what the audit remembers, fsynced, or neither. Raises ``Unavailable``."""
        ...

    async def erase(
        self,
        tenant: TenantId,
        user: UserId,
        incidents: Sequence[IncidentId],
        held: Collection[tuple[str, str]],
        entry: AuditEntry,
    ) -> None:
        """Remove what safety keeps of a person, in one transaction, and add what the audit remembers of that.

        Their profile, who looked at them, their drills, the count of their wrong PINs and false alarms, the links that
        they shared but for orders that are ``held`` (tenant and name), these incidents of theirs with all that belongs
        to them, and what rows of the audit speak of that have the person or one of these incidents as their subject.
        Idempotent.

        Raises:
            Unavailable: Nothing is removed.
        """
        ...


def changed_parts(before: Profile, after: Profile) -> list[str]:
    """Words for what differs between two profiles: all that the audit is told of them."""
    was, is_now = before.contact, after.contact
    parts = {
        "contact": (was.name, was.phone, was.email) != (is_now.name, is_now.phone, is_now.email),
        "emergency_contacts": was.emergency != is_now.emergency,
        "consent": before.consents != after.consents,
        # Two words for PINs would tell whoever reads the audit which of them is known to somebody else.
        "pins": before.pins != after.pins,
    }
    return [word for word, is_changed in parts.items() if is_changed]


class Profiles:
    """All profiles of the process: implements ``safety.ports.Contacts``.

    Bound: one for each person who ever gave one, about 1 KiB.
    """

    def __init__(self, store: ProfileStore, consent: Callable[[TenantId, UserId, bool], None] | None = None) -> None:
        """``consent`` is told who agrees to be asked for help, at the start and at once when that changes."""
        self._store = store
        self._consent = consent or (lambda tenant, user, consents: None)
        self._known: dict[tuple[TenantId, UserId], Profile] = {}

    async def load(self) -> None:
        """Read all; called once, before anything asks. Raises ``Unavailable``."""
        self._known = {(profile.tenant, profile.user): profile for profile in await self._store.load()}
        for profile in self._known.values():
            if profile.consents:
                self._consent(profile.tenant, profile.user, True)

    def profile(self, tenant: TenantId, user: UserId) -> Profile:
        """A person's profile; an empty one for who never gave any."""
        return self._known.get((tenant, user)) or Profile(tenant, Contact(user))

    def of(self, tenant: TenantId, user: UserId) -> Contact | None:
        """How to reach somebody; None for who never said."""
        known = self._known.get((tenant, user))
        return known.contact if known is not None else None

    def consents(self, tenant: TenantId, user: UserId) -> bool:
        """Whether a technician agreed to be asked for help."""
        known = self._known.get((tenant, user))
        return known is not None and known.consents

    async def put(self, profile: Profile, by: UserId, now: float) -> Profile:
        """Store a profile that ``by`` changed; it counts once it is on the disk, with its row of the audit.

        Callers change one person's profile one after the other. Raises ``Unavailable``: nothing changed.
        """
        stored = replace(profile, changed_at=now)
        facts = {"changed": changed_parts(self.profile(stored.tenant, stored.user), stored)}
        await self._store.put(stored, fact_entry(stored.tenant, now, by, "profile.changed", stored.user, facts))
        self._known[stored.tenant, stored.user] = stored
        self._consent(stored.tenant, stored.user, stored.consents)
        return stored

    async def erase(
        self,
        tenant: TenantId,
        user: UserId,
        incidents: Sequence[IncidentId],
        held: Collection[tuple[str, str]],
        by: UserId,
        now: float,
    ) -> None:
        """Remove what safety keeps of a person; whoever calls has seen that none of these incidents is held.

        Callers change one person's profile one after the other. Raises ``Unavailable``: nothing changed.
        """
        facts = {"incidents": len(incidents)}
        entry = fact_entry(tenant, now, by, "person.erased", user, facts)
        await self._store.erase(tenant, user, incidents, held, entry)
        self._known.pop((tenant, user), None)
        self._consent(tenant, user, False)
