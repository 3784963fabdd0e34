"""The one place that keeps a token of one order to that order."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from api.auth import check_scope
from api.exchange import Route
from core.errors import Forbidden, NotFound
from core.ids import CityId, DeviceId, OrderId, TenantId, UserId
from core.principal import Principal, Role
from tools.generate_docs import routes

CUSTOMER = Principal(
    TenantId("demo"), UserId("cus_1"), Role.CUSTOMER, frozenset({Role.CUSTOMER}), frozenset({CityId("sh")}),
    DeviceId("d"), 9e9,
)  # fmt: skip
LINK = replace(CUSTOMER, order=OrderId("ord_1"))


def _route(path: str, *, for_order: bool) -> Route:
    nobody: Any = None
    return Route("x", "GET", path, frozenset(Role), "", "", nobody, for_order=for_order)


@pytest.mark.parametrize("path", [{"id": "ord_2"}, {}, {"id": ""}])
def test_a_link_reaches_its_own_order_and_no_other(path: Mapping[str, str]) -> None:
    route = _route("/v1/orders/{id}", for_order=True)
    check_scope(route, LINK, {"id": "ord_1"})
    with pytest.raises(NotFound):
        check_scope(route, LINK, path)
    check_scope(route, CUSTOMER, path)


def test_a_link_reaches_no_route_that_does_not_say_so() -> None:
    for path in ("/v1/orders/{id}", "/v1/me/looks"):
        with pytest.raises(Forbidden):
            check_scope(_route(path, for_order=False), LINK, {"id": "ord_1"})
        check_scope(_route(path, for_order=False), CUSTOMER, {"id": "ord_1"})


def test_the_routes_of_links_are_these_and_below_orders_all_name_one() -> None:
    found = [route for route in routes() if route.for_order]
    assert {route.name for route in found} == {
        "order_read", "order_cancellation", "order_cancel", "order_confirm", "order_rating", "ticket", "sos",
        "sos_status", "sos_cancel", "city_map",
    }  # fmt: skip
    for route in found:
        assert "/orders" not in route.path or route.path.startswith("/v1/orders/{id}")
