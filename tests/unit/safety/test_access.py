"""Who reads a case: whom it was sent to while it is theirs, ops of its city always."""

import json

from api.outbound import SafetyOutbound
from core.ids import UserId
from geo.point import Frame
from safety.access import may_read, may_see
from safety.events import Effect, NotifyTargets, Reason, UpdateTargets
from safety.model import OfferState
from tests.unit.safety.desk import Desk, desk, responder
from tests.unit.safety.neighbourhood import ANNA, OPS, OPS_BJ


def _readers(one: Desk, *numbers: int) -> list[int]:
    return [n for n in numbers if may_read(one.incident, responder(n))]


def _told(effects: list[Effect]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for effect in effects:
        if isinstance(effect, NotifyTargets | UpdateTargets):
            for target in effect.targets:
                found.setdefault(target.user, []).append(effect.reason)
    return found


def test_who_said_no_or_is_not_waited_for_reads_nothing_while_others_go() -> None:
    one = desk(offer_ttl_s=20, offers_parallel=4, responder_slots=2, responders_level_0=5)
    one.decline(responder(2))
    assert _readers(one, 0, 1, 2) == [0, 1, 2], "nobody goes yet: the one who said no may still change their mind"
    first = _told(one.go(responder(0)))
    assert first["tec_02"] == [Reason.WITHDRAWN]
    assert _readers(one, 0, 1, 2) == [0, 1], "the other may still be the second"
    second = _told(one.go(responder(1)))
    assert second["tec_03"] == [Reason.WITHDRAWN], "they are not waited for"
    assert _readers(one, 0, 1, 2, 3) == [0, 1]
    assert may_see(one.incident, responder(3))
    assert may_read(one.incident, OPS)
    assert not {"tec_02", "tec_03"} & set(_told(one.note("he has a knife")))


def test_when_nobody_comes_any_more_all_of_it_is_theirs_again() -> None:
    one = desk(offer_ttl_s=20, offers_parallel=2, responder_slots=1, responders_level_0=2)
    one.go(responder(0))
    assert _readers(one, 0, 1) == [0]
    again = _told(one.decline(responder(0)))
    assert _readers(one, 0, 1) == [0, 1]
    assert again["tec_01"] == [Reason.DECLINED]
    assert "tec_01" in one.asked(), "who was spared is asked anew"


def test_an_offer_that_ran_out_is_not_an_end_as_long_as_nobody_goes() -> None:
    one = desk(offer_ttl_s=20, offers_parallel=2, responders_level_0=2)
    one.run(21)
    assert [offer.state for offer in one.incident.offers[:2]] == [OfferState.EXPIRED] * 2
    assert _readers(one, 0, 1) == [0, 1]


def test_after_the_end_only_ops_of_its_city_read_it_and_the_others_hear_that_it_ended() -> None:
    one = desk()
    one.ack()
    one.go(responder(0))
    effects = one.resolve()
    assert (may_read(one.incident, OPS), _readers(one, 0, 1)) == (True, [])
    assert not may_read(one.incident, OPS_BJ)
    assert not may_see(one.incident, ANNA)
    drafts = SafetyOutbound(Frame.GCJ02).drafts(effects, one.now)
    said = {str(draft.recipient): json.loads(draft.body) for draft in drafts}
    assert said["ops_0"]["owner"] == "ops_0"
    for user in ("tec_00", "tec_01"):
        end = said[user]
        assert (end["state"], end["disposition"], end["why"]) == ("resolved", "real_handled", "resolved")
        assert not {"owner", "kind", "proposed", "cancel_asked_at"} & set(end), "nothing of others"
    assert [going["user"] for going in said["tec_00"]["responders"]] == ["tec_00"]
    assert "responders" not in said["tec_01"]


def test_a_reopened_case_is_read_again_by_whom_it_calls() -> None:
    one = desk()
    one.ack()
    one.resolve()
    assert _readers(one, 0) == []
    one.reopen()
    assert _readers(one, 0) == [0]
    assert UserId("tec_00") in {target.user for target in one.incident.targets}
