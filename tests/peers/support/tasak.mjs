// TASAK as its users run it: unmodified, from an environment of its own, with
// `npx mcp-remote` adopted in a HOME. Knows how it is configured and started.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";

import { freePort, ServerProcess } from "./server_process.mjs";
import { within } from "./waiting.mjs";

const at = (relative) => fileURLToPath(new URL(`../${relative}`, import.meta.url));

/** Where TASAK is installed, by the release of the mcp package that it uses. */
export const RELEASES = { "mcp 1": at(".venv-tasak1"), "mcp 2": at(".venv-tasak2") };

const IN_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";

/** What is left of an environment where TASAK starts programs. */
export function stripped(home) {
  const { HOME, PATH } = home.environment;
  return { HOME, PATH, LOGNAME: "tester", USER: "tester", SHELL: "/bin/sh", TERM: "dumb" };
}

/** TASAK in a HOME, with one app named `real`. */
export class Tasak {
  #home;
  #folder;
  #work;

  constructor(home, release, url) {
    this.#home = home;
    this.#folder = RELEASES[release];
    // npx looks for programs from here up.
    this.#work = path.join(home.folder, "some", "where");
    mkdirSync(this.#work, { recursive: true });
    mkdirSync(path.join(home.folder, ".tasak"), { recursive: true });
    const config = { apps_config: { enabled_apps: ["real"] }, real: { type: "mcp-remote", meta: { server_url: url } } };
    // JSON is YAML.
    writeFileSync(path.join(home.folder, ".tasak", "tasak.yaml"), JSON.stringify(config));
  }

  /** Runs it to its end with nothing but HOME and the like around it. */
  async run(...args) {
    return this.#end(spawn(path.join(this.#folder, "bin", "tasak"), args, { env: stripped(this.#home), cwd: this.#work, stdio: ["ignore", "pipe", "pipe"] }));
  }

  /** Runs it at a terminal; `seen` gets everything that is on it, again and again. */
  async runAtTerminal(seen, ...args) {
    const command = [path.join(this.#folder, "bin", "python"), "-c", IN_TERMINAL, path.join(this.#folder, "bin", "tasak"), ...args];
    const env = { ...this.#home.environment, TERM: "dumb", SHELL: "/bin/sh" };
    return this.#end(spawn(command[0], command.slice(1), { env, cwd: this.#work, stdio: ["pipe", "pipe", "pipe"] }), seen);
  }

  async #end(child, seen = () => {}) {
    const begun = performance.now();
    const output = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"]) {
      child[name].setEncoding("utf8").on("data", (chunk) => {
        output[name] += chunk;
        seen(output[name]);
      });
    }
    try {
      const [code] = await within(100_000, "TASAK to end", once(child, "close"));
      return { ...output, code, seconds: (performance.now() - begun) / 1000 };
    } finally {
      child.kill("SIGKILL");
    }
  }
}

/** The SDK's example server with its authorization server, which lets everybody in. */
export async function startProtected() {
  const port = await freePort();
  return ServerProcess.start({
    name: "the SDK's server with sign-ins",
    command: () => [process.execPath, at("node_modules/@modelcontextprotocol/sdk/dist/esm/examples/server/simpleStreamableHttp.js"), "--oauth"],
    environment: { MCP_AUTH_PORT: String(port) },
    portVariable: "MCP_PORT",
    host: "localhost",
    ready: "listening on port",
    path: "/mcp",
  });
}
