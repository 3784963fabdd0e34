"""Reads the config: a YAML file and the environment become frozen dataclasses, or a list of everything wrong.

The classes are the schema: their fields' names, types, ranges and defaults, and what ``__post_init__`` checks.
Nothing else in the project reads files or the environment for settings.
"""

import dataclasses
import difflib
import functools
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar, Union, get_args, get_origin

import yaml

ENV_PREFIX: Final = "DOORSTEP__"
_ENV_WORD: Final = "DOORSTEP_"
_T = TypeVar("_T")
_MISSING: Final = object()
_KEYS_BELOW: Final = re.compile(r"(?:\.\w+)+")
"""The rest of a key whose section told of it, `.port` in `hub.port must be …`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the config.

    Attributes:
        source: File or environment variable it came from.
        path: Dotted path of the key, ``""`` for the file as a whole.
        text: What was expected and what was found.
    """

    source: str
    path: str
    text: str

    def __str__(self) -> str:
        """One line for a person."""
        where = f"{self.source}: {self.path}" if self.path else self.source
        return f"{where}: {self.text}"


class ConfigError(Exception):
    """The config cannot be used. Holds every problem found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Keep the problems, sorted as a reader of the file would meet them."""
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = tuple(problems)


class _StrictLoader(yaml.SafeLoader):
    """YAML without silently repeated keys."""


def _mapping_without_repeats(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_repeats)


def load(
    cls: type[_T],
    file: Path | None,
    environ: Mapping[str, str],
    *,
    derived: Mapping[str, str] | None = None,
    removed: Mapping[str, str] | None = None,
) -> _T:
    """Build ``cls`` from ``file`` (None for defaults only) with overrides from the environment.

    Args:
        derived: Keys that may not be set, each with the key that it follows from.
        removed: Keys of older versions, each with the key that took its place.

    Raises:
        ConfigError: With all problems at once.
    """
    problems: list[Problem] = []
    data = _read(file, problems) if file is not None else {}
    origin: dict[str, str] = {}
    for name, value in sorted(environ.items()):
        if name.startswith(ENV_PREFIX):
            _override(data, origin, name, value, cls, problems)
    named = set(_words(data)) | set(_words(cls()))
    for name in sorted(environ.keys() - named):
        meant = _meant(cls, name)
        if meant is not None:
            problems.append(Problem(name, "", f"is not read; did you mean {meant}?"))
    builder = _Builder(str(file) if file is not None else "defaults", origin, problems, derived or {}, removed or {})
    settings = builder.build(cls, data, "", cls())
    if problems or settings is _MISSING:
        raise ConfigError(problems)
    return typing.cast(_T, settings)


def _read(file: Path, problems: list[Problem]) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(str(file), "", f"cannot be read: {error}"))
        return {}
    try:
        data = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader that also refuses repeated keys
        for _ in _words(data):  # what refers to itself has no end
            pass
    except yaml.YAMLError as error:
        told = " ".join(str(error).replace('in "<unicode string>", ', "at ").split())
        problems.append(Problem(str(file), "", f"is not valid YAML: {told}"))
        return {}
    except RecursionError:
        problems.append(Problem(str(file), "", "is nested too deeply, or refers to itself"))
        return {}
    if data is None:
        return {}
    if not isinstance(data, dict):
        problems.append(Problem(str(file), "", "must be a mapping of sections"))
        return {}
    return data


def _override(
    data: dict[str, Any], origin: dict[str, str], name: str, value: str, cls: type, problems: list[Problem]
) -> None:
    """Put one environment variable into the tree, typed by what the tree expects there."""
    parts = [part.lower() for part in name[len(ENV_PREFIX) :].split("__")]
    node: Any = data
    for part in parts[:-1]:
        if isinstance(node, dict):
            if not isinstance(node.get(part), dict | list):
                node[part] = {}
            node = node[part]
        elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:
            problems.append(Problem(name, ".".join(parts), "names nothing in the config"))
            return
    if not isinstance(node, dict):
        problems.append(Problem(name, ".".join(parts), "names nothing in the config"))
        return
    expected = _type_at(cls, parts)
    parsed: Any = value
    if expected is not str:
        try:
            parsed = yaml.load(value, Loader=_StrictLoader)  # noqa: S506 - see _read
        except yaml.YAMLError:
            parsed = value
    node[parts[-1]] = parsed
    origin[".".join(parts)] = name


