from typing import Any

from core.ids import CityId, DeviceId, TenantId, UserId
from core.principal import Principal, Role
from safety import looks
from safety.looks import BULK_PEOPLE, BULK_WINDOW_S, LookBook, LookKind, area_of, audit_entry, bulk_entry

ACME = TenantId("acme")


def ops(user: str = "ops_1") -> Principal:
    return Principal(
        tenant=ACME, user=UserId(user), role=Role.OPS, roles=frozenset({Role.OPS}),
        cities=frozenset({CityId("hangzhou")}), device=DeviceId("console"), expires_at=1e9,
    )  # fmt: skip


def note(book: LookBook, subject: str, now: float, **more: Any) -> looks.BulkRead | None:
    return book.note(ops(), subject, LookKind.TRACK, "ord_1", now, **more)


def test_looks_of_one_kind_within_a_minute_are_one_with_a_count() -> None:
    book = LookBook()
    for now in (0.0, 1.0, 2.0):
        note(book, "tec_1", now)
    note(book, "tec_2", 2.0)
    book.note(ops(), "tec_1", LookKind.WATCH, "order:ord_1", 2.0)
    found = book.take(3.0)
    assert [(k.subject, k.kind, k.at, k.last_at, k.count) for k in found] == [
        ("tec_1", LookKind.TRACK, 0.0, 2.0, 3),
        ("tec_2", LookKind.TRACK, 2.0, 2.0, 1),
        ("tec_1", LookKind.WATCH, 2.0, 2.0, 1),
    ]
    note(book, "tec_1", 30.0)
    assert book.take(31.0) == []  # the same look still
    note(book, "tec_1", 40.0, reason="the customer complained")
    assert [look.reason for look in book.take(41.0)] == ["the customer complained"]
    note(book, "tec_1", 120.0)
    assert len(book.take(121.0)) == 1


def test_a_look_at_oneself_is_none() -> None:
    book = LookBook()
    note(book, "ops_1", 0.0)
    assert len(book) == 0


def test_whoever_looks_at_many_people_is_an_alarm_once_for_each_window() -> None:
    book = LookBook()
    alarms = [note(book, f"tec_{n}", n * 1.0) for n in range(2 * BULK_PEOPLE)]
    raised = [alarm for alarm in alarms if alarm is not None]
    assert [(alarm.by, alarm.people, alarm.since) for alarm in raised] == [("ops_1", BULK_PEOPLE + 1, 0.0)]
    assert alarms.index(raised[0]) == BULK_PEOPLE
    later = [note(book, f"tec_{n}", BULK_WINDOW_S + 200 + n) for n in range(2 * BULK_PEOPLE)]
    assert sum(alarm is not None for alarm in later) == 1


def test_the_same_few_people_a_city_and_what_must_be_looked_at_are_no_alarm() -> None:
    book = LookBook()
    assert not any(note(book, f"tec_{n % BULK_PEOPLE}", n * 1.0) for n in range(500))
    assert not any(note(book, area_of(CityId(f"c{n}")), 1000.0 + n) for n in range(100))
    assert not any(note(book, f"tec_{n}", 2000.0 + n, counts=False) for n in range(200))
    slow = LookBook()
    assert not any(note(slow, f"tec_{n}", n * BULK_WINDOW_S / (BULK_PEOPLE - 1)) for n in range(500))


def test_what_could_not_be_stored_waits_on_and_joins_what_came_since() -> None:
    book = LookBook()
    note(book, "tec_1", 0.0)
    taken = book.take(1.0)
    note(book, "tec_2", 70.0)
    note(book, "tec_1", 70.0)
    book.give_back(taken)
    assert [(k.subject, k.at, k.last_at, k.count) for k in book.take(71.0)] == [
        ("tec_1", 0.0, 70.0, 2),
        ("tec_2", 70.0, 70.0, 1),
    ]


def test_what_finds_no_room_is_dropped_oldest_first_and_counted(monkeypatch: Any) -> None:
    monkeypatch.setattr(looks, "WAITING_MAX", 3)
    book = LookBook()
    for n in range(5):
        note(book, f"tec_{n}", float(n))
    assert (book.dropped, [look.subject for look in book.take(9.0)]) == (2, ["tec_2", "tec_3", "tec_4"])


def test_the_audit_remembers_who_and_whom() -> None:
    book = LookBook()
    alarm = [note(book, f"tec_{n}", 1.0) for n in range(BULK_PEOPLE + 1)][-1]
    entry = audit_entry(book.take(2.0)[0])
    assert (entry.actor, entry.action, entry.subject, entry.at) == ("ops_1", "location.read", "tec_0", 1.0)
    assert alarm is not None
    assert (bulk_entry(alarm).actor, bulk_entry(alarm).action) == ("ops_1", "location.bulk_read")
