/** When a page is worth looking at again: it is shown, comes out of the back-forward cache, or has a network. */

/** @typedef {(wake: (why: string) => void) => () => void} PageSignals Starts to listen; what it returns ends it. */

/** @type {PageSignals} */
export function browserSignals(wake) {
  const ending = new AbortController();
  const { signal } = ending;
  if (typeof document !== "undefined") {
    const look = () => document.visibilityState === "visible" && wake("shown");
    document.addEventListener("visibilitychange", look, { signal });
    document.addEventListener("resume", () => wake("resumed"), { signal }); // Page Lifecycle: unfrozen.
  }
  if (typeof addEventListener === "function") {
    addEventListener("online", () => wake("online"), { signal });
    addEventListener("pageshow", ({ persisted }) => persisted && wake("pageshow"), { signal });
  }
  return () => ending.abort();
}
