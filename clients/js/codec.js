/** Frames to objects and back, in JSON. */

export const SUBPROTOCOL = "doorstep.v1.json";

/** @typedef {Record<string, any> & { type: string }} Body One frame as it stands on the wire. */

/** The server sent something that is not one object with a `type`, or broke the order of a stream. */
export class BadFrame extends Error {
  /** @override */
  name = "BadFrame";
}

/**
 * @param {Body} message
 * @returns {string}
 */
export function encode(message) {
  return JSON.stringify(message);
}

/**
 * @param {string} frame
 * @returns {Body}
 * @throws {BadFrame} Not an object, or without a `type`.
 */
export function decode(frame) {
  let message;
  try {
    message = JSON.parse(frame);
  } catch (error) {
    throw new BadFrame(`cannot decode: ${String(error).slice(0, 120)}`);
  }
  if (message === null || typeof message !== "object" || Array.isArray(message) || typeof message.type !== "string") {
    throw new BadFrame("not an object with a type");
  }
  return message;
}

/**
 * A field that a message of this type must have.
 *
 * @param {Body} body
 * @param {string} name
 * @returns {any}
 * @throws {BadFrame} It is missing.
 */
export function need(body, name) {
  if (body[name] === undefined) throw new BadFrame(`${body.type} without ${name}`);
  return body[name];
}
