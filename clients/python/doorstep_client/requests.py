"""Requests and their answers, and the wishes that a session forgets and the client repeats."""

from dataclasses import dataclass
from typing import Any, Final

LASTING: Final = frozenset({"checkin.answer"})
"""Asked until they are answered, in any session: one of them may be a cry for help, and the others look like it."""


@dataclass(slots=True)
class Request:
    """Something asked and not answered yet."""

    ref: str
    type: str
    frame: dict[str, Any]
    asked_at: float
    is_sent: bool = False
    """On this connection."""


class Requests:
    """Numbers requests, knows which wait, and asks again after a reconnect: all of the wire are idempotent.

    Args:
        timeout_s: A request without an answer by then, while connected, is given up.
        again_s: One that lasts is asked again by then instead.
    """

    def __init__(self, timeout_s: float, again_s: float) -> None:
        self._timeout_s = timeout_s
        self._again_s = again_s
        self._count = 0
        self._waiting: dict[str, Request] = {}
        self._watches: dict[str, dict[str, Any]] = {}
        self._duty: dict[str, Any] | None = None

    def __len__(self) -> int:
        """Requests without an answer."""
        return len(self._waiting)

    def ask(self, kind: str, fields: dict[str, Any], now: float) -> Request:
        """A new request, not sent yet."""
        self._count += 1
        ref = f"r{self._count}"
        request = Request(ref=ref, type=kind, frame={"type": kind, "ref": ref, **fields}, asked_at=now)
        self._waiting[ref] = request
        return request

    def put_off(self, ref: str, now: float) -> bool:
        """The server cannot now: whether this is asked again by itself."""
        request = self._waiting.get(ref)
        if request is None or request.type not in LASTING:
            return False
        request.asked_at = now
        return True

    def answered(self, ref: str) -> Request | None:
        """The request that an answer belongs to, which no longer waits; None for one that nobody waits for."""
        return self._waiting.pop(ref, None)

    # -- wishes ---------------------------------------------------------------------------------------

    def wish_watch(self, topic: str, fields: dict[str, Any]) -> None:
        """The topic is to be watched in every session."""
        self._watches[topic] = fields

    def drop_watch(self, topic: str) -> None:
        """The topic is no longer wanted, or no longer allowed."""
        self._watches.pop(topic, None)

    def wish_duty(self, fields: dict[str, Any]) -> None:
        """What a staff responder last said about their duty, which lasts as long as a session."""
        self._duty = fields

    # -- connections and time -------------------------------------------------------------------------

    def disconnected(self) -> None:
        """Nothing is on its way any more."""
        for request in self._waiting.values():
            request.is_sent = False

    def welcomed(self, role: str, now: float, *, restricted: bool = False) -> list[dict[str, Any]]:
        """Frames to send in a new session: requests not answered in the last one, then what it forgot. In a
        restricted one only what lasts."""
        again = [request for request in self._waiting.values() if not request.is_sent]
        if restricted:
            again = [request for request in again if request.type in LASTING]
        else:
            again += self._wishes(role, now)
        for request in again:
            request.is_sent, request.asked_at = True, now
        return [request.frame for request in again]

    def _wishes(self, role: str, now: float) -> list[Request]:
        watched = {request.frame.get("topic") for request in self._waiting.values() if request.type == "watch"}
        asked_duty = any(request.type == "duty" for request in self._waiting.values())
        topics = [(topic, fields) for topic, fields in self._watches.items() if topic not in watched]
        wishes = [self.ask("watch", {"topic": topic, **fields}, now) for topic, fields in topics]
        if self._duty is not None and role != "technician" and not asked_duty:
            wishes.append(self.ask("duty", self._duty, now))
        return wishes

    def next_deadline(self) -> float | None:
        """When the next request is given up or asked again; None for none."""
        return min((self._ends_at(request) for request in self._waiting.values()), default=None)

    def _ends_at(self, request: Request) -> float:
        return request.asked_at + (self._again_s if request.type in LASTING else self._timeout_s)

    def take_late(self, now: float) -> list[Request]:
        """Requests that are given up now."""
        late = [r for r in self._waiting.values() if r.type not in LASTING and now >= self._ends_at(r)]
        return [self._waiting.pop(request.ref) for request in late]

    def due_again(self, now: float) -> list[dict[str, Any]]:
        """Frames of what is asked again now."""
        due = [r for r in self._waiting.values() if r.type in LASTING and now >= self._ends_at(r)]
        for request in due:
            request.asked_at = now
        return [request.frame for request in due]
