// Owns one temporary HOME: the programs in it, the daemon that they start, and
// the end of both. A test sees only what a user with that HOME would see.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";

import { until, within } from "./waiting.mjs";

/** The folder of our programs. */
export const BIN = process.env.MCP_REMOTE_BIN_DIR ?? fileURLToPath(new URL("../../../target/debug", import.meta.url));
/** The shim. */
export const SHIM = path.join(BIN, process.platform === "win32" ? "mcp-remote.exe" : "mcp-remote");

/**
 * Tells whether a process lives. One of which only zombies are left does not:
 * not every init reaps. Each of its threads counts, since the last one to go is
 * the one that closes its connections.
 */
function lives(pid) {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  if (process.platform !== "linux") return true;
  const runs = (thread) => {
    try {
      return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8"));
    } catch {
      return false;
    }
  };
  try {
    return readdirSync(`/proc/${pid}/task`).some(runs);
  } catch {
    return false;
  }
}

/** A user's HOME, empty at first. */
export class Home {
  #clients = [];
  folder = mkdtempSync(path.join(tmpdir(), "mcp-remote-peers-"));
  /** What this user's environment has besides, such as BROWSER. */
  variables = {};

  constructor() {
    mkdirSync(path.join(this.folder, "run"), { mode: 0o700 });
  }

  /** What clients such as TASAK leave of the environment, and a runtime folder of its own. */
  get environment() {
    return {
      HOME: this.folder,
      PATH: process.env.PATH,
      USER: "tester",
      XDG_RUNTIME_DIR: path.join(this.folder, "run"),
      ...this.variables,
    };
  }

  /**
   * Connects the official client through a new shim, or through another `command`
   * in `folder`; `configure` may add handlers first.
   */
  async connect(url, options = {}) {
    const { command = [SHIM], folder = this.folder, flags = [], capabilities = {}, name = "peers", configure = () => {} } = options;
    const transport = new StdioClientTransport({
      command: command[0],
      args: [...command.slice(1), url, ...flags],
      env: this.environment,
      cwd: folder,
      stderr: "pipe",
    });
    const client = new Client({ name, version: "1.0.0" }, { capabilities });
    client.stderrText = "";
    client.strayErrors = [];
    client.received = [];
    // Kept by the client's own handler, which is set later and calls this first.
    transport.onmessage = (message) => client.received.push(message);
    transport.stderr.on("data", (chunk) => (client.stderrText += chunk));
    client.onerror = (error) => client.strayErrors.push(error);
    configure(client);
    this.#clients.push(client);
    await client.connect(transport).catch((error) => {
      // The client knows only that the program has gone; this says why.
      error.message += client.stderrText && `\n${client.stderrText}`;
      throw error;
    });
    return client;
  }

  /** Runs the shim to its end with `input` on stdin. */
  async run(args, input = "") {
    const running = this.start([SHIM, ...args]);
    running.child.stdin.end(input);
    return running.ended();
  }

  /** Starts a program as this user; its standard input stays open. */
  start([command, ...args], options = {}) {
    const child = spawn(command, args, { env: this.environment, cwd: this.folder, ...options });
    const output = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"]) {
      child[name].setEncoding("utf8").on("data", (chunk) => (output[name] += chunk));
    }
    // A program that leaves without reading its input is judged by its output.
    child.stdin.on("error", () => {});
    const closed = once(child, "close");
    const ended = async () => {
      try {
        const [code, signal] = await within(30_000, `${path.basename(command)} ${args.join(" ")} to end`, closed);
        return { ...output, code, signal };
      } finally {
        child.kill("SIGKILL");
      }
    };
    return { child, output, ended };
  }

  /** What `mcp-remote status --json` says, parsed. */
  async status() {
    const { stdout, stderr, code } = await this.run(["status", "--json"]);
    try {
      return { code, ...JSON.parse(stdout) };
    } catch (error) {
      throw new Error(`status --json printed ${JSON.stringify(stdout)}, exit ${code}, stderr ${stderr}`, { cause: error });
    }
  }

  /** The daemon's process id, from its lock file; undefined if none runs. */
  daemonPid() {
    try {
      const state = process.platform === "darwin" ? "Library/Application Support/mcp-remote" : ".local/state/mcp-remote";
      const pid = Number.parseInt(readFileSync(path.join(this.folder, state, "lock"), "utf8"), 10);
      return pid > 0 && lives(pid) ? pid : undefined;
    } catch {
      return undefined;
    }
  }

  /** Ends the daemon as a crash would, and waits until it is gone. */
  async killDaemon() {
    const pid = this.daemonPid();
    if (pid === undefined) throw new Error("no daemon runs that could be killed");
    process.kill(pid, "SIGKILL");
    await until(5_000, `daemon ${pid} to be gone`, () => !lives(pid));
    return pid;
  }

  /** The files that our programs wrote without need and that hold `text`, such as logs. */
  holds(text) {
    const files = readdirSync(this.folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    const written = files.map(({ name, parentPath }) => path.join(parentPath, name));
    // Grants are kept in the one; a user writes the other.
    const own = (file) => !file.includes("/.mcp-auth/") && !file.includes("/.config/") && path.dirname(file) !== this.folder;
    return written.filter((file) => own(file) && readFileSync(file, "latin1").includes(text));
  }

  /** Closes the clients, ends the daemon, deletes the folder. */
  async end() {
    await Promise.all(this.#clients.map((client) => client.close()));
    const pid = this.daemonPid();
    if (pid !== undefined) {
      process.kill(pid, "SIGTERM");
      await until(8_000, `daemon ${pid} to end after SIGTERM`, () => !lives(pid)).catch((error) => {
        process.kill(pid, "SIGKILL");
        throw error;
      });
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