def _words(tree: Any) -> Iterator[str]:
    """Every text in a tree of settings or of YAML: the config names environment variables that hold secrets."""
    if isinstance(tree, str):
        yield tree
    elif dataclasses.is_dataclass(tree):
        for f in dataclasses.fields(tree):
            yield from _words(getattr(tree, f.name))
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from _words(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _words(value)


def _meant(cls: Any, name: str) -> str | None:
    """The variable that was meant by one that lacks an underscore after the prefix's word; None for any other."""
    if not name.startswith(_ENV_WORD) or name.startswith(ENV_PREFIX) or "__" not in name:
        return None
    parts = [part.lower() for part in name[len(_ENV_WORD) :].split("__")]
    if parts[0] not in hints(cls):
        return None
    for place in range(1, len(parts)):
        within: Any = _type_at(cls, parts[:place])
        known = list(hints(within)) if dataclasses.is_dataclass(within) else []  # type: ignore[arg-type]
        near = difflib.get_close_matches(parts[place], known, n=1, cutoff=0.5)
        parts[place] = near[0] if near else parts[place]
    return ENV_PREFIX + "__".join(parts).upper()


def _type_at(cls: Any, parts: Sequence[str]) -> Any:
    """The type expected at a path; None where there is none. Walks values of any kind that types may be."""
    for part in parts:
        if dataclasses.is_dataclass(cls):
            cls = hints(cls).get(part)  # type: ignore[arg-type]
        elif get_origin(cls) in (dict, tuple):
            cls = get_args(cls)[1 if get_origin(cls) is dict else 0]
        else:
            return None
    return cls


@functools.cache
def hints(cls: Any) -> dict[str, Any]:
    """Resolved field types of a settings class."""
    resolved = typing.get_type_hints(cls)
    return {f.name: resolved[f.name] for f in dataclasses.fields(cls)}


def default_of(f: "dataclasses.Field[Any]") -> Any:
    """A field's default value; raises ``TypeError`` for a field without one."""
    if f.default is not dataclasses.MISSING:
        return f.default
    if f.default_factory is not dataclasses.MISSING:
        return f.default_factory()
    raise TypeError(f"settings field {f.name} has no default")


class _Builder:
    """Walks types and values together and collects problems."""

    def __init__(
        self,
        source: str,
        origin: Mapping[str, str],
        problems: list[Problem],
        derived: Mapping[str, str],
        removed: Mapping[str, str],
    ) -> None:
        self._source = source
        self._origin = origin
        self._problems = problems
        self._derived = derived
        self._removed = removed

    def build(self, cls: Any, data: Any, path: str, default: Any = None) -> Any:
        """Return an instance, or ``_MISSING`` after noting problems.

        Args:
            default: What stands there when nothing is given: keys left out keep its values, not the class's.
        """
        if not isinstance(data, dict):
            return self._bad(path, f"must be a section with keys, is {_shown(data)}")
        known = hints(cls)
        values: dict[str, Any] = {}
        failed = False
        for key, value in data.items():
            here = f"{path}.{key}" if path else str(key)
            if key not in known:
                self._bad(here, _unknown(str(key), list(known), self._removed.get(here)))
                failed = True
                continue
            if here in self._derived:
                self._bad(here, f"follows from {self._derived[here]}; set that instead")
                failed = True
                continue
            built = self.convert(known[key], value, here, getattr(default, key, None))
            if built is _MISSING:
                failed = True
            else:
                values[key] = built
        base = {} if default is None else {name: getattr(default, name) for name in known}
        alone_ok = self._check_each_alone(cls, base, values, path)
        if failed or not alone_ok:
            return _MISSING
        try:
            return cls(**base | values)
        except ValueError as error:
            return self._bad(path, str(error))

    def _check_each_alone(self, cls: Any, base: dict[str, Any], values: dict[str, Any], path: str) -> bool:
        """Try every value with the defaults around it, so that each bad one is named, not only the first."""
        if _text_of_failure(cls, base) is not None:
            return True  # the class needs several keys together; only the whole can be judged
        good = True
        together = _text_of_failure(cls, base | values)
        for key, value in values.items():
            text = _text_of_failure(cls, base | {key: value})
            # A key that is wrong only without its siblings is not wrong.
            if text is not None and together is not None:
                within = _KEYS_BELOW.match(text.removeprefix(key))
                below = within.group() if within is not None and text.startswith(key) else ""
                place = f"{path}.{key}{below}" if path else f"{key}{below}"
                self._bad(place, text.removeprefix(f"{key}{below}").lstrip(": "))
                good = False
        return good

    def convert(self, kind: Any, value: Any, path: str, default: Any = None) -> Any:
        """One value as ``kind``, or ``_MISSING`` after noting the problem."""
        origin = get_origin(kind)
        if origin in (Union, types.UnionType):
            if value is None:
                return None
            return self.convert(next(a for a in get_args(kind) if a is not type(None)), value, path, default)
        if dataclasses.is_dataclass(kind):
            return self.build(kind, {} if value is None else value, path, default)
        if origin is tuple:
            return self._tuple(kind, value, path)
        if origin is dict:
            return self._dict(kind, value, path)
        if isinstance(kind, type) and issubclass(kind, Enum):
            return self._enum(kind, value, path)
        return self._scalar(kind, value, path)

    def _tuple(self, kind: Any, value: Any, path: str) -> Any:
        if not isinstance(value, list):
            return self._bad(path, f"must be a list, is {_shown(value)}")
        args = get_args(kind)
        if args[-1] is not Ellipsis and len(value) != len(args):
            return self._bad(path, f"must be a list of {len(args)} values, has {len(value)}")
        item_kinds = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        items = [self.convert(k, v, f"{path}.{i}") for i, (k, v) in enumerate(zip(item_kinds, value, strict=True))]
        return _MISSING if _MISSING in items else tuple(items)

    def _dict(self, kind: Any, value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            return self._bad(path, f"must be a mapping, is {_shown(value)}")
        items = {str(k): self.convert(get_args(kind)[1], v, f"{path}.{k}") for k, v in value.items()}
        return _MISSING if _MISSING in items.values() else items

    def _enum(self, kind: type[Enum], value: Any, path: str) -> Any:
        allowed = [str(member.value) for member in kind]
        if value in allowed:
            return kind(value)
        near = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return self._bad(path, f"must be one of {', '.join(allowed)}, is {_shown(value)}{hint}")

    def _scalar(self, kind: Any, value: Any, path: str) -> Any:
        if kind is bool and isinstance(value, bool):
            return value
        if kind is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            number = float(value)
            return number if number == number else self._bad(path, "must be a number, is NaN")
        if kind is str and isinstance(value, str):
            return value
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
        return self._bad(path, f"must be {words.get(kind, kind)}, is {_shown(value)}")

    def _bad(self, path: str, text: str) -> Any:
        source = next((name for at, name in self._origin.items() if at == path), None)
        if source is None:  # a section that an override made wrong
            source = next(
                (name for at, name in self._origin.items() if path and at.startswith(path + ".")), self._source
            )
        self._problems.append(Problem(source, path, text))
        return _MISSING


def _text_of_failure(cls: Any, values: dict[str, Any]) -> str | None:
    try:
        cls(**values)
    except ValueError as error:
        return str(error)
    return None


def _unknown(key: str, known: list[str], successor: str | None) -> str:
    if successor is not None:
        return f"is not a known key any more; set {successor!r} instead"
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
    return f"is not a known key; {hint}"


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def walk(settings: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a settings tree as (dotted path, value)."""
    for f in dataclasses.fields(settings):
        value = getattr(settings, f.name)
        here = f"{path}.{f.name}" if path else f.name
        if dataclasses.is_dataclass(value):
            yield from walk(value, here)
        else:
            yield here, value
