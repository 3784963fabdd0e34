"""Letters that JSON writes as escapes, for those who search bytes that cannot be decoded."""

import re
from typing import Final

_ESCAPED: Final = re.compile(rb"\\u00([46][1-9a-fA-F]|[57][0-9aA])")


def plain_letters(payload: bytes) -> bytes:
    r"""The same bytes with each escaped ASCII letter (``\u0073``) as the letter it means.

    Only letters: a quotation mark written plain would end the text that it stands in.

    Cost:
        O(len(payload)); a mere look where nothing is escaped.
    """
    if b"\\u00" not in payload:
        return payload
    return _ESCAPED.sub(lambda found: bytes((int(found[1], 16),)), payload)
