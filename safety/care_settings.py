"""How jobs are watched over: ``safety.care`` of the config."""

from dataclasses import dataclass, field
from typing import Annotated, Final

from core.ids import TenantId
from core.ranges import Range, Ranged, check_range, check_ranges

CHECK_IN_S_MIN: Final = 300.0
"""Shortest interval of check-ins: below it the reminder of one would come before the answer to the last."""
CHECK_IN_S_MAX: Final = 86_400.0
REQUIRED_VALID_S_MIN: Final = 60.0
"""Shortest time for which a drill that is required must stand: duty begins with another message than the tap."""


@dataclass(frozen=True, slots=True)
class DrillSettings(Ranged):
    """The alarm is tried by everybody who begins to work: one tap, through the same code as a real one."""

    ask: bool = True
    """Whether who goes on duty is asked for the tap. Skipping it is recorded, and never keeps anybody from work."""

    answer_s: Annotated[float, Range(10, 86_400)] = 300.0
    """Seconds to tap until the drill counts as skipped."""

    valid_s: Annotated[float, Range(0, 31_622_400)] = 28_800.0
    """Seconds during which a drill that worked stands for further starts of duty."""

    required: bool = False
    """Whether nobody goes on duty by their own word (`drill_needed`) before a drill of theirs has worked and stands. It
    keeps people from work whose alarm does not come through; staff may put them on duty all the same."""

    def __post_init__(self) -> None:
        """What is required must stand for a while."""
        check_ranges(self)
        if self.required and self.valid_s < REQUIRED_VALID_S_MIN:
            raise ValueError(f"valid_s must be at least {REQUIRED_VALID_S_MIN:g} when a drill is required")


@dataclass(frozen=True, slots=True)
class SharingSettings(Ranged):
    """Links to a running job for somebody whom one of its sides trusts."""

    expires_s: Annotated[float, Range(60, 604_800)] = 86_400.0
    """Longest life of a link, seconds; it shows nothing any more once the job is over."""

    arrival_expires_s: Annotated[float, Range(60, 2_592_000)] = 604_800.0
    """Longest life of an arrival link, seconds: it begins with the order, and is there still for its rating."""

    links_max: Annotated[int, Range(1, 100)] = 5
    """Links of one kind that one side of an order may have at the same time."""


@dataclass(frozen=True, slots=True)
class CareSettings(Ranged):
    """When somebody at work is asked whether all is well, and when silence becomes an incident.

    An interval of 0 in ``check_in_s`` or its tables switches the regular question off; nothing switches off what is
    done when a question that was asked stays without an answer.
    """

    check_in_s: Annotated[float, Range(0, CHECK_IN_S_MAX)] = 1_800.0
    """Seconds between regular questions during a service; 0 for none."""

    check_in_s_of_service: dict[str, float] = field(default_factory=dict)
    """Another interval for single services, by the service's name."""

    check_in_s_of_tenant: dict[str, float] = field(default_factory=dict)
    """Another interval for single tenants, by name; a service's own goes before it."""

    reminder_s: Annotated[float, Range(0, 3_600)] = 120.0
    """Seconds before a regular question at which it is announced, to be answered ahead."""

    unconfirmed_s: Annotated[float, Range(10, 3_600)] = 300.0
    """Seconds without an answer to a question until it becomes an incident, not confirmed by anybody."""

    panic_s: Annotated[float, Range("unconfirmed_s", 7_200)] = 600.0
    """Seconds without an answer to a regular question until everybody is told, as of a panic alarm."""

    overdue_s: Annotated[float, Range(0, 86_400)] = 600.0
    """Seconds after the planned end of a service at which both sides are asked; again as long after each answer."""

    arrival_s: Annotated[float, Range(0, 86_400)] = 600.0
    """Seconds after the expected arrival at which somebody still on the way is asked."""

    way_max_s: Annotated[float, Range(60, 86_400)] = 3_600.0
    """Longest way that is taken for one when nothing is known of it, seconds."""

    leaving_s: Annotated[float, Range(60, 86_400)] = 600.0
    """Seconds after the end of a service at which who has not said that they left safely is asked."""

    stop_s: Annotated[float, Range(60, 7_200)] = 480.0
    """Seconds on one spot of the way, outside known places, after which the technician is asked."""

    stop_slack_m: Annotated[float, Range(10, 1_000)] = 50.0
    """Metres that positions of somebody who stands still may lie apart."""

    stop_speed_mps: Annotated[float, Range(0, 5)] = 0.5
    """Mean speed below which somebody stands still."""

    known_place_m: Annotated[float, Range(0, 5_000)] = 150.0
    """Metres around the order's place, where the technician set out, and where they said that all is well."""

    detour_m: Annotated[float, Range(100, 50_000)] = 500.0
    """Metres by which somebody is off every usual way before it counts as a detour."""

    detour_ratio: Annotated[float, Range(1, 5)] = 1.4
    """How much longer than the straight line a usual way is."""

    detour_s: Annotated[float, Range(30, 7_200)] = 180.0
    """Seconds off every usual way after which the technician is asked."""

    way_answer_s: Annotated[float, Range(10, 3_600)] = 120.0
    """Seconds to answer on the way until the question becomes an incident."""

    quiet_s: Annotated[float, Range(0, 86_400)] = 900.0
    """Seconds after an answer on the way during which the same is not asked again."""

    silence_s: Annotated[float, Range(30, 7_200)] = 180.0
    """Seconds without any sign of a phone during a job until the console is told."""

    silence_unconfirmed_s: Annotated[float, Range("silence_s", 14_400)] = 600.0
    """Seconds without any sign of a phone until that is an incident."""

    restart_answer_s: Annotated[float, Range(0, 600)] = 60.0
    """Seconds that who was asked before a restart of the server is given to answer after it, once."""

    look_way_s: Annotated[float, Range(1, 60)] = 10.0
    """Seconds between two looks at somebody on the way."""

    look_there_s: Annotated[float, Range(1, 120)] = 30.0
    """Seconds between two looks at somebody at the place."""

    drill: DrillSettings = field(default_factory=DrillSettings)
    sharing: SharingSettings = field(default_factory=SharingSettings)

    def __post_init__(self) -> None:
        """Check the ranges, also of the tables."""
        check_ranges(self)
        rows = [("check_in_s", self.check_in_s)]
        for name in ("check_in_s_of_service", "check_in_s_of_tenant"):
            rows += [(f"{name}.{key}", interval_s) for key, interval_s in getattr(self, name).items()]
        for name, interval_s in rows:
            if interval_s != 0:
                check_range(name, interval_s, CHECK_IN_S_MIN, CHECK_IN_S_MAX)

    def interval_s(self, tenant: TenantId, service: str) -> float:
        """Seconds between regular questions in a service; 0 for none."""
        of_tenant = self.check_in_s_of_tenant.get(tenant, self.check_in_s)
        return self.check_in_s_of_service.get(service, of_tenant)
