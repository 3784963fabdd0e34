/** A few texts by name: what browsers, mini-programs and tests all have. */

/**
 * @typedef {object} KeyValue
 * @property {(name: string) => string | null} get
 * @property {(name: string, value: string) => void} set Throws when there is no room or it is forbidden.
 * @property {(name: string) => void} remove
 * @property {() => string[]} names
 */

/** @returns {KeyValue} That lives as long as the page. */
export function memoryKeyValue() {
  /** @type {Map<string, string>} */
  const values = new Map();
  return {
    get: (name) => values.get(name) ?? null,
    set: (name, value) => void values.set(name, value),
    remove: (name) => void values.delete(name),
    names: () => [...values.keys()],
  };
}

/** @param {globalThis.Storage} storage @returns {KeyValue} */
export function webKeyValue(storage) {
  return {
    get: (name) => storage.getItem(name),
    set: (name, value) => storage.setItem(name, value),
    remove: (name) => storage.removeItem(name),
    names: () => Object.keys(storage),
  };
}
