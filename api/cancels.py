"""Takes an alarm back with a PIN, and lets nobody see what the PIN was: not by the answer, not by its time.

Whatever is asked, both hashes are looked at and the answer leaves at a fixed time after the question. That the
right PIN was given, the one for duress, or the last wrong one of too many, only the engine learns.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from math import ceil
from typing import Final

from core.errors import DoorstepError, Refused, Unavailable
from core.ids import IncidentId, TenantId, UserId
from core.principal import Principal
from realtime.ports import Reply
from safety.events import AnswerCancel, CancelAsked, Effect
from safety.model import PinVerdict
from safety.pin_desk import PinDesk
from safety.service import SafetyService

_log = logging.getLogger(__name__)
ASKING_MAX: Final = 64
"""Looks at PINs under way at once; one more is ``overloaded``. Each takes some 100 ms of one processor."""


class Cancels:
    """Answers ``sos.cancel`` and ``POST /v1/sos/{id}/cancel``. One question of a person at a time."""

    def __init__(self, safety: SafetyService, pins: PinDesk, answer_after_s: float) -> None:
        """``answer_after_s`` must be longer than everything done for an answer; else it is made again as long."""
        self._safety = safety
        self._pins = pins
        self._answer_after_s = answer_after_s
        self._asking: set[tuple[TenantId, UserId]] = set()

    def ask(self, who: Principal, incident_id: str, pin: str, now: float, reply: Reply) -> None:
        """Look at a PIN and tell the engine; ``reply`` is called exactly once.

        Args:
            who: The person whose alarm it is, by a token that is good.
            now: UTC epoch seconds.
            reply: Gets ``{incident, state: "cancel_asked"}``; ``Refused`` (``pin_wrong``) for the first wrong PINs;
                what the engine has against any PIN: ``NotFound`` for an incident that is not theirs, and so on.
        """
        person = (who.tenant, who.user)
        loop = asyncio.get_running_loop()
        began = loop.time()
        if person in self._asking or len(self._asking) >= ASKING_MAX:
            code = "rate_limited" if person in self._asking else "overloaded"
            busy = Unavailable("a PIN is being looked at; ask again in a moment", code=code)
            loop.call_at(began + self._answer_after_s, reply, busy)
            return
        self._asking.add(person)

        def answer(outcome: dict[str, object] | DoorstepError) -> None:
            self._asking.discard(person)
            passed = max(1, ceil((loop.time() - began) / self._answer_after_s))
            if passed > 1:
                _log.warning("a PIN was looked at for longer than its answer may take", extra={"times": passed})
            loop.call_at(began + passed * self._answer_after_s, reply, outcome)

        incident = self._safety.incident(who.tenant, IncidentId(incident_id))
        raised_at = incident.raised_at if incident is not None and incident.subject == who.user else now
        self._pins.judge(
            who, pin, raised_at, lambda verdict: self._judged(who, IncidentId(incident_id), verdict, answer)
        )

    def _judged(
        self,
        who: Principal,
        incident_id: IncidentId,
        verdict: PinVerdict | None,
        answer: Callable[[dict[str, object] | DoorstepError], None],
    ) -> None:
        """The PIN was looked at; None when it could not be."""

        def stored(outcome: Sequence[Effect] | DoorstepError) -> None:
            if isinstance(outcome, DoorstepError):
                answer(outcome)  # of the incident, never of the PIN
            elif any(isinstance(effect, AnswerCancel) and effect.accepted for effect in outcome):
                answer({"incident": incident_id, "state": "cancel_asked"})
            else:
                answer(Refused("the PIN is not the right one", code="pin_wrong", field="pin"))

        if verdict is None:
            answer(Unavailable("the PIN could not be looked at"))
            return
        try:
            self._safety.post(CancelAsked(who, incident_id, verdict), stored)
        except DoorstepError as error:
            answer(error)
