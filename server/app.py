"""The life of the process: open, listen, work, drain; what was opened is closed in the reverse order."""

import asyncio
import logging
import os
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from api.app import make_app, make_refusal
from core.errors import DoorstepError
from dispatch.ports import Notifier
from safety.audit import AuditKeys, AuditPen
from server.admin import make_admin_app
from server.anchoring import Anchoring, anchor_path
from server.garbage import Collector
from server.geography import load_maps
from server.house import House
from server.http import HttpListener, address_of, keeping, tls_context, torn
from server.interleaving_loop import InterleavingLoop
from server.keys import Key
from server.metrics import Metrics
from server.outgoing_secrets import OutgoingSecrets
from server.outside import make_channels
from server.pin_hasher import Argon2Pins
from server.preflight import check_start
from server.read_lag import ReadLag
from server.readings import connect_life, connect_readings, connect_stores
from server.renewal import FreshSecrets, Renewal
from server.revoked_file import RevokedFile
from server.roads import Roads
from server.root import Settings, derived
from server.security_events import SecurityEvents
from server.system import SystemClock, SystemIds, random_key, random_seed
from server.tokens import Tokens
from server.version import version
from server.watchdog import Watchdog
from server.wiring import build_house
from store.lock import FolderInUse
from store.migrate import DatabaseRefused
from store.sqlite import Stores, open_stores
from transport.guarded_post import GuardedPost
from transport.notifiers import NoNotifier, PushWebhook
from transport.websocket import WebSocketListener

