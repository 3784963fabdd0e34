"""The config file as commands take it, and how its problems are told."""

import os
import sys
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from server.config import ConfigError, load
from server.root import DERIVED, REMOVED, Settings

DEFAULT_CONFIG: Final = "config.yaml"
errors = Console(stderr=True, highlight=False)

config_option = click.option(
    "--config", "-c", "config_file", type=click.Path(path_type=Path, dir_okay=False), default=None,
    help=f"Config file. Default: {DEFAULT_CONFIG} in the working directory if there is one, else all defaults.",
)  # fmt: skip


def settings_of(config_file: Path | None) -> tuple[Settings, Path]:
    """The config and the folder where its relative paths start; tells what is wrong and exits with 2."""
    try:
        return read_settings(config_file)
    except ConfigError as error:
        stop_for(error)
        raise


def read_settings(config_file: Path | None) -> tuple[Settings, Path]:
    """The config and the folder where its relative paths start. Raises ``ConfigError``."""
    if config_file is None and Path(DEFAULT_CONFIG).is_file():
        config_file = Path(DEFAULT_CONFIG)
    folder = config_file.resolve().parent if config_file is not None else Path.cwd()
    return load(Settings, config_file, os.environ, derived=DERIVED, removed=REMOVED), folder


def stop_for(error: ConfigError) -> None:
    """Tell every problem of the config and exit with 2."""
    count = len(error.problems)
    errors.print(f"[bold red]The config has {count} {'problem' if count == 1 else 'problems'}:[/]")
    for found in error.problems:
        errors.print(f"  {found}", markup=False, soft_wrap=True)
    sys.exit(2)
