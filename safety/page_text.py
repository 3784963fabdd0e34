"""What is written outside the hub: one message of one incident or of several. Pure.

``details`` says whether names, addresses and notes may stand in it: a group chat is read by all of the group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from core.ids import IncidentId, TenantId
from safety.events import UNHEARD, Reason
from safety.model import CapStatus, Incident
from safety.pages import Channel, Page, RecipientKind
from safety.reach import Language

LISTED_MAX: Final = 15
"""Incidents that a message names one by one; of more it says how many."""


@dataclass(frozen=True, slots=True)
class PageMessage:
    """One message, ready for any channel.

    Attributes:
        event_id: The same for every attempt of the same ring: receivers tell duplicates by it.
        recipient: Kind and name; ``user`` where it is a person of the platform.
        title: One short line.
        lines: The rest, the most important first.
        url: Of the incident's page, "" for none.
    """

    event_id: str
    tenant: TenantId
    recipient: str
    user: str
    phone: str
    email: str
    title: str
    lines: tuple[str, ...]
    url: str
    incidents: tuple[IncidentId, ...]
    reason: str
    level: int
    cap_status: CapStatus
    at: float

    @property
    def text(self) -> str:
        """All of it."""
        link = (self.url,) if self.url else ()
        return "\n".join((self.title, *self.lines, *link))


_WORDS: Final = {
    Language.EN: {
        "sos": "SOS", "exercise": "EXERCISE", "test": "TEST", "level": "level {0}", "ended": "SOS ended",
        "taken": "SOS in hand", "ago": "raised {0} ago", "more": "and {0} more incidents, see the console",
        "several": "{0} incidents are open", "silent": "Silent alarm: do not call the person",
        "customer": "customer", "technician": "technician", "place": "Booked address (not GPS): {0}",
        "who": "Person: {0}", "note": "Note: {0}", "restricted": "expired token", "s": "{0} s", "min": "{0} min",
        "h": "{0} h", "unacknowledged": "Nobody has taken it yet. Please acknowledge in the console.",
        "nobody_comes": "Somebody has it in hand, but nobody is on the way yet.",
        "ack_stale": "Whoever has it in hand has been quiet for too long. Please look at it.",
        "call_back_due": "The person has taken it back, and nobody has called them yet.",
        "stalled": "A responder on the way does not come nearer.",
        "arrival_claimed": "A responder says that they are there; no position shows it. Please confirm it.",
    },
    Language.ZH: {
        "sos": "SOS 求助", "exercise": "演练", "test": "测试", "level": "{0} 级", "ended": "SOS 已结束",
        "taken": "SOS 已有人处理", "ago": "{0}前触发", "more": "另有 {0} 起求助,请看控制台",
        "several": "{0} 起求助未处理", "silent": "静默报警:请勿致电当事人",
        "customer": "客户", "technician": "技师", "place": "预约地址(非定位):{0}",
        "who": "当事人:{0}", "note": "备注:{0}", "restricted": "令牌已过期", "s": "{0} 秒", "min": "{0} 分钟",
        "h": "{0} 小时", "unacknowledged": "尚无人接警,请在控制台接警。",
        "nobody_comes": "已有人接警,但尚无人前往。",
        "ack_stale": "处理人已长时间无动作,请查看。",
        "call_back_due": "当事人已撤回求助,尚无人回访。",
        "stalled": "一名前往的响应者未在靠近。",
        "arrival_claimed": "一名响应者称已到场,但定位未能证实,请确认。",
    },
}  # fmt: skip


def compose(
    channel: Channel,
    incidents: Sequence[Incident],
    pages: Sequence[Page],
    now: float,
    *,
    language: Language,
    details: bool,
    console_url: str,
    phone: str = "",
    email: str = "",
    name_of: str = "",
) -> PageMessage:
    """The message of one attempt.

    Args:
        channel: By which it goes; part of its id.
        incidents: What it tells of, the longest waiting first; one for each page.
        pages: All of one recipient.
        now: UTC epoch seconds.
        language: Of the words.
        details: Whether name, address and note may stand in it.
        console_url: With ``{incident}`` for the first one's id, "" for none.
        phone: The recipient's.
        email: The recipient's.
        name_of: The first subject's name, "" when nobody knows it.
    """
    words, first, page = _WORDS[language], incidents[0], pages[0]
    if len(incidents) == 1:
        title = _title(words, first, page)
        lines = _lines(words, first, page, now, name_of, details=details)
    else:
        title = f"{words['sos']} · {words['several'].format(len(incidents))}"
        lines = [
            f"{_title(words, incident, its)} · {_age(words, incident, now)}"
            for incident, its in list(zip(incidents, pages, strict=True))[:LISTED_MAX]
        ]
        if len(incidents) > LISTED_MAX:
            lines.append(words["more"].format(len(incidents) - LISTED_MAX))
    return PageMessage(
        event_id=_event_id(channel, pages),
        tenant=page.tenant,
        recipient=page.recipient,
        user=page.name if page.kind is RecipientKind.PERSON else "",
        phone=phone,
        email=email,
        title=title,
        lines=tuple(lines),
        url=console_url.replace("{incident}", first.incident_id) if console_url else "",
        incidents=tuple(incident.incident_id for incident in incidents),
        reason=page.reason,
        level=first.level,
        cap_status=first.cap_status,
        at=now,
    )


def _title(words: dict[str, str], incident: Incident, page: Page) -> str:
    head = words["sos"]
    if not incident.is_active:
        head = words["ended"]
    elif page.reason == "acknowledged":
        head = words["taken"]
    if incident.cap_status is not CapStatus.ACTUAL:
        head = f"[{words[incident.cap_status.value]}] {head}"
    parts = [head, incident.city or "", words.get(incident.subject_role, incident.subject_role)]
    return " · ".join([*filter(None, parts), words["level"].format(incident.level)])


def _lines(words: dict[str, str], incident: Incident, page: Page, now: float, name: str, *, details: bool) -> list[str]:
    lines = [_age(words, incident, now)]
    if incident.silent:
        lines.append(words["silent"])
    if incident.owner is None and incident.is_active:
        lines.append(words["unacknowledged"])
    elif incident.is_active and page.reason in (*UNHEARD, Reason.ARRIVAL_CLAIMED):
        lines.append(words[page.reason])
    if not details:
        return lines
    if name:
        lines.append(words["who"].format(name))
    if incident.booked is not None:
        place = incident.booked
        lines.append(words["place"].format(" ".join(filter(None, (place.address, place.unit, place.entrance_note)))))
    if incident.note:
        lines.append(words["note"].format(incident.note))
    return lines


def _age(words: dict[str, str], incident: Incident, now: float) -> str:
    age_s = max(0, int(now - incident.raised_at))
    for unit, unit_s in (("h", 3_600), ("min", 60)):
        if age_s >= 2 * unit_s:
            return words["ago"].format(words[unit].format(age_s // unit_s))
    return words["ago"].format(words["s"].format(age_s))


def _event_id(channel: Channel, pages: Sequence[Page]) -> str:
    rings = sorted(f"{page.incident_id}/{page.recipient}/{page.round}" for page in pages)
    return f"evt_{blake2b('|'.join((channel.value, *rings)).encode(), digest_size=16).hexdigest()}"
