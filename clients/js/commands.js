/** What people say who handle an incident, one method for each `incident.…` of the wire. */

/**
 * @template T
 * @typedef {(kind: string, fields: Record<string, any>) => T} Ask What is done with a request: of the core a ref, of
 *   the client a promise of its result.
 */

/** @template T */
export class IncidentCommands {
  #ask;

  /** @param {Ask<T>} ask */
  constructor(ask) {
    this.#ask = ask;
  }

  /** I have seen it and own it. @param {string} incident */
  acknowledge(incident) {
    return this.#ask("incident.ack", { incident });
  }

  /** Tell me all that becomes of it; another owns it. @param {string} incident */
  join(incident) {
    return this.#ask("incident.join", { incident });
  }

  /**
   * What was done or learnt; of a call with whom and what came of it, both or neither.
   *
   * @param {string} incident
   * @param {string} [text]
   * @param {{ callTo?: string, outcome?: string }} [call]
   */
  note(incident, text = "", { callTo, outcome } = {}) {
    return this.#ask("incident.note", { incident, text, ...known({ call_to: callTo, outcome }) });
  }

  /**
   * I go there.
   *
   * @param {string} incident
   * @param {number} [fence] Of the `asked` that this answers; the result has that of the grant.
   */
  respond(incident, fence) {
    return this.#ask("incident.respond", { incident, ...known({ fence }) });
  }

  /** I cannot go there, or not go on. @param {string} incident */
  decline(incident) {
    return this.#ask("incident.decline", { incident });
  }

  /**
   * Ops: send somebody there.
   *
   * @param {string} incident
   * @param {string} responder
   */
  assign(incident, responder) {
    return this.#ask("incident.assign", { incident, responder });
  }

  /**
   * I am there; or ops say it of `responder`.
   *
   * @param {string} incident
   * @param {{ fence?: number, responder?: string }} [of]
   */
  onScene(incident, { fence, responder } = {}) {
    return this.#ask("incident.on_scene", { incident, ...known({ fence, responder }) });
  }

  /**
   * It is over; of a responder a proposal.
   *
   * @param {string} incident
   * @param {string} disposition
   * @param {string} [note]
   */
  resolve(incident, disposition, note = "") {
    return this.#ask("incident.resolve", { incident, disposition, note });
  }

  /**
   * It is not over, or not safe.
   *
   * @param {string} incident
   * @param {string} [note]
   */
  reopen(incident, note = "") {
    return this.#ask("incident.reopen", { incident, note });
  }

  /**
   * What was resolved is reviewed: nothing is changed any more.
   *
   * @param {string} incident
   * @param {string} [note]
   */
  close(incident, note = "") {
    return this.#ask("incident.close", { incident, note });
  }
}

/** @param {Record<string, any>} fields */
function known(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
