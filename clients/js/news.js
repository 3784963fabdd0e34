/** Messages that change nothing in the client: each becomes the event that tells of it. */

import { need } from "./codec.js";

/** @typedef {import("./codec.js").Body} Body */
/** @typedef {import("./events.js").ClientEvent} ClientEvent */

/**
 * The event of a message; `unknownMessage` for a type of a newer server.
 *
 * @param {Body} body
 * @returns {ClientEvent}
 * @throws {import("./codec.js").BadFrame} A field that this type must have is missing.
 */
export function eventOf(body) {
  const make = EVENTS.get(body.type);
  return make === undefined ? { type: "unknownMessage", name: body.type, body } : make(body);
}

/** @type {ReadonlyMap<string, (body: Body) => ClientEvent>} */
const EVENTS = new Map(
  /** @type {[string, (body: Body) => ClientEvent][]} */ ([
    [
      "ping_policy",
      (body) => ({
        type: "policyChanged",
        intervalS: need(body, "interval_s"),
        minDistanceM: need(body, "min_distance_m"),
        accuracy: need(body, "accuracy"),
        reason: body.reason ?? "",
      }),
    ],
    ["position", (body) => ({ type: "positionReceived", topic: need(body, "topic"), body })],
    ["area", (body) => ({ type: "areaReceived", topic: need(body, "topic"), body })],
    [
      "offer",
      (body) => ({
        type: "offerReceived",
        offer: need(body, "offer"),
        order: need(body, "order"),
        remainingMs: need(body, "remaining_ms"),
        expiresAt: body.expires_at,
        body,
      }),
    ],
    [
      "offer.closed",
      (body) => ({ type: "offerClosed", offer: need(body, "offer"), reason: need(body, "reason"), body }),
    ],
    ["order", (body) => ({ type: "orderChanged", order: need(body, "order"), state: need(body, "state"), body })],
    ["job.news", (body) => ({ type: "jobNews", order: need(body, "order"), what: need(body, "what"), body })],
    [
      "incident.contact",
      (body) => ({ type: "incidentContact", incident: need(body, "incident"), lost: need(body, "lost"), body }),
    ],
    [
      "checkin",
      (body) => ({
        type: "checkinChanged",
        checkin: need(body, "checkin"),
        order: need(body, "order"),
        kind: need(body, "kind"),
        state: need(body, "state"),
        body,
      }),
    ],
    [
      "drill",
      (body) => ({
        type: "drillChanged",
        drill: need(body, "drill"),
        state: need(body, "state"),
        roundTripMs: body.round_trip_ms ?? null,
        body,
      }),
    ],
    [
      "care.news",
      (body) => ({
        type: "careNews",
        order: need(body, "order"),
        technician: need(body, "technician"),
        what: need(body, "what"),
        body,
      }),
    ],
    [
      "snapshot",
      (body) => ({
        type: "snapshotReceived",
        orders: body.orders ?? [],
        offers: body.offers ?? [],
        incidents: body.incidents ?? [],
        checkins: body.checkins ?? [],
        ordersLeftOut: body.orders_left_out ?? 0,
        incidentsLeftOut: body.incidents_left_out ?? 0,
        body,
      }),
    ],
  ]),
);
