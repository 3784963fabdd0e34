"""Frames to objects and back, in JSON or MessagePack."""

from typing import Any

import msgspec

from doorstep_client.settings import Encoding


class BadFrame(Exception):
    """The server sent something that is not one object with a ``type``."""


class Codec:
    """Encodes and decodes frames of one connection."""

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        self.is_text = encoding is Encoding.JSON
        self._encoder: msgspec.json.Encoder | msgspec.msgpack.Encoder
        self._decoder: msgspec.json.Decoder[Any] | msgspec.msgpack.Decoder[Any]
        if self.is_text:
            self._encoder, self._decoder = msgspec.json.Encoder(), msgspec.json.Decoder()
        else:
            self._encoder, self._decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder()

    def encode(self, message: dict[str, Any]) -> bytes:
        """One frame."""
        return self._encoder.encode(message)

    def decode(self, frame: bytes) -> dict[str, Any]:
        """The object of one frame.

        Raises:
            BadFrame: Not an object, or without a ``type``.
        """
        try:
            message = self._decoder.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadFrame(f"cannot decode: {str(error)[:120]}") from error
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise BadFrame("not an object with a type")
        return message
