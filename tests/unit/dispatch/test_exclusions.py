"""The table of reasons: a row for each, and no set of reasons beside it."""

import ast
from pathlib import Path

from dispatch.exclusions import (
    BY_INDEX,
    BY_WAY,
    LASTING,
    OF_NOW,
    OVERRIDABLE,
    PRIVATE,
    RULES,
    WAIVABLE,
    WOKEN,
    Basis,
    Moment,
    by_label,
    labels,
)
from dispatch.problem import Exclusion

ROOT = Path(__file__).parents[3]
PRODUCT = ("api", "cli", "dispatch", "server", "sim", "store", "tools", "web")


def said(reasons: frozenset[Exclusion]) -> set[str]:
    return {reason.label for reason in reasons}


def test_every_reason_has_a_row_and_a_meaning() -> None:
    assert RULES.keys() == set(Exclusion) - {Exclusion.NONE}
    assert all(rule.meaning.endswith(".") for rule in RULES.values())
    assert len({rule.meaning for rule in RULES.values()}) == len(RULES)


def test_what_keeps_people_safe_or_a_promise_true_cannot_be_overridden() -> None:
    assert said(frozenset(RULES) - OVERRIDABLE) == {
        "unverified", "papers", "city", "service", "sos", "busy", "calendar", "off_duty", "own_order",
        "not_picked", "farther",
    }  # fmt: skip


def test_a_question_may_leave_out_everything_but_duty_alarms_and_distance() -> None:
    assert said(frozenset(RULES) - WAIVABLE) == {"off_duty", "too_far", "sos", "farther"}


def test_the_sets_by_what_a_reason_is_read_from() -> None:
    assert said(BY_INDEX) == {"disconnected", "unheard", "stale_position"}
    assert said(BY_WAY) == {"too_far", "calendar", "night_transport"}
    assert said(OF_NOW) == said(BY_INDEX | BY_WAY) | {"off_duty", "busy", "offered"}
    assert not OF_NOW & LASTING
    assert WOKEN < BY_INDEX
    assert said(PRIVATE) == {"unverified", "city", "blocked"}


def test_every_reason_of_a_record_is_asked_for_whenever_it_may_have_changed() -> None:
    standing = Moment.ACCEPT | Moment.CHANGE | Moment.SET_OUT
    for reason, rule in RULES.items():
        assert (rule.asked & standing == standing) == (rule.basis is Basis.RECORD), reason
        assert rule.basis is not Basis.ROUND or not rule.asked, "is never said of a pair"
    assert {reason.label for reason, rule in RULES.items() if rule.asked & Moment.TIME} == {
        "papers", "night_transport",
    }  # fmt: skip


def test_labels_lead_back_to_their_reasons() -> None:
    assert [Exclusion[name.upper()] for name in by_label(RULES)] == list(by_label(RULES).values())
    assert labels([Exclusion.TOO_FAR, Exclusion.CITY]) == "too_far, city"


def test_no_second_set_of_reasons_is_made_by_hand() -> None:
    found = []
    for path in (p for package in PRODUCT for p in (ROOT / package).rglob("*.py")):
        if path == ROOT / "dispatch" / "exclusions.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Set | ast.List | ast.Tuple | ast.Dict):
                named = [element for element in _elements(node) if _is_reason(element)]
                if len(named) > 1:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def _elements(node: ast.Set | ast.List | ast.Tuple | ast.Dict) -> list[ast.expr | None]:
    return list(node.keys) if isinstance(node, ast.Dict) else list(node.elts)


def _is_reason(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Exclusion"
