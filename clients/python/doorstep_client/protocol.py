"""The client side of the wire without sockets, clocks or tasks.

A shell (``connection.py``, ``load.py``, a test) tells it what happened and asks what to do::

    connected(now) -> receive(frame, now) -> events ... lost(code, now)
    frames_to_send(now) -> list of frames        after every call that may have queued something
    next_deadline() / on_deadline(now)           one timer
    reconnect_at                                 when to connect again, None for never
    must_close                                   the shell should drop the connection now

One instance lives as long as its device: it survives connections, and with it the places in the reliable
streams, the pings not yet stored, the requests not yet answered and the SOS not yet acknowledged.
All times are UTC epoch seconds of the caller's own clock.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from doorstep_client.backoff import Backoff
from doorstep_client.codec import BadFrame, Codec
from doorstep_client.events import (
    AreaReceived,
    Disconnected,
    Event,
    IncidentRaised,
    IncidentUpdated,
    OfferClosed,
    OfferReceived,
    OrderChanged,
    PingsJudged,
    PolicyChanged,
    PositionReceived,
    ProtocolFault,
    RequestDone,
    RequestFailed,
    ServerError,
    SnapshotReceived,
    SosAcked,
    TokenNeeded,
    UnknownMessage,
    Unwatched,
    Welcomed,
)
from doorstep_client.ping_buffer import Fix, PingBuffer, ping_frame
from doorstep_client.settings import ClientSettings, Encoding

TOKEN_CLOSE_CODES: Final = frozenset({4401, 4501})
"""The server refused the token: expired (4401), or not genuine (4501)."""
COME_BACK_BELOW: Final = 4500
"""Application close codes 4500-4999 mean: do not come back (docs/protocol.md)."""


class State(StrEnum):
    """Where the client is."""

    OFFLINE = "offline"
    GREETING = "greeting"
    """Connected, ``hello`` sent, no ``welcome`` yet."""
    READY = "ready"
    ENDED = "ended"
    """The server said not to come back, or the application closed."""


def _urgency(message: dict[str, Any]) -> int:
    """Order of writing: an SOS overtakes everything but the ``hello`` that must come before it."""
    return {"hello": 0, "sos": 1, "ack": 2}.get(message["type"], 3)


@dataclass(slots=True)
class StreamPlace:
    """Last message of a reliable stream that this device has."""

    epoch: str
    seq: int


@dataclass(slots=True)
class _Request:
    type: str
    frame: dict[str, Any]
    asked_at: float
    sent: bool = False


@dataclass(slots=True)
class _PendingSos:
    frame: dict[str, Any]
    next_at: float
    wait_s: float
    acked: bool = False


@dataclass(slots=True)
class _Limits:
    pings_per_s: float = 10.0
    ping_batch: int = 100
    ping_tokens: float = 10.0
    refilled_at: float = 0.0

    def take(self, wanted: int, now: float) -> int:
        """How many of ``wanted`` pings may leave now, within the server's allowance."""
        burst = max(self.pings_per_s, 1.0)
        self.ping_tokens = min(burst, self.ping_tokens + (now - self.refilled_at) * self.pings_per_s)
        self.refilled_at = now
        allowed = min(wanted, int(self.ping_tokens), self.ping_batch)
        self.ping_tokens -= allowed
        return allowed


