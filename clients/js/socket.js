/** What a client needs of a WebSocket, and the browser's own behind it. */

/**
 * @typedef {object} SocketListener
 * @property {() => void} onOpen
 * @property {(frame: string) => void} onFrame
 * @property {(code: number, reason: string) => void} onClose Once, also when it could not be opened.
 */

/** @typedef {{ send: (frame: string) => void, close: (code: number) => void }} Socket */
/** @typedef {(url: string, subprotocol: string, listener: SocketListener) => Socket} OpenSocket */

/** @type {OpenSocket} */
export function browserSocket(url, subprotocol, listener) {
  const socket = new WebSocket(url, [subprotocol]);
  socket.onopen = listener.onOpen;
  socket.onmessage = ({ data }) => listener.onFrame(String(data));
  socket.onclose = ({ code, reason }) => listener.onClose(code, reason);
  return { send: (frame) => socket.send(frame), close: (code) => socket.close(code) };
}
