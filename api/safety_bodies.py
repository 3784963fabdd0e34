"""Bodies of safety over HTTP that concern one person: their profile, their PINs, their alarm. As in ``bodies.py``."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from api.care_bodies import OwnShareRow
from api.incident_bodies import LookRow
from realtime.messages import AccuracyM, Count, Crs, EpochS, Id, Key, Lat, Lng, Text

ContactPhone = Annotated[str, Meta(max_length=32, pattern=r"^(\+?[0-9][0-9 ()-]{2,29})?$")]
"""Empty for none."""


ContactEmail = Annotated[str, Meta(max_length=254, pattern=r"^([^@\s<>,;]{1,64}@[^@\s<>,;]{1,189})?$")]
"""Empty for none."""


Pin = Annotated[str, Meta(max_length=12)]


class EmergencyContactView(Struct, frozen=True, omit_defaults=True):
    """Somebody who is told when the person needs help; one of ``phone`` and ``email`` at least."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    phone: ContactPhone = ""
    email: ContactEmail = ""


EmergencyContacts = Annotated[list[EmergencyContactView], Meta(max_length=5)]


class PinsIn(Struct, frozen=True):
    """New PINs, always both."""

    pin: Pin
    """Calls the alarm off: 4 to 12 digits."""
    duress_pin: Pin
    """Only seems to, and brings everybody."""
    old_pin: Pin = ""
    """The PIN so far; not needed with a token that is younger than ``safety.pins.fresh_token_s``."""


class CancelSosIn(Struct, frozen=True):
    """Take an alarm back."""

    pin: Pin


class OwnSafetyIn(Struct, frozen=True):
    """A person's own safety profile, whole; PINs stay as they are when left out."""

    name: Annotated[str, Meta(max_length=128)] = ""
    phone: ContactPhone = ""
    email: ContactEmail = ""
    emergency_contacts: EmergencyContacts = msgspec.field(default_factory=list)
    consents_to_respond: bool = False
    """Technicians: whether they may be asked to help somebody near."""
    pins: PinsIn | None = None


class PersonSafetyIn(Struct, frozen=True):
    """What staff may say for a person; consent and PINs are the person's own."""

    name: Annotated[str, Meta(max_length=128)] = ""
    phone: ContactPhone = ""
    email: ContactEmail = ""
    emergency_contacts: EmergencyContacts = msgspec.field(default_factory=list)


class PersonSosIn(Struct, frozen=True):
    """An SOS for somebody who cannot raise it."""

    key: Key
    """Names the occasion: said again it is the same SOS."""
    reason: Annotated[str, Meta(min_length=1, max_length=512)]
    """How it is known; stands in the incident's note."""
    note: Text = ""
    order: Id | None = None
    lat: Lat | None = None
    lng: Lng | None = None
    accuracy_m: AccuracyM | None = None
    crs: Crs = "wgs84"
    exercise: bool = False
    """Consoles and responders are rung over the hub, told that it is one (`cap_status`); nobody outside it is."""


class SafetyProfileView(Struct, frozen=True):
    """A safety profile. PINs are never shown."""

    user: Id
    name: Annotated[str, Meta(max_length=128)]
    phone: ContactPhone
    email: ContactEmail
    emergency_contacts: EmergencyContacts
    consents_to_respond: bool
    pins_set: bool
    changed_at: EpochS | None
    """None for who never gave one."""


class SosPass(Struct, frozen=True):
    """What the SOS page raises an SOS with; good on one device and for nothing else."""

    pass_: Annotated[str, Meta(max_length=4_096)] = msgspec.field(name="pass")
    expires_at: EpochS


class SosStatus(Struct, frozen=True):
    """How far one's own alarm has come, as ``sos_ack`` tells it."""

    incident: Id
    received_at: EpochS
    delivered: Count
    seen: bool
    ended: bool
    """A person has ended it, or the one whose it is took it back: a further tap rings again."""


class OwnSafetyExport(Struct, frozen=True):
    """What safety keeps of a person, as they may see it."""

    made_at: EpochS
    profile: SafetyProfileView
    alarms: Annotated[list[SosStatus], Meta(max_length=100_000)]
    """By when they were raised."""
    shares: Annotated[list[OwnShareRow], Meta(max_length=10_000)]
    looks: Annotated[list[LookRow], Meta(max_length=10_000)]
    """Newest first; older ones than these are in ``/v1/me/looks``."""
