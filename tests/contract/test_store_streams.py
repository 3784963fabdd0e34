from collections.abc import Sequence

import pytest

from core.errors import Unavailable
from core.ids import CityId, DeviceId, TenantId, UserId
from core.outbox import OutboxDraft, OutboxRow, Stream
from core.principal import Role
from dispatch.ports import DispatchChanges
from tests.contract.conftest import Node
from tests.contract.store_values import (
    CITY,
    NOW,
    OTHER_TENANT,
    SHARD,
    TENANT,
    make_draft,
    make_principal,
    safety_changes,
)

TEC = UserId("tec_1")
PHONE, TABLET = DeviceId("phone"), DeviceId("tablet")
DAY_S = 86_400.0


async def send(node: Node, count: int, now: float = NOW, user: str = TEC) -> Sequence[OutboxRow]:
    return await node.stores.dispatch.commit(SHARD, DispatchChanges(), [make_draft(user)] * count, now)


async def held(node: Node, user: UserId = TEC, stream: Stream = Stream.MAIN) -> list[int]:
    return [row.seq for row in await node.stores.streams.read(TENANT, user, stream, after_seq=0, limit=999)]


async def first_seq(node: Node, user: UserId = TEC) -> int:
    # A caller without a device is none that messages are kept for.
    heads = await node.stores.streams.attach(make_principal(user, device=""), NOW)
    return heads[Stream.MAIN].first_seq


async def prune(node: Node, now: float) -> None:
    node.clock.at = now
    await node.stores.streams.prune(now)


async def test_attaching_tells_epoch_and_head_of_both_streams(node: Node) -> None:
    first = await node.stores.streams.attach(make_principal(), NOW)
    assert {stream: head.seq for stream, head in first.items()} == {Stream.MAIN: 0, Stream.SAFETY: 0}
    assert first[Stream.MAIN].epoch != first[Stream.SAFETY].epoch
    rows = await send(node, 3)
    await node.stores.safety.commit(safety_changes(), [make_draft(stream=Stream.SAFETY)], NOW)
    second = await node.stores.streams.attach(make_principal(), NOW)
    assert {stream: head.seq for stream, head in second.items()} == {Stream.MAIN: 3, Stream.SAFETY: 1}
    assert {row.epoch for row in rows} == {second[Stream.MAIN].epoch}


@pytest.mark.parametrize("broken", list(Stream))
async def test_a_stream_that_cannot_be_read_does_not_hide_the_other(node: Node, broken: Stream) -> None:
    await send(node, 3)
    await node.stores.safety.commit(safety_changes(), [make_draft(stream=Stream.SAFETY)], NOW)
    both = await node.stores.streams.attach(make_principal(), NOW)
    node.break_reads(broken)
    assert await node.stores.streams.attach(make_principal(), NOW) == {s: h for s, h in both.items() if s is not broken}
    with pytest.raises(Unavailable):
        await node.stores.streams.attach(make_principal(), NOW, [broken])
    node.mend_reads(broken)
    assert await node.stores.streams.attach(make_principal(), NOW, [broken]) == {broken: both[broken]}
    assert await node.stores.streams.attach(make_principal(), NOW) == both


async def test_attaching_fails_when_no_stream_can_be_read(node: Node) -> None:
    for stream in Stream:
        node.break_reads(stream)
    with pytest.raises(Unavailable):
        await node.stores.streams.attach(make_principal(), NOW)


async def test_the_epoch_stays_the_same_over_reopening(node: Node) -> None:
    before = await node.stores.streams.attach(make_principal(), NOW)
    await node.reopen()
    after = await node.stores.streams.attach(make_principal(), NOW)
    assert before == after


async def test_reading_starts_after_a_number_and_stops_at_the_limit(node: Node) -> None:
    rows = await send(node, 10)
    read = node.stores.streams.read
    assert list(await read(TENANT, TEC, Stream.MAIN, after_seq=4, limit=3)) == list(rows[4:7])
    assert list(await read(TENANT, TEC, Stream.MAIN, after_seq=10, limit=3)) == []
    assert list(await read(OTHER_TENANT, TEC, Stream.MAIN, after_seq=0, limit=3)) == []
    assert list(await read(TENANT, TEC, Stream.SAFETY, after_seq=0, limit=3)) == []


async def test_bodies_and_names_come_back_as_they_were(node: Node) -> None:
    body = '{"type":"offer","why":"最近的技师 💆\u202e\\u0000"}'.encode()
    user, tenant = UserId("用户/🏠'\"--"), TenantId("租户")
    await node.stores.dispatch.commit(
        SHARD, DispatchChanges(), [OutboxDraft(tenant, user, Stream.MAIN, body, "ofr_é")], NOW
    )
    (row,) = await node.stores.streams.read(tenant, user, Stream.MAIN, after_seq=0, limit=9)
    assert (row.body, row.recipient, row.tenant, row.receipt) == (body, user, tenant, "ofr_é")


async def test_a_message_lives_until_every_living_device_has_acknowledged_it_and_then_by_retention(node: Node) -> None:
    await node.stores.streams.attach(make_principal(device="phone"), NOW)
    await node.stores.streams.attach(make_principal(device="tablet"), NOW)
    await send(node, 5)
    node.stores.streams.note_ack(TENANT, TEC, PHONE, Stream.MAIN, 5)
    node.stores.streams.note_ack(TENANT, TEC, TABLET, Stream.MAIN, 2)
    await prune(node, NOW + DAY_S / 2)
    assert await held(node) == [1, 2, 3, 4, 5]  # acknowledged, but retention has not passed
    node.clock.at = NOW + DAY_S
    node.stores.streams.note_ack(TENANT, TEC, TABLET, Stream.MAIN, 3)
    node.stores.streams.note_ack(TENANT, TEC, PHONE, Stream.MAIN, 5)
    await prune(node, NOW + DAY_S + 1)
    assert await held(node) == [4, 5]
    assert await first_seq(node) == 4
    await prune(node, NOW + 2 * DAY_S + 2)  # the tablet was not heard for a day: it no longer counts
    assert await held(node) == []
    assert await first_seq(node) == 6


