"""The route table: every path with who may call it, what it takes and what it answers. The documents come from it."""

from dataclasses import dataclass
from typing import Final

from api import bodies, care_bodies, incident_bodies, safety_bodies, sign_in_bodies
from api.arrivals import Arrivals
from api.blocks import Blocks
from api.browser_sign_in import BrowserSignIn
from api.calendars import Calendars
from api.checkins import Checkins
from api.city_maps import CityMaps
from api.deliveries import Deliveries, IncidentDeliveries
from api.documents import Documents
from api.drills import DrillDesk
from api.emergency import Emergency
from api.errors import Problem as Problem
from api.exchange import Access, Param, Route
from api.exports import AllowExportIn, ExportIn, ExportList, ExportView, IncidentExports
from api.holds import EvidenceHolds, HoldIn, HoldView
from api.incident_desk import IncidentDesk
from api.looks import Looks
from api.nearby import NearbyTechnicians
from api.offers import Offers
from api.orders import Orders
from api.own_data import OwnData
from api.people_sos import PeopleSos
from api.phones import Phones
from api.profiles import SafetyProfiles
from api.reports import IncidentReport, Reports
from api.safety import IncidentPage, Safety
from api.sign_out import SignOut
from api.site import Site
from api.technicians import Technicians
from api.tracker_devices import TrackerDevices
from api.tracker_routes import tracker_device_routes, tracker_routes
from api.trackers import Trackers
from api.trips import SharedTrips
from core.principal import Role
from realtime.messages import CancellationView, IncidentUpdate, IncidentView, OrderView, PingAck, SosAck

TECHNICIAN: Final = Role.TECHNICIAN
CUSTOMER: Final = Role.CUSTOMER
OPS: Final = Role.OPS
RESPONDER: Final = Role.RESPONDER
SERVICE: Final = Role.SERVICE
ANYONE: Final = frozenset(Role)
TOLD: Final = frozenset({Role.OPS, Role.RESPONDER, Role.TECHNICIAN})
"""Whom an incident may reach: a technician may have consented to help, and has no other role for it."""
TOLD_SCOPE: Final = "ops: of their cities and without one; responder and technician: those they were told of"

_PAGE: Final = (
    Param("limit", "integer", "Rows of the page."),
    Param("after", "string", "`next` of the page before."),
)
_FILTERS: Final = (
    Param("format", "string", "json (default) or csv; `Accept: text/csv` does the same. CSV holds all rows at once."),
    Param("charset", "string", "Of a CSV: utf-8 (default), or utf-8-bom for spreadsheets that take it for another."),
    Param("city", "string", "Only this city."),
    Param("state", "string", "Only in this state."),
    Param("technician", "string", "Only this technician's (technicians: themselves)."),
    Param("from", "number", "Made at this time or later, epoch seconds."),
    Param("to", "number", "Made before this time, epoch seconds."),
)
_OWN_ORDERS: Final = "customer: their own; technician: theirs; ops and service: of their cities"
_CUSTOMERS_ORDERS: Final = "customer: their own; ops and service: of their cities"
_STAFF_ORDERS: Final = "ops: of their cities; service: of its cities, or all when its token names none"


@dataclass(frozen=True, slots=True)
class Handlers:
    """Who answers the routes."""

    orders: Orders
    offers: Offers
    technicians: Technicians
    nearby: NearbyTechnicians
    calendars: Calendars
    blocks: Blocks
    safety: Safety
    desk: IncidentDesk
    emergency: Emergency
    deliveries: IncidentDeliveries
    looks: Looks
    reports: Reports
    holds: EvidenceHolds
    exports: IncidentExports
    profiles: SafetyProfiles
    own_data: OwnData
    checkins: Checkins
    people_sos: PeopleSos
    trips: SharedTrips
    drills: DrillDesk
    phones: Phones
    trackers: Trackers
    tracker_devices: TrackerDevices
    sign_out: SignOut
    browsers: BrowserSignIn
    arrivals: Arrivals
    maps: CityMaps
    site: Site
    documents: Documents


def all_routes(handlers: Handlers) -> list[Route]:
    """The whole table, for the running server and for its documents."""
    return [
        *order_routes(handlers.orders),
        *offer_routes(handlers.offers),
        *technician_routes(handlers.technicians, handlers.nearby, handlers.calendars),
        *block_routes(handlers.blocks),
        *safety_routes(handlers.safety),
        *incident_desk_routes(handlers.desk),
        *emergency_routes(handlers.emergency),
        *delivery_routes(handlers.deliveries),
        *look_routes(handlers.looks),
        *report_routes(handlers.reports, handlers.holds, handlers.exports),
        *people_routes(handlers.profiles, handlers.own_data, handlers.people_sos),
        *phone_routes(handlers.phones, handlers.sign_out),
        *tracker_routes(handlers.trackers),
        *tracker_device_routes(handlers.tracker_devices),
        *sign_in_routes(handlers.browsers),
        *arrival_routes(handlers.arrivals),
        *checkin_routes(handlers.checkins),
        *trip_routes(handlers.trips),
        *drill_routes(handlers.drills),
        *map_routes(handlers.maps),
        *site_routes(handlers.site),
        *public_routes(handlers.documents),
    ]


