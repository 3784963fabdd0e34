"""The HTTP edge's part of the config."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Requests of apps and programs, and what leaves the server."""

    page_len_max: int = 200
    """Rows that one page of a listing holds at most."""
    export_rows_max: int = 50_000
    """Rows that one CSV export holds at most; more are refused as `export_too_large`, never left out silently."""
    exports_max: int = 4
    """CSV exports that are written at the same time; one more is refused as `overloaded`."""
    export_timeout_s: float = 120.0
    """Seconds in which a CSV export must have been read; then its connection is cut, so that it ends visibly torn."""
    nearby_len_max: int = 50
    """Technicians that one `nearby` answer holds at most."""
    nearby_radius_m: float = 20_000.0
    """Metres around the asked point in which `nearby` looks."""
    nearby_seen_s: float = 120.0
    """Seconds since the last position after which a technician is no longer listed as near."""
    pick_token_life_s: float = 900.0
    """Seconds after which a customer's pick token of `nearby` means nobody any more."""

    requests_per_s: float = 50.0
    """HTTP requests a second of one user, or of one address without a token; more are refused with `rate_limited`.
    SOS is never counted."""
    requests_burst: int = 500
    """Requests at once of one user or address that may exceed that rate."""
    program_requests_per_s: float = 2_000.0
    """HTTP requests a second of one program of the platform (role service); five times as many at once."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 1 <= self.page_len_max <= 1_000:
            raise ValueError(f"page_len_max must be between 1 and 1000, is {self.page_len_max}")
        if not 1 <= self.export_rows_max <= 10_000_000:
            raise ValueError(f"export_rows_max must be between 1 and 10000000, is {self.export_rows_max}")
        if not 1 <= self.exports_max <= 1_000:
            raise ValueError(f"exports_max must be between 1 and 1000, is {self.exports_max}")
        if not 1 <= self.export_timeout_s <= 3_600:
            raise ValueError(f"export_timeout_s must be between 1 and 3600, is {self.export_timeout_s}")
        if not 1 <= self.nearby_len_max <= 1_000:
            raise ValueError(f"nearby_len_max must be between 1 and 1000, is {self.nearby_len_max}")
        if not 100 <= self.nearby_radius_m <= 200_000:
            raise ValueError(f"nearby_radius_m must be between 100 and 200000, is {self.nearby_radius_m}")
        if not 1 <= self.nearby_seen_s <= 3_600:
            raise ValueError(f"nearby_seen_s must be between 1 and 3600, is {self.nearby_seen_s}")
        if not 0.1 <= self.requests_per_s <= 100_000:
            raise ValueError(f"requests_per_s must be between 0.1 and 100000, is {self.requests_per_s}")
        if not 1 <= self.requests_burst <= 1_000_000:
            raise ValueError(f"requests_burst must be between 1 and 1000000, is {self.requests_burst}")
        if not 1 <= self.program_requests_per_s <= 1_000_000:
            raise ValueError(f"program_requests_per_s must be between 1 and 1000000, is {self.program_requests_per_s}")
        if not 60 <= self.pick_token_life_s <= 86_400:
            raise ValueError(f"pick_token_life_s must be between 60 and 86400, is {self.pick_token_life_s}")
