"""Errors of the hub, and the close codes that end connections.

4000-4499 say "come back", 4500-4999 say "do not" (wire contract, Common rules).
"""

from enum import IntEnum
from typing import Final

from core.errors import Invalid


class CloseCode(IntEnum):
    """Why the hub ends a connection."""

    NORMAL = 1000
    LOST = 1006
    TOKEN_EXPIRED = 4401
    DRAINING = 4403
    TOO_SLOW = 4408
    TOO_MANY = 4429
    PROTOCOL = 4500
    BAD_TOKEN = 4501
    REPLACED = 4509
    REVOKED = 4510
    VERSION = 4526

    @property
    def comes_back(self) -> bool:
        """Whether the client is asked to connect again."""
        return 4000 <= self < 4500


CLOSE_FOR_REFUSAL: Final[dict[str, CloseCode]] = {
    "token_invalid": CloseCode.BAD_TOKEN,
    "ticket_invalid": CloseCode.BAD_TOKEN,
    "token_expired": CloseCode.TOKEN_EXPIRED,
    "token_revoked": CloseCode.REVOKED,
}
"""What ends a connection whose hello was refused, by the code of the refusal."""


class Unreadable(Invalid):
    """A frame that is not a message of the catalogue.

    Codes: ``malformed`` (not an object of the encoding), ``unknown_type``, ``invalid`` (a field is wrong).

    Attributes:
        ref: The frame's ``ref`` where it could be read, so that the sender knows which request failed.
    """

    def __init__(self, message: str, *, code: str, field: str | None = None, ref: str | None = None) -> None:
        """Keep the facts."""
        super().__init__(message, code=code, field=field)
        self.ref = ref
