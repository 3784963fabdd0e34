import "fake-indexeddb/auto";

import assert from "node:assert/strict";
import { test } from "node:test";

import { webLock } from "../../../clients/js/device_lock.js";
import { memoryKeyValue } from "../../../clients/js/key_value.js";
import { Outbox } from "../../../clients/js/outbox.js";
import { indexedPingStore } from "../../../clients/js/ping_store.js";
import { settled } from "./hub.mjs";

const fix = (n) => ({ lat: 1, lng: 2, fixedAt: n });

test("pings in IndexedDB outlive the page, without those that were stored", async () => {
  const store = indexedPingStore("one");
  assert.equal(await store.read(), null);
  await store.write({ added: [[7, fix(7)], [8, fix(8)]], oldestSeq: 7, nextSeq: 9, dropped: 0 });
  await store.write({ added: [[9, fix(9)]], oldestSeq: 8, nextSeq: 10, dropped: 4 });
  store.close();
  const next = indexedPingStore("one");
  assert.deepEqual(await next.read(), { rows: [[8, fix(8)], [9, fix(9)]], nextSeq: 10, dropped: 4 });
  assert.equal(await indexedPingStore("two").read(), null);
});

test("taps of two tabs do not write over each other, and a damaged one is put aside", () => {
  const values = memoryKeyValue();
  const tap = (key) => ({ key, tappedAt: 1, fields: {}, epoch: null, incident: "" });
  const [one, two] = [new Outbox(values, "phone"), new Outbox(values, "phone")];
  one.write([tap("a")]);
  two.write([tap("b")]);
  values.set("doorstep.sos.phone.c", "{");
  assert.deepEqual(new Outbox(values, "phone").read().map(({ key }) => key), ["a", "b"]);
  assert.ok(values.names().includes("doorstep.damaged.phone.c"));
  one.write([]);
  assert.deepEqual(new Outbox(values, "phone").read().map(({ key }) => key), ["b"]);
});

// Web Locks as the specification has them, for one name: exclusive, ifAvailable, signal and steal.
class Locks {
  #held = null;
  #queue = [];

  request(name, options, use) {
    return new Promise((resolve, reject) => {
      const take = () => {
        const lock = { resolve, reject };
        this.#held = lock;
        Promise.resolve(use({ name })).then((value) => {
          resolve(value);
          if (this.#held === lock) this.#next();
        });
      };
      if (options.steal) {
        this.#held?.reject(new DOMException("stolen", "AbortError"));
        take();
      } else if (this.#held === null) take();
      else if (options.ifAvailable) resolve(use(null));
      else {
        this.#queue.push(take);
        options.signal.addEventListener("abort", () => {
          this.#queue = this.#queue.filter((each) => each !== take);
          reject(new DOMException("aborted", "AbortError"));
        });
      }
    });
  }

  #next() {
    this.#held = null;
    this.#queue.shift()?.();
  }
}

test("a second tab waits for the device, and has it when the first closes", async () => {
  const locks = new Locks();
  const heard = [];
  const [one, two] = [webLock("phone", locks), webLock("phone", locks)];
  assert.equal(await one.acquire(() => {}), "owned");
  assert.equal(await two.acquire((state) => heard.push(state)), "other_tab");
  one.release();
  await settled();
  assert.deepEqual(heard, ["owned"]);
});

test("a tab that takes the device over tells the other", async () => {
  const locks = new Locks();
  const heard = [];
  const [one, two] = [webLock("phone", locks), webLock("phone", locks)];
  await one.acquire((state) => heard.push(state));
  await two.acquire(() => {});
  assert.equal(await two.takeOver(), "owned");
  await settled();
  assert.deepEqual(heard, ["taken_over"]);
});

test("where there are no locks it says so", async () => {
  assert.equal(await webLock("phone", null).acquire(() => {}), "no_locks");
});
