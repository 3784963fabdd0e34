"""The client side of the wire without sockets, clocks or tasks.

A shell (``connection.py``, ``load.py``, a test) tells it what happened and asks what to do::

    connected(now) -> receive(frame, now) -> events ... lost(code, now)
    frames_to_send(now) -> list of frames        after every call that may have queued something
    next_deadline() / on_deadline(now)           one timer
    reconnect_at                                 when to connect again, None for never
    must_close                                   the shell should drop the connection now

One instance lives as long as its device: it survives connections, and with it the places in the reliable
streams (``streams.py``), the pings not yet stored (``ping_sender.py``), the requests not yet answered
(``requests.py``), the SOS not yet stored (``sos.py``) and the incidents heard of (``incidents.py``). What ends with
a connection is in ``session.py``, what goes over HTTP instead in ``fallback.py``.
Here is how they go together: greeting, coming back, the order of frames, and who hears of which message.
All times are UTC epoch seconds of the caller's own clock.
"""

import random
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

from doorstep_client.backoff import Backoff
from doorstep_client.codec import BadFrame, Codec
from doorstep_client.commands import IncidentCommands
from doorstep_client.events import (
    Disconnected,
    Event,
    IncidentRaised,
    IncidentUpdated,
    PingsJudged,
    ProtocolFault,
    RequestDone,
    RequestFailed,
    ServerError,
    TokenNeeded,
    Unwatched,
    Welcomed,
)
from doorstep_client.fallback import Fallback
from doorstep_client.incidents import IncidentBook
from doorstep_client.news import event_of
from doorstep_client.ping_buffer import Fix, PingBuffer
from doorstep_client.ping_file import KeptPings
from doorstep_client.ping_sender import PingSender
from doorstep_client.requests import Requests
from doorstep_client.returning import Returning
from doorstep_client.session import Session
from doorstep_client.settings import ClientSettings, Encoding
from doorstep_client.sos import KeptTap, SosCalls
from doorstep_client.streams import StreamPlace, Streams

TOKEN_CLOSE_CODES: Final = frozenset({4401, 4501})
"""The server refused the token: expired (4401), or not genuine (4501)."""


class State(StrEnum):
    """Where the client is."""

    OFFLINE = "offline"
    GREETING = "greeting"
    """Connected, ``hello`` sent, no ``welcome`` yet."""
    READY = "ready"
    ENDED = "ended"
    """The server said not to come back, or the application closed."""


def _urgency(message: dict[str, Any]) -> int:
    """Order of writing: an SOS, and an answer that may be one, overtake all but the ``hello`` that must come first."""
    return {"hello": 0, "sos": 1, "checkin.answer": 1, "ack": 2}.get(message["type"], 3)


