/** Writes what must outlive the page: taps at once, pings one transaction after the other. */

/** Pause after a write that failed: a full disk must not be asked with every ping. */
const AGAIN_S = 5;

/** Between the core and its storage. */
export class Keeper {
  #protocol;
  #storage;
  #now;
  #tell;
  #keptRevision = 0;
  #isReading = false;
  #isOpen = false;
  #isWriting = false;
  #pingsFrom = -Infinity;
  #tapsFrom = -Infinity;

  /**
   * @param {import("./protocol.js").ClientProtocol} protocol
   * @param {import("./storage.js").ClientStorage} storage
   * @param {() => number} now
   * @param {(event: import("./events.js").ClientEvent) => void} tell
   */
  constructor(protocol, storage, now, tell) {
    this.#protocol = protocol;
    this.#storage = storage;
    this.#now = now;
    this.#tell = tell;
  }

  /** Take up the taps of earlier pages. They are not bound to the lock: two senders of one key are one SOS. */
  readTaps() {
    try {
      this.#protocol.sos.restore(this.#storage.outbox.read(), this.#now());
      this.#keptRevision = -1; // What was tapped before this is not written yet.
      this.keepTaps();
    } catch (error) {
      this.#failed("sos", error);
    }
  }

  /** Write the taps when the storage is behind. */
  keepTaps() {
    const { sos } = this.#protocol;
    if (this.#keptRevision === sos.revision || this.#now() < this.#tapsFrom) return;
    try {
      this.#storage.outbox.write(sos.kept());
      this.#keptRevision = sos.revision;
    } catch (error) {
      this.#tapsFrom = this.#now() + AGAIN_S;
      this.#failed("sos", error);
    }
  }

  /** Take up the pings of an earlier page; only whoever has the device does. */
  async openPings() {
    const store = this.#storage.pings;
    if (store === null || this.#isOpen || this.#isReading) return;
    this.#isReading = true;
    try {
      this.#protocol.pings.restore(await store.read(), this.#now());
      this.#isOpen = true;
    } catch (error) {
      this.#failed("pings", error); // What lies there is left alone; this page keeps its own in memory.
    } finally {
      this.#isReading = false;
    }
  }

  /**
   * Write the pings when the storage is behind.
   *
   * @returns {Promise<boolean>} Whether anything was written, so that pings may leave.
   */
  async keepPings() {
    const store = this.#storage.pings;
    if (store === null || !this.#isOpen || this.#isWriting || this.#now() < this.#pingsFrom) return false;
    const { pings } = this.#protocol;
    this.#isWriting = true;
    let isWritten = false;
    try {
      for (let changes = pings.takeChanges(); changes !== null && this.#isOpen; changes = pings.takeChanges()) {
        await store.write(changes);
        if (this.#isOpen) pings.kept(changes.nextSeq);
        isWritten = true;
      }
    } catch (error) {
      pings.notKept();
      this.#pingsFrom = this.#now() + AGAIN_S;
      this.#failed("pings", error);
      isWritten = true;
    } finally {
      this.#isWriting = false;
    }
    return isWritten;
  }

  /** Another tab has the device: what lies in the store is its own now. */
  letGo() {
    this.#isOpen = false;
    this.#protocol.pings.letGo();
    this.#storage.pings?.close();
  }

  /**
   * @param {"pings" | "sos"} what
   * @param {unknown} error
   */
  #failed(what, error) {
    this.#tell({ type: "storageFailed", what, message: String(error).slice(0, 200) });
  }
}