def order_routes(orders: Orders) -> list[Route]:
    """Routes of ``/v1/orders``."""
    return [
        Route(
            "order_place", "POST", "/v1/orders", frozenset({CUSTOMER, SERVICE, OPS}),
            "customer: for themselves; ops and service: in their cities", "Place an order.", orders.place,
            body=bodies.OrderIn, result=OrderView, status=201, location=True, idempotency_key=True,
        ),
        Route(
            "order_list", "GET", "/v1/orders", frozenset({CUSTOMER, TECHNICIAN, SERVICE, OPS}), _OWN_ORDERS,
            "List orders, newest first.", orders.listing, result=bodies.OrderPage, location=True,
            query=(*_PAGE, *_FILTERS, Param("customer", "string", "Only this customer's (others: themselves).")),
            is_listing=True,
        ),
        Route(
            "order_read", "GET", "/v1/orders/{id}", frozenset({CUSTOMER, TECHNICIAN, SERVICE, OPS}), _OWN_ORDERS,
            "Read an order.", orders.read, result=OrderView, location=True, for_order=True,
        ),
        Route(
            "order_cancel", "POST", "/v1/orders/{id}/cancel", frozenset({CUSTOMER, SERVICE, OPS}), _CUSTOMERS_ORDERS,
            "Call an order off. Idempotent.", orders.cancel, body=bodies.CancelIn, result=OrderView, location=True,
            for_order=True,
        ),
        Route(
            "order_cancellation", "GET", "/v1/orders/{id}/cancellation", frozenset({CUSTOMER, SERVICE, OPS}),
            _CUSTOMERS_ORDERS, "What calling the order off would cost now; refused as `cancel` would be.",
            orders.cancellation, result=CancellationView, for_order=True,
        ),
        Route(
            "order_add_time", "POST", "/v1/orders/{id}/add-time", frozenset({CUSTOMER, TECHNICIAN, SERVICE, OPS}),
            _OWN_ORDERS, "Make a running service longer; a technician's wish waits for consent.",
            orders.add_time,
            body=bodies.AddTimeIn, result=OrderView, location=True, idempotency_key=True,
        ),
        Route(
            "order_add_time_agree", "POST", "/v1/orders/{id}/add-time/agree", frozenset({CUSTOMER, SERVICE, OPS}),
            _CUSTOMERS_ORDERS, "Agree to the time that the technician has asked for. Idempotent.", orders.agree_time,
            body=bodies.TimeAnswerIn, result=OrderView, location=True,
        ),
        Route(
            "order_add_time_refuse", "POST", "/v1/orders/{id}/add-time/refuse", frozenset({CUSTOMER, SERVICE, OPS}),
            _CUSTOMERS_ORDERS, "Refuse it. Idempotent.", orders.refuse_time, body=bodies.TimeAnswerIn,
            result=OrderView, location=True,
        ),
        Route(
            "order_schedule", "POST", "/v1/orders/{id}/schedule", frozenset({CUSTOMER, SERVICE, OPS}),
            _CUSTOMERS_ORDERS, "Move an order that has not begun to another time. Idempotent.", orders.reschedule,
            body=bodies.ScheduleIn, result=OrderView, location=True,
        ),
        Route(
            "order_reassign", "POST", "/v1/orders/{id}/reassign", frozenset({TECHNICIAN, SERVICE, OPS}),
            "technician: their own, before they arrive; ops and service: of their cities",
            "Give the order to somebody else; its technician is not asked again.", orders.reassign,
            body=bodies.ReassignIn, result=bodies.Done,
        ),
        Route(
            "order_assign", "POST", "/v1/orders/{id}/assign", frozenset({OPS}), "ops: of their cities",
            "Give an order to a technician, or pin it to the one it has. Idempotent.", orders.assign,
            body=bodies.AssignIn, result=OrderView, location=True,
        ),
        Route(
            "order_mode", "POST", "/v1/orders/{id}/mode", frozenset({OPS, SERVICE}), _STAFF_ORDERS,
            "Have a technician looked for in another way, also again. Idempotent.", orders.set_mode,
            body=bodies.ModeIn, result=OrderView, location=True,
        ),
        Route(
            "order_confirm", "POST", "/v1/orders/{id}/confirm", frozenset({CUSTOMER, SERVICE, OPS}), _CUSTOMERS_ORDERS,
            "Agree that the job was done. Idempotent.", orders.confirm, result=OrderView, location=True,
            for_order=True,
        ),
        Route(
            "order_rating", "POST", "/v1/orders/{id}/rating", frozenset({CUSTOMER, SERVICE, OPS}), _CUSTOMERS_ORDERS,
            "Rate a finished job, once.", orders.rate, body=bodies.RatingIn, result=bodies.Done, for_order=True,
        ),
        Route(
            "order_step", "POST", "/v1/orders/{id}/step", frozenset({TECHNICIAN, SERVICE, OPS}),
            "technician: their own job; ops and service: in their cities, with a reason",
            "Report the job's next step. Idempotent.", orders.step, body=bodies.StepIn, result=bodies.Done,
        ),
        Route(
            "order_explain", "GET", "/v1/orders/{id}/explain", frozenset({OPS}), "ops: of their cities",
            "Why the matching rounds decided as they did.", orders.explain, result=bodies.Explanation, location=True,
        ),
        Route(
            "order_what_if", "POST", "/v1/orders/{id}/what-if", frozenset({OPS}), "ops: of their cities",
            "Whom a round would choose for an open order under other numbers; changes nothing.", orders.what_if,
            body=bodies.WhatIfIn, result=bodies.WhatIfOut, location=True,
        ),
        Route(
            "order_timeline", "GET", "/v1/orders/{id}/timeline", frozenset({OPS, SERVICE}),
            "ops: of their cities, logged; service: of its cities, or all when it names none, without places",
            "Everything that happened to an order.", orders.timeline, result=bodies.Timeline, location=True,
        ),
        Route(
            "order_track", "GET", "/v1/orders/{id}/track", frozenset({OPS}),
            "ops: of their cities, signed in lately, logged", "Positions kept during the job.", orders.track,
            result=bodies.Track, location=True, fresh=True,
        ),
    ]  # fmt: skip


