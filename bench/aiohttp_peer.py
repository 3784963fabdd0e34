"""The peer to be measured beside: aiohttp's own WebSocket server that only receives and decodes JSON."""

import sys

import uvloop
from aiohttp import WSMsgType, web


async def receive(request: web.Request) -> web.WebSocketResponse:
    """Read until the end; nothing is done with what was read."""
    socket = web.WebSocketResponse(compress=False, protocols=("doorstep.v1.json",))
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            message.json()
    return socket


def main() -> None:
    """Serve on the port given."""
    application = web.Application()
    application.router.add_get("/", receive)
    uvloop.install()
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
