"""The HTTP edge's part of the config."""

from dataclasses import dataclass
from typing import Annotated

from core.ranges import Range, Ranged


@dataclass(frozen=True, slots=True)
class ApiSettings(Ranged):
    """Requests of apps and programs, and what leaves the server."""

    page_len_max: Annotated[int, Range(1, 1_000)] = 200
    """Rows that one page of a listing holds at most."""
    export_rows_max: Annotated[int, Range(1, 10_000_000)] = 50_000
    """Rows that one CSV export holds at most; more are refused as `export_too_large`, never left out silently."""
    exports_max: Annotated[int, Range(1, 1_000)] = 4
    """CSV exports that are written at the same time; one more is refused as `overloaded`."""
    export_timeout_s: Annotated[float, Range(1, 3_600)] = 120.0
    """Seconds in which a CSV export must have been read; then its connection is cut, so that it ends visibly torn."""
    nearby_len_max: Annotated[int, Range(1, 1_000)] = 50
    """Technicians that one `nearby` answer holds at most."""
    nearby_radius_m: Annotated[float, Range(100, 200_000)] = 20_000.0
    """Metres around the asked point in which `nearby` looks."""
    nearby_seen_s: Annotated[float, Range(1, 3_600)] = 120.0
    """Seconds since the last position after which a technician is no longer listed as near."""
    pick_token_life_s: Annotated[float, Range(60, 86_400)] = 900.0
    """Seconds after which a customer's pick token of `nearby` means nobody any more."""

    fresh_sign_in_s: Annotated[float, Range(1, 86_400)] = 600.0
    """Seconds after a sign-in (`auth_time`, else `iat`) in which requests that need a fresh one are taken: the ways of
    technicians, orders and incidents that are over. Later `sign_in_again`."""
    second_person_s: Annotated[float, Range(60, 86_400)] = 600.0
    """Seconds for which the export of a duress that is over may be allowed by a second person of ops, and then read."""
    security_contact: str = ""
    """Where finders of a weakness write (`mailto:…`, `https://…`), told in `security.txt`; empty: nowhere."""

    requests_per_s: Annotated[float, Range(0.1, 100_000)] = 50.0
    """HTTP requests a second of one user, or of one address without a token; more are refused with `rate_limited`.
    SOS is never counted."""
    requests_burst: Annotated[int, Range(1, 1_000_000)] = 500
    """Requests at once of one user or address that may exceed that rate."""
    program_requests_per_s: Annotated[float, Range(1, 1_000_000)] = 2_000.0
    """HTTP requests a second of one program of the platform (role service); five times as many at once."""
    emergency_number: str = "110"
    """Number to call that stands on the SOS page."""


@dataclass(frozen=True, slots=True)
class SignInSettings(Ranged):
    """How people sign in on the pages for browsers."""

    code_life_s: Annotated[float, Range(30, 3_600)] = 600.0
    """Seconds in which a one-time code must be used."""
    codes_max: Annotated[int, Range(1, 1_000_000)] = 10_000
    """Unused codes at once; beyond it new ones are refused with `overloaded`. Of one person only the newest is good."""
    guesses_per_address: Annotated[int, Range(1, 1_000)] = 20
    """Wrong codes from one address (an IPv6 /64) within `guess_window_s`; then `rate_limited`, for right ones too."""
    guesses_max: Annotated[int, Range(1, 1_000_000)] = 5_000
    """Wrong codes from all addresses together within `guess_window_s`; then nobody signs in until it is less."""
    guess_window_s: Annotated[float, Range(1, 86_400)] = 600.0
    """Seconds for which a wrong code counts."""
    token_life_s: Annotated[float, Range(60, 3_600)] = 600.0
    """Seconds that a page's token is good; the page asks for the next one with its cookie."""
    idle_s: Annotated[float, Range(600, 31_622_400)] = 1_209_600.0
    """Seconds without a request for a token after which a session is over; of ops `ops_idle_s`."""
    life_s: Annotated[float, Range(600, 31_622_400)] = 7_776_000.0
    """Seconds after the sign-in at which a session is over in any case; of ops `ops_life_s`."""
    ops_idle_s: Annotated[float, Range(600, 31_622_400)] = 14_400.0
    """The same for a session that holds the role ops."""
    ops_life_s: Annotated[float, Range(600, 31_622_400)] = 57_600.0
    """The same for a session that holds the role ops."""
    sessions_per_user_max: Annotated[int, Range(1, 100)] = 5
    """Sessions of one person; one more ends the oldest."""
    sessions_max: Annotated[int, Range(1, 10_000_000)] = 200_000
    """Sessions of all people; one more is refused with `overloaded`."""
