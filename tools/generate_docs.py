"""Writes the parts of ``docs/`` that the code already says: messages, settings, routes, metrics, state machines.

``python -m tools.generate_docs`` rewrites what stands between ``<!-- generated:NAME -->`` and ``<!-- /generated -->``;
``tests/meta/test_docs.py`` fails when a page differs from what this would write.
"""

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from math import inf
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import yaml

from api.exchange import Route
from api.routes import all_routes
from core.codes import MEANINGS
from core.ranges import Range, ranges_of
from dispatch import offer as offer_life
from dispatch import order as order_life
from dispatch.exclusions import RULES
from geo.pings import MEANINGS as verdict_meanings
from geo.pings import Verdict
from realtime import messages
from safety import incident as incident_life
from server.config_file import field_comments
from server.metrics import METRICS
from server.root import DERIVED, Settings
from tools import fault_rows, promises

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
_BLOCK: Final = re.compile(r"(<!-- generated:(?P<name>[a-z-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)


def rewrite(text: str) -> str:
    """A page with its generated blocks as they should be. Raises ``KeyError`` for an unknown block."""
    return _BLOCK.sub(lambda m: m[1] + BLOCKS[m["name"]]() + m[3], text)


def pages() -> Iterator[tuple[Path, str, str]]:
    """Each page that has a generated block: its path, its text, and what its text should be."""
    for path in (*sorted(DOCS.rglob("*.md")), fault_rows.FAULTS / "README.md", promises.FOLDER / "README.md"):
        text = path.read_text(encoding="utf-8")
        if _BLOCK.search(text):
            yield path, text, rewrite(text)


# -- messages -------------------------------------------------------------------------------------------


def _bounds(info: Any) -> str:
    low, high = getattr(info, "ge", None), getattr(info, "le", None)
    if low is not None or high is not None:
        return f" {low:g} … {high:g}" if isinstance(low, float) else f" {low} … {high}"
    longest = getattr(info, "max_length", None)
    return f" ≤ {longest}" if longest is not None else ""


def _type_name(info: Any) -> str:
    kind = type(info).__name__.removesuffix("Type").lower()
    match kind:
        case "union":
            return " or ".join(_type_name(t) for t in info.types if type(t).__name__ != "UnsetType")
        case "literal":
            return " \\| ".join(f"`{v}`" for v in info.values)
        case "struct":
            return f"[{info.cls.__name__}](#{info.cls.__name__.lower()})"
        case "list" | "vartuple":
            return f"list of {_type_name(info.item_type)}{_bounds(info)}"
        case "tuple":
            return "[" + ", ".join(_type_name(t) for t in info.item_types) + "]"
        case "dict":
            return f"object of {_type_name(info.value_type)}"
        case "none":
            return "null"
        case "str":
            return f"string{_bounds(info)}"
        case _:
            return f"{kind}{_bounds(info)}"


def _default(field: Any) -> str:
    if field.required:
        return "required"
    if field.default is msgspec.UNSET or field.default is msgspec.NODEFAULT:
        return "absent" if field.default is msgspec.UNSET else "empty"
    return "null" if field.default is None else f"`{str(field.default).lower()}`" if field.default != "" else '`""`'


def _struct_table(cls: type[msgspec.Struct]) -> str:
    info: Any = msgspec.inspect.type_info(cls)
    notes = field_notes(cls)
    rows = [
        f"| `{f.encode_name}` | {_type_name(f.type)} | {_default(f)} | {notes.get(f.name, '')} |" for f in info.fields
    ]
    doc = inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ").replace("``", "`")
    if not rows:
        return f"{doc}\n\nNo fields.\n\n"
    return f"{doc}\n\n| field | type | default | |\n|---|---|---|---|\n" + "\n".join(rows) + "\n\n"


def field_notes(cls: type) -> dict[str, str]:
    """The string under each field of a struct."""
    found: dict[str, str] = {}
    name = ""
    for line in inspect.getsource(cls).splitlines()[1:]:
        field = re.match(r"    (\w+): ", line)
        note = re.match(r'    """(.+?)(?:""")?$', line)
        if field:
            name = field[1]
        elif note and name:
            found[name] = note[1].replace("``", "`")
            name = ""
    return found


def _structs_of(union: Any) -> list[type[msgspec.Struct]]:
    return list(get_args(union))


def _messages(union: Any) -> str:
    parts = ["\n"]
    for cls in _structs_of(union):
        tag = cls.__struct_config__.tag
        parts.append(f"### `{tag}`\n{_struct_table(cls)}")
    return "".join(parts)


def _parts() -> str:
    tagged = {*_structs_of(messages.ClientMessage), *_structs_of(messages.ServerMessage)}
    found = [
        cls
        for _, cls in inspect.getmembers(messages, inspect.isclass)
        if issubclass(cls, msgspec.Struct) and cls is not msgspec.Struct and cls not in tagged
    ]
    return "\n" + "".join(f"### {cls.__name__}\n{_struct_table(cls)}" for cls in found)


# -- settings -------------------------------------------------------------------------------------------


def _plain(value: Any) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, Mapping):
        value = dict(value)
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000).split("\n")[0]


