"""Travel tables from a road engine over HTTP: in blocks, within one time limit, and never without an answer.

What an engine says is checked before it is believed; the estimate stands in for whatever is missing::

    no route for a pair, or one so slow      that pair is estimated, the table says how many
    that nobody takes so long
    late, dead, refused, too large, a lie    the whole table is estimated, and says what failed
    failed ``failures_max`` times in a row   likewise, without asking, for ``rest_s``; then one table tries again

A lie is an answer of the wrong shape, or one that cannot be true (``believing.py``). What each engine's requests and
answers look like is in ``osrm.py`` and ``valhalla.py``.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

import aiohttp
import msgspec
import numpy as np

from core.clock import Clock
from geo.arrays import FloatArray
from geo.distance import haversine_m
from geo.frames import convert
from geo.point import Frame
from geo.settings import RoadEngineSettings, TravelSettings
from geo.travel_time import EstimateTravelTimes, Points, TravelMode, TravelTable
from transport import believing
from transport.breaker import Breaker

_log = logging.getLogger(__name__)

_CHUNK_BYTES: Final = 65_536


class EngineFailed(Exception):
    """The engine gave no answer that can be used; the text says why, in a few words.

    Attributes:
        is_ill: Whether the engine itself is at fault, so that it should be left alone for a while.
    """

    def __init__(self, reason: str, *, is_ill: bool = True) -> None:
        super().__init__(reason)
        self.is_ill = is_ill


@dataclass(frozen=True, slots=True)
class Ask:
    """One HTTP request: GET of ``path`` without ``body``, POST with."""

    path: str
    body: bytes | None = None


_T = TypeVar("_T")
Cells = Sequence[Sequence[float | None]]
_Place = tuple[slice, slice]
"""Rows and columns of a table that one request is about."""


class Dialect(Protocol):
    """One engine's words."""

    @property
    def name(self) -> str:
        """What a table's ``source`` says."""
        ...

    def ask(self, origins: FloatArray, destinations: FloatArray, mode: TravelMode) -> Ask | None:
        """The request for a block of places (rows of latitude, longitude); None when this engine cannot say."""
        ...

    def read(self, body: bytes) -> tuple[Cells, Cells | None]:
        """Seconds and metres of a block, None for a pair without a way. Raises ``EngineFailed``."""
        ...


