/**
 * Calls for help: each is sent again, ever less often, until the server has stored it, and offered again to a server
 * that was restored from before it. Where no connection stands, or nobody answers on it, it goes over HTTP as well.
 *
 * Without storage: `outbox.js` keeps what `kept` gives.
 */

import { need } from "./codec.js";
import { millis } from "./ping_buffer.js";

/** @typedef {import("./codec.js").Body} Body */
/** @typedef {import("./events.js").ClientEvent} ClientEvent */
/** @typedef {import("./events.js").SosStage} SosStage */

/**
 * What of a tap outlives the page.
 *
 * @typedef {object} KeptTap
 * @property {string} key
 * @property {number} tappedAt By the phone's clock.
 * @property {Record<string, any>} fields Of the `sos`, as far as they were known at the tap.
 * @property {string | null} epoch Of the safety stream in which it was stored; null while it is not, "" where the
 *   server did not say.
 * @property {string} incident The newest that the server named, "" for none yet.
 */

/** One tap. What is durable stays for a while, for a server that forgets it. */
class Call {
  isHeard = false;
  isToldOff = false; // The application knows that nobody has received it.
  /** @type {Set<SosStage>} */
  stages = new Set();

  /**
   * @param {KeptTap} tap
   * @param {number} now When it was tapped, or read back; on the client's own time line.
   * @param {number} waitS
   * @param {number} httpAt
   */
  constructor(tap, now, waitS, httpAt) {
    this.tap = tap;
    this.epoch = tap.epoch;
    this.incident = tap.incident;
    this.addedAt = this.nextAt = now;
    this.waitS = this.httpWaitS = waitS;
    this.httpAt = httpAt;
  }

  /** Whether it is still sent. */
  get isWaiting() {
    return this.epoch === null;
  }

  get isUnheard() {
    return this.isWaiting && !this.isHeard && !this.isToldOff;
  }
}

/** All taps of a device that are not stored, and the last that are. */
export class SosCalls {
  #settings;
  #phoneClock;
  /** @type {Map<string, Call>} */
  #calls = new Map();
  /** @type {string | null} */
  #epoch = null;
  /** Grows whenever `kept` changes: what lies in the storage is older. */
  revision = 0;

  /**
   * @param {Readonly<import("./settings.js").ClientSettings>} settings
   * @param {(now: number) => number} phoneClock Maps `now` to what the phone believes.
   */
  constructor(settings, phoneClock) {
    this.#settings = settings;
    this.#phoneClock = phoneClock;
  }

  // -- taps -----------------------------------------------------------------------------------------