def offer_routes(offers: Offers) -> list[Route]:
    """Routes of ``/v1/offers``."""
    return [
        Route(
            "offer_list", "GET", "/v1/offers", frozenset({TECHNICIAN, SERVICE, OPS}),
            "technician: theirs; ops and service: of their cities", "List offers, newest first.", offers.listing,
            result=bodies.OfferPage, location=True, is_listing=True,
            query=(*_PAGE, *_FILTERS, Param("customer", "string", "Only of this customer's orders (staff)."),
                   Param("order", "string", "Only of this order.")),
        ),
    ]  # fmt: skip


def technician_routes(technicians: Technicians, nearby: NearbyTechnicians, calendars: Calendars) -> list[Route]:
    """Routes of ``/v1/technicians``."""
    staff = frozenset({OPS, SERVICE})
    return [
        Route(
            "technician_nearby", "GET", "/v1/technicians/nearby", frozenset({CUSTOMER, SERVICE, OPS}),
            "ops: positions in their cities; customer and service: cards", "Who is near.", nearby.listing,
            result=bodies.Nearby, location=True,
            query=(Param("lat", "number", "Degrees.", required=True), Param("lng", "number", "Degrees.", required=True),
                   Param("crs", "string", "Frame of the point: wgs84 (default), gcj02 or bd09."),
                   Param("limit", "integer", "How many at most.")),
        ),
        Route(
            "technician_put", "PUT", "/v1/technicians/{id}", staff, "ops and service: of their cities",
            "Register or change a technician.", technicians.put, body=bodies.TechnicianIn,
            result=bodies.TechnicianView,
        ),
        Route(
            "technician_read", "GET", "/v1/technicians/{id}", staff | {TECHNICIAN},
            "ops and service: of their cities; technician: themselves", "Read a technician.", technicians.read,
            result=bodies.TechnicianView,
        ),
        Route(
            "technician_duty", "POST", "/v1/technicians/{id}/duty", staff | {TECHNICIAN},
            "ops and service: of their cities; technician: themselves", "Go on or off duty.", technicians.duty,
            body=bodies.DutyIn, result=bodies.Done,
        ),
        Route(
            "technician_calendar_read", "GET", "/v1/technicians/{id}/calendar", staff | {TECHNICIAN},
            "ops and service: of their cities; technician: their own", "Read shifts, rests and booked jobs.",
            calendars.read, result=bodies.CalendarView,
        ),
        Route(
            "technician_calendar_put", "PUT", "/v1/technicians/{id}/calendar", staff | {TECHNICIAN},
            "ops and service: of their cities; technician: their own", "Set shifts and rests, whole.",
            calendars.put, body=bodies.CalendarIn, result=bodies.CalendarView,
        ),
        Route(
            "technician_why_no_offers", "GET", "/v1/technicians/{id}/why-no-offers", frozenset({OPS}),
            "ops: of their cities", "What stored matching rounds had against a technician.",
            technicians.why_no_offers, result=bodies.WhyNoOffers, location=True,
            query=(Param("from", "number", "Epoch seconds; an hour before `to`."),
                   Param("to", "number", "Epoch seconds; now."), Param("city", "string", "One of their cities."),
                   Param("limit", "integer", "Stored rounds of the page, at most 500."),
                   Param("after", "string", "`next` of the page before.")),
        ),
        Route(
            "technician_track", "GET", "/v1/technicians/{id}/track", frozenset({OPS}),
            "ops: of their cities, signed in lately, logged", "Positions kept of jobs and incidents.",
            technicians.track, result=bodies.Track, location=True, fresh=True,
            query=(Param("from", "number", "Epoch seconds."), Param("to", "number", "Epoch seconds."),
                   Param("reason", "string", "Why; the technician reads it in their looks.")),
        ),
    ]  # fmt: skip


