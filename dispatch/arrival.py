"""What positions say of a job: who is at the place, how near somebody has come, and what a step needs as proof. Pure.

A fence has two circles: one is inside after ``dwell_s`` within the small one, and outside after ``dwell_s`` beyond the
large one. Between the two nothing changes, so that a fix that jumps at the edge tells nobody anything. Time is that of
the fixes: silence proves nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import Final

from core.errors import Conflict
from dispatch.errors import conflict
from dispatch.model import Order
from dispatch.settings import ArrivalProof, ArrivalSettings
from geo.point import LatLng

PHOTO_PREFIX: Final = "photo:"
"""Evidence that begins so is the reference of a photo; anything else is a note."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where a technician was, by a position that counts as evidence.

    Attributes:
        seen_at: Server's time of the fix.
        distance_m: From the order's place.
        accuracy_m: None when unknown.
        is_mock: The phone says that it was made up: it proves nothing.
    """

    point: LatLng
    seen_at: float
    distance_m: float
    accuracy_m: float | None
    is_mock: bool = False


@dataclass(frozen=True, slots=True)
class Fence:
    """On which side of a place somebody is.

    Attributes:
        crossing_since: Time of the first of the fixes that say the other side; None when the last one does not.
        seen_at: Time of the newest fix that was judged.
    """

    is_inside: bool = False
    crossing_since: float | None = None
    seen_at: float = -inf


def judge(fence: Fence, seen: Sighting, settings: ArrivalSettings) -> Fence:
    """The fence after one more fix; one that is not newer changes nothing, and no more does one that was made up."""
    if seen.seen_at <= fence.seen_at or seen.is_mock:
        return fence
    says_other = seen.distance_m > settings.leave_m if fence.is_inside else seen.distance_m <= settings.arrive_m
    if not says_other:
        return replace(fence, crossing_since=None, seen_at=seen.seen_at)
    since = seen.seen_at if fence.crossing_since is None else fence.crossing_since
    if seen.seen_at - since >= settings.dwell_s:
        return Fence(not fence.is_inside, None, seen.seen_at)
    return Fence(fence.is_inside, since, seen.seen_at)


def stage_reached(distance_m: float, told_m: float | None, stages_m: Sequence[float]) -> float | None:
    """The narrowest stage that somebody has come into and that was not told; None for no news.

    Args:
        told_m: The narrowest that was told; wider ones count as told with it.
    """
    reached = [stage_m for stage_m in stages_m if distance_m <= stage_m and (told_m is None or stage_m < told_m)]
    return min(reached, default=None)


def refuse_arrival(
    proof: ArrivalProof, evidence: str, fence: Fence, seen: Sighting | None, settings: ArrivalSettings
) -> Conflict | None:
    """Why "I have arrived" is not believed and what would do; None when it is."""
    needs_photo = proof in (ArrivalProof.PHOTO, ArrivalProof.PLACE_AND_PHOTO)
    if proof is ArrivalProof.NONE or rests_on_photo(proof, evidence):
        return None
    if needs_photo and not has_photo(evidence):
        return conflict("photo_needed", f"give a photo's reference as evidence: {PHOTO_PREFIX}<reference>")
    instead = "" if needs_photo else f", or give a photo's reference as evidence ({PHOTO_PREFIX}<reference>)"
    if seen is not None and seen.is_mock:
        return no_position(settings, instead, is_mock=True)
    if fence.is_inside:
        return None
    return _not_inside(fence, seen, settings, instead)


def has_photo(evidence: str) -> bool:
    """Whether the evidence is a photo's reference."""
    return evidence.startswith(PHOTO_PREFIX) and len(evidence) > len(PHOTO_PREFIX)


def rests_on_photo(proof: ArrivalProof, evidence: str) -> bool:
    """Whether a photo alone proves the arrival: nobody has compared it with anything."""
    return has_photo(evidence) and proof in (ArrivalProof.PHOTO, ArrivalProof.PLACE_OR_PHOTO)


def refuse_no_show(fence: Fence, seen: Sighting | None, settings: ArrivalSettings) -> Conflict | None:
    """Why a wait is not believed: it costs somebody who is not there to object, so silence does not do for it."""
    if seen is None or seen.is_mock:
        return no_position(settings, is_mock=seen is not None)
    if fence.is_inside and seen.distance_m <= settings.leave_m:
        return None
    return _not_inside(replace(fence, is_inside=False), seen, settings)


def _not_inside(fence: Fence, seen: Sighting | None, settings: ArrivalSettings, instead: str = "") -> Conflict:
    """What is missing for being inside."""
    if seen is None:
        return no_position(settings, instead)
    if seen.distance_m > settings.arrive_m or fence.crossing_since is None:
        return conflict(
            "not_at_place",
            f"the last position is {seen.distance_m:.0f} m from the place; come within {settings.arrive_m:.0f} m "
            f"for {settings.dwell_s:.0f} s{instead}",
        )
    left_s = max(1, ceil(settings.dwell_s - (seen.seen_at - fence.crossing_since)))
    message = f"at the place, but not for long: repeat with a position in {left_s} s{instead}"
    return conflict("dwell_needed", message, facts={"retry_in_s": left_s})


def waits_until(order: Order, arrived_at: float, settings: ArrivalSettings) -> float:
    """Until when a technician who has arrived waits for an absent customer, who need not be there before the time."""
    begins_at = arrived_at if order.scheduled_for is None else max(arrived_at, order.scheduled_for)
    return begins_at + settings.no_show_wait_s


def no_position(settings: ArrivalSettings, instead: str = "", *, is_mock: bool = False) -> Conflict:
    """Nobody knows where the technician is."""
    if is_mock:
        return conflict("position_needed", f"the last position was made up, by the phone's own word: send one{instead}")
    return conflict(
        "position_needed",
        f"no live position good to {settings.accuracy_m_max:.0f} m is known: send one and repeat{instead}",
    )
