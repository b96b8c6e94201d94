// One client, through us, to one real server that is about to be disturbed.
// Owns both for the length of one test, and what was counted: every execution
// of a tool and every handshake, in a file, since a server that was killed
// cannot tell.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { Everything } from "./everything.mjs";
import { Home } from "./home.mjs";
import { startPython } from "./sdk_servers.mjs";
import { ServerProcess } from "./server_process.mjs";

const POLLING = fileURLToPath(new URL("../polling_server.mjs", import.meta.url));
const COUNTING = new URL("counting.mjs", import.meta.url).href;

/** Every server that is disturbed, by name: how it starts, and a call that takes long. */
export const SERVERS = {
  "server-everything, streamableHttp": everything("streamableHttp"),
  "server-everything, sse": everything("sse"),
  "Python, stateful": python("stateful"),
  "Python, json": python("json"),
  "Python, sse": python("sse"),
};

function everything(mode) {
  return {
    // Loaded into the server, which has no such tool.
    start: (file) => Everything.start(mode, { COUNT_FILE: file, NODE_OPTIONS: `--import=${COUNTING}` }),
    quick: (key) => ({ name: "echo", arguments: { message: key } }),
    slow: (key, seconds) => ({
      name: "trigger-long-running-operation",
      arguments: { duration: seconds, steps: 4, key },
    }),
  };
}

function startPolling(file) {
  return ServerProcess.start({
    name: "the polling server",
    command: () => [process.execPath, POLLING],
    environment: { COUNT_FILE: file },
    ready: "listening",
    path: "/mcp",
  });
}

function python(mode) {
  return {
    start: (file) => startPython(mode, { COUNT_FILE: file }),
    quick: (key) => ({ name: "count", arguments: { key } }),
    slow: (key, seconds) => ({ name: "count", arguments: { key, ms: seconds * 1000 } }),
  };
}

/** Every server that hangs up before it answers. */
export const POLLING_SERVERS = {
  Python: SERVERS["Python, stateful"],
  TypeScript: { start: startPolling },
};

/** Runs `body` with a connected client and what it may disturb. */
export async function disturbed(kind, body) {
  const home = new Home();
  const folder = mkdtempSync(path.join(tmpdir(), "mcp-remote-count-"));
  const file = path.join(folder, "count");
  writeFileSync(file, "");
  const lines = () => readFileSync(file, "utf8").split("\n");
  try {
    const server = await kind.start(file);
    try {
      const client = await home.connect(server.url);
      await body({
        home,
        server,
        client,
        quick: (key) => client.callTool(kind.quick(key)),
        slow: (key, seconds) => client.callTool(kind.slow(key, seconds)),
        /** How often the call with this key was executed. */
        executions: (key) => lines().filter((line) => line === `call ${key}`).length,
        /** How many handshakes the server has seen. */
        handshakes: () => lines().filter((line) => line === "initialize").length,
      });
    } finally {
      await server.stop();
    }
  } finally {
    await home.end();
    rmSync(folder, { recursive: true, force: true });
  }
}
