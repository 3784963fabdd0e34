"""The error families; each class has a stable code that clients may act on.

::

    DoorstepError
     +- Refused            the request was understood and will not be done; do not retry as it is
     |   +- NotFound       no such thing, or not yours: the two look the same from outside
     |   +- Forbidden      your role may never do this
     |   +- Conflict       the thing is in another state by now
     |   +- Invalid        a field is wrong; names the field and what was expected
     +- Unavailable        a dependency or a bound; retry later
     +- ProtocolError      the peer broke the wire contract; ends in a close code

Exceptions hold facts. Edges translate them once: ``api/errors.py`` to HTTP, ``realtime/session.py`` to frames.
"""

from collections.abc import Mapping
from typing import ClassVar

from core.codes import MEANINGS


class DoorstepError(Exception):
    """Root of all errors that a client may hear of.

    Attributes:
        code: Stable, documented word for the case.
        message: One sentence for a developer; holds no personal data.
        field: Path of the offending field, where there is one.
        retry: Whether the same request may succeed later.
        facts: What a program needs to ask for something else instead.
    """

    default_code: ClassVar[str] = "internal"
    retry: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        facts: Mapping[str, object] | None = None,
    ) -> None:
        """Keep the facts; ``code`` narrows the family's own code."""
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        assert self.code in MEANINGS, f"{self.code!r} is not in core.codes"  # noqa: S101 - a bug, not an input
        self.field = field
        self.facts = dict(facts or {})


class Refused(DoorstepError):
    """Understood, and will not be done."""

    default_code = "refused"


class NotFound(Refused):
    """No such thing, or not yours."""

    default_code = "not_found"


class Forbidden(Refused):
    """This role may never do this."""

    default_code = "forbidden"


class Conflict(Refused):
    """The thing is in another state by now."""

    default_code = "conflict"


class Invalid(Refused):
    """A field is wrong."""

    default_code = "invalid"


class Unavailable(DoorstepError):
    """A dependency failed or a bound was met; the same request may succeed later."""

    default_code = "unavailable"
    retry = True


class ProtocolError(DoorstepError):
    """The peer broke the wire contract."""

    default_code = "protocol"

    def __init__(self, message: str, *, close_code: int, code: str | None = None) -> None:
        """Keep the close code that ends the connection."""
        super().__init__(message, code=code)
        self.close_code = close_code
