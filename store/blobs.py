"""Values as MessagePack blobs, and back with their types checked.

A field that is added to a value needs a default: rows written before it lack it. A field that is removed is
skipped when old rows are read.
"""

from typing import Generic, TypeVar

import msgspec

from core.errors import Unavailable

ValueT = TypeVar("ValueT")

_encoder = msgspec.msgpack.Encoder()


class Blob(Generic[ValueT]):
    """Codec of one dataclass."""

    def __init__(self, kind: type[ValueT]) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._name = kind.__name__

    def pack(self, value: ValueT) -> bytes:
        """Encode."""
        return _encoder.encode(value)

    def unpack(self, body: bytes) -> ValueT:
        """Decode. Raises ``Unavailable`` (``store_corrupt``) for bytes that are not such a value."""
        try:
            return self._decoder.decode(body)
        except msgspec.DecodeError as error:
            raise Unavailable(f"a stored {self._name} cannot be read: {error}", code="store_corrupt") from error
