/** Doorstep's client for browsers. */
export const PROTOCOL = "doorstep.v1.json";
