"""Which endpoint hears of which change, and what stands in the event."""

from typing import Any, cast

import msgspec
import pytest

from api.notices import KINDS, OrderNotices
from core.notice import Notice
from dispatch import events
from dispatch.model import OrderState
from geo.point import Frame
from tests.contract.store_values import NOW, make_order
from webhooks.service import WebhookService
from webhooks.settings import EndpointSettings


class Queue:
    def __init__(self, *full: str) -> None:
        self.full = full
        self.told: list[Notice] = []

    def takes(self, endpoint: str) -> bool:
        return endpoint not in self.full

    def committed(self, notices: list[Notice]) -> None:
        self.told.extend(notices)


def made(endpoint: dict[str, Any], *changes: events.Effect, full: tuple[str, ...] = ()) -> list[Notice]:
    given = {"tenant": "acme", "url": "https://example.com", "secret_env": "X", **endpoint}
    queue = Queue(*full)
    notices = OrderNotices({"a": EndpointSettings(**given)}, cast(WebhookService, queue), Frame.GCJ02)
    found = notices.notices(changes, NOW)
    notices.committed(found)
    assert queue.told == found
    return found


PLACED = events.OrderChanged(make_order(), OrderState.PLACED)


@pytest.mark.parametrize(
    ("endpoint", "count"),
    [
        ({}, 1), ({"events": ("order.placed",)}, 1), ({"events": ("order.cancelled",)}, 0), ({"tenant": "other"}, 0),
        ({"cities": ("shanghai",)}, 1), ({"cities": ("suzhou",)}, 0),
    ],
)  # fmt: skip
def test_an_endpoint_hears_what_it_asked_for(endpoint: dict[str, Any], count: int) -> None:
    assert len(made(endpoint, PLACED)) == count


def test_contact_and_address_are_there_only_when_asked_for() -> None:
    (notice,) = made({}, PLACED)
    event = msgspec.json.decode(notice.body)
    assert (event["type"], event["version"], event["order"]["customer"]) == ("order.placed", 1, "cus_1")
    assert not {"contact_name", "contact_phone", "location"} & set(event["order"])
    assert "人民大道" not in notice.body.decode()
    (notice,) = made({"details": True}, PLACED)
    assert {"contact_name", "contact_phone", "location"} <= set(msgspec.json.decode(notice.body)["order"])


def test_what_somebody_wrote_goes_outside_only_when_asked_for() -> None:
    order = make_order(state=OrderState.CANCELLED, reason="cancelled_by_staff", said="drunk again", said_by="ops_1")
    cancelled = events.OrderChanged(order, OrderState.CANCELLED)
    (notice,) = made({}, cancelled)
    assert msgspec.json.decode(notice.body)["order"]["reason"] == "cancelled_by_staff"
    assert not {"said", "said_by"} & set(msgspec.json.decode(notice.body)["order"])
    (notice,) = made({"details": True}, cancelled)
    told = msgspec.json.decode(notice.body)["order"]
    assert (told["said"], told["said_by"]) == ("drunk again", "ops_1")


def test_the_same_change_has_the_same_id_and_no_two_share_one() -> None:
    assigned = events.OrderChanged(make_order(state=OrderState.ASSIGNED), OrderState.ASSIGNED)
    ids = [notice.event_id for notice in made({}, PLACED, assigned, PLACED)]
    assert len(set(ids)) == 3
    assert [notice.event_id for notice in made({}, PLACED, assigned, PLACED)] == ids


def test_a_full_queue_is_left_out() -> None:
    assert made({}, PLACED, full=("a",)) == []


@pytest.mark.parametrize("what", [*OrderState, *events.OrderFact])
def test_whatever_is_told_of_an_order_has_a_kind_that_an_endpoint_may_name(what: OrderState | events.OrderFact) -> None:
    (notice,) = made({"events": (f"order.{what}",)}, events.OrderChanged(make_order(), what))
    assert notice.kind == f"order.{what}"
    assert notice.kind in KINDS
