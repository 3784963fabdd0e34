"""Posts to programs outside, and nowhere else: ``webhooks.ports.Poster`` on aiohttp.

Who writes the config may not know where a name leads, and whoever owns the name may change it between a check and its
use. So the check is part of connecting: the resolver hands on public addresses only, the connector connects to what
the resolver handed on, and each socket is checked once more when it is made (an address in the URL has no resolver).
Nothing is followed, no proxy of the environment is used, no cookie is kept, and of the answer only the head is read,
or 64 KiB at most where what it says is in its body.
"""

import asyncio
import socket
from collections.abc import Collection, Mapping
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from transport.addresses import is_public
from webhooks.model import Answer, Outcome

BODY_BYTES_MAX: Final = 65_536
_CONNECTIONS_MAX: Final = 64
_IDLE_S: Final = 15.0
_AGENT: Final = "doorstep"


class ForbiddenAddress(OSError):
    """A host leads to an address that may not be connected to."""


class GuardedPost:
    """The client. Made on a running loop; ``close`` ends it.

    Args:
        private_hosts: Hosts that may lie anywhere.
        timeout_s: For one attempt, from the look-up of the name to the head of the answer.
        resolver: Looks names up; the system's when None.
    """

    def __init__(
        self, *, private_hosts: Collection[str], timeout_s: float, resolver: AbstractResolver | None = None
    ) -> None:
        self._private_hosts = frozenset(host.lower() for host in private_hosts)
        self._timeout_s = timeout_s
        self._names = names = resolver or aiohttp.ThreadedResolver()
        self._public = _session(_PublicOnly(names), timeout_s, _public_socket)
        self._private = _session(names, timeout_s, None)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """See the port."""
        return await self._post(url, headers, body, body_bytes_max=0)

    async def ask(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Likewise, and read the answer's body up to ``BODY_BYTES_MAX``; what comes beyond is not read."""
        return await self._post(url, headers, body, body_bytes_max=BODY_BYTES_MAX)

    async def reach(self, url: str) -> Outcome:
        """Go as far as a post would without saying anything: the name, the rule of addresses, a connection.

        Returns:
            ``DELIVERED`` when the host takes a connection at an address that may be used.
        """
        try:
            target = URL(url)
            host, port = target.host or "", target.port or 0
            async with asyncio.timeout(self._timeout_s):
                found = await self._names.resolve(host, port)
                addresses = [str(one["host"]) for one in found]
                if host not in self._private_hosts and not all(is_public(address) for address in addresses):
                    return Outcome.FORBIDDEN_ADDRESS
                _, writer = await asyncio.open_connection(addresses[0], port)
                writer.close()
                await writer.wait_closed()
        except TimeoutError:
            return Outcome.TIMEOUT
        except (OSError, ValueError, IndexError):
            return Outcome.UNREACHABLE
        return Outcome.DELIVERED

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes, *, body_bytes_max: int) -> Answer:
        try:
            target = URL(url)
            session = self._private if target.host in self._private_hosts else self._public
            async with session.post(target, data=body, headers=headers, allow_redirects=False) as answer:
                said = await _beginning(answer.content, body_bytes_max)
                return Answer(_outcome(answer.status), answer.status, _retry_after_s(answer.headers), said)
        except TimeoutError:
            return Answer(Outcome.TIMEOUT)
        except aiohttp.ClientConnectorError as error:
            is_forbidden = isinstance(error.os_error, ForbiddenAddress)
            return Answer(Outcome.FORBIDDEN_ADDRESS if is_forbidden else Outcome.UNREACHABLE)
        except (aiohttp.ClientError, OSError, ValueError):
            return Answer(Outcome.FAILED)

    async def close(self) -> None:
        """Close every connection. Idempotent."""
        await self._public.close()
        await self._private.close()


async def _beginning(content: aiohttp.StreamReader, bytes_max: int) -> bytes:
    """The first bytes of a body; the rest stays where it is."""
    parts: list[bytes] = []
    left = bytes_max
    while left > 0 and (part := await content.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


class _PublicOnly(AbstractResolver):
    """Hands on what another resolver found, when all of it is public.

    One address that is not spoils the rest: a name of the internet has no reason to lead into somebody's network.
    """

    def __init__(self, names: AbstractResolver) -> None:
        self._names = names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._names.resolve(host, port, family)
        if not all(is_public(one["host"]) for one in found):
            raise ForbiddenAddress(f"{host} leads to an address that is not public")
        return found

    async def close(self) -> None:
        await self._names.close()


def _public_socket(info: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
    """The last gate: whatever was resolved how, this is what will be connected."""
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        raise ForbiddenAddress("the address is not public")
    return socket.socket(family, kind, protocol)


def _session(resolver: AbstractResolver, timeout_s: float, socket_factory: Any) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        resolver=resolver,
        use_dns_cache=False,
        limit=_CONNECTIONS_MAX,
        keepalive_timeout=_IDLE_S,
        socket_factory=socket_factory,
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": _AGENT},
        auto_decompress=False,
        trust_env=False,
    )


def _outcome(status: int) -> Outcome:
    match status:
        case 410:
            return Outcome.GONE
        case 408 | 425 | 429:
            return Outcome.THROTTLED
    by_class = {2: Outcome.DELIVERED, 3: Outcome.REDIRECTED, 4: Outcome.REFUSED}
    return by_class.get(status // 100, Outcome.FAILED)


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
