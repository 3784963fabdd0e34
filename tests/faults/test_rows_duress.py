"""Row 71: the right PIN, the one for duress and the last wrong one of too many are not to be told apart.

Time is compared by two tests of two samples, Mann-Whitney (is one slower?) and Kolmogorov-Smirnov (is one spread
otherwise?), on a server in a process of its own. Both must find nothing, and both must find 2 ms added to one side.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import pytest
from scipy.stats import ks_2samp, mannwhitneyu

from core.principal import Role
from sim.local_server import LocalCity, LocalServer, world_boundary
from tests.faults.town import CITY, Town

pytestmark = [pytest.mark.slow, pytest.mark.alone]
RIGHT, DURESS, WRONG = "482193", "730568", "915204"
LAST: Final = {"right": RIGHT, "duress": DURESS, "third wrong": WRONG}
"""The PIN that is compared."""
OVERRIDES: Final[dict[str, Any]] = {
    # Hashing is made cheap here, so that thousands fit: what is tested is what stands behind it.
    "safety": {
        "pins": {"memory_kib": 8, "passes": 1, "answer_after_s": 0.06},
        "level_1_after_s": 3_600.0, "level_2_after_s": 3_600.0, "level_3_after_s": 3_600.0, "repeat_s": 3_600.0,
        "commit_wait_s": 5.0,
    },
    "api": {"requests_per_s": 10_000.0, "requests_burst": 100_000},
}  # fmt: skip
ALIKE_P_MIN: Final = 0.001
"""Below it two samples count as different: once in 500 runs of two tests by chance alone."""
PLANTED_S: Final = 0.002


@asynccontextmanager
async def town() -> AsyncIterator[Town]:
    with LocalServer([LocalCity(CITY, world_boundary(CITY))], OVERRIDES) as server:
        yield Town(server)


class Person:
    """Somebody with PINs who has tapped SOS."""

    def __init__(self, town: Town, http: aiohttp.ClientSession, user: str) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {town.server.token(user, Role.CUSTOMER)}", "X-Request-Id": "r" * 20}
        self.incident = ""

    async def tap(self) -> None:
        profile = {"pins": {"pin": RIGHT, "duress_pin": DURESS}}
        async with self._http.put("/v1/me/safety", json=profile, headers=self._headers) as answer:
            assert answer.status == 200, await answer.text()
        async with self._http.post("/v1/sos", json={"key": "k"}, headers=self._headers) as answer:
            self.incident = (await answer.json())["incident"]

    async def take_back(self, pin: str) -> tuple[float, bytes]:
        """Seconds until the answer, and all of its bytes but the date, with the incident's id made equal."""
        began = time.perf_counter()
        path = f"/v1/sos/{self.incident}/cancel"
        async with self._http.post(path, json={"pin": pin}, headers=self._headers) as answer:
            body = await answer.read()
            took_s = time.perf_counter() - began
            head = b"\r\n".join(name + b": " + value for name, value in answer.raw_headers if name != b"Date")
            whole = b"%d\r\n%s\r\n%s" % (answer.status, head, body)
            return took_s, whole.replace(self.incident.encode(), b"INCIDENT")


async def measured(
    town: Town, count: int, kinds: tuple[str, ...], *, wrong_before: int, workers: int = 3
) -> dict[str, list[float]]:
    """Times of each kind in random turns; asserts that all answers are the same bytes."""
    turns = [kind for kind in kinds for _ in range(count)]
    random.Random(71).shuffle(turns)
    waiting = iter(enumerate(turns))
    times_s: dict[str, list[float]] = {kind: [] for kind in kinds}
    answers: set[bytes] = set()

    async def work(http: aiohttp.ClientSession) -> None:
        for number, kind in waiting:
            person = Person(town, http, f"cus_{number}")
            await person.tap()
            for _ in range(wrong_before):  # of each kind: what came before must not be what is measured
                assert b"pin_wrong" in (await person.take_back(WRONG))[1]
            took_s, answer = await person.take_back(LAST[kind])
            times_s[kind].append(took_s)
            answers.add(answer)

    # A connection was used before it is measured.
    async with aiohttp.ClientSession(town.server.http_url) as http, asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work(http))
    assert len(answers) == 1, answers
    return times_s


def p_values(first: list[float], second: list[float]) -> tuple[float, float]:
    """Of Mann-Whitney and of Kolmogorov-Smirnov, both two-sided."""
    return float(mannwhitneyu(first, second).pvalue), float(ks_2samp(first, second).pvalue)


def check_alike(times_s: dict[str, list[float]], detected_p_max: float) -> None:
    right = times_s["right"]
    for kind in sorted(set(times_s) - {"right"}):
        other = times_s[kind]
        alike, planted = p_values(right, other), p_values(right, [took_s + PLANTED_S for took_s in other])
        medians = [f"{sorted(times)[len(times) // 2] * 1e3:.3f}" for times in (right, other)]
        print(
            f"right and {kind}: n = {len(right)} and {len(other)}, medians {' and '.join(medians)} ms; p = "
            f"{alike[0]:.3f} (Mann-Whitney), {alike[1]:.3f} (Kolmogorov-Smirnov); with 2 ms planted {planted[0]:.1e}, "
            f"{planted[1]:.1e}"
        )
        assert min(alike) > ALIKE_P_MIN, (kind, alike)
        assert max(planted) < detected_p_max, (kind, planted)


