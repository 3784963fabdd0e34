/**
 * What a device knows of incidents: each message is taken once, the newest wins, and each incident rings once.
 *
 * Messages of an incident carry its `version`. However often and in whichever order they come (a row repeated after a
 * reconnect, an alarm that came before its row, a snapshot), the view that results is the same, and so is the alarm.
 */

/** @typedef {import("./codec.js").Body} Body */

const OVER = new Set(["resolved", "closed"]);
/** Incidents remembered; beyond it those that are over go first, then the oldest. A forgotten one rings again. */
export const INCIDENTS_MAX = 2_000;
const WIRE = new Set(["stream", "seq", "epoch", "type"]);
/** Fields of an `incident.update` that are left out when they have their default. */
const UPDATED = new Set(
  ["owner", "triggers", "kind", "responders", "cancel_asked_at", "proposed", "why", "disposition"],
);

class Known {
  /** @type {Record<string, any>} */
  whole = {};
  /** @type {Record<string, any>} */
  update = {};
  wholeAt = -1;
  fenceAt = -1;
  updateAt = -1;
  isRung = false;

  /** The whole case, with what a newer update changed. */
  get view() {
    if (this.updateAt <= this.wholeAt) return this.whole;
    // What an update leaves out has its default again: nobody owns it, nobody comes.
    return { ...without(this.whole, UPDATED), ...this.update };
  }

  /**
   * @param {Body} body
   * @returns {boolean} False where it says nothing new.
   */
  take(body) {
    // A server that does not say the version is believed in the order in which it speaks.
    const version = body.version || Math.max(this.wholeAt, this.updateAt, 0) + 1;
    if (body.type === "incident.update") {
      if (version <= this.updateAt || version < this.wholeAt) return false;
      this.update = without(body, WIRE);
      this.updateAt = version;
      return true;
    }
    const fence = body.asked?.fence ?? 0;
    if (version < this.wholeAt || (version === this.wholeAt && fence <= this.fenceAt)) return false;
    this.whole = without(body, WIRE);
    this.wholeAt = version;
    this.fenceAt = fence;
    return true;
  }
}

/** The newest of each incident, by its id. */
export class IncidentBook {
  /** @type {Map<string, Known>} */
  #known = new Map();

  /** All that is known of it now; empty for one that never came. @param {string} incident */
  view(incident) {
    return this.#known.get(incident)?.view ?? {};
  }

  /**
   * Note an `incident` or `incident.update`.
   *
   * @param {Body} body
   * @returns {boolean | null} Null for a message that says nothing new; else whether it is time to ring: the first
   *   news of an incident that is on, or that is on again after it was over.
   */
  take(body) {
    let known = this.#known.get(body.incident);
    if (known === undefined) {
      known = new Known();
      this.#known.set(body.incident, known);
      this.#forget(body.incident);
    }
    if (!known.take(body)) return null;
    const isOver = OVER.has(known.view.state);
    const rings = !isOver && !known.isRung && body.why !== "withdrawn";
    known.isRung = !isOver && (known.isRung || rings);
    return rings;
  }

  /** The server was restored, and its versions may be lower: its next word counts. What rang does not ring again. */
  beginAnew() {
    for (const known of this.#known.values()) {
      known.whole = known.view;
      known.update = {};
      known.wholeAt = known.fenceAt = known.updateAt = -1;
    }
  }

  /** @param {string} but */
  #forget(but) {
    if (this.#known.size <= INCIDENTS_MAX) return;
    const others = [...this.#known.keys()].filter((name) => name !== but);
    const over = others.find((name) => OVER.has(this.#known.get(name)?.view.state));
    this.#known.delete(over ?? others[0] ?? "");
  }
}

/**
 * @param {Record<string, any>} body
 * @param {Set<string>} names
 */
function without(body, names) {
  return Object.fromEntries(Object.entries(body).filter(([name]) => !names.has(name)));
}
