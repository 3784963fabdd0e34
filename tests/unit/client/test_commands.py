from typing import Any, get_args

from doorstep_client.commands import IncidentCommands
from msgspec import convert

from realtime.messages import ClientMessage, IncidentCommand

NOW = 1_000_000.0


def test_each_is_a_request_that_the_server_knows() -> None:
    said: list[dict[str, Any]] = []

    def ask(kind: str, now: float, **fields: Any) -> str:
        assert now == NOW
        said.append({"type": kind, **fields})
        return f"r{len(said)}"

    do = IncidentCommands(ask)
    refs = [
        do.acknowledge("i", NOW),
        do.join("i", NOW),
        do.note("i", NOW, "text"),
        do.note("i", NOW, call_to="subject", outcome="reached"),
        do.respond("i", NOW),
        do.respond("i", NOW, 3),
        do.decline("i", NOW),
        do.assign("i", "rsp_1", NOW),
        do.on_scene("i", NOW, fence=3),
        do.on_scene("i", NOW, responder="rsp_1"),
        do.resolve("i", "real_handled", NOW, "note"),
        do.reopen("i", NOW),
        do.close("i", NOW),
    ]
    assert refs == [f"r{n + 1}" for n in range(len(said))]
    for message in said:
        convert(message, type=ClientMessage)
    assert {message["type"] for message in said} == {
        struct.__struct_config__.tag for struct in get_args(IncidentCommand)
    }
    assert [m.get("fence") for m in said if m["type"] == "incident.respond"] == [None, 3]
