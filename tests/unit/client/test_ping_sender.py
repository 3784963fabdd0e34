"""Pings of an earlier process: the server counts without gaps, so what stands behind one waits for a new session."""

from typing import Any

import pytest
from doorstep_client.ping_buffer import Fix
from doorstep_client.ping_file import KeptPings
from doorstep_client.protocol import ClientProtocol
from doorstep_client.settings import ClientSettings

from tests.unit.client.test_protocol import NOW, Hub, client

FIX = Fix(31.2, 121.4, NOW)


def after_a_kill() -> tuple[ClientProtocol, int]:
    phone = client()
    phone.restore_pings(KeptPings([(5, FIX), (6, FIX)], 1_006), NOW)
    return phone, phone.send_ping(FIX, NOW)


def seqs(frames: list[dict[str, Any]]) -> list[int]:
    rows = [frame.get("pings") or [[frame["seq"]]] for frame in frames if frame["type"] in ("ping", "pings")]
    return [row[0] for batch in rows for row in batch]


def test_numbers_after_a_kill_are_those_of_the_clock_where_these_are_higher() -> None:
    assert after_a_kill()[1] == NOW * 1_000
    in_peace = client()
    in_peace.restore_pings(KeptPings([(5, FIX)], 6, is_clean=True), NOW)
    assert in_peace.send_ping(FIX, NOW) == 6


def test_what_stands_before_a_gap_is_stored_first_and_the_rest_goes_in_a_session_of_its_own_at_once() -> None:
    phone, new = after_a_kill()
    hub = Hub(phone)
    hub.welcome()
    assert seqs(hub.said()) == [5, 6]
    assert not phone.must_close
    hub.say(type="ping_ack", seq=6, verdicts={"late": 2}, stored_seq=6)
    assert seqs(hub.said()) == []
    assert phone.must_close
    phone.lost(1000, NOW)
    assert phone.reconnect_at == NOW
    hub.welcome()
    assert seqs(hub.said()) == [new]
    assert not phone.must_close


def test_a_gap_is_passed_without_more_ado_by_a_session_that_has_sent_nothing_before_it() -> None:
    phone = client()
    phone.restore_pings(KeptPings([], 1_006), NOW)
    new = phone.send_ping(FIX, NOW)
    hub = Hub(phone)
    hub.welcome()
    assert seqs(hub.said()) == [new]


def test_no_session_is_left_at_a_gap_while_a_call_for_help_waits() -> None:
    phone, _ = after_a_kill()
    hub = Hub(phone)
    hub.welcome()
    hub.said()
    phone.send_sos(NOW, key="k")
    hub.say(type="ping_ack", seq=6, verdicts={"late": 2}, stored_seq=6)
    assert [frame["type"] for frame in hub.said()] == ["sos"]
    assert not phone.must_close
    hub.say(type="sos_ack", key="k", incident="i", durable=True, seen=False, delivered=0)
    hub.said()
    assert phone.must_close


def test_live_positions_do_not_wait_for_ever_for_old_ones_that_nobody_confirms() -> None:
    phone, new = after_a_kill()
    hub = Hub(phone)
    hub.welcome()
    assert seqs(hub.said()) == [5, 6]
    hub.now += phone.settings.ping_gap_wait_s
    assert new in seqs(hub.said())


def test_an_ack_beyond_what_was_sent_forgets_nothing_that_was_not() -> None:
    phone = client(settings=ClientSettings(ping_batch_max=2, ping_buffer_max=10))
    hub = Hub(phone)
    hub.welcome(limits={"pings_per_s": 2, "ping_batch": 2})
    for _ in range(5):
        phone.send_ping(FIX, NOW)
    assert seqs(hub.said()) == [1, 2]
    hub.say(type="ping_ack", seq=2, verdicts={"live": 2}, stored_seq=99)
    assert phone.pings_waiting == 3


def test_pings_are_restored_before_the_first_and_never_after() -> None:
    phone = client()
    phone.send_ping(FIX, NOW)
    with pytest.raises(RuntimeError, match="before the first"):
        phone.restore_pings(KeptPings(), NOW)
