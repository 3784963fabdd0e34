"""Errors of safety. An SOS itself is never refused; these answer those who handle one."""

from core.errors import Conflict, Unavailable
from core.ids import UserId


class AlreadyAcknowledged(Conflict):
    """Somebody else was first; they own the incident."""

    default_code = "already_acknowledged"

    def __init__(self, owner: UserId) -> None:
        """Keep who owns it, so that the second one knows whom to ask."""
        super().__init__(f"already acknowledged by {owner}")
        self.owner = owner


class AlreadyResolved(Conflict):
    """The incident has ended."""

    default_code = "already_resolved"

    def __init__(self) -> None:
        """Hold no details: who ended it is in the incident."""
        super().__init__("the incident is already resolved")


class JournalRefused(Unavailable):
    """The emergency journal did not take a turn: nothing is promised."""

    default_code = "store_unavailable"

    def __init__(self, message: str, *, outcome: str) -> None:
        """Keep the ``outcome``: ``full`` or ``failed``."""
        super().__init__(message)
        self.outcome = outcome
