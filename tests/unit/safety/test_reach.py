"""A config of channels that cannot work is refused, with the key that is wrong."""

from typing import Any

import pytest

from safety.reach import (
    EmailSettings,
    GatewaySettings,
    LastResortSettings,
    ReachSettings,
    RobotKind,
    RobotSettings,
    SafetyWebhookSettings,
    SupervisorSettings,
)

GATEWAY = GatewaySettings("https://sms.example", "X")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"push_after_s": 0.0}, "push_after_s must be between 1"),
        ({"sms_after_s": 3.0}, "sms_after_s must be more than push_after_s"),
        ({"voice_after_s": 10.0}, "voice_after_s must be more than sms_after_s"),
        ({"last_resort": LastResortSettings(phone="138")}, "last_resort.phone needs the channel sms.url or voice.url"),
        ({"last_resort": LastResortSettings(email="a@b.cn")}, "last_resort.email needs the channel email.host"),
        ({"supervisors": {"n": SupervisorSettings("demo", phone="138")}}, "supervisors.n: phone needs the channel"),
        ({"robots": {"Wrong Name": RobotSettings("demo", secret_env="X")}}, "robots: the name 'Wrong Name'"),
        ({"console_url": "console"}, "console_url must be"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ReachSettings(**changes)


@pytest.mark.parametrize(
    "build",
    [
        lambda: GatewaySettings(url="https://sms.example"),
        lambda: GatewaySettings(secret_env="X"),
        lambda: RobotSettings(tenant="demo"),
        lambda: RobotSettings(secret_env="X"),
        lambda: RobotSettings(tenant="demo", kind=RobotKind.WECOM, secret_env="X", secret_file="x"),
        lambda: EmailSettings(host="mail.example"),
        lambda: EmailSettings(host="mail.example", sender="a@b.cn", user="u"),
        lambda: SupervisorSettings(tenant="demo"),
        lambda: SupervisorSettings(tenant="demo", phone="not a phone"),
        lambda: LastResortSettings(email="nobody"),
    ],
)
def test_half_a_channel_is_refused(build: Any) -> None:
    with pytest.raises(ValueError, match=r"need|must"):
        build()


def test_somebody_must_be_left_to_call() -> None:
    assert not ReachSettings().has_last_resort
    assert ReachSettings(last_resort=LastResortSettings(log=True)).has_last_resort
    assert ReachSettings(last_resort=LastResortSettings(phone="138"), sms=GATEWAY).has_last_resort


@pytest.mark.parametrize(
    "build",
    [
        lambda tenant: RobotSettings(tenant, secret_env="X"),
        lambda tenant: SafetyWebhookSettings(tenant, url="https://guards.example/", secret_env="X"),
        lambda tenant: SupervisorSettings(tenant, phone="138"),
    ],
    ids=["robot", "webhook", "supervisor"],
)
def test_nobody_is_told_of_the_servers_own_tenants_or_of_none(build: Any) -> None:
    build("acme")
    for tenant in ("", "_doorstep"):
        with pytest.raises(ValueError, match="tenant must not"):
            build(tenant)
