"""What is true of each reason against a pair, wherever somebody asks: one row each, and every set derived from them.

What the reasons say of two people is judged elsewhere (``pairs.py`` names the doors). A set of reasons that stands
anywhere else would be forgotten by the next reason: a test refuses it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import Final

from dispatch.problem import Exclusion


class Basis(Enum):
    """What a reason is read from, and so for how long it says anything."""

    WORK = auto()
    """What the technician does now."""
    PHONE = auto()
    """The shard's index: it means nothing for somebody who is not in it."""
    WAY = auto()
    """The way to the order: it means nothing for somebody whose place is not known."""
    RECORD = auto()
    """The technician's record and the order's wishes: it holds until one of the two is changed."""
    PAIR = auto()
    """What lies between the two people, or between the technician and the order."""
    ALARM = auto()
    """An open incident."""
    ROUND = auto()
    """The round as a whole: never said of a pair by itself."""


class Moment(Flag):
    """When a pair that was found a while ago is looked at again."""

    ACCEPT = auto()
    """An offer is taken. Where the phone is, and whether it is heard, was judged when the offer was made."""
    CHANGE = auto()
    """The record is changed: a live offer is withdrawn, and staff hear of an accepted order."""
    SET_OUT = auto()
    """A booked job begins."""
    TIME = auto()
    """What was agreed shall take place at another time, or take longer: only what depends on the time is news."""


_STANDING: Final = Moment.ACCEPT | Moment.CHANGE | Moment.SET_OUT
_NEVER: Final = Moment(0)


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason's row.

    Attributes:
        meaning: For people.
        asked: When a pair that was found before is asked for it again.
        is_overridable: Staff who assign by hand may pass over it by name: wishes, estimates, and what a telephone
            call can settle. A block between people is a wish of one of them, which staff may lift as well: to pass
            over it once leaves it in place, and their name in the order's history. What keeps people safe or a
            promise true holds, and so does whatever is added until its row says otherwise.
        is_waivable: A ``what-if`` may leave it out. Distance is a number there, and who is off duty has no place.
        is_private: The technician's affair: a customer hears of one what they hear of the others.
        is_woken: Speaks against a sleeping phone only, which an offer wakes.
    """

    meaning: str
    basis: Basis
    asked: Moment = _NEVER
    is_overridable: bool = False
    is_waivable: bool = False
    is_private: bool = False
    is_woken: bool = False


_E = Exclusion
_B = Basis

RULES: Final[dict[Exclusion, Rule]] = {
    _E.OFF_DUTY: Rule("Off duty or about to leave it, or on duty elsewhere.", _B.WORK, Moment.ACCEPT),
    _E.BUSY: Rule("On a job.", _B.WORK, is_waivable=True),
    _E.OFFERED: Rule(
        "Holds an open offer: a technician has one at a time (the open-offer limit).",
        _B.WORK,
        is_overridable=True,
        is_waivable=True,
    ),
    _E.UNVERIFIED: Rule("Not verified.", _B.RECORD, _STANDING, is_waivable=True, is_private=True),
    _E.CITY: Rule("The record does not name this city.", _B.RECORD, _STANDING, is_waivable=True, is_private=True),
    _E.SKILL: Rule("Lacks a skill that the order needs.", _B.RECORD, _STANDING, is_overridable=True, is_waivable=True),
    _E.GENDER: Rule(
        "Not of the gender that the customer wishes.", _B.RECORD, _STANDING, is_overridable=True, is_waivable=True
    ),
    _E.REFUSED: Rule(
        "Declined this order, let its offer lapse, or lost it.", _B.PAIR, is_overridable=True, is_waivable=True
    ),
    _E.DISCONNECTED: Rule("No device has a session.", _B.PHONE, is_overridable=True, is_waivable=True, is_woken=True),
    _E.UNHEARD: Rule(
        "Their last offer did not arrive, and nothing was heard since.",
        _B.PHONE,
        is_overridable=True,
        is_waivable=True,
    ),
    _E.STALE_POSITION: Rule(
        "The last position is older than `dispatch.position_fresh_s`.",
        _B.PHONE,
        is_overridable=True,
        is_waivable=True,
        is_woken=True,
    ),
    _E.TOO_FAR: Rule("Beyond the radius that the order has come to.", _B.WAY, is_overridable=True),
    _E.OWN_ORDER: Rule("Is the customer.", _B.PAIR, Moment.ACCEPT, is_waivable=True),
    _E.NOT_PICKED: Rule("The customer picked somebody else.", _B.ROUND, is_waivable=True),
    _E.CALENDAR: Rule("A booked job, a rest or the end of a shift leaves no room.", _B.WAY, is_waivable=True),
    # Told to customers as well: it depends on the order's time, of which they may choose another.
    _E.PAPERS: Rule(
        "A paper that the city needs is missing or over.", _B.RECORD, _STANDING | Moment.TIME, is_waivable=True
    ),
    _E.SOS: Rule("Has an open alarm.", _B.ALARM, Moment.ACCEPT),
    _E.FARTHER: Rule("In reach, and nothing is known against them: enough nearer ones were weighed.", _B.ROUND),
    _E.TIER: Rule(
        "Below the tier that the order asks for.", _B.RECORD, _STANDING, is_overridable=True, is_waivable=True
    ),
    _E.BLOCKED: Rule(
        "The customer and the technician are kept apart at the wish of one of them.",
        _B.PAIR,
        Moment.ACCEPT,
        is_overridable=True,
        is_waivable=True,
        is_private=True,
    ),
    # Not asked when they set out: a way that has grown since by a street is no reason to leave a customer alone.
    _E.NIGHT_TRANSPORT: Rule(
        "Too far to walk home at night.",
        _B.WAY,
        Moment.CHANGE | Moment.TIME,
        is_overridable=True,
        is_waivable=True,
    ),
    _E.ZONE: Rule(
        "Does not go to the zone of the order's place.", _B.RECORD, _STANDING, is_overridable=True, is_waivable=True
    ),
    _E.SERVICE: Rule("Does not do the order's service.", _B.RECORD, _STANDING, is_waivable=True),
}


def _based_on(*bases: Basis) -> frozenset[Exclusion]:
    return frozenset(reason for reason, rule in RULES.items() if rule.basis in bases)


BY_INDEX: Final = _based_on(Basis.PHONE)
BY_WAY: Final = _based_on(Basis.WAY)
OF_NOW: Final = _based_on(Basis.WORK, Basis.PHONE, Basis.WAY)
"""What says nothing about an order whose time is far off."""
LASTING: Final = _based_on(Basis.RECORD, Basis.PAIR)
"""What waiting does not change: with one of them a pick cannot succeed."""
OVERRIDABLE: Final = frozenset(reason for reason, rule in RULES.items() if rule.is_overridable)
WAIVABLE: Final = frozenset(reason for reason, rule in RULES.items() if rule.is_waivable)
PRIVATE: Final = frozenset(reason for reason, rule in RULES.items() if rule.is_private)
WOKEN: Final = frozenset(reason for reason, rule in RULES.items() if rule.is_woken)


def labels(reasons: Iterable[Exclusion]) -> str:
    """Several reasons as people read them, in their order."""
    return ", ".join(reason.label for reason in reasons)


def by_label(reasons: Iterable[Exclusion]) -> dict[str, Exclusion]:
    """These reasons by their labels, in the order of those."""
    return dict(sorted((reason.label, reason) for reason in reasons))