def _span(span: Range | None) -> str:
    if span is None:
        return ""
    least, most = (f"`{end}`" if isinstance(end, str) else f"{end:,.12g}" for end in (span.least, span.most))
    return f"at least {least}" if span.most == inf else f"{least} … {most}"


def setting_rows(owner: Any, path: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Each key of the config tree: dotted path, default as YAML, range, meaning. Entries of lists stand as ``[]``."""
    cls: Any = type(owner)
    comments, ranges = field_comments(cls), ranges_of(cls)
    for f in dataclasses.fields(owner):
        value = getattr(owner, f.name)
        here = f"{path}.{f.name}" if path else f.name
        if here in DERIVED:
            continue
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from setting_rows(value, here)
        elif isinstance(value, Mapping) and value and dataclasses.is_dataclass(next(iter(value.values()))):
            yield from setting_rows(next(iter(value.values())), f"{here}.<name>")
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            yield from setting_rows(value[0], f"{here}[]")
        else:
            yield here, _plain(value), _span(ranges.get(f.name)), comments.get(f.name, "")


def _config() -> str:
    sections: dict[str, list[str]] = {}
    for path, default, span, meaning in setting_rows(Settings()):
        section = path.partition(".")[0].partition("[")[0]
        sections.setdefault(section, []).append(f"| `{path}` | `{default}` | {span} | {meaning} |")
    return "\n" + "".join(
        f"## {section}\n| key | default | range | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n\n"
        for section, rows in sections.items()
    )


# -- routes, metrics, machines --------------------------------------------------------------------------


class _Unwired:
    """Stands in for the handlers and their methods: the table is read, and nothing behind it is called."""

    def __getattr__(self, name: str) -> "_Unwired":
        return self

    def __call__(self, *_args: object) -> "_Unwired":
        return self


def routes() -> list[Route]:
    """The whole route table without a server behind it."""
    unwired: Any = _Unwired()
    return all_routes(unwired)


def _routes() -> str:
    rows = [f"| `{r.method} {r.path}` | {r.scope} | {r.summary} |" for r in routes()]
    return "\n| route | who, and what of | |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def _metrics() -> str:
    rows = [f"| `{m.name}` | {m.kind} | {m.unit} | {m.about} |" for m in METRICS]
    return "\n| metric | kind | unit | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def _machine(table: Mapping[tuple[Any, Any], Any]) -> str:
    arrows: dict[tuple[str, str], list[str]] = {}
    for (start, event), end in table.items():
        if start is not end:
            arrows.setdefault((start.value, end.value), []).append(event.value)
    rows = [f"    {start} --> {end}: {', '.join(events)}" for (start, end), events in arrows.items()]
    return "\n```mermaid\nstateDiagram-v2\n" + "\n".join(rows) + "\n```\n"


BLOCKS: Final[dict[str, Callable[[], str]]] = {
    "messages-in": lambda: _messages(messages.ClientMessage),
    "messages-out": lambda: _messages(messages.ServerMessage),
    "message-parts": _parts,
    "config": _config,
    "routes": _routes,
    "error-codes": lambda: (
        "\n| error | meaning |\n|---|---|\n" + "".join(f"| `{c}` | {m} |\n" for c, m in MEANINGS.items())
    ),
    "verdicts": lambda: (
        "| verdict | meaning |\n|---|---|\n" + "".join(f"| `{v.word}` | {verdict_meanings[v]} |\n" for v in Verdict)
    ),
    "exclusions": lambda: (
        "\n| reason | meaning |\n|---|---|\n"
        + "".join(f"| `{reason.label}` | {rule.meaning} |\n" for reason, rule in RULES.items())
    ),
    "metrics": _metrics,
    "order-states": lambda: _machine(order_life.TABLE),
    "offer-states": lambda: _machine(offer_life.TABLE),
    "incident-states": lambda: _machine(incident_life.MOVES),
    "fault-rows": fault_rows.table,
    "promises": promises.table,
}


def main() -> None:
    """Rewrite every page; say which changed."""
    for path, text, wanted in pages():
        if text != wanted:
            path.write_text(wanted, encoding="utf-8")
            sys.stdout.write(f"wrote {path.relative_to(DOCS.parent)}\n")


if __name__ == "__main__":
    main()
