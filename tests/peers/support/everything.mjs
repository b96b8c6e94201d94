// How the official reference server, server-everything, is started.
import { fileURLToPath } from "node:url";

import { ServerProcess } from "./server_process.mjs";

const PROGRAM = fileURLToPath(
  new URL("../node_modules/@modelcontextprotocol/server-everything/dist/index.js", import.meta.url),
);

/** What the server prints on stderr once it accepts, and its path, by mode. */
const MODES = {
  streamableHttp: { ready: "listening on port", path: "/mcp" },
  sse: { ready: "running on port", path: "/sse" },
};

export const Everything = {
  /** Starts it as `streamableHttp` or `sse`. */
  start: (mode, environment = {}) =>
    ServerProcess.start({
      name: "server-everything",
      command: () => [process.execPath, PROGRAM, mode],
      environment,
      ...MODES[mode],
    }),
};
