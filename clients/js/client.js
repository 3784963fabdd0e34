/**
 * One device that stays connected: the core (`protocol.js`) over real sockets, storage and clocks.
 *
 * Reconnects by itself, with jitter, and resumes. Everything it tells comes by `on`; `README.md` has an example.
 */

import { Answers } from "./answers.js";
import { SteadyClock } from "./clock.js";
import { IncidentCommands } from "./commands.js";
import { Listeners } from "./events.js";
import { Keeper } from "./keeper.js";
import { Link } from "./link.js";
import { browserSignals, isPageHidden } from "./page_signals.js";
import { ClientProtocol } from "./protocol.js";
import { secureRandom } from "./random.js";
import { browserSocket } from "./socket.js";
import { SosOverHttp } from "./sos_http.js";
import { browserStorage } from "./storage.js";

/** @typedef {import("./events.js").ClientEvent} ClientEvent */
/** @typedef {import("./events.js").LockState} LockState */

/**
 * @typedef {object} ClientOptions
 * @property {string} url `ws://` or `wss://` address of the hub, `hub_url` of `/config.json`.
 * @property {string} device Stable name of this installation, at most 64 characters.
 * @property {import("./link.js").Credentials} credentials Asked for a ticket or token before each connection. An error
 *   with `isFinal` ends the attempts until `reconnect` (`signInNeeded`); any other is tried again.
 * @property {import("./api.js").Api} [api] With it an SOS goes over HTTP too.
 * @property {import("./storage.js").ClientStorage} [storage]
 * @property {import("./socket.js").OpenSocket} [openSocket]
 * @property {import("./page_signals.js").PageSignals | null} [pages] Null for none.
 * @property {"wgs84" | "gcj02" | "bd09"} [crs] Of this device's positions and of those it wants back.
 * @property {string} [app]
 * @property {Partial<import("./settings.js").ClientSettings>} [settings]
 * @property {SteadyClock} [clock]
 * @property {() => number} [rng]
 */

export class Client {
  #protocol;
  #clock;
  #storage;
  #listeners = new Listeners();
  #answers = new Answers();
  #keeper;
  #link;
  #api;
  #pages;
  #endPages = () => {};
  #pingsDropped = 0;
  /** Whether this page is the device; `other_tab` until `start` knows better. @type {LockState} */
  lock = "other_tab";
  /** The last `welcome`; null while there is no session. @type {import("./codec.js").Body | null} */
  welcome = null;
  /** What its user says who handles an incident. */
  handleIncident;

