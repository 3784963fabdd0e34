"""The rules of CAP 1.2 (its schema and the notes of its section 3.2) as checks of a message."""

import re
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree as ET

NS = "{urn:oasis:names:tc:emergency:cap:1.2}"
TIME = re.compile(r"\d\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\d[-,+]\d\d:\d\d")
CIRCLE = re.compile(r"-?\d{1,2}(\.\d+)?,-?\d{1,3}(\.\d+)? \d+(\.\d+)?")
ID = re.compile(r"[^\s,<&]+")

# name: (least, most); None: any number. In the order of the schema's sequence.
ALERT = {
    "identifier": (1, 1), "sender": (1, 1), "sent": (1, 1), "status": (1, 1), "msgType": (1, 1), "source": (0, 1),
    "scope": (1, 1), "restriction": (0, 1), "addresses": (0, 1), "code": (0, None), "note": (0, 1),
    "references": (0, 1), "incidents": (0, 1), "info": (0, None),
}  # fmt: skip
INFO = {
    "language": (0, 1), "category": (1, None), "event": (1, 1), "responseType": (0, None), "urgency": (1, 1),
    "severity": (1, 1), "certainty": (1, 1), "audience": (0, 1), "eventCode": (0, None), "effective": (0, 1),
    "onset": (0, 1), "expires": (0, 1), "senderName": (0, 1), "headline": (0, 1), "description": (0, 1),
    "instruction": (0, 1), "web": (0, 1), "contact": (0, 1), "parameter": (0, None), "resource": (0, None),
    "area": (0, None),
}  # fmt: skip
AREA = {
    "areaDesc": (1, 1), "polygon": (0, None), "circle": (0, None), "geocode": (0, None), "altitude": (0, 1),
    "ceiling": (0, 1),
}  # fmt: skip
PARAMETER = {"valueName": (1, 1), "value": (1, 1)}
WORDS = {
    "status": "Actual Exercise System Test Draft",
    "msgType": "Alert Update Cancel Ack Error",
    "scope": "Public Restricted Private",
    "category": "Geo Met Safety Security Rescue Fire Health Env Transport Infra CBRNE Other",
    "responseType": "Shelter Evacuate Prepare Execute Avoid Monitor Assess AllClear None",
    "urgency": "Immediate Expected Future Past Unknown",
    "severity": "Extreme Severe Moderate Minor Unknown",
    "certainty": "Observed Likely Possible Unlikely Unknown",
}


def broken_rules(text: str) -> list[str]:
    """What a message breaks; empty for a good one."""
    try:
        root = ET.fromstring(text.encode())  # noqa: S314 - of our own making
    except ET.ParseError as error:
        return [f"not XML: {error}"]
    return list(_alert(root))


def _alert(root: ET.Element) -> Iterator[str]:
    if root.tag != f"{NS}alert":
        yield f"the root is {root.tag}"
        return
    yield from _sequence(root, ALERT)
    found = {child.tag.removeprefix(NS): child.text or "" for child in root}
    for name in ("identifier", "sender"):
        if not ID.fullmatch(found.get(name, "")):
            yield f"{name} may not be empty or hold spaces, commas, < or &"
    for element in root.iter():
        yield from _value(element)
    if ("restriction" in found) != (found.get("scope") == "Restricted"):
        yield "restriction goes with scope Restricted"
    if ("addresses" in found) != (found.get("scope") == "Private"):
        yield "addresses go with scope Private"
    if found.get("msgType") in ("Update", "Cancel", "Ack", "Error") and not found.get("references"):
        yield "an Update, Cancel, Ack or Error refers to an earlier message"
    for reference in found.get("references", "").split():
        parts = reference.split(",")
        if len(parts) != 3 or not all(ID.fullmatch(part) for part in parts[:2]) or not TIME.fullmatch(parts[2]):
            yield f"{reference} is not sender,identifier,sent"
    for info in root.iter(f"{NS}info"):
        yield from _sequence(info, INFO)
    for area in root.iter(f"{NS}area"):
        yield from _sequence(area, AREA)
    for parameter in root.iter(f"{NS}parameter"):
        yield from _sequence(parameter, PARAMETER)


def _sequence(parent: ET.Element, model: Mapping[str, tuple[int, int | None]]) -> Iterator[str]:
    names = [child.tag.removeprefix(NS) for child in parent]
    order = list(model)
    for name in names:
        if name not in model:
            yield f"{parent.tag.removeprefix(NS)} has no {name}"
            return
    if names != sorted(names, key=order.index):
        yield f"the order of {parent.tag.removeprefix(NS)} is wrong"
    for name, (least, most) in model.items():
        if not least <= names.count(name) <= (most if most is not None else len(names)):
            yield f"{name} is there {names.count(name)} times"


def _value(element: ET.Element) -> Iterator[str]:
    name, text = element.tag.removeprefix(NS), element.text or ""
    if name in WORDS and text not in WORDS[name].split():
        yield f"{name} {text!r} is no word of the standard"
    if name in ("sent", "effective", "onset", "expires") and not TIME.fullmatch(text):
        yield f"{name} {text!r} is no time"
    if name == "circle":
        if not CIRCLE.fullmatch(text):
            yield f"circle {text!r} is none"
        elif abs(float(text.split(",")[0])) > 90 or abs(float(text.split(",")[1].split()[0])) > 180:
            yield "circle is not on earth"
