// How the servers of this folder are started: one on the official Python SDK,
// one on rmcp. Both have the same tools; install.sh builds them.
import path from "node:path";
import { fileURLToPath } from "node:url";

import { BIN } from "./home.mjs";
import { ServerProcess } from "./server_process.mjs";

const FOLDER = fileURLToPath(new URL("..", import.meta.url));
const PYTHON = path.join(FOLDER, ".venv/bin/python");
const RMCP = path.join(BIN, "../rmcp-server/debug/rmcp-server");

/** Starts the Python server as `stateful`, `json`, `stateless` or `sse`. */
export function startPython(mode, environment = {}) {
  return ServerProcess.start({
    name: `the Python server (${mode})`,
    command: (port) => [PYTHON, path.join(FOLDER, "python/server.py"), mode, String(port)],
    environment,
    ready: "Uvicorn running on",
    path: mode === "sse" ? "/sse" : "/mcp",
  });
}

/** Starts the rmcp server as `stateful` or `stateless`. */
export function startRmcp(mode) {
  return ServerProcess.start({
    name: `the rmcp server (${mode})`,
    command: (port) => [RMCP, mode, String(port)],
    ready: "listening",
    path: "/mcp",
  });
}
