/** What time it is at the server: for countdowns that must end when the server says so. */

const SAMPLE_KEPT_S = 600;
/** A good sample is believed for so long: quartz drifts below 100 ppm, 60 ms in ten minutes. */

/** Difference to the server's clock, from the frames that carry its time and how long each was under way. */
export class ServerClock {
  /** @type {{ offsetS: number, errorS: number, at: number } | null} */
  #best = null;

  /**
   * The server said its time.
   *
   * @param {number} serverAt UTC epoch seconds.
   * @param {number} askedAt When that which it answers was sent, on the client's own time line.
   * @param {number} now When the answer came.
   */
  heard(serverAt, askedAt, now) {
    const errorS = Math.max((now - askedAt) / 2, 0);
    const best = this.#best;
    const agedS = best === null ? Infinity : now - best.at;
    if (best !== null && errorS > best.errorS && agedS >= 0 && agedS < SAMPLE_KEPT_S) return;
    this.#best = { offsetS: serverAt - (now - errorS), errorS, at: now };
  }

  /** The client slept: how its clock ran meanwhile is not known. The next sample counts, until then the last one. */
  doubt() {
    if (this.#best !== null) this.#best.errorS = Infinity;
  }

  /** Seconds to add to the client's time; 0 while nothing is known. */
  get offsetS() {
    return this.#best?.offsetS ?? 0;
  }

  /** How far `offsetS` may be wrong; Infinity while nothing is known. */
  get errorS() {
    return this.#best?.errorS ?? Infinity;
  }
}
