"""Whom a ring of an incident calls outside the hub, by which channels and when. Pure but for the look-ups.

A look-up that fails never costs a call: what is not known is left out, and who may not be connected counts as not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from core.ids import TenantId, UserId
from safety.escalation import Why, guarded
from safety.events import PERSONAL, UNHEARD, Reason
from safety.incident import LEVEL_LAST
from safety.model import CapStatus, Incident, OfferState, Target
from safety.pages import (
    Address,
    Channel,
    HopState,
    KnownPerson,
    Page,
    Phonebook,
    Presence,
    Reachable,
    RecipientKind,
    contact_of_subject,
)
from safety.reach import ReachSettings

SUPERVISORS_LEVEL: Final = 2
"""From here on supervisors are called although a console is connected."""
SYNTHETIC: Final = Address("synthetic", "000", "synthetic@localhost")
"""Nobody: what a test calls by every channel of people, up to the last hop."""
DESKS: Final = frozenset({RecipientKind.ROBOT, RecipientKind.WEBHOOK})
"""Those who hear of everything, also when a human has it in hand."""
NEWS: Final = frozenset({Reason.ACKNOWLEDGED, Reason.RESOLVED})
"""What is told although it is no ring."""

Channels = Sequence[tuple[Channel, float]]
"""Channels with when each is due, UTC epoch seconds."""


@dataclass(frozen=True, slots=True)
class Call:
    """One recipient to be called; ``channels`` is never empty."""

    kind: RecipientKind
    name: str
    channels: Channels


class CallPlan:
    """The rules of who is called.

    Args:
        settings: Channels, clocks, and who is named there.
        with_push: Whether the platform has a push service.
        phonebook: Phones and addresses of people.
        presence: Who is connected now.
    """

    def __init__(self, settings: ReachSettings, *, with_push: bool, phonebook: Phonebook, presence: Presence) -> None:
        self._settings = settings
        self._with_push = with_push
        self._phonebook = phonebook
        self._presence = presence

    def people(self, incident: Incident, targets: Sequence[Target], reason: Reason, now: float) -> list[Call]:
        """Everybody told over the hub, should no device of theirs confirm.

        Once a human has it, only that one and whoever is asked or sent to go there; and everybody who is rung because
        that human is quiet, or nobody goes.
        """
        settings = self._settings
        calls: list[Call] = []
        for target in targets:
            is_spared = incident.owner not in (None, target.user) and reason not in PERSONAL | UNHEARD
            if is_spared and not waits_for(incident, target.user):
                continue
            person = self.known(incident.tenant, target.user)
            push_at = now + (settings.push_after_s if self._is_online(incident.tenant, target.user) else 0.0)
            channels = [(Channel.PUSH, push_at)] if self._with_push else []
            channels += self._addresses(person, now + settings.sms_after_s, now + settings.voice_after_s)
            calls.append(Call(RecipientKind.PERSON, target.user, channels))
        return [_abortable_voice(call, incident, now) for call in calls if call.channels]

    def desks(self, incident: Incident, reason: Reason, pages: Sequence[Page], now: float) -> list[Call]:
        """Robots, other systems, supervisors, contacts and the last resort: each by its own rule.

        Args:
            incident: As it is now.
            reason: Why it rings, or what became of it.
            pages: Its pages so far, those of the same ring's people included.
            now: UTC epoch seconds.
        """
        if incident.cap_status is CapStatus.TEST and reason in NEWS:
            return []  # it has come through: that was all
        calls = [
            Call(RecipientKind.ROBOT, name, [(Channel.ROBOT, now)])
            for name, robot in self._settings.robots.items()
            if _serves(incident, robot.tenant, robot.cities)
        ]
        calls += [
            Call(
                RecipientKind.WEBHOOK, name, [(Channel.WEBHOOK, abortable_at(incident, now) if hook.external else now)]
            )
            for name, hook in self._settings.webhooks.items()
            if _serves(incident, hook.tenant, hook.cities)
        ]
        if reason in NEWS:
            calls += [] if incident.is_active else _told_before(pages, now)
        elif incident.owner is None or reason in UNHEARD:
            calls += self._stand_ins(incident, reason, pages, now)
        return [_abortable_voice(call, incident, now) for call in calls if call.channels]

    def known(self, tenant: TenantId, user: UserId) -> KnownPerson | None:
        """What is known of how somebody is reached."""
        return guarded([], "phonebook", lambda: self._phonebook.of(tenant, user), lambda: None)

    def _subject(self, incident: Incident) -> KnownPerson | None:
        return guarded([], "phonebook", lambda: contact_of_subject(incident, self._phonebook), lambda: None)

    def _stand_ins(self, incident: Incident, reason: Reason, pages: Sequence[Page], now: float) -> list[Call]:
        """Who is called when those who should come may not hear it, or do not act on it."""
        settings = self._settings
        calls: list[Call] = []
        is_unheard = incident.owner is not None
        if is_unheard or incident.level >= SUPERVISORS_LEVEL or not self._has_console(incident):
            calls += [
                Call(RecipientKind.SUPERVISOR, name, self._addresses(Address(name, one.phone, one.email), now, now))
                for name, one in settings.supervisors.items()
                if _serves(incident, one.tenant, one.cities)
            ]
        if incident.level >= settings.contacts_level and (not is_unheard or reason is Reason.NOBODY_COMES):
            subject, at = self._subject(incident), abortable_at(incident, now)
            calls += [
                Call(RecipientKind.CONTACT, str(number), self._addresses(contact, at, None))
                for number, contact in enumerate(subject.emergency if subject is not None else (), start=1)
            ]
        if incident.level >= LEVEL_LAST or not self._is_anybody_reached(incident, calls, pages):
            chosen = settings.last_resort
            channels = self._addresses(Address("", chosen.phone, chosen.email), now, now)
            if chosen.log:
                channels.append((Channel.LOG, now))
            calls.append(Call(RecipientKind.LAST_RESORT, "last_resort", channels))
        if incident.cap_status is CapStatus.TEST:
            # A test is about the channels: each is tried at once, up to its last hop.
            channels = [(Channel.PUSH, now)] if self._with_push else []
            channels += [*self._addresses(SYNTHETIC, now, now), (Channel.LOG, now)]
            calls.append(Call(RecipientKind.SUPERVISOR, SYNTHETIC.name, channels))
        return calls

    def _addresses(self, who: Reachable | None, text_at: float, voice_at: float | None) -> list[tuple[Channel, float]]:
        """Channels to somebody's phone, and to their mailbox beside them."""
        channels: list[tuple[Channel, float]] = []
        if who is not None and who.phone and self._settings.sms.url:
            channels.append((Channel.SMS, text_at))
        if who is not None and who.phone and self._settings.voice.url and voice_at is not None:
            channels.append((Channel.VOICE, voice_at))
        if who is not None and who.email and self._settings.email.host:
            channels.append((Channel.EMAIL, text_at))
        return channels

    def _is_online(self, tenant: TenantId, user: UserId) -> bool:
        return guarded([], "presence", lambda: self._presence.online(tenant, user), lambda: False)

    def _has_console(self, incident: Incident) -> bool:
        """Whether anybody of ops who is told has a living connection."""
        ops = (target.user for target in incident.targets if target.why in (Why.OPS_CITY, Why.OPS_ALL))
        return any(self._is_online(incident.tenant, user) for user in ops)

    def _is_anybody_reached(self, incident: Incident, calls: Sequence[Call], pages: Sequence[Page]) -> bool:
        """Whether some device, phone or mailbox of a person of ours can be told at all."""
        ours = (RecipientKind.PERSON, RecipientKind.SUPERVISOR)
        if any(call.kind in ours and call.channels for call in calls) or any(page.kind in ours for page in pages):
            return True
        return any(self._is_online(incident.tenant, target.user) for target in incident.targets)


