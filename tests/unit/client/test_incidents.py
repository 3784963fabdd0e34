from typing import Any

from doorstep_client.incidents import INCIDENTS_MAX, IncidentBook
from hypothesis import given
from hypothesis import strategies as st


def whole(version: int, state: str = "open", **more: Any) -> dict[str, Any]:
    return {"type": "incident", "incident": "inc_1", "state": state, "subject": "tec_1", "version": version, **more}


def update(version: int, state: str = "open", **more: Any) -> dict[str, Any]:
    return {"type": "incident.update", "incident": "inc_1", "state": state, "version": version, **more}


STORY = [
    whole(1, level=0),
    whole(2, level=1, asked={"fence": 1}),
    whole(2, level=1, asked={"fence": 2}),
    update(3, "acknowledged", owner="ops_1"),
    whole(4, "acknowledged", owner="ops_1", note="a"),
    update(5, "open", level=2),
    update(6, "acknowledged", owner="ops_2", responders=["rsp_1"]),
]


@given(st.lists(st.sampled_from(range(len(STORY))), max_size=20), st.permutations(range(len(STORY))))
def test_however_often_and_in_whatever_order_it_comes_there_is_one_alarm_and_one_view(
    more: list[int], order: list[int]
) -> None:
    straight, shuffled = IncidentBook(), IncidentBook()
    for body in STORY:
        straight.take(body)
    alarms = sum(shuffled.take(STORY[n]) is True for n in [*order, *more])
    assert alarms == 1
    assert shuffled.view("inc_1") == straight.view("inc_1")
    assert shuffled.view("inc_1")["owner"] == "ops_2"


def test_an_update_gives_back_their_defaults_to_what_it_leaves_out() -> None:
    book = IncidentBook()
    book.take(whole(1, "acknowledged", owner="ops_1", note="a"))
    book.take(update(2))
    assert "owner" not in book.view("inc_1")
    assert book.view("inc_1")["note"] == "a"


def test_it_rings_again_only_when_it_is_on_again_after_it_was_over() -> None:
    book = IncidentBook()
    story = [whole(1), update(2, "resolved"), update(3), whole(4), update(5, "closed"), whole(4)]
    assert [book.take(body) for body in story] == [True, False, True, False, False, None]


def test_what_is_over_or_taken_away_does_not_ring() -> None:
    assert IncidentBook().take(whole(3, "closed")) is False
    assert IncidentBook().take(update(3, why="withdrawn")) is False


def test_after_a_restore_a_lower_version_counts_and_what_rang_is_still() -> None:
    book = IncidentBook()
    book.take(whole(9))
    book.begin_anew()
    assert book.view("inc_1")["subject"] == "tec_1"
    assert book.take(update(4, "acknowledged")) is False
    assert book.view("inc_1")["state"] == "acknowledged"


def test_a_server_that_names_no_version_is_believed_in_its_order() -> None:
    book = IncidentBook()
    bodies = [whole(0), update(0, "acknowledged"), whole(0, "resolved")]
    for body in bodies:
        del body["version"]
    assert [book.take(body) for body in bodies] == [True, False, False]
    assert book.view("inc_1")["state"] == "resolved"


def test_it_remembers_so_many_and_forgets_first_what_is_over() -> None:
    book = IncidentBook()
    for n in range(INCIDENTS_MAX + 1):
        book.take(whole(1, "closed" if n == 7 else "open") | {"incident": f"inc_{n}"})
    assert book.view("inc_7") == {}
    assert book.view("inc_0")
    assert book.view(f"inc_{INCIDENTS_MAX}")
