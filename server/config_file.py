"""Writes settings as YAML with each field's own words as comments; ``config.yaml`` at the root is made here."""

import ast
import dataclasses
import inspect
import textwrap
from enum import Enum
from typing import Any, Final

import yaml

_WIDTH: Final = 116
HEAD: Final = """\
# Doorstep's settings: every key with its default. Written by `doorstep print-config --default`.
#
# A key left out has its default. Any key can be set from the environment: DOORSTEP__HUB__PORT=9000 sets hub.port.
# Lists and mappings are given there as YAML: DOORSTEP__TRUSTED_PROXIES='[10.0.0.0/8]'.
# Secrets are never in this file: it only says where they are. `doorstep check-config` says what is wrong with it.
"""


def field_comments(cls: Any) -> dict[str, str]:
    """The string under each field of a settings class, base classes included."""
    found: dict[str, str] = {}
    for base in (b for b in reversed(cls.__mro__) if hasattr(b, "__dataclass_fields__")):
        tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        name = ""
        for node in body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                name = node.target.id
            elif name and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                found[name] = " ".join(str(node.value.value).split()).replace("``", "`")
                name = ""
            else:
                name = ""
    return found


def render(settings: Any) -> str:
    """The whole settings tree as commented YAML."""
    lines = [HEAD.rstrip("\n")]
    for f in dataclasses.fields(settings):
        lines.append("")
        lines.extend(_field(settings, f, ""))
    return "\n".join(lines) + "\n"


def _section(value: Any, indent: str) -> list[str]:
    lines: list[str] = []
    for f in dataclasses.fields(value):
        lines.extend(_field(value, f, indent))
    return lines


def _field(owner: Any, f: "dataclasses.Field[Any]", indent: str) -> list[str]:
    value = getattr(owner, f.name)
    comment = field_comments(type(owner)).get(f.name, "")
    if not comment and dataclasses.is_dataclass(value):
        comment = (inspect.getdoc(type(value)) or "").split("\n\n")[0]
    lines = _comment(comment, indent)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [*lines, f"{indent}{f.name}:", *_section(value, indent + "  ")]
    if isinstance(value, dict) and value:
        lines.append(f"{indent}{f.name}:")
        for position, (key, item) in enumerate(value.items()):
            lines.extend(_item(f"{indent}  {_scalar(key)}:", item, indent + "    ", comments=position == 0))
        return lines
    if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        lines.append(f"{indent}{f.name}:")
        for position, item in enumerate(value):
            body = _section(item, indent + "    ") if position == 0 else _bare(item, indent + "    ")
            first = next(i for i, line in enumerate(body) if not line.lstrip().startswith("#"))
            body[first] = f"{indent}  - {body[first].lstrip()}"
            lines.extend(body)
        return lines
    return [*lines, f"{indent}{f.name}: {_scalar(value)}"]


def _item(head: str, item: Any, indent: str, *, comments: bool) -> list[str]:
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return [head, *(_section(item, indent) if comments else _bare(item, indent))]
    return [f"{head} {_scalar(item)}"]


def _bare(value: Any, indent: str) -> list[str]:
    return [line for line in _section(value, indent) if not line.lstrip().startswith("#")]


def _comment(text: str, indent: str) -> list[str]:
    if not text:
        return []
    return textwrap.wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _scalar(value: Any) -> str:
    text: str = yaml.safe_dump(_plain(value), default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...").strip()
