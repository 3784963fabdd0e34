"""What the hub decides: who is let in, what each frame leads to, what each tick brings.

Synchronous and deterministic: time comes in as ``now``, jitter from a seed, and what takes time (reads of the
outbox) is asked for through ``start`` and comes back as a call. Frames go straight into send queues, which
never wait. Here the pieces are put together, and each call finds the one that it is for: ``admission.py`` (hello,
refresh, ends), ``frames.py`` (everything said), ``sender.py`` (streams), ``pings.py``, ``kept_positions.py``,
``channels.py`` and ``areas.py`` (watching), ``duty.py`` (slots), ``presence.py`` (deadlines), ``attention.py``
(levels).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from core.errors import DoorstepError
from core.ids import IdSource, TenantId, UserId
from core.outbox import OutboxRow, Stream
from core.principal import Principal
from core.shard import Shard
from geo.pings import JudgedBatch
from geo.shard_positions import ShardPositions
from realtime.admission import Admission
from realtime.areas import Areas
from realtime.attention import Causes, Level, ping_policy
from realtime.channels import Channels
from realtime.codec import DECODE_ERRORS, transcode
from realtime.duty import OnDuty
from realtime.errors import CloseCode
from realtime.frames import Frames
from realtime.kept_positions import KeptPositions
from realtime.ledger import PingLedger
from realtime.messages import Ping, PingPolicy, Pings
from realtime.pacing import ReadPacing
from realtime.people import People
from realtime.pings import Lane, PingPath
from realtime.ports import RealtimePorts, StreamHead
from realtime.presence import Presence
from realtime.sender import AttachStreams, Job, ReadRows, Sender
from realtime.session import Person, Session, State
from realtime.settings import RealtimeSettings
from realtime.watching import Watching

__all__ = ["AttachStreams", "Engine", "Job", "ReadRows"]

_ALARMED: Final = frozenset({State.RESTRICTED, State.FOR_ORDER})
"""States without streams in which somebody may have called for help, and hears what became of that."""
_ACTIVE: Final = State.ACTIVE  # looking a member up costs as much as decoding a small frame
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
        self.outcomes: Counter[str] = Counter()
        self.people = People()
        self._pings = PingPath(settings.positions, settings.sessions, self._judged, self._count_many)
        self.shedding = self._pings.shedding
        self._pacing = ReadPacing(settings.positions.shed_rest_ms / 1000, settings.positions.tick_ms / 1000)
        self._sender = Sender(settings.streams, ports, self.close, self.count, start)
        channels = Channels(
            settings.frame, lambda: ports.rights, positions, lambda: ports.arrivals, self._is_in_sos,
            settings.attention.job.interval_s, self.count,
        )  # fmt: skip
        areas = Areas(settings.frame, settings.positions.fresh_s, lambda: ports.rights, positions, self.count)
        self._watching = Watching(settings, ports, channels, areas, self.count)
        self._admission = Admission(self, settings, ids, ports, self._sender, start, seed)
        self._presence = Presence(settings, self._admission, self._sender, self.count)
        self._duty = OnDuty(self.people, positions, self._pings, self._watching)
        self._kept = KeptPositions(ports, self.people, self._pings.arm)
        self._frames = Frames(
            settings.sessions, ports, self._admission, self._sender, self._watching, self._pings, self._duty.heard,
            self.count,
        )  # fmt: skip
        self._parts: Final[tuple[Callable[[float], None], ...]] = (
            self._pacing.turn,
            self._pings.flush,
            self._pings.send_acks,
            self._sender.retry,
            self._watching.tick,
            self._admission.tick,
            self._presence.tick,
        )
        """What each tick does, in this order."""
        self._ticked_at = 0.0
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
            "reading_paused": self._pacing.number,
        }
        return dict(self.outcomes) | gauges

    # -- connections ----------------------------------------------------------------------------------

    def admit(self, peer: str) -> DoorstepError | None:
        """Whether a connection may be upgraded."""
        return self._admission.admit(peer)

    def opened(self, session: Session, now: float) -> None:
        """A handshake is finished; the hello must follow."""
        session.lot = self.shedding.draw()
        self._admission.opened(session, now)

    def on_closed(self, session: Session, code: int, now: float) -> None:
        """The connection is gone."""
        self.count(f"closed_{code}" if code in CloseCode._value2member_map_ else "closed_other")
        self._pacing.end(session)
        self._admission.gone(session, now)

    def close(self, session: Session, code: CloseCode, reason: str, now: float) -> None:
        """End a connection from our side."""
        self._admission.close(session, code, reason, now)

    def on_pong(self, session: Session, payload: bytes, now: float) -> None:
        """A pong came: to a heartbeat, or to a probe of the send queue."""
        session.heard_at = now
        session.queue.on_pong(payload, now)
        self._duty.heard(session.person, now)

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
        shedding = self.shedding
        if session.state is not _ACTIVE or (shedding.taken and shedding.takes(session.lot)):
            return False
        if not self._pings.shed(session, payload, spare_batches=not shedding.is_severe):
            return False
        now = self._ticked_at
        self._pacing.shed(session, now)
        session.heard_at = now
        return True

    def on_message(self, session: Session, payload: bytes, now: float) -> None:
        """One frame. Pings of a running session take the first lines and nothing else."""
        session.heard_at = now
        if session.state is _ACTIVE:
            try:
                message = session.decode(payload)
            except DECODE_ERRORS as error:
                self._frames.undecodable(session, payload, error, now)
                return
            if type(message) is Ping:
                self._pings.add(session, message, now)
                return
            self._frames.handle(session, message, payload, now)
            return
        self._frames.handle_elsewhere(session, payload, now)

    def on_damaged(self, session: Session, payload: bytes, now: float) -> bool:
        """What there is of a message that the transport refuses for its content; True when it was an SOS, now raised.

        Args:
            session: Whose message.
            payload: All of it, or its beginning; text may not be UTF-8.
            now: Time.
        """
        session.heard_at = now
        return self._frames.handle_damaged(session, payload, now)

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
            if session.takes_rows or (restricted and session.state in _ALARMED):
                payload = transcode(body, to_json=session.codec.is_json, crs=session.target)
                sent += session.queue.send_safety(payload)
        return sent

    # -- people ---------------------------------------------------------------------------------------

    def online(self, tenant: TenantId, user: UserId) -> bool:
        """Whether any device has a session; a link to one order is none of theirs."""
        person = self.people.get(tenant, user)
        return person is not None and any(session.state is not State.FOR_ORDER for session in person.sessions)

    def revoke(self, tenant: TenantId, user: UserId, revoked: Callable[[Principal], bool], now: float) -> int:
        """Close those sessions of a user whose principal was revoked."""
        person = self.people.get(tenant, user)
        return self._revoke(() if person is None else (person,), revoked, now)

    def revoke_where(self, revoked: Callable[[Principal], bool], now: float) -> int:
        """Close every session whose principal was revoked."""
        return self._revoke(self.people, revoked, now)

    def _revoke(self, people: Iterable[Person], revoked: Callable[[Principal], bool], now: float) -> int:
        found = [
            session
            for person in people
            for session in person.sessions
            if session.who is not None and revoked(session.who)
        ]
        for session in found:
            self.close(session, CloseCode.REVOKED, "revoked", now)
        return len(found)

    def duty_changed(
        self, tenant: TenantId, user: UserId, shard: Shard | None, now: float, *, quiet: bool = False
    ) -> None:
        """A person got a slot, or lost it."""
        self._duty.changed(tenant, user, shard, now, quiet=quiet)

    def show_connected(self, person: Person, now: float) -> None:
        """Set or clear the CONNECTED flag of somebody on duty."""
        self._duty.show_connected(person, now)

    def attend(
        self,
        tenant: TenantId,
        user: UserId,
        cause: str,
        level: Level | None,
        *,
        keep: bool,
        now: float,
        owed: bool = True,
    ) -> None:
        """Set or end a cause for attention."""
        person = self.people.get(tenant, user) if level is None else self.people.meet(tenant, user)
        if person is None:
            return
        before = person.level
        if person.causes is None:
            person.causes = Causes()
        person.causes.put(cause, level, keep=keep, owed=owed)
        self._kept.causes_changed(person)
        after = person.level
        if not person.causes:
            person.causes = None
        if after != before:
            self.count(f"level_{after.name.lower()}")
            for session in person.sessions:
                if session.state is State.ACTIVE:
                    self.send_policy(session, ends_alarm=before.is_sos)
                self.look_again(session, now)
        self.people.forget_if_idle(person)

    def send_policy(self, session: Session, *, ends_alarm: bool = False) -> None:
        """Tell a phone how to report from now on.

        Phones of people at work hear it always, anybody's for the time of their alarm, and once when that is over.
        """
        if session.who is None or session.person is None:
            return
        level = session.person.level
        if ends_alarm or level.is_sos or not _REPORTERS.isdisjoint(session.who.roles):
            session.send(ping_policy(level, self._settings.attention))

    def policy(self, tenant: TenantId, user: UserId) -> PingPolicy:
        """How somebody's phone is to report now."""
        person = self.people.get(tenant, user)
        return ping_policy(Level.IDLE if person is None else person.level, self._settings.attention)

    def _is_in_sos(self, tenant: TenantId, user: UserId) -> bool:
        person = self.people.get(tenant, user)
        return person is not None and person.level.is_sos

    # -- watching -------------------------------------------------------------------------------------

    def renew_watches(self, session: Session, now: float) -> None:
        """A session speaks with other roles or cities than before."""
        self._watching.renew(session, now)

    def left(self, session: Session) -> None:
        """Forget what a session watched."""
        self._watching.left(session)

    def rights_changed(self, topic: str, now: float) -> None:
        """Rights to a topic changed."""
        self._watching.rights_changed(topic, now)

    # -- positions ------------------------------------------------------------------------------------

    def ingest_http(self, who: Principal, pings: Ping | Pings, now: float) -> PingLedger:
        """Judge positions that came over HTTP; returns what became of them and what the disk owes."""
        person = self.people.meet(who.tenant, who.user)
        if isinstance(pings, Ping):
            row = (
                pings.seq, pings.fixed_at, pings.lat, pings.lng, pings.accuracy_m, pings.speed_mps, pings.heading_deg,
            )  # fmt: skip
            pings = Pings(pings=[row], sent_at=pings.sent_at, mock=pings.mock, crs=pings.crs)
        self._duty.heard(person, now)
        ledger = self._pings.judge_now(person, who.device, pings, now)
        self.people.forget_if_idle(person)
        return ledger

    def _judged(self, lane: Lane, judged: JudgedBatch, now: float) -> None:
        self._kept.keep(lane, judged)
        for correction in judged.corrections:
            self._correct(lane, correction.slot, correction.device, correction.verdict.word)
        if len(judged.live_slots):
            self._watching.moved(lane.shard, judged.live_slots, now)

    def _correct(self, lane: Lane, slot: int, device: int, word: str) -> None:
        person = self.people.get(lane.shard.tenant, lane.positions.index.user(slot))
        if person is None or person.quiet == lane.number:
            return
        for session in person.sessions:
            if session.ledger is not None and session.ledger.device == device:
                session.ledger.correct(word)
                self._pings.arm(session)

    # -- deadlines ------------------------------------------------------------------------------------

    def look_again(self, session: Session, now: float) -> None:
        """Put a session into the sweep by its next deadline."""
        self._presence.look_again(session, now)

    def tick(self, now: float, lag_s: float) -> None:
        """Do everything that is due. Called every ``positions.tick_ms``.

        Args:
            now: Time.
            lag_s: How long bytes that arrive wait to be read.

        Raises:
            ExceptionGroup: Of the parts that broke; the others were done all the same.
        """
        self._ticked_at = now
        self.shedding.measure(lag_s, self._pings.take_frames(), now)
        broken: list[Exception] = []
        for part in self._parts:
            try:
                part(now)
            except Exception as error:  # noqa: BLE001 - A defect in one must not silence heartbeats and the rest.
                broken.append(error)
        if broken:
            raise ExceptionGroup("parts of the tick broke", broken)

    @property
    def is_busy(self) -> bool:
        """Whether anything waits that must not wait for the next sweep."""
        return (
            self._presence.is_busy
            or self._pings.is_busy
            or self._sender.is_busy
            or self._watching.is_busy
            or self._admission.is_busy
            or self._pacing.number > 0
        )

    # -- the end --------------------------------------------------------------------------------------

    def drain(self, now: float, over_s: float) -> None:
        """Send everyone away in stages from now on."""
        self._admission.drain(now, over_s)

    def drain_now(self, now: float) -> None:
        """Send everyone away at once."""
        self._pacing.end_all()  # there may be no further tick, and the answers to our closes are to be read
        self._admission.drain(now, 0.0)
        self._admission.tick(now)

    @property
    def draining_left(self) -> int:
        """Sessions still to be sent away."""
        return self._admission.draining_left
