"""Who goes there: responders are asked, the nearest first, say yes or no, are sent, arrive, or stall.

Asking is a nudge with a time limit, not a lock: whoever was told of the incident may go as long as a slot is free.
Each grant has a number, the fence; what is said under an older one is void.
"""

from dataclasses import replace

from core.errors import Conflict, Invalid
from core.ids import UserId
from safety import access
from safety.case import Case
from safety.errors import SlotTaken
from safety.escalation import find_responders, merge_targets
from safety.events import ArrivedOnScene, Reason, ResponderAssigned, ResponseOffered
from safety.handling import Handling
from safety.incident import SYSTEM, Step
from safety.model import Incident, IncidentState, OfferState, ResponderOffer, Slot, SlotState, Target
from safety.ports import Surroundings
from safety.ringing import Ringing
from safety.settings import SafetySettings
from safety.whereabouts import distance_of

SENT = "assigned"
"""Why somebody is told whom ops sent."""


class Slots:
    """Works on cases of active incidents whose handler has been checked."""

    def __init__(
        self, settings: SafetySettings, surroundings: Surroundings, ringing: Ringing, handling: Handling
    ) -> None:
        self._settings = settings
        self._surroundings = surroundings
        self._ringing = ringing
        self._handling = handling

    # -- what people say ------------------------------------------------------------------------------

    def respond(self, case: Case, event: ResponseOffered, now: float) -> bool:
        """A responder goes there; whether anything changed.

        Raises:
            Conflict: ``old_fence``: the offer that they answer is not their newest.
            SlotTaken: Enough others go already.
        """
        user, incident = event.who.user, case.now
        held = incident.slot_of(user)
        if held is not None and held.state is not SlotState.STALLED:
            return False  # said before
        offer = next((offer for offer in incident.offers if offer.user == user), None)
        if event.fence is not None and event.fence != (offer.fence if offer is not None else None):
            raise Conflict("this is not the newest offer", code="old_fence")
        if len(incident.coming) >= self._settings.responder_slots:
            raise SlotTaken([slot.user for slot in incident.coming])
        if incident.owner is None:
            self._handling.own(case, user, now)
        self._grant(case, user, user, now, Step.RESPONDED)
        case.update = Reason.RESPONDING
        return True

    def decline(self, case: Case, user: UserId, now: float) -> bool:
        """A responder cannot go, or not go on; whether anything changed.

        Raises:
            Conflict: They are there already.
        """
        held = case.now.slot_of(user)
        if held is not None and held.state is SlotState.ON_SCENE:
            raise Conflict("you are at the place already: say how it ended instead")
        known = next((offer for offer in case.now.offers if offer.user == user), None)
        if held is None and known is not None and known.state is OfferState.DECLINED:
            return False
        others = tuple(offer for offer in case.now.offers if offer.user != user)
        declined = ResponderOffer(user, known.fence if known is not None else 0, now, OfferState.DECLINED)
        slots = tuple(slot for slot in case.now.slots if slot.user != user)
        case.step(Step.DECLINED, user, now, offers=(*others, declined), slots=slots)
        if case.now.state is IncidentState.RESPONDING and not case.now.coming:
            self._ringing.start_again(case, Step.ALL_STALLED, user, now, Reason.DECLINED, "declined")
        else:
            self._ringing.look_on(case, now)
            if case.now.offers_until is None:
                self.ask_next(case, now)
        case.update = case.update or Reason.DECLINED
        return True

    def assign(self, case: Case, event: ResponderAssigned, now: float) -> bool:
        """Ops send somebody; whether anything changed.

        Raises:
            Invalid: They may not be told of it, or are no responder on duty whom it could reach.
        """
        user, incident = event.responder, case.now
        held = incident.slot_of(user)
        if held is not None and held.state is not SlotState.STALLED:
            return False
        is_target = any(target.user == user for target in incident.targets)
        if not is_target:
            failures: list[str] = []
            most = self._settings.responders_level_3
            found = find_responders(self._surroundings, self._settings, incident, most, now, failures, everywhere=True)
            target = next((target for target in found if target.user == user), None)
            if target is None:
                raise Invalid("must be a responder on duty whom it may reach", field="responder")
            case.change(targets=merge_targets(incident, (replace(target, why=SENT),)))
        if case.now.owner is None:
            self._handling.own(case, event.who.user, now)
        self._grant(case, user, event.who.user, now, Step.ASSIGNED)
        self._handling.touch(case, event.who.user, now)
        self._ringing.ring(case, now, [user], Reason.ASSIGNED)
        case.update = Reason.RESPONDING
        return True

    def arrive(self, case: Case, event: ArrivedOnScene, now: float) -> bool:
        """A responder is there, by their own word or that of ops; whether anything changed.

        Their own word counts when their position shows it. Else it is a claim that somebody of ops has to confirm:
        nothing else changes, and whatever was counting goes on.

        Raises:
            Conflict: ``no_slot``: they did not say that they go; ``old_fence``: their grant is over.
        """
        user = event.responder or event.who.user
        held = case.now.slot_of(user)
        if held is None:
            raise Conflict("say first that you go there", code="no_slot")
        if event.fence is not None and event.fence != held.fence:
            raise Conflict("this grant is over", code="old_fence")
        if held.state is SlotState.ON_SCENE:
            return case.now.stale_at is not None and self._handling.confirm(case, event.who.user, now)
        if user == event.who.user:
            settings = self._settings
            away = distance_of(self._surroundings, case.now, user, case.alarms, now, settings.arrival_fix_s)
            if away is None or not away.is_within(settings.arrival_believed_m):
                return self._claim(case, held, away.metres if away is not None else None, now)
        there = replace(
            held, state=SlotState.ON_SCENE, suggested=True, claimed_at=None, claimed_m=None, is_silent=False
        )
        self._put(case, there)
        if case.now.owner is None and case.now.state is not IncidentState.CANCEL_PENDING:
            self._handling.own(case, user, now)
        self._handling.settle(case, now)
        case.step(Step.ARRIVED, event.who.user, now, user, offers=spared(case.now))
        self._handling.touch(case, event.who.user, now, is_ops=access.is_ops_of(case.now, event.who))
        case.update = Reason.ON_SCENE
        return True

    def _claim(self, case: Case, held: Slot, away_m: float | None, now: float) -> bool:
        """They say that they are there, and nothing shows it; whether that is news."""
        if held.claimed_at is not None and now - held.claimed_at < self._settings.repeat_s:
            return False
        self.replace_slot(case, replace(held, claimed_at=now, claimed_m=away_m))
        where = "position unknown" if away_m is None else f"{away_m / 1_000:.1f} km away"
        case.step(Step.ARRIVAL_CLAIMED, held.user, now, f"says they are there, {where}")
        self._ringing.ring_ops(case, now, Reason.ARRIVAL_CLAIMED, but=held.user)
        case.update = Reason.ARRIVAL_CLAIMED
        return True

    # -- asking ---------------------------------------------------------------------------------------

    def expire(self, case: Case, now: float) -> None:
        """Those who did not answer in time are not waited for: the next nearest are asked."""
        case.change(
            offers=tuple(
                replace(offer, state=OfferState.EXPIRED)
                if offer.state is OfferState.PENDING and offer.until <= now
                else offer
                for offer in case.now.offers
            )
        )
        if not case.now.coming:
            self.ask_next(case, now)

    def ask_next(self, case: Case, now: float) -> None:
        """Ask the nearest who were not asked yet, as many as may be asked at once."""
        incident = case.now
        asked = {offer.user for offer in incident.offers if offer.state is not OfferState.SPARED}
        asked |= {slot.user for slot in incident.slots}
        pending = sum(1 for offer in incident.offers if offer.state is OfferState.PENDING)
        wanted = self._settings.offers_parallel - pending
        if wanted <= 0 or incident.gentle_until is not None:
            return
        limit = len(asked) + wanted + len(incident.avoid) + 1
        found = find_responders(self._surroundings, self._settings, incident, limit, now, case.alarms)
        new = [target for target in found if target.user not in asked][:wanted]
        if not new:
            return
        case.change(targets=merge_targets(incident, new))
        self.offer_to(case, new, now)
        users = [target.user for target in new]
        case.step(Step.OFFERED, SYSTEM, now, " ".join(users))
        self._ringing.ring(case, now, users, Reason.OFFERED)

    def offer_to(self, case: Case, targets: list[Target], now: float) -> None:
        """Ask these; they are rung by the caller."""
        fence, until = case.now.fence, now + self._settings.offer_ttl_s
        anew = {target.user for target in targets}
        offers = [offer for offer in case.now.offers if offer.user not in anew]
        for target in targets:
            fence += 1
            offers.append(ResponderOffer(target.user, fence, until))
        case.change(offers=tuple(offers), fence=fence)

    # -- slots ----------------------------------------------------------------------------------------

    def _grant(self, case: Case, user: UserId, by: UserId, now: float, step: Step) -> None:
        fence = case.now.fence + 1
        slot = Slot(user, fence, now, by, nearer_at=now, seen_at=now)
        self._put(case, slot)
        is_full = len(case.now.coming) >= self._settings.responder_slots
        others = spared(case.now) if is_full else case.now.offers
        offers = tuple(offer for offer in others if offer.user != user)
        case.step(step, by, now, f"{user} fence {fence}", fence=fence, offers=offers, assign_by=None)

    @staticmethod
    def _put(case: Case, slot: Slot) -> None:
        others = tuple(other for other in case.now.slots if other.user != slot.user)
        case.change(slots=(*others, slot))

    def replace_slot(self, case: Case, slot: Slot) -> None:
        """Write what became of somebody's slot, in its place."""
        case.change(slots=tuple(slot if other.user == slot.user else other for other in case.now.slots))


def spared(incident: Incident) -> tuple[ResponderOffer, ...]:
    """Offers when enough others go: none waits for an answer any more."""
    return tuple(
        replace(offer, state=OfferState.SPARED) if offer.state is OfferState.PENDING else offer
        for offer in incident.offers
    )