def block_routes(blocks: Blocks) -> list[Route]:
    """Routes of blocks between customers and technicians."""
    staff = frozenset({OPS, SERVICE})
    customers = "customer: their own; ops and service: with technicians of their cities"
    technicians = "technician: their own; ops and service: of technicians of their cities"
    return [
        Route(
            "customer_block_put", "PUT", "/v1/customers/{id}/blocks/{technician}", staff | {CUSTOMER}, customers,
            "Block a technician whom the customer has met. Idempotent.", blocks.put_by_customer, body=bodies.BlockIn,
            result=bodies.Done,
        ),
        Route(
            "customer_block_delete", "DELETE", "/v1/customers/{id}/blocks/{technician}", staff | {CUSTOMER},
            customers, "Lift it. Idempotent.", blocks.delete_by_customer, result=bodies.Done,
        ),
        Route(
            "technician_block_put", "PUT", "/v1/technicians/{id}/blocks/{customer}", staff | {TECHNICIAN},
            technicians, "Block a customer whom the technician has met. Idempotent.", blocks.put_by_technician,
            body=bodies.BlockIn, result=bodies.Done,
        ),
        Route(
            "technician_block_delete", "DELETE", "/v1/technicians/{id}/blocks/{customer}", staff | {TECHNICIAN},
            technicians, "Lift it. Idempotent.", blocks.delete_by_technician, result=bodies.Done,
        ),
        Route(
            "block_list", "GET", "/v1/blocks", staff | {CUSTOMER, TECHNICIAN},
            "customer and technician: those they have set; ops and service: with technicians of their cities",
            "List blocks between people, newest first.", blocks.listing, result=bodies.BlockPage,
            query=(*_PAGE, Param("customer", "string", "Only with this customer (others: themselves)."),
                   Param("technician", "string", "Only with this technician (others: themselves).")),
        ),
    ]  # fmt: skip


def safety_routes(safety: Safety) -> list[Route]:
    """Routes of ``/v1/sos`` and ``/v1/incidents``."""
    told, scope = TOLD, TOLD_SCOPE
    return [
        Route(
            "sos", "POST", "/v1/sos", ANYONE, "everyone: also with a token that expired within a day",
            "Raise an SOS. Only `key` is needed; what cannot be read is dropped and listed.", safety.sos,
            access=Access.LENIENT, result=SosAck, location=True, raw_body=True, for_order=True,
        ),
        Route(
            "sos_status", "GET", "/v1/sos/{id}", ANYONE, "everyone: their own, also with a token that has expired",
            "How far one's own alarm has come.", safety.status, access=Access.LENIENT, result=safety_bodies.SosStatus,
            location=True, for_order=True,
        ),
        Route(
            "sos_cancel", "POST", "/v1/sos/{id}/cancel", ANYONE, "everyone: their own",
            "Take one's alarm back with one's PIN; somebody asks whether it is true. Ends nothing by itself.",
            safety.cancel, body=safety_bodies.CancelSosIn, result=bodies.Done, location=True, for_order=True,
        ),
        Route(
            "incident_list", "GET", "/v1/incidents", frozenset({OPS}), "ops: of their cities and without one",
            "List incidents, newest first.", safety.listing, result=IncidentPage, query=_PAGE, location=True,
        ),
        Route(
            "incident_read", "GET", "/v1/incidents/{id}", told, scope,
            "Read an incident; who has no more to do with it reads its state and their own part.", safety.read,
            result=IncidentView | IncidentUpdate, location=True,
        ),
        Route(
            "incident_timeline", "GET", "/v1/incidents/{id}/timeline", told, scope,
            "Everything that happened to an incident.", safety.timeline, result=bodies.Timeline, location=True,
        ),
    ]  # fmt: skip


