// What a person sees beside the relay: status, stop, and one sentence when
// something is wrong; with a real server and a real client in the picture.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Everything } from "./support/everything.mjs";
import { Home } from "./support/home.mjs";
import { freePort } from "./support/server_process.mjs";
import { until } from "./support/waiting.mjs";

describe("commands", { timeout: 60_000 }, () => {
  let home, server;

  before(async () => {
    home = new Home();
    server = await Everything.start("streamableHttp");
  });

  after(async () => {
    await home.end();
    await server.stop();
  });

  test("status without a daemon says so, exits 3 and starts none", async () => {
    const { code, running } = await home.status();
    assert.deepEqual({ code, running }, { code: 3, running: false });
    assert.equal(home.daemonPid(), undefined);
  });

  test("status --json shows a session in use", async () => {
    const client = await home.connect(server.url);
    await client.callTool({ name: "echo", arguments: { message: "x" } });
    const status = await home.status();
    assert.equal(status.code, 0);
    assert.equal(status.running, true);
    assert.equal(status.pid, home.daemonPid());
    assert.equal(status.shims, 1);
    assert.deepEqual(status.health, []);
    assert.equal(status.servers.length, 1);
    const [row] = status.servers;
    const { url, state, protocol_version, transport, server_name, server_version } = row;
    assert.deepEqual(
      { url, state, protocol_version, transport, server_name, server_version },
      {
        url: server.url,
        state: "ready",
        protocol_version: "2025-11-25",
        transport: "streamable-http",
        server_name: "mcp-servers/everything",
        server_version: "2.0.0",
      },
    );
    assert.deepEqual([row.sessions_leased, row.sessions_idle, row.shims, row.errors], [1, 0, 1, 0]);
    assert.ok(row.calls >= 1 && row.p50_us > 0 && row.p99_us >= row.p50_us);
    await client.close();
  });

  test("status for people names the server and its revision", async () => {
    const { stdout, stderr, code } = await home.run(["status"]);
    assert.deepEqual({ stderr, code }, { stderr: "", code: 0 });
    assert.ok(stdout.includes(server.url));
    assert.ok(stdout.includes("2025-11-25"));
    assert.ok(stdout.includes(`pid ${home.daemonPid()}`));
  });

  test("a server that does not answer is one sentence and an error for the client", async () => {
    const url = `http://127.0.0.1:${await freePort()}/mcp`;
    await assert.rejects(home.connect(url), (error) => {
      assert.equal(error.code, -32001);
      assert.match(error.data.cause, /refused/i);
      return true;
    });
    const initialize = { jsonrpc: "2.0", id: 1, method: "initialize", params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "x", version: "1" } } };
    const { stdout, stderr } = await home.run([url], `${JSON.stringify(initialize)}\n`);
    assert.deepEqual([JSON.parse(stdout).id, JSON.parse(stdout).error.code], [1, -32001]);
    assert.equal(stderr.trimEnd().split("\n").length, 1, stderr);
    assert.ok(stderr.includes(url));
  });

  test("stop ends the daemon, and says so", async () => {
    const pid = home.daemonPid();
    assert.notEqual(pid, undefined);
    const { code, stderr, stdout } = await home.run(["stop"]);
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
    assert.notEqual(stdout, "");
    await until(5_000, `daemon ${pid} to be gone`, () => home.daemonPid() === undefined);
    assert.equal((await home.status()).code, 3);
    assert.equal((await home.run(["stop"])).code, 3);
  });
});
