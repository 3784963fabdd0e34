"""What a device knows of incidents: each message is taken once, the newest wins, and each incident rings once.

Messages of an incident carry its ``version``. However often and in whichever order they come (a row repeated after a
reconnect, an alarm that came before its row, a snapshot), the view that results is the same, and so is the alarm.
"""

from dataclasses import dataclass, field
from typing import Any, Final

OVER: Final = frozenset({"resolved", "closed"})
INCIDENTS_MAX: Final = 2_000
"""Incidents remembered; beyond it those that are over go first, then the oldest. One that was forgotten rings again."""
_WIRE: Final = frozenset({"stream", "seq", "epoch", "type"})
_UPDATED: Final = frozenset(
    {"owner", "triggers", "kind", "responders", "cancel_asked_at", "proposed", "why", "disposition"}
)
"""Fields of an ``incident.update`` that are left out when they have their default."""


@dataclass(slots=True)
class _Known:
    whole: dict[str, Any] = field(default_factory=dict)
    update: dict[str, Any] = field(default_factory=dict)
    whole_at: tuple[int, int] = (-1, -1)
    update_at: int = -1
    is_rung: bool = False

    @property
    def view(self) -> dict[str, Any]:
        """The whole case, with what a newer update changed."""
        if self.update_at <= self.whole_at[0]:
            return self.whole
        # What an update leaves out has its default again: nobody owns it, nobody comes.
        return {name: value for name, value in self.whole.items() if name not in _UPDATED} | self.update


class IncidentBook:
    """The newest of each incident, by its id."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def view(self, incident: str) -> dict[str, Any]:
        """All that is known of it now; empty for one that never came."""
        known = self._known.get(incident)
        return {} if known is None else known.view

    def take(self, body: dict[str, Any]) -> bool | None:
        """Note an ``incident`` or ``incident.update``.

        Returns:
            None for a message that says nothing new; else whether it is time to ring: the first news of an incident
            that is on, or that is on again after it was over.
        """
        incident = body["incident"]
        known = self._known.get(incident)
        if known is None:
            known = self._known[incident] = _Known()
            self._forget(incident)
        if not self._is_new(known, body):
            return None
        is_over = known.view["state"] in OVER
        rings = not is_over and not known.is_rung and body.get("why") != "withdrawn"
        known.is_rung = not is_over and (known.is_rung or rings)
        return rings

    @staticmethod
    def _is_new(known: _Known, body: dict[str, Any]) -> bool:
        fields = {name: value for name, value in body.items() if name not in _WIRE}
        # A server that does not say the version is believed in the order in which it speaks.
        version = body.get("version") or max(known.whole_at[0], known.update_at, 0) + 1
        if body["type"] == "incident.update":
            if version <= known.update_at or version < known.whole_at[0]:
                return False
            known.update, known.update_at = fields, version
            return True
        place = (version, (body.get("asked") or {}).get("fence", 0))
        if place <= known.whole_at:
            return False
        known.whole, known.whole_at = fields, place
        return True

    def begin_anew(self) -> None:
        """The server was restored, and its versions may be lower: the next word on each incident counts. What rang
        does not ring again."""
        for known in self._known.values():
            known.whole_at, known.update_at = (-1, -1), -1
            known.whole, known.update = known.view, {}

    def _forget(self, but: str) -> None:
        if len(self._known) <= INCIDENTS_MAX:
            return
        others = [name for name in self._known if name != but]
        over = (name for name in others if self._known[name].view.get("state") in OVER)
        del self._known[next(over, others[0])]
