"""What is read out to the police or an ambulance: everything they ask for, in their order, in one piece.

Lines whose fact is not known are said to be unknown where they would be asked for, and left out where they would not.
The place comes first, because a call can end early.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from safety.freshness import ago


class Language(StrEnum):
    """Languages of the text."""

    EN = "en"
    ZH = "zh"


@dataclass(frozen=True, slots=True)
class Place:
    """A position to read out.

    Attributes:
        lat_deg, lng_deg: WGS-84, what rescuers' devices take.
        r95_m: Radius of 95 %, None when not known.
        source: A word of ``FixSource``.
    """

    lat_deg: float
    lng_deg: float
    age_s: float
    r95_m: float | None
    source: str


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What is known; empty where it is not.

    Attributes:
        raised: When it was raised, in the city's clock, as text.
        address, unit, entrance_note: Of the booking: where the person should be, not where they were seen.
        other_is_verified: Whether the other party's name was checked against their papers.
    """

    incident: str
    name: str
    phone: str
    role: str
    raised: str
    order: str = ""
    city: str = ""
    address: str = ""
    unit: str = ""
    entrance_note: str = ""
    place: Place | None = None
    other_name: str = ""
    other_role: str = ""
    other_is_verified: bool = False
    note: str = ""


_ROLES: Final = {
    Language.EN: {"technician": "technician", "customer": "customer"},
    Language.ZH: {"technician": "服务人员", "customer": "客户"},
}
_SOURCES: Final = {
    Language.EN: {
        "sos": "measured with the call for help",
        "live": "live position",
        "last_seen": "where they were seen last",
        "booked_address": "the booked address, not a measurement",
    },
    Language.ZH: {
        "sos": "求救时的定位",
        "live": "实时定位",
        "last_seen": "最后一次定位",
        "booked_address": "预约地址,非定位",
    },
}


def call_text(facts: CallFacts, language: Language) -> str:
    """The text, one fact a line."""
    return "\n".join(_english(facts) if language is Language.EN else _chinese(facts))


def _english(facts: CallFacts) -> list[str]:
    lines = [f"I am calling for somebody who needs help. Incident {facts.incident}."]
    if facts.address:
        lines.append(f"Booked address: {', '.join(part for part in (facts.address, facts.unit) if part)}.")
        if facts.entrance_note:
            lines.append(f"Entrance: {facts.entrance_note}.")
    else:
        lines.append("Address: not known.")
    if facts.city:
        lines.append(f"City: {facts.city}.")
    lines.append(_english_place(facts.place))
    lines.append(f"Person: {facts.name or 'name not known'}, {_role(facts.role, Language.EN)}.")
    lines.append(f"Phone: {facts.phone or 'not known'}.")
    lines.append(f"Called for help: {facts.raised}.")
    if facts.order:
        lines.append(f"Order: {facts.order}.")
    if facts.other_role:
        checked = "verified" if facts.other_is_verified else "not verified"
        name = f"{facts.other_name} (name {checked})" if facts.other_name else "name not known"
        lines.append(f"Other person of the booking: {name}, {_role(facts.other_role, Language.EN)}.")
    if facts.note:
        lines.append(f"They wrote: {facts.note}")
    return lines


def _english_place(place: Place | None) -> str:
    if place is None:
        return "Position: not known."
    within = f", within {place.r95_m:.0f} m" if place.r95_m is not None else ", accuracy not known"
    source = _SOURCES[Language.EN].get(place.source, place.source)
    at = f"{place.lat_deg:.6f}, {place.lng_deg:.6f} (WGS-84){within}"
    return f"Position: {at}, {ago(place.age_s)} ago; {source}."


def _chinese(facts: CallFacts) -> list[str]:
    lines = [f"我替一位需要帮助的人报警。事件编号:{facts.incident}。"]
    if facts.address:
        lines.append(f"预约地址:{facts.address}{facts.unit}。")
        if facts.entrance_note:
            lines.append(f"入口说明:{facts.entrance_note}。")
    else:
        lines.append("地址:不详。")
    if facts.city:
        lines.append(f"城市:{facts.city}。")
    lines.append(_chinese_place(facts.place))
    lines.append(f"当事人:{facts.name or '姓名不详'},{_role(facts.role, Language.ZH)}。")
    lines.append(f"电话:{facts.phone or '不详'}。")
    lines.append(f"求救时间:{facts.raised}。")
    if facts.order:
        lines.append(f"订单号:{facts.order}。")
    if facts.other_role:
        checked = "已实名" if facts.other_is_verified else "未实名"
        name = f"{facts.other_name}({checked})" if facts.other_name else "姓名不详"
        lines.append(f"订单另一方:{name},{_role(facts.other_role, Language.ZH)}。")
    if facts.note:
        lines.append(f"当事人留言:{facts.note}")
    return lines


def _chinese_place(place: Place | None) -> str:
    if place is None:
        return "位置:不详。"
    within = f",误差 {place.r95_m:.0f} 米以内" if place.r95_m is not None else ",误差不详"
    source = _SOURCES[Language.ZH].get(place.source, place.source)
    age = ago(place.age_s).replace(" min", " 分钟").replace(" h", " 小时").replace(" d", " 天").replace(" s", " 秒")
    return f"位置:{place.lat_deg:.6f}, {place.lng_deg:.6f}(WGS-84){within},{age}前,{source}。"


def _role(role: str, language: Language) -> str:
    return _ROLES[language].get(role, role)
