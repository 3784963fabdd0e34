/** Which time a client lives by, and how it learns that it slept. */

/**
 * UTC epoch seconds at its making, and the monotonic time since: for every deadline of a client.
 *
 * A phone whose clock is set back by an hour must not wait an hour to repeat an SOS. Monotonic clocks stand still while
 * some devices sleep, so what the wall clock gained over them is a sleep (or somebody set the clock forward, which
 * costs one needless look at the connection).
 */
export class SteadyClock {
  #wall;
  #monotonic;
  #offsetS;
  #wallOffsetS;

  /**
   * @param {() => number} [wall] UTC epoch seconds.
   * @param {() => number} [monotonic] Seconds that never go back.
   */
  constructor(wall = () => Date.now() / 1000, monotonic = monotonicS) {
    this.#wall = wall;
    this.#monotonic = monotonic;
    this.#offsetS = this.#wallOffsetS = wall() - monotonic();
  }

  /** Never goes back. */
  now() {
    return this.#offsetS + this.#monotonic();
  }

  /** What the phone believes, whatever it was set to. */
  wall() {
    return this.#wall();
  }

  /**
   * Take up time that the monotonic clock missed.
   *
   * @returns {number} Seconds that `now` went ahead by; 0 for none.
   */
  catchUp() {
    const wallOffsetS = this.#wall() - this.#monotonic();
    const missedS = wallOffsetS - this.#wallOffsetS;
    this.#wallOffsetS = wallOffsetS;
    if (missedS < 1) return 0;
    this.#offsetS += missedS;
    return missedS;
  }
}

let lastS = 0;

/** Mini-programs may have no `performance`: then the wall clock, held so that it never goes back. */
function monotonicS() {
  if (typeof performance !== "undefined") return performance.now() / 1000;
  lastS = Math.max(lastS, Date.now() / 1000);
  return lastS;
}
