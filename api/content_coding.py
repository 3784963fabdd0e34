"""Bodies that a client compressed: ``Content-Encoding`` gzip and deflate (RFC 9110 section 8.4.1), bounded."""

import zlib
from typing import Final

from core.errors import Invalid, Refused

_WINDOW_BITS: Final = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


def decoded(body: bytes, coding: str, bytes_max: int, *, whole: bool = True) -> bytes:
    """A body without its content coding.

    Args:
        body: As it was received.
        coding: Value of ``Content-Encoding``; empty and ``identity`` are none.
        bytes_max: Most bytes to unpack.
        whole: Whether a body that ends early or is larger is refused; else its beginning is returned.

    Raises:
        Refused: ``encoding_unsupported``, or ``too_large`` once unpacked.
        Invalid: ``malformed``: not what ``coding`` says, or cut off.
    """
    coding = coding.strip().lower()
    if not body or coding in ("", "identity"):
        return body
    bits = _WINDOW_BITS.get(coding)
    if bits is None:
        raise Refused("send the body as it is, or with gzip or deflate", code="encoding_unsupported")
    unpacker = zlib.decompressobj(bits)
    try:
        unpacked = unpacker.decompress(body, bytes_max + 1)
    except zlib.error:
        raise Invalid(f"the body is not {coding}", code="malformed") from None
    if not whole:
        return unpacked[:bytes_max]
    if len(unpacked) > bytes_max:
        raise Refused(f"the body is larger than {bytes_max} bytes", code="too_large")
    if not unpacker.eof or unpacker.unused_data:
        raise Invalid("the body broke off, or more follows its end", code="malformed")
    return unpacked
