"""Mail is given to the platform's server, encrypted unless that is on this machine, and its answers are read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from safety.pages import PageOutcome
from safety.reach import EmailSettings
from tests.unit.transport.test_robots import FixedClock, message
from transport.mail import MailChannel


@dataclass
class Mailbox:
    """A mail server of this test. ``answers`` replaces what it says to a command."""

    port: int = 0
    answers: dict[str, str] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._speak(reader, writer)
        finally:
            writer.close()

    async def _speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())

        say("220 ready")
        while line := (await reader.readline()).decode().strip():
            word = line.split(" ")[0].upper()
            self.heard.append(word)
            if word in self.answers:
                say(self.answers[word])
            elif word == "DATA":
                say("354 go on")
                self.mails.append((await reader.readuntil(b"\r\n.\r\n")).decode())
                say("250 taken")
            elif word == "QUIT":
                say("221 bye")
                return
            else:
                say("250 ok")


@asynccontextmanager
async def mailbox(**answers: str) -> AsyncIterator[Mailbox]:
    box = Mailbox(answers=answers)
    server = await asyncio.start_server(box.serve, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)


def channel(box: Mailbox, host: str = "127.0.0.1", **more: Any) -> MailChannel:
    settings = EmailSettings(host=host, port=box.port, sender="alarm@doorstep.example", **more)
    return MailChannel(FixedClock(1_800_000_000.0), settings, password="p", timeout_s=1)


async def test_a_page_is_one_mail_with_the_same_id_for_each_attempt() -> None:
    async with mailbox() as box:
        for _ in range(2):
            assert await channel(box).send(message("求助: 3 楼"), dry=False) is PageOutcome.TAKEN
    assert len(box.mails) == 2
    assert all("Message-ID: <evt_1@doorstep.example>" in mail for mail in box.mails)
    assert "To: ops@example.com" in box.mails[0]


async def test_a_dry_attempt_takes_its_leave_without_a_mail() -> None:
    async with mailbox() as box:
        assert await channel(box).send(message(), dry=True) is PageOutcome.WITHHELD
    assert box.mails == []
    assert "MAIL" not in box.heard


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ({"RCPT": "550 no such user"}, PageOutcome.REFUSED),
        ({"RCPT": "450 later"}, PageOutcome.THROTTLED),
        ({"MAIL": "451 busy"}, PageOutcome.THROTTLED),
        ({"EHLO": "500 what", "HELO": "500 what"}, PageOutcome.REFUSED),
    ],
)
async def test_what_the_server_says_is_what_counts(answers: dict[str, str], outcome: PageOutcome) -> None:
    async with mailbox(**answers) as box:
        assert await channel(box).send(message(), dry=False) is outcome


async def test_nothing_goes_over_a_network_in_the_clear() -> None:
    """127.0.0.2 is no name of this machine's mail server: there STARTTLS is needed, and this one has none."""
    box = Mailbox()
    server = await asyncio.start_server(box.serve, "127.0.0.2", 0)
    box.port = server.sockets[0].getsockname()[1]
    outcome = await channel(box, host="127.0.0.2").send(message(), dry=False)
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0.01)
    assert outcome not in (PageOutcome.TAKEN, PageOutcome.WITHHELD)
    assert box.mails == []
    assert "MAIL" not in box.heard


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    async with mailbox() as box:
        pass
    assert await channel(box).send(message(), dry=False) is PageOutcome.UNREACHABLE


async def test_a_subject_is_one_line() -> None:
    mail = channel(Mailbox(port=25)).mail(message(title="SOS\r\nBcc: everybody@example.com"))
    assert mail["Bcc"] is None
    assert "\n" not in mail["Subject"]
