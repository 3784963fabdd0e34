"""Pages by e-mail, over SMTP: STARTTLS on 587, TLS from the first byte on 465, plain only to this machine."""

import ssl
from email.message import EmailMessage
from email.utils import formatdate
from typing import Final

import aiosmtplib

from core.clock import Clock
from safety.page_text import PageMessage
from safety.pages import PageOutcome
from safety.reach import EmailSettings

TLS_PORT: Final = 465
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class MailChannel:
    """Gives each page to the platform's mail server; a connection for each, because they are rare and must be fresh."""

    def __init__(
        self,
        clock: Clock,
        settings: EmailSettings,
        *,
        password: str,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``tls`` replaces the system's trust, for tests."""
        self._clock = clock
        self._settings = settings
        self._password = password
        self._timeout_s = timeout_s
        self._tls = tls

    async def send(self, message: PageMessage, *, dry: bool) -> PageOutcome:
        """See the port. Dry, it signs in and takes its leave."""
        try:
            async with self._client() as server:
                if self._settings.user:
                    await server.login(self._settings.user, self._password)
                if dry:
                    return PageOutcome.WITHHELD
                await server.send_message(self.mail(message))
        except aiosmtplib.SMTPTimeoutError:
            return PageOutcome.TIMEOUT
        except (aiosmtplib.SMTPConnectError, aiosmtplib.SMTPServerDisconnected, OSError):
            return PageOutcome.UNREACHABLE
        except aiosmtplib.SMTPRecipientsRefused as error:
            return _outcome(min((one.code for one in error.recipients), default=500))
        except aiosmtplib.SMTPResponseException as error:
            return _outcome(error.code)
        except aiosmtplib.SMTPException:
            return PageOutcome.FAILED
        return PageOutcome.TAKEN

    def _client(self) -> aiosmtplib.SMTP:
        settings = self._settings
        is_tls = settings.port == TLS_PORT
        return aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            timeout=self._timeout_s,
            use_tls=is_tls,
            # Never in the clear over a network: no STARTTLS, no mail.
            start_tls=None if is_tls or settings.host in _LOCAL else True,
            tls_context=self._tls,
        )

    def mail(self, message: PageMessage) -> EmailMessage:
        """One page as a mail. A repeated attempt has the same Message-ID."""
        mail = EmailMessage()
        mail["From"] = self._settings.sender
        mail["To"] = message.email
        mail["Subject"] = " ".join(message.title.split())
        mail["Date"] = formatdate(self._clock.now())
        mail["Message-ID"] = f"<{message.event_id}@{self._settings.sender.rpartition('@')[2]}>"
        mail["X-Priority"] = "1"
        mail.set_content(message.text)
        return mail


def _outcome(code: int) -> PageOutcome:
    """What an answer of the server means: 4xx is for now, 5xx for good."""
    return PageOutcome.REFUSED if code >= 500 else PageOutcome.THROTTLED
