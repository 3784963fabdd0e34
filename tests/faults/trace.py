"""Reads what strace wrote: which system calls of a server began and ended in which order."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_LINE = re.compile(r"^(?P<pid>\d+)\s+(?P<rest>.*)$")
_BEGUN = re.compile(r"^(?P<name>\w+)\((?P<args>.*?)(?P<open> <unfinished \.\.\.>)?$")
_RESUMED = re.compile(r"^<\.\.\. (?P<name>\w+) resumed>(?P<args>.*)$")
_RESULT = re.compile(r"\)\s+= (?P<result>-?\d+)[^=]*$")
_ESCAPED = re.compile(r"\\(?:\"|\\)")


@dataclass
class Call:
    """One system call. ``began`` and ``ended`` are line numbers: the order in which one tracer saw them.

    A thread stands still from the moment the tracer sees an event of it until it is let go, so an event that another
    thread causes afterwards is always seen later.
    """

    pid: str
    name: str
    args: str
    began: int
    ended: int | None = None
    result: int | None = None

    def holds(self, *texts: str) -> bool:
        return all(text in self.args for text in texts)


def read_trace(lines: Iterable[str]) -> list[Call]:
    """Calls in the order in which they began."""
    calls: list[Call] = []
    open_of: dict[tuple[str, str], Call] = {}
    for number, line in enumerate(lines):
        found = _LINE.match(line)
        if found is None:
            continue
        pid, rest = found["pid"], found["rest"]
        resumed = _RESUMED.match(rest)
        if resumed is not None:
            call = open_of.pop((pid, resumed["name"]), None)
            if call is not None:
                call.args += resumed["args"]
                _end(call, number)
            continue
        begun = _BEGUN.match(rest)
        if begun is None:
            continue
        args = _ESCAPED.sub(lambda escape: escape[0][1], begun["args"])
        call = Call(pid, begun["name"], args, number)
        calls.append(call)
        if begun["open"]:
            open_of[pid, call.name] = call
        else:
            _end(call, number)
    return calls


def _end(call: Call, number: int) -> None:
    result = _RESULT.search(call.args)
    call.ended = number
    call.result = int(result["result"]) if result is not None else None


def synced_before_sent(calls: list[Call], file: str, *, written: str, sent: tuple[str, ...]) -> tuple[Call, Call, Call]:
    """The first write of ``written`` (a regular expression) to ``file``, the sync after it, the first send of ``sent``.

    Raises:
        AssertionError: One of them is missing, or the bytes left before the sync had ended.
    """
    write = next(
        (c for c in calls if c.name.startswith("pwrite") and c.holds(f"/{file}>") and re.search(written, c.args)), None
    )
    assert write is not None, f"{written} was never written to {file}"
    send = next((c for c in calls if c.name in ("sendto", "sendmsg", "write", "writev") and c.holds(*sent)), None)
    assert send is not None, f"{sent} was never sent"
    syncs = [
        c
        for c in calls
        if c.name in ("fdatasync", "fsync") and c.holds(f"/{file}>") and c.result == 0 and c.began > write.began
    ]
    assert syncs, f"{file} was never synced after {written}"
    sync = syncs[0]
    assert sync.ended is not None
    assert sync.ended < send.began, f"{sent} left in line {send.began}, {file} was synced only in line {sync.ended}"
    return write, sync, send
