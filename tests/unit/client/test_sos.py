from typing import Any

from doorstep_client.events import Event, SosAcked, SosNotReceived, SosProgress, SosStage
from doorstep_client.settings import ClientSettings
from doorstep_client.sos import KeptTap, SosCalls

NOW = 1_000_000.0


def calls(clock_off_s: float = 0.0, **more: Any) -> SosCalls:
    return SosCalls(ClientSettings(**more), lambda now: now + clock_off_s)


def ack(key: str, incident: str = "inc_1", **more: Any) -> dict[str, Any]:
    body = {"type": "sos_ack", "key": key, "incident": incident, "durable": False, "delivered": 0, "seen": False}
    return body | more


def stages(events: list[Event]) -> list[SosStage]:
    return [event.stage for event in events if isinstance(event, SosProgress)]


def test_each_sending_says_when_it_was_tapped_and_when_it_is_sent_by_the_phones_clock() -> None:
    some = calls(clock_off_s=-3_600.0)
    some.add("k", {"lat": 1.0}, NOW)
    assert some.send("k", NOW + 1) == {
        "type": "sos", "key": "k", "lat": 1.0, "tapped_at": NOW - 3_600, "sent_at": NOW - 3_599
    }  # fmt: skip
    assert some.send("k", NOW + 7_200)["sent_at"] - some.send("k", NOW)["tapped_at"] == 7_200


def test_it_is_sent_for_ever_until_it_is_durable_however_often_it_is_heard() -> None:
    some, now = calls(), NOW
    some.add("k", {}, now)
    for _ in range(1_000):
        at = some.next_deadline()
        assert at is not None
        assert at - now <= 10.0
        now = at
        assert [frame["key"] for frame in some.due(now)] == ["k"]
        some.acked(ack("k"))
    some.acked(ack("k", durable=True))
    assert some.next_deadline() is None
    assert some.due(now + 1_000) == []


def test_every_stage_is_told_once_and_none_before_it_is_true() -> None:
    some = calls()
    some.add("k", {}, NOW)
    first = some.acked(ack("k"))
    assert isinstance(first[0], SosAcked)
    assert stages(first) == [SosStage.RECEIVED]
    assert stages(some.acked(ack("k"))) == []
    assert stages(some.acked(ack("k", durable=True))) == [SosStage.DURABLE]
    assert stages(some.acked(ack("k", durable=True, delivered=2, seen=True))) == [SosStage.DELIVERED, SosStage.SEEN]
    assert stages(some.acked(ack("other"))) == []


def test_silence_is_told_once_after_five_seconds_and_not_of_a_tap_that_was_heard() -> None:
    some = calls()
    some.add("k", {}, NOW)
    some.add("heard", {}, NOW + 1)
    some.acked(ack("heard"))
    assert some.not_received_at() == NOW + 5.0
    assert some.take_not_received(NOW + 4.9) == []
    assert some.take_not_received(NOW + 5.0) == [SosNotReceived("k", NOW)]
    assert some.take_not_received(NOW + 60.0) == []
    assert some.not_received_at() is None
    assert [frame["key"] for frame in some.due(NOW + 60.0)] == ["k", "heard"]


def test_what_is_kept_goes_on_in_the_next_process_and_what_was_tapped_since_stays() -> None:
    before = calls()
    before.add("durable", {}, NOW)
    before.add("waits", {"note": "help"}, NOW + 1)
    before.lives_in("e1", NOW)
    before.acked(ack("durable", durable=True))
    after = calls()
    after.add("new", {}, NOW + 99)
    after.restore(before.kept(), NOW + 100)
    assert [frame["key"] for frame in after.due(NOW + 100)] == ["waits", "new"]
    assert after.send("waits", NOW + 100)["tapped_at"] == NOW + 1
    assert after.kept()[0] == KeptTap("durable", NOW, {}, "e1", "inc_1")
    assert after.take_not_received(NOW + 105)[0] == SosNotReceived("waits", NOW + 1)


def test_another_epoch_has_every_durable_tap_offered_again_until_it_is_durable_there() -> None:
    some = calls()
    assert some.lives_in("e1", NOW) == []
    some.add("k", {}, NOW)
    some.acked(ack("k", durable=True, seen=True))
    assert some.lives_in("e1", NOW + 1) == []
    (frame,) = some.lives_in("e2", NOW + 2)
    assert (frame["key"], frame["tapped_at"]) == ("k", NOW)
    assert [f["key"] for f in some.due(NOW + 100)] == ["k"]
    # The restored server made another incident: nothing that was said of the first holds for it.
    told = some.acked(ack("k", "inc_2", durable=True))
    assert stages(told) == [SosStage.RECEIVED, SosStage.DURABLE]
    assert some.next_deadline() is None
    assert some.lives_in("e2", NOW + 200) == []


def test_an_epoch_that_was_not_known_when_it_was_stored_counts_as_another() -> None:
    some = calls()
    some.add("k", {}, NOW)
    some.acked(ack("k", durable=True))
    assert [frame["key"] for frame in some.lives_in("e1", NOW)] == ["k"]


def test_of_what_is_durable_the_last_are_remembered_and_of_what_is_not_everything() -> None:
    some = calls(sos_keys_kept=3, sos_keep_s=100.0)
    some.lives_in("e1", NOW)
    for n in range(6):
        some.add(f"k{n}", {}, NOW + n)
        some.acked(ack(f"k{n}", durable=True))
    for n in range(50):
        some.add(f"w{n}", {}, NOW + 6)
    assert [tap.key for tap in some.kept()][:4] == ["k3", "k4", "k5", "w0"]
    assert len(some.kept()) == 53
    assert some.lives_in("e2", NOW + 200) == []  # too long ago
    assert len(some.kept()) == 50


def test_every_change_of_what_is_kept_raises_the_revision() -> None:
    some = calls()
    seen = [(some.revision, some.kept())]

    def grew() -> bool:
        seen.append((some.revision, some.kept()))
        return seen[-1][0] > seen[-2][0] and seen[-1][1] != seen[-2][1]

    some.lives_in("e1", NOW)
    some.add("k", {}, NOW)
    assert grew()
    some.acked(ack("k", durable=True))
    assert grew()
    some.lives_in("e2", NOW)
    assert grew()
    some.acked(ack("k", durable=True))
    assert grew()
