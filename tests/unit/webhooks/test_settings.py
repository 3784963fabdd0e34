"""Endpoints that cannot be told anything safely are refused at the start."""

import pytest

from webhooks.settings import EndpointSettings, WebhookSettings


def one(url: str, **changes: object) -> WebhookSettings:
    endpoint = EndpointSettings(tenant="demo", url=url, secret_env="X")
    return WebhookSettings(endpoints={"a": endpoint}, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    ["", "http://example.com/", "ftp://example.com/", "https://", "https://u:p@example.com/", "https://example.com/#x"],
)
def test_a_url_that_is_not_encrypted_or_not_whole_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"endpoints\.a\.url"):
        one(url)


def test_plain_http_is_for_hosts_that_are_named() -> None:
    one("http://hooks.internal:8080/x", private_hosts=("hooks.internal",))
    one("https://example.com/x?y=1")


@pytest.mark.parametrize("name", ["", "A", "a b", "x" * 33, "-a"])
def test_a_name_stands_in_logs_and_labels_so_it_is_plain(name: str) -> None:
    endpoint = EndpointSettings(tenant="demo", url="https://example.com", secret_env="X")
    with pytest.raises(ValueError, match="small letters"):
        WebhookSettings(endpoints={name: endpoint})


def test_an_endpoint_needs_a_tenant_events_and_one_place_of_its_secret() -> None:
    for wrong in ({"tenant": ""}, {"tenant": "_doorstep"}, {"events": ()}, {"secret_env": ""}, {"secret_file": "x"}):
        given = {"tenant": "demo", "url": "https://example.com", "secret_env": "X", **wrong}
        with pytest.raises(ValueError):  # noqa: PT011 - five sentences
            EndpointSettings(**given)  # type: ignore[arg-type]
