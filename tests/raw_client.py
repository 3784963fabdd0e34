"""A WebSocket client that does exactly what a test says, right or wrong: raw bytes over a TCP stream."""

import asyncio
import base64
import os
import socket
import struct
from dataclasses import dataclass
from types import TracebackType

TEXT, BINARY, CONTINUATION = 1, 2, 0
CLOSE, PING, PONG = 8, 9, 10


@dataclass(frozen=True, slots=True)
class Frame:
    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0

    @property
    def close_code(self) -> int:
        return int.from_bytes(self.payload[:2], "big")


def encode(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([bit | len(payload)])
    elif len(payload) < 65_536:
        head += bytes([bit | 126]) + struct.pack("!H", len(payload))
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", len(payload))
    if not masked:
        return head + payload
    mask = os.urandom(4)
    repeated = mask * (len(payload) // 4 + 1)
    body = (
        int.from_bytes(payload, "big") ^ int.from_bytes(repeated[: len(payload)], "big") if payload else 0
    ).to_bytes(len(payload), "big")
    return head + mask + body


def close_payload(code: int, reason: str = "") -> bytes:
    return struct.pack("!H", code) + reason.encode()


def request(
    path: str = "/ws",
    *,
    connection: str = "Upgrade",
    version: str | None = "13",
    subprotocol: str | None = "doorstep.v1.json",
    headers: dict[str, str] | None = None,
) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket", f"Connection: {connection}"]
    lines.append(f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}")
    if version is not None:
        lines.append(f"Sec-WebSocket-Version: {version}")
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode()


class RawClient:
    """One TCP connection; use as ``async with``."""

    def __init__(self, port: int, *, receive_buffer_bytes: int = 0) -> None:
        self._port = port
        self._receive_buffer_bytes = receive_buffer_bytes
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    async def __aenter__(self) -> "RawClient":
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._receive_buffer_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer_bytes)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self._port))
        # A small limit, so that what the test does not read stays in the kernel, as with a slow phone.
        self.reader, self.writer = await asyncio.open_connection(sock=sock, limit=2_048)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()
        # Let the transport finish, so that no socket is left to the garbage collector.
        await asyncio.sleep(0)

    async def upgrade(self, raw: bytes | None = None) -> int:
        """Send an upgrade request and read the answer; returns its status."""
        self.writer.write(request() if raw is None else raw)
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if self.status != 101:
            self.body = await asyncio.wait_for(self.reader.read(), 5)
        return self.status

    def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> None:
        self.writer.write(encode(opcode, payload, fin=fin, rsv=rsv, masked=masked))

    async def read_frame(self, timeout_s: float = 5.0) -> Frame:
        """The next frame; ``asyncio.IncompleteReadError`` when the server closed the socket."""
        return await asyncio.wait_for(self._read_frame(), timeout_s)

    async def _read_frame(self) -> Frame:
        first, second = await self.reader.readexactly(2)
        assert not second & 0x80, "a server's frame must not be masked"
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
        payload = await self.reader.readexactly(length)
        return Frame(first & 0x0F, payload, bool(first & 0x80), first >> 4 & 7)

    async def read_close(self, timeout_s: float = 5.0) -> int:
        """Skip to the close frame and return its code; 1006 when the socket ended without one."""
        try:
            while True:
                frame = await self.read_frame(timeout_s)
                if frame.opcode == CLOSE:
                    return frame.close_code
        except (asyncio.IncompleteReadError, ConnectionError):
            return 1006

    async def read_end(self, timeout_s: float = 5.0) -> bytes:
        """Read until the server closes the socket."""
        try:
            return await asyncio.wait_for(self.reader.read(), timeout_s)
        except ConnectionError:
            return b""
