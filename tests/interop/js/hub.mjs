// Doubles for tests of the shell: a hub at the other end of a socket, a server of HTTP, and time that is moved by hand.
import { mock } from "node:test";

import { Client, keyValueStorage, SteadyClock } from "../../../clients/js/index.js";
import { memoryKeyValue } from "../../../clients/js/key_value.js";

export const START = 1_000_000;

export class Hub {
  sockets = [];
  isDown = false;

  open = (url, subprotocol, listener) => {
    const socket = { url, subprotocol, listener, said: [], isClosed: false };
    this.sockets.push(socket);
    if (this.isDown) queueMicrotask(() => listener.onClose(1006, "refused"));
    else queueMicrotask(() => listener.onOpen());
    return {
      send: (frame) => socket.said.push(JSON.parse(frame)),
      close: () => (socket.isClosed = true),
    };
  };

  get socket() {
    return this.sockets.at(-1);
  }

  // What the client said on the newest connection since the last call.
  said() {
    return this.socket.said.splice(0);
  }

  say(body) {
    this.socket.listener.onFrame(JSON.stringify(body));
  }

  welcome(more = {}) {
    this.say({
      type: "welcome", session: "ses_1", user: "tec_1", role: "technician", roles: ["technician"], server_at: START,
      heartbeat_s: 20, limits: { pings_per_s: 100, ping_batch: 50 }, restricted: false,
      streams: { main: { epoch: "e1", seq: 0, how: "fresh" } }, ...more,
    });
  }
}

// Everything that waits for a promise has gone on. The timers are mocked, setImmediate is not.
export async function settled() {
  for (let i = 0; i < 20; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

const mocked = new WeakSet();

export class Stage {
  monotonicS = 0;
  sleptS = 0;
  hub = new Hub();
  events = [];
  asked = [];
  posted = [];

  constructor(t, { storage, answerSos, credentials, ...options } = {}) {
    if (!mocked.has(t)) {
      mocked.add(t);
      mock.timers.enable({ apis: ["setTimeout"] });
      t.after(() => mock.timers.reset());
    }
    this.values = options.values ?? memoryKeyValue();
    delete options.values;
    const clock = new SteadyClock(() => START + this.monotonicS + this.sleptS, () => this.monotonicS);
    this.wakers = [];
    this.client = new Client({
      url: "wss://hub", device: "phone", clock, rng: () => 0.5, openSocket: this.hub.open,
      credentials: credentials ?? (async (why) => (this.asked.push(why), { ticket: `t${this.asked.length}` })),
      storage: storage ?? keyValueStorage(this.values, "phone"),
      pages: (wake) => (this.wakers.push(wake), () => this.wakers.pop()),
      ...(answerSos && { api: { sos: async (tap) => (this.posted.push(tap), answerSos(tap)) } }),
      ...options,
    });
    this.client.on("*", (event) => this.events.push(event));
  }

  types() {
    return this.events.splice(0).map((event) => event.type);
  }

  // Let time pass, a tenth of a second at a time.
  async pass(seconds) {
    for (let left = seconds; left > 1e-9; left -= 0.1) {
      this.monotonicS += 0.1;
      mock.timers.tick(100);
      await settled();
    }
  }

  async ready(more) {
    await this.client.start();
    await this.pass(0.1);
    this.hub.welcome(more);
    await settled();
    this.hub.said();
    this.events.length = 0;
  }
}
