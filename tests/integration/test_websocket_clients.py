"""Independent WebSocket clients against the listener, in plain text and over TLS."""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from tests.echo_server import EchoAcceptor
from transport.settings import WebSocketSettings
from transport.websocket import WebSocketListener

pytestmark = pytest.mark.slow

JSON = Subprotocol("doorstep.v1.json")
MSGPACK = Subprotocol("doorstep.v1.msgpack")


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "cert.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


@pytest.fixture(params=["ws", "wss"])
async def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[str, ssl.SSLContext | None]]:
    server_tls = client_tls = None
    if request.param == "wss":
        certificate, key = make_certificate(tmp_path)
        server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server_tls.load_cert_chain(certificate, key)
        client_tls = ssl.create_default_context(cafile=str(certificate))
    listener = WebSocketListener(EchoAcceptor(), WebSocketSettings(port=0), ssl=server_tls)
    await listener.start()
    yield f"{request.param}://127.0.0.1:{listener.port}/ws", client_tls
    await listener.stop()
    assert listener.sockets == 0


async def test_the_websockets_library_talks_and_closes(endpoint: tuple[str, ssl.SSLContext | None]) -> None:
    url, tls = endpoint
    async with connect(url, ssl=tls, subprotocols=[JSON], compression=None) as client:
        assert client.subprotocol == JSON
        await client.send("颐和园" * 5_000)
        assert await client.recv() == "颐和园" * 5_000
        await client.send(["frag", "men", "ts"])
        assert await client.recv() == "fragments"
        await asyncio.wait_for(await client.ping(), 2)
    assert client.close_code == 1000


async def test_compression_is_offered_by_clients_and_not_taken(endpoint: tuple[str, ssl.SSLContext | None]) -> None:
    url, tls = endpoint
    async with connect(url, ssl=tls, subprotocols=[MSGPACK]) as client:
        assert client.protocol.extensions == []
        await client.send(b"\x80" * 1_000)
        assert await client.recv() == b"\x80" * 1_000


async def test_the_close_code_of_a_message_over_the_limit_reaches_the_client(
    endpoint: tuple[str, ssl.SSLContext | None],
) -> None:
    url, tls = endpoint
    async with connect(url, ssl=tls, subprotocols=[JSON], compression=None) as client:
        await client.send("a" * 1_000_000)
        with pytest.raises(websockets.ConnectionClosed):
            await client.recv()
    assert client.close_code == 1009
