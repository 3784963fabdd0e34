"""Builds the route table from what wiring gives: the one list of handlers and what each of them needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from api.app import Api
from api.arrivals import Arrivals
from api.blocks import Blocks
from api.bodies import ServedCity
from api.browser_sessions import BrowserSessions
from api.browser_sign_in import BrowserSignIn
from api.calendars import Calendars
from api.checkins import Checkins
from api.cities import Cities
from api.city_maps import CityMaps
from api.deliveries import IncidentDeliveries
from api.documents import Documents, PageFiles
from api.drills import DrillDesk
from api.emergency import Emergency
from api.exchange import Access
from api.exports import IncidentExports
from api.holds import EvidenceHolds
from api.inbound import Inbound
from api.incident_desk import IncidentDesk
from api.incidents import Incidents
from api.limits import RequestLimits
from api.listing import Exports, offer_listing, order_listing
from api.looks import Looks
from api.nearby import NearbyTechnicians
from api.offers import Offers
from api.orders import Orders
from api.origins import Origins
from api.own_data import OwnData
from api.people import People
from api.people_sos import PeopleSos
from api.phones import Phones
from api.picks import Picks
from api.ports import BrowserSessionStore, Raisers, SignOuts, Tickets, Tracks
from api.ports import Looks as LooksPort
from api.profiles import SafetyProfiles
from api.reports import Reports
from api.routes import Handlers, all_routes
from api.safety import Safety
from api.session_cookies import SessionCookies
from api.settings import ApiSettings, SignInSettings
from api.sign_in_codes import SignInCodes
from api.sign_out import SignOut
from api.site import Files, Site
from api.technicians import Technicians
from api.tracker_devices import TrackerDevices
from api.trackers import Trackers
from api.trips import SharedTrips
from api.web_settings import WebSettings
from core.clock import Clock
from core.ids import IdSource, TenantId
from dispatch.ports import DispatchStore, Listings
from geo.city import CityMap
from geo.point import Frame
from realtime.service import RealtimeService
from safety.care_service import CareService
from safety.holds import Holds
from safety.looks import LookStore
from safety.pin_desk import PinDesk
from safety.ports import SafetyStore
from safety.profiles import Profiles
from safety.second_person import SecondPerson
from safety.service import SafetyService
from trackers.counts import Counts
from trackers.ports import DeviceStore
from trackers.registry import Registry
from trackers.settings import TrackerSettings


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What the HTTP edge is connected to."""

    clock: Clock
    ids: IdSource
    tokens: Tickets
    sign_outs: SignOuts
    browser_store: BrowserSessionStore
    browsers: BrowserSessions
    cities: Cities
    maps: Mapping[TenantId, CityMap]
    hub: RealtimeService
    safety: SafetyService
    care: CareService
    inbound: Inbound
    dispatch_store: DispatchStore
    listings: Listings
    safety_store: SafetyStore
    profiles: Profiles
    pins: PinDesk
    tracks: Tracks
    raisers: Raisers
    looks: LooksPort
    look_store: LookStore
    holds: Holds
    frame: Frame
    settings: ApiSettings
    sign_in: SignInSettings
    web: WebSettings
    public_url: str
    is_secure: bool
    """Whether browsers reach the pages by TLS."""
    files: Files
    token_key: bytes
    version: str
    hub_url: Callable[[], str]
    http_url: Callable[[], str]
    tracker_registry: Registry
    tracker_store: DeviceStore
    tracker_settings: TrackerSettings
    tracker_counts: Counts
    page: Callable[[], str]
    style: str
    report_page: Callable[[dict[str, Any]], str]
    report_headers: dict[str, str]
    sos_page: PageFiles