def incident_desk_routes(desk: IncidentDesk) -> list[Route]:
    """Routes of those who handle an incident."""
    told, scope = TOLD, TOLD_SCOPE
    staff, staff_scope = frozenset({OPS}), "ops: of their cities and without one"
    return [
        Route(
            "incident_ack", "POST", "/v1/incidents/{id}/ack", told, scope, "I have seen it and own it.",
            desk.acknowledge, result=bodies.Done,
        ),
        Route(
            "incident_join", "POST", "/v1/incidents/{id}/join", told, scope,
            "Hear of all that becomes of it, without owning it.", desk.join, result=bodies.Done,
        ),
        Route(
            "incident_note", "POST", "/v1/incidents/{id}/note", told, scope,
            "Write down what was done; of a call or visit also with whom and what came of it.", desk.note,
            body=incident_bodies.NoteIn, result=bodies.Done,
        ),
        Route(
            "incident_respond", "POST", "/v1/incidents/{id}/respond", told, scope,
            "I go there. `taken` names who goes when enough do.", desk.respond, body=incident_bodies.RespondIn,
            result=bodies.Done,
        ),
        Route(
            "incident_decline", "POST", "/v1/incidents/{id}/decline", told, scope,
            "I cannot go there, or not go on.", desk.decline, result=bodies.Done,
        ),
        Route(
            "incident_assign", "POST", "/v1/incidents/{id}/assign", staff, staff_scope, "Send a responder there.",
            desk.assign, body=incident_bodies.AssignResponderIn, result=bodies.Done,
        ),
        Route(
            "incident_on_scene", "POST", "/v1/incidents/{id}/on-scene", told, scope,
            "I am there; ops may say it of a responder.", desk.on_scene, body=incident_bodies.OnSceneIn,
            result=bodies.Done,
        ),
        Route(
            "incident_resolve", "POST", "/v1/incidents/{id}/resolve", told, scope,
            "It is over: of a responder a proposal, and of the first where two people are needed.", desk.resolve,
            body=bodies.ResolveIn, result=bodies.Done,
        ),
        Route(
            "incident_reopen", "POST", "/v1/incidents/{id}/reopen", staff, staff_scope,
            "It is not over, or not safe.", desk.reopen, body=incident_bodies.IncidentNoteIn, result=bodies.Done,
        ),
        Route(
            "incident_close", "POST", "/v1/incidents/{id}/close", staff, staff_scope,
            "It was reviewed: nothing is changed any more.", desk.close, body=incident_bodies.IncidentNoteIn,
            result=bodies.Done,
        ),
    ]  # fmt: skip


def checkin_routes(checkins: Checkins) -> list[Route]:
    """Routes of ``/v1/checkins``."""
    return [
        Route(
            "checkin_list", "GET", "/v1/checkins", ANYONE,
            "everyone: what they are asked, and for ops also their cities'",
            "What is asked of people at work, and not answered.", checkins.listing, result=care_bodies.Checks,
        ),
        Route(
            "checkin_answer", "POST", "/v1/checkins/{id}", ANYONE,
            "everyone: what they are asked, also with a token that expired within a day",
            "Answer by one tap. Anything but `ok` raises an alarm, and is answered like `ok`. Idempotent.",
            checkins.reply, access=Access.LENIENT, body=care_bodies.CheckinIn, result=bodies.Done,
        ),
    ]  # fmt: skip


def trip_routes(trips: SharedTrips) -> list[Route]:
    """Routes of links to running jobs."""
    sides = frozenset({CUSTOMER, TECHNICIAN})
    scope = "customer: their own; technician: theirs"
    return [
        Route(
            "trip_share", "POST", "/v1/orders/{id}/share", sides, scope,
            "Make a link to the running job for somebody who is trusted.", trips.share, body=care_bodies.ShareIn,
            result=care_bodies.SharedLink, status=201, location=True,
        ),
        Route(
            "trip_list", "GET", "/v1/orders/{id}/share", sides, scope,
            "The caller's links to an order, and how often each was opened.", trips.listing,
            result=care_bodies.SharedLinks,
        ),
        Route(
            "trip_revoke", "DELETE", "/v1/orders/{id}/share/{trip}", sides, scope,
            "Take a link back: it shows nothing from then on. Idempotent.", trips.revoke, result=bodies.Done,
        ),
        Route(
            "trip_read", "GET", "/v1/shared/{token}", frozenset(), "everyone", "What a link shows now.", trips.read,
            access=Access.PUBLIC, result=care_bodies.SharedTrip, location=True,
        ),
        Route(
            "trip_page", "GET", "/s/{token}", frozenset(), "everyone", "The same as a page, for people.", trips.page,
            access=Access.PUBLIC, location=True,
        ),
    ]  # fmt: skip


