/** Requests as promises. */

/** The server refused a request, or did not answer in time (`timeout`), or the client was closed (`closed`). */
export class RequestRefused extends Error {
  /** @override */
  name = "RequestRefused";

  /**
   * @param {{ request: string, code: string, message: string, retry: boolean, field: string,
   *   facts: Record<string, any> }} failure
   */
  constructor({ request, code, message, retry, field, facts }) {
    super(`${request}: ${code}: ${message}`);
    this.code = code;
    this.field = field;
    this.facts = facts;
    /** Whether the same may succeed later. */
    this.retry = retry;
    /** Seconds to wait before it; null for not at all. @type {number | null} */
    this.retryAfterS = retry ? (facts.retry_in_s ?? 1) : null;
  }
}

/** Who waits for the answer of which request. */
export class Answers {
  /** @type {Map<string, { resolve: (result: Record<string, any>) => void, reject: (error: Error) => void }>} */
  #waiting = new Map();

  /**
   * @param {string} ref
   * @returns {Promise<Record<string, any>>}
   */
  of(ref) {
    return new Promise((resolve, reject) => this.#waiting.set(ref, { resolve, reject }));
  }

  /** @param {import("./events.js").ClientEvent} event */
  settle(event) {
    if (event.type !== "requestDone" && event.type !== "requestFailed") return;
    const waiting = this.#waiting.get(event.ref);
    this.#waiting.delete(event.ref);
    if (event.type === "requestDone") waiting?.resolve(event.result);
    else waiting?.reject(new RequestRefused(event));
  }

  /** The client ends: nobody will answer. */
  close() {
    const failure = { request: "request", code: "closed", message: "the client was closed", retry: false };
    for (const { reject } of this.#waiting.values()) reject(new RequestRefused({ ...failure, field: "", facts: {} }));
    this.#waiting.clear();
  }
}
