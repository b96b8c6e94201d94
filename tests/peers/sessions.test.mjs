// What a real client and a real server notice of the daemon between them: warm
// sessions, several clients, requests from the server, crashes on either side.
// Each test has its own HOME and its own server.
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import {
  CreateMessageRequestSchema,
  ListRootsRequestSchema,
  McpError,
  ResourceUpdatedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";

import { Everything } from "./support/everything.mjs";
import { Home } from "./support/home.mjs";
import { until, within } from "./support/waiting.mjs";

/** What server-everything prints for each new session, by mode. */
const NEW_SESSION = { streamableHttp: /^Session initialized with ID/, sse: /^Client Connected:/ };
/** What it prints for each message it receives. */
const MESSAGE = { streamableHttp: /^Received MCP POST request/, sse: /^Client Message from/ };

const text = (result) => result.content.map((part) => part.text).join("");

const echo = async (client, message) => text(await client.callTool({ name: "echo", arguments: { message } }));

const count = (lines, pattern) => lines.filter((line) => pattern.test(line)).length;

/** Runs `body` with a fresh HOME and server, and ends both whatever happens. */
async function scene(mode, body) {
  const home = new Home();
  try {
    const server = await Everything.start(mode);
    try {
      await body(home, server);
    } finally {
      await server.stop();
    }
  } finally {
    await home.end();
  }
}

/** Waits until the server's sessions are as wanted, and returns its status row. */
function untilSessions(home, leased, idle) {
  return until(10_000, `${leased} leased and ${idle} idle sessions`, async () => {
    const row = (await home.status()).servers[0];
    return row?.sessions_leased === leased && row.sessions_idle === idle && row;
  });
}

for (const mode of ["streamableHttp", "sse"]) {
  describe(mode, { timeout: 120_000 }, () => {
    const check = (name, body) => test(name, () => scene(mode, body));

    check("a second client finds the session warm", async (home, server) => {
      const first = await home.connect(server.url);
      assert.equal(await echo(first, "one"), "Echo: one");
      await first.close();
      await untilSessions(home, 0, 1);
      assert.equal(count(server.lines, MESSAGE[mode]), 3, "initialize, initialized and one call");
      const second = await home.connect(server.url);
      assert.equal(second.getServerVersion().name, "mcp-servers/everything");
      assert.equal(await echo(second, "two"), "Echo: two");
      assert.equal(count(server.lines, NEW_SESSION[mode]), 1);
      assert.equal(count(server.lines, MESSAGE[mode]), 4, "and one more call");
    });

    check("clients at the same time have a session and answers each", async (home, server) => {
      const clients = await Promise.all(Array.from({ length: 4 }, () => home.connect(server.url)));
      const answers = await Promise.all(clients.map((client, n) => echo(client, `from ${n}`)));
      assert.deepEqual(answers, ["Echo: from 0", "Echo: from 1", "Echo: from 2", "Echo: from 3"]);
      assert.equal(count(server.lines, NEW_SESSION[mode]), 4);
      await untilSessions(home, 4, 0);
      assert.equal((await home.status()).shims, 4);
    });

    check("the server's requests reach the client, and its answers the server", async (home, server) => {
      const client = await home.connect(server.url, {
        capabilities: { sampling: {}, roots: { listChanged: true } },
        configure: (client) => {
          client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => ({
            role: "assistant",
            model: "test-model",
            content: { type: "text", text: `heard: ${params.messages[0].content.text}` },
          }));
          client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: "file:///r", name: "r" }] }));
        },
      });
      const sampled = await client.callTool({ name: "trigger-sampling-request", arguments: { prompt: "hi" } });
      assert.match(text(sampled), /heard: Resource trigger-sampling-request context: hi/);
      const roots = await client.callTool({ name: "get-roots-list", arguments: {} });
      assert.match(text(roots), /file:\/\/\/r/);
    });

    check("notifications arrive outside of any request", async (home, server) => {
      const uri = "demo://resource/dynamic/text/1";
      let heard;
      const updated = new Promise((resolve) => (heard = resolve));
      const client = await home.connect(server.url, {
        configure: (client) =>
          client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => heard(params.uri)),
      });
      await client.subscribeResource({ uri });
      await client.callTool({ name: "toggle-subscriber-updates", arguments: {} });
      assert.equal(await within(10_000, "resources/updated", updated), uri);
    });

    check("a cancelled call leaves the others alone", async (home, server) => {
      const client = await home.connect(server.url);
      const abort = new AbortController();
      const slow = client.callTool(
        { name: "trigger-long-running-operation", arguments: { duration: 1, steps: 2 } },
        undefined,
        { signal: abort.signal, onprogress: () => abort.abort("enough") },
      );
      await assert.rejects(slow, /enough/);
      assert.equal(await echo(client, "after"), "Echo: after");
      assert.deepEqual(client.strayErrors, []);
    });

    check("a restarted server is used again, without a new client", async (home, server) => {
      const client = await home.connect(server.url);
      assert.equal(await echo(client, "before"), "Echo: before");
      await server.restart();
      assert.equal(await echo(client, "after"), "Echo: after");
      assert.equal(count(server.lines, NEW_SESSION[mode]), 1);
    });

    check("while the server is away every call says so, then works again", async (home, server) => {
      const client = await home.connect(server.url);
      await server.stop();
      await assert.rejects(echo(client, "nobody"), (error) => {
        assert.ok(error instanceof McpError);
        assert.equal(error.code, -32001);
        assert.match(error.message, /mcp-remote: /);
        assert.ok(["httpStatus", "cause", "maybeExecuted", "server"].some((key) => key in error.data));
        return true;
      });
      await server.restart();
      assert.equal(await echo(client, "back"), "Echo: back");
    });

    check("kill -9 of the daemon under an idle client costs nothing", async (home, server) => {
      const client = await home.connect(server.url);
      assert.equal(await echo(client, "before"), "Echo: before");
      const killed = await home.killDaemon();
      assert.equal(await echo(client, "after"), "Echo: after");
      assert.equal(await echo(client, "and again"), "Echo: and again");
      const { pid } = await home.status();
      assert.notEqual(pid, killed);
    });

    check("kill -9 of the daemon under a call is an error for it, and the next works", async (home, server) => {
      const client = await home.connect(server.url);
      let started;
      const running = new Promise((resolve) => (started = resolve));
      const call = client.callTool(
        { name: "trigger-long-running-operation", arguments: { duration: 5, steps: 50 } },
        undefined,
        { onprogress: () => started() },
      );
      const failed = assert.rejects(call, (error) => {
        assert.equal(error.code, -32001);
        assert.equal(error.data.maybeExecuted, true);
        return true;
      });
      await within(10_000, "the first progress", running);
      await home.killDaemon();
      await failed;
      assert.equal(await echo(client, "after"), "Echo: after");
    });

    check("a whole conversation piped in prints every answer", async (home, server) => {
      const messages = [
        {
          jsonrpc: "2.0",
          id: "start",
          method: "initialize",
          params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "printf", version: "1" } },
        },
        { jsonrpc: "2.0", method: "notifications/initialized" },
        { jsonrpc: "2.0", id: 1, method: "tools/list" },
        { jsonrpc: "2.0", id: 2, method: "tools/call", params: { name: "get-sum", arguments: { a: 1, b: 2 } } },
        { jsonrpc: "2.0", id: 3, method: "ping" },
      ];
      const input = messages.map((message) => JSON.stringify(message) + "\n").join("");
      for (const temperature of ["cold", "warm"]) {
        const { stdout, stderr, code } = await home.run([server.url], input);
        assert.deepEqual({ code, stderr }, { code: 0, stderr: "" }, temperature);
        const lines = stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
        const answers = lines.filter(({ method }) => method === undefined);
        const byId = new Map(answers.map((answer) => [answer.id, answer.result]));
        assert.equal(answers.length, 4, temperature);
        assert.equal(byId.get("start").protocolVersion, "2025-06-18");
        assert.equal(byId.get(1).tools.length, 13);
        assert.equal(text(byId.get(2)), "The sum of 1 and 2 is 3.");
        assert.deepEqual(byId.get(3), {});
      }
      assert.equal(count(server.lines, NEW_SESSION[mode]), 1, "the second was warm");
    });
  });
}
