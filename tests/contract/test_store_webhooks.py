"""The webhooks' queue: written with the change or not at all, kept over a restart, emptied by what was delivered."""

from dataclasses import replace

import pytest

from core.errors import Unavailable
from core.notice import Notice
from store.sqlite import Stores
from tests.contract.conftest import Node
from tests.contract.store_values import NOW, SHARD, TENANT, changes_of, make_order
from webhooks.model import Dead, Delivery, Settled


def notice(name: str, endpoint: str = "a", at: float = NOW) -> Notice:
    return Notice(TENANT, endpoint, f"evt_{name}", "order.placed", b'{"x":"\xe6\x9d\x8e"}', at)


async def write(node: Node, *notices: Notice, order: str = "1", version: int = 1) -> None:
    changes = changes_of(make_order(order, version=version))
    changes.notices = list(notices)
    await node.stores.dispatch.commit(SHARD, changes, [], NOW)


async def test_notices_are_stored_with_the_change_and_found_after_a_restart(node: Node) -> None:
    later = notice("0", at=NOW + 1)
    await write(node, later, notice("2"), notice("1"), notice("1", "b"))
    await node.reopen()
    assert await node.stores.webhooks.waiting() == {"a": 3, "b": 1}
    found = await node.stores.webhooks.due_first("a", limit=9)
    assert list(found) == [Delivery(notice("1"), 0, NOW), Delivery(notice("2"), 0, NOW), Delivery(later, 0, NOW + 1)]
    assert len(await node.stores.webhooks.due_first("a", limit=2)) == 2


async def test_a_change_that_is_refused_leaves_no_notice(node: Node) -> None:
    with pytest.raises(Unavailable):
        await write(node, notice("1"), version=7)
    assert await node.stores.webhooks.waiting() == {}


async def test_a_notice_that_is_there_already_costs_the_change_nothing(node: Node) -> None:
    await write(node, notice("1"))
    await write(node, notice("1"), notice("2"), order="2")
    assert await node.stores.webhooks.waiting() == {"a": 2}


async def test_what_became_of_an_attempt_is_kept(node: Node) -> None:
    await write(node, *(notice(name) for name in "1234"))
    one, two, three, four = await node.stores.webhooks.due_first("a", limit=9)
    settled = [
        Settled(one, is_done=True),
        Settled(replace(two, attempts=3, next_at=NOW + 50)),
        Settled(replace(three, attempts=9), Dead.ATTEMPTS),
    ]
    await node.stores.webhooks.keep(settled, NOW)
    await node.stores.webhooks.keep(settled, NOW)  # told twice after a crash
    await node.reopen()
    assert list(await node.stores.webhooks.due_first("a", limit=9)) == [four, settled[1].delivery]
    assert await node.stores.webhooks.waiting() == {"a": 2}


async def test_what_waits_for_an_endpoint_that_is_gone_is_dead(node: Node) -> None:
    await write(node, notice("1"), notice("2"), notice("1", "b"))
    assert await node.stores.webhooks.abandon({"b"}, NOW) == 2
    assert await node.stores.webhooks.abandon({"b"}, NOW) == 0
    assert await node.stores.webhooks.waiting() == {"b": 1}


@pytest.mark.parametrize("node", ["sqlite"], indirect=True)  # the twin keeps none of the dead
async def test_the_dead_are_forgotten_after_a_while(node: Node) -> None:
    assert isinstance(node.stores, Stores)
    await write(node, notice("1"), notice("2"))
    first, _ = await node.stores.webhooks.due_first("a", limit=9)
    await node.stores.webhooks.keep([Settled(first, Dead.GONE)], NOW)
    keep_s = node.settings.retention.webhooks_dead_s
    assert await node.stores.prune(NOW + keep_s - 1) == 0
    assert await node.stores.prune(NOW + keep_s + 1) == 1
    assert await node.stores.webhooks.waiting() == {"a": 1}
