"""A real server in a process of its own, with a fresh data folder and keys made at the start.

For the demo, replays, benches and tests that need what ``doorstep serve`` runs and nothing less.
"""

import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Self

import yaml

from core.principal import Role
from server.keys import Key
from server.root import HubSettings
from server.settings import Algorithm, AuthSettings
from server.system import SystemClock, SystemIds, random_key
from server.tokens import issue

SECRET_ENV: Final = "DOORSTEP_JWT_SECRET"  # noqa: S105  # the name of the variable, not a secret
AUDIT_KEY_ENV: Final = "DOORSTEP_AUDIT_KEY"
LOG_TAIL_BYTES: Final = 4_000
FILES_MAX: Final = 65_536
_PR_SET_PDEATHSIG: Final = 1


class ServerFailed(RuntimeError):
    """The server did not start, or died; holds the end of its log."""


def free_port(wanted: int = 0, host: str = "127.0.0.1") -> int:
    """``wanted`` if nobody has it, else any free one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ServerFailed(f"no free port on {host}")


def _end_with_parent() -> None:
    """In the child: be stopped when whoever started it dies without a word (prctl(2), PR_SET_PDEATHSIG; Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def raise_file_limit() -> int:
    """Let this process and its children hold as many sockets as the system allows; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, FILES_MAX) if hard != resource.RLIM_INFINITY else FILES_MAX
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def world_boundary(city: str) -> dict[str, Any]:
    """A city without an outside, for replays of traces from anywhere."""
    ring = [[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]
    properties = {"kind": "city", "id": city, "name": "World"}
    feature = {"type": "Feature", "properties": properties, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    return {"type": "FeatureCollection", "features": [feature]}


@dataclass(frozen=True, slots=True)
class LocalCity:
    """A city of the server.

    Attributes:
        boundary: A GeoJSON file, or the GeoJSON itself.
    """

    city: str
    boundary: Path | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """What the process has used so far."""

    cpu_s: float
    rss_kib: int


REACH: Final = {"last_resort": {"log": True}, "synthetic": {"first_s": 86_400.0}}
"""Nobody is called, and nothing is stored that a test or a bench did not ask for."""


class LocalServer:
    """Starts ``doorstep serve`` as a child process; use as a context manager.

    Args:
        cities: Cities of the one tenant.
        overrides: Config sections merged over the defaults made here.
        http_port: Wanted ports; a free one is taken instead of one in use (0 for any).
        folder: Data and config; a temporary one that goes with the server by default. Give one to restart on.
    """

    tenant: Final = "demo"
    command: ClassVar[Sequence[str]] = ("-m", "cli.main", "serve")

    def __init__(
        self,
        cities: Sequence[LocalCity],
        overrides: Mapping[str, Any] | None = None,
        *,
        http_port: int = 0,
        hub_port: int = 0,
        folder: Path | None = None,
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="doorstep-") if folder is None else None
        self.folder = folder or Path(self._temporary.name if self._temporary else "")
        self.http_port, self.hub_port, self.admin_port = free_port(http_port), free_port(hub_port), free_port()
        self._cities = cities
        self._overrides = dict(overrides or {})
        self._secret = self._load_secret("secret")
        self._audit_key = self._load_secret("audit_key")
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self.folder / "server.log"
        self._clock, self._ids = SystemClock(), SystemIds()
        self._auth = AuthSettings()

    # -- addresses and tokens -------------------------------------------------------------------------

    @property
    def http_url(self) -> str:
        """Base of the HTTP listener."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def hub_url(self) -> str:
        """The WebSocket listener."""
        return f"ws://127.0.0.1:{self.hub_port}{HubSettings().path}"

    @property
    def admin_url(self) -> str:
        """Metrics and health."""
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def pid(self) -> int:
        """Process id. Raises ``ServerFailed`` when it does not run."""
        if self._process is None:
            raise ServerFailed("the server is not running")
        return self._process.pid

    def token(self, user: str, role: Role | str, *, roles: Sequence[Role] = (), life_s: float = 86_400.0) -> str:
        """A token of this server's own key, good for all its cities."""
        key = Key("main", Algorithm.HS256, self._secret, self._secret)
        cities = [c.city for c in self._cities]
        return issue(
            key, self._auth, self._clock, self._ids, user=user, role=Role(role), tenant=self.tenant,
            cities=cities, roles=roles, life_s=life_s,
        )  # fmt: skip

    def _load_secret(self, name: str) -> bytes:
        path = self.folder / name
        if not path.exists():
            path.write_bytes(random_key(32).hex().encode())
        return path.read_bytes()

    # -- life -----------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Start it and wait until it is ready."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it and remove the temporary folder."""
        self.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    def write_config(self) -> Path:
        """The config file this server starts with."""
        cities = []
        for city in self._cities:
            boundary = city.boundary
            if isinstance(boundary, Mapping):
                boundary = self.folder / f"{city.city}.geojson"
                boundary.write_text(json.dumps(city.boundary))
            cities.append({"tenant": self.tenant, "city": city.city, "boundary_file": str(boundary)})
        config: dict[str, Any] = {
            "http": {"port": self.http_port},
            # All of the load comes from this one address.
            "hub": {"port": self.hub_port, "connections_max": 100_000, "connections_per_address_max": 100_000},
            "admin": {"port": self.admin_port},
            "auth": {"keys": {"main": {"algorithm": "HS256", "secret_env": SECRET_ENV}}},
            "data_folder": str(self.folder / "data"),
            # Nobody waits for a load balancer to notice.
            "realtime": {"drain": {"over_s": 0.5, "reconnect_min_ms": 100, "reconnect_spread_ms": 500}},
            "lifecycle": {"requests_s": 1.0},
            # Small: many of these may lie on one disk.
            "safety": {"journal": {"size_mib": 1, "reserve_mib": 1}, "reach": REACH},
            "cities": cities,
        }
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(merged(config, self._overrides)))
        return path

    def start(self, *, timeout_s: float = 30.0) -> None:
        """Start the process in this process's group and wait until it answers ready.

        Raises:
            ServerFailed: It ended, or was not ready in time; with the end of its log.
        """
        raise_file_limit()
        config = self.write_config()
        environ = {**os.environ, SECRET_ENV: self._secret.decode(), AUDIT_KEY_ENV: self._audit_key.decode()}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                [sys.executable, *self.command, "--config", str(config)],
                stdout=log,
                stderr=log,
                env=environ,
                preexec_fn=_end_with_parent,
            )
        deadline = self._clock.monotonic() + timeout_s
        while not self._is_ready():
            if self._process.poll() is not None:
                raise ServerFailed(f"the server ended with {self._process.returncode}:\n{self.log_tail()}")
            if self._clock.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"the server was not ready after {timeout_s:g} s:\n{self.log_tail()}")
            try:
                self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue

    def _is_ready(self) -> bool:
        request = f"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{self.admin_port}\r\nConnection: close\r\n\r\n"
        try:
            with socket.create_connection(("127.0.0.1", self.admin_port), timeout=1.0) as connection:
                connection.sendall(request.encode())
                return connection.recv(64).split(b" ")[1:2] == [b"200"]
        except OSError:
            return False

    def stop(self, *, timeout_s: float = 20.0) -> int:
        """SIGTERM and wait; SIGKILL after ``timeout_s``. Returns the exit code. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.terminate()
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def kill(self) -> None:
        """SIGKILL, as a crash. ``start`` brings it back on the same folder and ports."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def log_tail(self) -> str:
        """The end of what it wrote."""
        if not self._log.exists():
            return ""
        return self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    def usage(self) -> Usage:
        """CPU seconds and resident memory of the process so far.

        Source: proc(5), /proc/pid/stat fields 14 and 15 (clock ticks), /proc/pid/status VmRSS.
        """
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        fields = stat[stat.rindex(")") + 2 :].split()
        ticks = int(fields[11]) + int(fields[12])
        status = Path(f"/proc/{self.pid}/status").read_text()
        rss = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return Usage(ticks / os.sysconf("SC_CLK_TCK"), int(rss.split()[1]))


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``over`` laid on it, section by section."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result