class ClientProtocol:
    """One device's side of the conversation.

    Args:
        device: The installation's own name, at most 64 characters; stable across restarts.
        token: JWT; may be renewed with ``renew``.
        ticket: One-time ticket instead of a token (browsers).
        encoding: JSON or MessagePack.
        crs: Coordinates of this device's positions and of those it wants back; None for the defaults.
        first_seq: Number of the first ping. A device must never use a number twice; by default numbers start
            at the milliseconds of the first use, so that a reinstalled app does not repeat them.
        clock_rate: Phone's seconds per second; above 1 only for replays, where the server allows it.
        phone_clock: Maps ``now`` to the phone's own clock, for ``sent_at``.
        rng: Source of jitter and keys; seeded in tests.
    """

    def __init__(
        self,
        *,
        device: str,
        token: str = "",
        ticket: str = "",
        encoding: Encoding = Encoding.JSON,
        crs: str | None = None,
        app: str = "doorstep-client-python",
        first_seq: int | None = None,
        clock_rate: float = 1.0,
        phone_clock: Callable[[float], float] | None = None,
        settings: ClientSettings | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.settings = settings or ClientSettings()
        self.state = State.OFFLINE
        self.reconnect_at: float | None = 0.0
        self.must_close = False
        self._rng = rng or random.SystemRandom()
        self._codec = Codec(encoding)
        self._device, self._token, self._ticket, self._crs, self._app = device, token, ticket, crs, app
        self._clock_rate = clock_rate
        self._phone_clock = phone_clock or (lambda now: now)
        self._returning = Returning(self.settings, self._rng)
        self._session: Session | None = None
        self._outgoing: list[dict[str, Any]] = []
        self._streams = Streams()
        self._pings = PingSender(
            first_seq=first_seq, crs=crs, phone_clock=self._phone_clock, settings=self.settings, rng=self._rng
        )
        self._is_server_silent = False
        self._requests = Requests(self.settings.request_timeout_s, self.settings.answer_retry_s)
        self._sos = SosCalls(self.settings, self._phone_clock)
        self._safety_epoch: str | None = None
        self.fallback = Fallback(
            self.settings,
            self._sos,
            self._pings,
            device=device,
            backoff=Backoff(self.settings.reconnect_base_s, self.settings.reconnect_max_s, self._rng),
            is_ready=lambda: self.state is State.READY,
        )
        """What goes over HTTP when the socket cannot be had."""
        self.incidents = IncidentBook()
        """What this device knows of incidents."""
        self.handle_incident = IncidentCommands(self.request)
        """What its user says who handles one."""
        self._waiting_for_token = False

    # -- the connection -------------------------------------------------------------------------------

    @property
    def subprotocol(self) -> str:
        """What to ask for in ``Sec-WebSocket-Protocol``."""
        return self._codec.encoding.value

    @property
    def is_text(self) -> bool:
        """Whether frames are text frames (JSON) or binary ones (MessagePack)."""
        return self._codec.is_text

    @property
    def streams(self) -> Mapping[str, StreamPlace]:
        """How far this device has each reliable stream."""
        return self._streams.places

    @property
    def pings_waiting(self) -> int:
        """Pings not yet stored by the server."""
        return self._pings.waiting

    @property
    def pings_unsent(self) -> int:
        """Pings not yet sent (the connection is gone, or the server's allowance is used up)."""
        return self._pings.unsent

    @property
    def pings_dropped(self) -> int:
        """Pings lost because the buffer was full."""
        return self._pings.dropped

    @property
    def ping_buffer(self) -> PingBuffer | None:
        """What waits, for ``PingKeeper``; None before the first ping."""
        return self._pings.buffer

    @property
    def sos_waiting(self) -> bool:
        """Whether a tap is not stored yet."""
        return self._sos.next_deadline() is not None

    @property
    def token(self) -> str:
        """The newest token that was given."""
        return self._token

    @property
    def requests_waiting(self) -> int:
        """Requests without an answer."""
        return len(self._requests)

    def connected(self, now: float) -> None:
        """A socket finished its handshake: queues ``hello``."""
        self.must_close = self._is_server_silent = False
        self.state = State.GREETING
        self.reconnect_at = None
        self._session = Session(connected_at=now, heard_at=now, said_at=now)
        self._outgoing.clear()
        self._streams.disconnected()
        hello: dict[str, Any] = {"type": "hello", "device": self._device, "app": self._app}
        if self._ticket:
            hello["ticket"], self._ticket = self._ticket, ""  # good for one use
        else:
            hello["token"] = self._token
        if self._crs is not None:
            hello["crs"] = self._crs
        if self._clock_rate != 1.0:
            hello["clock_rate"] = self._clock_rate
        if resume := self._streams.resume():
            hello["resume"] = resume
        self._outgoing.append(hello)

    def heard(self, now: float) -> None:
        """Something came that is not a message (a WebSocket ping): the server lives."""
        if self._session is not None:
            self._session.heard_at = now

    def lost(self, code: int, now: float, reason: str = "") -> list[Event]:
        """The connection is gone, or could not be made. ``code`` is the close code, 1006 for none."""
        session, self._session = self._session, None
        if self.state is State.ENDED:
            return []
        self.state = State.OFFLINE
        self.must_close = False
        self._outgoing.clear()
        self._streams.disconnected()
        self._requests.disconnected()
        self._pings.disconnected()
        self.fallback.no_session(now)
        events: list[Event] = []
        if code in TOKEN_CLOSE_CODES:
            self._waiting_for_token = True
            self.reconnect_at = None
            events.append(TokenNeeded(code="token_expired" if code == 4401 else "token_invalid"))
            retry_in_s = None
        else:
            retry_in_s = self._returning.wait_s(code, session, now, is_urgent=self.sos_waiting)
            self.reconnect_at = None if retry_in_s is None else now + retry_in_s
            self.state = State.ENDED if retry_in_s is None else State.OFFLINE
        return [Disconnected(code=code, retry_in_s=retry_in_s, reason=reason), *events]

    @property
    def is_server_silent(self) -> bool:
        """Whether the connection is dropped because nothing came over it in time."""
        return self._is_server_silent

    def end(self) -> None:
        """The application is done: no reconnect after the next ``lost``."""
        self.state = State.ENDED
        self.reconnect_at = None
        self.must_close = True

    def renew(self, token: str, now: float) -> None:
        """Use a newer token: in place while connected, else at the next connection."""
        self._token = token
        if self.state is State.READY:
            self._outgoing.append({"type": "refresh", "token": token})
        elif self._waiting_for_token:
            self._waiting_for_token = False
            self.state = State.OFFLINE
            self.reconnect_at = now

    # -- what the application wants -------------------------------------------------------------------

    def send_ping(self, fix: Fix, now: float) -> int:
        """Report a position; kept and sent again until the server has stored it. Returns its number."""
        return self._pings.add(fix, now)

    def restore_pings(self, kept: KeptPings, now: float) -> None:
        """Take up the pings of an earlier process, from ``PingFile.read``; before the first ``send_ping``."""
        self._pings.restore(kept, now)

    def skip_ping_numbers(self, now: float) -> None:
        """The numbers that come next could not be marked as used: take others."""
        self._pings.skip_numbers(now)

    def send_sos(self, now: float, *, key: str | None = None, **fields: Any) -> str:
        """Call for help; repeated until the server has stored it. Returns the key of this tap.

        ``fields``: lat, lng, accuracy_m, fixed_at, order, silent, battery, note; all optional.
        """
        key = key or f"sos-{self._rng.getrandbits(96):024x}"
        if self._crs is not None:
            fields.setdefault("crs", self._crs)
        self._sos.add(key, fields, now)
        if self.state is State.READY:
            self._outgoing.append(self._sos.send(key, now))
        elif self.reconnect_at is not None:
            self.reconnect_at = min(self.reconnect_at, now)
        return key

    @property
    def sos_revision(self) -> int:
        """Grows whenever ``sos_kept`` changes: then it is to be written to the outbox."""
        return self._sos.revision

    def sos_kept(self) -> list[KeptTap]:
        """The taps that must outlive the process, for ``Outbox.write``."""
        return self._sos.kept()

    def restore_sos(self, kept: list[KeptTap], now: float) -> None:
        """Take up the taps of an earlier process, from ``Outbox.read``."""
        self._sos.restore(kept, now)

    @property
    def sos_not_received_at(self) -> float | None:
        """When ``on_deadline`` will tell of a tap that nobody received, connected or not; None for never."""
        return self._sos.not_received_at()

    def cancel_sos(self, incident: str, pin: str, now: float) -> str:
        """Take one's alarm back. It ends nothing by itself: somebody asks whether it is true."""
        return self.request("sos.cancel", now, incident=incident, pin=pin)

    def answer_checkin(self, checkin: str, answer: str, now: float) -> str:
        """``ok``, ``help`` or ``no`` to a check; repeated until it is answered, however long that takes."""
        return self.request("checkin.answer", now, checkin=checkin, answer=answer)

    def tap_drill(self, now: float) -> str:
        """Try the alarm; the result has ``round_trip_ms``."""
        return self.request("drill.tap", now)

    def request(self, kind: str, now: float, **fields: Any) -> str:
        """Ask for something; ends in one ``RequestDone`` or ``RequestFailed`` with the returned ref.

        Sent again after a reconnect when it was not answered: all requests of the wire are idempotent.
        """
        request = self._requests.ask(kind, fields, now)
        if self.state is State.READY:
            self._outgoing.append(request.frame)
            request.is_sent = True
        return request.ref

    def accept(self, offer: str, now: float) -> str:
        """Take the order of an offer."""
        return self.request("offer.accept", now, offer=offer)

    def decline(self, offer: str, now: float, reason: str = "") -> str:
        """Refuse an offer."""
        return self.request("offer.decline", now, offer=offer, reason=reason)

    def step(self, order: str, step: str, now: float, evidence: str | None = None) -> str:
        """Report the job's next step, or ``no_show``.

        Args:
            evidence: A photo's reference (``photo:…``) or a note.
        """
        fields = {} if evidence is None else {"evidence": evidence}
        return self.request("job.step", now, order=order, step=step, **fields)

    def duty(self, on: bool, now: float, city: str | None = None) -> str:
        """Go on or off duty. Staff responders' duty lasts as long as the session and is repeated after each welcome."""
        fields: dict[str, Any] = {"on": on}
        if city is not None:
            fields["city"] = city
        self._requests.wish_duty(fields)
        return self.request("duty", now, **fields)

    def watch(self, topic: str, now: float, **fields: Any) -> str:
        """Receive a topic's positions until ``unwatch``; repeated after each welcome."""
        self._requests.wish_watch(topic, fields)
        return self.request("watch", now, topic=topic, **fields)

    def unwatch(self, topic: str, now: float) -> str:
        """Stop receiving a topic."""
        self._requests.drop_watch(topic)
        return self.request("unwatch", now, topic=topic)

    # -- frames out -----------------------------------------------------------------------------------

    def frames_to_send(self, now: float) -> list[bytes]:
        """Frames to write, in order. An SOS first, then acks, requests, positions."""
        session = self._session
        if session is None:
            return []
        messages = self._outgoing + self._streams.ack_frames()
        messages.sort(key=_urgency)
        self._outgoing = []
        if self.state is State.READY:
            messages += self._pings.frames(session.allowance, now)
            if self._pings.wants_new_session and not self.sos_waiting:
                self.must_close = session.is_renewed = True
        if messages:
            session.said_at = now
        return [self._codec.encode(message) for message in messages]

    # -- time -----------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When ``on_deadline`` must be called, connected or not; None for never."""
        session, unheard_at = self._session, self.sos_not_received_at
        if session is None:
            return unheard_at
        if self.state is not State.READY:
            give_up_at = session.connected_at + self.settings.welcome_timeout_s
            return give_up_at if unheard_at is None else min(give_up_at, unheard_at)
        due = [
            unheard_at,
            session.heartbeat_at,
            self._silence_ends_at(session),
            self._sos.next_deadline(),
            self._requests.next_deadline(),
            self._pings.next_deadline(session.allowance),
        ]
        return min(at for at in due if at is not None)

    def _silence_ends_at(self, session: Session) -> float:
        return session.silence_ends_at(self.settings.silence_heartbeats)

    def on_deadline(self, now: float) -> list[Event]:
        """Do everything that is due."""
        session, events = self._session, self._sos.take_not_received(now)
        if session is None:
            return events
        if self.state is not State.READY:
            self.must_close = self._is_server_silent = now >= session.connected_at + self.settings.welcome_timeout_s
            return events
        if now >= self._silence_ends_at(session):
            self.must_close = self._is_server_silent = True
            return events
        if now >= session.heartbeat_at:
            self._outgoing.append({"type": "heartbeat"})
            session.said_at = now
        self._outgoing += self._sos.due(now) + self._requests.due_again(now)
        self._pings.on_deadline(now)
        late = self._requests.take_late(now)
        return events + [RequestFailed(r.ref, r.type, "timeout", "no answer in time", retry=True) for r in late]

    # -- frames in ------------------------------------------------------------------------------------

    def receive(self, frame: bytes, now: float) -> list[Event]:
        """One whole message of the server."""
        session = self._session
        if session is None:
            return []
        session.heard_at = now
        try:
            body = self._codec.decode(frame)
            if body.get("stream") == "safety":
                self._lives_in(body["epoch"], now)
            if "stream" in body and not self._streams.is_new(body):
                return []
            handler = _HANDLERS.get(body["type"])
            return [event_of(body)] if handler is None else handler(self, body, session, now)
        except (BadFrame, KeyError, TypeError, ValueError) as error:
            self.must_close = True
            return [ProtocolFault(message=f"{type(error).__name__}: {error}")]

    def _on_welcome(self, body: dict[str, Any], session: Session, now: float) -> list[Event]:
        self.state = State.READY
        session.welcomed(body, now)
        self._streams.welcomed(body.get("streams", {}))
        self._outgoing += self._sos.welcomed(now)
        if "safety" in body.get("streams", {}):
            self._lives_in(body["streams"]["safety"]["epoch"], now)
        self._outgoing += self._requests.welcomed(body["role"], now, restricted=body["restricted"])
        return [Welcomed(body["session"], body["user"], body["role"], body["restricted"], body)]

    def _lives_in(self, epoch: str, now: float) -> None:
        """The safety of this server has this epoch. Another one than before: it was restored, and may have lost what
        it had promised."""
        if epoch == self._safety_epoch:
            return
        if self._safety_epoch is not None:
            self.incidents.begin_anew()
        self._safety_epoch = epoch
        self._outgoing += self._sos.lives_in(epoch, now)

    def _on_heartbeat(self, body: dict[str, Any], session: Session, now: float) -> list[Event]:
        return []

    def _on_ok(self, body: dict[str, Any], session: Session, now: float) -> list[Event]:
        ref = body.get("ref", "")
        request = self._requests.answered(ref)
        return [] if request is None else [RequestDone(ref, request.type, body.get("result") or {})]

    def _on_error(self, body: dict[str, Any], session: Session, now: float) -> list[Event]:
        ref = body.get("ref")
        if ref and body.get("retry") and self._requests.put_off(ref, now):
            return []
        request = self._requests.answered(ref) if ref else None
        if request is None:
            return [ServerError(body["code"], body.get("message", ""), body)]
        if request.type == "watch":
            self._requests.drop_watch(request.frame["topic"])
        code, message, retry = body["code"], body.get("message", ""), bool(body.get("retry"))
        return [RequestFailed(str(ref), request.type, code, message, retry, body.get("facts", {}))]

    def _on_reconnect(self, body: dict[str, Any], session: Session, now: float) -> list[Event]:
        session.reconnect_after_s = float(body["reconnect_after_ms"]) / 1000.0
        return []

    def _on_ping_ack(self, body: dict[str, Any], session: Session, now: float) -> list[Event]:
        self._pings.acked(body, now)
        return [PingsJudged(body["seq"], body["verdicts"], body["stored_seq"], body.get("corrected", {}))]

    def _on_unwatched(self, body: dict[str, Any], session: Session, now: float) -> list[Event]:
        self._requests.drop_watch(body["topic"])
        return [Unwatched(body["topic"], body["reason"])]

    def _on_sos_ack(self, body: dict[str, Any], session: Session, now: float) -> list[Event]:
        return self._sos.acked(body)

    def _on_incident(self, body: dict[str, Any], session: Session, now: float) -> list[Event]:
        rings = self.incidents.take(body)
        if rings is None:
            return []
        make = IncidentRaised if body["type"] == "incident" else IncidentUpdated
        return [make(body["incident"], body["state"], body, rings)]

    def _on_snapshot(self, body: dict[str, Any], session: Session, now: float) -> list[Event]:
        events = [event_of(body)]
        for incident in body.get("incidents", ()):
            events += self._on_incident({"type": "incident", **incident}, session, now)
        return events


_HANDLERS: Final[dict[str, Callable[[ClientProtocol, dict[str, Any], Session, float], list[Event]]]] = {
    "welcome": ClientProtocol._on_welcome,
    "heartbeat": ClientProtocol._on_heartbeat,
    "ok": ClientProtocol._on_ok,
    "error": ClientProtocol._on_error,
    "reconnect": ClientProtocol._on_reconnect,
    "ping_ack": ClientProtocol._on_ping_ack,
    "unwatched": ClientProtocol._on_unwatched,
    "sos_ack": ClientProtocol._on_sos_ack,
    "incident": ClientProtocol._on_incident,
    "incident.update": ClientProtocol._on_incident,
    "snapshot": ClientProtocol._on_snapshot,
}
