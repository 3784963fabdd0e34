"""The promises of safety, P1 to P24, and the property-based tests that try them.

``python -m tools.promises`` prints how many are tried; the table of ``tests/unit/safety/promises/README.md`` is written
from here by ``python -m tools.generate_docs``. A promise is tried by functions named ``test_pNN_…`` in that folder.
"""

import re
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent.parent / "tests" / "unit" / "safety" / "promises"
_TEST: Final = re.compile(r"^@given\((?:.|\n)*?^(?:async )?def (test_p(\d{2})_\w+)\(", re.MULTILINE)

PROMISES: Final[dict[int, str]] = {
    1: "Every key that was acknowledged as durable is there after any sequence of crashes and restarts.",
    2: "One incident a key, one active incident a person; every further tap is taken and counted.",
    3: "Nothing in an SOS, and no look-up that fails, is answered by an error; what cannot be read is dropped.",
    4: "The state is what the history folds to: no gap, only known arrows, only by those who may.",
    5: "Whatever is active acts by itself within 60 s.",
    6: "What was due is done, written down and told.",
    7: "A level never sinks.",
    8: "Only a person of ops ends an incident; no timer, no subject and no responder does.",
    9: "Each event is one row for each recipient and channel: delivered, due again, or not wanted any more.",
    10: "A channel that fails has a successor by the clock, until a human has it in hand.",
    11: "Messages repeated and in any order are one alarm and one view at the receiver.",
    12: "One owner, one winner a slot; grants only count up, and nothing is taken under an old one.",
    13: "No byte and no time tells the subject's devices which PIN it was, then or later.",
    14: "The subject and the other side of their booking are never told and never let in.",
    15: "A stored position is finite, in range and says its source, radius and time; else there is none. 0,0 is none.",
    16: "A trail is only added to, in the order of its fixes; every silence is a gap.",
    17: "The audit's chain verifies; any change below its last anchor is found.",
    18: "No setting and no state keeps the first tap within a minute from being stored and told.",
    19: "A flood of one person does not hold the first tap of another.",
    20: "Wrong clocks of phones and a wall clock that steps change no order and no timer.",
    21: "Somebody is told, or an alarm sounds and it is tried again within seconds.",
    22: "A drill passes the same code, and no channel makes its last hop.",
    23: "All messages again into an empty node are the same state, from the journal's bytes as well.",
    24: "When an incident ends, the right to watch its subject ends in the same turn.",
}
"""What must hold, whatever happens."""


def tests() -> dict[int, list[tuple[str, str]]]:
    """Promise -> (file, name) of the properties that try it, as they stand in the files."""
    found: dict[int, list[tuple[str, str]]] = {}
    for path in sorted(FOLDER.glob("test_*.py")):
        for name, number in _TEST.findall(path.read_text(encoding="utf-8")):
            found.setdefault(int(number), []).append((path.name, name))
    return dict(sorted(found.items()))


def table() -> str:
    """The table as Markdown."""
    found = tests()
    lines = ["", "| # | promise | tried by |", "|---|---|---|"]
    for number, promise in PROMISES.items():
        links = "<br>".join(f"[`{name}`]({file})" for file, name in found.get(number, ()))
        lines.append(f"| P{number} | {promise} | {links or 'open'} |")
    return "\n".join(lines) + "\n\n"


def main() -> None:
    """Print how many promises are tried, and which are not."""
    found = tests()
    print(f"{len(found)} of {len(PROMISES)} promises are tried ({sum(map(len, found.values()))} properties)")
    for number in sorted(PROMISES.keys() - found.keys()):
        print(f"  P{number}: {PROMISES[number]}")


if __name__ == "__main__":
    main()
