/** Requests and their answers, and the wishes that a session forgets and the client repeats. */

/** @typedef {import("./codec.js").Body} Body */
/** @typedef {{ ref: string, type: string, frame: Body, askedAt: number, isSent: boolean }} Request */

/** Asked until they are answered, in any session: one of them may be a cry for help, and the others look like it. */
const LASTING = new Set(["checkin.answer"]);

/** Numbers requests, knows which wait, and asks again after a reconnect: all of the wire are idempotent. */
export class Requests {
  #timeoutS;
  #againS;
  #count = 0;
  /** @type {Map<string, Request>} */
  #waiting = new Map();
  /** @type {Map<string, Record<string, any>>} */
  #watches = new Map();
  /** @type {Record<string, any> | null} */
  #duty = null;

  /**
   * @param {number} timeoutS A request without an answer by then, while connected, is given up.
   * @param {number} againS One that lasts is asked again by then instead.
   */
  constructor(timeoutS, againS) {
    this.#timeoutS = timeoutS;
    this.#againS = againS;
  }

  /** Requests without an answer. */
  get waiting() {
    return this.#waiting.size;
  }

  /**
   * A new request, not sent yet.
   *
   * @param {string} type
   * @param {Record<string, any>} fields
   * @param {number} now
   * @returns {Request}
   */
  ask(type, fields, now) {
    this.#count += 1;
    const ref = `r${this.#count}`;
    const request = { ref, type, frame: { type, ref, ...fields }, askedAt: now, isSent: false };
    this.#waiting.set(ref, request);
    return request;
  }

  /**
   * The server cannot now: whether this is asked again by itself.
   *
   * @param {string} ref
   * @param {number} now
   */
  putOff(ref, now) {
    const request = this.#waiting.get(ref);
    if (request === undefined || !LASTING.has(request.type)) return false;
    request.askedAt = now;
    return true;
  }

  /**
   * The request that an answer belongs to, which no longer waits; undefined for one that nobody waits for.
   *
   * @param {string} ref
   */
  answered(ref) {
    const request = this.#waiting.get(ref);
    this.#waiting.delete(ref);
    return request;
  }

  /**
   * The topic is to be watched in every session.
   *
   * @param {string} topic
   * @param {Record<string, any>} fields
   */
  wishWatch(topic, fields) {
    this.#watches.set(topic, fields);
  }

  /** The topic is no longer wanted, or no longer allowed. @param {string} topic */
  dropWatch(topic) {
    this.#watches.delete(topic);
  }

  /**
   * What a staff responder last said about their duty, which lasts as long as a session.
   *
   * @param {Record<string, any>} fields
   */
  wishDuty(fields) {
    this.#duty = fields;
  }

  /** Nothing is on its way any more. */
  disconnected() {
    for (const request of this.#waiting.values()) request.isSent = false;
  }

  /**
   * Frames to send in a new session: requests not answered in the last one, then what it forgot. In a restricted one
   * only what lasts.
   *
   * @param {string} role
   * @param {number} now
   * @param {boolean} restricted
   * @returns {Body[]}
   */
  welcomed(role, now, restricted) {
    const unsent = [...this.#waiting.values()].filter((request) => !request.isSent);
    const again = restricted
      ? unsent.filter((request) => LASTING.has(request.type))
      : [...unsent, ...this.#wishes(role, now)];
    for (const request of again) {
      request.isSent = true;
      request.askedAt = now;
    }
    return again.map((request) => request.frame);
  }

  /**
   * @param {string} role
   * @param {number} now
   */
  #wishes(role, now) {
    const asked = [...this.#waiting.values()];
    const watched = new Set(asked.filter((request) => request.type === "watch").map((request) => request.frame.topic));
    const topics = [...this.#watches].filter(([topic]) => !watched.has(topic));
    const wishes = topics.map(([topic, fields]) => this.ask("watch", { topic, ...fields }, now));
    if (this.#duty !== null && role !== "technician" && !asked.some((request) => request.type === "duty")) {
      wishes.push(this.ask("duty", this.#duty, now));
    }
    return wishes;
  }

  /** When the next request is given up or asked again; Infinity for none. */
  nextDeadline() {
    return Math.min(...[...this.#waiting.values()].map((request) => this.#endsAt(request)), Infinity);
  }

  /** @param {Request} request */
  #endsAt(request) {
    return request.askedAt + (LASTING.has(request.type) ? this.#againS : this.#timeoutS);
  }

  /**
   * Requests that are given up now.
   *
   * @param {number} now
   */
  takeLate(now) {
    const late = [...this.#waiting.values()].filter((r) => !LASTING.has(r.type) && now >= this.#endsAt(r));
    for (const request of late) this.#waiting.delete(request.ref);
    return late;
  }

  /**
   * Frames of what is asked again now.
   *
   * @param {number} now
   */
  dueAgain(now) {
    const due = [...this.#waiting.values()].filter((r) => LASTING.has(r.type) && now >= this.#endsAt(r));
    for (const request of due) request.askedAt = now;
    return due.map((request) => request.frame);
  }
}
