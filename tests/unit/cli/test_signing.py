import click
import pytest

from cli.signing import cities_of, signing_key, tenant_of
from server.keys import Key
from server.root import Settings
from server.settings import Algorithm, CitySettings

SETTINGS = Settings(cities=(CitySettings("a", "shenzhen"), CitySettings("a", "beijing"), CitySettings("b", "shenzhen")))
SECRET = b"x" * 40
KEYS = {
    "old": Key("old", Algorithm.HS256, SECRET, None),
    "new": Key("new", Algorithm.HS256, SECRET, SECRET),
}


def test_a_token_is_for_the_named_tenant_and_cities_or_for_the_first_and_all() -> None:
    assert (tenant_of(SETTINGS, None), tenant_of(SETTINGS, "b")) == ("a", "b")
    assert cities_of(SETTINGS, "a", ()) == ["shenzhen", "beijing"]
    assert cities_of(SETTINGS, "a", ("beijing",)) == ["beijing"]
    with pytest.raises(click.UsageError, match="known: a, b"):
        tenant_of(SETTINGS, "c")
    with pytest.raises(click.UsageError, match="known: shenzhen"):
        cities_of(SETTINGS, "b", ("beijing",))


def test_it_is_signed_by_the_named_key_or_the_first_that_can() -> None:
    assert signing_key(KEYS, None).kid == "new"
    for kid in ("old", "none"):
        with pytest.raises(click.UsageError):
            signing_key(KEYS, kid)
