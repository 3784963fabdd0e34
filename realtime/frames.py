"""What each frame leads to: requests to the domains, watching, acknowledgements, an SOS in whatever state it comes.

Here are the rules of the catalogue: what a session may say before its welcome, while it is restricted and after its
end, what an error costs, and that an SOS is read even where nothing else is. A frame that holds one ping never comes
here (``engine.py``); what becomes of pings is in ``pings.py``.
"""

from collections.abc import Callable
from typing import Final, get_args

from core.errors import DoorstepError, Forbidden, Unavailable
from realtime.admission import Admission
from realtime.codec import DECODE_ERRORS, Encoding, SosIn, transcode
from realtime.errors import CloseCode, Unreadable
from realtime.messages import (
    Ack,
    CheckinAnswer,
    Command,
    Error,
    Heartbeat,
    HeartbeatIn,
    Hello,
    Ok,
    Pings,
    Refresh,
    SosCancel,
    Unwatch,
    Watch,
)
from realtime.pings import PingPath
from realtime.ports import RealtimePorts
from realtime.sender import Sender
from realtime.session import Person, Session, State, take_tokens
from realtime.settings import SessionSettings
from realtime.watching import Watching

_COMMANDS: Final = get_args(Command)
_WHEN_RESTRICTED: Final = (CheckinAnswer,)
"""Commands of somebody whose token has expired: they may be the cry for help."""
_FOR_ORDER: Final = (HeartbeatIn, Refresh, Watch, Unwatch, SosCancel)
"""Messages of somebody who may do nothing but about one order; an SOS is taken before they are asked."""


