from pathlib import Path

import pytest
from doorstep_client.outbox import Outbox
from doorstep_client.sos import KeptTap

TAP = KeptTap("k", 1.5, {"lat": 22.5, "note": "help"}, "e1", "inc_1")


def test_what_was_written_is_read_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "deep" / "sos.json")
    assert outbox.read() == []
    outbox.write([TAP, KeptTap("k2", 2.0)])
    outbox.write([TAP])
    assert Outbox(tmp_path / "deep" / "sos.json").read() == [TAP]
    assert (tmp_path / "deep" / "sos.json").stat().st_mode & 0o077 == 0
    assert len(list((tmp_path / "deep").iterdir())) == 1


def test_a_damaged_file_is_put_aside_and_said(tmp_path: Path) -> None:
    path = tmp_path / "sos.json"
    path.write_bytes(b'[{"key": 7}]')
    with pytest.raises(ValueError, match="put aside as sos"):
        Outbox(path).read()
    assert Outbox(path).read() == []
    assert (tmp_path / "sos.json.damaged").read_bytes() == b'[{"key": 7}]'


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "sos.json")
    outbox.write([TAP])
    (tmp_path / "sos.json.new").mkdir()
    with pytest.raises(OSError, match=r"sos\.json\.new"):
        outbox.write([])
    assert outbox.read() == [TAP]
