import io

from rich.console import Console

from cli.demo import print_summary
from geo.pings import MEANINGS, Verdict
from sim.demo import DemoState


def summary(**counts: int) -> str:
    state = DemoState(orders={"ord_1": "confirmed"})
    state.tally.counts.update({name.replace("__", "."): count for name, count in counts.items()})
    out = io.StringIO()
    print_summary(Console(file=out, width=80), state)
    return out.getvalue()


def test_every_verdict_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Verdict)


def test_the_summary_says_what_became_of_the_positions_in_words() -> None:
    text = summary(
        pings=4_049, verdict__live=3_000, verdict__duplicate=1_000, sos_acked=1, incidents_acknowledged=1, drill__ok=1
    )
    rows = {cells[1].strip(): cells for line in text.splitlines() if len(cells := line.split("│")) == 6}
    assert "reported 4,049 positions" in text
    assert [cell.strip() for cell in rows["live"][2:5]] == ["3,000", "75.0 %", "where the person now is"]
    assert rows["duplicate"][2].strip() == "1,000"
    assert rows["all"][2].strip() == "4,000"
    assert "Of the last ones 49 had no answer yet" in text
    assert "shed" not in rows
    assert "{" not in text
    assert "The demo succeeded: 1 order served, and the SOS was stored and acknowledged." in text


def test_the_summary_says_what_is_wrong() -> None:
    text = summary(sos_acked=1, second_job=2, drill__ok=1)
    assert "2 technicians got a second job" in text
    assert "Not enough was seen: nobody acknowledged the SOS." in text
    assert "succeeded" not in text


def test_the_summary_says_how_many_tried_the_alarm_and_how_long_it_took() -> None:
    state = DemoState(orders={"ord_1": "confirmed"})
    state.tally.counts.update({"drills": 3, "drill.ok": 2, "sos_acked": 1, "incidents_acknowledged": 1})
    state.tally.took("drill", 0.012)
    out = io.StringIO()
    print_summary(Console(file=out, width=200), state)
    assert "2 of 3 technicians tried the alarm" in out.getvalue()
    assert "12 ms (median)" in out.getvalue()
    assert "nobody came through a drill" in summary(sos_acked=1)
