import json

import pytest
from click.testing import CliRunner, Result

from cli import sim as command
from cli.main import main
from sim.policies.table import REFERENCE, Figures, Policy, Row


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["sim", "policies", *arguments])


def reference_table(days: int, _seed: int, _progress: object) -> list[Row]:
    nothing = Figures(0.0, 0.0, 0.0)
    return [Row(drivers, policy, figures, nothing) for (drivers, policy), figures in REFERENCE.items()]


def test_json_is_a_list_of_rows_and_nothing_else() -> None:
    done = run("--table", "xu2018", "--days", "1", "--seed", "3", "--json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert [(row["drivers"], row["policy"]) for row in rows] == [
        (drivers, policy) for drivers in (25, 50, 75, 100) for policy in ("greedy", "batched", "batched2")
    ]
    assert {tuple(row) for row in rows} == {("drivers", "policy", "served", "pickup", "wait")}
    assert all(0 < row["served"] <= 1 and 0 <= row["pickup"] <= 2 and row["wait"] >= row["pickup"] for row in rows)


def test_the_table_fits_eighty_columns_and_names_every_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "table", reference_table)
    lines = run("--table", "xu2018").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    (row,) = [line.split() for line in lines if line.split()[:2] == ["75", "batched"]]
    assert row[2:] == ["0.887", "±.000", "0.932", "±.000", "1.034", "±.000", "0.887", "0.932", "1.034"]
    assert sum(policy in line.split() for line in lines for policy in Policy) == 12


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--table"),
        (["--table", "manhattan"], "xu2018"),
        (["--table", "xu2018", "--days", "0"], "1<=x<=10000"),
        (["--table", "xu2018", "--days", "10001"], "1<=x<=10000"),
        (["--table", "xu2018", "--seed", "-1"], "0<=x<=4294967295"),
        (["--table", "xu2018", "--days", "199", "--check"], "--days 200"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_expected(arguments: list[str], told: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert told in done.stderr


def test_a_check_fails_with_1_when_the_figures_are_not_the_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "table", reference_table)
    assert run("--table", "xu2018", "--check", "--json").exit_code == 0

    def worse(days: int, seed: int, progress: object) -> list[Row]:
        rows = reference_table(days, seed, progress)
        return [Row(25, Policy.GREEDY, Figures(0.5, 1.397, 2.0), rows[0].error), *rows[1:]]

    monkeypatch.setattr(command, "table", worse)
    done = run("--table", "xu2018", "--check", "--json")
    assert done.exit_code == 1
    assert "25 drivers, greedy: served 0.5000" in done.stderr
    assert len(json.loads(done.stdout)) == 12
