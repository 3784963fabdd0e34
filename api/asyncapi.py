"""AsyncAPI 3.0 of the hub, made from the structs of ``realtime/messages.py``; SOS as it is read leniently."""

from typing import Any, Final, get_args

import msgspec

from api.openapi import SOS_SCHEMA
from realtime import messages

_REF: Final = "#/components/schemas/{name}"


def asyncapi_document(version: str) -> dict[str, Any]:
    """The whole document: one channel, one message for each struct."""
    received = _structs(messages.ClientMessage)
    sent = _structs(messages.ServerMessage)
    _, schemas = msgspec.json.schema_components([*received, *sent], ref_template=_REF)
    schemas["Sos"] = _sos()
    names = {kind.__name__: _message(kind) for kind in (*received, *sent)}
    names["Sos"] = {
        "name": "sos",
        "summary": "Help. Nothing in it can refuse it.",
        "payload": {"$ref": _REF.format(name="Sos")},
    }
    channel = {name: {"$ref": f"#/components/messages/{name}"} for name in names}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Doorstep hub",
            "version": version,
            "description": "WebSocket; subprotocol doorstep.v1.json or doorstep.v1.msgpack, the same shapes in both.",
        },
        "defaultContentType": "application/json",
        "channels": {"hub": {"address": "/ws", "messages": channel}},
        "operations": {
            "receive": _operation("receive", [kind.__name__ for kind in received] + ["Sos"]),
            "send": _operation("send", [kind.__name__ for kind in sent]),
        },
        "components": {"messages": names, "schemas": {name: _without_tuples(s) for name, s in schemas.items()}},
    }


def _structs(union: Any) -> list[type]:
    """Members of a union of structs, in their order; nested unions are flat already."""
    return [kind for kind in get_args(union) if isinstance(kind, type)]


def _message(kind: type) -> dict[str, Any]:
    tag = msgspec.inspect.type_info(kind)
    name = tag.tag if isinstance(tag, msgspec.inspect.StructType) else kind.__name__
    summary = (kind.__doc__ or "").strip().split("\n")[0]
    return {"name": str(name), "summary": summary, "payload": {"$ref": _REF.format(name=kind.__name__)}}


def _sos() -> dict[str, Any]:
    properties = {"type": {"const": "sos"}, **SOS_SCHEMA["properties"]}
    return {**SOS_SCHEMA, "required": ["type", "key"], "properties": properties}


def _operation(action: str, names: list[str]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/hub"},
        "messages": [{"$ref": f"#/channels/hub/messages/{name}"} for name in names],
    }


def _without_tuples(schema: Any) -> Any:
    """AsyncAPI 3.0's schemas are of draft 07, which says ``items`` and ``additionalItems`` for ``prefixItems``."""
    if isinstance(schema, dict):
        changed = {key: _without_tuples(value) for key, value in schema.items()}
        if "prefixItems" in changed:
            changed["items"] = changed.pop("prefixItems")
            changed["additionalItems"] = False
        return changed
    if isinstance(schema, list):
        return [_without_tuples(item) for item in schema]
    return schema
