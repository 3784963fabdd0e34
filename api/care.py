"""Care as messages for people: what somebody is asked, and what the console reads of it. Pure but for look-ups."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from api.ports import Staff
from core.outbox import OutboxDraft, Stream
from core.principal import Role
from realtime.messages import CareNews, CheckinView, CheckStateName, DrillView
from safety.care_events import AskPerson, CareEffect, TellConsole
from safety.care_model import Check, CheckState, Watch
from safety.drills import Drill, ShowDrill

_encode = msgspec.json.Encoder().encode
_SHOWN: Final[Mapping[CheckState, CheckStateName]] = {
    CheckState.PLANNED: "planned",
    CheckState.REMINDED: "reminded",
    CheckState.ASKED: "asked",
    CheckState.UNCONFIRMED: "asked",
    CheckState.PANIC: "asked",
    CheckState.ANSWERED: "answered",
    CheckState.DROPPED: "dropped",
}
"""What whoever is asked sees of it: not that it became an incident."""


def checkin_view(watch: Watch, check: Check) -> CheckinView:
    """A check as whoever is asked may see it: never what was answered, nor that it became an incident."""
    return CheckinView(
        checkin=check.check_id,
        order=watch.job.order_id,
        kind=check.kind.value,
        state=_SHOWN[check.state],
        at=round(check.changed_at, 3),
        due_at=None if check.ask_at is None else round(check.ask_at, 3),
        answer_by=None if check.unconfirmed_at is None else round(check.unconfirmed_at, 3),
    )


def drill_view(drill: Drill) -> DrillView:
    """A drill as its person sees it."""
    return DrillView(
        drill.drill_id, drill.state.value, round(drill.asked_at, 3), round(drill.until, 3), drill.round_trip_ms
    )


class CareOutbound:
    """Implements ``safety.care_ports.CareOutbound``."""

    def __init__(self, staff: Staff) -> None:
        """Keep the directory of staff."""
        self._staff = staff

    def drafts(self, effect: CareEffect | ShowDrill, now: float) -> Sequence[OutboxDraft]:
        """Messages for the ``safety`` stream."""
        if isinstance(effect, ShowDrill):
            drill = effect.drill
            return [OutboxDraft(drill.tenant, drill.user, Stream.SAFETY, _encode(drill_view(drill)))]
        tenant = effect.watch.job.tenant
        match effect:
            case AskPerson(watch, check, people):
                body = _encode(checkin_view(watch, check))
                return [OutboxDraft(tenant, user, Stream.SAFETY, body) for user in people]
            case TellConsole(watch, line, at, check):
                job = watch.job
                kind = check.kind.value if check is not None else ""
                body = _encode(CareNews(job.order_id, job.technician, line.value, round(at, 3), kind))
                staff = self._staff.users(tenant, Role.OPS, job.city, now)
                told = [user for user in staff if user not in (job.technician, job.customer)]
                return [OutboxDraft(tenant, user, Stream.SAFETY, body) for user in told]
            case _:
                return ()
