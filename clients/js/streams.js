/** The reliable streams: how far this device has each of them, and what it must acknowledge. */

import { BadFrame, need } from "./codec.js";

/** @typedef {{ epoch: string, seq: number }} StreamPlace Last message of a stream that this device has. */

/** Places in the streams, which outlive connections, and acknowledgements, which do not. */
export class Streams {
  /** @type {Map<string, StreamPlace>} */
  #places = new Map();
  /** @type {Map<string, number>} */
  #acks = new Map();

  /** The place in each stream of which anything was heard. @returns {Record<string, StreamPlace>} */
  get places() {
    return Object.fromEntries([...this.#places].map(([name, place]) => [name, { ...place }]));
  }

  /** Nothing needs an ack any more: the server asks `hello` instead. */
  disconnected() {
    this.#acks.clear();
  }

  /**
   * Take over where the server begins.
   *
   * @param {Record<string, { epoch: string, seq: number, how: string }>} streams
   */
  welcomed(streams) {
    for (const [name, place] of Object.entries(streams)) {
      // A snapshot may be lost on its way: only when it is here does the device stand where it says.
      if (place.how === "fresh" || (place.how === "replayed" && !this.#places.has(name))) {
        this.#places.set(name, { epoch: place.epoch, seq: place.seq });
      }
    }
  }

  /**
   * Note the place of a message and queue its ack.
   *
   * @param {import("./codec.js").Body} body
   * @returns {boolean} False for a repetition.
   * @throws {BadFrame} A gap: something was lost, so reconnect and resume.
   */
  isNew(body) {
    const stream = String(body.stream);
    const seq = Number(need(body, "seq"));
    const epoch = String(need(body, "epoch"));
    const place = this.#places.get(stream);
    if (place === undefined || place.epoch !== epoch || body.type === "snapshot") {
      this.#places.set(stream, { epoch, seq });
    } else if (seq <= place.seq) {
      this.#acks.set(stream, place.seq);
      return false;
    } else if (seq !== place.seq + 1) {
      throw new BadFrame(`stream ${stream} jumped from ${place.seq} to ${seq}`);
    } else {
      place.seq = seq;
    }
    this.#acks.set(stream, seq);
    return true;
  }

  /** One `ack` for all that came since the last one, or nothing. @returns {import("./codec.js").Body[]} */
  ackFrames() {
    if (this.#acks.size === 0) return [];
    const frame = { type: "ack", ...Object.fromEntries(this.#acks) };
    this.#acks.clear();
    return [frame];
  }
}
