// One whole session of clients/js against a real server, with a cut in the middle. Reads its config from standard
// input, writes a line for each report and the result as JSON at the end.
import "fake-indexeddb/auto";

import { WebSocket } from "ws";

import { Api, Client, fixOf, memoryStorage, RequestRefused } from "../../../clients/js/index.js";
import { indexedPingStore } from "../../../clients/js/ping_store.js";

let text = "";
for await (const chunk of process.stdin) text += chunk;
const { hub_url: url, http_url, device, secret, city, lat, lng } = JSON.parse(text);

const api = new Api(http_url, { token: secret, device });
const sockets = [];
const openSocket = (address, subprotocol, listener) => {
  const socket = new WebSocket(address, [subprotocol]);
  sockets.push(socket);
  socket.onerror = () => {}; // Close follows; without a listener Node ends.
  socket.onopen = listener.onOpen;
  socket.onmessage = ({ data }) => listener.onFrame(String(data));
  socket.onclose = ({ code, reason }) => listener.onClose(code, reason);
  return { send: (frame) => socket.send(frame), close: (code) => socket.close(code) };
};
const credentials = async () => ({ ticket: (await api.ticket(device)).ticket });
const storage = { ...memoryStorage(device), pings: indexedPingStore(device) };
const client = new Client({ url, device, api, credentials, storage, openSocket, pages: null, crs: "wgs84" });

const passed = [];
let wake = () => {};
client.on("*", (event) => {
  passed.push(event);
  wake();
});

// The first event so far, or to come, that fits; each is given once.
async function next(type, fits = () => true) {
  for (;;) {
    const place = passed.findIndex((event) => event.type === type && fits(event));
    if (place >= 0) return passed.splice(place, 1)[0];
    await new Promise((resolve) => (wake = resolve));
  }
}

const result = {};
const coords = { latitude: lat, longitude: lng, accuracy: 8, speed: null, heading: null };
const ping = () => client.ping(fixOf({ timestamp: Date.now(), coords }));
await client.start();
result.user = (await next("welcomed")).user;
result.clock_off_s = Math.abs(client.serverNow() - Date.now() / 1000);
await client.duty(true, city);
result.unknown = await client.ask("horoscope").catch((error) => error instanceof RequestRefused && error.code);
ping();
result.verdicts = (await next("pingsJudged", ({ verdicts }) => verdicts.live)).verdicts;
console.log("on duty");
const offer = await next("offerReceived");
await client.accept(offer.offer);
result.order = (await next("orderChanged", ({ state }) => state === "assigned")).order;

sockets.at(-1).terminate(); // The network goes; what is said meanwhile is said again.
await next("disconnected");
ping();
const step = client.step(result.order, "en_route");
result.streams = (await next("welcomed")).body.streams;
await step;
await next("orderChanged", ({ state }) => state === "en_route");
while (client.pingsWaiting > 0) await next("pingsJudged");

const key = client.sos({ lat, lng, accuracy_m: 8, fixed_at: Date.now() / 1000 });
const ack = await next("sosAcked", (event) => event.key === key && event.durable);
result.durable = ack.durable;
result.incident = ack.incident;
await client.close();

// A second page of the device that reaches no hub: its SOS goes over HTTP.
const nowhere = { url: "ws://127.0.0.1:1", storage: memoryStorage(device), pages: null };
const away = new Client({ ...nowhere, device, api, credentials, openSocket });
const told = new Promise((resolve) => {
  away.on("sosProgress", ({ stage, incident }) => stage === "durable" && resolve(incident));
});
await away.start();
away.sos();
result.over_http = await told;
await away.close();
console.log(JSON.stringify(result));
process.exit(0);
