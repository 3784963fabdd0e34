/** The other way of an SOS: `POST /v1/sos`, for when the hub cannot be reached or says nothing. */

/** Posts under way at most for one key: a network that swallows requests must not collect them. */
const UNDER_WAY_MAX = 2;

export class SosOverHttp {
  #api;
  #answered;
  /** @type {Map<string, number>} */
  #underWay = new Map();

  /**
   * @param {{ sos: (tap: Record<string, any>) => Promise<any> } | undefined} api Undefined for none.
   * @param {(body: import("./codec.js").Body) => void} answered
   */
  constructor(api, answered) {
    this.#api = api;
    this.#answered = answered;
  }

  /**
   * Post what is due. What fails comes again by itself: the core repeats it.
   *
   * @param {import("./codec.js").Body[]} frames
   */
  send(frames) {
    for (const frame of frames) if (this.#count(frame.key) < UNDER_WAY_MAX) void this.#post(frame);
  }

  /** @param {string} key */
  #count(key) {
    return this.#underWay.get(key) ?? 0;
  }

  /** @param {import("./codec.js").Body} frame */
  async #post({ type, ...tap }) {
    this.#underWay.set(tap.key, this.#count(tap.key) + 1);
    try {
      const answer = await this.#api?.sos(tap);
      if (answer?.incident) this.#answered({ type: "sos_ack", key: tap.key, ...answer });
    } catch {
      // Neither refused nor lost for good: the tap stays due, and `sosNotReceived` tells who must know.
    } finally {
      const left = this.#count(tap.key) - 1;
      if (left > 0) this.#underWay.set(tap.key, left);
      else this.#underWay.delete(tap.key);
    }
  }
}
