"""An acceptor that writes down everything it is told, for tests of transports."""

import asyncio
from collections.abc import Callable

from core.errors import DoorstepError
from realtime.ports import Connection


class Recorder:
    """A handler that remembers; ``on_message_do`` may act on a message.

    Attributes:
        precious: Damaged messages with this in them are taken and keep the connection; None takes none at all.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.messages: list[bytes] = []
        self.damaged: list[tuple[bytes, int]] = []
        self.precious: bytes | None = None
        self.pongs: list[bytes] = []
        self.pauses: list[bool] = []
        self.closes: list[int] = []
        self.on_message_do: Callable[[bytes], None] | None = None

    def on_message(self, payload: bytes) -> None:
        self.messages.append(payload)
        if self.on_message_do is not None:
            self.on_message_do(payload)

    def takes_damaged(self) -> bool:
        return self.precious is not None

    def on_damaged(self, payload: bytes, close_code: int) -> bool:
        self.damaged.append((payload, close_code))
        return self.precious is not None and self.precious in payload

    def on_pong(self, payload: bytes) -> None:
        self.pongs.append(payload)

    def on_paused(self) -> None:
        self.pauses.append(True)

    def on_writable(self) -> None:
        self.pauses.append(False)

    def on_closed(self, code: int) -> None:
        self.closes.append(code)


class RecordingAcceptor:
    """Admits everybody unless told otherwise; keeps the handlers in the order of arrival."""

    def __init__(self, make: Callable[[Connection], Recorder] = Recorder) -> None:
        self.refusal: DoorstepError | None = None
        self.handlers: list[Recorder] = []
        self._make = make

    def admit(self, peer: str) -> DoorstepError | None:
        return self.refusal

    def connected(self, connection: Connection) -> Recorder:
        handler = self._make(connection)
        self.handlers.append(handler)
        return handler


async def until(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    """Wait for something that another task or the loop brings about."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.002)
