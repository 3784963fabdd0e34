"""Whom an incident must reach at each level, and when the next level follows. Pure but for the look-ups.

A look-up that fails never costs the alarm: what can still be found is told, and the failure is named.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeVar

from core.ids import UserId
from geo.point import LatLng
from safety.incident import LEVEL_LAST
from safety.model import Incident, Target
from safety.ports import NearbyResponder, Surroundings
from safety.settings import SafetySettings

T = TypeVar("T")
LEVEL_ALL_CITIES: Final = LEVEL_LAST - 1
"""From here on people of other cities are told and asked too."""


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
    """Everyone to tell at the incident's level. Never raises; never contains the subject or the other party."""
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
    return Found(tuple(t for t in targets if _may_be_told(incident, t.user)), tuple(failures))


def _near(
    surroundings: Surroundings, settings: SafetySettings, incident: Incident, now: float, failures: list[str]
) -> list[Target]:
    """The nearest responders of the level; all there are when nobody can say who is near."""
    level, point = incident.level, place_of(incident)
    limits = (
        settings.responders_level_0,
        settings.responders_level_1,
        settings.responders_level_2,
        settings.responders_level_2,
    )
    # As many more as may have to be left out, so that leaving them out never shortens the list.
    ask = limits[level] + len(incident.avoid) + 1
    near = guarded(
        failures,
        "responders",
        lambda: list(surroundings.responders(incident.tenant, incident.city, point, ask, now)),
        lambda: None,
    )
    if near is None:
        return [
            _target(r, Why.EVERYONE, level) for r in _everyone(surroundings, settings, incident, now, failures)
        ]  # fmt: skip
    allowed = [responder for responder in near if _may_be_told(incident, responder.user)][: limits[level]]
    return [_target(r, Why.NEAREST if nth < limits[0] else Why.NEARBY, level) for nth, r in enumerate(allowed)]


def _everyone(
    surroundings: Surroundings, settings: SafetySettings, incident: Incident, now: float, failures: list[str]
) -> list[NearbyResponder]:
    """Responders of all cities, by distance if that can be known, else in any order."""
    tenant, point, ask = incident.tenant, place_of(incident), settings.responders_level_3
    found = guarded(
        failures,
        "responders_by_distance",
        lambda: list(surroundings.responders(tenant, None, point, ask, now)),
        lambda: None,
    )
    if found is not None:
        return found
    return guarded(
        failures,
        "all_responders",
        lambda: list(surroundings.responders(tenant, None, None, ask, now)),
        list[NearbyResponder],
    )


def find_responders(
    surroundings: Surroundings,
    incident: Incident,
    limit: int,
    now: float,
    failures: list[str],
    *,
    everywhere: bool = False,
) -> list[Target]:
    """The nearest responders who may be told. Never raises.

    Those of other cities come behind those of the incident's own: once its level says so, or if ``everywhere`` does.
    No distance ends the search.
    """
    point, level = place_of(incident), incident.level
    found: dict[UserId, Target] = {}
    cities = (incident.city, None) if everywhere or level >= LEVEL_ALL_CITIES else (incident.city,)
    for city in dict.fromkeys(cities):
        near = guarded(
            failures,
            "responders",
            lambda city=city: list(surroundings.responders(incident.tenant, city, point, limit, now)),  # type: ignore[misc]
            list[NearbyResponder],
        )
        for responder in near:
            if _may_be_told(incident, responder.user):
                found.setdefault(responder.user, _target(responder, Why.NEARBY, level))
        if len(found) >= limit:
            break
    return list(found.values())[:limit]


def place_of(incident: Incident) -> LatLng | None:
    """From where distances count: the fix, else the booked address."""
    if incident.fix is not None:
        return incident.fix.point
    return incident.booked.point if incident.booked is not None else None


def _target(responder: NearbyResponder, why: Why, level: int) -> Target:
    return Target(responder.user, why, level, responder.distance_m)


def _may_be_told(incident: Incident, user: UserId) -> bool:
    return user != incident.subject and user not in incident.avoid


def merge_targets(incident: Incident, found: Sequence[Target]) -> tuple[Target, ...]:
    """Those told before, still allowed, in their order, with newer distances; then those found anew, each once."""
    merged = {t.user: t for t in incident.targets if _may_be_told(incident, t.user)}
    for target in found:
        known = merged.get(target.user)
        if known is None:
            merged[target.user] = target
        elif target.distance_m is not None and target.distance_m != known.distance_m:
            merged[target.user] = replace(known, distance_m=target.distance_m)
    return tuple(merged.values())
