"""What keeps a server from starting is told before it starts, and asking leaves no traces."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from safety.reach import LastResortSettings, ReachSettings
from safety.settings import SafetySettings
from server.config import ConfigError
from server.preflight import check_start
from server.root import HubSettings, Settings
from server.settings import AdminSettings, HttpSettings


def _settings(tmp_path: Path, **changes: Any) -> Settings:
    proxies = ("10.0.0.0/8",)
    safety = SafetySettings(reach=ReachSettings(last_resort=LastResortSettings(log=True)))
    good = Settings(data_folder=str(tmp_path / "a" / "data"), trusted_proxies=proxies, safety=safety)
    return replace(good, **changes)


def _keys(tmp_path: Path, **changes: Any) -> list[str]:
    try:
        check_start(_settings(tmp_path, **changes), tmp_path)
    except ConfigError as error:
        return [problem.path for problem in error.problems]
    return []


def test_a_good_config_is_good_and_nothing_is_made(tmp_path: Path) -> None:
    assert _keys(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("127.0.0.1", "127.0.0.1", True), ("localhost", "127.0.0.1", True), ("0.0.0.0", "127.0.0.1", True),  # noqa: S104 - compared, not bound
        ("::", "::1", True), ("127.0.0.1", "127.0.0.2", False), ("0.0.0.0", "::1", False), ("", "::1", True),  # noqa: S104
    ],
)  # fmt: skip
def test_two_listeners_cannot_share_a_port_of_one_address(tmp_path: Path, one: str, other: str, clash: bool) -> None:
    for first, second in ((one, other), (other, one)):
        found = _keys(tmp_path, http=HttpSettings(host=first, port=9000), hub=HubSettings(host=second, port=9000))
        assert found == (["hub.port"] if clash else [])


def test_each_listener_may_take_any_free_port(tmp_path: Path) -> None:
    assert _keys(tmp_path, http=HttpSettings(), hub=HubSettings(port=0), admin=AdminSettings(port=0)) == []
    assert _keys(tmp_path, admin=AdminSettings(port=8080)) == ["admin.port"]


def test_tls_files_must_be_there_and_hold_a_certificate(tmp_path: Path) -> None:
    (tmp_path / "cert").write_text("no certificate")
    (tmp_path / "folder").mkdir()
    tls: dict[str, Any] = {"tls_cert_file": "cert", "tls_key_file": "cert"}
    assert _keys(tmp_path, http=HttpSettings(**tls)) == ["http.tls_cert_file"]
    assert _keys(tmp_path, hub=HubSettings(**tls | {"tls_key_file": "gone"})) == ["hub.tls_key_file"]
    assert _keys(tmp_path, hub=HubSettings(**tls | {"tls_cert_file": "folder"})) == ["hub.tls_cert_file"]


def test_a_data_folder_that_cannot_be_made_or_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for name in ("file", "file/data", "nowhere/data"):
        assert _keys(tmp_path, data_folder=str(tmp_path / name)) == ["data_folder"]
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(ConfigError, match=f"cannot be made: no right to write in {tmp_path}"):
        check_start(_settings(tmp_path), tmp_path)
    with pytest.raises(ConfigError, match=f"cannot be written: no right to write in {tmp_path}"):
        check_start(_settings(tmp_path, data_folder=str(tmp_path)), tmp_path)


def test_somebody_must_be_named_who_is_called_when_nobody_else_can_be(tmp_path: Path) -> None:
    assert _keys(tmp_path, safety=SafetySettings()) == ["safety.reach.last_resort"]
