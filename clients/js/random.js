/** Uniform in [0, 1), unguessable where the platform has that: keys of taps are made of it. */
export function secureRandom() {
  if (globalThis.crypto?.getRandomValues === undefined) return Math.random();
  return (globalThis.crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) / 2 ** 32;
}
