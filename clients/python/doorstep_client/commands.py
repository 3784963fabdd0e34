"""What people say who handle an incident, one method for each ``incident.…`` of the wire."""

from collections.abc import Callable
from typing import Any

Ask = Callable[..., str]
"""``ClientProtocol.request``: kind, now, fields; the ref of the answer."""


class IncidentCommands:
    """Each returns a ref, which ends in one ``RequestDone`` (with the ``state`` that came of it) or
    ``RequestFailed``; sent again after a reconnect while it is not answered.

    Times are of the client's own time line; ``incident`` is the incident's id.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def acknowledge(self, incident: str, now: float) -> str:
        """I have seen it and own it."""
        return self._ask("incident.ack", now, incident=incident)

    def join(self, incident: str, now: float) -> str:
        """Tell me all that becomes of it; another owns it."""
        return self._ask("incident.join", now, incident=incident)

    def note(self, incident: str, now: float, text: str = "", *, call_to: str = "", outcome: str = "") -> str:
        """What was done or learnt; of a call with whom and what came of it, both or neither."""
        call = {"call_to": call_to, "outcome": outcome} if call_to or outcome else {}
        return self._ask("incident.note", now, incident=incident, text=text, **call)

    def respond(self, incident: str, now: float, fence: int | None = None) -> str:
        """I go there. ``fence``: of the ``asked`` that this answers; the result has that of the grant."""
        return self._ask("incident.respond", now, incident=incident, **_known(fence=fence))

    def decline(self, incident: str, now: float) -> str:
        """I cannot go there, or not go on."""
        return self._ask("incident.decline", now, incident=incident)

    def assign(self, incident: str, responder: str, now: float) -> str:
        """Ops: send somebody there."""
        return self._ask("incident.assign", now, incident=incident, responder=responder)

    def on_scene(self, incident: str, now: float, *, fence: int | None = None, responder: str | None = None) -> str:
        """I am there; or ops say it of ``responder``."""
        return self._ask("incident.on_scene", now, incident=incident, **_known(fence=fence, responder=responder))

    def resolve(self, incident: str, disposition: str, now: float, note: str = "") -> str:
        """It is over; of a responder a proposal."""
        return self._ask("incident.resolve", now, incident=incident, disposition=disposition, note=note)

    def reopen(self, incident: str, now: float, note: str = "") -> str:
        """It is not over, or not safe."""
        return self._ask("incident.reopen", now, incident=incident, note=note)

    def close(self, incident: str, now: float, note: str = "") -> str:
        """What was resolved is reviewed: nothing is changed any more."""
        return self._ask("incident.close", now, incident=incident, note=note)


def _known(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
