/** Where taps of SOS outlive the page: each under a name of its own, so that two tabs never write over each other. */

/** @typedef {import("./sos.js").KeptTap} KeptTap */

/** Keeps what `SosCalls.kept` gives. Synchronous: when `write` returns, a reload does not take it back. */
export class Outbox {
  #values;
  #prefix;
  /** What this page read or wrote, by name. @type {Map<string, string>} */
  #mine = new Map();

  /**
   * @param {import("./key_value.js").KeyValue} values
   * @param {string} device
   */
  constructor(values, device) {
    this.#values = values;
    this.#prefix = `doorstep.sos.${device}.`;
  }

  /**
   * What was written last, oldest first. What cannot be read is put aside under `doorstep.damaged.…`.
   *
   * @returns {KeptTap[]}
   */
  read() {
    const taps = [];
    for (const name of this.#values.names().filter((each) => each.startsWith(this.#prefix))) {
      const text = this.#values.get(name) ?? "";
      const tap = tapOf(text);
      if (tap === null) {
        this.#values.set(name.replace("doorstep.sos.", "doorstep.damaged."), text);
        this.#values.remove(name);
      } else {
        this.#mine.set(name, text);
        taps.push(tap);
      }
    }
    return taps.sort((a, b) => a.tappedAt - b.tappedAt);
  }

  /**
   * Make the storage hold these, and none of the others that this page knew of. Throws when the storage does.
   *
   * @param {KeptTap[]} kept
   */
  write(kept) {
    const wanted = new Map(kept.map((tap) => [this.#prefix + tap.key, JSON.stringify(tap)]));
    for (const [name, text] of wanted) {
      if (this.#mine.get(name) === text) continue;
      this.#values.set(name, text);
      this.#mine.set(name, text);
    }
    for (const name of [...this.#mine.keys()].filter((each) => !wanted.has(each))) {
      this.#values.remove(name);
      this.#mine.delete(name);
    }
  }
}

/**
 * @param {string} text
 * @returns {KeptTap | null}
 */
function tapOf(text) {
  try {
    const { key, tappedAt, fields = {}, epoch = null, incident = "" } = JSON.parse(text);
    return typeof key === "string" && typeof tappedAt === "number" ? { key, tappedAt, fields, epoch, incident } : null;
  } catch {
    return null;
  }
}
