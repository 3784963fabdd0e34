"""What can be known to fail before anything is opened: listeners, files and folders that the config names.

``check-config`` and the start ask the same questions here. Nothing is written, made or locked.
"""

import os
from itertools import combinations
from pathlib import Path
from typing import Final

from server.config import ConfigError, Problem
from server.http import tls_context
from server.root import Settings

_SOURCE: Final = "config"
_LOOPBACK: Final = "127.0.0.1"
_ANY_V4: Final = "0.0.0.0"  # noqa: S104 - compared, not bound
_ANY_V6: Final = "::"


def check_start(settings: Settings, folder: Path) -> None:
    """Find what would keep a server with these settings from starting.

    Args:
        settings: The whole config.
        folder: Where relative paths of files start; ``data_folder`` starts at the working directory.

    Raises:
        ConfigError: All problems at once. A port that another program holds is found only by listening.
    """
    problems = [
        *_listeners(settings),
        *_tls(settings, folder),
        *_revoked_file(settings, folder),
        *_last_resort(settings),
    ]
    why = _unfit_folder(Path(settings.data_folder))
    if why:
        problems.append(Problem(_SOURCE, "data_folder", why))
    if problems:
        raise ConfigError(problems)


def _listeners(settings: Settings) -> list[Problem]:
    places = [
        ("http", settings.http.host, settings.http.port),
        ("hub", settings.hub.host, settings.hub.port),
        ("admin", settings.admin.host, settings.admin.port),
    ]
    return [
        Problem(_SOURCE, f"{name}.port", f"{port} is the port of {other} too, on the same address; give it another")
        for (other, other_host, other_port), (name, host, port) in combinations(places, 2)
        if port == other_port != 0 and _overlap(host, other_host)
    ]


def _overlap(one: str, other: str) -> bool:
    """Whether both hosts take the same address of this machine, as far as their text tells."""
    hosts = {_LOOPBACK if host == "localhost" else host for host in (one, other)}
    if len(hosts) == 1 or "" in hosts:
        return True
    is_v6 = {":" in host for host in hosts}
    return len(is_v6) == 1 and bool(hosts & {_ANY_V4, _ANY_V6})


def _tls(settings: Settings, folder: Path) -> list[Problem]:
    problems: list[Problem] = []
    for name, section in (("http", settings.http), ("hub", settings.hub)):
        files = {"tls_cert_file": section.tls_cert_file, "tls_key_file": section.tls_key_file}
        unfit = {key: why for key, file in files.items() if file and (why := _unfit_file(folder / file))}
        problems.extend(Problem(_SOURCE, f"{name}.{key}", why) for key, why in unfit.items())
        if unfit or not section.tls_cert_file:
            continue
        try:
            tls_context(str(folder / section.tls_cert_file), str(folder / section.tls_key_file))
        except OSError as error:
            problems.append(Problem(_SOURCE, f"{name}.tls_cert_file", f"does not work with its key: {error}"))
    return problems


def _revoked_file(settings: Settings, folder: Path) -> list[Problem]:
    name = settings.auth.revoked_file
    why = _unfit_file(folder / name) if name else ""
    return [Problem(_SOURCE, "auth.revoked_file", why)] if why else []


def _last_resort(settings: Settings) -> list[Problem]:
    if settings.safety.reach.has_last_resort:
        return []
    why = "nobody is named: give a phone, an email or `log: true`; they are called when nobody else can be reached"
    return [Problem(_SOURCE, "safety.reach.last_resort", why)]


def _unfit_file(path: Path) -> str:
    """Why the file cannot be read; empty when it can."""
    if not os.path.lexists(path):
        return f"there is no such file: {path}"
    if not os.path.isfile(path):
        return f"is not a file: {path}"
    return "" if os.access(path, os.R_OK) else f"cannot be read: {path}"


def _unfit_folder(path: Path) -> str:
    """Why the folder cannot be made or written; empty when it can."""
    there = path.absolute()
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not os.path.isdir(there):
        return f"cannot be a folder: {there} is not one"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{'cannot be written' if there == path.absolute() else 'cannot be made'}: no right to write in {there}"
    return ""
