"""Raw load on a hub from a process of its own: frames made beforehand, sent at a steady rate, answers counted.

``python -m bench.hub_load`` reads one JSON object (``Job``) from standard input and connects; then for each further
one (``Phase``) it sends, says when it begins and ends, and writes one (``Result``), until its input ends. Frames are
made before the clock starts, so that the sender costs little beside the server on a small machine.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

DIALS_AT_ONCE = 100
TURN_S = 0.004
"""Pause between two turns of the sender."""
FRAMES_A_TURN = 500
"""A sender that is late still looks at its answers this often."""


@dataclass
class Job:
    """Who sends what.

    Attributes:
        url: The hub, or a peer of it.
        tokens: One for each connection; empty tokens skip the greeting (a peer that only reads).
        city: Where technicians go on duty.
        batch: Pings in a frame; 1 sends ``ping``, more ``pings``.
    """

    url: str
    tokens: list[str]
    city: str
    batch: int = 1


@dataclass
class Phase:
    """How much to send, and how fast.

    Attributes:
        frames: Frames for each connection.
        rate_per_s: Frames of all connections together.
        settle_s: Longest wait for the last verdicts.
        taps: Connections that tap SOS in the middle of their pings, one after the other.
    """

    frames: int
    rate_per_s: float
    settle_s: float = 10.0
    taps: int = 0


@dataclass
class Result:
    """What happened.

    Attributes:
        last: Last position sent by each connection (lat, lng).
        took_s: From the first frame to the last verdict.
        behind_s: How much later than planned the last frame was sent: above a second the sender was too slow.
        sos_ack_s: From each tap to its durable acknowledgement; a tap without one is missing.
    """

    sent: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    last: list[tuple[float, float]] = field(default_factory=list)
    took_s: float = 0.0
    sending_s: float = 0.0
    behind_s: float = 0.0
    sos_ack_s: list[float] = field(default_factory=list)


def place(connection: int, step: int) -> tuple[float, float]:
    """Connections on a grid of 100 m around the middle of the demo's city; each step is 0.1 m north."""
    return (
        round(22.50 + 0.0009 * (connection // 100) + 1e-6 * step, 6),
        round(114.00 + 0.0009 * (connection % 100), 6),
    )


def make_frames(job: Job, phase: Phase, first_step: int, starts_at: float) -> list[list[bytes]]:
    """All frames of a phase: ``frames[step][connection]``; numbers and places go on from the phase before."""
    gap_s = len(job.tokens) / phase.rate_per_s
    encode = msgspec.json.encode
    steps = []
    for step in range(first_step, first_step + phase.frames):
        sent_at = round(starts_at + (step - first_step) * gap_s, 3)
        row = []
        for n in range(len(job.tokens)):
            if job.batch == 1:
                lat, lng = place(n, step)
                row.append(
                    b'{"type":"ping","seq":%d,"fixed_at":%.3f,"sent_at":%.3f,"lat":%.6f,"lng":%.6f,"accuracy_m":8.5,'
                    b'"speed_mps":3.5,"heading_deg":271.5}' % (step + 1, sent_at, sent_at, lat, lng)
                )
                continue
            pings = []
            for k in range(job.batch):
                lat, lng = place(n, step * job.batch + k)
                fixed_at = round(sent_at - gap_s * (job.batch - 1 - k) / job.batch, 3)
                pings.append((step * job.batch + k + 1, fixed_at, lat, lng, 8.5, 3.5, 271.5))
            row.append(encode({"type": "pings", "sent_at": sent_at, "pings": pings}))
        steps.append(row)
    return steps


class Peer(WSListener):
    """One connection: says hello, goes on duty, counts verdicts."""

    def __init__(self, token: str, number: int, job: Job) -> None:
        super().__init__()
        self.ready = asyncio.get_running_loop().create_future()
        self.transport: WSTransport | None = None
        self.judged = 0
        self.verdicts: dict[str, int] = {}
        self.tapped_at = 0.0
        self.sos_ack_s: float | None = None
        self.has_token = bool(token)
        self._token, self._number, self._job = token, number, job

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        if not self._token:
            self.ready.set_result(None)
            return
        self.say({"type": "hello", "token": self._token, "device": f"bench-{self._number}", "crs": "wgs84"})

    def say(self, body: dict[str, Any]) -> None:
        assert self.transport is not None
        self.transport.send(WSMsgType.TEXT, json.dumps(body).encode())

    def tap(self) -> None:
        """Call for help."""
        lat, lng = place(self._number, 0)
        self.tapped_at, self.sos_ack_s = time.perf_counter(), None
        self.say(
            {
                "type": "sos",
                "key": f"tap-{self._number}-{time.time_ns()}",
                "lat": lat,
                "lng": lng,
                "fixed_at": time.time(),
            }
        )

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        if frame.msg_type != WSMsgType.TEXT:
            return
        body = msgspec.json.decode(frame.get_payload_as_bytes())
        kind = body["type"]
        if kind == "welcome":
            self.say({"type": "duty", "on": True, "city": self._job.city, "ref": "duty"})
        elif kind == "ok" and not self.ready.done():
            self.ready.set_result(None)
        elif kind == "error" and not self.ready.done():
            self.ready.set_exception(RuntimeError(str(body)))
        elif kind == "ping_ack":
            for verdict, count in body["verdicts"].items():
                self.verdicts[verdict] = self.verdicts.get(verdict, 0) + count
                self.judged += count
        elif kind == "sos_ack":
            if body["durable"] and self.sos_ack_s is None:
                self.sos_ack_s = time.perf_counter() - self.tapped_at
        elif "stream" in body:
            self.say({"type": "ack", body["stream"]: body["seq"]})


async def dial(job: Job) -> list[Peer]:
    """Connect everybody; they are on duty when this returns."""
    gate = asyncio.Semaphore(DIALS_AT_ONCE)
    peers = [Peer(token, n, job) for n, token in enumerate(job.tokens)]

    async def one(peer: Peer) -> None:
        async with gate:
            headers = {"Sec-WebSocket-Protocol": "doorstep.v1.json"}
            await ws_connect(
                lambda: peer, job.url, extra_headers=headers, use_aiofastnet=False, websocket_handshake_timeout=30
            )
            await asyncio.wait_for(peer.ready, 60)

    await asyncio.gather(*(one(peer) for peer in peers))
    return peers


async def send_all(phase: Phase, peers: list[Peer], frames: list[list[bytes]], began: float) -> float:
    """Send at the planned times; returns how far behind the plan the last frame was."""
    total, width = phase.frames * len(peers), len(peers)
    sent = 0
    # Spread over the sending but for its first fifth, in which the overload builds up.
    taps = deque(total // 5 + total * 4 // 5 * n // phase.taps for n in range(phase.taps))
    transports = [p.transport for p in peers]
    text = WSMsgType.TEXT
    while sent < total:
        due = min(total, int((time.perf_counter() - began) * phase.rate_per_s) + 1)
        is_behind = due > sent + FRAMES_A_TURN
        due = min(due, sent + FRAMES_A_TURN)
        while sent < due:
            step, n = divmod(sent, width)
            transport = transports[n]
            assert transport is not None
            transport.send(text, frames[step][n])
            sent += 1
            if taps and sent > taps[0]:
                taps.popleft()
                peers[len(taps) * width // phase.taps].tap()
        await asyncio.sleep(0 if is_behind else TURN_S)
    return time.perf_counter() - began - total / phase.rate_per_s


async def work(job: Job) -> None:
    """Dial, say that it is ready, and send phase by phase as told."""
    peers = await dial(job)
    steps = 0
    _say({"stage": "ready"})
    while line := await asyncio.to_thread(sys.stdin.readline):
        phase = Phase(**json.loads(line))
        _say(asdict(await send_phase(job, phase, peers, steps)))
        steps += phase.frames


async def send_phase(job: Job, phase: Phase, peers: list[Peer], first_step: int) -> Result:
    """Send a phase's frames and wait for its verdicts."""
    for peer in peers:
        peer.judged, peer.verdicts, peer.tapped_at = 0, {}, 0.0
    starts_at = time.time() + 1.0 + phase.frames * len(peers) * job.batch / 400_000
    frames = make_frames(job, phase, first_step, starts_at)
    await asyncio.sleep(max(starts_at - time.time(), 0))
    _say({"stage": "sending"})
    began = time.perf_counter()
    behind_s = await send_all(phase, peers, frames, began)
    sending_s = time.perf_counter() - began
    _say({"stage": "sent"})
    wanted = phase.frames * job.batch
    deadline = time.perf_counter() + phase.settle_s
    while any(p.has_token and p.judged < wanted for p in peers) and time.perf_counter() < deadline:
        await asyncio.sleep(0.05)
    result = Result(
        sent=phase.frames * len(peers),
        took_s=time.perf_counter() - began,
        sending_s=sending_s,
        behind_s=behind_s,
        last=[place(n, (first_step + phase.frames) * job.batch - 1) for n in range(len(peers))],
    )
    result.sos_ack_s = [p.sos_ack_s for p in peers if p.tapped_at and p.sos_ack_s is not None]
    for peer in peers:
        for verdict, count in peer.verdicts.items():
            result.verdicts[verdict] = result.verdicts.get(verdict, 0) + count
    return result


def _say(body: dict[str, Any]) -> None:
    print(json.dumps(body), flush=True)


class LoadProcess:
    """The other side: starts the load in a process of its own."""

    def __init__(self, job: Job) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.hub_load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._write(asdict(job))
        self.wait_until("ready")

    def _write(self, body: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(body) + "\n")
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load process died")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def go(self, phase: Phase) -> None:
        """Make the frames of a phase and send them, about a second from now."""
        self._write(asdict(phase))

    def wait_until(self, stage: str) -> None:
        """Wait until the phase is ``sending`` or ``sent``."""
        while (said := self._read()).get("stage") != stage:
            if "stage" not in said:
                raise RuntimeError(f"the load did not say {stage!r} before its result")

    def result(self) -> Result:
        """Wait for the end of the phase."""
        while "stage" in (said := self._read()):
            pass
        return Result(**said)

    def end(self) -> None:
        """Let it close its connections and end. Idempotent."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:  # in the middle of a phase, because the measurement failed
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def main() -> None:
    """Run one job from standard input."""
    import uvloop

    uvloop.run(work(Job(**json.loads(sys.stdin.readline()))))


if __name__ == "__main__":
    main()
