import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from web.report_page import HEADERS, STYLE, report_page

BAD = "<script>alert(1)</script>\"'&"


def report(**changes: Any) -> dict[str, Any]:
    incident = {
        "incident": "inc_1", "state": "resolved", "level": 1, "subject": "tec_1", "subject_role": "technician",
        "city": "shenzhen", "raised_at": 1.8e9, "changed_at": 1.8e9 + 60, "triggers": 2, "order": "ord_1",
        "note": BAD, "owner": "ops_1",
        "fix": {"lat": 22.5, "lng": 114.0, "accuracy_m": 10.0, "r95_m": 16.2},
        "booked": {"lat": 22.501, "lng": 114.001, "address": BAD, "unit": "7B"},
    }  # fmt: skip
    return {
        "incident": incident, "made_at": 1.8e9 + 100, "kind": "panic", "status": "actual",
        "disposition": "real_handled", "resolution_note": BAD,
        "timeline": [{"seq": 1, "at": 1.8e9, "what": "raised", "who": BAD, "state": "open", "detail": BAD}],
        "times": [{"name": "raised to first device", "took_s": 3.0, "budget_s": 2.0, "kept": False}],
        "deliveries": {
            "told": [{"user": BAD, "why": BAD, "level": 0, "told_at": 1.8e9}],
            "pages": [{"recipient": BAD, "hops": [{"channel": "sms", "state": "taken", "due_at": 1.8e9}]}],
        },
        "trail": [
            {"at": 1.8e9 - 2, "lat": 22.4999, "lng": 114.0, "accuracy_m": 10.0, "before": True},
            {"at": 1.8e9 + 2, "lat": 22.5001, "lng": 114.0, "accuracy_m": 10.0},
            {"at": 1.8e9 + 40, "lat": 22.5009, "lng": 114.0002, "accuracy_m": 10.0},
        ],
        "gaps": [{"from_at": 1.8e9 + 2, "to_at": 1.8e9 + 40}],
        "looks": [{"at": 1.8e9, "last_at": 1.8e9, "count": 1, "kind": "incident", "about": "inc_1", "role": "ops",
                   "by": BAD, "reason": BAD}],
        "audit": {"seq": 12, "mac": "ab" * 32},
        **changes,
    }  # fmt: skip


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_nothing_that_people_wrote_becomes_markup_and_nothing_is_loaded() -> None:
    page = report_page(report())
    tags = Tags()
    tags.feed(page)
    assert "<script" not in page
    names = {tag for tag, _ in tags.seen}
    assert not names & {"script", "img", "link", "iframe", "object", "form", "a"}
    assert not any(
        name.startswith("on") or name in ("href", "src", "style") for _, attrs in tags.seen for name in attrs
    )
    assert "default-src 'none'" in HEADERS["Content-Security-Policy"]
    assert STYLE in page


def test_everything_is_on_the_page() -> None:
    page = report_page(report())
    for text in ("inc_1", "real_handled", "missed", "never confirmed", "ab" * 32, "7B", "sms", "+0.0 s"):
        assert text in page


def picture(page: str) -> ET.Element:
    return ET.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])  # noqa: S314 - of our own making


def test_the_way_is_drawn_to_scale_and_within_the_picture() -> None:
    drawing = picture(report_page(report()))
    ways = [element for element in drawing if element.tag == "polyline"]
    before, after = ([tuple(map(float, p.split(","))) for p in way.attrib["points"].split()] for way in ways)
    assert len(before) == 1
    assert len(after) == 3  # the red way begins where the grey one ends
    assert after[-1][1] < after[0][1]  # north is up
    assert all(0 <= x <= 920 and 0 <= y <= 420 for x, y in (*before, *after))


@pytest.mark.parametrize("spread", [0.0, 1e-6, 0.5, 20.0])
def test_any_extent_fits(spread: float) -> None:
    trail = [
        {"at": 1.8e9 + n, "lat": 22.5 + spread * n, "lng": 114.0 - spread * n, "accuracy_m": 1.0} for n in range(3)
    ]
    page = report_page(report(trail=trail))
    numbers = [float(x) for x in re.findall(r"-?\d+\.\d+(?=,)", picture(page).findall("polyline")[1].attrib["points"])]
    assert all(-1 <= x <= 921 for x in numbers)


def test_without_any_position_that_is_said() -> None:
    bare = report(trail=[], gaps=[])
    bare["incident"] = {k: v for k, v in bare["incident"].items() if k not in ("fix", "booked")}
    page = report_page(bare)
    assert "No position is known." in page
    assert "<svg" not in page


def test_a_drill_is_marked() -> None:
    assert "drill" not in report_page(report()).split("</style>")[1]
    assert "exercise" in report_page(report(status="exercise"))