def waits_for(incident: Incident, user: UserId) -> bool:
    """Whether somebody was asked to go there and an answer is still wanted: also a late one, while nobody goes."""
    wanted = (OfferState.PENDING,) if incident.coming else (OfferState.PENDING, OfferState.EXPIRED)
    return any(offer.user == user and offer.state in wanted for offer in incident.offers)


def abortable_at(incident: Incident, now: float) -> float:
    """When hops that cost money or cannot be taken back may begin."""
    return max(now, incident.provisional_until or now)


def _abortable_voice(call: Call, incident: Incident, now: float) -> Call:
    at = abortable_at(incident, now)
    channels = [(channel, max(due_at, at) if channel is Channel.VOICE else due_at) for channel, due_at in call.channels]
    return Call(call.kind, call.name, channels)


def _told_before(pages: Sequence[Page], now: float) -> list[Call]:
    """Whoever was called from outside the house hears, by the same channel, that it is over."""
    calls = []
    for page in pages:
        told_by = next((hop.channel for hop in page.hops if hop.state is HopState.TAKEN), None)
        if page.kind is not RecipientKind.PERSON and page.kind not in DESKS and told_by is not None:
            calls.append(Call(page.kind, page.name, [(told_by, now)]))
    return calls


def _serves(incident: Incident, tenant: str, cities: Sequence[str]) -> bool:
    """Whether a desk is told of an incident; of one without a city all are. A test is about all desks."""
    if incident.cap_status is CapStatus.TEST:
        return True
    return tenant == incident.tenant and (not cities or incident.city is None or incident.city in cities)