async def test_numbers_go_on_after_everything_was_removed(node: Node) -> None:
    await send(node, 4)
    await prune(node, NOW + DAY_S + 1)
    assert await held(node) == []
    await node.reopen()
    assert [row.seq for row in await send(node, 2)] == [5, 6]
    assert await first_seq(node) == 5


async def test_a_device_that_never_acknowledges_cannot_keep_messages_for_ever(node: Node) -> None:
    await send(node, 3)
    for day in range(9):
        await node.stores.streams.attach(make_principal(), NOW + day * DAY_S)
        await prune(node, NOW + day * DAY_S)
        if day == 7:
            assert await held(node) == [1, 2, 3]
    assert await held(node) == []


async def test_an_acknowledgement_never_goes_back(node: Node) -> None:
    await node.stores.streams.attach(make_principal(), NOW)
    await send(node, 5)
    for seq in (5, 2):
        node.stores.streams.note_ack(TENANT, TEC, PHONE, Stream.MAIN, seq)
    await node.stores.streams.flush()
    node.stores.streams.note_ack(TENANT, TEC, PHONE, Stream.MAIN, 3)
    node.clock.at = NOW + DAY_S
    node.stores.streams.note_ack(TENANT, TEC, PHONE, Stream.MAIN, 1)
    await prune(node, NOW + DAY_S + 1)
    assert await held(node) == []


async def test_the_streams_are_kept_apart(node: Node) -> None:
    await node.stores.streams.attach(make_principal(), NOW)
    await send(node, 2)
    await node.stores.safety.commit(safety_changes(), [make_draft(stream=Stream.SAFETY)] * 2, NOW)
    node.clock.at = NOW + DAY_S
    node.stores.streams.note_ack(TENANT, TEC, PHONE, Stream.MAIN, 2)
    await prune(node, NOW + DAY_S + 1)
    assert await held(node) == []
    assert await held(node, stream=Stream.SAFETY) == [1, 2]


async def test_first_number_of_a_user_without_messages_is_one(node: Node) -> None:
    assert await first_seq(node, UserId("nobody")) == 1
    await send(node, 1)
    assert await first_seq(node) == 1


async def test_roles_of_a_city_are_found_for_a_day_also_after_reopening(node: Node) -> None:
    people = [
        make_principal("ops_2", "web", Role.OPS),
        make_principal("ops_1", "web", Role.OPS),
        make_principal("ops_1", "phone", Role.OPS),
        make_principal("ops_9", "web", Role.OPS, cities=("suzhou",)),
        make_principal("tec_1", "phone", Role.TECHNICIAN, roles=(Role.RESPONDER,)),
    ]
    for who in people:
        await node.stores.streams.attach(who, NOW)
    await node.stores.streams.flush()
    for _ in range(2):
        users = node.stores.directory.users
        assert list(users(TENANT, Role.OPS, CITY, NOW)) == ["ops_1", "ops_2"]
        assert list(users(TENANT, Role.OPS, None, NOW)) == ["ops_1", "ops_2", "ops_9"]
        assert list(users(TENANT, Role.RESPONDER, CITY, NOW + DAY_S)) == ["tec_1"]
        assert list(users(TENANT, Role.OPS, CITY, NOW + DAY_S + 1)) == []
        assert list(users(OTHER_TENANT, Role.OPS, None, NOW)) == []
        assert list(users(TENANT, Role.OPS, CityId("nowhere"), NOW)) == []
        await node.reopen()


async def test_whoever_stays_connected_for_days_without_a_message_stays_in_their_role(node: Node) -> None:
    ops = make_principal("ops_1", "web", Role.OPS)
    await node.stores.streams.attach(ops, NOW)
    for hour in range(49):
        node.stores.streams.note_alive(ops, NOW + hour * 3600)
    await node.stores.streams.flush()
    for _ in range(2):
        assert list(node.stores.directory.users(TENANT, Role.OPS, CITY, NOW + 2 * DAY_S)) == ["ops_1"]
        node.clock.at = NOW + 2 * DAY_S
        await node.reopen()


async def test_a_device_that_changed_its_roles_is_found_by_the_new_ones_only(node: Node) -> None:
    await node.stores.streams.attach(make_principal("u", role=Role.OPS), NOW)
    await node.stores.streams.attach(make_principal("u", role=Role.RESPONDER, cities=("suzhou",)), NOW)
    await node.stores.streams.flush()
    for _ in range(2):
        assert list(node.stores.directory.users(TENANT, Role.OPS, None, NOW)) == []
        assert list(node.stores.directory.users(TENANT, Role.RESPONDER, CityId("suzhou"), NOW)) == ["u"]
        await node.reopen()


async def test_callers_without_a_device_keep_no_messages(node: Node) -> None:
    await node.stores.streams.attach(make_principal(device=""), NOW)
    assert len(node.stores.directory) == 0


@pytest.mark.parametrize("users", [3])
async def test_pruning_reaches_every_recipient(node: Node, users: int) -> None:
    for n in range(users):
        await send(node, 2, user=f"u{n}")
    await prune(node, NOW + DAY_S + 1)
    assert [await held(node, UserId(f"u{n}")) for n in range(users)] == [[]] * users