@dataclass(slots=True)
class _Session:
    """What belongs to one connection."""

    connected_at: float
    heard_at: float
    said_at: float
    welcomed_at: float | None = None
    heartbeat_s: float = 30.0
    limits: _Limits = field(default_factory=_Limits)
    reconnect_after_s: float | None = None


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
        self.streams: dict[str, StreamPlace] = {}
        self.reconnect_at: float | None = 0.0
        self.must_close = False
        self._rng = rng or random.SystemRandom()
        self._codec = Codec(encoding)
        self._device, self._token, self._ticket, self._crs, self._app = device, token, ticket, crs, app
        self._clock_rate = clock_rate
        self._phone_clock = phone_clock or (lambda now: now)
        self._first_seq = first_seq
        self._pings: PingBuffer | None = None
        self._backoff = Backoff(self.settings.reconnect_base_s, self.settings.reconnect_max_s, self._rng)
        self._session: _Session | None = None
        self._outgoing: list[dict[str, Any]] = []
        self._acks: dict[str, int] = {}
        self._requests: dict[str, _Request] = {}
        self._watches: dict[str, dict[str, Any]] = {}
        self._staff_duty: dict[str, Any] | None = None
        self._sos: dict[str, _PendingSos] = {}
        self._refs = 0
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
    def pings_waiting(self) -> int:
        """Pings not yet stored by the server."""
        return len(self._pings) if self._pings is not None else 0

    @property
    def pings_unsent(self) -> int:
        """Pings not yet sent (the connection is gone, or the server's allowance is used up)."""
        return self._pings.unsent if self._pings is not None else 0

    @property
    def pings_dropped(self) -> int:
        """Pings lost because the buffer was full."""
        return self._pings.dropped if self._pings is not None else 0

    @property
    def requests_waiting(self) -> int:
        """Requests without an answer."""
        return len(self._requests)

    def connected(self, now: float) -> None:
        """A socket finished its handshake: queues ``hello``."""
        self.must_close = False
        self.state = State.GREETING
        self.reconnect_at = None
        self._session = _Session(connected_at=now, heard_at=now, said_at=now)
        self._outgoing.clear()
        self._acks.clear()
        hello: dict[str, Any] = {"type": "hello", "device": self._device, "app": self._app}
        if self._ticket:
            hello["ticket"], self._ticket = self._ticket, ""  # good for one use
        else:
            hello["token"] = self._token
        if self._crs is not None:
            hello["crs"] = self._crs
        if self._clock_rate != 1.0:
            hello["clock_rate"] = self._clock_rate
        if self.streams:
            hello["resume"] = {name: {"epoch": p.epoch, "seq": p.seq} for name, p in self.streams.items()}
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
        self._acks.clear()
        for request in self._requests.values():
            request.sent = False
        if self._pings is not None:
            self._pings.resend()
        events: list[Event] = []
        if code in TOKEN_CLOSE_CODES:
            self._waiting_for_token = True
            self.reconnect_at = None
            events.append(TokenNeeded(code="token_expired" if code == 4401 else "token_invalid"))
        elif COME_BACK_BELOW <= code <= 4999:
            self.state = State.ENDED
            self.reconnect_at = None
        else:
            self.reconnect_at = now + self._wait_before_return_s(session, now)
        retry_in_s = None if self.reconnect_at is None else self.reconnect_at - now
        return [Disconnected(code=code, retry_in_s=retry_in_s, reason=reason), *events]

    def _wait_before_return_s(self, session: _Session | None, now: float) -> float:
        if session is not None and session.welcomed_at is not None:
            if now - session.welcomed_at >= self.settings.steady_after_s:
                self._backoff.reset()
            if session.reconnect_after_s is not None:
                return session.reconnect_after_s  # the server spreads its clients itself
        return self._backoff.next_wait_s()

    def end(self) -> None:
        """The application is done: no reconnect after the next ``lost``."""
        self.state = State.ENDED
        self.reconnect_at = None
        self.must_close = True

    def renew(self, token: str, now: float) -> None:
        """Use a newer token: in place while connected, else at the next connection."""
        self._token = token
        if self.state is State.READY:
            self._send({"type": "refresh", "token": token})
        elif self._waiting_for_token:
            self._waiting_for_token = False
            self.state = State.OFFLINE
            self.reconnect_at = now

    # -- what the application wants -------------------------------------------------------------------

    def send_ping(self, fix: Fix, now: float) -> int:
        """Report a position; kept and sent again until the server has stored it. Returns its number."""
        if self._pings is None:
            first = self._first_seq if self._first_seq is not None else int(now * 1000.0)
            self._pings = PingBuffer(first, self.settings.ping_buffer_max)
        return self._pings.add(fix)

    def send_sos(self, now: float, *, key: str | None = None, **fields: Any) -> str:
        """Call for help; repeated until the server has stored it. Returns the key of this tap.

        ``fields``: lat, lng, accuracy_m, fixed_at, order, silent, battery, note; all optional.
        """
        key = key or f"sos-{self._rng.getrandbits(96):024x}"
        frame = {"type": "sos", "key": key, "sent_at": round(self._phone_clock(now), 3), **fields}
        if self._crs is not None:
            frame.setdefault("crs", self._crs)
        pending = _PendingSos(frame=frame, next_at=now, wait_s=self.settings.sos_retry_s)
        self._sos[key] = pending
        self._send_sos_if_due(pending, now)
        return key

    def request(self, kind: str, now: float, **fields: Any) -> str:
        """Ask for something; ends in one ``RequestDone`` or ``RequestFailed`` with the returned ref.

        Sent again after a reconnect when it was not answered: all requests of the wire are idempotent.
        """
        self._refs += 1
        ref = f"r{self._refs}"
        request = _Request(type=kind, frame={"type": kind, "ref": ref, **fields}, asked_at=now)
        self._requests[ref] = request
        if self.state is State.READY:
            self._send(request.frame)
            request.sent = True
        return ref

    def accept(self, offer: str, now: float) -> str:
        """Take the order of an offer."""
        return self.request("offer.accept", now, offer=offer)

    def decline(self, offer: str, now: float, reason: str = "") -> str:
        """Refuse an offer."""
        return self.request("offer.decline", now, offer=offer, reason=reason)

    def step(self, order: str, step: str, now: float) -> str:
        """Report the job's next step."""
        return self.request("job.step", now, order=order, step=step)

    def duty(self, on: bool, now: float, city: str | None = None) -> str:
        """Go on or off duty. Staff responders' duty lasts as long as the session and is repeated after each welcome."""
        fields: dict[str, Any] = {"on": on}
        if city is not None:
            fields["city"] = city
        self._staff_duty = fields
        return self.request("duty", now, **fields)

    def watch(self, topic: str, now: float, **fields: Any) -> str:
        """Receive a topic's positions until ``unwatch``; repeated after each welcome."""
        self._watches[topic] = fields
        return self.request("watch", now, topic=topic, **fields)

    def unwatch(self, topic: str, now: float) -> str:
        """Stop receiving a topic."""
        self._watches.pop(topic, None)
        return self.request("unwatch", now, topic=topic)

    def acknowledge_incident(self, incident: str, now: float) -> str:
        """I have seen it and own it."""
        return self.request("incident.ack", now, incident=incident)

    def resolve_incident(self, incident: str, disposition: str, now: float, note: str = "") -> str:
        """It is over."""
        return self.request("incident.resolve", now, incident=incident, disposition=disposition, note=note)

    # -- frames out -----------------------------------------------------------------------------------

    def frames_to_send(self, now: float) -> list[bytes]:
        """Frames to write, in order. An SOS first, then acks, requests, positions."""
        session = self._session
        if session is None:
            return []
        messages = self._outgoing
        if self._acks:
            messages.append({"type": "ack", **self._acks})
            self._acks = {}
        messages.sort(key=_urgency)
        self._outgoing = []
        if self.state is State.READY:
            self._add_ping_frames(messages, session, now)
        if messages:
            session.said_at = now
        return [self._codec.encode(message) for message in messages]

    def _add_ping_frames(self, messages: list[dict[str, Any]], session: _Session, now: float) -> None:
        pings = self._pings
        if pings is None:
            return
        while pings.unsent:
            allowed = session.limits.take(min(pings.unsent, self.settings.ping_batch_max), now)
            if not allowed:
                return
            messages.append(ping_frame(pings.take(allowed, now), self._phone_clock(now), self._crs))

    def _send(self, message: dict[str, Any]) -> None:
        self._outgoing.append(message)

    def _send_sos_if_due(self, sos: _PendingSos, now: float) -> bool:
        if self.state is not State.READY or sos.next_at > now:
            return False
        self._send(sos.frame)
        sos.next_at = now + sos.wait_s
        sos.wait_s = min(sos.wait_s * 2.0, self.settings.sos_retry_max_s)
        return True

    # -- time -----------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When ``on_deadline`` must be called while connected; None while there is no connection."""
        session = self._session
        if session is None:
            return None
        if self.state is not State.READY:
            return session.connected_at + self.settings.welcome_timeout_s
        due = [session.said_at + session.heartbeat_s, self._silence_ends_at(session)]
        due.extend(sos.next_at for sos in self._sos.values())
        if self._requests:
            due.append(min(r.asked_at for r in self._requests.values()) + self.settings.request_timeout_s)
        if self._pings is not None:
            if self._pings.sent_since is not None:
                due.append(self._pings.sent_since + self.settings.ping_resend_s)
            if self._pings.unsent:
                due.append(session.limits.refilled_at + 1.0 / max(session.limits.pings_per_s, 0.1))
        return min(due)

    def _silence_ends_at(self, session: _Session) -> float:
        return session.heard_at + self.settings.silence_heartbeats * session.heartbeat_s

    def on_deadline(self, now: float) -> list[Event]:
        """Do everything that is due."""
        session = self._session
        if session is None:
            return []
        if self.state is not State.READY:
            self.must_close = now >= session.connected_at + self.settings.welcome_timeout_s
            return []
        if now >= self._silence_ends_at(session):
            self.must_close = True
            return []
        if now >= session.said_at + session.heartbeat_s:
            self._send({"type": "heartbeat"})
            session.said_at = now
        for sos in self._sos.values():
            self._send_sos_if_due(sos, now)
        pings = self._pings
        since = pings.sent_since if pings is not None else None
        if pings is not None and since is not None and now >= since + self.settings.ping_resend_s:
            pings.resend()
        return self._time_out_requests(now)

    def _time_out_requests(self, now: float) -> list[Event]:
        late = [ref for ref, r in self._requests.items() if now >= r.asked_at + self.settings.request_timeout_s]
        return [
            RequestFailed(ref, self._requests.pop(ref).type, "timeout", "no answer in time", retry=True) for ref in late
        ]

    # -- frames in ------------------------------------------------------------------------------------

    def receive(self, frame: bytes, now: float) -> list[Event]:
        """One whole message of the server."""
        session = self._session
        if session is None:
            return []
        session.heard_at = now
        try:
            body = self._codec.decode(frame)
            if "stream" in body and not self._in_order(body):
                return []
            handler = _HANDLERS.get(body["type"])
            if handler is None:
                return [UnknownMessage(type=body["type"], body=body)]
            return handler(self, body, session, now)
        except (BadFrame, KeyError, TypeError, ValueError) as error:
            self.must_close = True
            return [ProtocolFault(message=f"{type(error).__name__}: {error}")]

    def _in_order(self, body: dict[str, Any]) -> bool:
        """Note the stream position and queue its ack; False for a repetition.

        Raises:
            BadFrame: A gap: something was lost, so reconnect and resume.
        """
        stream, seq, epoch = body["stream"], body["seq"], body["epoch"]
        place = self.streams.get(stream)
        if place is None or place.epoch != epoch or body["type"] == "snapshot":
            self.streams[stream] = StreamPlace(epoch, seq)
        elif seq <= place.seq:
            self._acks[stream] = place.seq
            return False
        elif seq != place.seq + 1:
            raise BadFrame(f"stream {stream} jumped from {place.seq} to {seq}")
        else:
            place.seq = seq
        self._acks[stream] = seq
        return True

    def _on_welcome(self, body: dict[str, Any], session: _Session, now: float) -> list[Event]:
        self.state = State.READY
        session.welcomed_at = now
        session.heartbeat_s = max(float(body["heartbeat_s"]), 0.5)
        limits = body.get("limits", {})
        pings_per_s = float(limits.get("pings_per_s", 10.0))
        session.limits = _Limits(
            pings_per_s=pings_per_s,
            ping_batch=max(int(limits.get("ping_batch", 100)), 1),
            ping_tokens=max(pings_per_s, 1.0),
            refilled_at=now,
        )
        for name, place in body.get("streams", {}).items():
            # A snapshot may be lost on its way: only when it is here does the device stand where it says.
            if place["how"] == "fresh" or (place["how"] == "replayed" and name not in self.streams):
                self.streams[name] = StreamPlace(place["epoch"], place["seq"])
        for sos in self._sos.values():
            if not sos.acked:
                sos.next_at, sos.wait_s = now, self.settings.sos_retry_s
            self._send_sos_if_due(sos, now)
        if not body["restricted"]:
            self._repeat_wishes(body["role"], now)
        return [Welcomed(body["session"], body["user"], body["role"], body["restricted"], body)]

    def _repeat_wishes(self, role: str, now: float) -> None:
        """Requests not answered on the last connection, then what a session forgets."""
        again = {r.frame.get("topic") for r in self._requests.values() if r.type == "watch"}
        asked_duty = any(r.type == "duty" for r in self._requests.values())
        for request in self._requests.values():
            if not request.sent:
                self._send(request.frame)
                request.sent, request.asked_at = True, now
        for topic, fields in self._watches.items():
            if topic not in again:
                self.request("watch", now, topic=topic, **fields)
        if self._staff_duty is not None and role != "technician" and not asked_duty:
            self.request("duty", now, **self._staff_duty)

    def _on_heartbeat(self, body: dict[str, Any], session: _Session, now: float) -> list[Event]:
        return []

    def _on_ok(self, body: dict[str, Any], session: _Session, now: float) -> list[Event]:
        ref = body.get("ref", "")
        request = self._requests.pop(ref, None)
        return [] if request is None else [RequestDone(ref, request.type, body.get("result") or {})]

    def _on_error(self, body: dict[str, Any], session: _Session, now: float) -> list[Event]:
        ref = body.get("ref")
        request = self._requests.pop(ref, None) if ref else None
        if request is None:
            return [ServerError(body["code"], body.get("message", ""), body)]
        if request.type == "watch":
            self._watches.pop(request.frame["topic"], None)
        failed = RequestFailed(str(ref), request.type, body["code"], body.get("message", ""), bool(body.get("retry")))
        return [failed]

    def _on_reconnect(self, body: dict[str, Any], session: _Session, now: float) -> list[Event]:
        session.reconnect_after_s = float(body["reconnect_after_ms"]) / 1000.0
        return []

    def _on_ping_ack(self, body: dict[str, Any], session: _Session, now: float) -> list[Event]:
        if self._pings is not None:
            self._pings.forget(body["stored_seq"], now)
            if body["verdicts"].get("shed") and self._pings.sent_since is not None:
                # The server was too busy to look: soon again, but not at once and not all phones together.
                wait_s = self._rng.uniform(0.25, 1.0) * self.settings.ping_resend_s
                self._pings.sent_since = min(self._pings.sent_since, now + wait_s - self.settings.ping_resend_s)
        return [PingsJudged(body["seq"], body["verdicts"], body["stored_seq"], body.get("corrected", {}))]

    def _on_ping_policy(self, body: dict[str, Any], session: _Session, now: float) -> list[Event]:
        return [PolicyChanged(body["interval_s"], body["min_distance_m"], body["accuracy"], body.get("reason", ""))]

    def _on_position(self, body: dict[str, Any], session: _Session, now: float) -> list[Event]:
        return [PositionReceived(body["topic"], body)]

    def _on_area(self, body: dict[str, Any], session: _Session, now: float) -> list[Event]:
        return [AreaReceived(body["topic"], body)]

    def _on_unwatched(self, body: dict[str, Any], session: _Session, now: float) -> list[Event]:
        self._watches.pop(body["topic"], None)
        return [Unwatched(body["topic"], body["reason"])]

    def _on_offer(self, body: dict[str, Any], session: _Session, now: float) -> list[Event]:
        return [OfferReceived(body["offer"], body["order"], body["remaining_ms"], body)]

    def _on_offer_closed(self, body: dict[str, Any], session: _Session, now: float) -> list[Event]:
        return [OfferClosed(body["offer"], body["reason"], body)]

    def _on_order(self, body: dict[str, Any], session: _Session, now: float) -> list[Event]:
        return [OrderChanged(body["order"], body["state"], body)]

    def _on_incident(self, body: dict[str, Any], session: _Session, now: float) -> list[Event]:
        return [IncidentRaised(body["incident"], body["state"], body)]

    def _on_incident_update(self, body: dict[str, Any], session: _Session, now: float) -> list[Event]:
        return [IncidentUpdated(body["incident"], body["state"], body)]

    def _on_snapshot(self, body: dict[str, Any], session: _Session, now: float) -> list[Event]:
        return [
            SnapshotReceived(
                body.get("orders", []),
                body.get("offers", []),
                body.get("incidents", []),
                body,
                body.get("orders_left_out", 0),
                body.get("incidents_left_out", 0),
            )
        ]

    def _on_sos_ack(self, body: dict[str, Any], session: _Session, now: float) -> list[Event]:
        key = body["key"]
        if body["durable"]:
            self._sos.pop(key, None)
        elif key in self._sos:
            self._sos[key].acked = True  # heard, not stored: keep trying until it is
        return [SosAcked(key, body["incident"], body["durable"], body["seen"], body["delivered"], body)]


_HANDLERS: Final[dict[str, Callable[[ClientProtocol, dict[str, Any], _Session, float], list[Event]]]] = {
    "welcome": ClientProtocol._on_welcome,
    "heartbeat": ClientProtocol._on_heartbeat,
    "ok": ClientProtocol._on_ok,
    "error": ClientProtocol._on_error,
    "reconnect": ClientProtocol._on_reconnect,
    "ping_ack": ClientProtocol._on_ping_ack,
    "ping_policy": ClientProtocol._on_ping_policy,
    "position": ClientProtocol._on_position,
    "area": ClientProtocol._on_area,
    "unwatched": ClientProtocol._on_unwatched,
    "offer": ClientProtocol._on_offer,
    "offer.closed": ClientProtocol._on_offer_closed,
    "order": ClientProtocol._on_order,
    "incident": ClientProtocol._on_incident,
    "incident.update": ClientProtocol._on_incident_update,
    "snapshot": ClientProtocol._on_snapshot,
    "sos_ack": ClientProtocol._on_sos_ack,
}