class RoadTravelTimes:
    """``geo.travel_time.TravelTimes`` of one road engine.

    Attributes:
        counts: Tables by what became of them: ``answered``, ``resting``, ``timeout``, ``failed``, ``refused``, ``lie``,
            ``too_large``, ``other_mode``.
    """

    def __init__(
        self,
        dialect: Dialect,
        estimate: EstimateTravelTimes,
        *,
        settings: RoadEngineSettings,
        travel: TravelSettings,
        frame: Frame,
        clock: Clock,
    ) -> None:
        """Connects when first asked.

        Args:
            estimate: What stands in.
            frame: Of the points that will be asked for; the engine is asked in its own.
        """
        self.counts: dict[str, int] = {}
        self._dialect = dialect
        self._estimate = estimate
        self._settings = settings
        self._setup_s = travel.setup_s
        self._mode = TravelMode(travel.default_mode)
        self._frame = frame
        self._clock = clock
        self._breaker = Breaker(settings.failures_max, settings.rest_s)
        self._session: aiohttp.ClientSession | None = None

    async def stop(self) -> None:
        """Close the connections. Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def table(
        self, origins: Points, destinations: Points, now: float, mode: TravelMode | None = None
    ) -> TravelTable:
        """See ``TravelTimes.table``. Waits at most ``timeout_s``."""
        start = np.asarray(origins, dtype=np.float64).reshape(-1, 2)
        goal = np.asarray(destinations, dtype=np.float64).reshape(-1, 2)
        instead = self._estimate.table_now(start, goal, now, mode)
        if not instead.duration_s.size:
            return instead
        try:
            found = await self._asked(start, goal, mode or self._mode)
            table = self._checked(found, start, goal, instead)
        except _NotAsked as error:
            return self._fallen_back(instead, error.outcome, str(error))
        except EngineFailed as error:
            if error.is_ill:
                self._breaker.failed(self._clock.monotonic())
            else:
                self._breaker.worked()
            # Not for each table: the breaker bounds how often this comes.
            _log.warning("a road engine failed", extra={"engine": self._dialect.name, "reason": str(error)})
            return self._fallen_back(instead, _outcome(error), str(error))
        self._breaker.worked()
        self._count("answered")
        return table

    # -- asking -------------------------------------------------------------------------------------------

    async def _asked(self, start: FloatArray, goal: FloatArray, mode: TravelMode) -> tuple[FloatArray, FloatArray]:
        """Seconds and metres of the whole table; NaN where the engine knows no way, or did not say how long."""
        settings = self._settings
        if len(start) * len(goal) > settings.pairs_max:
            raise _NotAsked("too_large", f"{len(start)} x {len(goal)} is more than {settings.pairs_max} pairs")
        origins, destinations = (
            np.stack(convert(p[:, 0], p[:, 1], self._frame, settings.frame), axis=1) for p in (start, goal)
        )
        asks: list[tuple[_Place, Ask]] = []
        for rows in _blocks(len(start), settings.block_len_max):
            for columns in _blocks(len(goal), settings.block_len_max):
                ask = self._dialect.ask(origins[rows], destinations[columns], mode)
                if ask is None:
                    raise _NotAsked("other_mode", f"knows no ways by {mode}")
                asks.append(((rows, columns), ask))
        if not self._breaker.may_try(self._clock.monotonic()):
            raise _NotAsked("resting", "failed lately and is left alone")
        try:
            async with asyncio.timeout(settings.timeout_s):
                return await self._all_blocks(asks, (len(start), len(goal)))
        except TimeoutError:
            raise _TimedOut(f"no answer in {settings.timeout_s:g} s") from None

    async def _all_blocks(
        self, asks: Sequence[tuple[_Place, Ask]], shape: tuple[int, int]
    ) -> tuple[FloatArray, FloatArray]:
        duration_s, distance_m = np.full(shape, np.nan), np.full(shape, np.nan)
        gate = asyncio.Semaphore(self._settings.requests_max)

        async def fill(place: _Place, ask: Ask) -> None:
            async with gate:
                body = await self._fetch(ask)
            seconds, metres = self._dialect.read(body)
            wanted = duration_s[place].shape
            duration_s[place] = _cells(seconds, wanted)
            if metres is not None:
                distance_m[place] = _cells(metres, wanted)

        try:
            async with asyncio.TaskGroup() as group:
                for place, ask in asks:
                    group.create_task(fill(place, ask), name="travel table")
        except ExceptionGroup as errors:
            failed = errors.subgroup(EngineFailed)
            if failed is None:
                raise
            raise _first(failed) from None
        return duration_s, distance_m

    async def _fetch(self, ask: Ask) -> bytes:
        if self._session is None:
            # No second limit here: the whole table has one.
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None),
                connector=aiohttp.TCPConnector(limit=2 * self._settings.requests_max),
                auto_decompress=False,
                headers={"Accept-Encoding": "identity"},
            )
        url = self._settings.url.rstrip("/") + ask.path
        headers = {"Content-Type": "application/json"} if ask.body is not None else {}
        method = "GET" if ask.body is None else "POST"
        try:
            async with self._session.request(
                method, url, data=ask.body, headers=headers, allow_redirects=False
            ) as response:
                body = await self._bounded(response)
        except (aiohttp.ClientError, OSError) as error:
            raise EngineFailed(f"cannot be reached: {type(error).__name__}") from error
        if response.status == 200:
            return body
        is_ill = response.status >= 500 or response.status < 400  # a refusal is an answer too
        raise EngineFailed(f"answered HTTP {response.status}", is_ill=is_ill)

    async def _bounded(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            body += chunk
            if len(body) > self._settings.body_bytes_max:
                response.close()
                raise EngineFailed(f"answered with more than {self._settings.body_bytes_max} bytes")
        return bytes(body)

    # -- believing ----------------------------------------------------------------------------------------

    def _checked(
        self, found: tuple[FloatArray, FloatArray], start: FloatArray, goal: FloatArray, instead: TravelTable
    ) -> TravelTable:
        duration_s, distance_m = found
        direct_m = haversine_m(start[:, 0:1], start[:, 1:2], goal[:, 0], goal[:, 1])
        known = ~np.isnan(duration_s)
        if not known.any():
            raise _Lied("knows no way between any of the places")
        expected_s = np.maximum(instead.duration_s - self._setup_s, 0.0)
        told = believing.Told(
            duration_s=duration_s[known],
            way_m=distance_m[known],
            direct_m=direct_m[known],
            expected_s=expected_s[known],
            s_per_m=float(expected_s.sum() / max(instead.distance_m.sum(), 1.0)),
            is_wide=believing.is_wide(*known.shape),
        )
        settings = self._settings
        if reason := believing.why_not(told, faster_max=settings.faster_max, slower_max=settings.slower_max):
            raise _Lied(reason)
        believed = known.copy()
        believed[known] = ~believing.slower_than_walking(told)
        missing, doubted = int((~known).sum()), int((known & ~believed).sum())
        detail = "ways of the road map"
        if missing:
            detail += f"; {missing} without one estimated"
        if doubted:
            detail += f"; {doubted} too slow to be believed estimated"
        return TravelTable(
            np.where(believed, duration_s + self._setup_s, instead.duration_s),
            np.where(believed & ~np.isnan(distance_m), distance_m, instead.distance_m),
            self._dialect.name,
            detail,
            f"{doubted} of {known.size} ways estimated: too slow to be believed" if doubted else "",
        )

    def _fallen_back(self, instead: TravelTable, outcome: str, reason: str) -> TravelTable:
        self._count(outcome)
        return replace(instead, instead_of=f"{self._dialect.name}: {reason}")

    def _count(self, outcome: str) -> None:
        self.counts[outcome] = self.counts.get(outcome, 0) + 1


class _NotAsked(Exception):
    """The estimate is used without asking."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome


class _TimedOut(EngineFailed):
    """No answer within the limit."""


class _Lied(EngineFailed):
    """An answer that cannot be true."""


def _outcome(error: EngineFailed) -> str:
    if isinstance(error, _TimedOut):
        return "timeout"
    if isinstance(error, _Lied):
        return "lie"
    return "failed" if error.is_ill else "refused"


def lied(reason: str) -> EngineFailed:
    """For dialects: an answer that is not what the engine's documents promise."""
    return _Lied(reason)


def answered(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    """An engine's answer. Raises what ``lied`` makes of anything that is no table."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise lied("answered with something that is no table") from None


def _cells(rows: Cells, shape: tuple[int, ...]) -> FloatArray:
    """Rows of an answer as an array, None as NaN. Raises ``EngineFailed`` when they have not this shape."""
    if len(rows) != shape[0] or any(len(row) != shape[1] for row in rows):
        raise _Lied(f"answered with a table that is not {shape[0]} x {shape[1]}")
    return np.array(rows, dtype=np.float64)  # None becomes NaN


def _blocks(length: int, most: int) -> list[slice]:
    return [slice(begin, min(begin + most, length)) for begin in range(0, length, most)]


def _first(group: "ExceptionGroup[EngineFailed]") -> EngineFailed:
    """One of the failures, those that say that the engine is ill first."""
    failures = [error for error in group.exceptions if isinstance(error, EngineFailed)]
    return next((error for error in failures if error.is_ill), failures[0])