_log = logging.getLogger(__name__)
RESTART_EXIT_CODE = 75
"""Of a process that wants its supervisor to start it anew (EX_TEMPFAIL of sysexits.h)."""
FINISH_S = 15.0
"""Seconds that the services may take to handle what was given to them before the stop."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StartFailed(Exception):
    """The server cannot start; the text is for whoever started it."""


class App:
    """One server. ``start`` returns when it takes requests, ``stop`` when everything is stored and closed.

    Attributes:
        http_url, hub_url, admin_url: Where it is reached, once started (ports 0 are resolved).
    """

    def __init__(
        self,
        settings: Settings,
        *,
        keys: Mapping[str, Key],
        folder: Path,
        audit: AuditKeys,
        secrets: OutgoingSecrets | None = None,
        reread: Callable[[], FreshSecrets] | None = None,
    ) -> None:
        """``keys`` verify tokens, ``secrets`` sign what is sent, ``audit`` what safety remembers.

        Relative paths of the config start at ``folder``. ``reread`` is called in a thread when secrets may have
        changed (SIGHUP); without it they are what they are.
        """
        self._pen = AuditPen(audit, lambda: random_key(16))
        self._secrets = secrets or OutgoingSecrets()
        self.settings = derived(settings)
        self._folder = folder
        self._clock = SystemClock()
        self._ids = SystemIds()
        self.tokens = Tokens(settings.auth, keys, self._ids)
        revoked = settings.auth.revoked_file
        self._revoked = RevokedFile(folder / revoked if revoked else None, self.tokens, self._end_revoked)
        self._asker: GuardedPost | None = None
        self._renewal = Renewal(reread, self._take_secrets)
        self._push: PushWebhook | None = None
        self.metrics = Metrics()
        self.http_url = ""
        self.hub_url = ""
        self.admin_url = ""
        self.house: House
        self.anchoring: Anchoring
        self.roads: Roads
        self._stop_asked = asyncio.Event()
        self._watchdog = Watchdog(self._clock)
        self.exit_code = 0
        """What the process is to end with: not 0 when it asks to be started again."""
        self._running: asyncio.Task[None] | None = None
        self._is_listening = False
        self._hub_listener: WebSocketListener
        self._http: HttpListener

    # -- life -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open everything and take requests.

        Raises:
            ConfigError: A file named in the config is unfit.
            StartFailed: A port is taken, the data folder is in use, a database cannot be read.
        """
        if self._running is not None:
            raise RuntimeError("the app was started before")
        loop = asyncio.get_running_loop()
        started: asyncio.Future[None] = loop.create_future()
        self._running = loop.create_task(self._work(started), name="doorstep")
        await asyncio.wait([started, self._running], return_when=asyncio.FIRST_COMPLETED)
        if self._running.done():
            await self._running  # raises what it ended with

    async def stop(self) -> None:
        """Drain and close; raises what the server failed with, if it did. Idempotent."""
        self.request_stop()
        if self._running is not None:
            await self._running

    def request_stop(self) -> None:
        """Begin to stop; ``run`` and ``stop`` return when it is done. Idempotent."""
        self._stop_asked.set()

    async def run(self, started: Callable[["App"], None] | None = None) -> None:
        """Start, work until a stop is asked for (SIGTERM, SIGINT), stop."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.request_stop)
        loop.add_signal_handler(signal.SIGHUP, self.read_again)
        collector = Collector(self.settings.lifecycle.collect_every_s)
        try:
            await self.start()
            collector.start()
            if started is not None:
                started(self)
            assert self._running is not None  # noqa: S101 - start made it
            await self._running
        finally:
            collector.stop()
            for number in (*STOP_SIGNALS, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def read_again(self) -> None:
        """Read the file of revoked tokens and all secrets again; what is unfit changes nothing."""
        self._revoked.read()
        self._renewal.ask()

    def _end_revoked(self) -> None:
        if self._is_listening:
            self.house.hub.revoke_where(self.tokens.revoked)

    def _take_secrets(self, fresh: FreshSecrets) -> None:
        self.tokens.renew_keys(fresh.keys)
        if self._push is not None and fresh.outgoing.push:
            self._push.renew_secrets(fresh.outgoing.push)
        if self._asker is not None:
            self.house.pager.renew(make_channels(self.settings, fresh.outgoing, self._asker, self._clock))
        if self.house.webhooks is not None:
            self.house.webhooks.renew_secrets(fresh.outgoing.webhooks)

    # -- inside -----------------------------------------------------------------------------------------

    async def _work(self, started: "asyncio.Future[None]") -> None:
        failure: StartFailed | None = None  # raised bare, not inside a group of one
        async with AsyncExitStack() as stack:
            await self._open(stack)
            async with asyncio.TaskGroup() as group:
                self.house.run(group)
                helpers = [
                    group.create_task(self.anchoring.run(), name="anchoring"),
                    group.create_task(self._revoked.run(), name="revoked tokens"),
                    group.create_task(self._renewal.run(), name="secrets"),
                ]
                try:
                    await self._listen(stack)
                    helpers.append(group.create_task(self._security.run(), name="security events"))
                    self._set_ready(True)
                    self._log_start()
                    started.set_result(None)
                    await self._stop_asked.wait()
                    await self._drain()
                except StartFailed as error:
                    failure = error
                finally:
                    self._set_ready(False)
                    await self._finish_work()
                    for helper in helpers:
                        helper.cancel()
                    await self.anchoring.export()
        if failure is not None:
            raise failure
        _log.info("stopped")

    async def _open(self, stack: AsyncExitStack) -> None:
        settings = self.settings
        check_start(settings, self._folder)
        maps = load_maps(settings.cities, settings.coordinates, self._folder)
        self._revoked.read()
        stores = await self._open_stores(stack)
        connect_stores(self.metrics, stores)
        self._watchdog.start()
        stack.callback(self._watchdog.stop)
        connect_life(self.metrics, self._watchdog, self._is_ready)
        for name, database in stores.databases.items():
            database.writer.on_fenced = partial(self._ask_restart, name)
        audit = settings.safety.audit
        path = anchor_path(audit, settings.data_folder, self._folder)
        self.anchoring = Anchoring(stores.safety, self._pen, path, audit.anchor_every_s, self._clock)
        await self.anchoring.start()
        # One thread, and one more for each city whose round is over its budget and has not given up yet.
        solvers = stack.enter_context(ThreadPoolExecutor(1 + len(settings.cities), "round"))
        poster = GuardedPost(private_hosts=settings.webhooks.private_hosts, timeout_s=settings.webhooks.timeout_s)
        stack.push_async_callback(poster.close)
        self._asker = asker = GuardedPost(
            private_hosts=settings.webhooks.private_hosts, timeout_s=settings.safety.reach.attempt_timeout_s
        )
        stack.push_async_callback(asker.close)
        self.roads = Roads(settings.travel, settings.coordinates.frame, self._clock)
        stack.push_async_callback(self.roads.stop)
        pins = Argon2Pins(settings.safety.pins)
        stack.callback(pins.close)
        self.house = build_house(
            settings,
            tokens=self.tokens,
            stores=stores,
            maps=maps,
            clock=self._clock,
            ids=self._ids,
            seed=random_seed(),
            pick_key=random_key(),
            pin_hasher=pins,
            executor=solvers,
            poster=poster,
            webhook_secrets=self._secrets.webhooks,
            notifier=self._notifier(poster, stack),
            roads=self.roads,
            channels=make_channels(settings, self._secrets, asker, self._clock),
            asker=asker,
        )
        try:
            await self.house.load()
        except DoorstepError as error:
            raise StartFailed(f"stored state cannot be read: {error.message}") from error

    def _notifier(self, poster: GuardedPost, stack: AsyncExitStack) -> Notifier:
        push = self.settings.push
        if not push.url:
            return NoNotifier()
        notifier = PushWebhook(poster, self._clock, url=push.url, secrets=self._secrets.push, timeout_s=push.timeout_s)
        stack.push_async_callback(notifier.close)
        self._push = notifier
        return notifier

    async def _open_stores(self, stack: AsyncExitStack) -> Stores:
        folder = Path(self.settings.data_folder)
        try:
            stores = open_stores(
                folder,
                self._clock,
                self._ids,
                self.settings.store,
                journal=self.settings.safety.journal,
                pen=self._pen,
            )
            stack.push_async_callback(stores.stop)
            await stores.start()
        except (DoorstepError, FolderInUse, DatabaseRefused, OSError) as error:
            raise StartFailed(f"data folder {folder}: {error}") from error
        return stores

    async def _listen(self, stack: AsyncExitStack) -> None:
        settings = self.settings
        loop = asyncio.get_running_loop()
        self._hub_listener = WebSocketListener(
            self.house.hub,
            settings.hub,
            ssl=self._tls(settings.hub.tls_cert_file, settings.hub.tls_key_file),
            interleaved=loop if isinstance(loop, InterleavingLoop) else None,
        )
        await _bound("hub", settings.hub.host, settings.hub.port, self._hub_listener.start)
        stack.push_async_callback(self._hub_listener.stop)
        self.hub_url = settings.hub.public_url or _url(
            "wss" if settings.hub.tls_cert_file else "ws", settings.hub.host, self._hub_listener.port, settings.hub.path
        )
        app = make_app(
            self.house.api,
            body_bytes_max=settings.http.body_bytes_max,
            body_timeout_s=settings.http.header_timeout_s,
            peer_of=address_of(settings.trusted_proxies),
            observe=self.metrics.observe_request,
            keeping=keeping,
            torn=torn,
            stream_timeout_s=settings.api.export_timeout_s,
        )
        self._http = HttpListener(
            app,
            host=settings.http.host,
            port=settings.http.port,
            header_timeout_s=settings.http.header_timeout_s,
            idle_timeout_s=settings.http.idle_timeout_s,
            connections_max=settings.http.connections_max,
            connections_per_address_max=settings.http.connections_per_address_max,
            trusted_proxies=settings.trusted_proxies,
            drain_s=settings.lifecycle.requests_s,
            tls=self._tls(settings.http.tls_cert_file, settings.http.tls_key_file),
            refusal=make_refusal(self.house.api),
        )
        admin = HttpListener(
            make_admin_app(
                self.metrics,
                self._is_healthy,
                self._is_ready,
                lambda: self.house.addresses.closed_cities,
            ),
            host=settings.admin.host,
            port=settings.admin.port,
            header_timeout_s=5,
            idle_timeout_s=30,
            connections_max=100,
            drain_s=1,
        )
        await _bound("admin", settings.admin.host, settings.admin.port, admin.start)
        stack.push_async_callback(admin.stop)
        await _bound("http", settings.http.host, settings.http.port, self._http.start)
        stack.push_async_callback(self._http.stop)
        self.http_url = settings.http.public_url or _url(
            "https" if settings.http.tls else "http", settings.http.host, self._http.port, ""
        )
        self.admin_url = _url("http", settings.admin.host, admin.port, "")
        addresses = self.house.addresses
        addresses.http_url, addresses.hub_url, addresses.admin_url = self.http_url, self.hub_url, self.admin_url
        connect_readings(self.metrics, self.house, self._hub_listener)
        api, listener, hub = self.house.api, self._hub_listener, self.house.hub
        self._security = SecurityEvents(
            lambda: api.refusals, lambda: listener.refused, hub.counts, every_s=settings.log.security_every_s
        )
        self.metrics.read("doorstep_security_events", self._security.counts)
        self.metrics.read("doorstep_travel_tables", self.roads.tables)
        lag = ReadLag(self.metrics.observe_lag)
        stack.callback(lag.close)
        self.house.hub.read_lag = lag
        self._is_listening = True

    async def _drain(self) -> None:
        """Not ready; then the hub sends everybody away, HTTP finishes; what they asked for is still decided."""
        self._set_ready(False)
        _log.info("draining")
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), self.settings.lifecycle.unready_s)
        self._hub_listener.stop_accepting()
        await self.house.hub.drain()
        await self._http.stop()

    async def _finish_work(self) -> None:
        """Let the services end; bounded, because one of them may be the reason for stopping."""
        try:
            async with asyncio.timeout(FINISH_S):
                await self.house.stop()
        except TimeoutError:
            _log.exception("a service did not finish in time")
            raise

    def _tls(self, cert_file: str, key_file: str) -> ssl.SSLContext | None:
        try:
            return tls_context(
                str(self._folder / cert_file) if cert_file else "", str(self._folder / key_file) if key_file else ""
            )
        except OSError as error:
            raise StartFailed(f"TLS files {cert_file} and {key_file}: {error}") from error

    def _is_healthy(self) -> bool:
        """Whether the services run. A failing disk is no reason: a restart would lose what waits to be stored."""
        return self._running is not None and not self._running.done()

    def _is_ready(self) -> bool:
        """Whether this node wants traffic: not while starting and draining, nor when its loop stood still lately."""
        watch = self.house.watch
        return self.house.addresses.ready and self._watchdog.is_steady and (watch is None or watch.is_well)

    def _ask_restart(self, file: str) -> None:
        """A file is fenced: only a new process may write it. Until then safety lives on the emergency journal."""
        _log.critical("this process must be started anew", extra={"fenced": file, "exit_code": RESTART_EXIT_CODE})
        self.exit_code = RESTART_EXIT_CODE
        self.request_stop()

    def _set_ready(self, ready: bool) -> None:
        self.house.addresses.ready = ready

    def _log_start(self) -> None:
        _log.info(
            "serving",
            extra={
                "http": self.http_url,
                "hub": self.hub_url,
                "admin": self.admin_url,
                "version": version(),
                "cities": [part.shard.channel for part in self.house.cities.all()],
            },
        )


@asynccontextmanager
async def running(app: App) -> AsyncIterator[App]:
    """Start an app, stop it at the end; what it failed with is raised."""
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


async def _bound(name: str, host: str, port: int, start: Callable[[], object]) -> None:
    try:
        await start()  # type: ignore[misc]
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise StartFailed(f"{name}: cannot listen on {host}:{port}: {why}") from error


def _url(scheme: str, host: str, port: int, path: str) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"{scheme}://{shown}:{port}{path}"
