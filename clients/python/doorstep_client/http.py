"""The HTTP side, as thin as it can be: one method, JSON in and out, named errors. Needs ``aiohttp``."""

from types import TracebackType
from typing import Any, Self

import aiohttp


class ApiError(Exception):
    """The server answered with a problem (RFC 9457)."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('code', '')}: {problem.get('detail') or problem.get('title', '')}")
        self.status = status
        self.code = str(problem.get("code", ""))
        self.problem = problem


class Api:
    """Calls of one user.

    Args:
        base_url: Such as ``http://127.0.0.1:8080``.
        token: JWT, sent as a bearer token; ``""`` for none.
    """

    def __init__(self, base_url: str, token: str = "", *, timeout_s: float = 30.0) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        self.open()
        return self

    def open(self) -> None:
        """Open the connection pool, in a running loop; for who cannot use ``async with``."""
        connector = aiohttp.TCPConnector(limit=64)
        self._session = aiohttp.ClientSession(timeout=self._timeout, connector=connector)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection pool."""
        await self.close()

    async def close(self) -> None:
        """Close the connection pool. Idempotent."""
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: dict[str, str] | None = None,
        idempotency_key: str = "",
        token: str = "",
    ) -> Any:
        """One request; returns the decoded body, or None when there is none.

        Args:
            token: Speak as somebody else for this call.

        Raises:
            ApiError: The status is 400 or above.
            aiohttp.ClientError: No answer.
        """
        if self._session is None:
            raise RuntimeError("use `async with Api(...)`")
        headers = dict(self._headers)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        async with self._session.request(
            method, self._base_url + path, json=body, params=params, headers=headers
        ) as response:
            is_json = "json" in response.content_type
            answer = await response.json(content_type=None) if is_json else await response.text()
            if response.status >= 400:
                raise ApiError(response.status, answer if isinstance(answer, dict) else {"detail": str(answer)[:200]})
            return answer if is_json else None