  /** @param {ClientOptions} options */
  constructor(options) {
    const { device, api, clock = new SteadyClock(), openSocket = browserSocket } = options;
    this.#clock = clock;
    this.#api = api;
    this.#pages = options.pages === undefined ? browserSignals : options.pages;
    this.#storage = options.storage ?? browserStorage(device);
    this.#protocol = new ClientProtocol({
      device,
      hasHttp: api !== undefined,
      phoneClock: () => clock.wall(),
      rng: options.rng ?? secureRandom,
      settings: options.settings ?? {},
      ...(options.crs && { crs: options.crs }),
      ...(options.app && { app: options.app }),
    });
    this.#keeper = new Keeper(this.#protocol, this.#storage, () => clock.now(), (event) => this.#tell([event]));
    const sosOverHttp = new SosOverHttp(api, (body) => this.#answeredOverHttp(body));
    this.#link = new Link({
      protocol: this.#protocol,
      clock,
      openSocket,
      url: options.url,
      credentials: options.credentials,
      tell: (events) => this.#tell(events),
      isHidden: isPageHidden,
      beforeSleep: (now) => {
        sosOverHttp.send(this.#protocol.sosOverHttp(now));
        this.#keep();
      },
    });
    this.handleIncident = new IncidentCommands((kind, fields) => this.ask(kind, fields));
  }

  // -- life -----------------------------------------------------------------------------------------

  /** Read the storage, take the device's lock and begin to connect. Returns before the welcome. */
  async start() {
    this.#keeper.readTaps();
    this.#link.pump();
    this.#endPages = this.#pages?.(() => this.wake()) ?? (() => {});
    await this.#locked(await this.#storage.lock.acquire((lock) => void this.#locked(lock)));
  }

  /** Take the device from another tab, which ends with the lock `taken_over`. */
  async takeOver() {
    await this.#locked(await this.#storage.lock.takeOver());
  }

  /** @param {LockState} lock */
  async #locked(lock) {
    if (this.#protocol.state === "ended" && lock === "other_tab") return;
    this.lock = lock;
    this.#tell([{ type: "lockChanged", lock }]);
    if (lock === "owned" || lock === "no_locks") {
      await this.#keeper.openPings();
      if (this.lock === lock) this.#link.allow(true);
    } else {
      this.#link.allow(false);
      if (lock === "taken_over") this.#keeper.letGo();
    }
  }

  /** Say what is queued, close, let go of the device. Idempotent. */
  async close() {
    this.#endPages();
    this.#link.stop();
    this.#answers.close();
    await this.#keeper.keepPings();
    this.#storage.pings?.close();
    this.#storage.lock.release();
  }

  /** The page was shown again or the network is back: tell how old things are, and look at the connection at once. */
  wake() {
    this.#link.wake();
  }

  /** Connect now: after `signInNeeded`, after the server said not to come back, or because somebody cannot wait. */
  reconnect() {
    this.#link.reconnect();
  }

  /**
   * Use a newer token in the running session.
   *
   * @param {string} token
   */
  renew(token) {
    this.#protocol.renew(token, this.now());
    this.#link.pump();
  }

  /**
   * @template {import("./events.js").EventType | "*"} T
   * @param {T} type Or `*` for every event.
   * @param {(event: import("./events.js").EventOf<T>) => void} listener
   * @returns {() => void} Ends it.
   */
  on(type, listener) {
    return this.#listeners.on(type, listener);
  }

  // -- what it knows --------------------------------------------------------------------------------

  get state() {
    return this.#protocol.state;
  }

  /** UTC epoch seconds that never step. */
  now() {
    return this.#clock.now();
  }

  /** UTC epoch seconds by the server's clock, for countdowns. */
  serverNow() {
    return this.now() + this.#protocol.serverClock.offsetS;
  }

  /** Seconds to add to `now`, and how far that may be wrong. */
  get serverClock() {
    const { offsetS, errorS } = this.#protocol.serverClock;
    return { offsetS, errorS };
  }

  /** Seconds since the server was last heard; Infinity for never. */
  get ageS() {
    const { heardAt } = this.#protocol;
    return heardAt === null ? Infinity : this.now() - heardAt;
  }

  /** Pings not yet stored by the server. */
  get pingsWaiting() {
    return this.#protocol.pings.waiting;
  }

  /** Pings lost because the buffer was full, also of earlier pages. */
  get pingsDropped() {
    return this.#protocol.pings.dropped;
  }

  get incidents() {
    return this.#protocol.incidents;
  }

  /** The taps of late, for a page that draws them anew. */
  sosCalls() {
    return this.#protocol.sos.shown();
  }

  // -- what the application says --------------------------------------------------------------------

  /**
   * Report a position; kept until the server has stored it.
   *
   * @param {import("./ping_buffer.js").Fix} fix
   * @returns {number} Its number, for now: what is pinged before `start` is done is numbered behind what was kept.
   */
  ping(fix) {
    const seq = this.#protocol.sendPing(fix, this.now());
    this.#link.pump();
    return seq;
  }

  /**
   * Send a request and wait for its result.
   *
   * @param {string} kind
   * @param {Record<string, any>} [fields]
   * @throws {import("./answers.js").RequestRefused}
   */
  ask(kind, fields = {}) {
    return this.#answer(this.#protocol.request(kind, fields, this.now()));
  }

  /** @param {string} ref */
  #answer(ref) {
    const answer = this.#answers.of(ref);
    this.#link.pump();
    return answer;
  }

  /**
   * Go on or off duty.
   *
   * @param {boolean} on
   * @param {string} [city]
   */
  duty(on, city) {
    return this.#answer(this.#protocol.duty(on, this.now(), city));
  }

  /** Take the order of an offer. @param {string} offer */
  accept(offer) {
    return this.ask("offer.accept", { offer });
  }

  /**
   * Refuse an offer.
   *
   * @param {string} offer
   * @param {string} [reason]
   */
  decline(offer, reason = "") {
    return this.ask("offer.decline", { offer, reason });
  }

  /**
   * Report the job's next step, or `no_show`.
   *
   * @param {string} order
   * @param {string} step
   * @param {string} [evidence] A photo's reference (`photo:…`) or a note.
   */
  step(order, step, evidence) {
    return this.ask("job.step", evidence === undefined ? { order, step } : { order, step, evidence });
  }

  /**
   * Receive a topic's positions until `unwatch`; of an area that is watched already, for another viewport.
   *
   * @param {string} topic
   * @param {{ bbox?: [west: number, south: number, east: number, north: number], cells?: string[] }} [fields]
   */
  watch(topic, fields = {}) {
    return this.#answer(this.#protocol.watch(topic, fields, this.now()));
  }

  /** @param {string} topic */
  unwatch(topic) {
    return this.#answer(this.#protocol.unwatch(topic, this.now()));
  }

  /** @param {string} order */
  watchOrder(order) {
    return this.watch(`order:${order}`);
  }

  /** @param {string} technician */
  watchTechnician(technician) {
    return this.watch(`technician:${technician}`);
  }

  /** @param {string} incident */
  watchIncident(incident) {
    return this.watch(`incident:${incident}`);
  }

  /**
   * @param {string} city
   * @param {Parameters<Client["watch"]>[1]} viewport
   */
  watchArea(city, viewport) {
    return this.watch(`area:${city}`, viewport);
  }

  /**
   * Answer a check; repeated until it is answered, however long that takes.
   *
   * @param {string} checkin
   * @param {"ok" | "help" | "no"} answer
   */
  answerCheckin(checkin, answer) {
    return this.ask("checkin.answer", { checkin, answer });
  }

  /** Try the alarm; milliseconds from its arrival at the server to the disk. */
  async tapDrill() {
    return Number((await this.ask("drill.tap")).round_trip_ms);
  }

  // -- calling for help -----------------------------------------------------------------------------

  /**
   * Call for help: it leaves before this returns, and is repeated until it is stored, also by the next page. Events
   * tell how far it has come.
   *
   * @param {Record<string, any>} [fields] lat, lng, accuracy_m, fixed_at, order, silent, battery, note, as on the wire.
   * @returns {string} The key of this tap.
   */
  sos(fields = {}) {
    const key = this.#protocol.sendSos(this.now(), fields);
    this.#link.pump();
    this.#keeper.keepTaps();
    return key;
  }

  /**
   * Take one's alarm back. It ends nothing by itself: somebody asks whether it is true. A tap that nobody has received
   * yet is taken back once it was.
   *
   * @param {string} key
   * @param {string} pin
   */
  async abortSos(key, pin) {
    const incident = await this.#incidentOf(key);
    if (this.state === "ready" || this.#api === undefined) return this.ask("sos.cancel", { incident, pin });
    return this.#api.cancelSos(incident, pin);
  }

  /**
   * @param {string} key
   * @returns {Promise<string>}
   */
  async #incidentOf(key) {
    const known = this.sosCalls().find((call) => call.key === key)?.incident;
    if (known) return known;
    return new Promise((resolve) => {
      const end = this.on("sosAcked", (event) => {
        if (event.key !== key) return;
        end();
        resolve(event.incident);
      });
    });
  }

  /** @param {import("./codec.js").Body} body */
  #answeredOverHttp(body) {
    this.#tell(this.#protocol.sosAnswered(body));
    this.#link.pump();
  }

  // -- events ---------------------------------------------------------------------------------------

  /** @param {ClientEvent[]} events */
  #tell(events) {
    for (const event of events) {
      if (event.type === "welcomed") this.welcome = event.body;
      else if (event.type === "disconnected") this.welcome = null;
      this.#answers.settle(event);
      this.#listeners.tell(event);
    }
  }

  #keep() {
    this.#keeper.keepTaps();
    void this.#keeper.keepPings().then((isWritten) => isWritten && this.#link.pump());
    if (this.pingsDropped === this.#pingsDropped) return;
    this.#pingsDropped = this.pingsDropped;
    this.#tell([{ type: "pingsDropped", count: this.#pingsDropped }]);
  }
}
