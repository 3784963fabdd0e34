"""P17: a chain verifies; whatever is changed in it, or cut off below the last anchor, is found at the first bad row."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ids import IncidentId, TenantId
from safety.audit import (
    KEY_BYTES_MIN,
    NO_MAC,
    Anchor,
    AuditKeys,
    AuditPen,
    AuditRow,
    Head,
    check_chain,
    event_of,
    fact_entry,
    hash_payload,
    incident_entry,
)
from safety.model import IncidentEvent, IncidentState

ACME = TenantId("acme")
KEYS = AuditKeys([b"k" * KEY_BYTES_MIN])
OTHER_KEYS = AuditKeys([b"x" * KEY_BYTES_MIN])


def chain(length: int, keys: AuditKeys = KEYS, head: Head | None = None, word: str = "was") -> list[AuditRow]:
    """Rows of one tenant after ``head``."""
    pen, head, rows = AuditPen(keys, lambda: b"salt" * 4), head or Head(), []
    for _ in range(length):
        number = head.seq + 1
        entry = fact_entry(
            ACME, 1_000.0 + number, f"ops_{number % 3}", "location.read", f"tec_{number}", {word: number}
        )
        row, _ = pen.write(entry, head)
        rows.append(row)
        head = Head(row.seq, row.mac)
    return rows


def head_of(rows: Sequence[AuditRow]) -> Head:
    return Head(rows[-1].seq, rows[-1].mac) if rows else Head()


def anchor_at(rows: Sequence[AuditRow], seq: int, keys: AuditKeys = KEYS) -> Anchor:
    return AuditPen(keys, lambda: b"").anchor(ACME, head_of(rows[:seq]), 2_000.0 + seq)


def first_bad(rows: Sequence[AuditRow], anchors: Sequence[Anchor] = (), keys: AuditKeys = KEYS) -> int | None:
    _, fault = check_chain(ACME, rows, anchors, keys)
    return None if fault is None else fault.seq


def test_a_chain_of_ours_is_sound_and_its_end_is_known() -> None:
    rows = chain(5)
    assert check_chain(ACME, rows, [anchor_at(rows, 2), anchor_at(rows, 5)], KEYS) == (head_of(rows), None)
    assert [row.seq for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0].prev == NO_MAC
    assert check_chain(ACME, [], [], KEYS) == (Head(), None)


CHANGES = {
    "at": 1.0,
    "actor": "nobody",
    "action": "location.reed",
    "subject": "tec_0",
    "payload_hash": bytes(32),
    "tenant": TenantId("other"),
    "mac": bytes(32),
}


@given(length=st.integers(1, 12), place=st.integers(0, 11), field=st.sampled_from(sorted(CHANGES)))
def test_an_edit_of_any_field_is_found_at_its_row(length: int, place: int, field: str) -> None:
    rows = chain(length)
    place %= length
    rows[place] = replace(rows[place], **{field: CHANGES[field]})  # type: ignore[arg-type]
    assert first_bad(rows) == place + 1


@given(length=st.integers(2, 12), place=st.integers(0, 10), renumber=st.booleans())
def test_a_deletion_is_found_where_it_was_made(length: int, place: int, renumber: bool) -> None:
    rows = chain(length)
    place %= length - 1  # the last one is the tail: see below
    del rows[place]
    if renumber:
        rows[place:] = [replace(row, seq=row.seq - 1) for row in rows[place:]]
    assert first_bad(rows) == place + 1


@given(length=st.integers(2, 12), one=st.integers(0, 11), other=st.integers(0, 11), renumber=st.booleans())
def test_another_order_is_found_at_the_first_row_out_of_place(
    length: int, one: int, other: int, renumber: bool
) -> None:
    one, other = sorted((one % length, other % length))
    rows = chain(length)
    rows[one], rows[other] = rows[other], rows[one]
    if renumber:
        rows = [replace(row, seq=n) for n, row in enumerate(rows, start=1)]
    assert first_bad(rows) == (None if one == other else one + 1)


@given(length=st.integers(1, 12), kept=st.integers(0, 11), anchored=st.integers(1, 12))
def test_a_missing_end_is_found_as_far_as_it_was_anchored(length: int, kept: int, anchored: int) -> None:
    kept, anchored = kept % length, 1 + (anchored - 1) % length
    rows = chain(length)
    bad = first_bad(rows[:kept], [anchor_at(rows, anchored)])
    assert bad == (kept + 1 if anchored > kept else None)
    assert first_bad(rows[:kept]) is None  # the chain alone cannot know


@given(length=st.integers(2, 12), kept=st.integers(0, 11), again=st.integers(1, 12), early=st.integers(0, 12))
def test_an_end_that_was_written_anew_even_with_the_key_is_found_by_the_anchor(
    length: int, kept: int, again: int, early: int
) -> None:
    kept, early = kept % length, early % length
    rows = chain(length)
    anchors = [anchor_at(rows, seq) for seq in {early, length} if seq]
    forged = rows[:kept] + chain(again, head=head_of(rows[:kept]), word="never was")
    bad = first_bad(forged, anchors)
    assert bad is not None
    assert bad <= kept + 1 or bad == len(forged) + 1
    if kept < early <= len(forged):
        assert bad <= kept + 1


def test_another_key_is_told_as_such() -> None:
    rows = chain(3)
    assert first_bad(rows, keys=OTHER_KEYS) == 1
    _, fault = check_chain(ACME, rows, [anchor_at(rows, 3)], OTHER_KEYS)
    assert fault is not None
    assert (fault.seq, KEYS.name in fault.what) == (1, True)
    assert "not among the keys" in str(fault)


def test_rows_and_anchors_by_somebody_without_the_key_are_found() -> None:
    rows = chain(3)
    forged = rows + chain(2, OTHER_KEYS, head_of(rows))
    assert first_bad(forged) == 4
    false = replace(anchor_at(rows, 3), mac=bytes(32))
    assert first_bad(rows, [false]) == 3


def test_a_key_can_be_changed_and_the_old_rows_stay_good() -> None:
    old, both = chain(3), AuditKeys([b"n" * 32, b"k" * KEY_BYTES_MIN])
    rows = old + chain(2, both, head_of(old))
    assert both.name != KEYS.name
    assert first_bad(rows, [anchor_at(rows, 3), anchor_at(rows, 5, both)], both) is None
    assert first_bad(rows, keys=KEYS) == 4


@pytest.mark.parametrize("keys", [[], [b"short"], [b"k" * 32, b"short"]])
def test_short_keys_are_refused(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        AuditKeys(keys)


def test_what_was_erased_cannot_be_tried_out_and_leaves_the_chain_sound() -> None:
    salts = iter((b"a" * 16, b"b" * 16))
    pen = AuditPen(KEYS, lambda: next(salts))
    entry = fact_entry(ACME, 1.0, "ops_1", "location.read", "tec_1", {})
    first, salt = pen.write(entry, Head())
    second, _ = pen.write(entry, Head(first.seq, first.mac))
    assert first.payload_hash == hash_payload(salt, entry.payload)
    assert first.payload_hash != second.payload_hash
    assert first_bad([first, second]) is None


def test_an_incidents_event_is_found_again_in_its_payload() -> None:
    event = IncidentEvent(ACME, IncidentId("inc_1"), 3, 1.5, "acknowledged", "ops_1", IncidentState.ACKNOWLEDGED, 1)
    entry = incident_entry(event)
    assert (entry.actor, entry.action, entry.subject) == ("ops_1", "incident.acknowledged", "inc_1")
    assert event_of(entry.action, entry.payload) == event
    assert event_of("location.read", entry.payload) is None
    assert event_of(entry.action, b"\xc1") is None
