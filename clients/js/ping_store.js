/** Where pings outlive the page: IndexedDB, or a key-value storage where there is none. */

/** @typedef {import("./ping_buffer.js").KeptPings} KeptPings */
/** @typedef {import("./ping_buffer.js").PingChanges} PingChanges */

/**
 * @typedef {object} PingStore
 * @property {() => Promise<KeptPings | null>} read What was written last; null for nothing yet.
 * @property {(changes: PingChanges) => Promise<void>} write All of it or nothing.
 * @property {() => void} close
 */

/**
 * One database for each device, rows by their number.
 *
 * @param {string} device
 * @param {IDBFactory} [factory]
 * @returns {PingStore}
 */
export function indexedPingStore(device, factory = indexedDB) {
  /** @type {Promise<IDBDatabase> | null} */
  let opened = null;
  const open = () => {
    opened ??= openDatabase(factory, `doorstep-${device}`);
    opened.catch(() => (opened = null)); // Tried again at the next call.
    return opened;
  };
  return {
    async read() {
      const database = await open();
      const transaction = database.transaction(["pings", "meta"]);
      const [state, seqs, fixes] = await Promise.all([
        done(transaction.objectStore("meta").get("state")),
        done(transaction.objectStore("pings").getAllKeys()),
        done(transaction.objectStore("pings").getAll()),
      ]);
      if (state === undefined) return null;
      return { rows: seqs.map((seq, place) => [Number(seq), fixes[place]]), ...state };
    },
    async write({ added, oldestSeq, nextSeq, dropped }) {
      const database = await open();
      const transaction = database.transaction(["pings", "meta"], "readwrite", { durability: "relaxed" });
      const pings = transaction.objectStore("pings");
      for (const [seq, fix] of added) pings.put(fix, seq);
      pings.delete(IDBKeyRange.upperBound(oldestSeq, true));
      transaction.objectStore("meta").put({ nextSeq, dropped }, "state");
      await new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onabort = () => reject(transaction.error ?? new Error("the transaction was aborted"));
      });
    },
    close() {
      opened?.then((database) => database.close(), () => {});
      opened = null;
    },
  };
}

/**
 * @param {IDBFactory} factory
 * @param {string} name
 * @returns {Promise<IDBDatabase>}
 */
async function openDatabase(factory, name) {
  const request = factory.open(name, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("pings");
    request.result.createObjectStore("meta");
  };
  return done(request);
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/**
 * The whole buffer as one text, for mini-programs. Give such a client a small `pingBufferMax`: 2,000 rows are 250 KB.
 *
 * @param {import("./key_value.js").KeyValue} values
 * @param {string} device
 * @returns {PingStore}
 */
export function keyValuePingStore(values, device) {
  const name = `doorstep.pings.${device}`;
  /** @returns {Promise<KeptPings | null>} */
  const read = async () => {
    const text = values.get(name);
    try {
      return text === null ? null : JSON.parse(text);
    } catch {
      values.set(`doorstep.damaged.pings.${device}`, text ?? "");
      return null;
    }
  };
  return {
    read,
    async write({ added, oldestSeq, nextSeq, dropped }) {
      const rows = new Map((await read())?.rows);
      for (const [seq, fix] of added) rows.set(seq, fix);
      const kept = [...rows].filter(([seq]) => seq >= oldestSeq).sort(([a], [b]) => a - b);
      values.set(name, JSON.stringify({ rows: kept, nextSeq, dropped }));
    },
    close() {},
  };
}
