/** Client of the Doorstep hub: a core without I/O, and shells that carry it over real sockets. */

export { RequestRefused } from "./answers.js";
export { Api } from "./api.js";
export { Client } from "./client.js";
export { SteadyClock } from "./clock.js";
export { ApiError } from "./http.js";
export { miniProgramFetch, miniProgramSignals, miniProgramSocket, miniProgramStorage } from "./mini_program.js";
export { fixOf } from "./ping_buffer.js";
export { ClientProtocol } from "./protocol.js";
export { DEFAULTS } from "./settings.js";
export { browserStorage, keyValueStorage, memoryStorage } from "./storage.js";
