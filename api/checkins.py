"""Check-ins over HTTP: what somebody is asked, their answer by one tap, and for ops what their cities are asked."""

from api.bodies import Done
from api.care import checkin_view
from api.care_bodies import (
    CheckinIn,
    CheckRow,
    Checks,
)
from api.exchange import Request, Response, answer
from api.inbound import Inbound
from core.principal import Principal, Role
from realtime.messages import CheckinAnswer
from safety.care_model import Check, Watch
from safety.care_service import CareService

LISTED_MAX = 1_000
"""Checks of a city that one answer holds, those that are due first."""


class Checkins:
    """Handlers of ``/v1/checkins``."""

    def __init__(self, care: CareService, inbound: Inbound) -> None:
        """Keep what the handlers need."""
        self._care = care
        self._inbound = inbound

    def listing(self, who: Principal, request: Request) -> Response:
        """GET /v1/checkins: what the caller is asked; for ops also everything open in their cities."""
        own = [checkin_view(watch, check) for watch, check in self._care.asked_of(who.tenant, who.user)]
        rows = []
        if who.holds(Role.OPS):
            found = [
                (watch, check)
                for watch, check in self._care.open_checks(who.tenant)
                if watch.job.city in who.cities and who.user not in (watch.job.technician, watch.job.customer)
            ]
            found.sort(key=lambda pair: (pair[1].ask_at or pair[1].changed_at, pair[1].check_id))
            rows = [_row(watch, check) for watch, check in found[:LISTED_MAX]]
        return answer(Checks(own, rows))

    async def reply(self, who: Principal, request: Request) -> Response:
        """POST /v1/checkins/{id}."""
        body: CheckinIn = request.data
        return answer(Done(await self._inbound.ask(who, CheckinAnswer(request.path["id"], body.answer), request.now)))


def _row(watch: Watch, check: Check) -> CheckRow:
    job = watch.job
    incident = next((a.incident for a in reversed(watch.alarms) if a.check_id == check.check_id and a.incident), None)
    return CheckRow(
        check.check_id,
        job.order_id,
        job.city,
        job.technician,
        check.kind.value,
        check.state.value,
        round(check.changed_at, 3),
        due_at=None if check.ask_at is None else round(check.ask_at, 3),
        answer_by=None if check.unconfirmed_at is None else round(check.unconfirmed_at, 3),
        incident=incident,
    )