def drill_routes(drills: DrillDesk) -> list[Route]:
    """Routes of ``/v1/drills``."""
    return [
        Route(
            "drill_tap", "POST", "/v1/drills", frozenset({TECHNICIAN, RESPONDER}),
            "technician and responder: their own", "Try the alarm; nobody is called out.", drills.tap,
            result=care_bodies.DrillsSeen,
        ),
        Route(
            "drill_list", "GET", "/v1/drills", frozenset({TECHNICIAN, RESPONDER, OPS}),
            "technician and responder: their own; ops: of their cities", "The last drills.", drills.listing,
            result=care_bodies.DrillsSeen,
        ),
    ]  # fmt: skip


def people_routes(profiles: SafetyProfiles, own_data: OwnData, people_sos: PeopleSos) -> list[Route]:
    """Routes of safety profiles, and of SOS on somebody's behalf."""
    return [
        Route(
            "profile_read", "GET", "/v1/me/safety", ANYONE, "everyone: their own",
            "Read one's safety profile; PINs are never shown.", profiles.read_own,
            result=safety_bodies.SafetyProfileView, location=True,
        ),
        Route(
            "profile_put", "PUT", "/v1/me/safety", ANYONE, "everyone: their own",
            "Set one's safety profile, whole: whom to call, whether one helps others, and the two PINs.",
            profiles.put_own, body=safety_bodies.OwnSafetyIn, result=safety_bodies.SafetyProfileView, location=True,
        ),
        Route(
            "person_sos", "POST", "/v1/people/{id}/sos", frozenset({OPS, SERVICE}),
            "ops and service: technicians of their cities, and who is no technician",
            "Raise an SOS for somebody who cannot. Idempotent by `key`.", people_sos.raise_for,
            body=safety_bodies.PersonSosIn, result=bodies.Done, location=True,
        ),
        Route(
            "profile_put_person", "PUT", "/v1/people/{id}/safety", frozenset({OPS, SERVICE}),
            "ops and service: technicians of their cities, and who is no technician",
            "Set whom to call for a person; consent and PINs stay theirs.", profiles.put_person,
            body=safety_bodies.PersonSafetyIn, result=safety_bodies.SafetyProfileView, location=True,
        ),
        Route(
            "safety_export", "GET", "/v1/me/safety/export", ANYONE, "everyone: their own, signed in lately",
            "All that safety keeps of oneself: profile, alarms that are over, shared trips, who looked.",
            own_data.export, result=safety_bodies.OwnSafetyExport, location=True, fresh=True,
        ),
        Route(
            "person_erase", "DELETE", "/v1/people/{id}/safety", frozenset({OPS, SERVICE}),
            "ops and service: technicians of their cities, and who is no technician, signed in lately",
            "Erase what safety keeps of a person, unless it is held as evidence. Idempotent.",
            profiles.erase_person, result=bodies.Done, fresh=True,
        ),
    ]  # fmt: skip


def report_routes(reports: Reports, holds: EvidenceHolds, exports: IncidentExports) -> list[Route]:
    """What remains of an incident."""
    ops = frozenset({OPS})
    scope = "ops: of their cities and without one, logged, of one that is over signed in lately"
    return [
        Route(
            "incident_report", "GET", "/v1/incidents/{id}/report", ops, scope,
            "Everything that is known of an incident: timeline, response times, deliveries, way, looks, audit.",
            reports.report, result=IncidentReport, location=True,
        ),
        Route(
            "incident_report_page", "GET", "/v1/incidents/{id}/report.html", ops, scope,
            "The report as one page of HTML that loads nothing.", reports.report_page, location=True,
        ),
        Route(
            "incident_hold", "PUT", "/v1/incidents/{id}/hold", ops, scope,
            "Hold its evidence without an end, or let go of it once it has ended; with a reason.", holds.put,
            body=HoldIn, result=HoldView,
        ),
        Route(
            "incident_export_list", "GET", "/v1/incidents/{id}/export", ops, scope,
            "Who asks to export it, and who was allowed to.", exports.listing, result=ExportList,
        ),
        Route(
            "incident_export_ask", "POST", "/v1/incidents/{id}/export", ops, scope,
            "Ask to export it. Of a duress that is over, way, report and CAP need that another allows it.", exports.ask,
            body=ExportIn, result=ExportView,
        ),
        Route(
            "incident_export_allow", "POST", "/v1/incidents/{id}/export/allow", ops, scope,
            "Allow somebody else the export that they asked for.", exports.allow, body=AllowExportIn, result=ExportView,
        ),
        Route(
            "incident_cap", "GET", "/v1/incidents/{id}/cap", ops, scope,
            "The newest message of the incident in the Common Alerting Protocol 1.2 (XML).", reports.cap, location=True,
        ),
    ]  # fmt: skip


