"""When an event is tried again, and when it is given up. Pure; chance is a hash of what is tried."""

from hashlib import blake2b

from webhooks.model import Answer, Dead, Delivery, Outcome
from webhooks.settings import WebhookSettings


def retry_delay_s(event_id: str, attempts: int, seed: int, settings: WebhookSettings) -> float:
    """Pause after this many attempts: doubled each time up to the longest, its second half by chance.

    Without chance everything that failed together would come back together.
    """
    whole = min(settings.retry_first_s * 2.0 ** min(attempts - 1, 40), settings.retry_longest_s)
    digest = blake2b(f"{seed}/{event_id}/{attempts}".encode(), digest_size=8).digest()
    return whole * (0.5 + 0.5 * int.from_bytes(digest) / 2**64)


def after_failure(
    delivery: Delivery, answer: Answer, now: float, seed: int, settings: WebhookSettings
) -> tuple[Delivery, Dead | None]:
    """The delivery after an attempt that did not deliver it, and why it is dead, None while it is not."""
    attempts = delivery.attempts + 1
    delay_s = retry_delay_s(delivery.notice.event_id, attempts, seed, settings)
    if answer.retry_after_s is not None:
        delay_s = min(max(delay_s, answer.retry_after_s), settings.retry_longest_s)
    later = Delivery(delivery.notice, attempts, now + delay_s)
    if answer.outcome is Outcome.GONE:
        return later, Dead.GONE
    if attempts >= settings.attempts_max:
        return later, Dead.ATTEMPTS
    if later.next_at > delivery.notice.created_at + settings.give_up_s:
        return later, Dead.AGE
    return later, None
