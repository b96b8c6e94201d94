// Owns one server-everything process on a loopback port. Knows nothing of our
// programs. A port is chosen once, so that a restarted server is found again.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";

import { linesOf, within } from "./waiting.mjs";

const PROGRAM = fileURLToPath(
  new URL("../node_modules/@modelcontextprotocol/server-everything/dist/index.js", import.meta.url),
);

/** What the server prints on stderr once it accepts, and its path, by mode. */
const MODES = {
  streamableHttp: { ready: "listening on port", path: "/mcp" },
  sse: { ready: "running on port", path: "/sse" },
};

/** Picks a loopback port that nothing listens on. */
export async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  return port;
}

/** A real MCP server, started and ended by the test that owns it. */
export class Everything {
  #child;
  #mode;
  #port;
  /** Every line the running server printed, on either stream. */
  lines = [];

  static async start(mode) {
    const server = new Everything();
    server.#mode = MODES[mode];
    server.#port = await freePort();
    await server.#run(mode);
    server.restart = async () => {
      await server.stop();
      await server.#run(mode);
    };
    return server;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}${this.#mode.path}`;
  }

  async #run(mode) {
    const child = spawn(process.execPath, [PROGRAM, mode], {
      env: { PATH: process.env.PATH, PORT: String(this.#port) },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    this.lines = [];
    const ready = new Promise((resolve, reject) => {
      const take = (line) => {
        this.lines.push(line);
        if (line.includes(this.#mode.ready)) resolve();
      };
      linesOf(child.stdout, take);
      linesOf(child.stderr, take);
      child.once("error", reject);
      child.once("exit", () => reject(new Error(`server-everything ended:\n${this.lines.join("\n")}`)));
    });
    await within(20_000, "server-everything to listen", ready);
  }

  /** Ends it, as a crash would: no goodbye to anybody. */
  async stop() {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  }
}