def look_routes(looks: Looks) -> list[Route]:
    """Who looked at whom."""
    return [
        Route(
            "looks_own", "GET", "/v1/me/looks", ANYONE, "everyone: at themselves",
            "Who looked at my position, newest first.", looks.own, result=incident_bodies.LooksPage, location=True,
            query=(Param("before", "number", "Only looks that began before, epoch seconds."),
                   Param("limit", "integer", "Rows of the page, at most 200.")),
        ),
    ]  # fmt: skip


def emergency_routes(emergency: Emergency) -> list[Route]:
    """Routes of ``/v1/incidents/{id}`` that rescuers need."""
    told, scope = TOLD, TOLD_SCOPE
    return [
        Route(
            "incident_trail", "GET", "/v1/incidents/{id}/trail", told, scope,
            "Where the person is, and their way since a minute before the tap; of one that is over signed in lately.",
            emergency.trail,
            result=incident_bodies.IncidentTrail, location=True,
            query=(Param("from", "number", "Only points since then, epoch seconds."),),
        ),
        Route(
            "incident_call_text", "GET", "/v1/incidents/{id}/call-text", told, scope,
            "What to read out to the police or an ambulance.", emergency.call,
            result=incident_bodies.CallText, location=True,
            query=(Param("lang", "string", "en (default) or zh."),),
        ),
    ]  # fmt: skip


def delivery_routes(deliveries: IncidentDeliveries) -> list[Route]:
    """How incidents reached people."""
    return [
        Route(
            "incident_deliveries", "GET", "/v1/incidents/{id}/deliveries", frozenset({OPS}),
            "ops: of their cities and without one",
            "Whom it reached: devices that confirmed it, and every attempt outside the hub with what came of it.",
            deliveries.read, result=Deliveries,
        ),
    ]  # fmt: skip


def phone_routes(phones: Phones, leaving: SignOut) -> list[Route]:
    """Routes of ``/v1/positions``, ``/v1/tickets`` and ``/v1/sign-out``."""
    return [
        Route(
            "positions", "POST", "/v1/positions", frozenset({TECHNICIAN, RESPONDER, CUSTOMER}),
            "technician and responder: their own; customer: their own, kept during their own alarm only",
            "Report positions, for phones whose socket cannot live; a tracker's `alarm` is an SOS, of any role.",
            phones.positions, access=Access.ALARM, alarm=phones.alarm, body=bodies.PositionsIn,
            result=PingAck | bodies.AlarmAck, location=True, is_batch=True,
        ),
        Route(
            "sos_pass", "POST", "/v1/sos/pass", frozenset(), "everyone",
            "Turn the ticket of an SOS page (`Authorization: Ticket …`) into what it raises an SOS with.",
            phones.sos_pass, access=Access.PUBLIC, result=safety_bodies.SosPass, status=201, location=True,
        ),
        Route(
            "ticket", "POST", "/v1/tickets", ANYONE, "everyone: for themselves",
            "Get a one-time ticket for the hub or the SOS page.", phones.ticket, body=bodies.TicketIn,
            result=bodies.Ticket, status=201, location=True, for_order=True,
        ),
        Route(
            "sign_out", "POST", "/v1/sign-out", ANYONE, "everyone: their own sign-in",
            "Leave: the tokens of this sign-in are taken no more, its sessions end. Idempotent.", leaving.sign_out,
            result=bodies.Done,
        ),
    ]  # fmt: skip


def sign_in_routes(browsers: BrowserSignIn) -> list[Route]:
    """Routes of signing in on a page: ``/v1/sign-in``, ``/v1/session`` and ``/v1/sessions``."""
    return [
        Route(
            "sign_in_code", "POST", "/v1/sign-in/codes", frozenset({OPS, SERVICE}),
            "ops and service: technicians of their cities, customers, responders; ops: themselves, signed in lately",
            "Make a one-time code by which somebody signs in on a page.", browsers.make_code,
            body=sign_in_bodies.CodeIn, result=sign_in_bodies.CodeOut, status=201,
        ),
        Route(
            "sign_in", "POST", "/v1/sign-in", frozenset(), "everyone",
            "Use up a code: sets the session's cookie, for pages of this server alone.", browsers.sign_in,
            access=Access.PUBLIC, body=sign_in_bodies.SignInIn, result=sign_in_bodies.Signed, status=201,
        ),
        Route(
            "session_token", "POST", "/v1/session/token", frozenset(), "everyone",
            "Get the next token of minutes for the session of the cookie, for pages of this server alone.",
            browsers.token, access=Access.PUBLIC, body=sign_in_bodies.SessionTokenIn, result=sign_in_bodies.Signed,
        ),
        Route(
            "session_list", "GET", "/v1/sessions", ANYONE, "everyone: their own, staff others of their cities",
            "List the browsers in which somebody is signed in.", browsers.listing, result=sign_in_bodies.SessionList,
            query=(Param("user", "string", "Whose; without it the caller's own."),),
        ),
        Route(
            "session_end", "DELETE", "/v1/sessions/{id}", ANYONE, "everyone: their own, staff others of their cities",
            "End a session: its cookie, its tokens and its connections.", browsers.end, result=bodies.Done,
        ),
    ]  # fmt: skip


