from tests.contract.conftest import Node
from tests.contract.store_values import NOW, OTHER_TENANT, TENANT


async def test_a_sign_in_that_is_over_is_remembered_until_its_time_and_no_longer(node: Node) -> None:
    await node.stores.sign_outs.put(TENANT, "one", NOW + 10)
    await node.stores.sign_outs.put(OTHER_TENANT, "one", NOW + 20)
    await node.stores.sign_outs.put(TENANT, "one", NOW + 30)
    await node.reopen()
    assert sorted(await node.stores.sign_outs.load(NOW)) == [(TENANT, "one", NOW + 30), (OTHER_TENANT, "one", NOW + 20)]
    assert await node.stores.sign_outs.load(NOW + 20) == [(TENANT, "one", NOW + 30)]


async def test_what_counts_no_more_is_removed(node: Node) -> None:
    await node.stores.sign_outs.put(TENANT, "old", NOW - 1)
    await node.stores.sign_outs.put(TENANT, "new", NOW + 1)
    if node.kind == "sqlite":
        assert await node.stores.prune(NOW) == 1  # type: ignore[union-attr]  # the twin prunes nothing
    assert [sign_in for _, sign_in, _ in await node.stores.sign_outs.load(NOW)] == ["new"]
