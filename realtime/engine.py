"""What the hub decides: who is let in, what each frame leads to, what each deadline brings.

Synchronous and deterministic: time comes in as ``now``, jitter from a seed, and what takes time (reads of the
outbox) is asked for through ``start`` and comes back as a call. Frames go straight into send queues, which
never wait. The pieces: ``admission.py`` (hello, refresh, ends), ``sender.py`` (streams), ``pings.py``,
``channels.py`` and ``areas.py`` (watching), ``presence.py`` (deadlines), ``attention.py`` (levels).
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Final

from core.errors import DoorstepError, Unavailable
from core.ids import IdSource, TenantId, UserId
from core.outbox import OutboxRow, Stream
from core.principal import Principal
from core.shard import Shard
from geo.pings import JudgedBatch
from geo.position_index import Flag
from geo.shard_positions import ShardPositions
from realtime.admission import Admission
from realtime.areas import Areas
from realtime.attention import Causes, Level, liveness, ping_policy
from realtime.channels import Channels
from realtime.codec import DECODE_ERRORS, Encoding, SosIn, transcode
from realtime.errors import CloseCode
from realtime.ledger import DiskDebt, PingLedger
from realtime.messages import (
    Ack,
    Duty,
    Error,
    Heartbeat,
    HeartbeatIn,
    Hello,
    IncidentAckIn,
    IncidentResolve,
    JobStep,
    OfferAccept,
    OfferDecline,
    Ok,
    Ping,
    Pings,
    Refresh,
    Unwatch,
    Watch,
)
from realtime.people import People
from realtime.pings import Lane, PingPath, kept_rows
from realtime.ports import RealtimePorts, StreamHead
from realtime.presence import STALL_S, Sweep, is_dead, next_look_at
from realtime.sender import AttachStreams, Job, ReadRows, Sender
from realtime.session import Person, Session, State, take_tokens
from realtime.settings import RealtimeSettings
from realtime.watching import Watching

__all__ = ["AttachStreams", "Engine", "Job", "ReadRows"]

_LOOKS_MIN: Final = 256
"""Sessions that a tick may look at for their deadlines; more only when they could not all be seen otherwise."""
_ACTIVE: Final = State.ACTIVE  # looking a member up costs as much as decoding a small frame
_CONNECTED: Final = int(Flag.CONNECTED)
_COMMANDS: Final = (OfferAccept, OfferDecline, JobStep, Duty, IncidentAckIn, IncidentResolve)
_REPORTERS: Final = frozenset({"technician", "responder"})


class Engine:
    """The hub without its clock and sockets."""

    def __init__(
        self,
        settings: RealtimeSettings,
        ids: IdSource,
        ports: RealtimePorts,
        positions: Mapping[Shard, ShardPositions],
        *,
        start: Callable[[Job], None],
        seed: int,
    ) -> None:
        """Prepare.

        Args:
            settings: Limits and intervals.
            ids: Makes session ids.
            ports: What the hub is connected to; read at each use, so it may be completed later.
            positions: Each shard's positions.
            start: Begins a read of the outbox; its end is told by ``attached``, ``rows_read`` or ``job_failed``.
            seed: For jitter.
        """
        self._settings = settings
        self._ports = ports
        self._positions = positions
        self.outcomes: Counter[str] = Counter()
        self.people = People()
        self.sweep = Sweep(settings.attention.sweep_s)
        self._pings = PingPath(settings.positions, settings.sessions, self._judged, self._count_many)
        self.shedding = self._pings.shedding
        self._sender = Sender(settings.streams, ports, self.close, self.count, start)
        channels = Channels(
            settings.frame, lambda: ports.rights, positions, lambda: ports.arrivals, self._is_in_sos,
            settings.attention.job.interval_s, self.count,
        )  # fmt: skip
        areas = Areas(settings.frame, settings.positions.fresh_s, lambda: ports.rights, positions, self.count)
        self._watching = Watching(settings, ports, channels, areas, self.count)
        self._admission = Admission(self, settings, ids, ports, self._sender, start, seed)
        self._keepers: set[tuple[TenantId, UserId]] = set()
        self._debts: dict[tuple[TenantId, UserId, int], DiskDebt] = {}
        self._to_look_at: deque[Session] = deque()
        self._looks_per_tick = _LOOKS_MIN
        self._ticked_at = 0.0
        self._swept_at = 0.0
        self._excused_until = 0.0
        self.resting = False
        """Whether the next tick is far off; the service sets it, sessions ask it after each frame."""

    # -- counting -------------------------------------------------------------------------------------

    def count(self, outcome: str) -> None:
        """Count a named outcome."""
        self.outcomes[outcome] += 1

    def _count_many(self, outcome: str, number: int) -> None:
        self.outcomes[outcome] += number

    def counts(self) -> dict[str, int]:
        """All outcomes and a few gauges."""
        gauges = {
            "sessions": self._admission.sessions_open,
            "people": len(self.people),
            "topics": len(self._watching),
            "shedding": int(self.shedding.taken < 1.0),
        }
        return dict(self.outcomes) | gauges

    # -- connections ----------------------------------------------------------------------------------

    def admit(self, peer: str) -> DoorstepError | None:
        """Whether a connection may be upgraded."""
        return self._admission.admit(peer)

    def opened(self, session: Session, now: float) -> None:
        """A handshake is finished; the hello must follow."""
        self._admission.opened(session, now)

    def on_closed(self, session: Session, code: int, now: float) -> None:
        """The connection is gone."""
        self.count(f"closed_{code}" if code in CloseCode._value2member_map_ else "closed_other")
        self._admission.gone(session, now)

    def close(self, session: Session, code: CloseCode, reason: str, now: float) -> None:
        """End a connection from our side."""
        self._admission.close(session, code, reason, now)

    def on_pong(self, session: Session, payload: bytes, now: float) -> None:
        """A pong came: to a heartbeat, or to a probe of the send queue."""
        session.heard_at = now
        session.queue.on_pong(payload, now)
        self._heard(session.person, now)

    def on_paused(self, session: Session) -> None:
        """The kernel takes no more."""
        session.queue.on_paused()

    def on_writable(self, session: Session, now: float) -> None:
        """The kernel takes more again."""
        session.queue.on_writable(now)
        self._sender.pump_all(session, now)

    # -- frames ---------------------------------------------------------------------------------------

    def sheds(self, session: Session, payload: bytes) -> bool:
        """Asked before ``on_message`` while ``shedding.taken`` is below 1: whether the frame was answered unread.

        Thousands of times in a second in which there is time for nothing: it costs as little as can be.
        """
        if session.state is not _ACTIVE or self.shedding.takes() or not self._pings.shed(session, payload):
            return False
        session.heard_at = self._ticked_at
        return True

    def on_message(self, session: Session, payload: bytes, now: float) -> None:
        """One frame. Pings of a running session take the first lines and nothing else."""
        session.heard_at = now
        if session.state is _ACTIVE:
            try:
                message = session.decode(payload)
            except DECODE_ERRORS as error:
                self._undecodable(session, payload, error, now)
                return
            if type(message) is Ping:
                self._pings.add(session, message, now)
                return
            self._handle(session, message, payload, now)
            return
        self._on_message_elsewhere(session, payload, now)

    def on_damaged(self, session: Session, payload: bytes, now: float) -> bool:
        """What there is of a message that the transport refuses for its content; True when it was an SOS, now raised.

        Args:
            session: Whose message.
            payload: All of it, or its beginning; text may not be UTF-8.
            now: Time.
        """
        session.heard_at = now
        if session.who is None:
            return False
        try:
            is_sos = isinstance(session.decode(payload), SosIn)
            encoding = session.codec.encoding if is_sos else None
        except DECODE_ERRORS:
            encoding = session.codec.sos_encoding(payload)
        if encoding is None:
            return False
        self.count("sos_damaged")
        self._sos(session, payload, encoding, now)
        return True

    def _on_message_elsewhere(self, session: Session, payload: bytes, now: float) -> None:
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
                    self.close(session, CloseCode.PROTOCOL, "no hello", now)
            elif session.state is State.ATTACHING:
                self._wait(session, payload, now)
            elif session.state is State.RESTRICTED:
                self._undecodable(session, payload, error, now)
            return
        if isinstance(message, SosIn) and session.who is not None:
            self._sos(session, payload, session.codec.encoding, now)
        elif session.state is State.AWAITING_HELLO:
            self._greet(session, message, now)
        elif session.state is State.ATTACHING:
            self._wait(session, payload, now)
        elif session.state is State.RESTRICTED:
            self._handle_restricted(session, message, now)

    def _greet(self, session: Session, message: object, now: float) -> None:
        if isinstance(message, Hello):
            self._admission.hello(session, message, now)
        elif isinstance(message, SosIn):
            # Nobody can be helped who is not known; but the line stays open for the hello.
            self._error(session, DoorstepError("say hello first, then sos again", code="hello_first"), None, now)
        else:
            self._error(session, DoorstepError("the first frame must be hello", code="hello_first"), None, now)
            self.close(session, CloseCode.PROTOCOL, "no hello", now)

    def _wait(self, session: Session, payload: bytes, now: float) -> None:
        waiting = session.waiting
        if waiting is None:
            waiting = session.waiting = []
        limits = self._settings.sessions
        size = len(payload) + sum(map(len, waiting))
        if len(waiting) >= limits.attach_queue_len_max or size > limits.attach_queue_bytes_max:
            self.count("attach_queue_full")
            if not self._pings.shed(session, payload):
                self._error(session, Unavailable("too many frames before welcome", code="overloaded"), None, now)
            return
        waiting.append(payload)

    def _handle_restricted(self, session: Session, message: object, now: float) -> None:
        if not self._take_message_token(session, now):
            return
        if isinstance(message, Refresh):
            self._admission.refresh(session, message, now)
        elif isinstance(message, HeartbeatIn):
            session.send(Heartbeat(server_at=round(now, 3)))
        elif not isinstance(message, Ack):
            error = DoorstepError("the token has expired: only sos and refresh work", code="token_restricted")
            self._error(session, error, getattr(message, "ref", None), now)

    def _handle(self, session: Session, message: object, payload: bytes, now: float) -> None:
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
        session.violations = 0
        try:
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

    def _undecodable(self, session: Session, payload: bytes, error: Exception, now: float) -> None:
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

    def _refuse(self, session: Session, error: DoorstepError, now: float) -> None:
        if self._take_message_token(session, now):
            self._error(session, error, getattr(error, "ref", None), now)

    def _take_message_token(self, session: Session, now: float, ref: str | None = None) -> bool:
        limits = self._settings.sessions
        tokens = take_tokens(session.message_tokens, now, 1.0, limits.messages_per_s, limits.messages_burst)
        if tokens >= 0.0:
            session.message_tokens = tokens
            return True
        self._error(session, Unavailable("too many messages", code="rate_limited"), ref, now)
        return False

    def _error(self, session: Session, error: DoorstepError, ref: str | None, now: float) -> None:
        self.count(f"error_{error.code}")
        session.send(error_frame(error, ref))
        session.violations += 1
        if session.violations >= self._settings.sessions.violations_max and session.state is not State.CLOSING:
            self.close(session, CloseCode.TOO_MANY, "too many errors", now)

    # -- requests -------------------------------------------------------------------------------------

    def _replier(self, session: Session, ref: str | None) -> Callable[[dict[str, object] | DoorstepError | None], None]:
        def reply(outcome: dict[str, object] | DoorstepError | None) -> None:
            if isinstance(outcome, DoorstepError):
                self.count(f"refused_{outcome.code}")
                session.send(error_frame(outcome, ref))
            else:
                session.send(Ok(ref=ref, result=outcome))

        return reply

    def _sos(self, session: Session, payload: bytes, encoding: Encoding, now: float) -> None:
        """Hand over an SOS at once: no bucket, no queue, no state but having said who one is."""
        self.count("sos")
        who = session.principal
        self._heard(session.person, now)

        def send(body: bytes) -> None:
            session.queue.send_safety(transcode(body, to_json=session.codec.is_json, crs=session.target))

        def reply(outcome: dict[str, object] | DoorstepError | None) -> None:
            message = error_frame(outcome, None) if isinstance(outcome, DoorstepError) else Ok(result=outcome)
            session.queue.send_safety(session.codec.encode(message))

        self._ports.inbound.sos(
            who, payload, is_json=encoding is Encoding.JSON, crs=session.source, now=now, send=send, reply=reply
        )

    # -- reliable messages ----------------------------------------------------------------------------

    def deliver(self, rows: Sequence[OutboxRow], now: float) -> None:
        """Send committed rows to whoever is connected."""
        self._sender.deliver(rows, self.people, now)

    def attached(self, job: AttachStreams, heads: Mapping[Stream, StreamHead], now: float) -> None:
        """Streams of a session were looked up; at least one of them was found."""
        if self._admission.attached(job, heads, now):
            session = job.session
            waiting, session.waiting = session.waiting, None
            for payload in waiting or ():
                if session.state is State.CLOSING:
                    break
                self.on_message(session, payload, now)

    def rows_read(self, job: ReadRows, rows: Sequence[OutboxRow], now: float) -> None:
        """A page of the outbox came."""
        self._sender.rows_read(job, rows, now)

    def job_failed(self, job: Job, error: DoorstepError, now: float) -> None:
        """The outbox could not be read."""
        self.count(f"outbox_{error.code}")
        if isinstance(job, AttachStreams):
            self._admission.attach_failed(job, now)
        else:
            self._sender.read_failed(job, now)

    def send_direct(self, tenant: TenantId, user: UserId, body: bytes, now: float, *, restricted: bool = False) -> int:
        """Write a message outside the streams, before everything else; ``restricted``: also where only SOS works."""
        person = self.people.get(tenant, user)
        if person is None:
            return 0
        sent = 0
        for session in person.sessions:
            if session.takes_rows or (restricted and session.state is State.RESTRICTED):
                payload = transcode(body, to_json=session.codec.is_json, crs=session.target)
                sent += session.queue.send_safety(payload)
        return sent

    # -- people ---------------------------------------------------------------------------------------

    def online(self, tenant: TenantId, user: UserId) -> bool:
        """Whether any device has a session."""
        person = self.people.get(tenant, user)
        return person is not None and bool(person.sessions)

    def revoke(self, tenant: TenantId, user: UserId, now: float) -> int:
        """Close all sessions of a user."""
        person = self.people.get(tenant, user)
        sessions = () if person is None else person.sessions
        for session in sessions:
            self.close(session, CloseCode.REVOKED, "revoked", now)
        return len(sessions)

    def revoke_where(self, revoked: Callable[[Principal], bool], now: float) -> int:
        """Close every session whose principal was revoked."""
        found = [
            session
            for person in self.people
            for session in person.sessions
            if session.who is not None and revoked(session.who)
        ]
        for session in found:
            self.close(session, CloseCode.REVOKED, "revoked", now)
        return len(found)

    def duty_changed(self, tenant: TenantId, user: UserId, shard: Shard | None, now: float) -> None:
        """A person got a slot, or lost it."""
        if shard is None and self.people.get(tenant, user) is None:
            return
        person = self.people.meet(tenant, user)
        if person.shard is not None and person.slot >= 0:
            self._watching.areas.released(person.shard, person.slot, user)
        slot = None if shard is None or shard not in self._positions else self._positions[shard].index.slot(user)
        person.shard = None if slot is None else shard
        person.slot = -1 if slot is None else slot
        person.lane = -1
        if slot is not None and shard is not None:
            person.lane = self._pings.lane(shard, self._positions[shard])
            self.show_connected(person, now)
        self._watching.channels.moved_in(tenant, user)
        self.people.forget_if_idle(person)

    def show_connected(self, person: Person, now: float) -> None:
        """Set or clear the CONNECTED flag of somebody on duty."""
        if person.slot < 0 or person.shard is None:
            return
        index = self._positions[person.shard].index
        if any(session.takes_rows for session in person.sessions):
            index.set_flags(person.slot, set=_CONNECTED)
            index.heard_at[person.slot] = now
        else:
            index.set_flags(person.slot, clear=_CONNECTED)
        self._watching.areas.touched(person.shard, person.slot)

    def _heard(self, person: Person | None, now: float) -> None:
        if person is not None and person.slot >= 0 and person.shard is not None:
            self._positions[person.shard].index.heard_at[person.slot] = now

    def attend(
        self, tenant: TenantId, user: UserId, cause: str, level: Level | None, *, keep: bool, now: float
    ) -> None:
        """Set or end a cause for attention."""
        person = self.people.get(tenant, user) if level is None else self.people.meet(tenant, user)
        if person is None:
            return
        before = person.level
        if person.causes is None:
            person.causes = Causes()
        person.causes.put(cause, level, keep=keep)
        (self._keepers.add if person.causes.kept_as else self._keepers.discard)((tenant, user))
        after = person.level
        if not person.causes:
            person.causes = None
        if after != before:
            self.count(f"level_{after.name.lower()}")
            for session in person.sessions:
                if session.state is State.ACTIVE:
                    self.send_policy(session)
                self.look_again(session, now)
        self.people.forget_if_idle(person)

    def send_policy(self, session: Session) -> None:
        """Tell a phone how to report from now on; others have no use for it."""
        if session.who is not None and session.person is not None and not _REPORTERS.isdisjoint(session.who.roles):
            session.send(ping_policy(session.person.level, self._settings.attention))

    def _is_in_sos(self, tenant: TenantId, user: UserId) -> bool:
        person = self.people.get(tenant, user)
        return person is not None and person.level is Level.SOS

    # -- positions ------------------------------------------------------------------------------------

    def ingest_http(self, who: Principal, pings: Ping | Pings, now: float) -> PingLedger:
        """Judge positions that came over HTTP; returns what became of them and what the disk owes."""
        person = self.people.meet(who.tenant, who.user)
        if isinstance(pings, Ping):
            row = (
                pings.seq, pings.fixed_at, pings.lat, pings.lng, pings.accuracy_m, pings.speed_mps, pings.heading_deg,
            )  # fmt: skip
            pings = Pings(pings=[row], sent_at=pings.sent_at, crs=pings.crs)
        self._heard(person, now)
        ledger = self._pings.judge_now(person, who.device, pings, now)
        self.people.forget_if_idle(person)
        return ledger

    def _judged(self, lane: Lane, judged: JudgedBatch, now: float) -> None:
        self._keep(lane, judged)
        for correction in judged.corrections:
            self._correct(lane, correction.slot, correction.device, correction.verdict.word)
        if len(judged.live_slots):
            self._watching.moved(lane.shard, judged.live_slots, now)

    def _correct(self, lane: Lane, slot: int, device: int, word: str) -> None:
        person = self.people.get(lane.shard.tenant, lane.positions.index.user(slot))
        for session in () if person is None else person.sessions:
            if session.ledger is not None and session.ledger.device == device:
                session.ledger.correct(word)
                self._pings.arm(session)

    def _keep(self, lane: Lane, judged: JudgedBatch) -> None:
        log = self._ports.log
        if log is None or not (self._keepers or self._debts):
            return
        kept: dict[int, tuple[Person, dict[PingLedger, None]]] = {}
        for sender in lane.reporters():
            person, ledger = sender.person, sender.ledger
            if person is None or ledger is None or person.lane != lane.number:
                continue
            ledger.debt = self._debts.get((person.tenant, person.user, ledger.device), ledger.debt)
            if person.keeps:
                kept.setdefault(person.slot, (person, {}))[1][ledger] = None
        if not kept:
            return
        for slot, columns in kept_rows(judged, kept.keys()).items():
            person, ledgers = kept[slot]
            for cause in person.keeps:
                log.append(lane.shard, person.user, cause, columns, self._hand_over(person, tuple(ledgers)))

    def _hand_over(self, person: Person, ledgers: Sequence[PingLedger]) -> Callable[[], None]:
        """What these devices sent goes to the log; returns what to call once it is on the disk."""
        tickets: dict[int, int] = {}
        for ledger in ledgers:
            key = (person.tenant, person.user, ledger.device)
            ledger.debt = self._debts.setdefault(key, DiskDebt())
            tickets[ledger.device] = ledger.debt.hand_over(ledger.judged)

        def stored() -> None:
            for device, ticket in tickets.items():
                key = (person.tenant, person.user, device)
                debt = self._debts.get(key)
                if debt is None:
                    continue
                debt.on_disk(ticket)
                if not debt.is_open:
                    del self._debts[key]
            current = self.people.get(person.tenant, person.user)
            for session in () if current is None else current.sessions:
                if session.ledger is not None and session.ledger.device in tickets:
                    self._pings.arm(session)

        return stored

    # -- deadlines ------------------------------------------------------------------------------------

    def look_again(self, session: Session, now: float) -> None:
        """Put a session into the sweep by its next deadline."""
        if session.state is not State.CLOSING:
            self.sweep.put(session, self._admission.next_deadline(session, self._row_looks_at(session, now)))

    def _row_looks_at(self, session: Session, now: float) -> float:
        person = session.person
        if person is None:
            return session.opened_at + self._settings.sessions.hello_timeout_s
        row = liveness(person.level, self._settings.attention, urgent=person.is_urgent)
        return next_look_at(session, row, now)

    def tick(self, now: float, lag_s: float) -> None:
        """Do everything that is due. Called every ``positions.tick_ms``.

        Args:
            now: Time.
            lag_s: How long bytes that arrive wait to be read.
        """
        self._ticked_at = now
        self.shedding.measure(lag_s)
        self._pings.flush(now)
        self._pings.send_acks(now)
        self._sender.retry(now)
        self._watching.tick(now)
        self._admission.tick(now)
        if now - self._swept_at >= self._settings.attention.sweep_s * 0.9:
            if now - self._swept_at >= STALL_S:
                # We did not listen for a while; give everybody time to be heard before anybody is called dead.
                self._excused_until = now + 2 * self._settings.attention.sweep_s + STALL_S
                self.count("stalled")
            self._swept_at = now
            self._to_look_at.extend(self.sweep.due(now))
            # Everybody within half the time to the next sweep; together they would take longer than a tick may.
            ticks = self._settings.attention.sweep_s * 500 / self._settings.positions.tick_ms
            self._looks_per_tick = max(_LOOKS_MIN, ceil(len(self._to_look_at) / ticks))
        for _ in range(min(len(self._to_look_at), self._looks_per_tick)):
            self._look_at(self._to_look_at.popleft(), now)

    @property
    def is_busy(self) -> bool:
        """Whether anything waits that must not wait for the next sweep."""
        return (
            bool(self._to_look_at)
            or self._pings.is_busy
            or self._sender.is_busy
            or self._watching.is_busy
            or self._admission.is_busy
        )

    def _look_at(self, session: Session, now: float) -> None:
        if session.state is State.CLOSING:
            return
        if not self._admission.look_at(session, now):
            return
        person = session.person
        if person is not None:
            row = liveness(person.level, self._settings.attention, urgent=person.is_urgent)
            if is_dead(session, row, now, self._excused_until):
                self.count("dead_peer")
                self._admission.gone(session, now)
                session.connection.abort()
                return
            if now - max(session.heard_at, session.pinged_at) >= row.heartbeat_s:
                session.pinged_at = now
                session.connection.send_ping(b"h")
            if self._sender.is_stuck(session, now):
                self.close(session, CloseCode.TOO_SLOW, "too slow", now)
                return
        self.look_again(session, now)

    def renew_watches(self, session: Session, now: float) -> None:
        """A session speaks with other roles or cities than before."""
        self._watching.renew(session, now)

    def left(self, session: Session) -> None:
        """Forget what a session watched."""
        self._watching.left(session)

    def rights_changed(self, topic: str, now: float) -> None:
        """Rights to a topic changed."""
        self._watching.rights_changed(topic, now)

    # -- the end --------------------------------------------------------------------------------------

    def drain(self, now: float, over_s: float) -> None:
        """Send everyone away in stages from now on."""
        self._admission.drain(now, over_s)

    def drain_now(self, now: float) -> None:
        """Send everyone away at once."""
        self._admission.drain(now, 0.0)
        self._admission.tick(now)

    @property
    def draining_left(self) -> int:
        """Sessions still to be sent away."""
        return self._admission.draining_left


def error_frame(error: DoorstepError, ref: str | None) -> Error:
    """The frame for an error; lengths are cut to what the catalogue allows."""
    return Error(
        code=error.code[:64],
        message=error.message[:512],
        retry=error.retry,
        field=None if error.field is None else error.field[:512],
        ref=ref,
    )
