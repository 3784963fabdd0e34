// The scripts that every client core passes; tests/unit/client/test_protocol_vectors.py runs them with that of Python.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { ClientProtocol } from "../../../clients/js/index.js";

const script = JSON.parse(readFileSync(new URL("../../data/client_vectors.json", import.meta.url), "utf-8"));
const camel = (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());

function perform(client, step, now) {
  if ("receive" in step) return client.receive(JSON.stringify(step.receive), now);
  switch (step.do) {
    case "connected":
      return client.connected(now) ?? [];
    case "lost":
      return client.lost(step.code, now);
    case "deadline":
      return client.onDeadline(now);
    case "sos":
      client.sendSos(now, { key: step.key, ...step.fields });
      return [];
    case "ping": {
      const { lat, lng, fixed_at: fixedAt, accuracy_m: accuracyM } = step.fix;
      client.sendPing({ lat, lng, fixedAt, accuracyM }, now);
      return [];
    }
    case "request":
      client.request(step.kind, step.fields, now);
      return [];
    default:
      throw new Error(`no step is called ${step.do}`);
  }
}

// Of an event what the script names, in its words.
function told(event, wanted) {
  const named = Object.keys(wanted).filter((name) => name !== "type");
  return { type: event.type, ...Object.fromEntries(named.map((name) => [name, event[camel(name)]])) };
}

for (const { name, steps } of script.vectors) {
  test(name, () => {
    const { device, token, first_seq: firstSeq } = script;
    const client = new ClientProtocol({ device, token, firstSeq, rng: () => 0.5 });
    for (const [number, step] of steps.entries()) {
      const where = `step ${number}: ${JSON.stringify(step)}`;
      const now = script.begins_at + step.at;
      // How old things are this core tells besides.
      const events = perform(client, step, now).filter((event) => !["stale", "fresh"].includes(event.type));
      const wanted = step.events ?? [];
      assert.equal(events.length, wanted.length, `${where} ${JSON.stringify(events)}`);
      for (const [place, event] of wanted.entries()) {
        assert.deepEqual(told(events[place], event), { ...event, type: camel(event.type) }, where);
      }
      if ("frames" in step) {
        const frames = client.framesToSend(now).map((frame) => JSON.parse(frame)).map(({ app, ...rest }) => rest);
        if (step.frames !== null) assert.deepEqual(frames, step.frames, where);
      }
      assert.equal(client.mustClose, step.must_close ?? false, where);
      if ("state" in step) assert.equal(client.state, step.state, where);
      if ("comes_back" in step) assert.equal(client.reconnectAt !== null, step.comes_back, where);
    }
  });
}
