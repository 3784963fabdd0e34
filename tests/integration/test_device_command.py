"""`doorstep device` at a running server: what it shows is what the phone needs."""

import asyncio
import re
from pathlib import Path

import pytest
import segno
from click.testing import CliRunner, Result

from cli.device import drawn
from cli.main import main
from tests.integration.served import CITY, LAT, LNG, SECRET, Served, served

pytestmark = pytest.mark.slow
CLEAR = {"█": (0, 0), "▀": (0, 1), "▄": (1, 0), " ": (1, 1)}


async def command(server: Served, *arguments: str) -> Result:
    environ = {"DOORSTEP_JWT_SECRET": SECRET.decode()}
    given = ["device", arguments[0], "--url", server.app.http_url, *arguments[1:]]
    return await asyncio.to_thread(CliRunner().invoke, main, given, env=environ)


async def test_an_app_is_registered_listed_and_taken_back(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        record = {"name": "Name", "cities": [CITY], "verified": True}
        await server.call("PUT", "/v1/technicians/tec_1", server.token("prog", "service"), record)
        added = await command(server, "add", "tec_1", "--app", "osmand", "--name", "hers")
        assert added.exit_code == 0, added.output
        tracker = re.search(r"trk_[\w-]+", added.output)
        address = re.search(r"^address +(\S+)$", added.output, re.MULTILINE)
        assert tracker is not None
        assert address is not None
        assert address[1].startswith(f"{server.app.http_url}/in/osmand?id=trs_")
        assert "▄" in added.output
        url = address[1].replace("{0}", str(LAT)).replace("{1}", str(LNG)).replace("{2}", "1700000000000")
        async with server.http.get(re.sub(r"{\d}", "1", url)) as answer:
            assert (answer.status, await answer.read()) == (200, b"")
        listed = await command(server, "list", "tec_1")
        assert re.search(
            rf"{tracker[0]}  osmand +added \S+ \S+Z by doorstep-cli, heard \S+ \S+Z  hers", listed.output
        ), listed.output
        for said in ("Removed.", "There was none."):
            assert (await command(server, "remove", "tec_1", tracker[0])).output == f"{said}\n"
        assert (await command(server, "list", "tec_1")).output == "None.\n"


async def test_what_the_server_refuses_is_said_and_ends_with_1(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        refused = await command(server, "add", "tec_nobody", "--app", "osmand")
        assert (refused.exit_code, refused.output) == (1, "Error: 404 not_found: there is no such technician\n")
        bad = await command(server, "add", "a/b", "--app", "osmand")
        assert bad.exit_code == 2


def test_the_drawn_code_is_the_code() -> None:
    link = "overland://setup?url=https%3A%2F%2Fexample.org%2Fin%2Foverland&token=trs_0123456789abcdefghij"
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in drawn(link).splitlines()]
    rows = [[CLEAR[sign][half] for sign in line] for line in lines for half in (0, 1)]
    wanted = [[int(bit) for bit in row] for row in segno.make(link, error="l", micro=False).matrix_iter(border=2)]
    assert rows[: len(wanted)] == wanted
    assert not any(any(row) for row in rows[len(wanted) :])
