"""Coming back: by one's own connection that came late nobody is sent away, and a call for help does not wait."""

from doorstep_client.protocol import State

from tests.unit.client.test_protocol import NOW, Hub, client


def test_who_is_replaced_by_their_own_late_connection_comes_back_and_two_devices_never_take_turns() -> None:
    phone = client()
    hub = Hub(phone)
    hub.welcome()
    phone.lost(1006, NOW)
    hub.welcome()
    phone.lost(4509, NOW + 5.0)
    assert phone.reconnect_at is not None
    hub.welcome()
    phone.lost(4509, NOW + 6.0)
    assert phone.state is State.ENDED
    late = client()
    hub = Hub(late)
    hub.welcome()
    late.lost(1006, NOW)
    hub.welcome()
    late.lost(4509, NOW + late.settings.replaced_by_self_s)
    assert late.state is State.ENDED


def test_a_call_for_help_does_not_wait_for_the_time_to_come_back() -> None:
    phone = client()
    hub = Hub(phone)
    hub.welcome()
    hub.say(type="reconnect", reconnect_after_ms=60_000)
    phone.lost(4403, NOW)
    assert phone.reconnect_at == NOW + 60.0
    phone.send_sos(NOW + 1.0)
    assert phone.reconnect_at == NOW + 1.0
    hub.welcome()
    hub.say(type="reconnect", reconnect_after_ms=60_000)
    phone.lost(4403, NOW + 2.0)
    assert phone.reconnect_at is not None
    assert phone.reconnect_at <= NOW + 12.0
