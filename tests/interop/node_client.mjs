// Reads its config from standard input, writes a line for each report and the result as JSON at the end.
import { WebSocket } from "ws";

import { session } from "./session.mjs";

let text = "";
for await (const chunk of process.stdin) text += chunk;
const report = async (what) => console.log(what);
console.log(JSON.stringify(await session(WebSocket, JSON.parse(text), report)));
