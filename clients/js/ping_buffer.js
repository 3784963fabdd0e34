/** Positions on their way: kept until the server says that they are stored. */

/**
 * One measured position, in the phone's own clock and coordinates.
 *
 * @typedef {object} Fix
 * @property {number} lat
 * @property {number} lng
 * @property {number} fixedAt When it was measured, UTC epoch seconds of the phone.
 * @property {number} [accuracyM] Radius of 68 % confidence; 10 where not said.
 * @property {number | null} [speedMps]
 * @property {number | null} [headingDeg]
 * @property {number | null} [battery] 0 … 1.
 * @property {boolean} [mock] The phone says that it was made up.
 */

/** @typedef {[seq: number, fix: Fix]} Row */
/** @typedef {{ rows: Row[], nextSeq: number, dropped: number }} KeptPings What of the buffer outlives the page. */
/** @typedef {{ added: Row[], oldestSeq: number, nextSeq: number, dropped: number }} PingChanges What to write to it. */

/**
 * Numbered fixes in order of `seq`: the first `#sent` of them are on their way, the others wait.
 *
 * Numbers are used once and without a gap: the server forgets nothing beyond one that is missing. So where the buffer
 * is written to a store, a ping leaves only when its number lies there (`kept`).
 */
export class PingBuffer {
  #lenMax;
  #nextSeq;
  /** @type {Row[]} */
  #rows = [];
  #head = 0; // Rows before it are gone: an array that is shifted 20,000 times is slow.
  #sent = 0;
  #dropped = 0;
  #keptSeq = Infinity;
  /** When the oldest ping that is sent and not stored was last sent; null for none. @type {number | null} */
  sentSince = null;

  /**
   * @param {number} firstSeq
   * @param {number} lenMax
   */
  constructor(firstSeq, lenMax) {
    this.#nextSeq = firstSeq;
    this.#lenMax = lenMax;
  }

  /** Pings not yet stored. */
  get length() {
    return this.#rows.length - this.#head;
  }

  /** Pings waiting to be sent. */
  get unsent() {
    return this.length - this.#sent;
  }

  /** Pings lost because the buffer was full. */
  get dropped() {
    return this.#dropped;
  }

  /** Pings that may leave. */
  get sendable() {
    const isAllKept = this.#keptSeq >= this.#nextSeq - 1;
    return isAllKept ? this.unsent : this.#live().filter(([seq]) => seq <= this.#keptSeq).length - this.#sent;
  }

  /** The number that follows. */
  get nextSeq() {
    return this.#nextSeq;
  }

