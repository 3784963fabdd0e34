"""Who is let in, on what terms, and how they leave: hello, refresh, expiry, replacement, draining."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from core.errors import DoorstepError, Invalid, Refused, Unavailable
from core.ids import SESSION_PREFIX, DeviceId, IdSource, SessionId, TenantId
from core.outbox import Stream
from core.principal import Principal, Role
from geo.pings import FRAME_CODES
from geo.point import Frame
from realtime.attention import Level, liveness
from realtime.errors import CLOSE_FOR_REFUSAL, CloseCode
from realtime.late import LateStreams
from realtime.messages import (
    MESSAGE_BYTES_MAX,
    PING_BATCH_LEN_MAX,
    Error,
    Hello,
    Limits,
    Ok,
    Reconnect,
    Refresh,
    Resume,
    StreamState,
    Welcome,
)
from realtime.people import People
from realtime.ports import RealtimePorts, StreamHead
from realtime.sender import AttachStreams, Job, Sender, resumed_positions
from realtime.session import Event, Person, Session, State, Story
from realtime.settings import RealtimeSettings


class Hub(Protocol):
    """What admission needs of the engine."""

    people: People

    def count(self, outcome: str) -> None:
        """Count a named outcome."""
        ...

    def show_connected(self, person: Person, now: float) -> None:
        """Set or clear the CONNECTED flag."""
        ...

    def send_policy(self, session: Session) -> None:
        """Tell a phone how to report."""
        ...

    def look_again(self, session: Session, now: float) -> None:
        """Put a session into the sweep."""
        ...

    def left(self, session: Session) -> None:
        """Forget what a session watched."""
        ...

    def renew_watches(self, session: Session, now: float) -> None:
        """Ask again for what a session watches."""
        ...


class Admission:
    """The door of the hub.

    Args:
        hub: The engine.
        settings: Limits and intervals.
        ids: Makes session ids.
        ports: The hub's ports.
        sender: Places stream cursors.
        start: Begins a read of the outbox.
        seed: For jitter.
    """

    def __init__(
        self,
        hub: Hub,
        settings: RealtimeSettings,
        ids: IdSource,
        ports: RealtimePorts,
        sender: Sender,
        start: Callable[[Job], None],
        seed: int,
    ) -> None:
        self._hub = hub
        self._settings = settings
        self._limits = settings.sessions
        self._ids = ids
        self._ports = ports
        self._sender = sender
        self._start = start
        self._rng = np.random.default_rng(seed)
        self._story = Story()
        self._open: dict[Session, None] = {}
        self._leaving: list[tuple[float, Session]] = []
        self._failed: list[tuple[float, AttachStreams]] = []
        self._late = LateStreams(settings.streams.retry_s, start)
        self._is_draining = False
        self._of_tenant: Counter[TenantId] = Counter()
        """Sessions that have said hello."""

    @property
    def sessions_open(self) -> int:
        """Connections that are not gone, before and after their hello."""
        return len(self._open)

    # -- coming ---------------------------------------------------------------------------------------

    def admit(self, peer: str) -> DoorstepError | None:
        """Whether one more connection may come. ``peer`` has its own limits in the listener."""
        if self._is_draining:
            return Unavailable("the server is stopping", code="draining")
        if len(self._open) >= self._limits.sessions_max:
            return Unavailable("too many connections", code="too_many")
        return None

    def opened(self, session: Session, now: float) -> None:
        """A connection waits for its hello."""
        self._open[session] = None
        self._hub.count("opened")
        if self._is_draining:
            self.close(session, CloseCode.DRAINING, "draining", now)
            return
        self._hub.look_again(session, now)

    def hello(self, session: Session, hello: Hello, now: float) -> None:
        """Verify, replace an older session of the device, and look up the streams."""
        try:
            who = self._verify(hello, now)
            self._check_terms(hello)
        except DoorstepError as error:
            self._refuse(session, error, now)
            return
        session.who = who
        session.session_id = SessionId(self._ids.new(SESSION_PREFIX))
        session.clock_rate = hello.clock_rate
        session.resume = hello.resume
        if hello.crs is not None:
            session.source = Frame(hello.crs)
            session.source_code = FRAME_CODES[session.source]
            if self._limits.crs_choice and session.source is not self._settings.frame:
                session.target = session.source
        if self._enter(session, who, now):
            if who.restricted:
                session.step(Event.GREETED_RESTRICTED, self._story)
                self._hub.count("greeted_restricted")
                self._welcome(session, {}, now)
            elif who.order:
                session.step(Event.GREETED_FOR_ORDER, self._story)
                self._hub.count("greeted_for_order")
                self._welcome(session, {}, now)
            else:
                session.step(Event.GREETED, self._story)
                self._attach(session)
            self._hub.look_again(session, now)

    def _verify(self, hello: Hello, now: float) -> Principal:
        device = DeviceId(hello.device)
        if (hello.token is None) == (hello.ticket is None):
            raise Invalid("must hold exactly one of token and ticket", field="token")
        if hello.token is not None:
            return self._ports.authenticator.verify(hello.token, device=device, now=now)
        return self._ports.authenticator.redeem(hello.ticket or "", device=device, now=now)

    def _check_terms(self, hello: Hello) -> None:
        rate_max = self._settings.positions.clock_rate_max
        if hello.clock_rate > rate_max:
            raise Invalid(f"must be at most {rate_max:g} here, is {hello.clock_rate:g}", field="clock_rate")

    def _refuse(self, session: Session, error: DoorstepError, now: float) -> None:
        self._hub.count(f"hello_{error.code}")
        session.send(Error(code=error.code, message=error.message[:512], retry=error.retry, field=error.field))
        known = isinstance(error, Refused) and not isinstance(error, Invalid)
        fallback = CloseCode.BAD_TOKEN if known else CloseCode.PROTOCOL
        if isinstance(error, Unavailable):
            fallback = CloseCode.TOO_MANY
        self.close(session, CLOSE_FOR_REFUSAL.get(error.code, fallback), error.code, now)

    def _enter(self, session: Session, who: Principal, now: float) -> bool:
        person = self._hub.people.meet(who.tenant, who.user)
        for older in person.sessions:
            if older.device == who.device:
                # The device is still here, only on another connection: nobody is told that it left.
                session.announced, older.announced = older.announced, False
                self._hub.count("replaced")
                self.close(older, CloseCode.REPLACED, "replaced", now)
                person = self._hub.people.meet(who.tenant, who.user)
        refusal = self._no_place(person, who)
        if refusal:
            self._hub.people.forget_if_idle(person)
            self._refuse(session, Unavailable(refusal, code="too_many"), now)
            return False
        self._of_tenant[who.tenant] += 1
        session.person = person
        person.sessions = (*person.sessions, session)
        person.is_urgent = person.is_urgent or who.holds(Role.RESPONDER, Role.OPS)
        return True

    def _no_place(self, person: Person, who: Principal) -> str:
        """Why one more device of a person finds no place; empty when it does."""
        # Whoever was given a link to one order must not keep its customer out.
        alike = [other for other in person.sessions if bool(other.principal.order) == bool(who.order)]
        if len(alike) >= self._limits.sessions_per_user_max:
            return "too many devices of this user"
        if self._of_tenant[who.tenant] >= self._limits.sessions_per_tenant_max:
            return "too many sessions of this tenant"
        if who.holds(Role.RESPONDER, Role.OPS) or person.level is Level.SOS:
            return ""
        limits = self._limits
        free = limits.sessions_max - len(self._open)
        # A crowd at the door, meant or not, must not keep out those who answer an SOS.
        return "too many connections" if free < int(limits.sessions_max * limits.sessions_reserved_share) else ""

    def _attach(self, session: Session) -> None:
        self._sender.prepare(session)
        session.attempt += 1
        self._start(AttachStreams(session, session.attempt, session.principal, resumed_positions(session.resume)))

    def attached(self, job: AttachStreams, heads: Mapping[Stream, StreamHead], now: float) -> bool:
        """Streams were looked up.

        Returns:
            Whether the session begins with them: it has not ended meanwhile, and did not wait for a late one.
        """
        session = job.session
        if job.is_late:
            self._late.found(job, now)
        if session.state is not (State.ACTIVE if job.is_late else State.ATTACHING) or session.attempt != job.attempt:
            return False
        states, snapshots = self._sender.begin(job, heads, now)
        missing = [stream for stream in job.streams if stream not in heads]
        for stream in missing:
            # An SOS, its answers and what responders do with it must not wait for the database of the orders.
            self._hub.count(f"stream_{stream.value}_late")
            self._late.add(job, stream, now)
        if not missing:
            session.resume = None
        if not job.is_late:
            session.step(Event.ATTACHED, self._story)
            self._welcome(session, states, now)
        self._sender.follow(session, heads, snapshots, now)
        if not job.is_late:
            self._announce(session, now)
            self._hub.send_policy(session)
        return not job.is_late

    def attach_failed(self, job: AttachStreams, now: float) -> None:
        """Try again after a while; an SOS is taken all the time."""
        session = job.session
        if job.is_late:
            self._late.failed(job, now)
            return
        if session.state is not State.ATTACHING or session.attempt != job.attempt:
            return
        if now - session.opened_at >= self._settings.streams.attach_timeout_s:
            self.close(session, CloseCode.DRAINING, "unavailable", now)
            return
        self._failed.append((now + self._settings.streams.retry_s, job))

    def _welcome(self, session: Session, streams: dict[str, StreamState], now: float) -> None:
        who, person = session.principal, session.owner
        row = liveness(person.level, self._settings.attention, urgent=person.is_urgent)
        limits = Limits(
            message_bytes=MESSAGE_BYTES_MAX,
            pings_per_s=self._limits.pings_per_s * session.clock_rate,
            messages_per_s=self._limits.messages_per_s,
            ping_batch=PING_BATCH_LEN_MAX,
        )
        session.send(
            Welcome(
                session=session.session_id,
                user=who.user,
                role=who.role.value,
                roles=sorted(role.value for role in who.roles),
                server_at=round(now, 3),
                heartbeat_s=row.heartbeat_s,
                limits=limits,
                restricted=who.restricted,
                streams=streams,  # type: ignore[arg-type]  # keys are values of Stream
            )
        )

    def _announce(self, session: Session, now: float) -> None:
        session.announced = True
        self._hub.show_connected(session.owner, now)
        self._ports.inbound.opened(session.principal, now)

    # -- renewing -------------------------------------------------------------------------------------

    def refresh(self, session: Session, refresh: Refresh, now: float) -> None:
        """Renew the token in place; a restricted session becomes a full one.

        Raises:
            DoorstepError: The token is refused; the session goes on with its old one.
        """
        who = session.principal
        try:
            renewed = self._ports.authenticator.verify(refresh.token, device=who.device, now=now)
            if (renewed.tenant, renewed.user, renewed.order) != (who.tenant, who.user, who.order):
                raise Refused("the token is somebody else's", code="token_invalid")
            if renewed.restricted:
                raise Refused("the token has expired", code="token_expired")
        except DoorstepError as error:
            self._hub.count(f"refresh_{error.code}")
            error_message = Error(code=error.code, message=error.message[:512], retry=error.retry, ref=refresh.ref)
            session.send(error_message)
            return
        session.who = renewed
        self._hub.count("refreshed")
        session.send(Ok(ref=refresh.ref))
        was_restricted = session.state is State.RESTRICTED
        session.step(Event.REFRESHED_FOR_ORDER if renewed.order else Event.REFRESHED, self._story)
        if renewed.order:
            pass  # nothing was attached, and nobody was told that they are here
        elif was_restricted:
            session.opened_at = now
            self._attach(session)
        else:
            self._ports.store.note_alive(renewed, now)
            self._ports.inbound.opened(renewed, now)
        if (renewed.roles, renewed.cities) != (who.roles, who.cities):
            self._look_at_roles(session.owner)
            self._hub.renew_watches(session, now)
        self._hub.look_again(session, now)

    # -- deadlines ------------------------------------------------------------------------------------

    def next_deadline(self, session: Session, other_at: float) -> float:
        """The earlier of ``other_at`` and what this file has to look at."""
        if session.who is None:
            return session.opened_at + self._limits.hello_timeout_s
        return min(other_at, self._expires_at(session))

    def _expires_at(self, session: Session) -> float:
        who = session.principal
        return who.expires_at + (self._limits.restricted_grace_s if who.restricted else self._limits.expiry_grace_s)

    def look_at(self, session: Session, now: float) -> bool:
        """Do what is due for a session; False when it was ended."""
        if session.who is None:
            if now - session.opened_at < self._limits.hello_timeout_s:
                return True
            self._hub.count("hello_timeout")
            # Silence is most often a slow link, which should come back: 4500 would send it away for good.
            self.close(session, CloseCode.TOO_SLOW, "no hello in time", now)
            return False
        if now < self._expires_at(session):
            if session.state is State.ACTIVE:
                self._ports.store.note_alive(session.who, now)
            return True
        person = session.person
        in_sos = person is not None and person.level.is_sos
        if in_sos and session.who.restricted:
            return True
        if in_sos:
            self._restrict(session, now)
            return True
        self.close(session, CloseCode.TOKEN_EXPIRED, "token expired", now)
        return False

    def _restrict(self, session: Session, now: float) -> None:
        """The token expired in the middle of an SOS: the line stays, for nothing but the SOS."""
        who = session.principal
        self._hub.count("restricted")
        session.resume = _resume_of(session)
        session.step(Event.EXPIRED_IN_SOS, self._story)
        session.who = Principal(
            tenant=who.tenant, user=who.user, role=who.role, roles=who.roles, cities=who.cities, device=who.device,
            expires_at=who.expires_at, restricted=True, token_id=who.token_id, sign_in=who.sign_in, order=who.order,
        )  # fmt: skip
        session.attempt += 1
        session.main = session.safety = None
        session.waiting = None
        self._hub.left(session)
        self._welcome(session, {}, now)
        self._take_back(session, now)

    @property
    def is_busy(self) -> bool:
        """Whether sessions are to be sent away or attached again."""
        return bool(self._leaving or self._failed) or self._late.is_busy

    def tick(self, now: float) -> None:
        """Send away those whose time has come, and repeat failed look-ups."""
        while self._leaving and self._leaving[-1][0] <= now:
            _, session = self._leaving.pop()
            if session.state is not State.CLOSING:
                self.close(session, CloseCode.DRAINING, "draining", now)
        self._late.tick(now)
        if self._failed:
            due = [job for at, job in self._failed if at <= now]
            self._failed = [(at, job) for at, job in self._failed if at > now]
            for job in due:
                if job.session.state is State.ATTACHING and job.session.attempt == job.attempt:
                    self._start(job)

    # -- leaving --------------------------------------------------------------------------------------

    def close(self, session: Session, code: CloseCode, reason: str, now: float) -> None:
        """End a connection; who is asked to come back is told when."""
        if session.state is State.CLOSING:
            return
        session.step(Event.CLOSED, self._story)
        self._hub.count(f"close_{int(code)}")
        if code.comes_back:
            session.send(Reconnect(reconnect_after_ms=self._advice_ms(), reason=reason[:64]))
        self._leave(session, now)
        session.connection.close(code, reason)

    def gone(self, session: Session, now: float) -> None:
        """The connection is gone, whoever ended it."""
        self._open.pop(session, None)
        if session.state is not State.CLOSING:
            session.step(Event.CLOSED, self._story)
            self._leave(session, now, lost=True)

    def _leave(self, session: Session, now: float, *, lost: bool = False) -> None:
        person = session.person
        self._hub.left(session)
        if person is None:
            return
        self._of_tenant[person.tenant] -= 1
        if not self._of_tenant[person.tenant]:
            del self._of_tenant[person.tenant]
        person.sessions = tuple(other for other in person.sessions if other is not session)
        self._look_at_roles(person)
        self._take_back(session, now, lost=lost and not any(other.takes_rows for other in person.sessions))
        session.main = session.safety = None
        session.waiting = None
        self._hub.people.forget_if_idle(person)

    @staticmethod
    def _look_at_roles(person: Person) -> None:
        person.is_urgent = any(
            other.who is not None and other.who.holds(Role.RESPONDER, Role.OPS) for other in person.sessions
        )

    def _take_back(self, session: Session, now: float, *, lost: bool = False) -> None:
        self._hub.show_connected(session.owner, now)
        if session.announced and session.who is not None:
            session.announced = False
            self._ports.inbound.closed(session.who, now, lost=lost)

    def _advice_ms(self) -> int:
        drain = self._settings.drain
        return drain.reconnect_min_ms + int(self._rng.integers(0, drain.reconnect_spread_ms + 1))

    # -- stopping -------------------------------------------------------------------------------------

    def drain(self, now: float, over_s: float) -> None:
        """Plan when each session is sent away: the idle first, those in an SOS last. Repeating it plans anew."""
        self._is_draining = True
        self._hub.count("drain")
        sessions = [session for session in self._open if session.state is not State.CLOSING]
        sessions.sort(key=lambda session: Level.IDLE if session.person is None else session.person.level)
        step_s = over_s / max(len(sessions) - 1, 1)
        plan = [(now + i * step_s, session) for i, session in enumerate(sessions)]
        self._leaving = plan[::-1]

    @property
    def draining_left(self) -> int:
        """Sessions not yet sent away."""
        return len(self._leaving)


def _resume_of(session: Session) -> Resume:
    """Where the device stands; in a stream that has not begun, where it said it stands."""
    main, safety, said = session.main, session.safety, session.resume or Resume()
    return Resume(
        main=(main and main.position()) or said.main,
        safety=(safety and safety.position()) or said.safety,
    )
