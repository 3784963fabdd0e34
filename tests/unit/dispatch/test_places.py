from dataclasses import replace

import pytest

from core.ids import UserId
from dispatch.model import DutyState, Gender, WorkState
from dispatch.name_bits import Masks
from dispatch.places import Places
from geo.position_index import Flag, PositionIndex
from tests.unit.dispatch.test_tables import a_technician
from tests.unit.dispatch.world import T0


@pytest.mark.parametrize(
    ("work", "duty", "flags"),
    [
        (WorkState.IDLE, DutyState.ON, Flag.IDLE),
        (WorkState.OFFERED, DutyState.ON, Flag.OFFERED),
        (WorkState.BUSY, DutyState.PAUSED, Flag.BUSY),
        (WorkState.IDLE, DutyState.PAUSED, Flag(0)),
    ],
)
def test_the_index_shows_a_technicians_state_and_leaves_the_hubs_bits_alone(
    work: WorkState, duty: DutyState, flags: Flag
) -> None:
    index = PositionIndex()
    places = Places(index)
    it = a_technician(work, duty)
    places.write(it, Masks(3, 5, 6), 4.5)  # not on duty: nothing to write
    slot = index.claim(UserId("tina"))
    assert not places.shows(UserId("tina"))
    index.set_flags(slot, set=int(Flag.CONNECTED | Flag.RESPONDER | Flag.MALE))
    places.write(it, Masks(3, 5, 6), 4.5)
    assert Flag(int(index.flags[slot])) == flags | (
        Flag.TECHNICIAN | Flag.VERIFIED | Flag.FEMALE | Flag.CONNECTED | Flag.RESPONDER
    )
    assert places.shows(UserId("tina"))
    assert (int(index.skills[slot]), float(index.rating[slot]), float(index.idle_since[slot])) == (3, 4.5, T0)
    assert (int(index.zones[slot]), int(index.services[slot])) == (5, 6)
    places.write(replace(it, verified=False, gender=Gender.MALE), Masks(0, 0, 0), 0.0)
    assert Flag.MALE in Flag(int(index.flags[slot]))
    assert Flag.VERIFIED not in Flag(int(index.flags[slot]))
