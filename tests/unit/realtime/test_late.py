"""Who waits for a stream that cannot be read, and that nobody is kept who has left."""

from dataclasses import dataclass
from typing import Any, cast

from core.outbox import Stream
from realtime.late import LateStreams
from realtime.sender import AttachStreams
from realtime.session import Session, State


@dataclass
class Phone:
    """As much of a session as is asked."""

    state: State = State.ACTIVE
    attempt: int = 1
    principal: Any = None


def job(phone: Phone) -> AttachStreams:
    return AttachStreams(cast(Session, phone), 1, phone.principal, {})


def test_sessions_that_ended_are_forgotten_while_the_stream_is_down() -> None:
    late = LateStreams(5.0, lambda _: None)
    living = [Phone() for _ in range(300)]
    for phone in living:
        late.add(job(phone), Stream.MAIN, 0.0)
    most = 0
    for n in range(20_000):
        gone = Phone()
        late.add(job(gone), Stream.MAIN, 0.001 * n)
        gone.state = State.CLOSING
        most = max(most, len(late._streams[Stream.MAIN].jobs))
    assert most <= 2 * (len(living) + 1)
    waiting = {id(waiting.session) for waiting in late._streams[Stream.MAIN].jobs}
    assert waiting >= {id(phone) for phone in living}
