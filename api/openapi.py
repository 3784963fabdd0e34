"""OpenAPI 3.1 made from the route table and the structs that decode the bytes: it cannot differ from the server."""

import re
from collections.abc import Sequence
from typing import Any, Final, get_args

import msgspec

from api.errors import Problem
from api.exchange import Access, Route

_REF: Final = "#/components/schemas/{name}"
_ERRORS: Final = {
    "400": "malformed body", "401": "token missing, invalid or expired", "403": "role not allowed",
    "404": "absent, or not yours", "409": "in another state by now", "413": "body too large",
    "422": "a field is wrong", "503": "try again later",
}  # fmt: skip
SOS_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["key"],
    "description": "Read field by field: a field that cannot be read is dropped and listed in `ignored`.",
    "properties": {
        "key": {"type": "string", "minLength": 1, "maxLength": 64},
        "lat": {"type": "number", "minimum": -90, "maximum": 90},
        "lng": {"type": "number", "minimum": -180, "maximum": 180},
        "accuracy_m": {"type": "number", "minimum": 0},
        "fixed_at": {"type": "number"},
        "sent_at": {"type": "number"},
        "order": {"type": "string", "maxLength": 64},
        "silent": {"type": "boolean"},
        "battery": {"type": "number", "minimum": 0, "maximum": 1},
        "note": {"type": "string", "maxLength": 512},
        "crs": {"enum": ["wgs84", "gcj02", "bd09"]},
    },
}
"""What an SOS may hold. Written by hand because nothing decodes it strictly (``safety/intake.py``)."""


_SCHEMES: Final = {
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "tracker": {"type": "apiKey", "in": "query", "name": "id"},
    "tracker_basic": {"type": "http", "scheme": "basic"},
    "tracker_bearer": {"type": "http", "scheme": "bearer"},
}
"""The secret of a tracker's device is sent in the way that its app has."""


def openapi_document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The whole document."""
    types = [kind for route in routes for kind in (route.body, route.result) if kind is not None]
    _, components = msgspec.json.schema_components([*types, Problem], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Doorstep",
            "version": version,
            "description": "Times are UTC epoch seconds; durations end in _s; money is in fen. Errors are RFC 9457.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": _SCHEMES,
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": f"Who: {', '.join(sorted(route.who)) or 'everyone'}. {route.scope[0].upper()}{route.scope[1:]}.",
        "parameters": _parameters(route),
        "responses": {str(route.status): _success(route)},
    }
    if route.access is Access.TRACKER:
        operation["security"] = [{"tracker": []}, {"tracker_basic": []}, {"tracker_bearer": []}]
        operation["responses"]["401"] = {"description": "No registered device."}
        operation["responses"]["503"] = {"description": "To be sent again."}
    elif route.access is not Access.PUBLIC:
        operation["security"] = [{"token": []}]
        for status, about in _ERRORS.items():
            schema = {"$ref": _REF.format(name="Problem")}
            operation["responses"][status] = {
                "description": about,
                "content": {"application/problem+json": {"schema": schema}},
            }
    if route.raw_body:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": SOS_SCHEMA}}}
    elif route.body is not None:
        schema = {"$ref": _REF.format(name=route.body.__name__)}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _success(route: Route) -> dict[str, Any]:
    if route.result is None:
        return {"description": "Done."}
    kinds = get_args(route.result) or (route.result,)
    found = [{"$ref": _REF.format(name=kind.__name__)} for kind in kinds]
    schema: dict[str, Any] = found[0] if len(found) == 1 else {"oneOf": found}
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if route.is_listing:
        content["text/csv"] = {"schema": {"type": "string"}}
    return {"description": "Done.", "content": content}


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "maxLength": 64}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    found += [
        {
            "name": param.name,
            "in": "query",
            "required": param.required,
            "description": param.about,
            "schema": {"type": param.kind},
        }
        for param in route.query
    ]
    if route.idempotency_key:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "Repeats with one key make one order.",
                "schema": {"type": "string", "maxLength": 64},
            }
        )
    return found
