"""The life of the process and the command line: start, refusal to start, TLS, draining, revocation."""

import asyncio
import datetime
import json
import signal
import sqlite3
import ssl
from contextlib import closing
from pathlib import Path

import aiohttp
import jwt
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from cli.main import main
from dispatch.service import DispatchService
from server.app import App, StartFailed
from server.config import ConfigError, load
from server.root import DERIVED, Settings
from tests.integration.served import AUDIT, KEY, SECRET, Session, order, served

pytestmark = pytest.mark.slow
LAST_RESORT = {"DOORSTEP__SAFETY__REACH__LAST_RESORT__LOG": "true"}


def _app(folder: Path, **environ: str) -> App:
    names = {
        "DOORSTEP__HTTP__PORT": "0",
        "DOORSTEP__HUB__PORT": "0",
        "DOORSTEP__ADMIN__PORT": "0",
        "DOORSTEP__DATA_FOLDER": str(folder / "data"),
        "DOORSTEP__REALTIME__DRAIN__OVER_S": "0",
        **LAST_RESORT,
    }
    names.update({f"DOORSTEP__{name.upper()}": value for name, value in environ.items()})
    return App(load(Settings, None, names, derived=DERIVED), keys={"main": KEY}, folder=folder, audit=AUDIT)


async def test_stopping_twice_and_stopping_what_never_started_does_no_harm(tmp_path: Path) -> None:
    app = _app(tmp_path)
    await app.stop()
    app = _app(tmp_path)
    await app.start()
    await app.stop()
    await app.stop()


async def test_a_taken_port_and_a_folder_in_use_are_told_in_one_sentence(tmp_path: Path) -> None:
    first = _app(tmp_path)
    await first.start()
    try:
        port = first.http_url.rsplit(":", 1)[1]
        with pytest.raises(StartFailed, match=f"http: cannot listen on 127.0.0.1:{port}"):
            await _app(tmp_path / "b", http__port=port).start()
        with pytest.raises(StartFailed, match="data folder"):
            await _app(tmp_path).start()
    finally:
        await first.stop()


async def test_a_failed_start_leaves_the_folder_free(tmp_path: Path) -> None:
    with pytest.raises(StartFailed):
        await _app(tmp_path, http__host="203.0.113.1", trusted_proxies="[10.0.0.0/8]").start()
    app = _app(tmp_path)
    await app.start()
    await app.stop()


