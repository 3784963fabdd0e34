/**
 * The client side of the wire without sockets, clocks or timers.
 *
 * A shell (`client.js`, a test) tells it what happened and asks what to do:
 *
 *     connected(now) -> receive(frame, now) -> events … lost(code, now)
 *     framesToSend(now) -> list of frames        after every call that may have queued something
 *     nextDeadline() / onDeadline(now)           one timer
 *     wake(now)                                  the page was shown again, or the device slept
 *     reconnectAt                                when to connect again, null for never
 *     mustClose                                  the shell should drop the connection now
 *
 * One instance lives as long as its page: it survives connections, and with it the places in the reliable streams
 * (`streams.js`), the pings not yet stored (`ping_sender.js`), the requests not yet answered (`requests.js`), the SOS
 * not yet stored (`sos.js`) and the incidents heard of (`incidents.js`). What ends with a connection is in
 * `session.js`. Here is how they go together: greeting, coming back, the order of frames, and who hears of which
 * message. All times are UTC epoch seconds of the caller's own clock.
 */

import { Backoff } from "./backoff.js";
import { BadFrame, decode, encode } from "./codec.js";
import { HANDLERS } from "./handlers.js";
import { IncidentBook } from "./incidents.js";
import { eventOf } from "./news.js";
import { PingSender } from "./ping_sender.js";
import { Requests } from "./requests.js";
import { ServerClock } from "./server_clock.js";
import { Session } from "./session.js";
import { settingsOf } from "./settings.js";
import { SosCalls } from "./sos.js";
import { Streams } from "./streams.js";

/** @typedef {import("./codec.js").Body} Body */
/** @typedef {import("./events.js").ClientEvent} ClientEvent */
/** @typedef {"offline" | "greeting" | "ready" | "ended"} State `greeting`: connected, no `welcome` yet. */
/** @typedef {{ token: string, ticket?: undefined } | { ticket: string, token?: undefined }} Credential */

/** The server refused the token: its time is over (4401), or it is not good here (4501). */
const TOKEN_CLOSE_CODES = new Map([[4401, "token_expired"], [4501, "token_invalid"]]);
/** Application close codes 4500-4999 mean: do not come back (docs/protocol.md). */
const COME_BACK_BELOW = 4500;
/** Order of writing: an SOS, and an answer that may be one, overtake all but the `hello` that must come first. */
const URGENCY = new Map([["hello", 0], ["sos", 1], ["checkin.answer", 1], ["ack", 2]]);
const OTHERS = 3;

/** One device's side of the conversation. */
export class ClientProtocol {
  settings;
  /** @type {State} */
  state = "offline";
  /** When to connect again; null for never. @type {number | null} */
  reconnectAt = 0;
  mustClose = false;
  /** What this device knows of incidents. */
  incidents = new IncidentBook();
  serverClock = new ServerClock();
  streams = new Streams();
  pings;
  requests;
  sos;
  /** The connection, while there is one. @type {Session | null} */
  session = null;
  /** When the server was last heard, on any connection; null for never. @type {number | null} */
  heardAt = null;
  /** Frames to be written. @type {Body[]} */
  outgoing = [];

  #options;
  #rng;
  #phoneClock;
  #backoff;
  /** @type {Credential} */
  #credential;
  /** @type {string | null} */
  #safetyEpoch = null;
  #isWaitingForToken = false;
  #isAdvised = false;
  #isStale = false;
  #isInHurry = false;