  #live() {
    return this.#rows.slice(this.#head);
  }

  /**
   * Take up what an earlier page kept, in front of what was added since.
   *
   * @param {KeptPings} kept
   */
  restore(kept) {
    const young = this.#live();
    this.#dropped += kept.dropped;
    this.#nextSeq = kept.rows.length > 0 ? kept.nextSeq : Math.max(kept.nextSeq, this.#nextSeq - young.length);
    this.#rows = [...kept.rows];
    this.#head = this.#sent = 0;
    this.sentSince = null;
    for (const [, fix] of young) this.add(fix);
  }

  /**
   * Number and keep a fix; the oldest one goes when the buffer is full.
   *
   * @param {Fix} fix
   * @returns {number} Its number.
   */
  add(fix) {
    const seq = this.#nextSeq;
    this.#nextSeq += 1;
    this.#rows.push([seq, fix]);
    if (this.length > this.#lenMax) {
      this.#forgetFirst();
      this.#dropped += 1;
    }
    return seq;
  }

  /**
   * Everything up to this number lies in the store; Infinity where nothing is written.
   *
   * @param {number} seq
   */
  kept(seq) {
    this.#keptSeq = seq;
  }

  /**
   * Up to `limit` unsent pings, oldest first; they count as sent at `now`.
   *
   * @param {number} limit
   * @param {number} now
   */
  take(limit, now) {
    const from = this.#head + this.#sent;
    const taken = this.#rows.slice(from, from + Math.min(limit, this.sendable));
    this.#sent += taken.length;
    if (taken.length > 0 && this.sentSince === null) this.sentSince = now;
    return taken;
  }

  /**
   * The server has everything up to `storedSeq`.
   *
   * @param {number} storedSeq
   * @param {number} now
   */
  forget(storedSeq, now) {
    const before = this.#sent;
    while (this.#sent > 0 && (this.#rows[this.#head]?.[0] ?? Infinity) <= storedSeq) this.#forgetFirst();
    if (this.#sent === 0) this.sentSince = null;
    else if (this.#sent < before) this.sentSince = now;
  }

  #forgetFirst() {
    this.#head += 1;
    this.#sent = Math.max(this.#sent - 1, 0);
    if (this.#head > 1_000 && this.#head * 2 > this.#rows.length) {
      this.#rows = this.#live();
      this.#head = 0;
    }
  }

  /** Queue everything again that was sent and is not stored. */
  resend() {
    this.#sent = 0;
    this.sentSince = null;
  }

  /**
   * What was added from a number on, and where the buffer begins now.
   *
   * @param {number} fromSeq
   * @returns {PingChanges}
   */
  changesFrom(fromSeq) {
    const added = this.#live().filter(([seq]) => seq >= fromSeq);
    const oldestSeq = this.#rows[this.#head]?.[0] ?? this.#nextSeq;
    return { added, oldestSeq, nextSeq: this.#nextSeq, dropped: this.#dropped };
  }
}

/**
 * One `ping` for a single fix, else one `pings` with rows.
 *
 * @param {Row[]} rows
 * @param {number} sentAt
 * @param {string | undefined} crs
 * @returns {import("./codec.js").Body}
 */
export function pingFrame(rows, sentAt, crs) {
  const [first] = rows;
  const frame = rows.length === 1 && first ? single(first) : many(rows);
  frame.sent_at = millis(sentAt);
  if (rows.some(([, fix]) => fix.mock)) frame.mock = true;
  if (crs !== undefined) frame.crs = crs;
  return frame;
}

/**
 * @param {Row} row
 * @returns {import("./codec.js").Body}
 */
function single([seq, fix]) {
  /** @type {import("./codec.js").Body} */
  const frame = {
    type: "ping",
    seq,
    fixed_at: millis(fix.fixedAt),
    lat: fix.lat,
    lng: fix.lng,
    accuracy_m: fix.accuracyM ?? 10,
  };
  if (fix.speedMps != null) frame.speed_mps = fix.speedMps;
  if (fix.headingDeg != null) frame.heading_deg = fix.headingDeg;
  if (fix.battery != null) frame.battery = fix.battery;
  return frame;
}

/**
 * @param {Row[]} rows
 * @returns {import("./codec.js").Body}
 */
function many(rows) {
  const pings = rows.map(([seq, fix]) => [
    seq,
    millis(fix.fixedAt),
    fix.lat,
    fix.lng,
    fix.accuracyM ?? 10,
    fix.speedMps ?? null,
    fix.headingDeg ?? null,
  ]);
  return { type: "pings", pings };
}

/** @param {number} at */
export function millis(at) {
  return Math.round(at * 1000) / 1000;
}

/**
 * A fix of the browser's Geolocation API.
 *
 * @param {{ timestamp: number, coords: { latitude: number, longitude: number, accuracy: number,
 *   speed: number | null, heading: number | null } }} position
 * @returns {Fix}
 */
export function fixOf({ timestamp, coords }) {
  // A phone that stands still has the heading NaN, and some say -1 for what they do not know.
  const isKnown = (/** @type {number | null} */ value) => value != null && value >= 0;
  return {
    lat: coords.latitude,
    lng: coords.longitude,
    fixedAt: timestamp / 1000,
    accuracyM: Math.min(coords.accuracy, 100_000),
    speedMps: isKnown(coords.speed) ? coords.speed : null,
    headingDeg: isKnown(coords.heading) ? coords.heading : null,
  };
}
