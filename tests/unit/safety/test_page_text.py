"""What is written outside the hub says enough to act, and no more than the channel may know."""

from dataclasses import replace

from safety.model import CapStatus, Incident, IncidentState
from safety.page_text import LISTED_MAX, PageMessage, compose
from safety.pages import Channel, Page
from safety.reach import Language
from tests.contract.store_values import NOW, make_incident, make_page
from tests.unit.safety.neighbourhood import booked


def message(
    incident: Incident | None = None,
    *,
    page: Page | None = None,
    language: Language = Language.EN,
    details: bool = True,
) -> PageMessage:
    return compose(
        Channel.SMS,
        (incident or make_incident(),),
        (page or make_page(),),
        NOW + 90,
        language=language,
        details=details,
        console_url="https://c.example/{incident}",
        name_of="Anna",
    )


def test_all_that_is_needed_stands_in_it() -> None:
    incident = make_incident(booked=booked(), city="shenzhen")
    text = message(incident).text
    for part in ("SOS", "shenzhen", "level 0", "90 s ago", "Anna", "1 Long Lane 3b second door", "not GPS", "救命"):
        assert part in text, part
    assert text.endswith("https://c.example/inc_1")
    assert "Silent alarm: do not call" in text


def test_without_details_nobody_is_named() -> None:
    text = message(make_incident(booked=booked()), details=False).text
    for part in ("Anna", "Long Lane", "救命"):
        assert part not in text


def test_both_languages_say_the_same_things() -> None:
    both = [message(language=language) for language in Language]
    assert len({len(one.lines) for one in both}) == 1
    assert "求助" in message(language=Language.ZH).title


def test_a_drill_says_so_first() -> None:
    assert message(make_incident(cap_status=CapStatus.EXERCISE)).title.startswith("[EXERCISE]")


def test_the_end_is_told_as_the_end() -> None:
    ended = message(make_incident(state=IncidentState.RESOLVED))
    assert ended.title.startswith("SOS ended")
    assert "Nobody has taken it" not in ended.text


def test_several_are_listed_and_more_are_counted() -> None:
    count = LISTED_MAX + 5
    incidents = [make_incident(str(n)) for n in range(count)]
    pages = [make_page(incident=str(n)) for n in range(count)]
    several = compose(Channel.ROBOT, incidents, pages, NOW, language=Language.EN, details=False, console_url="")
    assert f"{count} incidents" in several.title
    assert len(several.lines) == LISTED_MAX + 1
    assert "5 more" in several.lines[-1]
    assert len(several.incidents) == count


def test_an_attempt_that_is_made_again_has_the_same_id_and_a_later_ring_another() -> None:
    page = make_page()
    assert message(page=page).event_id == message(page=page).event_id
    assert message(page=replace(page, round=2)).event_id != message(page=page).event_id
