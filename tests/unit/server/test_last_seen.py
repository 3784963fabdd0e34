"""Last positions: who is noted and when, what is remembered, and what it costs."""

import numpy as np
import pytest

from core.ids import CityId, TenantId, UserId
from core.shard import Shard
from geo.position_index import Flag
from geo.settings import PositionSettings
from geo.shard_positions import ShardPositions
from server import last_seen
from server.last_seen import USED_S, LastSeen
from store.memory import MemoryPositionLog
from store.track_points import LastPosition

SHARD = Shard(TenantId("t"), CityId("hz"))
NOW = 1_700_000_000.0
TINA = UserId("tina")


class Log(MemoryPositionLog):
    """Counts what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[LastPosition] = []

    def note_last(self, position: LastPosition) -> None:
        self.noted.append(position)
        super().note_last(position)


class Town:
    def __init__(self) -> None:
        self.positions = ShardPositions(PositionSettings())
        self.log = Log()
        self.seen = LastSeen({SHARD: self.positions}, self.log)

    def join(self, user: UserId, flags: Flag = Flag.TECHNICIAN) -> int:
        slot = self.positions.claim(user)
        self.positions.index.set_flags(slot, set=int(flags))
        return slot

    def move(self, slot: int, at: float = NOW, lat: float = 30.2) -> None:
        self.positions.index.move(np.array([slot]), [lat], [120.1], fixed_at=at - 1, seen_at=at)


def test_only_moved_technicians_are_noted_and_each_position_once() -> None:
    town = Town()
    tina, ops = town.join(TINA), town.join(UserId("guard"), Flag.RESPONDER)
    town.join(UserId("unplaced"))
    town.move(tina)
    town.move(ops)
    for _ in range(3):
        town.seen.turn()
    assert [(p.technician, p.fixed_at, p.received_at, p.lat) for p in town.log.noted] == [(TINA, NOW - 1, NOW, 30.2)]
    town.move(tina, NOW + 5, 30.3)
    town.seen.turn()
    assert [p.lat for p in town.log.noted] == [30.2, 30.3]


def test_who_goes_off_duty_is_noted_on_the_way_out_and_the_next_owner_of_the_slot_is_another() -> None:
    town = Town()
    slot = town.join(TINA)
    town.move(slot)
    town.seen.leaving(SHARD, TINA)
    town.positions.release(TINA)
    assert town.seen.of(SHARD.tenant, TINA, NOW) is not None
    assert town.join(UserId("lea")) == slot
    town.move(slot, NOW - 3)  # a fix older than the former owner's
    town.seen.turn()
    assert [p.technician for p in town.log.noted] == [TINA, "lea"]


async def test_a_restart_remembers_those_seen_a_short_while_ago_and_places_nobody() -> None:
    town = Town()
    for user, age_s in ((TINA, 60.0), (UserId("gone"), USED_S + 60.0)):
        town.move(town.join(user), NOW - age_s)
    town.seen.note_all()
    positions = ShardPositions(PositionSettings())
    positions.claim(TINA)
    after = LastSeen({SHARD: positions}, town.log)
    await after.load(NOW)
    found = after.of(SHARD.tenant, TINA, NOW)
    assert found is not None
    assert (found.received_at, found.city) == (NOW - 60.0, SHARD.city)
    assert after.of(SHARD.tenant, UserId("gone"), NOW) is None
    assert after.of(SHARD.tenant, TINA, NOW + USED_S) is None, "too old to stand for where they are"
    assert positions.live(TINA) is None
    assert positions.index.placed_len == 0


def test_one_turn_looks_at_a_bounded_number_and_all_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_seen, "SLOTS_PER_TURN", 10)
    monkeypatch.setattr(last_seen, "REMEMBERED_MAX", 7)
    town = Town()
    for number in range(25):
        town.move(town.join(UserId(f"tec_{number}")))
    for turn in range(1, 4):
        town.seen.turn()
        assert len(town.log.noted) == min(10 * turn, 25)
    assert sum(town.seen.of(SHARD.tenant, UserId(f"tec_{n}"), NOW) is not None for n in range(25)) == 7
