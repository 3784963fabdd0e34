/** The routes that pages use, by name. Bodies and answers are those of `/openapi.json`; ids are quoted in paths. */

import { Http } from "./http.js";

/** @typedef {Record<string, any>} Fields */
/** @typedef {import("./http.js").CallOptions["params"]} Params */

const at = (/** @type {string} */ id) => encodeURIComponent(id);

/** One method for each call; all throw `ApiError`. */
export class Api extends Http {
  /** @param {string} path @param {Params} [params] */
  #get(path, params) {
    return this.call("GET", path, params === undefined ? {} : { params });
  }

  /** @param {string} path @param {Fields} [body] */
  #post(path, body = {}) {
    return this.call("POST", path, { body });
  }

  // -- the page and its user ------------------------------------------------------------------------

  config() {
    return this.#get("/config.json");
  }

  /** @param {{ code: string, page: string, device: string }} body */
  signIn(body) {
    return this.call("POST", "/v1/sign-in", { body, token: "" });
  }

  /** A new token of the page's session. @param {string} page */
  sessionToken(page) {
    return this.call("POST", "/v1/session/token", { body: { page }, token: "" });
  }

  signOut() {
    return this.call("POST", "/v1/sign-out");
  }

  /** One-time ticket for the hub. @param {string} device */
  ticket(device) {
    return this.#post("/v1/tickets", { device });
  }

  /** @param {string} city */
  map(city) {
    return this.#get(`/v1/map/${at(city)}`);
  }

  // -- orders ---------------------------------------------------------------------------------------

  /** @param {Fields} body @param {string} idempotencyKey The same for the same order, also when it is sent again. */
  placeOrder(body, idempotencyKey) {
    return this.call("POST", "/v1/orders", { body, idempotencyKey });
  }

  /** @param {Params} [params] */
  orders(params) {
    return this.#get("/v1/orders", params);
  }

  /** @param {string} id */
  order(id) {
    return this.#get(`/v1/orders/${at(id)}`);
  }

  /** What calling it off would cost now. @param {string} id */
  cancellation(id) {
    return this.#get(`/v1/orders/${at(id)}/cancellation`);
  }

  /** @param {string} id @param {{ reason?: string, fee_fen_max?: number }} [body] */
  cancelOrder(id, body) {
    return this.#post(`/v1/orders/${at(id)}/cancel`, body);
  }

  /** @param {string} id */
  confirm(id) {
    return this.#post(`/v1/orders/${at(id)}/confirm`);
  }

  /** @param {string} id @param {Fields} body */
  rate(id, body) {
    return this.#post(`/v1/orders/${at(id)}/rating`, body);
  }

  /** @param {string} id @param {{ step: string, evidence?: string, reason?: string }} body */
  step(id, body) {
    return this.#post(`/v1/orders/${at(id)}/step`, body);
  }

  /** @param {string} id @param {Fields} body */
  addTime(id, body) {
    return this.#post(`/v1/orders/${at(id)}/add-time`, body);
  }

  /** @param {string} id @param {Fields} body */
  agreeTime(id, body) {
    return this.#post(`/v1/orders/${at(id)}/add-time/agree`, body);
  }

  /** @param {string} id @param {Fields} body */
  refuseTime(id, body) {
    return this.#post(`/v1/orders/${at(id)}/add-time/refuse`, body);
  }

  /** @param {string} id @param {Fields} body */
  schedule(id, body) {
    return this.#post(`/v1/orders/${at(id)}/schedule`, body);
  }

  /** @param {string} id @param {Fields} [body] */
  reassign(id, body) {
    return this.#post(`/v1/orders/${at(id)}/reassign`, body);
  }

  /** @param {string} id @param {{ technician: string, reason: string, override?: string[] }} body */
  assign(id, body) {
    return this.#post(`/v1/orders/${at(id)}/assign`, body);
  }

  /** @param {string} id @param {Fields} body */
  setMode(id, body) {
    return this.#post(`/v1/orders/${at(id)}/mode`, body);
  }

  /** Why the matching rounds decided as they did. @param {string} id @param {Params} [params] */
  explain(id, params) {
    return this.#get(`/v1/orders/${at(id)}/explain`, params);
  }

  /** @param {string} id @param {Fields} body */
  whatIf(id, body) {
    return this.#post(`/v1/orders/${at(id)}/what-if`, body);
  }

  /** @param {string} id @param {Params} [params] */
  timeline(id, params) {
    return this.#get(`/v1/orders/${at(id)}/timeline`, params);
  }

  /** @param {string} id @param {Params} [params] */
  orderTrack(id, params) {
    return this.#get(`/v1/orders/${at(id)}/track`, params);
  }

  // -- technicians ----------------------------------------------------------------------------------

  /** @param {{ lat: number, lng: number, crs?: string, limit?: number }} params */
  nearby(params) {
    return this.#get("/v1/technicians/nearby", params);
  }

  /** @param {string} id */
  technician(id) {
    return this.#get(`/v1/technicians/${at(id)}`);
  }

  /** @param {string} id @param {boolean} on @param {string} [city] */
  setDuty(id, on, city) {
    return this.#post(`/v1/technicians/${at(id)}/duty`, city === undefined ? { on } : { on, city });
  }

  /** @param {string} id */
  calendar(id) {
    return this.#get(`/v1/technicians/${at(id)}/calendar`);
  }

  /** @param {string} id @param {Params} [params] */
  whyNoOffers(id, params) {
    return this.#get(`/v1/technicians/${at(id)}/why-no-offers`, params);
  }

  /** @param {string} id @param {Params} [params] */
  technicianTrack(id, params) {
    return this.#get(`/v1/technicians/${at(id)}/track`, params);
  }

  /** @param {Params} [params] */
  offers(params) {
    return this.#get("/v1/offers", params);
  }

  // -- safety ---------------------------------------------------------------------------------------

  /** @param {Fields & { key?: string }} tap As the `sos` of the hub. */
  sos(tap) {
    return this.#post("/v1/sos", tap);
  }

  /** How far one's own alarm has come. @param {string} incident */
  sosState(incident) {
    return this.#get(`/v1/sos/${at(incident)}`);
  }

  /** @param {string} incident @param {string} pin */
  cancelSos(incident, pin) {
    return this.#post(`/v1/sos/${at(incident)}/cancel`, { pin });
  }

  /** @param {Params} [params] */
  incidents(params) {
    return this.#get("/v1/incidents", params);
  }

  /** @param {string} id */
  incident(id) {
    return this.#get(`/v1/incidents/${at(id)}`);
  }

  /** @param {string} id @param {Params} [params] */
  incidentTimeline(id, params) {
    return this.#get(`/v1/incidents/${at(id)}/timeline`, params);
  }

  /** @param {string} id @param {Params} [params] */
  incidentTrail(id, params) {
    return this.#get(`/v1/incidents/${at(id)}/trail`, params);
  }

  /** What to read out to the police. @param {string} id @param {Params} [params] */
  callText(id, params) {
    return this.#get(`/v1/incidents/${at(id)}/call-text`, params);
  }

  /** Whom it reached, and who answered. @param {string} id */
  deliveries(id) {
    return this.#get(`/v1/incidents/${at(id)}/deliveries`);
  }

  /**
   * @param {string} id
   * @param {"ack" | "join" | "note" | "respond" | "decline" | "assign" | "on-scene" | "resolve" | "reopen"
   *   | "close"} action
   * @param {Fields} [body]
   */
  actOnIncident(id, action, body) {
    return this.#post(`/v1/incidents/${at(id)}/${action}`, body);
  }

  checkins() {
    return this.#get("/v1/checkins");
  }

  /** @param {string} id @param {"ok" | "help" | "no"} answer */
  answerCheckin(id, answer) {
    return this.#post(`/v1/checkins/${at(id)}`, { answer });
  }

  drills() {
    return this.#get("/v1/drills");
  }

  tapDrill() {
    return this.#post("/v1/drills");
  }

  // -- links ----------------------------------------------------------------------------------------

  /** @param {string} order @param {Fields} [body] */
  shareTrip(order, body) {
    return this.#post(`/v1/orders/${at(order)}/share`, body);
  }

  /** @param {string} order */
  trips(order) {
    return this.#get(`/v1/orders/${at(order)}/share`);
  }

  /** @param {string} order @param {string} trip */
  endTrip(order, trip) {
    return this.call("DELETE", `/v1/orders/${at(order)}/share/${at(trip)}`);
  }

  /** @param {string} order @param {Fields} [body] */
  arrivalLink(order, body) {
    return this.#post(`/v1/orders/${at(order)}/arrival-link`, body);
  }

  /** @param {string} order */
  arrivalLinks(order) {
    return this.#get(`/v1/orders/${at(order)}/arrival-link`);
  }

  /** @param {string} order @param {string} link */
  endArrivalLink(order, link) {
    return this.call("DELETE", `/v1/orders/${at(order)}/arrival-link/${at(link)}`);
  }

  /** What an arrival link is good for. @param {{ token: string, device: string }} body */
  arrival(body) {
    return this.call("POST", "/v1/arrivals", { body, token: "" });
  }
}
