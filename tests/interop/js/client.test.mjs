import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError, memoryStorage, RequestRefused } from "../../../clients/js/index.js";
import { settled, Stage, START } from "./hub.mjs";

const types = (frames) => frames.map((frame) => frame.type);
const fix = (n) => ({ lat: 39.9, lng: 116.4, fixedAt: START + n, accuracyM: 8 });

test("each connection is greeted with a ticket of its own", async (t) => {
  const stage = new Stage(t);
  await stage.client.start();
  await stage.pass(0.1);
  assert.equal(stage.hub.said()[0].ticket, "t1");
  stage.hub.welcome();
  stage.hub.socket.listener.onClose(1006, "");
  await stage.pass(1);
  assert.equal(stage.hub.said()[0].ticket, "t2");
  assert.deepEqual(stage.asked, ["connect", "connect"]);
});

test("a request resolves with its result, and rejects with its code", async (t) => {
  const stage = new Stage(t);
  await stage.ready();
  const accepted = stage.client.accept("ofr_1");
  const [{ ref }] = stage.hub.said();
  stage.hub.say({ type: "ok", ref, result: { order: "ord_1" } });
  assert.deepEqual(await accepted, { order: "ord_1" });
  const declined = stage.client.decline("ofr_2");
  stage.hub.say({ type: "error", ref: stage.hub.said()[0].ref, code: "offer_expired", message: "late", retry: false });
  await assert.rejects(declined, (error) => error instanceof RequestRefused && error.code === "offer_expired");
});

test("after auth expiry it comes back with a new ticket; refused twice in a row it asks to sign in", async (t) => {
  const stage = new Stage(t);
  await stage.ready();
  stage.hub.socket.listener.onClose(4401, "");
  await stage.pass(0.2);
  assert.deepEqual(stage.asked, ["connect", "token_expired"]);
  stage.hub.socket.listener.onClose(4501, "");
  await stage.pass(60);
  assert.equal(stage.asked.length, 2);
  assert.ok(stage.types().includes("signInNeeded"));
  stage.client.reconnect();
  await stage.pass(0.2);
  assert.deepEqual(types(stage.hub.said()), ["hello"]);
});

test("who is not signed in is not asked for a ticket again until the page says so", async (t) => {
  let tries = 0;
  const credentials = async () => {
    tries += 1;
    throw new ApiError(401, { code: "session_over" });
  };
  const stage = new Stage(t, { credentials });
  await stage.client.start();
  await stage.pass(60);
  assert.equal(tries, 1);
  assert.equal(stage.events.find((event) => event.type === "signInNeeded").code, "session_over");
});

test("it never comes back by itself after a newer connection took over", async (t) => {
  const stage = new Stage(t);
  await stage.ready();
  stage.hub.socket.listener.onClose(4509, "");
  await stage.pass(120);
  assert.equal(stage.hub.sockets.length, 1);
  assert.equal(stage.client.state, "ended");
});

test("a lost network is tried again with jitter, at most every half minute", async (t) => {
  const stage = new Stage(t);
  stage.hub.isDown = true;
  await stage.client.start();
  await stage.pass(120);
  const tries = stage.hub.sockets.length;
  assert.ok(tries >= 8 && tries <= 14, `${tries} tries`); // 0.25, 0.5, 1, 2, 4, 8, 15, 15, … at half of each bound
});

test("a page that slept for an hour says so at once and is back within 2 s", async (t) => {
  const stage = new Stage(t);
  await stage.ready();
  stage.sleptS = 3600; // The monotonic clock stood still, and so did the timers.
  stage.wakers[0]();
  const [stale] = stage.events;
  assert.equal(stale.type, "stale");
  assert.ok(stale.ageS >= 3600);
  await stage.pass(0.5);
  assert.equal(stage.hub.sockets.length, 2);
  assert.deepEqual(stage.hub.said()[0].resume, { main: { epoch: "e1", seq: 0 } });
  stage.hub.welcome();
  assert.ok(stage.types().includes("fresh"));
});

test("a sleep is noticed by the clock where no event of the page tells of it", async (t) => {
  const stage = new Stage(t);
  await stage.ready();
  stage.sleptS = 3600;
  await stage.pass(2);
  assert.equal(stage.events[0].type, "stale");
  assert.equal(stage.hub.sockets.length, 2);
});