class Frames:
    """Takes every frame but single pings to where it belongs.

    Args:
        limits: Of sessions.
        ports: The hub's ports.
        admission: Hello, refresh, and the end of those who err too often.
        sender: Takes acknowledgements.
        watching: Takes requests to watch.
        pings: Takes batches, and what may have been a ping.
        heard: Told of each frame of somebody who may be on duty.
        count: Counts a named outcome.
    """

    def __init__(
        self,
        limits: SessionSettings,
        ports: RealtimePorts,
        admission: Admission,
        sender: Sender,
        watching: Watching,
        pings: PingPath,
        heard: Callable[[Person | None, float], None],
        count: Callable[[str], None],
    ) -> None:
        self._limits = limits
        self._ports = ports
        self._admission = admission
        self._sender = sender
        self._watching = watching
        self._pings = pings
        self._heard = heard
        self._count = count

    # -- running --------------------------------------------------------------------------------------

    def handle(self, session: Session, message: object, payload: bytes, now: float) -> None:
        """A frame of a session that runs."""
        if isinstance(message, SosIn):
            self._sos(session, payload, session.codec.encoding, now)
            return
        self._heard(session.person, now)
        if isinstance(message, Pings):
            self._pings.add_many(session, message, now)
            return
        if isinstance(message, Ack) and self._sender.ack(session, message, now):
            return  # as many of these as rows were sent cost nothing: whoever replays a week must not be throttled
        if not self._take_message_token(session, now, getattr(message, "ref", None)):
            return
        try:
            session.codec.check_members(payload)
            session.violations = 0
            self._do(session, message, now)
        except DoorstepError as error:
            self._error(session, error, getattr(message, "ref", None), now)

    def _do(self, session: Session, message: object, now: float) -> None:
        if isinstance(message, HeartbeatIn):
            session.send(Heartbeat(server_at=round(now, 3)))
        elif isinstance(message, _COMMANDS):
            self._ports.inbound.command(session.principal, message, now, self._replier(session, message.ref))
        elif isinstance(message, Watch):
            self._watching.watch(session, message, now)
        elif isinstance(message, Unwatch):
            self._watching.unwatch(session, message)
        elif isinstance(message, Refresh):
            self._admission.refresh(session, message, now)
        elif not isinstance(message, Ack):
            raise DoorstepError("the session has begun already", code="unexpected")

    def undecodable(self, session: Session, payload: bytes, error: Exception, now: float) -> None:
        """A frame that cannot be read: an SOS is raised all the same, and what is left of pings is judged."""
        codec = session.codec
        encoding = codec.sos_encoding(payload)
        if encoding is not None:
            self._sos(session, payload, encoding, now)
            return
        if session.state is State.ACTIVE:
            partial = codec.salvage_pings(payload)
            if partial is not None:
                self._pings.add_many(session, partial, now)
                return
            if codec.reads_as_ping(payload):
                self._pings.invalid(session, codec.ping_seq(payload))
                return
        self._refuse(session, codec.unreadable(payload, error), now)

    # -- not running ----------------------------------------------------------------------------------

    def handle_elsewhere(self, session: Session, payload: bytes, now: float) -> None:
        """A frame before the session runs, while it is restricted, or after it ended."""
        try:
            message = session.decode(payload)
        except DECODE_ERRORS as error:
            encoding = session.codec.sos_encoding(payload)
            if encoding is not None and session.who is not None:
                self._sos(session, payload, encoding, now)
            elif session.state is State.AWAITING_HELLO:
                self._refuse(session, session.codec.unreadable(payload, error), now)
                if encoding is None:
                    self._admission.close(session, CloseCode.PROTOCOL, "no hello", now)
            elif session.state is State.ATTACHING:
                self._wait(session, payload, now)
            elif session.state in (State.RESTRICTED, State.FOR_ORDER):
                self.undecodable(session, payload, error, now)
            return
        if isinstance(message, SosIn) and session.who is not None:
            self._sos(session, payload, session.codec.encoding, now)
        elif session.state is State.AWAITING_HELLO:
            self._greet(session, message, payload, now)
        elif session.state is State.ATTACHING:
            self._wait(session, payload, now)
        elif session.state is State.RESTRICTED:
            self._handle_restricted(session, message, payload, now)
        elif session.state is State.FOR_ORDER:
            self._handle_for_order(session, message, payload, now)

    def handle_damaged(self, session: Session, payload: bytes, now: float) -> bool:
        """What there is of a message that the transport refuses; True when it was an SOS, now raised."""
        if session.who is None:
            return False
        try:
            is_sos = isinstance(session.decode(payload), SosIn)
            encoding = session.codec.encoding if is_sos else None
        except DECODE_ERRORS:
            encoding = session.codec.sos_encoding(payload)
        if encoding is None:
            return False
        self._count("sos_damaged")
        self._sos(session, payload, encoding, now)
        return True

    def _greet(self, session: Session, message: object, payload: bytes, now: float) -> None:
        if isinstance(message, Hello):
            try:
                session.codec.check_members(payload)
            except Unreadable as error:
                self._error(session, error, None, now)
                self._admission.close(session, CloseCode.PROTOCOL, error.code, now)
                return
            self._admission.hello(session, message, now)
        elif isinstance(message, SosIn):
            # Nobody can be helped who is not known; but the line stays open for the hello.
            self._error(session, DoorstepError("say hello first, then sos again", code="hello_first"), None, now)
        else:
            self._error(session, DoorstepError("the first frame must be hello", code="hello_first"), None, now)
            self._admission.close(session, CloseCode.PROTOCOL, "no hello", now)

    def _wait(self, session: Session, payload: bytes, now: float) -> None:
        waiting = session.waiting
        if waiting is None:
            waiting = session.waiting = []
        limits = self._limits
        size = len(payload) + sum(map(len, waiting))
        if len(waiting) >= limits.attach_queue_len_max or size > limits.attach_queue_bytes_max:
            self._count("attach_queue_full")
            if not self._pings.shed(session, payload):
                self._error(session, Unavailable("too many frames before welcome", code="overloaded"), None, now)
            return
        waiting.append(payload)

    def _handle_restricted(self, session: Session, message: object, payload: bytes, now: float) -> None:
        if not self._take_message_token(session, now):
            return
        if isinstance(message, Refresh):
            try:
                session.codec.check_members(payload)
            except Unreadable as repeated:
                self._error(session, repeated, message.ref, now)
                return
            self._admission.refresh(session, message, now)
        elif isinstance(message, HeartbeatIn):
            session.send(Heartbeat(server_at=round(now, 3)))
        elif isinstance(message, _WHEN_RESTRICTED):
            self._ports.inbound.command(session.principal, message, now, self._replier(session, message.ref))
        elif not isinstance(message, Ack):
            error = DoorstepError("the token has expired: only sos and refresh work", code="token_restricted")
            self._error(session, error, getattr(message, "ref", None), now)

    def _handle_for_order(self, session: Session, message: object, payload: bytes, now: float) -> None:
        """Of a token of one order. What of an order it may watch is a matter of rights (``WatchRights``)."""
        ref = getattr(message, "ref", None)
        if isinstance(message, Ack) or not self._take_message_token(session, now, ref):
            return
        try:
            session.codec.check_members(payload)
            if not isinstance(message, _FOR_ORDER):
                raise Forbidden("this link is for one order, and not for this")
            self._do(session, message, now)
        except DoorstepError as error:
            self._error(session, error, ref, now)

    # -- an SOS ---------------------------------------------------------------------------------------

    def _sos(self, session: Session, payload: bytes, encoding: Encoding, now: float) -> None:
        """Hand over an SOS at once: no bucket, no queue, no state but having said who one is."""
        self._count("sos")
        who = session.principal
        self._heard(session.person, now)

        def send(body: bytes) -> None:
            if self._is_late(session):
                return
            session.queue.send_safety(transcode(body, to_json=session.codec.is_json, crs=session.target))

        def reply(outcome: dict[str, object] | DoorstepError | None) -> None:
            if self._is_late(session):
                return
            message = error_frame(outcome, None) if isinstance(outcome, DoorstepError) else Ok(result=outcome)
            session.queue.send_safety(session.codec.encode(message))

        self._ports.inbound.sos(
            who, payload, is_json=encoding is Encoding.JSON, crs=session.source, now=now, send=send, reply=reply
        )

    # -- answers --------------------------------------------------------------------------------------

    def _replier(self, session: Session, ref: str | None) -> Callable[[dict[str, object] | DoorstepError | None], None]:
        def reply(outcome: dict[str, object] | DoorstepError | None) -> None:
            if isinstance(outcome, DoorstepError):
                self._count(f"refused_{outcome.code}")
            if self._is_late(session):
                return
            answer = error_frame(outcome, ref) if isinstance(outcome, DoorstepError) else Ok(ref=ref, result=outcome)
            session.send(answer)

        return reply

    def _is_late(self, session: Session) -> bool:
        """Whether an answer finds nobody: its connection ended while the domain decided. The client asks again."""
        if session.connection.is_open:
            return False
        self._count("answer_late")
        return True

    def _refuse(self, session: Session, error: DoorstepError, now: float) -> None:
        if self._take_message_token(session, now):
            self._error(session, error, getattr(error, "ref", None), now)

    def _take_message_token(self, session: Session, now: float, ref: str | None = None) -> bool:
        limits = self._limits
        tokens = take_tokens(session.message_tokens, now, 1.0, limits.messages_per_s, limits.messages_burst)
        if tokens >= 0.0:
            session.message_tokens = tokens
            return True
        self._error(session, Unavailable("too many messages", code="rate_limited"), ref, now)
        return False

    def _error(self, session: Session, error: DoorstepError, ref: str | None, now: float) -> None:
        self._count(f"error_{error.code}")
        session.send(error_frame(error, ref))
        session.violations += 1
        if session.violations >= self._limits.violations_max and session.state is not State.CLOSING:
            self._admission.close(session, CloseCode.TOO_MANY, "too many errors", now)


def error_frame(error: DoorstepError, ref: str | None) -> Error:
    """The frame for an error; lengths are cut to what the catalogue allows."""
    return Error(
        code=error.code[:64],
        message=error.message[:512],
        retry=error.retry,
        field=None if error.field is None else error.field[:512],
        ref=ref,
        facts=error.facts,
    )
