"""kill -9 of an application that reports positions: what it was told to be in the file is there, no number repeats."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from doorstep_client.ping_file import PingFile

ROOT = Path(__file__).resolve().parents[2]
APP = """
import asyncio, sys, time
from pathlib import Path
from doorstep_client.connection import Client
from doorstep_client.ping_buffer import Fix
from doorstep_client.ping_file import PingFile

async def main(path):
    async with Client("ws://127.0.0.1:9", token="t", device="d", ping_file=PingFile(Path(path))) as client:
        while True:
            seqs = [client.ping(Fix(31.2, 121.4, time.time())) for _ in range(7)]
            print("used", seqs[-1], flush=True)
            assert await client.pings_written()
            print("written", seqs[-1], seqs[0], flush=True)

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.slow
async def test_over_several_kills_nothing_written_is_lost_and_no_number_comes_twice(tmp_path: Path) -> None:
    path = tmp_path / "pings"
    written: set[int] = set()
    used_max = -1
    for life in range(4):
        app = await asyncio.create_subprocess_exec(
            sys.executable, "-c", APP, str(path),
            stdout=subprocess.PIPE, env={"PYTHONPATH": str(ROOT / "clients" / "python")},
        )  # fmt: skip
        assert app.stdout is not None
        firsts = []
        for n in range(30 + 7 * life):
            what, *numbers = (await app.stdout.readline()).decode().split()
            if what == "written":
                firsts.append(int(numbers[1]))
                written |= set(range(int(numbers[1]), int(numbers[0]) + 1))
            if n == 0:
                assert int(numbers[0]) - 6 > used_max
            used_max = max(used_max, int(numbers[0]))
        app.kill()
        rest, _ = await app.communicate()
        for line in rest.decode().splitlines(keepends=True):
            if line.endswith("\n"):
                used_max = max(used_max, int(line.split()[1]))
        kept = PingFile(path).read()
        assert written <= {seq for seq, _ in kept.rows}
        assert kept.next_seq is not None
        assert kept.next_seq > used_max
    assert len(written) > 300
