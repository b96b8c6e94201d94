// How the servers of this folder are started: one on the official Python SDK and
// one on rmcp, which have the same tools, and one on FastMCP that wants tokens.
// install.sh builds them.
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

/** Starts the FastMCP server, which takes the tokens of `issuer`. */
export function startFastMcp(issuer) {
  return ServerProcess.start({
    name: "the FastMCP server",
    command: (port) => [PYTHON, path.join(FOLDER, "python/fastmcp_server.py"), String(port), issuer],
    ready: "Uvicorn running on",
    path: "/mcp",
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
