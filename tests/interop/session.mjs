// One whole session as any JavaScript client would hold it: hello, duty, ping, offer, accept, SOS.
// Runs in Node (with `ws`) and in a browser (with its own WebSocket). `report` tells the test how far it is.

export async function session(WebSocket, config, report) {
  const socket = new WebSocket(config.hub_url, ["doorstep.v1.json"]);
  const inbox = [];
  let wake = () => {};
  socket.onmessage = (event) => {
    inbox.push(JSON.parse(event.data));
    wake();
  };
  socket.onclose = (event) => {
    inbox.push({ type: "closed", code: event.code });
    wake();
  };
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error("cannot connect"));
  });
  const say = (body) => socket.send(JSON.stringify(body));

  // The next message that `wanted` accepts; every reliable message on the way is acknowledged at once.
  // What came while something else was waited for is kept: an `order` may overtake the `ok` that belongs to it.
  const passed = [];
  async function next(wanted) {
    const kept = passed.findIndex(wanted);
    if (kept >= 0) return passed.splice(kept, 1)[0];
    for (;;) {
      while (inbox.length > 0) {
        const body = inbox.shift();
        if (body.stream) say({ type: "ack", [body.stream]: body.seq });
        if (wanted(body)) return body;
        if (body.type === "closed" || (body.type === "error" && body.code !== "unknown_type")) {
          throw new Error(JSON.stringify(body));
        }
        passed.push(body);
      }
      await new Promise((resolve) => (wake = resolve));
    }
  }

  const result = { subprotocol: socket.protocol };
  say({ type: "hello", device: config.device, [config.secret_kind]: config.secret, crs: "wgs84" });
  const welcome = await next((m) => m.type === "welcome");
  result.user = welcome.user;

  say({ type: "duty", on: true, city: config.city, ref: "d" });
  await next((m) => m.type === "ok" && m.ref === "d");

  // A message type from the future is an error, not the end.
  say({ type: "horoscope" });
  result.unknown = (await next((m) => m.type === "error")).code;

  const now = Date.now() / 1000;
  say({ type: "ping", seq: 1, fixed_at: now, sent_at: now, lat: config.lat, lng: config.lng, accuracy_m: 8 });
  result.verdicts = (await next((m) => m.type === "ping_ack")).verdicts;

  await report("on duty");
  const offer = await next((m) => m.type === "offer");
  say({ type: "offer.accept", offer: offer.offer, ref: "a" });
  await next((m) => m.type === "ok" && m.ref === "a");
  const order = await next((m) => m.type === "order" && m.state === "assigned");
  result.order = order.order;

  say({ type: "sos", key: "tap-1", lat: config.lat, lng: config.lng, accuracy_m: 8, fixed_at: now, sent_at: now });
  const ack = await next((m) => m.type === "sos_ack");
  result.durable = ack.durable;
  result.incident = ack.incident;

  const closed = next((m) => m.type === "closed");
  socket.close(1000);
  result.closed = (await closed).code;
  return result;
}
