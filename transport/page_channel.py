"""What every channel outside the hub has in common: the port, and what an answer of HTTP means for a page."""

from collections.abc import Mapping
from typing import Final, Protocol

from safety.page_text import PageMessage
from safety.pages import PageOutcome
from webhooks.model import Answer, Outcome

PAGE_OUTCOMES: Final = {
    Outcome.DELIVERED: PageOutcome.TAKEN,
    Outcome.REFUSED: PageOutcome.REFUSED,
    Outcome.GONE: PageOutcome.REFUSED,
    Outcome.THROTTLED: PageOutcome.THROTTLED,
    Outcome.FAILED: PageOutcome.FAILED,
    Outcome.REDIRECTED: PageOutcome.REDIRECTED,
    Outcome.TIMEOUT: PageOutcome.TIMEOUT,
    Outcome.UNREACHABLE: PageOutcome.UNREACHABLE,
    Outcome.FORBIDDEN_ADDRESS: PageOutcome.FORBIDDEN_ADDRESS,
}


class PageChannel(Protocol):
    """One way out: a robot, a gateway, a mail server, the log."""

    async def send(self, message: PageMessage, *, dry: bool) -> PageOutcome:
        """Make one attempt; raises only when cancelled or for a fault of ours.

        Args:
            message: What to say and to whom.
            dry: Do everything but the last hop, and answer ``WITHHELD`` when that much worked.
        """
        ...


class Asker(Protocol):
    """Posts outside and reads what is answered (``transport/guarded_post.py``)."""

    async def ask(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """One attempt. Follows nothing, never raises but when cancelled."""
        ...

    async def reach(self, url: str) -> Outcome:
        """As far as a post would go, without saying anything."""
        ...


def withheld(outcome: Outcome) -> PageOutcome:
    """What came of a dry attempt that went as far as ``outcome``."""
    return PageOutcome.WITHHELD if outcome is Outcome.DELIVERED else PAGE_OUTCOMES[outcome]