  /**
   * @param {{ device: string, token?: string, crs?: string, app?: string, firstSeq?: number, hasHttp?: boolean,
   *   phoneClock?: (now: number) => number, settings?: Partial<import("./settings.js").ClientSettings>,
   *   rng?: () => number }} options `device`: the installation's own name, at most 64 characters, stable. `firstSeq`:
   *   number of the first ping; a device never uses a number twice, so numbers start at the milliseconds of the first
   *   use. `hasHttp`: the shell sends an SOS over HTTP too. `phoneClock`: maps `now` to the phone's own clock.
   */
  constructor(options) {
    this.#options = options;
    this.settings = settingsOf(options.settings);
    this.#credential = { token: options.token ?? "" };
    this.#rng = options.rng ?? Math.random;
    this.#phoneClock = options.phoneClock ?? ((now) => now);
    const { settings } = this;
    this.#backoff = new Backoff(settings.reconnectBaseS, settings.reconnectMaxS, this.#rng);
    this.pings = new PingSender({
      firstSeq: options.firstSeq,
      crs: options.crs,
      phoneClock: this.#phoneClock,
      settings,
      rng: this.#rng,
    });
    this.requests = new Requests(settings.requestTimeoutS, settings.answerRetryS);
    this.sos = new SosCalls(settings, this.#phoneClock);
  }

  // -- the connection -------------------------------------------------------------------------------

  /** What the next `hello` says. A ticket is good for one. @param {Credential} credential */
  authorize(credential) {
    this.#credential = credential;
  }

  /** A socket finished its handshake: queues `hello`. @param {number} now */
  connected(now) {
    this.mustClose = false;
    this.state = "greeting";
    this.reconnectAt = null;
    this.session = new Session(now);
    this.streams.disconnected();
    const { device, app = "doorstep-client-js", crs } = this.#options;
    const resume = this.streams.places;
    /** @type {Body} */
    const hello = { type: "hello", device, app, ...this.#credential };
    if (this.#credential.ticket) this.#credential = { token: "" };
    if (crs !== undefined) hello.crs = crs;
    if (Object.keys(resume).length > 0) hello.resume = resume;
    this.outgoing = [hello];
  }

  /**
   * The connection is gone, or could not be made.
   *
   * @param {number} code The close code, 1006 for none.
   * @param {number} now
   * @param {string} [reason]
   * @returns {ClientEvent[]}
   */
  lost(code, now, reason = "") {
    const session = this.session;
    this.session = null;
    if (this.state === "ended") return [];
    this.state = "offline";
    this.mustClose = false;
    this.outgoing = [];
    this.streams.disconnected();
    this.requests.disconnected();
    this.pings.resend();
    /** @type {ClientEvent[]} */
    const events = [];
    const refusal = TOKEN_CLOSE_CODES.get(code);
    this.reconnectAt = null;
    if (refusal !== undefined) {
      this.#isWaitingForToken = true;
      events.push({ type: "tokenNeeded", code: refusal });
    } else if (code >= COME_BACK_BELOW && code <= 4999) {
      this.state = "ended";
    } else {
      this.reconnectAt = now + this.#waitBeforeReturnS(session, now);
    }
    this.#isInHurry = false;
    const retryInS = this.reconnectAt === null ? null : this.reconnectAt - now;
    return [{ type: "disconnected", code, retryInS, reason }, ...events];
  }

  /**
   * @param {Session | null} session
   * @param {number} now
   */
  #waitBeforeReturnS(session, now) {
    this.#isAdvised = false;
    if (session?.welcomedAt != null) {
      if (now - session.welcomedAt >= this.settings.steadyAfterS) this.#backoff.reset();
      if (session.reconnectAfterS !== null) {
        this.#isAdvised = true;
        return session.reconnectAfterS; // The server spreads its clients itself.
      }
    }
    return this.#isInHurry ? this.#rng() * this.settings.wakeJitterS : this.#backoff.nextWaitS();
  }

  /** The application is done: no reconnect after the next `lost`. */
  end() {
    this.state = "ended";
    this.reconnectAt = null;
    this.mustClose = true;
  }

  /** The application wants to come back after the server said not to, or sooner than planned. @param {number} now */
  begin(now) {
    if (this.state === "ready" || this.state === "greeting") return;
    this.state = "offline";
    this.mustClose = this.#isWaitingForToken = false;
    this.reconnectAt = now;
  }

  /**
   * Use a newer token: in place while connected, else at the next connection.
   *
   * @param {string} token
   * @param {number} now
   */
  renew(token, now) {
    this.#credential = { token };
    if (this.state === "ready") this.outgoing.push({ type: "refresh", token });
    else this.comeBack(now);
  }

  /** There is something new to greet with after the last was refused. @param {number} now */
  comeBack(now) {
    if (!this.#isWaitingForToken) return;
    this.#isWaitingForToken = false;
    this.reconnectAt = now;
  }

  /**
   * The page was shown again, the network is back, or the device slept: say at once how old everything is, and find out
   * within `probeS` whether the connection still stands.
   *
   * @param {number} now
   * @returns {ClientEvent[]}
   */
  wake(now) {
    const { session } = this;
    const events = this.#tellStale(now, "wake");
    this.#backoff.reset(); // What failed before says nothing about the network of now.
    if (session === null) {
      if (this.reconnectAt !== null && !this.#isAdvised) {
        this.reconnectAt = Math.min(this.reconnectAt, now + this.#rng() * this.settings.wakeJitterS);
      }
    } else if (this.state === "greeting") {
      this.#isInHurry = true;
      session.probeEndsAt ??= now + this.settings.probeS;
    } else if (this.state === "ready" && now - session.heardAt >= this.settings.probeS) {
      this.#isInHurry = true;
      if (now >= session.silenceEndsAt(this.settings.silenceHeartbeats)) this.mustClose = true;
      else if (session.probeEndsAt === null) {
        this.#sayHeartbeat(session, now);
        session.probeEndsAt = now + this.settings.probeS;
      }
    }
    return events;
  }

  /**
   * @param {number} now
   * @param {"wake" | "silence"} why
   * @returns {ClientEvent[]}
   */
  #tellStale(now, why) {
    if (this.heardAt === null || now < this.heardAt + this.settings.staleAfterS) return [];
    if (this.#isStale && why === "silence") return [];
    this.#isStale = true;
    return [{ type: "stale", ageS: now - this.heardAt, why }];
  }

  /**
   * @param {Session} session
   * @param {number} now
   */
  #sayHeartbeat(session, now) {
    this.outgoing.push({ type: "heartbeat" });
    session.saidAt = session.askedAt = now;
  }

  // -- what the application wants -------------------------------------------------------------------

  /**
   * Report a position; kept and sent again until the server has stored it. Returns its number.
   *
   * @param {import("./ping_buffer.js").Fix} fix
   * @param {number} now
   */
  sendPing(fix, now) {
    return this.pings.add(fix, now);
  }

  /**
   * Call for help; repeated until the server has stored it.
   *
   * @param {number} now
   * @param {Record<string, any> & { key?: string }} [fields] lat, lng, accuracy_m, fixed_at, order, silent, battery,
   *   note; all optional, as on the wire.
   * @returns {string} The key of this tap.
   */
  sendSos(now, { key = `sos-${this.#random24()}`, ...fields } = {}) {
    const { crs } = this.#options;
    const isReady = this.state === "ready";
    this.sos.add(key, crs === undefined ? fields : { crs, ...fields }, now, isReady);
    if (isReady) this.outgoing.push(this.sos.send(key, now));
    return key;
  }

  #random24() {
    return Array.from({ length: 24 }, () => Math.trunc(this.#rng() * 16).toString(16)).join("");
  }

  /**
   * Ask for something; ends in one `requestDone` or `requestFailed` with the returned ref. Sent again after a reconnect
   * when it was not answered: all requests of the wire are idempotent.
   *
   * @param {string} kind
   * @param {Record<string, any>} fields
   * @param {number} now
   */
  request(kind, fields, now) {
    const request = this.requests.ask(kind, fields, now);
    if (this.state === "ready") {
      this.outgoing.push(request.frame);
      request.isSent = true;
    }
    return request.ref;
  }

  /**
   * Go on or off duty. Staff responders' duty lasts as long as the session and is repeated after each welcome.
   *
   * @param {boolean} on
   * @param {number} now
   * @param {string} [city]
   */
  duty(on, now, city) {
    const fields = city === undefined ? { on } : { on, city };
    this.requests.wishDuty(fields);
    return this.request("duty", fields, now);
  }

  /**
   * Receive a topic's positions until `unwatch`; repeated after each welcome.
   *
   * @param {string} topic
   * @param {Record<string, any>} fields
   * @param {number} now
   */
  watch(topic, fields, now) {
    this.requests.wishWatch(topic, fields);
    return this.request("watch", { topic, ...fields }, now);
  }

  /**
   * Stop receiving a topic.
   *
   * @param {string} topic
   * @param {number} now
   */
  unwatch(topic, now) {
    this.requests.dropWatch(topic);
    return this.request("unwatch", { topic }, now);
  }

  // -- frames out -----------------------------------------------------------------------------------

  /**
   * Frames to write, in order. An SOS first, then acks, requests, positions.
   *
   * @param {number} now
   * @returns {string[]}
   */
  framesToSend(now) {
    const { session } = this;
    if (session === null) return [];
    const messages = [...this.outgoing, ...this.streams.ackFrames()];
    messages.sort((a, b) => (URGENCY.get(a.type) ?? OTHERS) - (URGENCY.get(b.type) ?? OTHERS));
    this.outgoing = [];
    if (this.state === "ready") messages.push(...this.pings.frames(session.allowance, now));
    if (messages.length > 0) session.saidAt = now;
    return messages.map(encode);
  }

  /** Objects for `POST /v1/sos` that are due; their answers go to `sosAnswered`. @param {number} now */
  sosOverHttp(now) {
    return this.#options.hasHttp ? this.sos.dueOverHttp(now) : [];
  }

  /**
   * `POST /v1/sos` was answered.
   *
   * @param {Body} body
   * @returns {ClientEvent[]}
   */
  sosAnswered(body) {
    return this.sos.acked(body);
  }

  // -- time -----------------------------------------------------------------------------------------

  /** When `onDeadline` must be called, connected or not; null for never. @returns {number | null} */
  nextDeadline() {
    const { session, sos, settings } = this;
    const due = [sos.notReceivedAt(), this.#options.hasHttp ? sos.nextHttpDeadline() : Infinity];
    if (!this.#isStale && this.heardAt !== null) due.push(this.heardAt + this.#staleAfterS());
    if (session !== null) due.push(session.probeEndsAt ?? Infinity);
    if (session !== null && this.state !== "ready") due.push(session.connectedAt + settings.welcomeTimeoutS);
    else if (session !== null) {
      due.push(session.heartbeatAt, session.silenceEndsAt(settings.silenceHeartbeats), sos.nextDeadline());
      due.push(this.requests.nextDeadline(), this.pings.nextDeadline(session.allowance));
    }
    const at = Math.min(...due);
    return at === Infinity ? null : at;
  }

  /** Silence of a server that need not speak is no sign of age. */
  #staleAfterS() {
    const { staleAfterS } = this.settings;
    return this.session === null ? staleAfterS : Math.max(staleAfterS, 1.5 * this.session.heartbeatS);
  }

  /**
   * Do everything that is due.
   *
   * @param {number} now
   * @returns {ClientEvent[]}
   */
  onDeadline(now) {
    const { session, settings } = this;
    const events = this.sos.takeNotReceived(now);
    const isStale = this.heardAt !== null && now >= this.heardAt + this.#staleAfterS();
    if (isStale) events.push(...this.#tellStale(now, "silence"));
    if (session === null) return events;
    const givesUpAt =
      this.state === "ready"
        ? session.silenceEndsAt(settings.silenceHeartbeats)
        : session.connectedAt + settings.welcomeTimeoutS;
    if (now >= Math.min(givesUpAt, session.probeEndsAt ?? Infinity)) {
      this.mustClose = true;
      return events;
    }
    if (this.state !== "ready") return events;
    if (now >= session.heartbeatAt) this.#sayHeartbeat(session, now);
    this.outgoing.push(...this.sos.due(now), ...this.requests.dueAgain(now));
    this.pings.onDeadline(now);
    for (const { ref, type } of this.requests.takeLate(now)) events.push(timedOut(ref, type));
    return events;
  }

  // -- frames in ------------------------------------------------------------------------------------

  /**
   * One whole message of the server.
   *
   * @param {string} frame
   * @param {number} now
   * @returns {ClientEvent[]}
   */
  receive(frame, now) {
    const { session } = this;
    if (session === null) return [];
    session.heardAt = this.heardAt = now;
    session.probeEndsAt = null;
    this.#isInHurry = false;
    try {
      const events = this.#take(decode(frame), session, now);
      if (!this.#isStale || this.state !== "ready") return events;
      this.#isStale = false;
      return [...events, { type: "fresh" }];
    } catch (error) {
      if (!(error instanceof BadFrame || error instanceof TypeError)) throw error;
      this.mustClose = true;
      return [{ type: "protocolFault", message: `${error.name}: ${error.message}` }];
    }
  }

  /**
   * @param {Body} body
   * @param {Session} session
   * @param {number} now
   * @returns {ClientEvent[]}
   */
  #take(body, session, now) {
    if (body.stream === "safety") this.livesIn(body.epoch, now);
    if (body.stream !== undefined && !this.streams.isNew(body)) return [];
    const handler = HANDLERS.get(body.type);
    return handler === undefined ? [eventOf(body)] : handler(this, body, session, now);
  }

  /**
   * The safety of this server has this epoch. Another one than before: it was restored, and may have lost what it had
   * promised.
   *
   * @param {string} epoch
   * @param {number} now
   */
  livesIn(epoch, now) {
    if (epoch === this.#safetyEpoch) return;
    if (this.#safetyEpoch !== null) this.incidents.beginAnew();
    this.#safetyEpoch = epoch;
    this.outgoing.push(...this.sos.livesIn(epoch, now));
  }
}

/**
 * @param {string} ref
 * @param {string} request
 * @returns {ClientEvent}
 */
function timedOut(ref, request) {
  const message = "no answer in time";
  return { type: "requestFailed", ref, request, code: "timeout", message, retry: true, field: "", facts: {} };
}
