"""The document can be made of every route, also of those that nobody has asked for it yet."""

import msgspec

from api.openapi import openapi_document
from tools.generate_docs import routes as documented_routes


def test_every_route_stands_in_the_document() -> None:
    routes = documented_routes()
    document = msgspec.json.decode(msgspec.json.encode(openapi_document(routes, "1")))
    found = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert found == {(route.method, route.path) for route in routes}


def test_a_listing_also_answers_as_csv() -> None:
    document = openapi_document(documented_routes(), "1")
    for path in ("/v1/orders", "/v1/offers"):
        assert set(document["paths"][path]["get"]["responses"]["200"]["content"]) == {"application/json", "text/csv"}
