/**
 * What a client tells its application: plain objects with a `type`. `body` is the frame as the server sent it.
 *
 * @typedef {import("./codec.js").Body} Body
 * @typedef {"received" | "durable" | "delivered" | "seen"} SosStage How far a tap has come. `durable`: it survives the
 *   end of the server; `delivered`: a device of somebody who can help has it; `seen`: a human has acknowledged it.
 * @typedef {"owned" | "other_tab" | "no_locks" | "taken_over"} LockState Who has the device: this page, another tab,
 *   nobody can say (no Web Locks), or another tab that took it from here.
 *
 * @typedef {{ type: "welcomed", session: string, user: string, role: string, restricted: boolean,
 *   body: Body }} Welcomed
 * @typedef {{ type: "disconnected", code: number, retryInS: number | null, reason: string }} Disconnected `retryInS` is
 *   null when the client will not come back by itself.
 * @typedef {{ type: "tokenNeeded", code: string }} TokenNeeded
 * @typedef {{ type: "signInNeeded", code: string, message: string }} SignInNeeded
 * @typedef {{ type: "stale", ageS: number, why: "wake" | "silence" }} Stale What is shown is so old.
 * @typedef {{ type: "fresh" }} Fresh The server speaks again.
 * @typedef {{ type: "lockChanged", lock: LockState }} LockChanged
 * @typedef {{ type: "storageFailed", what: "pings" | "sos", message: string }} StorageFailed
 * @typedef {{ type: "offerReceived", offer: string, order: string, remainingMs: number, expiresAt: number,
 *   body: Body }} OfferReceived
 * @typedef {{ type: "offerClosed", offer: string, reason: string, body: Body }} OfferClosed
 * @typedef {{ type: "orderChanged", order: string, state: string, body: Body }} OrderChanged
 * @typedef {{ type: "jobNews", order: string, what: string, body: Body }} JobNews
 * @typedef {{ type: "incidentRaised", incident: string, state: string, rings: boolean, body: Body }} IncidentRaised
 * @typedef {{ type: "incidentUpdated", incident: string, state: string, rings: boolean, body: Body }} IncidentUpdated
 * @typedef {{ type: "incidentContact", incident: string, lost: boolean, body: Body }} IncidentContact
 * @typedef {{ type: "checkinChanged", checkin: string, order: string, kind: string, state: string, body: Body }}
 *   CheckinChanged
 * @typedef {{ type: "drillChanged", drill: string, state: string, roundTripMs: number | null,
 *   body: Body }} DrillChanged
 * @typedef {{ type: "careNews", order: string, technician: string, what: string, body: Body }} CareNews
 * @typedef {{ type: "snapshotReceived", orders: any[], offers: any[], incidents: any[], checkins: any[],
 *   ordersLeftOut: number, incidentsLeftOut: number, body: Body }} SnapshotReceived
 * @typedef {{ type: "sosAcked", key: string, incident: string, durable: boolean, seen: boolean, delivered: number,
 *   body: Body }} SosAcked
 * @typedef {{ type: "sosProgress", key: string, incident: string, stage: SosStage }} SosProgress
 * @typedef {{ type: "sosNotReceived", key: string, tappedAt: number }} SosNotReceived
 * @typedef {{ type: "pingsJudged", seq: number, verdicts: Record<string, number>, storedSeq: number,
 *   corrected: Record<string, number> }} PingsJudged
 * @typedef {{ type: "pingsDropped", count: number }} PingsDropped
 * @typedef {{ type: "policyChanged", intervalS: number, minDistanceM: number, accuracy: string, reason: string }}
 *   PolicyChanged
 * @typedef {{ type: "positionReceived", topic: string, body: Body }} PositionReceived
 * @typedef {{ type: "areaReceived", topic: string, body: Body }} AreaReceived
 * @typedef {{ type: "unwatched", topic: string, reason: string }} Unwatched
 * @typedef {{ type: "requestDone", ref: string, request: string, result: Record<string, any> }} RequestDone
 * @typedef {{ type: "requestFailed", ref: string, request: string, code: string, message: string, retry: boolean,
 *   field: string, facts: Record<string, any> }} RequestFailed
 * @typedef {{ type: "serverError", code: string, message: string, body: Body }} ServerError
 * @typedef {{ type: "protocolFault", message: string }} ProtocolFault
 * @typedef {{ type: "unknownMessage", name: string, body: Body }} UnknownMessage
 *
 * @typedef {Welcomed | Disconnected | TokenNeeded | SignInNeeded | Stale | Fresh | LockChanged | StorageFailed
 *   | OfferReceived | OfferClosed | OrderChanged | JobNews | IncidentRaised | IncidentUpdated | IncidentContact
 *   | CheckinChanged | DrillChanged | CareNews | SnapshotReceived | SosAcked | SosProgress | SosNotReceived
 *   | PingsJudged | PingsDropped | PolicyChanged | PositionReceived | AreaReceived | Unwatched | RequestDone
 *   | RequestFailed | ServerError | ProtocolFault | UnknownMessage} ClientEvent
 * @typedef {ClientEvent["type"]} EventType
 */

/**
 * @template {EventType | "*"} T
 * @typedef {T extends "*" ? ClientEvent : Extract<ClientEvent, { type: T }>} EventOf
 */

/** Who listens to which event. A listener that throws is reported and disturbs nobody else. */
export class Listeners {
  /** @type {Map<string, Set<(event: any) => void>>} */
  #byType = new Map();

  /**
   * @template {EventType | "*"} T
   * @param {T} type Or `*` for every event.
   * @param {(event: EventOf<T>) => void} listener
   * @returns {() => void} Ends it.
   */
  on(type, listener) {
    const those = this.#byType.get(type) ?? new Set();
    this.#byType.set(type, those.add(listener));
    return () => void those.delete(listener);
  }

  /** @param {ClientEvent} event */
  tell(event) {
    for (const type of [event.type, "*"]) {
      for (const listener of [...(this.#byType.get(type) ?? [])]) {
        try {
          listener(event);
        } catch (error) {
          reportError(error);
        }
      }
    }
  }
}

/** An error of the application's own code: shown where its others are. @param {unknown} error */
function reportError(error) {
  if (typeof globalThis.reportError === "function") globalThis.reportError(error);
  else console.error(error);
}
