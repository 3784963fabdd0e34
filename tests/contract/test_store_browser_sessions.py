from dataclasses import replace

from core.browser_session import BrowserSession, Grant
from core.ids import CityId, DeviceId, UserId
from core.principal import Role
from tests.contract.conftest import Node
from tests.contract.store_values import NOW, OTHER_TENANT, TENANT

GRANT = Grant(
    TENANT, UserId("tec_1"), Role.TECHNICIAN, frozenset({Role.TECHNICIAN, Role.RESPONDER}),
    frozenset({CityId("shenzhen")}), "Mei", UserId("ops_1"),
)  # fmt: skip
SESSION = BrowserSession(GRANT, "web_1", "f" * 64, "app", DeviceId("d"), "Browser", NOW, NOW, NOW + 100)


async def test_a_session_is_kept_as_it_is_now_until_it_is_over(node: Node) -> None:
    store = node.stores.browser_sessions
    other = replace(SESSION, grant=replace(GRANT, tenant=OTHER_TENANT), expires_at=NOW + 200)
    await store.put(SESSION)
    await store.put(other)
    used = replace(SESSION, seen_at=NOW + 50)
    await store.put(used)
    await node.reopen()
    store = node.stores.browser_sessions
    assert sorted(await store.load(NOW), key=lambda one: one.expires_at) == [used, other]
    assert await store.load(NOW + 100) == [other]
    for _ in range(2):
        await store.remove(TENANT, "web_1")
    assert await store.load(NOW) == [other]


async def test_what_is_over_is_removed(node: Node) -> None:
    await node.stores.browser_sessions.put(replace(SESSION, expires_at=NOW - 1))
    await node.stores.browser_sessions.put(replace(SESSION, session_id="web_2"))
    if node.kind == "sqlite":
        assert await node.stores.prune(NOW) == 1  # type: ignore[union-attr]  # the twin prunes nothing
    assert [session.session_id for session in await node.stores.browser_sessions.load(NOW)] == ["web_2"]
