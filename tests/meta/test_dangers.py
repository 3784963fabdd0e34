"""What the code must not do: run what somebody sent, put it into SQL, or search it by a pattern that backtracks.

``ruff`` looks for most of this as well; here no line can opt out.
"""

import ast
import re
import time
from collections.abc import Iterator
from re import _constants, _parser  # type: ignore[attr-defined]  # the library's own reading of a pattern
from typing import Any

import pytest

from tests.meta.test_layout import PACKAGES, ROOT

EVALUATES = {"eval", "exec", "compile", "__import__"}
UNPICKLES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "xmlrpc"}
SQL = {"text", "exec_driver_sql", "run_text", "execute", "executemany", "executescript"}
KNOWN_LINEAR = {r"(?:\.\w+)+"}
"""Of the config's keys: each round begins with a dot, which the repeat inside never takes."""
SEARCHED_ANYWHERE_LEN = 2_000
"""From every place: what is linear from one is quadratic from all, which is harmless for what is this short."""
SEARCHED_LEN = 20_000
SEARCH_S_MAX = 0.25
LOOP = (_constants.MAX_REPEAT, _constants.MIN_REPEAT)


def trees() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def dangers(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (name for name in names if name.partition(".")[0] in UNPICKLES)
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
        if isinstance(called, ast.Name) and name in EVALUATES:
            yield name
        if name == "load" and isinstance(called, ast.Attribute) and ast.unparse(called.value) == "yaml":
            loaders = [ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg == "Loader"]
            if loaders != ["_StrictLoader"]:  # a SafeLoader that also refuses repeated keys
                yield "yaml.load"
        if any(keyword.arg == "shell" and ast.unparse(keyword.value) != "False" for keyword in node.keywords):
            yield "shell"
        if (
            name in SQL
            and node.args
            and isinstance(node.args[-1 if name == "run_text" else 0], ast.JoinedStr | ast.BinOp)
        ):
            yield f"SQL put together: {ast.unparse(node)}"


def test_nothing_is_evaluated_unpickled_or_put_together_to_sql() -> None:
    # Migrations run on the database alone, before anybody can ask for anything.
    found = {file: list(dangers(tree)) for file, tree in trees() if "/migrations/" not in file}
    assert {file: what for file, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "code",
    [
        "eval(x)", "exec(x)", "import pickle", "from pickle import loads", "yaml.load(x)",
        "yaml.load(x, Loader=yaml.Loader)",
        "subprocess.run(x, shell=True)", "connection.execute(f'SELECT {x}')", "text('SELECT ' + x)",
        "import marshal as m",
        "run_text(connection, f'SAVEPOINT {x}')", "cursor.execute('SELECT %s' % x)",
    ],
)  # fmt: skip
def test_the_check_sees_each_danger(code: str) -> None:
    assert list(dangers(ast.parse(code)))


def patterns() -> Iterator[tuple[str, str]]:
    """Every pattern that stands in the code as it is, and every module-level one that was put together."""
    for file, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                is_re = isinstance(node.func.value, ast.Name) and node.func.value.id == "re"
                first = node.args[0]
                if is_re and isinstance(first, ast.Constant) and isinstance(first.value, str | bytes):
                    text = first.value if isinstance(first.value, str) else first.value.decode("latin-1")
                    yield file, text


def loops_in_loops(parsed: Any, inside: bool = False) -> bool:
    """Whether a repeat without an end stands in another: `(a+)+` and its kind."""
    for operation, argument in parsed:
        if operation in LOOP:
            endless = argument[1] is _constants.MAXREPEAT
            if (endless and inside) or loops_in_loops(argument[2], inside or endless):
                return True
        elif operation is _constants.SUBPATTERN:
            if loops_in_loops(argument[3], inside):
                return True
        elif operation is _constants.BRANCH:
            if any(loops_in_loops(branch, inside) for branch in argument[1]):
                return True
        elif operation in (_constants.ASSERT, _constants.ASSERT_NOT) and loops_in_loops(argument[1], inside):
            return True
    return False


def test_no_pattern_repeats_a_repeat() -> None:
    found = list(patterns())
    assert len(found) > 5
    assert [
        (file, text) for file, text in found if text not in KNOWN_LINEAR and loops_in_loops(_parser.parse(text))
    ] == []


@pytest.mark.parametrize(
    ("text", "is_bad"),
    [
        (r"(a+)+$", True),
        (r"(?:a*b?)*c", True),
        (r"((a{2,})x)*", True),
        (r"(a+b)?c+", False),
        (r"(?:\.\w+){1,9}", False),
    ],
)
def test_the_check_sees_repeats_in_repeats(text: str, is_bad: bool) -> None:
    assert loops_in_loops(_parser.parse(text)) is is_bad


@pytest.mark.slow
def test_every_pattern_is_quick_on_long_texts() -> None:
    slow = []
    for file, text in patterns():
        pattern = re.compile(text)
        letters = dict.fromkeys([*(letter for letter in text if letter > " "), "a", "0", " ", "\n", "=", "."])
        for letter in letters:
            for attack in (letter * SEARCHED_LEN, (letter + "a") * (SEARCHED_LEN // 2), letter * SEARCHED_LEN + "\x00"):
                began = time.perf_counter()
                pattern.match(attack)
                pattern.fullmatch(attack)
                pattern.search(attack[:SEARCHED_ANYWHERE_LEN])
                if time.perf_counter() - began > SEARCH_S_MAX:
                    slow.append((file, text, letter))
    assert slow == []
