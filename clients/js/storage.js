/** What of a client outlives its page, and who may use it. */

import { noLock, webLock } from "./device_lock.js";
import { memoryKeyValue, webKeyValue } from "./key_value.js";
import { Outbox } from "./outbox.js";
import { indexedPingStore, keyValuePingStore } from "./ping_store.js";

/**
 * @typedef {object} ClientStorage
 * @property {import("./ping_store.js").PingStore | null} pings Null: pings live as long as the page.
 * @property {Outbox} outbox
 * @property {import("./device_lock.js").DeviceLock} lock
 */

/**
 * IndexedDB for pings, localStorage for taps, Web Locks for the device. What the browser forbids (private windows,
 * blocked storage) lives as long as the page.
 *
 * @param {string} device
 * @returns {ClientStorage}
 */
export function browserStorage(device) {
  return {
    pings: typeof indexedDB === "undefined" ? null : indexedPingStore(device),
    outbox: new Outbox(localKeyValue(), device),
    lock: webLock(device),
  };
}

function localKeyValue() {
  try {
    return webKeyValue(localStorage);
  } catch {
    return memoryKeyValue(); // The mere name throws where storage is blocked.
  }
}

/**
 * Nothing outlives the page; for consoles, and tests.
 *
 * @param {string} device
 * @returns {ClientStorage}
 */
export function memoryStorage(device) {
  return { pings: null, outbox: new Outbox(memoryKeyValue(), device), lock: noLock() };
}

/**
 * All in one key-value storage.
 *
 * @param {import("./key_value.js").KeyValue} values
 * @param {string} device
 * @returns {ClientStorage}
 */
export function keyValueStorage(values, device) {
  return { pings: keyValuePingStore(values, device), outbox: new Outbox(values, device), lock: noLock() };
}
