"""What programs that take pages are told, and how they know that it is us."""

import json

import pytest

from safety.pages import PageOutcome
from tests.unit.transport.test_robots import Asked, FixedClock, message
from tests.unit.webhooks.test_signature import verifier
from transport.gateways import SMS_LEN_MAX, Gateway, LogChannel
from webhooks.model import Answer, Outcome

SECRET = b"s" * 32


def gateway(asker: Asked, kind: str = "sms") -> Gateway:
    return Gateway(asker, FixedClock(1_800_000_000.0), url="https://sms.example/", kind=kind, secrets=(SECRET,))


def test_the_body_is_signed_with_its_time_and_old_or_forged_ones_are_told_apart() -> None:
    headers, body = gateway(Asked()).request(message())
    signature = headers["Doorstep-Signature"]
    assert verifier()(signature, body, SECRET, now=1_800_000_000.0)
    assert not verifier()(signature, body, SECRET, now=1_800_000_301.0)
    assert not verifier()(signature, body + b" ", SECRET, now=1_800_000_000.0)
    assert not verifier()(signature, body, b"t" * 32, now=1_800_000_000.0)
    assert headers["Doorstep-Delivery"] == json.loads(body)["id"] == "evt_1"


def test_a_short_message_is_short_and_another_system_gets_all_of_it() -> None:
    long = message("x" * 2_000)
    _, body = gateway(Asked()).request(long)
    assert len(json.loads(body)["text"]) == SMS_LEN_MAX
    _, body = gateway(Asked(), "incident").request(long)
    assert json.loads(body)["text"] == long.text
    assert json.loads(body)["incidents"] == ["inc_1"]


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.DELIVERED, PageOutcome.TAKEN),
        (Outcome.GONE, PageOutcome.REFUSED),
        (Outcome.FORBIDDEN_ADDRESS, PageOutcome.FORBIDDEN_ADDRESS),
        (Outcome.TIMEOUT, PageOutcome.TIMEOUT),
    ],
)
async def test_what_a_gateway_answers(outcome: Outcome, expected: PageOutcome) -> None:
    class Answering(Asked):
        async def ask(self, url: str, headers: object, body: bytes) -> Answer:
            return Answer(outcome)

    assert await gateway(Answering()).send(message(), dry=False) is expected


async def test_a_dry_attempt_posts_nothing() -> None:
    asker = Asked()
    assert await gateway(asker).send(message(), dry=True) is PageOutcome.WITHHELD
    assert (asker.said, asker.reached_urls) == ([], ["https://sms.example/"])


async def test_the_log_gets_ids_and_no_names(caplog: pytest.LogCaptureFixture) -> None:
    assert await LogChannel().send(message("Anna, 1 Long Lane"), dry=True) is PageOutcome.WITHHELD
    assert caplog.records == []
    assert await LogChannel().send(message("Anna, 1 Long Lane"), dry=False) is PageOutcome.TAKEN
    assert caplog.records[0].levelname == "CRITICAL"
    assert "Anna" not in str(caplog.records[0].__dict__)
