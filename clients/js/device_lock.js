/** One tab at a time is the device: two would number their pings alike and push each other off the hub (4509). */

/** @typedef {import("./events.js").LockState} LockState */

/**
 * @typedef {object} DeviceLock
 * @property {(tell: (state: LockState) => void) => Promise<LockState>} acquire Says at once whether this page has it;
 *   `tell` hears of each change after that: `owned` when the other tab has closed, `taken_over` when it was taken from
 * here.
 * @property {() => Promise<LockState>} takeOver Take it from whoever has it.
 * @property {() => void} release
 */

/**
 * By Web Locks, which the browser frees whatever becomes of a tab. Where there are none nobody can say: `no_locks`.
 *
 * @param {string} device
 * @param {LockManager | null | undefined} [locks] Null for none.
 * @returns {DeviceLock}
 */
export function webLock(device, locks = globalThis.navigator?.locks) {
  const name = `doorstep-${device}`;
  /** @type {() => void} */
  let release = () => {};
  /** @type {(state: LockState) => void} */
  let tell = () => {};
  let waiting = new AbortController();

  /**
   * @param {LockOptions} options
   * @returns {Promise<LockState>}
   */
  const request = (options) =>
    new Promise((resolve, reject) => {
      let isOwned = false;
      const held = locks?.request(name, options, (lock) => {
        if (lock === null) return resolve("other_tab");
        isOwned = true;
        resolve("owned");
        return new Promise((/** @type {(value: void) => void} */ end) => (release = end));
      });
      held?.catch((error) => (isOwned ? tell("taken_over") : reject(error)));
    });

  /** The other tab may close at any time. */
  const wait = () => {
    waiting = new AbortController();
    request({ signal: waiting.signal }).then(tell, () => {});
  };

  return {
    async acquire(listener) {
      tell = listener;
      if (!locks) return "no_locks";
      const state = await request({ ifAvailable: true });
      if (state === "other_tab") wait();
      return state;
    },
    async takeOver() {
      waiting.abort();
      return !locks ? "no_locks" : request({ steal: true });
    },
    release() {
      waiting.abort();
      release();
    },
  };
}

/** @returns {DeviceLock} Where there are no tabs. */
export function noLock() {
  return { acquire: async () => "no_locks", takeOver: async () => "no_locks", release() {} };
}