async def test_a_boundary_file_that_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.geojson").write_text("{")
    cities = "[{tenant: a, city: b, boundary_file: b.geojson}, {tenant: a, city: c, boundary_file: none.geojson}]"
    with pytest.raises(ConfigError) as caught:
        await _app(tmp_path, cities=cities).start()
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("listener", ["http", "hub"])
def test_a_plain_listener_beyond_loopback_needs_a_proxy(listener: str) -> None:
    name = f"DOORSTEP__{listener.upper()}__HOST"
    with pytest.raises(ConfigError, match="trusted_proxies"):
        load(Settings, None, {name: "0.0.0.0"}, derived=DERIVED)  # noqa: S104
    load(Settings, None, {name: "0.0.0.0", "DOORSTEP__TRUSTED_PROXIES": "[10.0.0.0/8]"}, derived=DERIVED)  # noqa: S104


def _certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


async def test_both_listeners_speak_tls_when_given_files(tmp_path: Path) -> None:
    _certificate(tmp_path)
    files = {f"{name}__tls_{kind}_file": f"{kind}.pem" for name in ("http", "hub") for kind in ("cert", "key")}
    app = _app(tmp_path, **files)
    await app.start()
    try:
        assert app.http_url.startswith("https://")
        assert app.hub_url.startswith("wss://")
        trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        trust.check_hostname = False
        async with aiohttp.ClientSession() as http, http.get(f"{app.http_url}/config.json", ssl=trust) as answer:
            assert answer.status == 200
        async with connect(app.hub_url, subprotocols=["doorstep.v1.json"], ssl=trust) as socket:  # type: ignore[list-item]
            await socket.send(json.dumps({"type": "hello", "device": "d", "token": "bad"}))
            assert json.loads(await socket.recv())["type"] == "error"
    finally:
        await app.stop()


async def test_while_draining_it_is_not_ready_but_still_answers(tmp_path: Path) -> None:
    async with served(tmp_path, lifecycle__unready_s="0.6") as server:
        server.app.request_stop()
        await asyncio.sleep(0.1)
        async with server.http.get(f"{server.app.admin_url}/readyz") as answer:
            assert answer.status == 503
        token = server.token("cus_1", "customer")
        assert (await server.call("POST", "/v1/orders", token, order()))[0] == 201
        assert (await server.call("POST", "/v1/sos", token, {"key": "k"}))[1]["durable"] is True


async def test_a_revoked_user_is_sent_away_at_the_signal(tmp_path: Path) -> None:
    (tmp_path / "revoked").write_text("")
    async with served(tmp_path, auth__revoked_file="revoked") as server:
        session = await server.session("cus_1", "customer")
        (tmp_path / "revoked").write_text("# leavers\ndemo/cus_1\n")
        server.app.read_again()
        with pytest.raises(ConnectionClosed) as closed:
            await session.until("never")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4510
        assert (await server.call("GET", "/v1/orders", server.token("cus_1", "customer")))[1]["code"] == "token_revoked"
        assert (await server.call("GET", "/v1/orders", server.token("cus_2", "customer")))[0] == 200


# -- the command line -----------------------------------------------------------------------------------------

ENV = {
    "DOORSTEP_JWT_SECRET": SECRET.decode(),
    "DOORSTEP_AUDIT_KEY": "kR4u7w2pX9-an-audit-key-with-enough-letters",
    **LAST_RESORT,
}


@pytest.mark.parametrize("command", ["", "serve", "demo", "replay", "token", "check-config", "print-config", "migrate"])
def test_every_command_explains_itself(command: str) -> None:
    told = CliRunner().invoke(main, [*([command] if command else []), "--help"])
    assert told.exit_code == 0, told.output
    assert "Usage:" in told.output


def test_a_wrong_config_is_told_whole_and_ends_with_two(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("hub: {prot: 1}\nhttp: {port: -1}\n")
    told = CliRunner().invoke(main, ["check-config", "-c", str(tmp_path / "c.yaml")], env=ENV)
    assert told.exit_code == 2
    assert "2 problems" in told.output
    assert "did you mean 'port'" in told.output


def test_a_good_config_is_good(tmp_path: Path) -> None:
    told = CliRunner().invoke(main, ["check-config"], env=ENV)
    assert told.exit_code == 0, told.output
    assert "demo/shenzhen" in told.output
    keyless = CliRunner().invoke(main, ["check-config"], env={"DOORSTEP_JWT_SECRET": ""})
    assert keyless.exit_code == 2
    assert "DOORSTEP_JWT_SECRET" in keyless.output
    assert CliRunner().invoke(main, ["check-config", "--without-secrets"], env=LAST_RESORT).exit_code == 0
    nobody = CliRunner().invoke(main, ["check-config", "--without-secrets"], env={})
    assert nobody.exit_code == 2
    assert "safety.reach.last_resort: nobody is named" in nobody.output


async def test_a_printed_token_works(tmp_path: Path) -> None:
    told = CliRunner().invoke(main, ["token", "--user", "cus_1", "--role", "customer"], env=ENV)
    assert told.exit_code == 0, told.output
    async with served(tmp_path) as server:
        assert (await server.call("GET", "/v1/orders", told.output.strip()))[0] == 200
    refused = CliRunner().invoke(main, ["token", "--user", "x", "--role", "king"], env=ENV)
    assert refused.exit_code == 2


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--user", ""], "sub"),
        (["--user", "u" * 65], "sub"),
        (["--user", "a\nb"], "sub"),
        (["--user", "u", "--tenant", ""], "no tenant ''"),
        (["--user", "u", "--tenant", "nobody"], "no tenant 'nobody'; known: demo"),
        (["--user", "u", "--city", "atlantis"], "no city 'atlantis'"),
        (["--user", "u", "--device", "d" * 65], "device"),
        (["--user", "u", "--life-s", "99999999"], "refuse"),
    ],
)
def test_a_token_that_the_server_would_refuse_is_not_printed(options: list[str], why: str) -> None:
    told = CliRunner().invoke(main, ["token", "--role", "customer", *options], env=ENV)
    assert told.exit_code == 2, told.output
    assert why in told.output
    assert "eyJ" not in told.output


