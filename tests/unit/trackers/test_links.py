import base64
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from core.ids import DeviceId, TenantId, UserId
from trackers.credentials import hash_of, secret_in_head
from trackers.gpslogger import read_gpslogger
from trackers.links import setup_of
from trackers.model import App, Device
from trackers.osmand import read_osmand

SECRET = "trs_abcdefghijklmnopqrst"
URL = "https://hub.example.org"


def device(app: App) -> Device:
    return Device(TenantId("t"), DeviceId("trk_1"), UserId("tec_12"), app, "", hash_of(SECRET), 0.0, UserId("ops"))


def test_overland_is_set_up_by_its_own_link() -> None:
    setup = setup_of(device(App.OVERLAND), SECRET, URL)
    assert setup.link == (
        "overland://setup?url=https%3A%2F%2Fhub.example.org%2Fin%2Foverland&token=trs_abcdefghijklmnopqrst&device_id=trk_1"
    )
    assert setup.opens_app


def test_owntracks_is_set_up_by_a_whole_configuration() -> None:
    setup = setup_of(device(App.OWNTRACKS), SECRET, URL)
    parts = urlsplit(setup.link)
    assert (parts.scheme, parts.netloc, parts.path) == ("owntracks", "", "/config")
    said = json.loads(base64.b64decode(parse_qs(parts.query)["inline"][0]))
    assert said["_type"] == "configuration"
    assert (said["mode"], said["url"], said["auth"]) == (3, f"{URL}/in/owntracks", True)
    assert (said["username"], said["password"], said["tid"]) == ("trk_1", SECRET, "12")
    assert setup.username == "trk_1"


def test_traccar_reads_address_and_id_from_what_it_scans() -> None:
    parts = urlsplit(setup_of(device(App.TRACCAR), SECRET, URL).link)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{URL}/in/traccar"
    assert parse_qs(parts.query)["id"] == [SECRET]


@pytest.mark.parametrize("app", [App.OSMAND, App.GPSLOGGER])
def test_an_address_with_its_placeholders_filled_in_is_a_point_that_we_read(app: App) -> None:
    setup = setup_of(device(app), SECRET, URL)
    values = {
        "{0}": "60.0", "{1}": "30.0", "{2}": "1700000000000", "{3}": "2", "{4}": "10", "{5}": "3", "{6}": "90",
        "%LAT": "60.0", "%LON": "30.0", "%TIMESTAMP": "1700000000", "%ACC": "10", "%SPD": "3", "%DIR": "90",
        "%ALT": "10", "%BATT": "80",
    }  # fmt: skip
    query = urlsplit(setup.url).query
    for name, value in values.items():
        query = query.replace(name, value)
    read = read_osmand if app is App.OSMAND else read_gpslogger
    (found,) = read(query, b"", 1_700_000_001.0, 10).readings
    assert (found.fixed_at, found.lat, found.lng, found.accuracy_m, found.speed_mps, found.heading_deg) == (
        1_700_000_000.0, 60.0, 30.0, 10.0, 3.0, 90.0
    )  # fmt: skip
    assert secret_in_head(query, {}) == SECRET
