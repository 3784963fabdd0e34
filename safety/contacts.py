"""How a person and theirs are reached, as they told it. Values, no behaviour."""

from dataclasses import dataclass

from core.ids import UserId


@dataclass(frozen=True, slots=True)
class EmergencyContact:
    """Somebody whom a person wants to be told; at least one of ``phone`` and ``email``."""

    name: str
    phone: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class Contact:
    """How a person and theirs are reached; what is not known is empty."""

    user: UserId
    name: str = ""
    phone: str = ""
    email: str = ""
    emergency: tuple[EmergencyContact, ...] = ()
