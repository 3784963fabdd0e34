"""One change after the other, for each thing."""

import asyncio

import pytest

from api.turns import TURNS_WAITING_MAX, Turns
from core.errors import Unavailable


def test_turns_of_one_key_follow_each_other_and_others_do_not_wait() -> None:
    turns: Turns[str] = Turns()
    told: list[str] = []
    turns.take("a", lambda: told.append("a1"))
    turns.take("a", lambda: told.append("a2"))
    turns.take("b", lambda: told.append("b1"))
    assert told == ["a1", "b1"]
    turns.end("a")
    assert told == ["a1", "b1", "a2"]
    turns.end("a")
    turns.end("b")
    assert len(turns) == 0


def test_who_asks_without_end_is_refused() -> None:
    turns: Turns[str] = Turns()
    for _ in range(1 + TURNS_WAITING_MAX):
        turns.take("a", lambda: None)
    with pytest.raises(Unavailable) as caught:
        turns.take("a", lambda: None)
    assert caught.value.code == "overloaded"
    turns.take("b", lambda: None)


async def test_who_goes_away_while_waiting_holds_up_nobody() -> None:
    turns: Turns[str] = Turns()
    told: list[str] = []

    async def act(name: str) -> None:
        async with turns.taken("a"):
            told.append(name)
            await asyncio.sleep(0)

    turns.take("a", lambda: None)
    tasks = [asyncio.ensure_future(act(name)) for name in ("first", "second", "third")]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    turns.end("a")  # the second's turn, in the moment in which it goes away
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert told == ["third"]
    assert len(turns) == 0
