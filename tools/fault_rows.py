"""The fault table: what can go wrong with an SOS, which rows of it are tested, and why the others are not.

``python -m tools.fault_rows`` prints how many rows run; the table of ``tests/faults/README.md`` is written from here
by ``python -m tools.generate_docs``. A row is tested by functions named ``test_row_NN_…`` in ``tests/faults``.
"""

import re
from pathlib import Path
from typing import Final

FAULTS: Final = Path(__file__).resolve().parent.parent / "tests" / "faults"
_TEST: Final = re.compile(r"^(?:async )?def (test_row_(\d{1,2})_\w+)\(", re.MULTILINE)

ROWS: Final[dict[int, tuple[str, str]]] = {
    1: ("kill -9 after the frame was read, before the transaction", "no ack; sent again it is one incident"),
    2: ("kill -9 inside the transaction, at each statement", "all or nothing; no incident without its timers"),
    3: ("kill -9 after the commit, before the ack", "sent again it is the same incident"),
    4: ("kill -9 after the ack, before anybody is told", "everybody of level 0 is told within 5 s of the restart"),
    5: ("kill -9 after a frame was sent, before that is noted", "the same event again, one alarm at the client"),
    6: ("kill -9 during escalation", "each level once, none left out"),
    7: ("kill -9 while recovering from a kill", "converges, nothing lost"),
    8: ("power lost: writes without fsync dropped at every step", "every durable ack survives"),
    9: ("torn write or flipped bit in the journal's tail", "what was before it is replayed"),
    10: ("fsync answers EIO", "no durable ack from that store; it is fenced"),
    11: ("order of system calls", "fdatasync before the ack of every SOS"),
    12: ("disk full before the transaction", "ack by the journal; recovers when there is room"),
    13: ("disk and journal full", "everybody is told, `durable: false`"),
    14: ("database locked for 10 s by another writer", "ack in time by the journal; stored once"),
    15: ("database down and back", "as 14; no second incident after the replay"),
    16: ("commit timed out but did commit", "the same key is the same incident"),
    17: ("file system read-only, or permission lost", "as 12"),
    18: ("no file descriptors left", "sockets go on, an SOS gets in, accepting recovers"),
    19: ("no memory left", "started again, nothing acknowledged is lost"),
    20: ("event loop stalled for 5 s", "noticed within a second, not ready meanwhile"),
    21: ("SIGSTOP for 30 s, then SIGCONT", "nothing lost, nothing twice"),
    22: ("two schedulers for one timer", "one escalation"),
    23: ("one offer accepted twice at once", "one winner, the other is told who"),
    24: ("acknowledged by console and responder at once", "one owner"),
    25: ("accept, cancel and resolve at once", "a legal order of events"),
    26: ("Redis killed, flushed, restarted empty during an SOS", "nothing lost"),
    27: ("Redis fails over and loses writes", "nothing lost"),
    28: ("Redis slow", "the hint times out, the outbox delivers"),
    29: ("network between nodes cut, both with clients", "both page their own clients; one incident after it heals"),
    30: ("network to the database cut", "journal"),
    31: ("one-way partition", "no split ownership"),
    32: ("responder's line half open", "the next channel by the clock; the socket is dropped"),
    33: ("slow consumer (1 byte a second)", "queue bounded, SOS never dropped, others unaffected"),
    34: ("console frozen: socket alive, nobody reads", "counts as not delivered; escalates"),
    35: ("responder comes back in the middle of an incident", "active incidents before anything else"),
    36: ("SIGTERM during a burst of SOS", "none lost; clients come back"),
    37: ("rolling restart with an SOS a second", "acknowledged = stored = received"),
    38: ("other versions: unknown fields and types", "ignored; the SOS is understood"),
    39: ("client's clock off by a day, in 1970, 2038, 9999", "accepted; the server's time counts; the skew is shown"),
    40: ("server's wall clock jumps", "timers and order unaffected"),
    41: ("50 taps in 2 s", "one incident, every tap counted, people not flooded"),
    42: ("same key, other payload", "merged, never refused"),
    43: ("one person, two devices", "one incident, two triggers"),
    44: ("tap while an incident is open, acknowledged or being cancelled", "accepted, told again"),
    45: ("SOS delivered hours or days late, behind newer positions", "raised, its age shown"),
    46: ("SOS without a position, with null, with 5 km accuracy", "accepted, `unknown` or coarse"),
    47: ("NaN, Infinity, 1e999, text, `true` as a position", "the field is dropped, the SOS accepted; pings refused"),
    48: ("latitude beyond 90, longitude beyond 180, swapped", "the fix is dropped, swapping named"),
    49: ("null island, -0.0, 0.0001", "0,0 is unknown, what is only near it is kept"),
    50: ("antimeridian and poles", "distances of metres, the nearest is right"),
    51: ("1,000 km in a second; mock positions", "kept out of ranking, SOS unaffected"),
    52: ("fix times far off, numbers that fall or repeat", "nothing older overwrites anything newer"),
    53: ("oversize frame, 1 GiB in the header, huge note", "closed with 1009, others unaffected; the note is cut"),
    54: ("fragments of one byte; a message that never ends", "bounded in time and size"),
    55: ("invalid UTF-8, lone surrogate, NUL, right-to-left marks", "1007, or cleaned; the SOS is kept"),
    56: ("nesting of 100,000, 5,000 digits, members given twice", "a named error; refused where it decides rights"),
    57: ("compression bomb", "compression is not negotiated"),
    58: ("unmasked frame, reserved bits, bad opcode, close 1005", "closed with 1002"),
    59: ("handshake: wrong Origin, no Upgrade, HTTP/1.0, huge head", "4xx, no upgrade"),
    60: ("slowloris on HTTP and on the handshake, 500 at once", "cut off in time; SOS as fast as before"),
    61: ("sockets that never say who they are", "closed within 5 s"),
    62: ("10,000 messages a second from one client", "refused with a notice; its SOS and others' pass"),
    63: ("connections without end from one user or address", "bounded; room for SOS and ops"),
    64: ("1,000 people raise an SOS at once", "all stored, none hidden"),
    65: ("one customer raises SOS without need, again and again", "stored and shown; never banned"),
    66: ("forged tokens", "refused without an oracle"),
    67: ("expired token, not yet valid, revoked", "refused but for an SOS within a day, flagged"),
    68: ("token expires or is revoked while the socket is open", "the stream ends, an SOS still works"),
    69: ("replayed frames, foreign keys", "idempotent; keys belong to one person"),
    70: ("foreign ids in every route and message", "404 as for what does not exist"),
    71: ("cancel by PIN and by duress PIN", "not to be told apart"),
    72: ("wrong PINs", "taken for duress; bounded; SOS never locked out"),
    73: ("stream of the other party during an SOS", "unchanged"),
    74: ("push, SMS, webhook that fail, lie, redirect or drip", "the next channel by the clock; no redirects"),
    75: ("webhook replayed or forged", "refused by signature, time and id"),
    76: ("audit edited, reordered, truncated", "the first bad entry is named"),
    77: ("restored from an older backup", "what clients still hold is taken again"),
    78: ("config without a last resort, bad ladder", "the server refuses to start"),
    79: ("the synthetic SOS finds its path broken", "alarm by another channel, not ready"),
    80: ("two connections write and checkpoint", "one writer, by a lock"),
}
"""What goes wrong, and what must come of it."""