@pytest.mark.parametrize("command", ["check-config", "serve"])
@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("http: {port: 9700}\nhub: {port: 9700}\n", "hub.port: 9700 is the port of http too"),
        ("http: {tls_cert_file: no.pem, tls_key_file: no.key}\n", "http.tls_key_file: there is no such file"),
        ("data_folder: FOLDER/c.yaml/data\n", "data_folder: cannot be a folder"),
        ("auth: {revoked_file: gone.txt}\n", "auth.revoked_file: there is no such file"),
    ],
)
def test_a_config_that_cannot_start_is_told_before_the_start(
    tmp_path: Path, command: str, config: str, problem: str
) -> None:
    file = tmp_path / "c.yaml"
    folder = "" if "data_folder" in config else f"data_folder: {tmp_path / 'data'}\n"
    file.write_text(config.replace("FOLDER", str(tmp_path)) + folder)
    told = CliRunner().invoke(main, [command, "-c", str(file)], env=ENV)
    assert told.exit_code == 2, told.output
    assert problem in told.output
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


def test_migrate_makes_the_databases(tmp_path: Path) -> None:
    env = ENV | {"DOORSTEP__DATA_FOLDER": str(tmp_path / "data")}
    told = CliRunner().invoke(main, ["migrate"], env=env)
    assert told.exit_code == 0, told.output
    assert {"doorstep.db", "safety.db", "tracks.db"} <= {path.name for path in (tmp_path / "data").iterdir()}


def test_migrate_gives_new_epochs_after_a_restore(tmp_path: Path) -> None:
    env = ENV | {"DOORSTEP__DATA_FOLDER": str(tmp_path / "data")}

    def epoch() -> object:
        with closing(sqlite3.connect(tmp_path / "data" / "doorstep.db")) as connection:
            return connection.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()

    assert CliRunner().invoke(main, ["migrate"], env=env).exit_code == 0
    before = epoch()
    assert CliRunner().invoke(main, ["migrate"], env=env).exit_code == 0
    assert epoch() == before
    told = CliRunner().invoke(main, ["migrate", "--new-epoch"], env=env)
    assert told.exit_code == 0, told.output
    assert "snapshot" in told.output
    assert epoch() != before


async def test_a_city_that_cannot_be_read_is_closed_and_an_sos_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: DispatchService) -> None:
        raise ValueError("a stored row nobody understands")

    monkeypatch.setattr(DispatchService, "load", broken)
    async with served(tmp_path) as server:
        token = server.token("cus_1", "customer")
        status, told, _ = await server.call("POST", "/v1/orders", token, order())
        assert (status, told["code"]) == (503, "unavailable")
        assert (await server.call("POST", "/v1/sos", token, {"key": "k"}))[1]["durable"] is True
        async with server.http.get(f"{server.app.admin_url}/readyz") as answer:
            assert (answer.status, await answer.text()) == (200, "ready without demo/shenzhen, other/shenzhen\n")


async def test_a_revoked_token_closes_its_session_and_no_other_of_that_user(tmp_path: Path) -> None:
    (tmp_path / "revoked").write_text("")
    async with served(tmp_path, auth__revoked_file="revoked") as server:
        kept = await server.session("cus_1", "customer")
        lost = Session(await connect(server.app.hub_url, subprotocols=["doorstep.v1.json"]))  # type: ignore[list-item]
        token = server.token("cus_1", "customer")
        await lost.send("hello", token=token, device="tablet")
        await lost.until("welcome")
        jti = jwt.decode(token, options={"verify_signature": False})["jti"]
        (tmp_path / "revoked").write_text(f"{jti}\n")
        server.app.read_again()
        with pytest.raises(ConnectionClosed) as closed:
            await lost.until("never")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4510
        assert kept.socket.state is State.OPEN


async def test_run_ends_at_sigterm(tmp_path: Path) -> None:
    app = _app(tmp_path)
    await app.run(lambda started: signal.raise_signal(signal.SIGTERM))
