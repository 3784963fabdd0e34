/** The HTTP side, as thin as it can be: JSON in and out, named errors. The calls by name are in `api.js`. */

/**
 * @typedef {(url: string, request: { method: string, headers: Record<string, string>, body?: string,
 *   signal?: AbortSignal, credentials?: RequestCredentials, cache?: RequestCache }) => Promise<{ status: number,
 *   headers: { get: (name: string) => string | null }, text: () => Promise<string> }>} Fetch
 */

/** The server answered with a problem (RFC 9457), or not at all (status 0; `network`, `timeout`). */
export class ApiError extends Error {
  /** @override */
  name = "ApiError";

  /**
   * @param {number} status
   * @param {Record<string, any>} problem
   * @param {number | null} [retryAfterS] The server's own advice.
   */
  constructor(status, problem, retryAfterS = null) {
    super(`${status} ${problem.code ?? ""}: ${problem.detail || problem.title || ""}`);
    this.status = status;
    this.code = String(problem.code ?? "");
    /** Which field is wrong; "" for none. */
    this.field = String(problem.field ?? "");
    /** @type {Record<string, any>} */
    this.facts = problem.facts ?? {};
    /** Whether the same may succeed later. */
    this.retry = Boolean(problem.retry) || status === 0 || status === 429 || status >= 502;
    /** Seconds to wait before it; null for not at all. */
    this.retryAfterS = this.retry ? (retryAfterS ?? 1) : null;
    /** The caller is not signed in any more, or never may: trying again is no help. */
    this.isFinal = status === 401 || status === 403;
  }
}

/**
 * @typedef {object} CallOptions
 * @property {unknown} [body]
 * @property {Record<string, string | number | boolean | undefined>} [params]
 * @property {string} [idempotencyKey]
 * @property {string} [token] Speak as somebody else for this call.
 */

/** Calls of one user. */
export class Http {
  #baseUrl;
  #options;
  #fetch;

  /**
   * @param {string} baseUrl Such as `https://example.org`, "" for the page's own origin.
   * @param {{ token?: string | (() => string | Promise<string>), device?: string, timeoutS?: number, fetch?: Fetch,
   *   renew?: () => Promise<string> }} [options] `renew`: asked for a newer token once after `token_expired`.
   */
  constructor(baseUrl, options = {}) {
    this.#baseUrl = baseUrl.replace(/\/+$/, "");
    this.#options = options;
    this.#fetch = options.fetch ?? /** @type {Fetch} */ ((url, request) => fetch(url, request));
  }

  /**
   * One request; the decoded body, or null where there is none.
   *
   * @param {string} method
   * @param {string} path
   * @param {CallOptions} [options]
   * @returns {Promise<any>}
   * @throws {ApiError}
   */
  async call(method, path, options = {}) {
    const { token, renew } = this.#options;
    try {
      const own = async () => (typeof token === "function" ? token() : (token ?? ""));
      return await this.#once(method, path, options, options.token ?? (await own()));
    } catch (error) {
      const isOver = error instanceof ApiError && error.code === "token_expired";
      if (!isOver || renew === undefined || options.token !== undefined) throw error;
      return this.#once(method, path, options, await renew());
    }
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {CallOptions} options
   * @param {string} token
   */
  async #once(method, path, { body, params, idempotencyKey }, token) {
    /** @type {Record<string, string>} */
    const headers = {};
    if (token) headers["Authorization"] = `Bearer ${token}`;
    if (this.#options.device) headers["Doorstep-Device"] = this.#options.device;
    if (idempotencyKey) headers["Idempotency-Key"] = idempotencyKey;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const text = body === undefined ? {} : { body: JSON.stringify(body) };
    const url = this.#baseUrl + path + query(params);
    return this.#answered(url, { method, headers, ...text, credentials: "same-origin", cache: "no-store" });
  }

  /**
   * @param {string} url
   * @param {Parameters<Fetch>[1]} request
   */
  async #answered(url, request) {
    const { timeoutS = 30 } = this.#options;
    const ending = typeof AbortController === "undefined" ? null : new AbortController();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => {
        reject(new ApiError(0, { code: "timeout", title: `no answer in ${timeoutS} s` }));
        ending?.abort();
      }, timeoutS * 1000);
    });
    try {
      const signal = ending === null ? {} : { signal: ending.signal };
      return await Promise.race([this.#read(this.#fetch(url, { ...request, ...signal })), late]);
    } catch (error) {
      if (error instanceof ApiError) throw error;
      throw new ApiError(0, { code: "network", title: String(error).slice(0, 200) });
    } finally {
      clearTimeout(timer);
    }
  }

  /** @param {ReturnType<Fetch>} answering */
  async #read(answering) {
    const answer = await answering;
    const text = await answer.text();
    const isJson = (answer.headers.get("Content-Type") ?? "").includes("json");
    const body = isJson && text ? JSON.parse(text) : null;
    if (answer.status < 400) return body;
    const advice = Number.parseFloat(answer.headers.get("Retry-After") ?? "");
    throw new ApiError(answer.status, body ?? { detail: text.slice(0, 200) }, Number.isNaN(advice) ? null : advice);
  }
}

/** @param {CallOptions["params"]} [params] */
function query(params = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== undefined);
  const words = given.map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(String(value))}`);
  return words.length > 0 ? `?${words.join("&")}` : "";
}