NOTES: Final[dict[int, str]] = {
    29: "there is one node: without a cluster there is no network between nodes to cut",
    31: "between nodes: there is one; here the line of a client is cut in one direction",
    37: "one node is restarted: there are no others yet",
}
"""Why a row cannot run here, or what of it cannot."""

OPEN: Final = frozenset({15, 22, 23, 24, 25, 27, 28, 70, 73})
"""Rows that may still be without a test; to become empty."""


def tests() -> dict[int, list[tuple[str, str]]]:
    """Row -> (file, name) of its tests, as they stand in the files."""
    found: dict[int, list[tuple[str, str]]] = {}
    for path in sorted(FAULTS.glob("test_*.py")):
        for name, number in _TEST.findall(path.read_text(encoding="utf-8")):
            found.setdefault(int(number), []).append((path.name, name))
    return dict(sorted(found.items()))


def table() -> str:
    """The table as Markdown."""
    found = tests()
    lines = ["", "| # | fault | what must come of it | where |", "|---|---|---|---|"]
    for number, (fault, expected) in ROWS.items():
        files = dict.fromkeys(name for name, _ in found.get(number, ()))
        parts = [f"[{name}]({name})" for name in files]
        parts += [NOTES[number]] if number in NOTES else []
        lines.append(f"| {number} | {fault} | {expected} | {'; '.join(parts) or 'open'} |")
    return "\n".join(lines) + "\n\n"


def main() -> None:
    """Print how many rows run, and which do not."""
    found = tests()
    count = sum(map(len, found.values()))
    print(f"{len(found)} of {len(ROWS)} rows run ({count} tests)")
    for number in sorted(ROWS.keys() - found.keys()):
        print(f"  {number:2}: {NOTES.get(number, 'open')}")


if __name__ == "__main__":
    main()
