"""Of a duress that is over nobody takes anything out of the house alone."""

from dataclasses import replace

import pytest

from core.errors import Conflict, Forbidden
from core.ids import IncidentId, UserId
from safety.model import IncidentKind, IncidentState
from safety.second_person import ASKS_MAX, SecondPerson
from tests.contract.store_values import NOW, make_incident

ENDED = make_incident("1", state=IncidentState.RESOLVED, kind=IncidentKind.DURESS)
LI, WANG, ZHAO = UserId("ops_li"), UserId("ops_wang"), UserId("ops_zhao")


def _may(second: SecondPerson, who: UserId, now: float) -> bool:
    try:
        second.check(ENDED, who, now)
    except Forbidden:
        return False
    return True


def test_one_asks_another_allows_and_the_first_may_for_a_while() -> None:
    second = SecondPerson(600)
    assert not _may(second, LI, NOW)
    ask, asked = second.asked(ENDED, LI, "the police ask", NOW)
    second.keep(ask)
    assert not _may(second, LI, NOW + 1)
    given, allowed = second.allowed(ENDED, WANG, LI, NOW + 599)
    assert not _may(second, LI, NOW + 599), "it counts once the audit has it"
    second.keep(given)
    assert [_may(second, who, NOW + 1_198) for who in (LI, WANG, ZHAO)] == [True, False, False]
    assert not _may(second, LI, NOW + 1_199)
    assert [(entry.action, entry.actor) for entry in (asked, allowed)] == [
        ("export.asked", LI), ("export.allowed", WANG),
    ]  # fmt: skip
    assert "the police ask" in str(asked.payload)
    assert LI in str(allowed.payload)


def test_nobody_allows_their_own_nor_what_was_not_asked_or_too_long_ago() -> None:
    second = SecondPerson(600)
    second.keep(second.asked(ENDED, LI, "x", NOW)[0])
    for by, asker, at, code in (
        (LI, LI, NOW + 1, "second_person_needed"),
        (WANG, ZHAO, NOW + 1, "export_not_asked"),
        (WANG, LI, NOW + 600, "export_not_asked"),
    ):
        with pytest.raises(Conflict) as caught:
            second.allowed(ENDED, by, asker, at)
        assert caught.value.code == code
    other = replace(ENDED, incident_id=IncidentId("inc_other"))
    with pytest.raises(Conflict):
        second.allowed(other, WANG, LI, NOW + 1)
    assert (len(second.of(ENDED, NOW + 1)), second.of(other, NOW + 1)) == (1, [])


def test_what_is_no_duress_or_not_over_needs_nobody() -> None:
    second = SecondPerson(600)
    second.check(replace(ENDED, kind=IncidentKind.PANIC), LI, NOW)
    second.check(replace(ENDED, state=IncidentState.OPEN), LI, NOW)


def test_what_is_asked_is_bounded() -> None:
    second = SecondPerson(600)
    for n in range(ASKS_MAX + 1):
        second.keep(second.asked(ENDED, UserId(f"ops_{n}"), "x", NOW)[0])
    found = second.of(ENDED, NOW)
    assert (len(found), found[0].by) == (ASKS_MAX, "ops_1")
