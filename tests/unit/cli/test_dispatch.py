"""``doorstep dispatch``: exit codes and what is said."""

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from cli.main import main
from dispatch.model import StoredRound
from dispatch.ports import DispatchChanges
from store.sqlite import open_stores
from tests.contract.store_values import CountedIds, ManualClock
from tests.unit.dispatch.day import busy_day
from tests.unit.dispatch.world import SHARD, T0


def store(folder: Path, stored: Sequence[StoredRound]) -> None:
    """Make a data folder that holds these rounds."""

    async def write() -> None:
        stores = open_stores(folder, ManualClock(T0), CountedIds())
        await stores.start()
        try:
            await stores.dispatch.commit(SHARD, DispatchChanges(rounds=list(stored)), (), T0)
        finally:
            await stores.stop()

    asyncio.run(write())


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["dispatch", "replay", *map(str, arguments)])


@pytest.fixture(scope="module")
def day() -> Sequence[StoredRound]:
    return busy_day(40, seed=2).ledger.rounds


def test_rounds_that_come_out_again_end_with_0(tmp_path: Path, day: Sequence[StoredRound]) -> None:
    store(tmp_path, day)
    told = run("--data", tmp_path)
    assert told.exit_code == 0, told.output
    decisions = sum(len(stored.orders) for stored in day)
    assert f"{decisions} decisions of {len(day)} rounds were made again.\nNo difference.\n" in told.output
    report = json.loads(run("--data", tmp_path, "--json").output)
    assert report == {
        "rounds": len(day),
        "decisions": decisions,
        "without_decision": 0,
        "without_seal": 0,
        "differences": [],
    }


def test_one_edited_input_ends_with_1_and_names_the_round(tmp_path: Path, day: Sequence[StoredRound]) -> None:
    edited = replace(day[3], inputs=day[4].inputs)
    store(tmp_path, [*day[:3], edited, *day[4:]])
    told = run("--data", tmp_path)
    assert told.exit_code == 1
    assert edited.round_id in told.output
    report = json.loads(run("--data", tmp_path, "--json").output)
    assert {found["round_id"] for found in report["differences"]} == {edited.round_id}
    assert "inputs" in {found["what"] for found in report["differences"]}


def test_rounds_are_chosen_by_time_city_and_number(tmp_path: Path, day: Sequence[StoredRound]) -> None:
    store(tmp_path, day)
    middle = day[len(day) // 2].at

    def count(*arguments: object) -> int:
        return int(json.loads(run("--data", tmp_path, "--json", *arguments).output)["rounds"])

    assert count("--from", middle) == sum(stored.at >= middle for stored in day)
    assert count("--to", middle) == sum(stored.at <= middle for stored in day)
    assert count("--limit", 5) == 5
    assert count("--city", SHARD.city, "--tenant", SHARD.tenant) == len(day)
    assert count("--city", SHARD.city, "--to", 1.0) == 0
    assert "There are no such rounds." in run("--data", tmp_path, "--to", 1.0).output


@pytest.mark.parametrize("command", ["replay", "shadow"])
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--city", "typo"), "no city 'typo' is known here; known are: hz"),
        (("--tenant", "typo"), "no tenant 'typo' is known here; known are: acme"),
        (("--tenant", "acme", "--city", "HZ"), "no city 'HZ' is known here; known are: hz"),
    ],
)
def test_a_city_or_tenant_that_is_not_known_is_wrong_usage(
    tmp_path: Path, day: Sequence[StoredRound], command: str, arguments: tuple[str, ...], told: str
) -> None:
    store(tmp_path, day[:2])
    config = tmp_path / "doorstep.yaml"
    config.write_text("dispatch: {shadow: {name: far}}\n")
    found = CliRunner().invoke(main, ["dispatch", command, "-c", str(config), "--data", str(tmp_path), *arguments])
    assert found.exit_code == 2
    assert told in " ".join(found.output.replace("│", " ").split())


