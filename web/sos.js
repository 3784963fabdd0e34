"use strict";
// One tap sends. The key of the tap is kept until the server has it, also over a reload, and sent again until then.
// Nothing here says that help comes: only that it was received, on how many devices it arrived, and that a person saw it.

const WORDS = {
  en: {
    ready: "One tap sends at once.",
    opening: "Opening…",
    expired: "This page is no longer valid. Open it again from the app, or call.",
    sending: "Sending… it is kept on this phone and tried until it arrives.",
    sent: "Received. You can tap again at any time.",
    memory: "Received, not yet on disk. It is tried again.",
    seen: "A person has seen it.",
    over: "This alarm is over. You can tap again.",
    received: "Received by the server",
    reached: "Devices reached",
    saw: "Seen by a person",
    mistake: "Sent by mistake? Somebody will ask you; tell them then.",
    call: "Call",
  },
  zh: {
    ready: "点一下立即发送。",
    opening: "正在打开…",
    expired: "此页面已失效。请从应用重新打开，或直接拨打电话。",
    sending: "正在发送……已保存在本机，将一直重试直到送达。",
    sent: "已收到。您可以随时再次点击。",
    memory: "已收到，尚未写入磁盘，正在重试。",
    seen: "已有人看到。",
    over: "此警报已结束。您可以再次点击。",
    received: "服务器已收到",
    reached: "已送达的设备",
    saw: "有人已看到",
    mistake: "误触？会有人联系您，届时说明即可。",
    call: "拨打",
  },
};
const lang = navigator.language.startsWith("zh") ? "zh" : "en";
const words = WORDS[lang];
document.documentElement.lang = lang;
const by = (id) => document.getElementById(id);
const TRY_AGAIN_MS = [500, 1000, 2000, 3000];
const ANSWER_WAIT_MS = 6000;
const LOOK_EVERY_MS = 3000;

const kept = {
  get: (name) => { try { return localStorage.getItem("doorstep.sos." + name); } catch { return kept.here[name] ?? null; } },
  set: (name, value) => { kept.here[name] = value; try { localStorage.setItem("doorstep.sos." + name, value); } catch { /* private mode: this page only */ } },
  drop: (name) => { delete kept.here[name]; try { localStorage.removeItem("doorstep.sos." + name); } catch { /* likewise */ } },
  here: {},
};
const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) => n.toString(16).padStart(2, "0")).join("");
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

if (!kept.get("device")) kept.set("device", "page-" + random());
let fix = null;
let sending = false;
let looking = false;

function say(text, bad) { by("said").textContent = text; by("said").className = bad ? "bad" : ""; }

function level(id, text, done) { by(id).textContent = text; by(id).className = done ? "done" : ""; }

function show(state) {
  const at = state && new Date(state.received_at * 1000).toLocaleTimeString(lang);
  level("received", state ? `${words.received} · ${at}` : words.received, Boolean(state));
  level("reached", state ? `${words.reached}: ${state.delivered}` : words.reached, Boolean(state && state.delivered));
  level("seen", words.saw, Boolean(state && state.seen));
  by("more").textContent = state && !state.ended ? words.mistake : "";
}

async function ask(method, path, authorization, body) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), ANSWER_WAIT_MS);
  try {
    const answer = await fetch(path, {
      method, cache: "no-store", signal: abort.signal, credentials: "omit",
      headers: { Authorization: authorization, "Doorstep-Device": kept.get("device"), ...(body && { "Content-Type": "application/json" }) },
      body: body && JSON.stringify(body),
    });
    return { status: answer.status, told: await answer.json() };
  } finally { clearTimeout(timer); }
}

// The ticket is good once and for a short while: it is turned into a pass that is good for nothing but an SOS.
async function open() {
  const ticket = location.hash.slice(1);
  if (!ticket) return;
  history.replaceState(null, "", location.pathname);
  for (const wait of [...TRY_AGAIN_MS, ...TRY_AGAIN_MS]) {
    try {
      const { status, told } = await ask("POST", "/v1/sos/pass", "Ticket " + ticket);
      if (status === 201) { kept.set("pass", told.pass); return; }
      if (status < 500 && status !== 429) return;
    } catch { /* no network: again */ }
    await sleep(wait);
  }
}

function expired() { say(words.expired, true); by("sos").disabled = true; }

function tap() {
  if (!kept.get("key") || kept.get("incident")) {
    kept.set("key", random());
    kept.drop("incident");
  }
  show(null);
  send();
}

async function send() {
  if (sending) return;
  sending = true;
  say(words.sending);
  for (let n = 0; kept.get("key") && !kept.get("incident"); n++) {
    try {
      const key = kept.get("key");
      const { status, told } = await ask("POST", "/v1/sos", "Bearer " + kept.get("pass"), { key, sent_at: Date.now() / 1000, ...fix });
      if (status === 200 && told.key === key) {
        kept.set("incident", told.incident);
        show({ ...told, ended: false });
        say(told.durable ? words.sent : words.memory);
        break;
      }
      if (status === 401) { sending = false; return expired(); }
    } catch { /* no network: again */ }
    await sleep(TRY_AGAIN_MS[Math.min(n, TRY_AGAIN_MS.length - 1)]);
  }
  sending = false;
  look();
}

async function look() {
  if (looking) return;
  looking = true;
  while (kept.get("incident")) {
    await sleep(LOOK_EVERY_MS);
    const incident = kept.get("incident");
    if (!incident) break;
    try {
      const { status, told } = await ask("GET", "/v1/sos/" + encodeURIComponent(incident), "Bearer " + kept.get("pass"));
      if (status === 401) { expired(); break; }
      if (status === 404) { kept.drop("incident"); kept.drop("key"); break; }
      if (status !== 200 || kept.get("incident") !== incident) continue;
      show(told);
      say(told.ended ? words.over : told.seen ? words.seen : words.sent);
      if (told.ended) { kept.drop("incident"); kept.drop("key"); break; }
    } catch { /* no network: again */ }
  }
  looking = false;
}

// Where the phone is goes along when it is known; nothing waits for it. What comes later is told with the same key.
function locate() {
  if (!navigator.geolocation) return;
  navigator.geolocation.watchPosition(
    ({ coords, timestamp }) => {
      const first = !fix;
      fix = { lat: coords.latitude, lng: coords.longitude, accuracy_m: coords.accuracy, fixed_at: timestamp / 1000 };
      if (first && kept.get("key") && kept.get("incident")) {
        ask("POST", "/v1/sos", "Bearer " + kept.get("pass"), { key: kept.get("key"), sent_at: Date.now() / 1000, ...fix }).catch(() => {});
      }
    },
    () => {},
    { enableHighAccuracy: true, maximumAge: 10000 },
  );
}

async function start() {
  by("call").textContent = `${words.call} ${by("call").textContent}`;
  by("sos").addEventListener("click", tap);
  show(null);
  say(words.opening);
  by("sos").disabled = true;
  await open();
  if (!kept.get("pass")) return expired();
  by("sos").disabled = false;
  say(words.ready);
  locate();
  if (kept.get("incident")) { say(words.sent); look(); } else if (kept.get("key")) send();
}

start();
