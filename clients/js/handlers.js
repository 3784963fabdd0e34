/** Messages that change something in the client, and what each does; all others are in `news.js`. */

import { need } from "./codec.js";
import { eventOf } from "./news.js";

/** @typedef {import("./codec.js").Body} Body */
/** @typedef {import("./events.js").ClientEvent} ClientEvent */
/** @typedef {import("./protocol.js").ClientProtocol} ClientProtocol */
/** @typedef {import("./session.js").Session} Session */
/** @typedef {(client: ClientProtocol, body: Body, session: Session, now: number) => ClientEvent[]} Handler */

/** @type {Handler} */
function onWelcome(client, body, session, now) {
  const streams = body.streams ?? {};
  client.state = "ready";
  client.serverClock.heard(need(body, "server_at"), session.saidAt, now);
  session.welcomed(body, now);
  client.streams.welcomed(streams);
  client.outgoing.push(...client.sos.welcomed(now));
  if (streams.safety !== undefined) client.livesIn(streams.safety.epoch, now);
  const restricted = Boolean(body.restricted);
  client.outgoing.push(...client.requests.welcomed(need(body, "role"), now, restricted));
  const who = { session: need(body, "session"), user: need(body, "user"), role: body.role };
  return [{ type: "welcomed", ...who, restricted, body }];
}

/** @type {Handler} */
function onHeartbeat(client, body, session, now) {
  if (session.askedAt !== null && body.server_at !== undefined) {
    client.serverClock.heard(body.server_at, session.askedAt, now);
    session.askedAt = null;
  }
  return [];
}

/** @type {Handler} */
function onOk(client, body) {
  const request = client.requests.answered(body.ref ?? "");
  if (request === undefined) return [];
  return [{ type: "requestDone", ref: request.ref, request: request.type, result: body.result ?? {} }];
}

/** @type {Handler} */
function onError(client, body, session, now) {
  const { ref = "", message = "", retry = false, field, facts } = body;
  const code = need(body, "code");
  if (ref && retry && client.requests.putOff(ref, now)) return [];
  const request = ref ? client.requests.answered(ref) : undefined;
  if (request === undefined) return [{ type: "serverError", code, message, body }];
  if (request.type === "watch") client.requests.dropWatch(request.frame.topic);
  const told = { code, message, retry, field: field ?? "", facts: facts ?? {} };
  return [{ type: "requestFailed", ref, request: request.type, ...told }];
}

/** @type {Handler} */
function onReconnect(client, body, session) {
  session.reconnectAfterS = need(body, "reconnect_after_ms") / 1000;
  return [];
}

/** @type {Handler} */
function onPingAck(client, body, session, now) {
  const storedSeq = need(body, "stored_seq");
  const verdicts = need(body, "verdicts");
  client.pings.acked(storedSeq, verdicts, now);
  return [{ type: "pingsJudged", seq: need(body, "seq"), verdicts, storedSeq, corrected: body.corrected ?? {} }];
}

/** @type {Handler} */
function onPingPolicy(client, body, session) {
  session.expectHeartbeats(body.heartbeat_s);
  return [eventOf(body)];
}

/** @type {Handler} */
function onUnwatched(client, body) {
  client.requests.dropWatch(need(body, "topic"));
  return [{ type: "unwatched", topic: body.topic, reason: need(body, "reason") }];
}

/** @type {Handler} */
function onSosAck(client, body) {
  return client.sos.acked(body);
}

/** @type {Handler} */
function onIncident(client, body) {
  const incident = need(body, "incident");
  const state = need(body, "state");
  const rings = client.incidents.take(body);
  if (rings === null) return [];
  return [{ type: body.type === "incident" ? "incidentRaised" : "incidentUpdated", incident, state, rings, body }];
}

/** @type {Handler} */
function onSnapshot(client, body, session, now) {
  const incidents = body.incidents ?? [];
  const raised = incidents.flatMap((/** @type {Record<string, any>} */ incident) =>
    onIncident(client, { ...incident, type: "incident" }, session, now),
  );
  return [eventOf(body), ...raised];
}

/** @type {ReadonlyMap<string, Handler>} */
export const HANDLERS = new Map([
  ["welcome", onWelcome],
  ["heartbeat", onHeartbeat],
  ["ok", onOk],
  ["error", onError],
  ["reconnect", onReconnect],
  ["ping_ack", onPingAck],
  ["ping_policy", onPingPolicy],
  ["unwatched", onUnwatched],
  ["sos_ack", onSosAck],
  ["incident", onIncident],
  ["incident.update", onIncident],
  ["snapshot", onSnapshot],
]);