def test_an_edit_in_the_database_ends_with_1(tmp_path: Path, day: Sequence[StoredRound]) -> None:
    store(tmp_path, day[:3])
    assert run("--data", tmp_path).exit_code == 0
    with closing(sqlite3.connect(tmp_path / "doorstep.db")) as database, database:
        (body,) = database.execute("select body from rounds where round_id = ?", (day[1].round_id,)).fetchone()
        plain = msgspec.msgpack.decode(body)
        plain["decision"]["pairs"][0]["made"] = False
        changed = msgspec.msgpack.encode(plain)
        database.execute("update rounds set body = ? where round_id = ?", (changed, day[1].round_id))
    told = run("--data", tmp_path, "--json")
    assert told.exit_code == 1
    assert [(d["round_id"], d["what"]) for d in json.loads(told.output)["differences"]] == [(day[1].round_id, "seal")]


def test_a_folder_without_a_database_is_wrong_usage(tmp_path: Path) -> None:
    told = run("--data", tmp_path)
    assert told.exit_code == 2
    assert "there is no doorstep.db" in told.output
    (tmp_path / "doorstep.db").write_bytes(b"not a database, but long enough to be read as one" * 100)
    assert run("--data", tmp_path).exit_code == 2
    assert run("--since", "yesterday").exit_code == 2


@pytest.mark.parametrize(
    "edit",
    [
        "update rounds set city = 'sh' where round_id = ?",
        "update rounds set at = at + 1 where round_id = ?",
        "update round_orders set order_id = 'ord_x' where round_id = ?",
        "delete from round_orders where round_id = ?",
    ],
)
def test_a_round_that_is_found_under_another_name_than_its_own_ends_with_1(
    tmp_path: Path, day: Sequence[StoredRound], edit: str
) -> None:
    store(tmp_path, day[:3])
    with closing(sqlite3.connect(tmp_path / "doorstep.db")) as database, database:
        database.execute(edit, (day[1].round_id,))
    told = run("--data", tmp_path, "--json")
    assert told.exit_code == 1
    assert [(d["round_id"], d["what"]) for d in json.loads(told.output)["differences"]] == [(day[1].round_id, "filing")]


def test_a_time_that_was_edited_in_the_last_round_of_a_page_does_not_begin_anew(tmp_path: Path) -> None:
    stored = [replace(busy_day(1, seed=1).ledger.rounds[0], round_id=f"rnd_{n:03}", at=T0 + n) for n in range(101)]
    store(tmp_path, stored)
    with closing(sqlite3.connect(tmp_path / "doorstep.db")) as database, database:
        (body,) = database.execute("select body from rounds where round_id = 'rnd_099'").fetchone()
        changed = msgspec.msgpack.encode(msgspec.msgpack.decode(body) | {"at": 1.0})
        database.execute("update rounds set body = ? where round_id = 'rnd_099'", (changed,))
    assert json.loads(run("--data", tmp_path, "--json", "--limit", 300).output)["rounds"] == 101


def test_a_shadow_policy_is_compared_and_must_be_named(tmp_path: Path, day: Sequence[StoredRound]) -> None:
    store(tmp_path, day)
    config = tmp_path / "doorstep.yaml"

    def compared(shadow: str) -> Result:
        config.write_text(f"dispatch: {{shadow: {shadow}}}\n")
        return CliRunner().invoke(main, ["dispatch", "shadow", "-c", str(config), "--data", str(tmp_path), "--json"])

    unnamed = compared("{}")
    assert (unnamed.exit_code, "dispatch.shadow.name" in unnamed.output) == (2, True)
    report = json.loads(compared("{name: far, idle_max_s: 0, rating_max_s: 0, tier_factor: 0}").output)
    assert (report["name"], report["rounds"]) == ("far", len(day))
    assert report["same"] + report["other"] + report["live_only"] + report["shadow_only"] == report["orders"]
    assert report["shadow_travel_s"] <= report["live_travel_s"], "without head starts the nearest is chosen"
