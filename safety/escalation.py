"""Whom an incident must reach at each level, and when the next level follows. Pure but for the look-ups.

A look-up that fails never costs the alarm: what can still be found is told, and the failure is named.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeVar

from core.ids import CityId, UserId
from geo.point import LatLng
from safety.incident import LEVEL_LAST
from safety.model import Incident, Target
from safety.ports import HelpSought, NearbyResponder, Surroundings
from safety.ranking import Group, assumed_r95_m, place_in_line
from safety.settings import SafetySettings

T = TypeVar("T")
LEVEL_ALL_CITIES: Final = LEVEL_LAST - 1
"""From here on people of other cities are told and asked too, and nobody is left out because a phone is quiet."""
QUIET_NEAREST: Final = 10
"""Whoever is among so many nearest, by the last known position, is told from the start, however quiet the phone."""
ASK_MAX: Final = 10_000
"""Most who are looked up at once in each group."""


class Why(StrEnum):
    """Why somebody is told; goes out with the message."""

    NEAREST = "nearest_responder"
    OPS_CITY = "ops_of_the_city"
    NEARBY = "responder_nearby"
    OPS_ALL = "ops_of_all_cities"
    EVERYONE = "everyone"


def level_gap_s(settings: SafetySettings, level: int) -> float | None:
    """Seconds from reaching ``level`` unacknowledged to the next one, None on the last."""
    after_s = (0.0, settings.level_1_after_s, settings.level_2_after_s, settings.level_3_after_s)
    return None if level >= LEVEL_LAST else after_s[level + 1] - after_s[level]


@dataclass(frozen=True, slots=True)
class Found:
    """People to tell at a level, and which look-ups failed."""

    targets: tuple[Target, ...]
    failures: tuple[str, ...]


def guarded(failures: list[str], what: str, ask: Callable[[], T], fallback: Callable[[], T]) -> T:
    """Ask; if that raises, note it and use the fallback."""
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - whatever is wrong around a tap, the tap goes out
        failures.append(f"{what}: {type(error).__name__}")
        return fallback()


def find_targets(surroundings: Surroundings, settings: SafetySettings, incident: Incident, now: float) -> Found:
    """Everyone to tell at the incident's level. Never raises.

    Never contains the subject, anybody they have a job with, or anybody kept apart from them.
    """
    failures: list[str] = []
    level, tenant, city = incident.level, incident.tenant, incident.city
    is_gentle = incident.gentle_until is not None
    targets = [] if is_gentle else _near(surroundings, settings, incident, now, failures)
    ops = guarded(failures, "ops", lambda: list(surroundings.ops(tenant, city)), lambda: None)
    targets += [Target(user, Why.OPS_CITY, level) for user in ops or ()]
    if ops is None or level >= LEVEL_ALL_CITIES:
        everywhere = guarded(failures, "all_ops", lambda: list(surroundings.ops(tenant, None)), list[UserId])
        targets += [Target(user, Why.OPS_ALL, level) for user in everywhere]
    if level >= LEVEL_LAST:
        far = _everyone(surroundings, settings, incident, now, failures)
        targets += [_target(responder, Why.EVERYONE, level) for responder in far]
    # Those in line have been asked about: the others are ops.
    ops_users = {target.user for target in targets if target.approach is None}
    apart = who_is_kept_apart(surroundings, incident, ops_users, failures)
    allowed = tuple(t for t in targets if _may_be_told(incident, t.user) and t.user not in apart)
    return Found(allowed, tuple(dict.fromkeys(failures)))


def _near(
    surroundings: Surroundings, settings: SafetySettings, incident: Incident, now: float, failures: list[str]
) -> list[Target]:
    """The first in line of the level; all there are when nobody can say who is near."""
    level = incident.level
    limits = (
        settings.responders_level_0,
        settings.responders_level_1,
        settings.responders_level_2,
        settings.responders_level_2,
    )
    # Enough of them to say who is among the nearest.
    most = max(limits[level], QUIET_NEAREST)
    line = _line(surroundings, settings, incident, incident.city, most, now, failures)
    if line is None:
        return [
            _target(r, Why.EVERYONE, level) for r in _everyone(surroundings, settings, incident, now, failures)
        ]  # fmt: skip
    line = [*line[: limits[level]], *_quiet_ones(line, limits[level], level)]
    return [_target(r, Why.NEAREST if nth < limits[0] else Why.NEARBY, level) for nth, r in enumerate(line)]


def _quiet_ones(line: Sequence[NearbyResponder], limit: int, level: int) -> list[NearbyResponder]:
    """Those behind the limit whose phone is quiet and who are told nevertheless: it may hear what it does not say."""
    nearest = sorted((r for r in line if r.distance_m is not None), key=lambda r: r.distance_m or 0.0)
    near = {responder.user for responder in nearest[:QUIET_NEAREST]}
    quiet = [r for r in line[limit:] if r.approach is not None and not r.approach.is_live]
    return quiet[:limit] if level >= LEVEL_ALL_CITIES else [r for r in quiet if r.user in near]


def _everyone(
    surroundings: Surroundings, settings: SafetySettings, incident: Incident, now: float, failures: list[str]
) -> list[NearbyResponder]:
    """Responders of all cities in line if that can be known, else in any order."""
    most = settings.responders_level_3
    line = _line(surroundings, settings, incident, None, most, now, failures, what="responders_by_distance")
    if line is None:
        line = _line(
            surroundings, settings, incident, None, most, now, failures, what="all_responders", with_place=False
        )
    return (line or [])[:most]


def find_responders(
    surroundings: Surroundings,
    settings: SafetySettings,
    incident: Incident,
    limit: int,
    now: float,
    failures: list[str],
    *,
    everywhere: bool = False,
) -> list[Target]:
    """The first in line of those who may be told. Never raises.

    Those of other cities come behind those of the incident's own: once its level says so, or if ``everywhere`` does.
    No distance ends the search.
    """
    found: dict[UserId, Target] = {}
    cities = (incident.city, None) if everywhere or incident.level >= LEVEL_ALL_CITIES else (incident.city,)
    for city in dict.fromkeys(cities):
        for responder in _line(surroundings, settings, incident, city, limit, now, failures) or ():
            found.setdefault(responder.user, _target(responder, Why.NEARBY, incident.level))
        if len(found) >= limit:
            break
    return list(found.values())[:limit]


def _line(
    surroundings: Surroundings,
    settings: SafetySettings,
    incident: Incident,
    city: CityId | None,
    limit: int,
    now: float,
    failures: list[str],
    *,
    what: str = "responders",
    with_place: bool = True,
) -> list[NearbyResponder] | None:
    """Who may be told, in line: ``limit`` of those who are heard if there are as many, and of the quiet ones.

    None when staff cannot be found; a failure with those who consented costs only them.
    """
    # As many more as may have to be left out, so that leaving them out never shortens the line.
    ask = limit + len(incident.avoid) + 1
    point = place_of(incident) if with_place else None
    while True:
        sought = HelpSought(incident.tenant, city, point, _r95_m(incident), settings.responder_mps, ask)
        staff = _ask(surroundings, sought, Group.STAFF, now, failures, what)
        if staff is None:
            return None
        others = _ask(surroundings, sought, Group.CONSENTING, now, failures, f"{Group.CONSENTING} {what}") or []
        once = {responder.user: responder for responder in (*others, *staff)}
        allowed = _allowed(surroundings, incident, once, failures)
        is_all = len(staff) < ask and len(others) < ask
        if is_all or len(allowed) >= limit or ask >= ASK_MAX:
            line = [once[user] for user in allowed]
            return sorted(line, key=lambda r: place_in_line(r.user, r.distance_m, r.approach))
        ask = min(4 * ask, ASK_MAX)


def _ask(
    surroundings: Surroundings, sought: HelpSought, group: Group, now: float, failures: list[str], what: str
) -> list[NearbyResponder] | None:
    return guarded(failures, what, lambda: list(surroundings.responders(sought, group, now)), lambda: None)


def _allowed(
    surroundings: Surroundings, incident: Incident, users: Collection[UserId], failures: list[str]
) -> list[UserId]:
    """Those who may be told: not the subject, nobody whom they have a job with, nobody kept apart from them."""
    some = [user for user in users if _may_be_told(incident, user)]
    apart = who_is_kept_apart(surroundings, incident, some, failures)
    return [user for user in some if user not in apart]


def who_is_kept_apart(
    surroundings: Surroundings, incident: Incident, users: Collection[UserId], failures: list[str]
) -> set[UserId]:
    """Those of some users whom a block keeps from the subject. Never raises: who cannot be asked about is told."""
    tenant, subject = incident.tenant, incident.subject
    return guarded(failures, "kept_apart", lambda: set(surroundings.kept_apart(tenant, subject, users)), set[UserId])


def who_is_unwilling(surroundings: Surroundings, incident: Incident, failures: list[str]) -> set[UserId]:
    """Technicians who were told because they had agreed to, do not any more, and do not go there. Never raises."""
    asked = [
        target.user
        for target in incident.targets
        if target.approach is not None
        and target.approach.group == Group.CONSENTING
        and target.user != incident.owner
        and incident.slot_of(target.user) is None
    ]
    return guarded(failures, "unwilling", lambda: set(surroundings.unwilling(incident.tenant, asked)), set[UserId])


def place_of(incident: Incident) -> LatLng | None:
    """From where distances count: the fix, else the booked address."""
    if incident.fix is not None:
        return incident.fix.point
    return incident.booked.point if incident.booked is not None else None


def _r95_m(incident: Incident) -> float:
    """Radius around ``place_of`` in which they are; a booked address stands for itself."""
    return assumed_r95_m(incident.fix.accuracy_m) if incident.fix is not None else 0.0


def _target(responder: NearbyResponder, why: Why, level: int) -> Target:
    return Target(responder.user, why, level, responder.distance_m, approach=responder.approach)


def _may_be_told(incident: Incident, user: UserId) -> bool:
    return user != incident.subject and user not in incident.avoid


def merge_targets(incident: Incident, found: Sequence[Target]) -> tuple[Target, ...]:
    """Those told before, still allowed, in their order, with newer ranks; then those found anew, each once."""
    merged = {t.user: t for t in incident.targets if _may_be_told(incident, t.user)}
    for target in found:
        known = merged.get(target.user)
        if known is None:
            merged[target.user] = target
        elif target.approach is not None or target.distance_m is not None:
            # One who has no position any more keeps the last distance that was known.
            metres = target.distance_m if target.distance_m is not None else known.distance_m
            merged[target.user] = replace(known, distance_m=metres, approach=target.approach or known.approach)
    return tuple(merged.values())
