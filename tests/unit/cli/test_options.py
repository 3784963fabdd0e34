"""Values of options that click would let pass, or complain of too late, and configs that commands refuse."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.main import main
from cli.options import FiniteRange, NewFile


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "0.5", "11", "x"])
def test_a_number_outside_its_range_or_none_at_all_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        FiniteRange(1, 10).convert(text, None, None)


def test_a_number_in_its_range_is_taken() -> None:
    assert FiniteRange(1, 10).convert("2.5", None, None) == 2.5


def test_a_file_to_be_written_needs_its_folder_before_the_work_begins(tmp_path: Path) -> None:
    assert NewFile().convert(str(tmp_path / "x.json"), None, None) == tmp_path / "x.json"
    with pytest.raises(click.BadParameter, match="folder of"):
        NewFile().convert(str(tmp_path / "no" / "x.json"), None, None)
    with pytest.raises(click.BadParameter):
        NewFile().convert(str(tmp_path), None, None)


@pytest.mark.parametrize(
    "words",
    [
        ["token", "-u", "a", "-r", "ops", "--life-s", "nan"],
        ["token", "-u", "a", "-r", "ops", "--life-s", "inf"],
        ["demo", "--seconds", "nan"],
        ["replay", __file__, "--speed", "nan"],
        ["replay", __file__, "--out", "/nowhere/at/all/x.json"],
    ],
)
def test_wrong_usage_is_told_before_anything_begins(words: list[str]) -> None:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2, result.output


def test_a_key_of_an_older_version_is_refused_by_the_command_too(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("travel: {utc_offset_h: 8}\n")
    result = CliRunner().invoke(main, ["check-config", "--without-secrets", "--config", str(config)])
    assert result.exit_code == 2
    assert "travel.utc_offset_h: is not a known key any more; set 'cities[].timezone' instead" in result.output