def build_api(parts: ApiParts) -> Api:
    """The API with all of its routes."""
    documents = Documents(
        version=parts.version,
        frame=parts.frame,
        hub_url=parts.hub_url,
        page=parts.page,
        style=parts.style,
        security_contact=parts.settings.security_contact,
        sos_page=parts.sos_page,
        web=parts.web,
        emergency_number=parts.settings.emergency_number,
        cities=lambda: served_cities(parts.cities, parts.maps),
    )
    store, frame, settings = parts.dispatch_store, parts.frame, parts.settings
    exports = Exports(settings)
    people = People(parts.cities, store)
    picks = Picks(parts.token_key, settings.pick_token_life_s)
    second = SecondPerson(settings.second_person_s)
    incidents = Incidents(parts.safety, parts.safety_store, parts.looks, second, settings.fresh_sign_in_s)
    limits = RequestLimits(settings)
    technicians = Technicians(parts.cities, store, parts.tracks, parts.inbound, frame, parts.looks)
    browsers = BrowserSignIn(
        SignInCodes(parts.sign_in, parts.ids),
        parts.browsers,
        parts.browser_store,
        parts.sign_outs,
        parts.tokens,
        parts.hub,
        people,
        parts.cities,
        Origins(parts.public_url, parts.web.origins),
        SessionCookies(is_secure=parts.is_secure),
        parts.sign_in,
        settings,
        parts.http_url,
    )
    handlers = Handlers(
        orders=Orders(
            parts.cities,
            store,
            parts.tracks,
            parts.inbound,
            frame,
            order_listing(parts.listings, exports, settings),
            picks,
            settings.nearby_radius_m,
            parts.looks,
        ),
        offers=Offers(offer_listing(parts.listings, exports, settings)),
        technicians=technicians,
        nearby=NearbyTechnicians(parts.cities, frame, settings, picks, parts.looks),
        calendars=Calendars(parts.cities, parts.inbound),
        blocks=Blocks(parts.cities, store, parts.listings, parts.inbound, settings),
        desk=IncidentDesk(parts.inbound),
        safety=Safety(incidents, parts.raisers, parts.safety_store, parts.inbound, frame, settings),
        looks=Looks(parts.look_store, parts.safety),
        holds=EvidenceHolds(incidents, parts.holds),
        exports=IncidentExports(incidents, second, parts.look_store, settings.fresh_sign_in_s),
        reports=Reports(
            incidents,
            parts.safety,
            parts.safety_store,
            parts.look_store,
            parts.tracks,
            frame,
            parts.report_page,
            parts.report_headers,
        ),
        emergency=Emergency(incidents, parts.raisers, parts.tracks, parts.cities, store, parts.profiles, frame),
        deliveries=IncidentDeliveries(incidents, parts.safety, parts.safety_store),
        checkins=Checkins(parts.care, parts.inbound),
        profiles=SafetyProfiles(
            parts.profiles, parts.pins, people, parts.safety, parts.safety_store, parts.holds, parts.care
        ),
        own_data=OwnData(parts.profiles, parts.safety, parts.safety_store, parts.look_store, parts.care),
        people_sos=PeopleSos(parts.safety, people, frame),
        phones=Phones(parts.hub, parts.safety, parts.tokens, frame, parts.hub_url),
        trackers=Trackers(
            parts.tracker_registry,
            parts.hub,
            parts.safety,
            parts.cities,
            limits,
            frame,
            parts.tracker_settings,
            parts.tracker_counts,
            parts.clock.now(),
        ),
        tracker_devices=TrackerDevices(
            parts.tracker_registry, parts.tracker_store, technicians, parts.ids, parts.http_url
        ),
        trips=SharedTrips(parts.cities, parts.care, frame),
        drills=DrillDesk(parts.care, parts.inbound),
        sign_out=SignOut(parts.hub, parts.tokens, parts.sign_outs, browsers),
        browsers=browsers,
        arrivals=Arrivals(
            parts.cities, parts.care, parts.tokens, parts.sign_outs, parts.hub, parts.sign_in, parts.http_url
        ),
        maps=CityMaps(parts.maps, frame),
        site=Site(parts.files, parts.web, parts.hub_url),
        documents=documents,
    )
    is_open = parts.tracker_settings.enabled
    routes = [route for route in all_routes(handlers) if is_open or route.access is not Access.TRACKER]
    documents.routes = routes
    return Api(routes, parts.tokens, parts.clock, parts.ids, limits, settings.fresh_sign_in_s)


def served_cities(cities: Cities, maps: Mapping[TenantId, CityMap]) -> list[ServedCity]:
    """Open cities, once each: whose tenants they are is nobody's business who has not signed in."""
    found: dict[str, ServedCity] = {}
    for part in cities.all():
        city = maps[part.shard.tenant].city(part.shard.city)
        if city.is_open:
            west, south, east, north = (round(edge, 6) for edge in city.box)
            found.setdefault(
                city.city_id, ServedCity(city.city_id, city.name, part.timezone, (west, south, east, north))
            )
    return [found[city_id] for city_id in sorted(found)]
