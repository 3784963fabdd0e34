import logging
from pathlib import Path

import pytest

from core.outbox import Stream
from safety.audit import AuditKeys, AuditPen, Head
from safety.model import IncidentState
from safety.settings import AuditSettings
from server.anchoring import Anchoring, anchor_path
from store.anchors import append_anchors, read_anchors
from store.memory import MemorySafetyStore
from store.memory_outbox import MemoryOutbox
from tests.contract.store_values import NOW, TENANT, ManualClock, make_incident, make_incident_event, safety_changes

PEN = AuditPen(AuditKeys([b"k" * 32]), lambda: b"s" * 16)


async def remember(store: MemorySafetyStore, seq: int = 1) -> Head:
    incident = make_incident(version=seq, state=IncidentState.OPEN)
    await store.commit(safety_changes(incident, make_incident_event(seq=seq)), [], NOW)
    return (await store.audit_heads())[TENANT]


@pytest.fixture
def store() -> MemorySafetyStore:
    return MemorySafetyStore(MemoryOutbox(Stream.SAFETY, "e1"), PEN)


def anchoring(store: MemorySafetyStore, path: Path) -> Anchoring:
    return Anchoring(store, PEN, path, 60.0, ManualClock())


async def test_each_new_end_is_written_once(store: MemorySafetyStore, tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    service = anchoring(store, path)
    await service.start()
    await service.export()
    assert read_anchors(path) == []
    first = await remember(store)
    await service.export()
    await service.export()
    second = await remember(store, 2)
    await service.export()
    assert [Head(anchor.seq, anchor.mac) for anchor in read_anchors(path)] == [first, second]
    again = anchoring(store, path)  # after a restart nothing is new
    await again.start()
    await again.export()
    assert len(read_anchors(path)) == 2


async def test_an_audit_that_is_behind_its_anchor_is_told_loudly_at_start(
    store: MemorySafetyStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "anchors.jsonl"
    append_anchors(path, [PEN.anchor(TENANT, Head(9, b"m" * 32), NOW)])
    await remember(store)
    with caplog.at_level(logging.CRITICAL):
        await anchoring(store, path).start()
    assert [(r.levelname, r.tenant, r.rows, r.anchored) for r in caplog.records] == [  # type: ignore[attr-defined]
        ("CRITICAL", TENANT, 1, 9)
    ]


async def test_a_place_that_cannot_be_written_is_counted_and_tried_again(
    store: MemorySafetyStore, tmp_path: Path
) -> None:
    path = tmp_path / "away" / "anchors.jsonl"
    service = anchoring(store, path)
    await service.start()
    head = await remember(store)
    await service.export()
    await service.export()
    assert service.failures == 2
    path.parent.mkdir()
    await service.export()
    assert service.failures == 0
    assert [anchor.seq for anchor in read_anchors(path)] == [head.seq]


def test_where_anchors_go(tmp_path: Path) -> None:
    assert anchor_path(AuditSettings(), "var/data", tmp_path) == Path("var/data-anchors.jsonl")
    assert anchor_path(AuditSettings(anchor_file="a.jsonl"), "var/data", tmp_path) == tmp_path / "a.jsonl"
