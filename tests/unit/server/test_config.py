"""The config: what it accepts, and how well it explains what it does not."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from server.config import ConfigError, hints, load, walk
from server.root import DERIVED, REMOVED, HubSettings, Settings
from server.settings import CitySettings, HttpSettings, LogSettings


@dataclass(frozen=True, slots=True)
class _Bounds:
    low: int = 1
    """Low."""
    high: int = 9
    """High."""

    def __post_init__(self) -> None:
        if not 0 <= self.low <= 100:
            raise ValueError(f"must be between 0 and 100, is {self.low}")
        if self.low > self.high:
            raise ValueError(f"low must not be above high, is {self.low}")


@dataclass(frozen=True, slots=True)
class _Tree:
    http: HttpSettings = field(default_factory=HttpSettings)
    hub: HubSettings = field(default_factory=HubSettings)
    log: LogSettings = field(default_factory=LogSettings)
    bounds: _Bounds = _Bounds()
    names: tuple[str, ...] = ()
    """Names."""
    cities: tuple[CitySettings, ...] = ()
    """Cities."""
    speeds: dict[str, float] = field(default_factory=dict)
    """Speeds."""
    ratio: float = 0.5
    """Ratio."""


def _load(tmp_path: Path, text: str, **env: str) -> _Tree:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return load(_Tree, file, env)


def _problems(tmp_path: Path, text: str, **env: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text, **env)
    return [str(problem).replace(str(tmp_path), "DIR") for problem in caught.value.problems]


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert _load(tmp_path, "") == _Tree()


def test_values_from_the_file_are_typed(tmp_path: Path) -> None:
    tree = _load(tmp_path, "hub: {port: 9000}\nnames: [a, b]\nspeeds: {car: 7}\nlog: {level: debug}\nratio: 1\n")
    assert tree.hub.port == 9000
    assert tree.names == ("a", "b")
    assert tree.speeds == {"car": 7.0}
    assert tree.log.level.value == "debug"
    assert isinstance(tree.ratio, float)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    env = {"DOORSTEP__HUB__PORT": "9001", "DOORSTEP__NAMES": "[x]", "DOORSTEP__SPEEDS__BIKE": "3.5", "OTHER": "1"}
    tree = _load(tmp_path, "hub: {port: 9000}\n", **env)
    assert (tree.hub.port, tree.names, tree.speeds) == (9001, ("x",), {"bike": 3.5})


def test_text_from_the_environment_stays_text(tmp_path: Path) -> None:
    assert _load(tmp_path, "", DOORSTEP__HUB__HOST="127").hub.host == "127"


def test_an_unknown_key_names_file_path_and_the_nearest_key(tmp_path: Path) -> None:
    assert _problems(tmp_path, "hub: {prot: 1}\n") == [
        "DIR/config.yaml: hub.prot: is not a known key; did you mean 'port'?"
    ]


def test_a_wrong_type_says_what_was_expected(tmp_path: Path) -> None:
    assert _problems(tmp_path, "hub: {port: many}\n") == [
        "DIR/config.yaml: hub.port: must be a whole number, is 'many'"
    ]


def test_true_is_not_a_number(tmp_path: Path) -> None:
    assert len(_problems(tmp_path, "hub: {port: true}\nratio: true\n")) == 2


def test_not_a_number_is_refused(tmp_path: Path) -> None:
    assert _problems(tmp_path, "ratio: .nan\n") == ["DIR/config.yaml: ratio: must be a number, is NaN"]


def test_a_value_out_of_range_is_named_even_when_the_check_does_not_say_the_field(tmp_path: Path) -> None:
    assert _problems(tmp_path, "bounds: {low: 400, high: 500}\n") == [
        "DIR/config.yaml: bounds.low: must be between 0 and 100, is 400"
    ]


def test_keys_that_are_only_right_together_are_judged_together(tmp_path: Path) -> None:
    assert _load(tmp_path, "bounds: {low: 20, high: 30}\n").bounds == _Bounds(20, 30)


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    text = "hub: {port: 70000, hots: x}\nhttp: {body_bytes_max: 1, idle_timeout_s: 0}\nlog: {level: debgu}\nnope: 1\n"
    found = _problems(tmp_path, text)
    assert len(found) == 6
    assert any("did you mean 'debug'" in line for line in found)


def test_a_problem_from_the_environment_names_the_variable(tmp_path: Path) -> None:
    assert _problems(tmp_path, "", DOORSTEP__HUB__PORT="x") == [
        "DOORSTEP__HUB__PORT: hub.port: must be a whole number, is 'x'"
    ]


@pytest.mark.parametrize("text", ["travel: {utc_offset_h: 8}", ""])
def test_a_key_of_an_older_version_names_the_key_that_took_its_place(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    environ = {} if text else {"DOORSTEP__TRAVEL__UTC_OFFSET_H": "-5"}
    with pytest.raises(ConfigError) as caught:
        load(Settings, file, environ, derived=DERIVED, removed=REMOVED)
    (problem,) = caught.value.problems
    assert problem.path == "travel.utc_offset_h"
    assert problem.text == "is not a known key any more; set 'cities[].timezone' instead"


def test_keys_that_were_removed_are_gone_and_those_in_their_place_exist() -> None:
    paths = {path for path, _ in walk(Settings())} | {f"cities[].{name}" for name in hints(CitySettings)}
    assert REMOVED.keys().isdisjoint(paths)
    assert set(REMOVED.values()) <= paths


def test_an_unknown_variable_with_our_prefix_is_refused(tmp_path: Path) -> None:
    assert len(_problems(tmp_path, "", DOORSTEP__HUBB__PORT="1")) == 1
    assert len(_problems(tmp_path, "", DOORSTEP__HUB__PORT__DEEP="1")) == 1


def test_a_repeated_key_is_refused(tmp_path: Path) -> None:
    assert "given twice" in _problems(tmp_path, "hub: {port: 1}\nhub: {port: 2}\n")[0]


@pytest.mark.parametrize("text", ["[1, 2]", "hub: [", "hub: 3", "names: x", "cities: [3]", "speeds: [1]"])
def test_text_that_is_no_config_is_a_named_problem(tmp_path: Path, text: str) -> None:
    assert len(_problems(tmp_path, text)) == 1


def test_a_missing_file_is_a_named_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(_Tree, tmp_path / "none.yaml", {})


def test_an_item_of_a_list_is_named_by_its_place(tmp_path: Path) -> None:
    text = "cities:\n- {tenant: a, city: b, boundary_file: c}\n- {tenant: a, city: b, opne: true}\n"
    found = _problems(tmp_path, text)
    assert any("cities.1.opne" in line and "'open'" in line for line in found)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DOORSTEP_HUB__PORT", "DOORSTEP__HUB__PORT"),
        ("DOORSTEP_HUB__PROT", "DOORSTEP__HUB__PORT"),
        ("DOORSTEP_SPEEDS__CAR", "DOORSTEP__SPEEDS__CAR"),
        ("DOORSTEP_CITIES__0__TENANT", "DOORSTEP__CITIES__0__TENANT"),
        ("DOORSTEP_HUB__PORT__DEEP", "DOORSTEP__HUB__PORT__DEEP"),
    ],
)
def test_a_variable_with_one_underscore_too_few_is_told_with_the_right_name(
    tmp_path: Path, name: str, meant: str
) -> None:
    assert _problems(tmp_path, "", **{name: "1"}) == [f"{name}: is not read; did you mean {meant}?"]


@pytest.mark.parametrize(
    "name",
    ["DOORSTEP_JWT_SECRET", "DOORSTEP_FAULT_SEED", "DOORSTEP_OTHER__PORT", "DOORSTEP_HUB", "DOORSTEPS_HUB__PORT"],
)
def test_other_variables_of_a_similar_name_are_left_alone(tmp_path: Path, name: str) -> None:
    assert _load(tmp_path, "", **{name: "1"}) == _Tree()


def test_a_variable_that_the_config_names_holds_a_secret_and_is_no_mistake(tmp_path: Path) -> None:
    text = "auth: {keys: {main: {secret_env: DOORSTEP_AUTH__KEY}}}\n"
    (tmp_path / "config.yaml").write_text(text)
    environ = {"DOORSTEP_AUTH__KEY": "x" * 32}
    assert load(Settings, tmp_path / "config.yaml", environ).auth.keys["main"].secret_env == "DOORSTEP_AUTH__KEY"
    with pytest.raises(ConfigError, match="DOORSTEP_AUTH__KEY: is not read; did you mean DOORSTEP__AUTH__KEYS"):
        load(Settings, None, environ)


@pytest.mark.parametrize("text", ["a: &a [*a]", "number: " + "[" * 3_000 + "]" * 3_000], ids=["itself", "deep"])
def test_what_has_no_end_is_one_problem(tmp_path: Path, text: str) -> None:
    (problem,) = _problems(tmp_path, text)
    assert problem == "DIR/config.yaml: is nested too deeply, or refers to itself"


def test_broken_yaml_is_told_by_its_place_in_the_file(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, "a: [1\nb: 2")
    assert "unicode string" not in problem
    assert "line 2" in problem


def test_a_check_of_several_sections_names_the_whole_key(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("hub: {host: 0.0.0.0}")
    with pytest.raises(ConfigError) as caught:
        load(Settings, file, {}, derived=DERIVED)
    (problem,) = caught.value.problems
    assert problem.path == "hub.host"
    assert problem.text.startswith("'0.0.0.0' is reachable from outside without TLS")


def test_a_city_is_never_one_of_the_servers_own_tenant(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, "cities:\n- {tenant: _doorstep, city: b}\n")
    assert "tenant must not begin with _, which is reserved for the server: '_doorstep'" in problem
