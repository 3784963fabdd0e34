import assert from "node:assert/strict";
import { test } from "node:test";

import { Api, ApiError, miniProgramFetch, miniProgramSocket } from "../../../clients/js/index.js";

const answer = (status, body, headers = {}) => {
  const all = { "content-type": status < 400 ? "application/json" : "application/problem+json", ...headers };
  const get = (name) => all[name.toLowerCase()] ?? null;
  return { status, headers: { get }, text: async () => JSON.stringify(body) };
};

test("a call carries token, device and query, and returns the body", async () => {
  const asked = [];
  const fetch = async (url, request) => (asked.push([url, request]), answer(200, { orders: [] }));
  const api = new Api("https://host/", { token: async () => "jwt", device: "phone", fetch });
  assert.deepEqual(await api.orders({ limit: 5, after: undefined }), { orders: [] });
  const [[url, { headers }]] = asked;
  assert.equal(url, "https://host/v1/orders?limit=5");
  assert.deepEqual([headers["Authorization"], headers["Doorstep-Device"]], ["Bearer jwt", "phone"]);
});

test("an id cannot leave its place in the path", async () => {
  const asked = [];
  const fetch = async (url) => (asked.push(url), answer(200, {}));
  await new Api("", { fetch }).order("../incidents?x=1");
  assert.deepEqual(asked, ["/v1/orders/..%2Fincidents%3Fx%3D1"]);
});

test("a problem is an error with code, field and advice", async () => {
  const problem = { code: "fee_changed", field: "fee_fen_max", detail: "more now", retry: true, facts: { fee_fen: 5 } };
  const api = new Api("", { fetch: async () => answer(409, problem, { "retry-after": "3" }) });
  await assert.rejects(api.cancelOrder("ord_1"), (error) => {
    assert.ok(error instanceof ApiError);
    const { status, code, field, retry, retryAfterS, facts, isFinal } = error;
    assert.deepEqual([status, code, field, facts], [409, "fee_changed", "fee_fen_max", { fee_fen: 5 }]);
    assert.deepEqual([retry, retryAfterS, isFinal], [true, 3, false]);
    return true;
  });
});

test("an expired token is renewed once", async () => {
  const tokens = [];
  const fetch = async (url, { headers }) => {
    tokens.push(headers["Authorization"]);
    return headers["Authorization"] === "Bearer new" ? answer(200, {}) : answer(401, { code: "token_expired" });
  };
  await new Api("", { token: "old", fetch, renew: async () => "new" }).order("ord_1");
  assert.deepEqual(tokens, ["Bearer old", "Bearer new"]);
  const refused = new Api("", { token: "old", fetch, renew: async () => "bad" });
  await assert.rejects(refused.order("ord_1"), { code: "token_expired" });
});

test("no network and no answer are errors that may be tried again", async () => {
  const down = new Api("", { fetch: async () => { throw new TypeError("failed to fetch"); } });
  await assert.rejects(down.config(), { status: 0, code: "network", retry: true });
  const slow = new Api("", { fetch: () => new Promise(() => {}), timeoutS: 0.01 });
  await assert.rejects(slow.config(), { status: 0, code: "timeout", retry: true });
});

test("a mini-program's socket and requests are those of the browser", async () => {
  const heard = [];
  const handlers = {};
  const names = ["onOpen", "onMessage", "onClose", "onError"];
  const task = Object.fromEntries(names.map((name) => [name, (handler) => (handlers[name] = handler)]));
  const sent = [];
  const wx = {
    connectSocket({ protocols }) {
      heard.push(protocols);
      return { ...task, send: ({ data }) => sent.push(data), close() {} };
    },
    request({ success }) {
      success({ statusCode: 200, data: '{"a": 1}', header: { "Content-Type": "application/json" } });
    },
  };
  const socket = miniProgramSocket(wx)("wss://hub", "doorstep.v1.json", {
    onOpen: () => heard.push("open"),
    onFrame: (frame) => heard.push(frame),
    onClose: (code) => heard.push(code),
  });
  handlers.onOpen();
  handlers.onMessage({ data: "{}" });
  socket.send("x");
  handlers.onError({ errMsg: "gone" });
  handlers.onClose({ code: 1006 });
  assert.deepEqual(heard, [["doorstep.v1.json"], "open", "{}", 1006]);
  assert.deepEqual(sent, ["x"]);
  assert.deepEqual(await new Api("", { fetch: miniProgramFetch(wx) }).config(), { a: 1 });
});
