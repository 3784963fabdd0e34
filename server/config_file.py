"""Writes settings as YAML with each field's own words as comments; ``config.yaml`` at the root is made here."""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Collection
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


def render(settings: Any, hidden: Collection[str] = ()) -> str:
    """The whole settings tree as commented YAML, without the dotted paths of ``hidden``."""
    lines = [HEAD.rstrip("\n")]
    for f in dataclasses.fields(settings):
        lines.append("")
        lines.extend(_Writer(hidden).field(settings, f, "", ""))
    return "\n".join(lines) + "\n"


class _Writer:
    """Walks a tree and writes lines."""

    def __init__(self, hidden: Collection[str]) -> None:
        self._hidden = hidden

    def section(self, value: Any, indent: str, path: str) -> list[str]:
        """All fields of one dataclass."""
        lines: list[str] = []
        for f in dataclasses.fields(value):
            lines.extend(self.field(value, f, indent, path))
        return lines

    def field(self, owner: Any, f: "dataclasses.Field[Any]", indent: str, path: str) -> list[str]:
        """One field with its comment."""
        here = f"{path}.{f.name}" if path else f.name
        if here in self._hidden:
            return []
        value = getattr(owner, f.name)
        lines = _comment(field_comments(type(owner)).get(f.name, ""), indent)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return [*lines, f"{indent}{f.name}:", *self.section(value, indent + "  ", here)]
        if isinstance(value, dict) and value:
            lines.append(f"{indent}{f.name}:")
            for position, (key, item) in enumerate(value.items()):
                lines.extend(self._item(f"{indent}  {_scalar(key)}:", item, indent + "    ", comments=position == 0))
            return lines
        if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            return [*lines, f"{indent}{f.name}:", *self._list(value, indent)]
        return [*lines, f"{indent}{f.name}: {_scalar(value)}"]

    def _list(self, items: tuple[Any, ...], indent: str) -> list[str]:
        lines: list[str] = []
        for position, item in enumerate(items):
            body = self.section(item, indent + "    ", "")
            if position:
                body = _without_comments(body)
            first = next(i for i, line in enumerate(body) if not line.lstrip().startswith("#"))
            body[first] = f"{indent}  - {body[first].lstrip()}"
            lines.extend(body)
        return lines

    def _item(self, head: str, item: Any, indent: str, *, comments: bool) -> list[str]:
        if dataclasses.is_dataclass(item) and not isinstance(item, type):
            body = self.section(item, indent, "")
            return [head, *(body if comments else _without_comments(body))]
        return [f"{head} {_scalar(item)}"]


def _without_comments(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.lstrip().startswith("#")]


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