test("a half-open connection is given up a second after waking", async (t) => {
  const stage = new Stage(t);
  await stage.ready();
  await stage.pass(12);
  stage.wakers[0]();
  assert.deepEqual(types(stage.hub.said()), ["heartbeat"]);
  await stage.pass(1.9);
  assert.equal(stage.hub.sockets.length, 2);
});

test("a connection that answers after waking is kept", async (t) => {
  const stage = new Stage(t);
  await stage.ready();
  await stage.pass(12);
  stage.wakers[0]();
  stage.hub.say({ type: "heartbeat", server_at: START + 112 });
  await stage.pass(3);
  assert.equal(stage.hub.sockets.length, 1);
  assert.ok(Math.abs(stage.client.serverNow() - (START + 115)) < 0.2);
});

test("waking does not hurry a client that the server told to wait", async (t) => {
  const stage = new Stage(t);
  await stage.ready();
  stage.hub.say({ type: "reconnect", reconnect_after_ms: 20_000, reason: "draining" });
  stage.hub.socket.listener.onClose(4403, "");
  stage.wakers[0]();
  await stage.pass(19);
  assert.equal(stage.hub.sockets.length, 1);
  await stage.pass(2);
  assert.equal(stage.hub.sockets.length, 2);
});

test("heartbeats ask a silent server, and its silence ends the connection", async (t) => {
  const stage = new Stage(t);
  await stage.ready({ heartbeat_s: 2 });
  await stage.pass(2.2);
  assert.deepEqual(types(stage.hub.said()), ["heartbeat"]);
  await stage.pass(4.5);
  assert.ok(stage.types().includes("disconnected"));
});

test("an SOS leaves before the call returns, lies in the storage, and goes on in the next page", async (t) => {
  const stage = new Stage(t);
  await stage.ready();
  const key = stage.client.sos({ note: "help" });
  assert.equal(stage.hub.said()[0].key, key);
  const kept = JSON.parse(stage.values.get(`doorstep.sos.phone.${key}`));
  assert.equal(kept.fields.note, "help");
  await stage.client.close();
  const next = new Stage(t, { values: stage.values });
  await next.client.start();
  await next.pass(0.1);
  next.hub.said();
  next.hub.welcome();
  assert.equal(next.hub.said()[0].key, key);
  next.hub.say({ type: "sos_ack", key, incident: "inc_1", durable: true, delivered: 0, seen: false });
  await settled();
  assert.equal(JSON.parse(next.values.get(`doorstep.sos.phone.${key}`)).incident, "inc_1");
  await next.pass(30);
  assert.ok(!types(next.hub.said()).includes("sos"));
});

test("without a hub an SOS goes over HTTP at once and for ever, until it is stored", async (t) => {
  let isDown = true;
  const answerSos = (tap) => {
    if (isDown) throw new Error("no network");
    return { key: tap.key, incident: "inc_1", durable: true, delivered: 0, seen: false };
  };
  const stage = new Stage(t, { answerSos });
  stage.hub.isDown = true;
  await stage.client.start();
  const key = stage.client.sos();
  assert.equal(stage.posted.length, 1);
  await stage.pass(60);
  assert.ok(stage.posted.length >= 6);
  assert.ok(stage.types().includes("sosNotReceived"));
  isDown = false;
  await stage.pass(11);
  const stages = stage.events.filter((event) => event.type === "sosProgress").map((event) => event.stage);
  assert.deepEqual(stages, ["received", "durable"]);
  const posted = stage.posted.length;
  await stage.pass(30);
  assert.equal(stage.posted.length, posted);
  assert.equal(stage.client.sosCalls()[0].key, key);
});

test("an SOS that the hub does not answer goes over HTTP as well", async (t) => {
  const stage = new Stage(t, { answerSos: () => new Promise(() => {}) });
  await stage.ready();
  stage.client.sos();
  await stage.pass(1.5);
  assert.equal(stage.posted.length, 0);
  await stage.pass(1);
  assert.equal(stage.posted.length, 1);
});

test("a tap is taken back once somebody has received it", async (t) => {
  const stage = new Stage(t);
  await stage.ready();
  const key = stage.client.sos();
  const aborted = stage.client.abortSos(key, "4711");
  stage.hub.said();
  stage.hub.say({ type: "sos_ack", key, incident: "inc_1", durable: true, delivered: 0, seen: false });
  await settled();
  const cancel = stage.hub.said().find((frame) => frame.type === "sos.cancel");
  assert.deepEqual([cancel.incident, cancel.pin], ["inc_1", "4711"]);
  stage.hub.say({ type: "ok", ref: cancel.ref, result: {} });
  await aborted;
});

