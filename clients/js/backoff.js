/**
 * When to try again: exponential back-off with full jitter.
 *
 * Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: of the variants compared there,
 * full jitter finishes a thundering herd with the fewest calls.
 */
export class Backoff {
  #baseS;
  #maxS;
  #rng;
  #failures = 0;

  /**
   * @param {number} baseS Upper bound of the first wait.
   * @param {number} maxS Upper bound that is never passed.
   * @param {() => number} rng Uniform in [0, 1).
   */
  constructor(baseS, maxS, rng) {
    this.#baseS = baseS;
    this.#maxS = maxS;
    this.#rng = rng;
  }

  /** It worked. */
  reset() {
    this.#failures = 0;
  }

  /**
   * Count a failure and return how long to wait: uniform between 0 and the bound.
   *
   * @returns {number} Seconds.
   */
  nextWaitS() {
    const boundS = Math.min(this.#maxS, this.#baseS * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return this.#rng() * boundS;
  }
}
