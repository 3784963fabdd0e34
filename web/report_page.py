"""The post-incident report as one file of HTML: loads nothing, runs nothing, and escapes what people wrote."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from math import cos, radians
from typing import Any, Final

Facts = Mapping[str, Any]

STYLE: Final = """\
body{font:15px/1.45 system-ui,sans-serif;color:#1c2430;background:#fff;max-width:960px;margin:24px auto;padding:0 20px}
h1{font-size:24px;margin:0 0 4px}h2{font-size:17px;margin:28px 0 8px;border-bottom:1px solid #d8dee6;padding-bottom:4px}
.sub{color:#5a6675;margin:0 0 16px}.badge{display:inline-block;border-radius:4px;padding:1px 8px;font-size:13px;
background:#e8edf3;margin-right:6px}.drill{background:#fff3cd}.bad{color:#a4161a;font-weight:600}.good{color:#1b6e3c}
table{border-collapse:collapse;width:100%;font-size:14px}th{text-align:left;color:#5a6675;font-weight:600}
th,td{padding:4px 10px 4px 0;border-bottom:1px solid #eef1f5;vertical-align:top;overflow-wrap:anywhere}
td.n{font-variant-numeric:tabular-nums;white-space:nowrap}svg{width:100%;height:auto;border:1px solid #d8dee6;
border-radius:6px;background:#f7f9fb}.mono{font:12px/1.4 ui-monospace,monospace;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:170px 1fr;gap:2px 12px;margin:0}dt{color:#5a6675}dd{margin:0}
@media print{body{margin:0}}
"""
HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
        "frame-ancestors 'none'"
    )
}
"""The page may use its own style and nothing else."""

_WIDTH: Final = 920.0
_HEIGHT: Final = 420.0
_MARGIN: Final = 40.0
_METRES_PER_DEGREE: Final = 111_195.0
_SCALES_M: Final = (5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000)


def report_page(report: Facts) -> str:
    """The page of a report (``api.reports.IncidentReport`` as plain values)."""
    incident = report["incident"]
    name = escape(incident["incident"])
    drill = "" if report["status"] == "actual" else f'<span class="badge drill">{escape(report["status"])}</span>'
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Incident {name}</title><style>{STYLE}</style></head><body>",
        f'<h1>Incident {name}</h1><p class="sub">Report made {_time(report["made_at"])} UTC</p>',
        f'<p>{drill}<span class="badge">{escape(report["kind"])}</span>'
        f'<span class="badge">{escape(incident["state"])}</span>'
        f'<span class="badge">level {incident["level"]}</span></p>',
        _facts(report),
        "<h2>Response times</h2>", _times(report["times"]),
        "<h2>Where</h2>", _picture(report), _gaps(report.get("gaps", [])),
        "<h2>Timeline</h2>", _timeline(report["timeline"], incident["raised_at"]),
        "<h2>Whom it reached</h2>", _deliveries(report["deliveries"]),
        "<h2>Who looked at the person&#x27;s position</h2>", _looks(report["looks"]),
        "<h2>Audit</h2>", _audit(report.get("audit")),
        "</body></html>\n",
    ]  # fmt: skip
    return "\n".join(parts)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _clock(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], none: str) -> str:
    """Cells are HTML already."""
    if not rows:
        return f"<p>{none}</p>"
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _facts(report: Facts) -> str:
    incident = report["incident"]
    booked = incident.get("booked") or {}
    place = ", ".join(booked[part] for part in ("address", "unit", "entrance_note") if booked.get(part))
    rows = (
        ("Raised", f"{_time(incident['raised_at'])} UTC"),
        ("Person", f"{incident['subject']} ({incident['subject_role']})"),
        ("City", incident.get("city") or "none"),
        ("Order", incident.get("order") or "none"),
        ("Booked address, not a measurement", place or "none"),
        ("They wrote", incident.get("note") or ""),
        ("Taps", str(incident["triggers"])),
        ("Owner", incident.get("owner") or "nobody"),
        ("Ended as", report["disposition"] or "not ended"),
        ("Note of the end", report["resolution_note"]),
    )
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in rows if text) + "</dl>"


def _times(times: Sequence[Facts]) -> str:
    rows = []
    for span in times:
        took, budget, kept = span.get("took_s"), span.get("budget_s"), span.get("kept")
        verdict = {None: "", True: '<span class="good">kept</span>', False: '<span class="bad">missed</span>'}[kept]
        rows.append(
            (
                escape(span["name"]),
                "did not happen" if took is None else f"{took:.1f} s",
                "" if budget is None else f"{budget:g} s",
                verdict,
            )
        )
    return _table(("span", "took", "budget", ""), rows, "None.")


def _timeline(events: Sequence[Facts], raised_at: float) -> str:
    rows = [
        (
            str(event["seq"]),
            _clock(event["at"]),
            f"+{event['at'] - raised_at:.1f} s",
            escape(event["what"].replace("_", " ")),
            escape(event["who"]),
            escape(event["state"]),
            escape(str(event.get("detail") or "")),
        )
        for event in events
    ]
    return _table(("", "UTC", "after", "what", "who", "state", "detail"), rows, "Nothing.")


def _rank(rank: Facts | None) -> str:
    """Why a responder stood where they stood in the line."""
    if rank is None:
        return ""
    parts = [rank["group"], "" if rank["live"] else "quiet"]
    if (eta_s := rank.get("eta_s")) is not None:
        parts.append(f"there in {eta_s:.0f} s at worst")
    if (metres := rank.get("distance_m")) is not None:
        parts.append(
            f"{metres:.0f} m away within {rank.get('r95_m') or 0:.0f} m, {rank.get('fix_age_s') or 0:.0f} s ago"
        )
    return f" ({escape(', '.join(part for part in parts if part))})"


def _deliveries(deliveries: Facts) -> str:
    told = [
        (
            escape(person["user"]),
            escape(person["why"]) + _rank(person.get("rank")),
            str(person["level"]),
            _clock(person.get("told_at")),
            _clock(person.get("received_at")) or '<span class="bad">never confirmed</span>',
        )
        for person in deliveries["told"]
    ]
    hops = [
        (
            escape(page["recipient"]),
            escape(hop["channel"]),
            escape(hop["state"]),
            str(hop.get("attempts", 0)),
            escape(hop.get("outcome") or ""),
            _clock(hop.get("settled_at")),
        )
        for page in deliveries["pages"]
        for hop in page["hops"]
    ]
    outside = _table(
        ("outside the hub", "channel", "state", "attempts", "outcome", "at"), hops, "Nobody outside the hub."
    )
    return _table(("over the hub", "why", "level", "told", "device confirmed"), told, "Nobody.") + outside


def _looks(looks: Sequence[Facts]) -> str:
    rows = [
        (
            _clock(look["at"]),
            escape(look.get("by") or look["role"]),
            escape(look["role"]),
            escape(look["kind"]),
            str(look["count"]),
            escape(look.get("reason") or ""),
        )
        for look in looks
    ]
    return _table(("UTC", "who", "role", "what", "times", "reason"), rows, "Nobody.")


def _audit(head: Facts | None) -> str:
    if head is None:
        return "<p>No audit is kept.</p>"
    return (
        f"<p>When this report was made the audit ended with row {head['seq']}. "
        f"<code>doorstep audit verify</code> shows whether it still does:</p><p class='mono'>{escape(head['mac'])}</p>"
    )


def _gaps(gaps: Sequence[Facts]) -> str:
    rows = [(_clock(gap["from_at"]), _clock(gap.get("to_at")) or "still") for gap in gaps[:50]]
    return "<h3>Without positions</h3>" + _table(("from", "to"), rows, "") if rows else ""


def _picture(report: Facts) -> str:
    """The way as a drawing to scale, north up; no map is loaded, for that would tell somebody where to look."""
    spots = [(spot["lat"], spot["lng"], bool(spot.get("before"))) for spot in report["trail"]]
    booked, fix = report["incident"].get("booked"), report["incident"].get("fix")
    marks = [(mark["lat"], mark["lng"]) for mark in (booked, fix) if mark]
    if not spots and not marks:
        return "<p>No position is known.</p>"
    lats = [lat for lat, *_ in spots] + [lat for lat, _ in marks]
    lngs = [lng for _, lng, _ in spots] + [lng for _, lng in marks]
    middle_lat, middle_lng = (min(lats) + max(lats)) / 2, (min(lngs) + max(lngs)) / 2
    east_m = _METRES_PER_DEGREE * max(cos(radians(middle_lat)), 1e-6)
    span_x, span_y = (max(lngs) - min(lngs)) * east_m, (max(lats) - min(lats)) * _METRES_PER_DEGREE
    per_m = min((_WIDTH - 2 * _MARGIN) / max(span_x, 40.0), (_HEIGHT - 2 * _MARGIN) / max(span_y, 40.0))

    def place(lat: float, lng: float) -> tuple[float, float]:
        x = _WIDTH / 2 + (lng - middle_lng) * east_m * per_m
        return round(x, 1), round(_HEIGHT / 2 - (lat - middle_lat) * _METRES_PER_DEGREE * per_m, 1)

    def line(points: Sequence[tuple[float, float]], colour: str) -> str:
        path = " ".join(f"{x},{y}" for x, y in points)
        return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5" stroke-linejoin="round"/>'

    before = [place(lat, lng) for lat, lng, is_before in spots if is_before]
    after = [place(lat, lng) for lat, lng, is_before in spots if not is_before]
    drawn = [line(before, "#8a97a8"), line(before[-1:] + after, "#c1121f")]
    if booked:
        x, y = place(booked["lat"], booked["lng"])
        drawn.append(f'<rect x="{x - 6}" y="{y - 6}" width="12" height="12" fill="#1d4e89"/>' + _label(x, y, "booked"))
    if fix:
        x, y = place(fix["lat"], fix["lng"])
        radius = max(4.0, (fix.get("r95_m") or 0.0) * per_m)
        drawn.append(
            f'<circle cx="{x}" cy="{y}" r="{radius:.1f}" fill="#c1121f" fill-opacity="0.15" stroke="#c1121f"/>'
        )
        drawn.append(_label(x, y, "called for help"))
    if after:
        x, y = after[-1]
        drawn.append(f'<circle cx="{x}" cy="{y}" r="5" fill="#c1121f"/>' + _label(x, y + 14, "last"))
    metres = max((scale for scale in _SCALES_M if scale * per_m <= _WIDTH / 4), default=_SCALES_M[0])
    length = metres * per_m
    drawn.append(
        f'<path d="M{_MARGIN} {_HEIGHT - 18}h{length:.1f}" stroke="#1c2430" stroke-width="2"/>'
        f'<text x="{_MARGIN}" y="{_HEIGHT - 24}" font-size="12">{metres} m</text>'
        f'<text x="{_WIDTH - 24}" y="24" font-size="14">N</text>'
        f'<path d="M{_WIDTH - 19} 50v-20m-4 6l4 -6l4 6" stroke="#1c2430" fill="none"/>'
    )
    about = "The way: grey before the call for help, red after it."
    return (
        f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" aria-label="{about}">{"".join(drawn)}</svg>'
        f'<p class="sub">{about} The circle holds the person with 95 %.</p>'
    )


def _label(x: float, y: float, text: str) -> str:
    anchor = "end" if x > _WIDTH - 120 else "start"
    moved = x - 10 if anchor == "end" else x + 10
    return f'<text x="{moved:.1f}" y="{y - 8:.1f}" font-size="13" text-anchor="{anchor}">{text}</text>'
