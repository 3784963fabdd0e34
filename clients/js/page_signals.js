/** When a page is worth looking at again: it is shown, comes out of the back-forward cache, or has a network. */

/** @typedef {(wake: () => void) => () => void} PageSignals Starts to listen; what it returns ends it. */

/** @type {PageSignals} */
export function browserSignals(wake) {
  const ending = new AbortController();
  const { signal } = ending;
  if (typeof document !== "undefined") {
    const look = () => document.visibilityState === "visible" && wake();
    document.addEventListener("visibilitychange", look, { signal });
    document.addEventListener("resume", () => wake(), { signal }); // Page Lifecycle: unfrozen.
  }
  if (typeof addEventListener === "function") {
    addEventListener("online", () => wake(), { signal });
    addEventListener("pageshow", ({ persisted }) => persisted && wake(), { signal });
  }
  return () => ending.abort();
}

/** Whether nobody sees this page, so that its timers may be slowed down. */
export function isPageHidden() {
  return typeof document !== "undefined" && document.visibilityState === "hidden";
}
