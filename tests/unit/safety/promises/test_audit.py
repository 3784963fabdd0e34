"""P17: an audit that was touched anywhere below its last anchor is not believed, from the first row that differs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from safety.audit import AuditPen, AuditRow, Head, check_chain
from tests.unit.safety.promises.history import Act, Life, histories, often
from tests.unit.safety.test_audit import ACME, CHANGES, KEYS, OTHER_KEYS, anchor_at, chain, head_of

Damage = Callable[[list[AuditRow], int], list[AuditRow]]


def _renumbered(rows: Sequence[AuditRow]) -> list[AuditRow]:
    return [replace(row, seq=n) for n, row in enumerate(rows, start=1)]


def _edited(rows: list[AuditRow], n: int, field: str) -> list[AuditRow]:
    return [*rows[:n], replace(rows[n], **{field: CHANGES[field]}), *rows[n + 1 :]]  # type: ignore[arg-type]


DAMAGE: dict[str, Damage] = {
    **{f"edit {field}": partial(_edited, field=field) for field in CHANGES},
    "delete": lambda rows, n: rows[:n] + rows[n + 1 :],
    "delete and renumber": lambda rows, n: _renumbered(rows[:n] + rows[n + 1 :]),
    "cut off": lambda rows, n: rows[:n],
    "cut off and write anew": lambda rows, n: rows[:n] + chain(len(rows) - n, head=head_of(rows[:n]), word="never"),
    "write anew without the key": lambda rows, n: rows[:n] + chain(2, OTHER_KEYS, head_of(rows[:n])),
    "twice": lambda rows, n: [*rows[: n + 1], *rows[n:]],
    "turn around": lambda rows, n: _renumbered(rows[:n] + rows[n:][::-1]),
}


@often(120)
@given(
    st.integers(2, 10),
    st.lists(st.integers(1, 10), min_size=1, max_size=3),
    st.lists(st.tuples(st.sampled_from(sorted(DAMAGE)), st.integers(0, 9)), max_size=3),
)
def test_p17_a_chain_verifies_and_any_change_below_the_last_anchor_is_found(
    length: int, anchored: list[int], damages: list[tuple[str, int]]
) -> None:
    true = chain(length)
    seqs = sorted({1 + seq % length for seq in anchored})
    anchors = [anchor_at(true, seq) for seq in seqs]
    assert check_chain(ACME, true, anchors, KEYS) == (head_of(true), None)
    rows = true
    for what, place in damages:
        if rows:
            rows = DAMAGE[what](rows, place % len(rows))
    head, fault = check_chain(ACME, rows, anchors, KEYS)
    if rows[: seqs[-1]] == true[: seqs[-1]]:
        return  # what was promised is there
    assert fault is not None
    same = next((n for n, (one, other) in enumerate(zip(rows, true, strict=False)) if one != other), len(rows))
    if "cut off and write anew" not in dict(damages):  # what has the key is only found by the anchor
        assert fault.seq <= same + 1, "nothing behind the first row that differs is believed"
    assert head.seq <= length


@often(40)
@given(histories())
def test_p17_every_event_of_an_incident_is_a_row_of_the_chain(history: list[Act]) -> None:
    life, pen, head, rows = Life().live(history), AuditPen(KEYS, lambda: b"salt" * 4), Head(), list[AuditRow]()
    for turn in life.turns:
        entries = turn.changes.audit()
        for event in turn.changes.events:
            assert any(entry.action == f"incident.{event.what}" and entry.actor == event.who for entry in entries)
        for entry in entries:
            row, _ = pen.write(entry, head)
            rows.append(row)
            head = Head(row.seq, row.mac)
    assert check_chain(ACME, rows, [pen.anchor(ACME, head, life.now)], KEYS) == (head, None)
