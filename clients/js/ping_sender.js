/** When pings leave: within the server's allowance, and again until they are stored. */

import { millis, PingBuffer, pingFrame } from "./ping_buffer.js";

/** @typedef {import("./ping_buffer.js").Fix} Fix */
/** @typedef {import("./session.js").PingAllowance} PingAllowance */

/** Numbers, keeps and sends the device's positions. */
export class PingSender {
  #options;
  /** @type {PingBuffer | null} */
  #buffer = null;
  #isStored = false;
  #changedFrom = Infinity;
  #isChanged = false;

  /**
   * @param {{ firstSeq?: number | undefined, crs?: string | undefined, phoneClock: (now: number) => number,
   *   settings: Readonly<import("./settings.js").ClientSettings>, rng: () => number }} options `firstSeq`: number of
   *   the first ping; the milliseconds of the first use where not given.
   */
  constructor(options) {
    this.#options = options;
  }

  /** Pings not yet stored by the server. */
  get waiting() {
    return this.#buffer?.length ?? 0;
  }

  /** Pings not yet sent. */
  get unsent() {
    return this.#buffer?.unsent ?? 0;
  }

  /** Pings lost because the buffer was full. */
  get dropped() {
    return this.#buffer?.dropped ?? 0;
  }

  /** @param {number} now */
  #made(now) {
    if (this.#buffer === null) {
      const { firstSeq, settings } = this.#options;
      this.#buffer = new PingBuffer(firstSeq ?? Math.trunc(now * 1000), settings.pingBufferMax);
      if (this.#isStored) this.#buffer.kept(-1);
    }
    return this.#buffer;
  }

  /**
   * Keep a position until it is stored; returns its number.
   *
   * @param {Fix} fix
   * @param {number} now
   */
  add(fix, now) {
    const seq = this.#made(now).add(fix);
    this.#changedFrom = Math.min(this.#changedFrom, seq);
    this.#isChanged = true;
    return seq;
  }

  // -- the store ------------------------------------------------------------------------------------

  /**
   * The buffer is written to a store from here on: pings wait for `kept`. Takes up what lies there.
   *
   * @param {import("./ping_buffer.js").KeptPings | null} kept
   * @param {number} now
   */
  restore(kept, now) {
    this.#isStored = true;
    const buffer = this.#made(now);
    if (kept !== null) buffer.restore(kept);
    buffer.kept(kept === null ? -1 : kept.nextSeq - 1);
    this.#changedFrom = kept === null ? 0 : kept.nextSeq;
    this.#isChanged = buffer.length > (kept?.rows.length ?? 0);
  }

  /** What is not in the store yet; null for nothing. The caller says `kept` or `notKept` afterwards. */
  takeChanges() {
    if (this.#buffer === null || !this.#isChanged) return null;
    const changes = this.#buffer.changesFrom(this.#changedFrom);
    this.#changedFrom = changes.nextSeq;
    this.#isChanged = false;
    return changes;
  }

  /** Everything below this number lies in the store. @param {number} nextSeq */
  kept(nextSeq) {
    this.#buffer?.kept(nextSeq - 1);
  }

  /** The store failed: pings leave without it, and the whole buffer is written next time. */
  notKept() {
    this.#buffer?.kept(Infinity);
    this.#changedFrom = 0;
    this.#isChanged = true;
  }

  /** Another page has them now. */
  letGo() {
    this.#buffer = null;
    this.#isStored = this.#isChanged = false;
    this.#changedFrom = Infinity;
  }

  // -- the wire -------------------------------------------------------------------------------------

  /**
   * What may leave now, oldest first.
   *
   * @param {PingAllowance} allowance
   * @param {number} now
   */
  frames(allowance, now) {
    const frames = [];
    const buffer = this.#buffer;
    const { settings, phoneClock, crs } = this.#options;
    while (buffer !== null && buffer.sendable > 0) {
      const allowed = allowance.take(Math.min(buffer.sendable, settings.pingBatchMax), now);
      if (allowed === 0) break;
      frames.push(pingFrame(buffer.take(allowed, now), millis(phoneClock(now)), crs));
    }
    return frames;
  }

  /**
   * When something can leave or is to be sent again; Infinity while neither waits.
   *
   * @param {PingAllowance} allowance
   */
  nextDeadline(allowance) {
    const buffer = this.#buffer;
    if (buffer === null) return Infinity;
    const againAt = buffer.sentSince === null ? Infinity : buffer.sentSince + this.#options.settings.pingResendS;
    return Math.min(againAt, buffer.sendable > 0 ? allowance.nextAt : Infinity);
  }

  /** Queue again what was not stored in time. @param {number} now */
  onDeadline(now) {
    const since = this.#buffer?.sentSince ?? null;
    if (since !== null && now >= since + this.#options.settings.pingResendS) this.resend();
  }

  /** Queue everything again that is not stored, as after a lost connection. */
  resend() {
    this.#buffer?.resend();
  }

  /**
   * Forget what a `ping_ack` says is stored; what was shed comes again.
   *
   * @param {number} storedSeq
   * @param {Record<string, number>} verdicts
   * @param {number} now
   */
  acked(storedSeq, verdicts, now) {
    const buffer = this.#buffer;
    if (buffer === null) return;
    const before = buffer.length;
    buffer.forget(storedSeq, now);
    if (buffer.length < before) this.#isChanged = true;
    if (verdicts.shed && buffer.sentSince !== null) {
      // The server was too busy to look: soon again, but not at once and not all phones together.
      const { pingResendS } = this.#options.settings;
      const waitS = (0.25 + 0.75 * this.#options.rng()) * pingResendS;
      buffer.sentSince = Math.min(buffer.sentSince, now + waitS - pingResendS);
    }
  }
}
