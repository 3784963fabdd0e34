"""What several packages must agree on is said once."""

from dataclasses import replace

from api import rights, views
from dispatch import order
from dispatch.settings import IDEMPOTENCY_KEEP_S_MAX, SETTLED_KEEP_S_MAX, DispatchSettings
from server.root import Settings, derived
from store import rules
from store.settings import RetentionSettings


def test_the_states_of_an_order_are_grouped_in_one_place() -> None:
    for module in (rules, rights):
        assert vars(module)["SETTLED_STATES"] is order.SETTLED_STATES
    assert views.ADDRESS_STATES is order.JOB_STATES
    assert not views.TECHNICIAN_STATES & order.SETTLED_STATES


def test_memory_keeps_nothing_longer_than_the_store_gives_back() -> None:
    assert DispatchSettings().settled_keep_s <= SETTLED_KEEP_S_MAX == rules.SETTLED_ORDER_LOADED_S
    assert DispatchSettings().idempotency_keep_s <= IDEMPOTENCY_KEEP_S_MAX == rules.IDEMPOTENCY_HONOURED_S
    assert RetentionSettings().idempotency_s >= IDEMPOTENCY_KEEP_S_MAX


def test_an_expired_token_is_restricted_as_long_as_its_session() -> None:
    settings = Settings()
    shorter = derived(replace(settings, auth=replace(settings.auth, restricted_for_s=60.0)))
    assert shorter.realtime.sessions.restricted_grace_s == 60.0
