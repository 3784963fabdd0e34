"""An incident as a message of the Common Alerting Protocol 1.2 (OASIS CAP-v1.2), for the systems of other centres.

One incident is an ``Alert`` when it is raised, an ``Update`` when something happened since, a ``Cancel`` once it has
ended; each later message refers to the first. The same state gives the same bytes.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from xml.sax.saxutils import escape

from safety.model import CapStatus, Incident, IncidentEvent, IncidentKind

NAMESPACE: Final = "urn:oasis:names:tc:emergency:cap:1.2"
_STATUS: Final = {CapStatus.ACTUAL: "Actual", CapStatus.EXERCISE: "Exercise", CapStatus.TEST: "Test"}
_CERTAINTY: Final = {IncidentKind.PANIC: "Observed", IncidentKind.DURESS: "Observed"}
"""Somebody said so themselves; what the system concluded is ``Likely`` or less."""
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML 1.0 document may hold, escaped or not."""
_NO_ID: Final = re.compile(r"[\s,<&]")
"""What an identifier and a sender may not hold (section 3.2.1)."""


@dataclass(frozen=True, slots=True)
class CapPlace:
    """Where it is, WGS-84; the radius is that of 95 %, or a guess of 1 km where none is known."""

    what: str
    lat_deg: float
    lng_deg: float
    radius_m: float | None


def cap_message(incident: Incident, events: Iterable[IncidentEvent], sender: str, place: CapPlace | None) -> str:
    """The message for the incident as it is now.

    Args:
        incident: The case.
        events: Its history, in order.
        sender: Who sends: a name that is unique in the world, without spaces, commas, ``<`` and ``&``.
        place: Where it is, if anything is known.

    Raises:
        ValueError: ``sender`` cannot be one.
    """
    if not sender or _NO_ID.search(sender):
        raise ValueError("a sender must have no spaces, commas, < or &")
    last = max((event.seq for event in events), default=1)
    first = (f"{incident.incident_id}.1", _at(incident.raised_at))
    if not incident.is_active:
        kind, identifier, sent = "Cancel", f"{incident.incident_id}.{last}", _at(incident.changed_at)
    elif last > 1:
        kind, identifier, sent = "Update", f"{incident.incident_id}.{last}", _at(incident.changed_at)
    else:
        kind, (identifier, sent) = "Alert", first
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<alert xmlns="{NAMESPACE}">',
        _element("identifier", identifier),
        _element("sender", sender),
        _element("sent", sent),
        _element("status", _STATUS[incident.cap_status]),
        _element("msgType", kind),
        _element("scope", "Restricted"),
        _element("restriction", "For those who respond to this incident; it names a person in danger."),
    ]
    if kind == "Cancel":
        lines.append(_element("note", incident.disposition or "ended"))
    if kind != "Alert":
        lines.append(_element("references", f"{sender},{first[0]},{first[1]}"))
    lines += [_element("incidents", incident.incident_id), *_info(incident, place), "</alert>", ""]
    return "\n".join(lines)


def _info(incident: Incident, place: CapPlace | None) -> list[str]:
    described = f"A {incident.subject_role} called for help; level {incident.level}, state {incident.state.value}."
    if incident.note:
        described += f" They wrote: {incident.note}"
    lines = [
        "<info>",
        _element("language", "en-US"),
        _element("category", "Security"),
        _element("event", f"SOS ({incident.kind.value})"),
        _element("responseType", "Assess" if incident.is_active else "AllClear"),
        _element("urgency", "Immediate" if incident.is_active else "Past"),
        _element("severity", "Severe" if incident.kind is not IncidentKind.UNCONFIRMED else "Unknown"),
        _element("certainty", _CERTAINTY.get(incident.kind, "Possible")),
        _element("onset", _at(incident.raised_at)),
        _element("headline", f"SOS {incident.incident_id}"),
        _element("description", described),
        *_parameter("level", str(incident.level)),
        *_parameter("state", incident.state.value),
    ]
    if place is not None:
        radius_km = 1.0 if place.radius_m is None else max(place.radius_m, 1.0) / 1_000
        lines += [
            "<area>",
            _element("areaDesc", place.what),
            _element("circle", f"{place.lat_deg:.6f},{place.lng_deg:.6f} {radius_km:.3f}"),
            "</area>",
        ]
    return [*lines, "</info>"]


def _parameter(name: str, value: str) -> list[str]:
    return ["<parameter>", _element("valueName", name), _element("value", value), "</parameter>"]


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape(_NOT_XML.sub('?', text))}</{name}>"


def _at(at: float) -> str:
    """A time as the standard wants it: whole seconds, and the zone as a number also for UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S-00:00")
