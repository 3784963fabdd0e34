"""Sessions: found by their secret alone, over in time, so many for each person."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.browser_sessions import BrowserSessions, hashed
from api.settings import SignInSettings
from core.browser_session import BrowserSession, Grant
from core.errors import Refused, Unavailable
from core.ids import DeviceId, TenantId, UserId
from core.principal import Role
from tests.unit.safety.neighbourhood import CountingIds

NOW = 1_000_000.0
TENANT = TenantId("demo")


def make(**settings: Any) -> BrowserSessions:
    return BrowserSessions(SignInSettings(**settings), CountingIds())


def grant(user: str = "tec_1", role: Role = Role.TECHNICIAN, tenant: TenantId = TENANT) -> Grant:
    return Grant(tenant, UserId(user), role, frozenset({role}), frozenset())


def begin(
    book: BrowserSessions, now: float = NOW, page: str = "app", before: BrowserSession | None = None, **who: Any
) -> tuple[BrowserSession, str, list[BrowserSession]]:
    begun = book.begin(grant(**who), page, DeviceId("d"), "agent" * 100, now, before=before)
    book.keep(begun.session)
    for old in begun.ended:
        book.drop(old)
    return begun.session, begun.secret, list(begun.ended)


def is_open(book: BrowserSessions, secret: str, now: float, page: str = "app") -> bool:
    try:
        book.opened(secret, page, now)
    except Refused:
        return False
    return True


def test_a_session_is_opened_by_its_secret_on_its_page_and_by_nothing_else() -> None:
    book = make()
    session, secret, _ = begin(book)
    assert book.opened(secret, "app", NOW) is session
    for wrong in ("", secret[:-1], secret + "x", session.secret_hash, session.session_id, "\ud800"):
        assert not is_open(book, wrong, NOW)
    assert not is_open(book, secret, NOW, page="console")
    assert secret not in repr(session)
    assert session.secret_hash == hashed(secret)
    assert len(session.agent) <= 120


def test_nothing_is_begun_before_it_is_kept() -> None:
    book = make()
    begun = book.begin(grant(), "app", DeviceId("d"), "", NOW, before=None)
    assert not is_open(book, begun.secret, NOW)
    assert len(book) == 0


def test_a_session_ends_when_it_was_not_used_and_at_the_latest_at_its_end() -> None:
    book = make(idle_s=1_000, life_s=5_000)
    _, secret, _ = begin(book)
    now = NOW
    for _ in range(4):
        now += 999
        used = book.seen(book.opened(secret, "app", now), now)
        assert used is not None
        book.keep(used)
    assert is_open(book, secret, now + 999)
    assert not is_open(book, secret, now + 1_000)
    used = book.seen(book.opened(secret, "app", now + 999), now + 999)
    assert used is not None
    book.keep(used)
    assert not is_open(book, secret, NOW + 5_000)
    assert book.expire(NOW + 5_000) == 1
    assert len(book) == 0


def test_ops_are_signed_in_for_a_shift() -> None:
    book = make()
    session, secret, _ = begin(book, role=Role.OPS)
    assert book.idle_s(session) == 14_400
    assert is_open(book, secret, NOW + 14_399)
    assert not is_open(book, secret, NOW + 14_400)
    assert session.expires_at == NOW + 57_600


def test_that_it_was_used_is_news_once_in_a_minute() -> None:
    book = make()
    session, _, _ = begin(book)
    assert book.seen(session, NOW + 59) is None
    assert book.seen(session, NOW + 60) is not None


def test_one_browser_too_many_ends_the_oldest() -> None:
    book = make(sessions_per_user_max=2)
    first, second = begin(book, NOW), begin(book, NOW + 1)
    begin(book, NOW + 1, user="tec_2")
    third = begin(book, NOW + 2)
    assert third[2] == [first[0]]
    assert [is_open(book, one[1], NOW + 2) for one in (first, second, third)] == [False, True, True]
    # Signing in again on the same page takes the place of what was there.
    again = begin(book, NOW + 3, before=third[0])
    assert again[2] == [third[0]]
    assert book.of(TENANT, UserId("tec_1"), NOW + 3) == [second[0], again[0]]


def test_more_sessions_than_there_is_room_for_are_refused() -> None:
    book = make(sessions_max=1)
    mine, _, _ = begin(book)
    with pytest.raises(Unavailable) as caught:
        begin(book, user="tec_2")
    assert caught.value.code == "overloaded"
    begin(book, before=mine)  # in the place of one's own


def test_a_session_is_found_by_its_name_in_its_tenant_alone() -> None:
    book = make()
    session, _, _ = begin(book)
    assert book.find(TENANT, session.session_id) is session
    assert book.find(TenantId("other"), session.session_id) is None
    book.drop(session)
    book.drop(session)
    assert book.find(TENANT, session.session_id) is None


@given(
    st.lists(
        st.tuples(st.sampled_from(["begin", "drop", "use"]), st.integers(0, 2), st.integers(1, 2_000)), max_size=40
    )
)
def test_whatever_happens_nobody_has_more_than_the_bound_and_what_is_loaded_is_what_was(steps: Any) -> None:
    book = make(sessions_per_user_max=2, idle_s=1_500, life_s=4_000)
    now, secrets = NOW, list[tuple[str, BrowserSession]]()
    for what, person, wait_s in steps:
        now += wait_s
        if what == "begin":
            session, secret, _ = begin(book, now, user=f"tec_{person}")
            secrets.append((secret, session))
        elif secrets and what == "drop":
            book.drop(secrets[person % len(secrets)][1])
        elif secrets and is_open(book, secrets[-1][0], now):
            used = book.seen(book.opened(secrets[-1][0], "app", now), now)
            if used is not None:
                book.keep(used)
        for n in range(3):
            assert len(book.of(TENANT, UserId(f"tec_{n}"), now)) <= 2
    book.expire(now)
    copy = make(sessions_per_user_max=2, idle_s=1_500, life_s=4_000)
    copy.load([session for n in range(3) for session in book.of(TENANT, UserId(f"tec_{n}"), now)])
    assert [is_open(copy, secret, now) for secret, _ in secrets] == [is_open(book, s, now) for s, _ in secrets]
    assert len(copy) == len(book)