test("what a listener asks for in an event leaves by itself", async (t) => {
  const stage = new Stage(t);
  await stage.ready();
  stage.client.on("offerReceived", ({ offer }) => void stage.client.accept(offer));
  const place = { stream: "main", seq: 1, epoch: "e1" };
  stage.hub.say({ type: "offer", offer: "ofr_1", order: "ord_1", remaining_ms: 1000, ...place });
  assert.deepEqual(types(stage.hub.said()).sort(), ["ack", "offer.accept"]);
});

test("pings are numbered on over a reload, and those that nobody stored leave again", async (t) => {
  const stage = new Stage(t);
  await stage.ready();
  const first = stage.client.ping(fix(1));
  stage.client.ping(fix(2));
  await settled();
  const seqs = (frame) => (frame.type === "ping" ? [frame.seq] : frame.pings.map(([seq]) => seq));
  const sent = stage.hub.said().flatMap(seqs);
  assert.deepEqual(sent, [first, first + 1]);
  stage.hub.say({ type: "ping_ack", seq: first, verdicts: { live: 1 }, stored_seq: first });
  await settled();
  await stage.client.close();
  const next = new Stage(t, { values: stage.values });
  await next.client.start();
  assert.equal(next.client.ping(fix(3)), first + 2);
  await next.pass(0.1);
  next.hub.welcome();
  await settled();
  const again = next.hub.said().find((frame) => frame.type === "pings");
  assert.deepEqual(again.pings.map(([seq]) => seq), [first + 1, first + 2]);
});

test("a full buffer drops the oldest and says how many", async (t) => {
  const stage = new Stage(t, { settings: { pingBufferMax: 3, pingBatchMax: 3 } });
  stage.hub.isDown = true;
  await stage.client.start();
  for (let n = 0; n < 5; n += 1) stage.client.ping(fix(n));
  await settled();
  assert.equal(stage.client.pingsWaiting, 3);
  assert.equal(stage.events.filter((event) => event.type === "pingsDropped").at(-1).count, 2);
});

test("a storage that fails is told, and pings leave without it", async (t) => {
  const broken = { get: () => null, names: () => [], remove() {}, set() { throw new Error("quota"); } };
  const stage = new Stage(t, { values: broken });
  await stage.client.start();
  await stage.pass(0.1);
  stage.hub.welcome();
  stage.client.ping(fix(1));
  await settled();
  assert.ok(types(stage.hub.said()).includes("ping"));
  assert.deepEqual(stage.events.find((event) => event.type === "storageFailed").what, "pings");
});

test("a storage that cannot be read is left alone, and pings leave without it", async (t) => {
  const written = [];
  const read = () => Promise.reject(new Error("blocked"));
  const broken = { read, write: async (changes) => written.push(changes), close() {} };
  const storage = { ...memoryStorage("phone"), pings: broken };
  const stage = new Stage(t, { storage });
  await stage.client.start();
  await stage.pass(0.1);
  stage.hub.welcome();
  stage.client.ping(fix(1));
  await settled();
  assert.ok(types(stage.hub.said()).includes("ping"));
  assert.deepEqual(written, []);
});

test("a second tab does not connect, sends its SOS over HTTP, and takes over with the kept pings", async (t) => {
  let tell;
  const acquire = async (listener) => ((tell = listener), "other_tab");
  const lock = { acquire, takeOver: async () => "owned", release() {} };
  const kept = { rows: [[5, fix(5)]], nextSeq: 6, dropped: 1 };
  const pings = { read: async () => kept, write: async () => {}, close() {} };
  const answerSos = ({ key }) => ({ key, incident: "inc_1", durable: true, delivered: 0, seen: false });
  const stage = new Stage(t, { storage: { ...memoryStorage("phone"), lock, pings }, answerSos });
  await stage.client.start();
  stage.client.sos();
  await stage.pass(5);
  assert.equal(stage.client.lock, "other_tab");
  assert.equal(stage.hub.sockets.length, 0);
  assert.equal(stage.posted.length, 1);
  await stage.client.takeOver();
  await stage.pass(0.2);
  stage.hub.welcome();
  await settled();
  assert.deepEqual(stage.hub.said().filter(({ type }) => type === "ping").map(({ seq }) => seq), [5]);
  tell("taken_over");
  await settled();
  assert.ok(stage.hub.socket.isClosed);
  await stage.pass(60);
  assert.equal(stage.hub.sockets.length, 1);
  assert.equal(stage.client.pingsWaiting, 0);
});
