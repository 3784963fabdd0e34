"""An endpoint on the hub's own transport that sends back what it hears: for conformance and transport tests.

Run as a program: ``python tests/echo_server.py [--loop asyncio|uvloop]``; prints its port and serves until its
standard input ends.
"""

import argparse
import asyncio
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import uvloop

from core.errors import DoorstepError
from realtime.ports import Connection
from transport.settings import WebSocketSettings
from transport.websocket import WebSocketListener


class EchoHandler:
    """Sends back each message."""

    __slots__ = ("closed", "connection")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.closed: int | None = None

    def on_message(self, payload: bytes) -> None:
        self.connection.send(payload)

    def takes_damaged(self) -> bool:
        return False

    def on_damaged(self, payload: bytes, close_code: int) -> bool:
        return False

    def on_pong(self, payload: bytes) -> None:
        pass

    def on_paused(self) -> None:
        pass

    def on_writable(self) -> None:
        pass

    def on_closed(self, code: int) -> None:
        self.closed = code


class EchoAcceptor:
    """Admits everybody."""

    def admit(self, peer: str) -> DoorstepError | None:
        return None

    def connected(self, connection: Connection) -> EchoHandler:
        return EchoHandler(connection)


async def serve() -> None:
    # Autobahn's cases send messages up to 64 KiB exactly in fragments and whole, and expect them back.
    settings = WebSocketSettings(port=0, path="/", message_bytes_max=16_777_216)
    listener = WebSocketListener(EchoAcceptor(), settings, subprotocols=())
    await listener.start()
    print(listener.port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await listener.stop()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="uvloop")
    if parser.parse_args().loop == "uvloop":
        uvloop.run(serve())
    else:
        asyncio.run(serve())


if __name__ == "__main__":
    main()
