/** What belongs to one connection and ends with it: when who spoke last, and what the server allows. */

/** How many pings the server takes: a token bucket that holds one second's worth. */
export class PingAllowance {
  #pingsPerS;
  #pingBatch;
  #tokens;
  #refilledAt;

  /**
   * @param {number} now
   * @param {{ pings_per_s?: number, ping_batch?: number }} [limits] Of the `welcome`.
   */
  constructor(now, limits = {}) {
    this.#pingsPerS = Math.max(Number(limits.pings_per_s ?? 10), 0.1);
    this.#pingBatch = Math.max(Math.trunc(Number(limits.ping_batch ?? 100)), 1);
    this.#tokens = Math.max(this.#pingsPerS, 1);
    this.#refilledAt = now;
  }

  /** When there is room for one more after none was left. */
  get nextAt() {
    return this.#refilledAt + 1 / this.#pingsPerS;
  }

  /**
   * How many of `wanted` pings may leave now.
   *
   * @param {number} wanted
   * @param {number} now
   */
  take(wanted, now) {
    const burst = Math.max(this.#pingsPerS, 1);
    this.#tokens = Math.min(burst, this.#tokens + Math.max(now - this.#refilledAt, 0) * this.#pingsPerS);
    this.#refilledAt = now;
    const allowed = Math.min(wanted, Math.trunc(this.#tokens), this.#pingBatch);
    this.#tokens -= allowed;
    return allowed;
  }
}

/** One connection, from its handshake. */
export class Session {
  heardAt;
  saidAt;
  /** @type {number | null} */
  welcomedAt = null;
  heartbeatS = 30;
  allowance;
  /** The server's own advice, where it gave one. @type {number | null} */
  reconnectAfterS = null;
  /** When a heartbeat left that was not answered yet. @type {number | null} */
  askedAt = null;
  /** When nothing must have come since waking to give up. @type {number | null} */
  probeEndsAt = null;

  /** @param {number} connectedAt */
  constructor(connectedAt) {
    this.connectedAt = this.heardAt = this.saidAt = connectedAt;
    this.allowance = new PingAllowance(connectedAt);
  }

  /**
   * Take over what a `welcome` says about this connection.
   *
   * @param {import("./codec.js").Body} body
   * @param {number} now
   */
  welcomed(body, now) {
    this.welcomedAt = now;
    this.expectHeartbeats(body.heartbeat_s);
    this.allowance = new PingAllowance(now, body.limits);
  }

  /** @param {unknown} heartbeatS */
  expectHeartbeats(heartbeatS) {
    if (typeof heartbeatS === "number" && heartbeatS > 0) this.heartbeatS = Math.max(heartbeatS, 0.5);
  }

  /**
   * When to say that we live, and to hear the same: a browser does not show the server's own pings, so that silence
   * means something only after a question.
   */
  get heartbeatAt() {
    const quietAt = Math.min(this.saidAt, this.heardAt);
    return Math.max(quietAt, this.askedAt ?? quietAt) + this.heartbeatS;
  }

  /**
   * When the server counts as gone: after so many heartbeats without a word.
   *
   * @param {number} heartbeats
   */
  silenceEndsAt(heartbeats) {
    return this.heardAt + heartbeats * this.heartbeatS;
  }
}