async def test_row_71_the_three_are_answered_with_the_same_bytes_at_the_same_time() -> None:
    async with town() as place, place.console():
        check_alike(await measured(place, 120, tuple(LAST), wrong_before=2), detected_p_max=0.001)


@pytest.mark.full
@pytest.mark.timeout(900)
async def test_row_71_two_thousand_of_each_are_not_to_be_told_apart() -> None:
    async with town() as place, place.console(), place.console("ops_2"):
        check_alike(await measured(place, 2_000, ("right", "duress"), wrong_before=0), detected_p_max=1e-9)


async def test_row_71_nothing_else_that_the_person_hears_differs() -> None:
    """Their own socket, from the PIN until well after everybody else was told: frame by frame."""
    heard: dict[str, list[str]] = {}
    asked: dict[str, list[Any]] = {}
    kept: dict[str, int] = {}
    async with town() as place, place.console() as ops:
        for nth, (kind, pin) in enumerate(LAST.items()):
            user = f"cus_{nth}"
            async with (
                place.session(user, Role.CUSTOMER) as phone,
                aiohttp.ClientSession(place.server.http_url) as http,
            ):
                person = Person(place, http, user)
                await person.tap()
                await ops.until("incident", incident=person.incident)
                for _ in range(2 if kind == "third wrong" else 0):
                    await person.take_back(WRONG)
                await asyncio.sleep(0.3)
                await _ping(phone, 1)
                await phone.until("ping_ack", seq=1)
                phone.seen.clear()
                await phone.send("sos.cancel", ref="c", incident=person.incident, pin=pin)
                reader = asyncio.create_task(_frames(phone.socket, 2.5))
                changed = "incident.update" if kind == "right" else "incident"
                await ops.until(changed, incident=person.incident)  # the others do hear of it
                if kind == "right":  # somebody reached them and ended it: their phone must not show that either
                    note = {"text": "is well", "call_to": "subject", "outcome": "reached"}
                    await place.call("POST", f"/v1/incidents/{person.incident}/note", "ops_1", Role.OPS, note)
                    end = {"disposition": "false_accident", "note": "a mistake"}
                    path = f"/v1/incidents/{person.incident}/resolve"
                    status, told = await place.call("POST", path, "ops_1", Role.OPS, end)
                    assert (status, told["result"]["state"]) == (200, "resolved"), told
                for seq in (2, 3):
                    await _ping(phone, seq)
                    await asyncio.sleep(0.3)
                frames = await reader
                asked[kind] = _about_positions(frames)
                await asyncio.sleep(1.0)  # until positions are written
                path = f"/v1/incidents/{person.incident}/trail"
                kept[kind] = len((await place.call("GET", path, "ops_1", Role.OPS))[1]["points"])
                for key in ("k", "k2", "k2", None):  # repeated after a reconnect, tapped anew, without a key
                    body = {} if key is None else {"key": key}
                    for _ in range(2):
                        frames.append((await place.post(user, json.dumps(body).encode()))[1])
                heard[kind] = [_plain(frame, person.incident) for frame in frames if frame["type"] != "ping_ack"]
    assert heard["right"]
    assert heard["right"] == heard["duress"] == heard["third wrong"], heard
    assert asked["right"] == asked["duress"] == asked["third wrong"] == [{"live": 2}, 3], asked
    assert kept == {"right": 1, "duress": 3, "third wrong": 3}, "the trail goes on unsaid, and ends unsaid"


async def _ping(phone: Any, seq: int) -> None:
    now = time.time()
    await phone.send("ping", seq=seq, fixed_at=now, sent_at=now, lat=31.2, lng=121.4, accuracy_m=10)


def _about_positions(frames: list[dict[str, Any]]) -> list[Any]:
    """What all acknowledgements say together, how they fall into frames being a matter of the tick."""
    acks = [frame for frame in frames if frame["type"] == "ping_ack"]
    verdicts: dict[str, int] = {}
    for ack in acks:
        for word, number in ack["verdicts"].items():
            verdicts[word] = verdicts.get(word, 0) + number
    return [verdicts, acks[-1]["stored_seq"]]


async def _frames(socket: Any, seconds: float) -> list[dict[str, Any]]:
    frames = []
    try:
        async with asyncio.timeout(seconds):
            while True:
                frames.append(json.loads(await socket.recv()))
    except TimeoutError:
        return frames


def _plain(frame: dict[str, Any], incident: str) -> str:
    plain = {name: value for name, value in frame.items() if not name.endswith("_at")}
    return json.dumps(plain, sort_keys=True).replace(incident, "INCIDENT")
