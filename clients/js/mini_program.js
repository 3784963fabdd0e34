/** Sockets, storage and HTTP of WeChat mini-programs, from their `wx` object (others have the same calls). */

import { keyValueStorage } from "./storage.js";

/** @typedef {Record<string, (...args: any[]) => any>} MiniProgram The parts of `wx` that are called here. */

/**
 * @param {MiniProgram} wx
 * @returns {import("./socket.js").OpenSocket}
 */
export function miniProgramSocket(wx) {
  return (url, subprotocol, listener) => {
    const task = call(wx, "connectSocket", { url, protocols: [subprotocol] });
    let isClosed = false;
    const closed = (/** @type {number} */ code, /** @type {string} */ reason) => {
      if (!isClosed) listener.onClose(code, reason);
      isClosed = true;
    };
    task.onOpen(listener.onOpen);
    task.onMessage((/** @type {{ data: unknown }} */ { data }) => listener.onFrame(String(data)));
    task.onClose((/** @type {{ code?: number, reason?: string }} */ { code, reason }) => {
      closed(code ?? 1006, reason ?? "");
    });
    task.onError((/** @type {{ errMsg?: string }} */ { errMsg }) => closed(1006, errMsg ?? ""));
    return { send: (data) => task.send({ data }), close: (code) => task.close({ code }) };
  };
}

/**
 * Pings and taps in the mini-program's storage: 10 MB in all, 1 MB a name.
 *
 * @param {MiniProgram} wx
 * @param {string} device
 */
export function miniProgramStorage(wx, device) {
  return keyValueStorage(
    {
      get: (name) => call(wx, "getStorageSync", name) || null,
      set: (name, value) => call(wx, "setStorageSync", name, value),
      remove: (name) => call(wx, "removeStorageSync", name),
      names: () => call(wx, "getStorageInfoSync").keys,
    },
    device,
  );
}

/**
 * What `Api` needs of `fetch`.
 *
 * @param {MiniProgram} wx
 * @returns {import("./http.js").Fetch}
 */
export function miniProgramFetch(wx) {
  return (url, { method, headers, body }) =>
    new Promise((resolve, reject) => {
      call(wx, "request", {
        url,
        method,
        header: headers,
        data: body,
        dataType: "text",
        success: (/** @type {{ statusCode: number, data: string, header: Record<string, string> }} */ answer) => {
          const names = Object.entries(answer.header).map(([name, value]) => [name.toLowerCase(), value]);
          const header = new Map(/** @type {[string, string][]} */ (names));
          resolve({
            status: answer.statusCode,
            headers: { get: (name) => header.get(name.toLowerCase()) ?? null },
            text: async () => String(answer.data),
          });
        },
        fail: (/** @type {{ errMsg: string }} */ { errMsg }) => reject(new Error(errMsg)),
      });
    });
}

/**
 * When the mini-program is shown again, or its network changes.
 *
 * @param {MiniProgram} wx
 * @returns {import("./page_signals.js").PageSignals}
 */
export function miniProgramSignals(wx) {
  return (wake) => {
    const shown = () => wake();
    const online = (/** @type {{ isConnected: boolean }} */ { isConnected }) => isConnected && wake();
    call(wx, "onAppShow", shown);
    call(wx, "onNetworkStatusChange", online);
    return () => {
      call(wx, "offAppShow", shown);
      call(wx, "offNetworkStatusChange", online);
    };
  };
}

/**
 * @param {MiniProgram} wx
 * @param {string} name
 * @param {any[]} args
 */
function call(wx, name, ...args) {
  const method = wx[name];
  if (method === undefined) throw new TypeError(`this mini-program has no wx.${name}`);
  return method.apply(wx, args);
}
