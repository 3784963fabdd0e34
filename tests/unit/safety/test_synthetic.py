"""When a synthetic SOS is due, and when the path counts as broken."""

from dataclasses import replace

from safety.pages import Channel, Hop, HopState, Page, RecipientKind
from safety.reach import SyntheticSettings
from safety.synthetic import NOT_STORED, SUBJECTS, Ended, Synthetic
from tests.contract.store_values import NOW, make_page

SETTINGS = SyntheticSettings(first_s=2, every_s=60, timeout_s=20, misses_max=2)
LINES = ("sms", "robot:hq")


def pages(sms: HopState = HopState.TAKEN, robot: HopState = HopState.TAKEN, at: float = NOW) -> list[Page]:
    def page(kind: RecipientKind, name: str, channel: Channel, state: HopState) -> Page:
        return replace(make_page(), kind=kind, name=name, hops=(Hop(channel, state, at, settled_at=at + 0.1),))

    return [
        page(RecipientKind.SUPERVISOR, "synthetic", Channel.SMS, sms),
        page(RecipientKind.ROBOT, "hq", Channel.ROBOT, robot),
    ]


def miss(path: Synthetic, at: float) -> Ended:
    assert path.due(at) is not None
    ended = path.look(pages(robot=HopState.WAITING), at + 20)
    assert ended is not None
    return ended


def test_one_a_minute_and_never_two_at_once() -> None:
    path = Synthetic(SETTINGS, NOW, LINES)
    assert path.due(NOW + 1) is None
    assert path.due(NOW + 2) is not None
    assert path.due(NOW + 70) is None  # the first is still under way
    assert path.look(pages(), NOW + 71) is not None
    assert path.due(NOW + 71) is not None


def test_it_came_through_when_every_line_has_taken_it() -> None:
    path = Synthetic(SETTINGS, NOW, LINES)
    path.due(NOW + 2)
    assert path.look([], NOW + 3) is None
    assert path.look(pages(sms=HopState.SENDING), NOW + 3) is None
    ended = path.look(pages(at=NOW + 2), NOW + 4)
    assert ended is not None
    assert ended.came_through
    assert path.round_trip_s is not None
    assert abs(path.round_trip_s - 0.1) < 1e-6
    assert path.look(pages(), NOW + 5) is None


def test_the_second_miss_in_a_row_is_an_alarm_that_names_the_broken_line() -> None:
    path = Synthetic(SETTINGS, NOW, LINES)
    first, second = miss(path, NOW + 2), miss(path, NOW + 22)  # at once
    assert (first.is_alarm, second.is_alarm) == (False, True)
    assert second.broken == {"robot:hq"}
    assert path.is_broken
    assert path.due(NOW + 43) is None  # known by now: no hurry
    later = [miss(path, NOW + 82 + 60 * n).is_alarm for n in range(30)]
    assert sum(later) == 2  # and said again now and then


def test_one_that_comes_through_says_so_after_an_alarm_only() -> None:
    path = Synthetic(SETTINGS, NOW, LINES)
    miss(path, NOW + 2)
    path.due(NOW + 62)
    ended = path.look(pages(), NOW + 63)
    assert ended is not None
    assert not ended.is_recovery
    miss(path, NOW + 122)
    miss(path, NOW + 182)
    path.due(NOW + 242)
    ended = path.look(pages(), NOW + 243)
    assert ended is not None
    assert ended.is_recovery
    assert not path.is_broken


def test_a_store_that_keeps_nothing_is_named() -> None:
    path = Synthetic(SETTINGS, NOW, LINES)
    path.due(NOW + 2)
    ended = path.look([], NOW + 22)
    assert ended is not None
    assert ended.broken == {NOT_STORED}


def test_a_line_that_nobody_called_is_broken() -> None:
    path = Synthetic(SETTINGS, NOW, (*LINES, "voice"))
    path.due(NOW + 2)
    ended = path.look(pages(), NOW + 22)
    assert ended is not None
    assert ended.broken == {"voice"}


def test_subjects_take_turns() -> None:
    """The same one again within half an hour would open its last incident again."""
    path = Synthetic(SETTINGS, NOW, LINES)
    seen = []
    for n in range(SUBJECTS + 1):
        probe = path.due(NOW + 2 + 60 * n)
        assert probe is not None
        seen.append(probe.subject)
        path.look(pages(), NOW + 3 + 60 * n)
    assert len(set(seen)) == SUBJECTS
    assert seen[0] == seen[-1]