  /**
   * Keep a tap, due at once.
   *
   * @param {string} key
   * @param {Record<string, any>} fields
   * @param {number} now
   * @param {boolean} isReady Whether a connection stands: else it is due over HTTP at once, too.
   */
  add(key, fields, now, isReady) {
    const tap = { key, tappedAt: millis(this.#phoneClock(now)), fields, epoch: null, incident: "" };
    this.#put(tap, now, now + (isReady ? this.#settings.sosHttpAfterS : 0));
    this.#forget(now);
    this.revision += 1;
  }

  /**
   * @param {KeptTap} tap
   * @param {number} now
   * @param {number} httpAt
   */
  #put(tap, now, httpAt) {
    this.#calls.set(tap.key, new Call(tap, now, this.#settings.sosRetryS, httpAt));
  }

  /**
   * The frame of one tap, to be written now; it is due again after its wait.
   *
   * @param {string} key
   * @param {number} now
   */
  send(key, now) {
    const call = /** @type {Call} */ (this.#calls.get(key));
    call.nextAt = now + call.waitS;
    call.waitS = Math.min(call.waitS * 2, this.#settings.sosRetryMaxS);
    return this.#frame(call, now);
  }

  /**
   * @param {Call} call
   * @param {number} now
   * @returns {Body}
   */
  #frame({ tap }, now) {
    const times = { tapped_at: tap.tappedAt, sent_at: millis(this.#phoneClock(now)) };
    return { type: "sos", key: tap.key, ...times, ...tap.fields };
  }

  /** Frames of all taps whose time on the hub has come. @param {number} now */
  due(now) {
    const due = [...this.#calls.values()].filter((call) => call.isWaiting && call.nextAt <= now);
    return due.map((call) => this.send(call.tap.key, now));
  }

  /** Objects for `POST /v1/sos`, of all taps whose time over HTTP has come. @param {number} now */
  dueOverHttp(now) {
    const due = [...this.#calls.values()].filter((call) => call.isWaiting && call.httpAt <= now);
    for (const call of due) {
      call.httpAt = now + call.httpWaitS;
      call.httpWaitS = Math.min(call.httpWaitS * 2, this.#settings.sosRetryMaxS);
    }
    return due.map((call) => this.#frame(call, now));
  }

  /** When the next tap is due on the hub; Infinity for none. */
  nextDeadline() {
    return Math.min(...[...this.#calls.values()].filter((c) => c.isWaiting).map((c) => c.nextAt), Infinity);
  }

  /** When the next tap is due over HTTP; Infinity for none. */
  nextHttpDeadline() {
    return Math.min(...[...this.#calls.values()].filter((c) => c.isWaiting).map((c) => c.httpAt), Infinity);
  }

  /** A new session: what nobody answered goes out at once and is repeated as in the beginning. @param {number} now */
  welcomed(now) {
    for (const call of this.#calls.values()) {
      if (call.isWaiting && !call.isHeard) {
        call.nextAt = now;
        call.waitS = this.#settings.sosRetryS;
      }
    }
    return this.due(now);
  }

  // -- how far each has come ------------------------------------------------------------------------

  /**
   * What an `sos_ack` tells the application: itself, and each stage that is new. Only what is durable is at rest.
   *
   * @param {Body} body
   * @returns {ClientEvent[]}
   */
  acked(body) {
    const key = String(need(body, "key"));
    const incident = String(need(body, "incident"));
    const { durable = false, seen = false, delivered = 0 } = body;
    /** @type {ClientEvent} */
    const ack = { type: "sosAcked", key, incident, durable, seen, delivered, body };
    const call = this.#calls.get(key);
    if (call === undefined) return [ack];
    call.isHeard = true;
    if (call.incident !== incident) {
      call.incident = incident;
      call.stages.clear(); // A restored server made another one: what was said of the first is void.
    }
    if (durable && call.isWaiting) {
      call.epoch = this.#epoch ?? "";
      this.revision += 1;
    }
    /** @type {[SosStage, boolean][]} */
    const reached = [["received", true], ["durable", durable], ["delivered", delivered > 0], ["seen", seen]];
    const fresh = reached.filter(([stage, isReached]) => isReached && !call.stages.has(stage));
    for (const [stage] of fresh) call.stages.add(stage);
    return [ack, ...fresh.map(([stage]) => ({ type: /** @type {const} */ ("sosProgress"), key, incident, stage }))];
  }

  /** When the next tap without any answer must be told to the application; Infinity for none. */
  notReceivedAt() {
    const unheard = [...this.#calls.values()].filter((call) => call.isUnheard);
    return Math.min(...unheard.map((call) => call.addedAt + this.#settings.sosNotReceivedS), Infinity);
  }

  /**
   * Taps that nobody answered in time, each told once; they are sent on.
   *
   * @param {number} now
   * @returns {ClientEvent[]}
   */
  takeNotReceived(now) {
    const lateS = this.#settings.sosNotReceivedS;
    const due = [...this.#calls.values()].filter((call) => call.isUnheard && now >= call.addedAt + lateS);
    for (const call of due) call.isToldOff = true;
    return due.map(({ tap }) => ({ type: "sosNotReceived", key: tap.key, tappedAt: tap.tappedAt }));
  }

  // -- a server that forgets ------------------------------------------------------------------------

  /**
   * The server's safety stream has this epoch: what was stored in another one is offered again.
   *
   * @param {string} epoch
   * @param {number} now
   * @returns {Body[]} Frames to send now. A server that still has a key answers with its incident; one that lost it
   *   raises it.
   */
  livesIn(epoch, now) {
    this.#epoch = epoch;
    this.#forget(now);
    const frames = [];
    for (const [key, call] of this.#calls) {
      if (call.epoch === null || call.epoch === epoch) continue;
      call.epoch = null;
      call.isHeard = false;
      call.nextAt = now;
      call.httpAt = now + this.#settings.sosHttpAfterS;
      call.waitS = call.httpWaitS = this.#settings.sosRetryS;
      frames.push(this.send(key, now));
    }
    if (frames.length > 0) this.revision += 1;
    return frames;
  }

  /** Let go of durable taps that are too old or too many; of one that is not durable, never. @param {number} now */
  #forget(now) {
    const durable = [...this.#calls.values()].filter((call) => !call.isWaiting);
    const tooMany = durable.length - this.#settings.sosKeysKept;
    const wall = this.#phoneClock(now);
    durable.forEach(({ tap }, place) => {
      if (place < tooMany || wall - tap.tappedAt > this.#settings.sosKeepS) this.#calls.delete(tap.key);
    });
  }

  // -- the outbox -----------------------------------------------------------------------------------

  /** What must outlive the page, oldest first. @returns {KeptTap[]} */
  kept() {
    return [...this.#calls.values()].map((call) => ({ ...call.tap, epoch: call.epoch, incident: call.incident }));
  }

  /**
   * Take up what an earlier page kept: what was not durable is due at once. Taps since then stay.
   *
   * @param {KeptTap[]} kept
   * @param {number} now
   */
  restore(kept, now) {
    const younger = this.#calls;
    this.#calls = new Map();
    for (const tap of kept) this.#put(tap, now, now);
    for (const [key, call] of younger) this.#calls.set(key, call);
  }

  /** Each tap as a page shows it. */
  shown() {
    return [...this.#calls.values()].map(({ tap, incident, stages }) => {
      return { key: tap.key, tappedAt: tap.tappedAt, incident, stages: [...stages] };
    });
  }
}
