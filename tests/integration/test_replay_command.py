"""`doorstep replay` of files that hold nothing to replay."""

from pathlib import Path

import pytest

from sim.replay_session import Target, replay
from sim.traces import TraceFormat, UnknownTrace, parse_columns


async def test_files_without_any_vehicle_are_refused_before_a_server_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("time,lat,lng,id\n")

    def token(user: str, role: object) -> str:
        raise AssertionError("nobody needs a token")

    with pytest.raises(UnknownTrace, match="no vehicle with a readable fix"):
        await replay(
            [path],
            Target("http://127.0.0.1:9", "ws://127.0.0.1:9", token),
            speed=60,
            kind=TraceFormat.CSV,
            columns=parse_columns("time=time,lat=lat,lng=lng,id=id"),
        )
