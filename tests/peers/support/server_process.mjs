// Owns the process of one real MCP server on a loopback port: start, pause,
// crash, restart. Knows nothing of our programs. The port is chosen once, so
// that a restarted server is found again.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";

import { linesOf, until, within } from "./waiting.mjs";

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
export class ServerProcess {
  #child;
  #how;
  #port;
  /** Every line the running server printed, on either stream. */
  lines = [];

  /**
   * Starts one. `how` gives the command line for a port, more environment, what
   * it prints once it accepts, and the path of its MCP endpoint; `portVariable`
   * and `host` where they are not PORT and 127.0.0.1.
   */
  static async start(how) {
    const server = new ServerProcess();
    server.#how = how;
    server.#port = await freePort();
    await server.#run();
    return server;
  }

  get url() {
    return `http://${this.#how.host ?? "127.0.0.1"}:${this.#port}${this.#how.path}`;
  }

  get pid() {
    return this.#child.pid;
  }

  async #run() {
    const [command, ...args] = this.#how.command(this.#port);
    const child = spawn(command, args, {
      env: { PATH: process.env.PATH, [this.#how.portVariable ?? "PORT"]: String(this.#port), ...this.#how.environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    this.lines = [];
    const ready = new Promise((resolve, reject) => {
      const take = (line) => {
        this.lines.push(line);
        if (line.includes(this.#how.ready)) resolve();
      };
      linesOf(child.stdout, take);
      linesOf(child.stderr, take);
      child.once("error", reject);
      child.once("exit", () => reject(new Error(`${this.#how.name} ended:\n${this.lines.join("\n")}`)));
    });
    await within(40_000, `${this.#how.name} to listen`, ready).catch((error) => {
      child.kill("SIGKILL");
      throw error;
    });
  }

  /** Ends it, as a crash would: no goodbye to anybody. */
  async stop() {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  }

  /** Ends it as a crash would, and starts it again. */
  async restart() {
    await this.stop();
    await this.start();
  }

  /** Starts it again where it was. */
  async start() {
    await this.#run();
  }

  /** Stops it in the middle of whatever it does; its sockets stay open. */
  async pause() {
    this.#child.kill("SIGSTOP");
    const stopped = () => /^State:\s+T/m.test(readFileSync(`/proc/${this.pid}/status`, "utf8"));
    await until(5_000, `${this.#how.name} to be paused`, stopped);
  }

  /** Lets it go on after a pause. */
  resume() {
    this.#child.kill("SIGCONT");
  }
}
