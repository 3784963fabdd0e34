"""Bodies of registered trackers. As in ``bodies.py``."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from realtime.messages import EpochS, Id

AppName = Literal["osmand", "traccar", "owntracks", "overland", "gpslogger"]
Name = Annotated[str, Meta(max_length=64)]


class TrackerIn(Struct, frozen=True):
    """A phone's app to be registered."""

    app: AppName
    name: Name = ""
    """For people: which phone it is."""


class TrackerView(Struct, frozen=True):
    """A registered device. Its secret is never shown again."""

    device: Id
    app: AppName
    name: Name
    added_at: EpochS
    added_by: Id
    heard_at: EpochS | None
    """Null while it was not heard since the server started."""


class TrackerList(Struct, frozen=True):
    """The devices of one technician, in the order in which they were added."""

    devices: Annotated[list[TrackerView], Meta(max_length=100)]


class TrackerAdded(Struct, frozen=True):
    """A new device with what its app must be told. The secret is told this once."""

    device: Id
    app: AppName
    secret: Annotated[str, Meta(max_length=64)]
    url: Annotated[str, Meta(max_length=2_048)]
    """The server's address as the app wants it."""
    username: Annotated[str, Meta(max_length=64)]
    """Of HTTP Basic, with the secret as its password; empty where the app has none."""
    link: Annotated[str, Meta(max_length=4_096)]
    """What its QR shows."""
    opens_app: bool
    """Whether the link opens the app by itself; else the app's own scanner reads it, or it is pasted."""
