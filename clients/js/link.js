/** Carries the core over real sockets: one timer, one connection at a time, a new credential for each. */

import { SUBPROTOCOL } from "./codec.js";

/** @typedef {import("./events.js").ClientEvent} ClientEvent */
/** @typedef {import("./socket.js").Socket} Socket */
/** @typedef {"connect" | "token_expired" | "token_invalid"} Why Why a credential is asked for. */
/** @typedef {(why: Why) => Promise<import("./protocol.js").Credential>} Credentials */

/** Between two looks at the clock: how soon a sleep is noticed where no event of the page tells of it. */
const TICK_S = 1;
/** A tick that comes so much later than it was due followed a sleep. */
const SLEPT_S = 3;
/** The same of a page that nobody sees: browsers let its timers run once a minute. */
const SLEPT_HIDDEN_S = 75;
/** Refusals in a row after which a newer credential is no help. */
const REFUSALS_MAX = 2;

export class Link {
  #options;
  #protocol;
  #clock;
  /** @type {Socket | null} */
  #socket = null;
  /** The attempt under way; events of earlier ones are void. @type {object | null} */
  #attempt = null;
  #attemptAt = 0;
  #isAllowed = false;
  #isPumping = false;
  /** @type {Why} */
  #why = "connect";
  #refusals = 0;
  #tickedAt;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {{ protocol: import("./protocol.js").ClientProtocol, clock: import("./clock.js").SteadyClock, url: string,
   *   openSocket: import("./socket.js").OpenSocket, credentials: Credentials,
   *   tell: (events: ClientEvent[]) => void, isHidden: () => boolean, beforeSleep: (now: number) => void }} options
   *   `beforeSleep`: called whenever all that was due is done.
   */
  constructor(options) {
    this.#options = options;
    this.#protocol = options.protocol;
    this.#clock = options.clock;
    this.#tickedAt = options.clock.now();
  }

  /** From now on connect; or drop the connection and do not. @param {boolean} isAllowed */
  allow(isAllowed) {
    this.#isAllowed = isAllowed;
    if (!isAllowed) this.#drop(1000, "the device is used elsewhere");
    this.pump();
  }

  /** Connect now, whatever the plan was: also after the server said not to come back. */
  reconnect() {
    this.#refusals = 0;
    this.#why = "connect";
    this.#protocol.begin(this.#clock.now());
    this.pump();
  }

  /** Say what is queued, close and stop. */
  stop() {
    if (this.#socket !== null) this.#send(this.#socket);
    this.#protocol.end();
    this.#isAllowed = false;
    clearTimeout(this.#timer);
    this.#drop(1000, "closed");
  }

  /** Do everything that is due, then sleep until the next thing is. */
  pump() {
    if (this.#isPumping) return; // A listener that asks for something is served by the round that called it.
    this.#isPumping = true;
    try {
      this.#round();
    } finally {
      this.#isPumping = false;
    }
    this.#sleep();
  }

  #round() {
    const protocol = this.#protocol;
    const now = this.#clock.now();
    const deadline = protocol.nextDeadline();
    if (deadline !== null && now >= deadline) this.#options.tell(protocol.onDeadline(now));
    if (this.#socket !== null && protocol.session !== null) {
      if (protocol.mustClose) this.#drop(1006, "given up");
      else this.#send(this.#socket);
    } else if (this.#attempt !== null && now >= this.#attemptAt + protocol.settings.welcomeTimeoutS) {
      this.#drop(1006, "no handshake in time");
    }
    const { reconnectAt } = protocol;
    if (this.#isAllowed && this.#attempt === null && reconnectAt !== null && now >= reconnectAt) void this.#connect();
    this.#options.beforeSleep(now);
  }

  #sleep() {
    clearTimeout(this.#timer);
    if (this.#protocol.state === "ended" && this.#protocol.nextDeadline() === null) return;
    const now = this.#clock.now();
    const due = [this.#protocol.nextDeadline() ?? Infinity, now + TICK_S];
    if (this.#isAllowed && this.#attempt === null) due.push(this.#protocol.reconnectAt ?? Infinity);
    this.#timer = setTimeout(() => this.#tick(), Math.max(Math.min(...due) - now, 0.001) * 1000);
  }

  #tick() {
    const missedS = this.#clock.catchUp();
    const now = this.#clock.now();
    const lateS = now - this.#tickedAt - TICK_S;
    this.#tickedAt = now;
    if (missedS >= SLEPT_S || lateS >= (this.#options.isHidden() ? SLEPT_HIDDEN_S : SLEPT_S)) this.wake();
    else this.pump();
  }

  /** The page was shown, the network is back, or the device slept. */
  wake() {
    this.#clock.catchUp();
    const protocol = this.#protocol;
    const now = (this.#tickedAt = this.#clock.now());
    protocol.serverClock.doubt();
    this.#options.tell(protocol.wake(now));
    const isOpening = this.#attempt !== null && protocol.session === null;
    if (isOpening && now >= this.#attemptAt + protocol.settings.probeS) {
      this.#drop(1006, "woken");
      protocol.wake(now); // The new wait is a short one.
    }
    this.pump();
  }

  // -- one connection -------------------------------------------------------------------------------

  async #connect() {
    const attempt = (this.#attempt = {});
    const { url, openSocket, credentials } = this.#options;
    this.#attemptAt = this.#clock.now();
    try {
      const credential = await credentials(this.#why);
      if (this.#attempt !== attempt) return;
      this.#protocol.authorize(credential);
      this.#why = "connect";
      this.#socket = openSocket(url, SUBPROTOCOL, {
        onOpen: () => this.#attempt === attempt && this.#opened(),
        onFrame: (frame) => this.#attempt === attempt && this.#received(frame),
        onClose: (code, reason) => this.#attempt === attempt && this.#closed(code, reason),
      });
    } catch (error) {
      if (this.#attempt === attempt) this.#refused(error);
    }
  }

  /** @param {unknown} error No credential, or an address that is none. */
  #refused(error) {
    const { code = "", isFinal = false } = /** @type {{ code?: string, isFinal?: boolean }} */ (error ?? {});
    this.#closed(1006, String(error).slice(0, 200));
    if (isFinal) this.#stopFor(code, String(error).slice(0, 200));
  }

  /**
   * @param {string} code
   * @param {string} message
   */
  #stopFor(code, message) {
    this.#protocol.reconnectAt = null;
    this.#options.tell([{ type: "signInNeeded", code, message }]);
  }

  #opened() {
    this.#protocol.connected(this.#clock.now());
    this.pump();
  }

  /** @param {string} frame */
  #received(frame) {
    const events = this.#protocol.receive(frame, this.#clock.now());
    if (events.some((event) => event.type === "welcomed")) this.#refusals = 0;
    this.#options.tell(events);
    this.pump();
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #closed(code, reason) {
    this.#attempt = this.#socket = null;
    const events = this.#protocol.lost(code, this.#clock.now(), reason);
    this.#options.tell(events);
    for (const event of events) if (event.type === "tokenNeeded") this.#tokenRefused(event.code);
    this.pump();
  }

  /** @param {string} code */
  #tokenRefused(code) {
    this.#refusals += 1;
    if (this.#refusals >= REFUSALS_MAX) return this.#stopFor(code, "refused again with a newer credential");
    this.#why = code === "token_expired" ? "token_expired" : "token_invalid";
    this.#protocol.comeBack(this.#clock.now());
  }

  /**
   * Let go of the connection at once: a dead network answers no closing handshake for minutes.
   *
   * @param {number} code
   * @param {string} reason
   */
  #drop(code, reason) {
    if (this.#attempt === null) return;
    const socket = this.#socket;
    this.#attempt = this.#socket = null;
    try {
      socket?.close(1000);
    } catch {
      // It was closed already.
    }
    this.#options.tell(this.#protocol.lost(code, this.#clock.now(), reason));
  }

  /** @param {Socket} socket */
  #send(socket) {
    try {
      for (const frame of this.#protocol.framesToSend(this.#clock.now())) socket.send(frame);
    } catch (error) {
      this.#drop(1006, String(error).slice(0, 200)); // What was not sent is said again after the welcome.
    }
  }
}
