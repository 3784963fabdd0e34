/** How patient and how careful a client is. Defaults suit a phone on a mobile network. */

/**
 * Time limits and bounds of one client. All durations in seconds.
 *
 * @typedef {object} ClientSettings
 * @property {number} welcomeTimeoutS A connection without `welcome` by then is dropped.
 * @property {number} silenceHeartbeats Heartbeat intervals of silence after which the server counts as gone.
 * @property {number} reconnectBaseS First upper bound of the full-jitter back-off; it doubles with each failure.
 * @property {number} reconnectMaxS Largest upper bound of the back-off.
 * @property {number} steadyAfterS A session that lived this long resets the back-off.
 * @property {number} staleAfterS What is shown counts as stale when the server was not heard for so long.
 * @property {number} probeS After waking, a connection on which nothing comes for so long is dropped.
 * @property {number} wakeJitterS Largest wait before coming back after waking: not all phones of a city at once.
 * @property {number} sosRetryS First wait before an SOS that is not stored is sent again; it doubles.
 * @property {number} sosRetryMaxS Largest wait between two sends of an SOS.
 * @property {number} sosHttpAfterS A tap without any answer on the hub by then also goes over HTTP.
 * @property {number} sosNotReceivedS A tap without any answer by then is told to the application, once.
 * @property {number} sosKeysKept Taps remembered after they were stored, for a server restored from before them.
 * @property {number} sosKeepS Seconds since a tap for which it is remembered so.
 * @property {number} requestTimeoutS A request without an answer by then, while connected, ends with `timeout`.
 * @property {number} answerRetryS An answer to a check that nobody confirmed by then is sent again, without end.
 * @property {number} pingResendS A sent ping not stored by then is sent again (the server drops what it has).
 * @property {number} pingBufferMax Pings kept while offline; beyond it the oldest are dropped and counted.
 * @property {number} pingBatchMax Rows in one `pings` frame (the server may ask for fewer).
 */

/** @type {Readonly<ClientSettings>} */
export const DEFAULTS = Object.freeze({
  welcomeTimeoutS: 10,
  silenceHeartbeats: 3,
  reconnectBaseS: 0.5,
  reconnectMaxS: 30,
  steadyAfterS: 10,
  staleAfterS: 10,
  probeS: 1,
  wakeJitterS: 0.25,
  sosRetryS: 2,
  sosRetryMaxS: 10,
  sosHttpAfterS: 2,
  sosNotReceivedS: 5,
  sosKeysKept: 20,
  sosKeepS: 86_400,
  requestTimeoutS: 30,
  answerRetryS: 5,
  pingResendS: 20,
  pingBufferMax: 20_000,
  pingBatchMax: 512,
});

/** @type {Readonly<Record<string, [least: number, most: number]>>} */
const COUNTS = Object.freeze({ sosKeysKept: [0, 1_000], pingBufferMax: [1, 1_000_000], pingBatchMax: [1, 512] });

/**
 * The defaults with some changed.
 *
 * @param {Partial<ClientSettings>} [changed]
 * @returns {Readonly<ClientSettings>}
 * @throws {RangeError} A value is out of range, or no setting has that name.
 */
export function settingsOf(changed = {}) {
  for (const [name, value] of Object.entries(changed)) {
    if (!(name in DEFAULTS)) throw new RangeError(`there is no setting ${name}`);
    const [least, most] = COUNTS[name] ?? [0, 86_400];
    if (!(typeof value === "number" && value >= least && value <= most)) {
      throw new RangeError(`${name} must be between ${least} and ${most}, is ${value}`);
    }
  }
  const settings = { ...DEFAULTS, ...changed };
  if (settings.pingBufferMax < settings.pingBatchMax) {
    throw new RangeError(`pingBufferMax must be at least ${settings.pingBatchMax}, is ${settings.pingBufferMax}`);
  }
  return Object.freeze(settings);
}