def arrival_routes(arrivals: Arrivals) -> list[Route]:
    """Routes of arrival links."""
    who = frozenset({CUSTOMER, OPS, SERVICE})
    return [
        Route(
            "arrival_link_make", "POST", "/v1/orders/{id}/arrival-link", who, _CUSTOMERS_ORDERS,
            "Make a link for whoever receives the technician; its token is told this once.", arrivals.make,
            body=sign_in_bodies.ArrivalLinkIn, result=sign_in_bodies.ArrivalLink, status=201,
        ),
        Route(
            "arrival_link_list", "GET", "/v1/orders/{id}/arrival-link", who, _CUSTOMERS_ORDERS,
            "List the arrival links of an order that have not expired.", arrivals.listing,
            result=sign_in_bodies.ArrivalLinks,
        ),
        Route(
            "arrival_link_revoke", "DELETE", "/v1/orders/{id}/arrival-link/{link}", who, _CUSTOMERS_ORDERS,
            "Take an arrival link back: pages that have it open are cut off. Idempotent.", arrivals.revoke,
            result=bodies.Done,
        ),
        Route(
            "arrive", "POST", "/v1/arrivals", frozenset(), "everyone",
            "Turn an arrival link's token into one of minutes, good for its order alone.", arrivals.arrive,
            access=Access.PUBLIC, body=sign_in_bodies.ArrivalIn, result=sign_in_bodies.Arrived,
        ),
    ]  # fmt: skip


def map_routes(maps: CityMaps) -> list[Route]:
    """What the pages draw of a city."""
    return [
        Route(
            "city_map", "GET", "/v1/map/{city}", ANYONE, "everyone: cities of their token, zones for who works there",
            "The outlines of a city as GeoJSON, in the platform's frame.", maps.read, for_order=True,
        ),
    ]  # fmt: skip


def site_routes(site: Site) -> list[Route]:
    """The pages for browsers, and their files."""
    rows = (
        ("page_app", "/app/", "The technician app.", site.app),
        ("page_arrival", "/t/{token}", "The arrival page of a link.", site.arrival),
        ("page_order", "/order/", "The order page.", site.order),
        ("page_console", "/console/", "The console of ops.", site.console),
        ("files_app", "/app/{path}", "Files of the technician app.", site.app_files),
        ("files_arrival", "/arrival/{path}", "Files of the arrival page.", site.arrival_files),
        ("files_order", "/order/{path}", "Files of the order page.", site.order_files),
        ("files_console", "/console/{path}", "Files of the console.", site.console_files),
        ("assets", "/assets/{path}", "Files that pages share: styles, the client, the map.", site.assets),
    )
    return [
        Route(name, "GET", path, frozenset(), "everyone", about, handler, access=Access.PUBLIC)
        for name, path, about, handler in rows
    ]


def public_routes(documents: Documents) -> list[Route]:
    """Routes that need no token."""
    rows = (
        (
            "config",
            "/config.json",
            "What clients must know before they connect.",
            documents.config,
            bodies.ClientConfig,
        ),
        ("openapi", "/openapi.json", "This API as OpenAPI 3.1.", documents.openapi, None),
        ("asyncapi", "/asyncapi.json", "The hub's messages as AsyncAPI 3.0.", documents.asyncapi, None),
        ("page", "/", "The first page, for people.", documents.page, None),
        (
            "security_txt",
            "/.well-known/security.txt",
            "Whom to tell of a weakness (RFC 9116).",
            documents.security,
            None,
        ),
        ("style", "/style.css", "The page's style.", documents.style, None),
        (
            "sos_page",
            "/sos",
            "Raises an SOS by one tap; opened with a ticket.",
            documents.sos_page,
            None,
        ),
        ("sos_style", "/sos.css", "Its style.", documents.sos_style, None),
        ("sos_script", "/sos.js", "Its script.", documents.sos_script, None),
    )
    return [
        Route(name, "GET", path, frozenset(), "everyone", summary, handler, access=Access.PUBLIC, result=result)
        for name, path, summary, handler, result in rows
    ]
