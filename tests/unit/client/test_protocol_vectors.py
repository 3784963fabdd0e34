"""The scripts that every client core passes, here that of Python; ``tests/interop`` runs them with JavaScript's."""

import json
import random
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from doorstep_client.events import Event
from doorstep_client.ping_buffer import Fix
from doorstep_client.protocol import ClientProtocol

SCRIPT = json.loads((Path(__file__).resolve().parents[2] / "data" / "client_vectors.json").read_text("utf-8"))
NOW = SCRIPT["begins_at"]


def perform(client: ClientProtocol, step: dict[str, Any]) -> list[Event]:
    """One step of a script; what the client told of it."""
    now = NOW + step["at"]
    if "receive" in step:
        return client.receive(json.dumps(step["receive"]).encode(), now)
    match step["do"]:
        case "connected":
            client.connected(now)
        case "lost":
            return client.lost(step["code"], now)
        case "deadline":
            return client.on_deadline(now)
        case "sos":
            client.send_sos(now, key=step["key"], **step["fields"])
        case "ping":
            client.send_ping(Fix(**step["fix"]), now)
        case "request":
            client.request(step["kind"], now, **step["fields"])
        case other:
            raise AssertionError(f"no step is called {other}")
    return []


def told(event: Event, wanted: dict[str, Any]) -> dict[str, Any]:
    """Of an event what the script names, in its words."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    return {"type": name} | {field: getattr(event, field) for field in wanted if field != "type"}


def said(frames: list[bytes]) -> list[dict[str, Any]]:
    bodies = [msgspec.json.decode(frame) for frame in frames]
    return [{name: value for name, value in body.items() if name != "app"} for body in bodies]


@pytest.mark.parametrize("vector", SCRIPT["vectors"], ids=lambda vector: vector["name"])
def test_the_core_follows_the_script(vector: dict[str, Any]) -> None:
    client = ClientProtocol(
        device=SCRIPT["device"], token=SCRIPT["token"], first_seq=SCRIPT["first_seq"], rng=random.Random(1)
    )
    for number, step in enumerate(vector["steps"]):
        where = f"step {number}: {step}"
        events = perform(client, step)
        wanted = step.get("events", [])
        assert len(events) == len(wanted), (where, events)
        assert [told(e, w) for e, w in zip(events, wanted, strict=True)] == wanted, where
        if "frames" in step:
            frames = said(client.frames_to_send(NOW + step["at"]))
            assert step["frames"] is None or frames == step["frames"], where
        assert client.must_close is step.get("must_close", False), where
        if "state" in step:
            assert client.state.value == step["state"], where
        if "comes_back" in step:
            assert (client.reconnect_at is not None) is step["comes_back"], where
