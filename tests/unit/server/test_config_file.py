"""``config.yaml`` at the root is what the dataclasses say."""

from itertools import pairwise
from pathlib import Path

import yaml

from server.config import load, walk
from server.config_file import render
from server.root import DERIVED, Settings

ROOT = Path(__file__).parents[3]


def test_the_file_at_the_root_is_the_printed_default() -> None:
    assert (ROOT / "config.yaml").read_text() == render(Settings(), DERIVED), (
        "run `doorstep print-config --default > config.yaml`"
    )


def test_the_printed_default_gives_the_defaults_again() -> None:
    assert load(Settings, ROOT / "config.yaml", {}, derived=DERIVED) == Settings()


def test_every_key_has_a_comment_above_it() -> None:
    lines = (ROOT / "config.yaml").read_text().splitlines()
    for above, line in pairwise(lines):
        if line.strip() and not line.lstrip().startswith(("#", "-")) and ": " in line:
            key = line.strip().split(":")[0]
            under_a_mapping = key in {"gold", "silver", "main"}
            assert above.lstrip().startswith("#") or under_a_mapping or above.rstrip().endswith(":"), line


def test_every_setting_is_in_the_file() -> None:
    printed = yaml.safe_load((ROOT / "config.yaml").read_text())
    for path, _ in walk(Settings()):
        if path in DERIVED:
            continue
        node = printed
        for part in path.split("."):
            assert part in node, path
            node = node[part]
