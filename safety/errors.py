"""Errors of safety. An SOS itself is never refused; these answer those who handle one."""

from collections.abc import Sequence

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


class SlotTaken(Conflict):
    """Enough others go there already; one may still join."""

    default_code = "taken"

    def __init__(self, taken_by: Sequence[UserId]) -> None:
        """Name who goes, so that a responder knows whom to ask."""
        super().__init__(f"taken by {', '.join(taken_by)}", facts={"taken_by": list(taken_by)})
        self.taken_by = tuple(taken_by)


class SecondNeeded(Conflict):
    """Only together with another person of ops."""

    default_code = "second_needed"

    def __init__(self, proposed_by: UserId) -> None:
        """Name who said it first."""
        super().__init__(f"{proposed_by} said so already: another person of ops has to")
