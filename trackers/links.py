"""What is typed or scanned to set an app up: its address, and the link that the app itself understands."""

import base64
import json
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from trackers.model import App, Device

PATH: Final = "/in/{app}"
_FIELDS_OF: Final = {
    # OsmAnd fills {0} to {6} in; it sends m/s whatever Traccar takes it for.
    App.OSMAND: "lat={0}&lon={1}&timestamp={2}&hdop={3}&altitude={4}&speed={5}&bearing={6}&spd_unit=ms",
    App.GPSLOGGER: "lat=%LAT&lon=%LON&timestamp=%TIMESTAMP&acc=%ACC&spd=%SPD&dir=%DIR&alt=%ALT&batt=%BATT",
}
_TRACCAR: Final = {"accuracy": "high", "interval": 10, "distance": 10, "buffer": "true"}
_OWNTRACKS_HTTP: Final = 3
_OWNTRACKS_MOVE: Final = 2


@dataclass(frozen=True, slots=True)
class Setup:
    """How an app is set up.

    Attributes:
        url: What stands in the app as the server's address.
        link: What its QR shows.
        opens_app: Whether the link opens the app by itself; else it is read by the app's own scanner, or pasted.
        username: Of HTTP Basic; ``""`` where the app has none.
    """

    url: str
    link: str
    opens_app: bool
    username: str = ""


def setup_of(device: Device, secret: str, http_url: str) -> Setup:
    """The set-up of one device.

    Args:
        device: As it was registered.
        secret: Its secret, told this once.
        http_url: Where phones reach the HTTP listener, without a slash at its end.
    """
    url = http_url + PATH.format(app=device.app.value)
    match device.app:
        case App.OSMAND | App.GPSLOGGER:
            whole = f"{url}?id={secret}&{_FIELDS_OF[device.app]}"
            return Setup(whole, whole, opens_app=False)
        case App.TRACCAR:
            return Setup(url, f"{url}?{urlencode({'id': secret, **_TRACCAR})}", opens_app=False)
        case App.OVERLAND:
            asked = urlencode({"url": url, "token": secret, "device_id": device.device})
            return Setup(url, f"overland://setup?{asked}", opens_app=True)
        case App.OWNTRACKS:
            said = {
                "_type": "configuration",
                "mode": _OWNTRACKS_HTTP,
                "monitoring": _OWNTRACKS_MOVE,
                "url": url,
                "auth": True,
                "username": device.device,
                "password": secret,
                "deviceId": "phone",
                "tid": device.technician[-2:],
                "cmd": True,
                "remoteConfiguration": True,
            }
            inline = base64.b64encode(json.dumps(said, separators=(",", ":")).encode()).decode()
            return Setup(url, f"owntracks:///config?{urlencode({'inline': inline})}", True, device.device)
