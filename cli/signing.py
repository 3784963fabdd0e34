"""With which key, for which tenant and for which cities a command signs tokens."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from cli.config import stop_for
from server.config import ConfigError
from server.keys import Key, load_keys
from server.root import Settings


def token_keys(settings: Settings, folder: Path) -> dict[str, Key]:
    """The keys of the config; tells what is wrong and exits with 2."""
    try:
        return load_keys(settings.auth, os.environ, folder)
    except ConfigError as error:
        stop_for(error)
        raise


def tenant_of(settings: Settings, named: str | None) -> str:
    """The tenant of a token: the named one, when the config has a city of it, or the first city's."""
    known = list(dict.fromkeys(city.tenant for city in settings.cities))
    if named is None:
        if not known:
            raise click.UsageError("name a tenant: the config has no city")
        return known[0]
    if known and named not in known:
        raise click.UsageError(f"the config has no tenant {named!r}; known: {', '.join(known)}")
    return named


def cities_of(settings: Settings, tenant: str, named: Sequence[str]) -> list[str]:
    """Cities of a token: the named ones, or all of the tenant's."""
    known = [city.city for city in settings.cities if city.tenant == tenant]
    for city in named:
        if city not in known:
            raise click.UsageError(
                f"the config has no city {city!r} of tenant {tenant!r}; known: {', '.join(known) or 'none'}"
            )
    return list(named) or known


def signing_key(keys: Mapping[str, Key], kid: str | None) -> Key:
    """The named key, or the first that can sign."""
    if kid is not None and kid not in keys:
        raise click.UsageError(f"there is no key {kid!r}; known: {', '.join(keys)}")
    for key in keys.values():
        if key.signing is not None and kid in (None, key.kid):
            return key
    raise click.UsageError("no key can sign: the config names public keys only")
