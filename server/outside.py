"""Everything that reaches people outside the hub, put together: channels from the config, the pager, its results."""

from collections.abc import Mapping, Sequence
from typing import Final

from core.clock import Clock
from safety.pages import Channel
from safety.reach import ReachSettings
from server.outgoing_secrets import OutgoingSecrets
from server.root import Settings
from transport.gateways import Gateway, LogChannel
from transport.mail import MailChannel
from transport.page_channel import Asker, PageChannel
from transport.robots import Robot

_PUSH_KIND: Final = "sos"
"""``type`` of what the push service gets; a wake is another."""


def make_channels(
    settings: Settings, secrets: OutgoingSecrets, asker: Asker, clock: Clock
) -> Mapping[str, PageChannel]:
    """Each channel of the config by its line, as ``transport.pager`` names them."""
    reach = settings.safety.reach
    channels: dict[str, PageChannel] = {Channel.LOG.value: LogChannel()}

    def gateway(line: str, url: str, kind: str, keys: Sequence[bytes]) -> None:
        if url:
            channels[line] = Gateway(asker, clock, url=url, kind=kind, secrets=keys)

    gateway(Channel.PUSH.value, settings.push.url, _PUSH_KIND, secrets.push)
    gateway(Channel.SMS.value, reach.sms.url, "sms", secrets.reach.get("sms", ()))
    gateway(Channel.VOICE.value, reach.voice.url, "voice", secrets.reach.get("voice", ()))
    for name, hook in reach.webhooks.items():
        gateway(f"{Channel.WEBHOOK}:{name}", hook.url, "incident", secrets.reach[f"webhooks.{name}"])
    channels |= _robots(reach, secrets, asker, clock)
    if reach.email.host:
        password = b"".join(secrets.reach.get("email", ())[:1]).decode("utf-8", "replace")
        channels[Channel.EMAIL.value] = MailChannel(
            clock, reach.email, password=password, timeout_s=reach.attempt_timeout_s
        )
    return channels


def _robots(reach: ReachSettings, secrets: OutgoingSecrets, asker: Asker, clock: Clock) -> Mapping[str, PageChannel]:
    robots = {}
    for name, robot in reach.robots.items():
        lines = [line.decode("utf-8", "replace") for line in secrets.reach[f"robots.{name}"]]
        robots[f"{Channel.ROBOT}:{name}"] = Robot(
            asker,
            clock,
            kind=robot.kind,
            token=lines[0],
            secret=lines[1] if len(lines) > 1 else "",
            mobiles=robot.mobiles,
            url=robot.url,
        )
    return robots
