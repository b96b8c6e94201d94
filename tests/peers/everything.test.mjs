// The official TypeScript client, through the real mcp-remote and mcp-remoted,
// to the official server-everything over both of its HTTP transports. What a
// client gets must be what it would get without us.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { McpError } from "@modelcontextprotocol/sdk/types.js";

import { Everything } from "./support/everything.mjs";
import { Home } from "./support/home.mjs";

/** The tools that server-everything 2026.8.31 offers to a client without capabilities. */
const TOOLS = [
  "echo",
  "get-annotated-message",
  "get-env",
  "get-resource-links",
  "get-resource-reference",
  "get-structured-content",
  "get-sum",
  "get-tiny-image",
  "gzip-file-as-resource",
  "simulate-research-query",
  "toggle-simulated-logging",
  "toggle-subscriber-updates",
  "trigger-long-running-operation",
];

const text = (result) => result.content.map((part) => part.text).join("");

const echo = async (client, message) => text(await client.callTool({ name: "echo", arguments: { message } }));

for (const mode of ["streamableHttp", "sse"]) {
  describe(mode, { timeout: 120_000 }, () => {
    let home, server, client;

    before(async () => {
      home = new Home();
      server = await Everything.start(mode);
      client = await home.connect(server.url);
    });

    after(async () => {
      await home.end();
      await server.stop();
    });

    test("the client sees who answers", () => {
      const { name, version } = client.getServerVersion();
      assert.deepEqual({ name, version }, { name: "mcp-servers/everything", version: "2.0.0" });
      assert.deepEqual(client.getServerCapabilities().resources, { subscribe: true, listChanged: true });
      assert.match(client.getInstructions(), /Everything Server/);
    });

    test("every tool is listed, with its schema", async () => {
      const { tools } = await client.listTools();
      assert.deepEqual(tools.map((tool) => tool.name).sort(), TOOLS);
      const sum = tools.find((tool) => tool.name === "get-sum");
      assert.deepEqual(Object.keys(sum.inputSchema.properties), ["a", "b"]);
    });

    test("tools answer", async () => {
      assert.equal(await echo(client, "hello"), "Echo: hello");
      const sum = await client.callTool({ name: "get-sum", arguments: { a: 2, b: 40 } });
      assert.equal(text(sum), "The sum of 2 and 40 is 42.");
      const weather = await client.callTool({ name: "get-structured-content", arguments: { location: "Chicago" } });
      assert.deepEqual(weather.structuredContent, { temperature: 36, conditions: "Light rain / drizzle", humidity: 82 });
    });

    test("progress arrives, in order, before the result", async () => {
      client.received.length = 0;
      const seen = [];
      const result = await client.callTool(
        { name: "trigger-long-running-operation", arguments: { duration: 0.4, steps: 4 } },
        undefined,
        { onprogress: ({ progress, total }) => seen.push(`${progress}/${total}`) },
      );
      assert.equal(text(result), "Long running operation completed. Duration: 0.4 seconds, Steps: 4.");
      // The client forgets the token when a result comes in the same read as the
      // last progress, so the last one is looked for on the wire only.
      assert.deepEqual(seen.slice(0, 3), ["1/4", "2/4", "3/4"]);
      const wire = client.received.map(({ method, params }) => (method ? `${method} ${params.progress}` : "result"));
      const progress = [1, 2, 3, 4].map((n) => `notifications/progress ${n}`);
      assert.deepEqual(wire, [...progress, "result"]);
    });

    test("a slow call does not delay a fast one", async () => {
      let slowIsDone = false;
      const slow = client
        .callTool({ name: "trigger-long-running-operation", arguments: { duration: 1, steps: 1 } })
        .then(() => (slowIsDone = true));
      assert.equal(await echo(client, "fast"), "Echo: fast");
      assert.equal(slowIsDone, false);
      await slow;
    });

    test("a hundred calls at once get each its own answer", async () => {
      const sums = Array.from({ length: 100 }, (_, n) =>
        client.callTool({ name: "get-sum", arguments: { a: n, b: 1000 } }).then(text),
      );
      const expected = Array.from({ length: 100 }, (_, n) => `The sum of ${n} and 1000 is ${n + 1000}.`);
      assert.deepEqual(await Promise.all(sums), expected);
    });

    test("resources and templates are listed and read", async () => {
      const { resources } = await client.listResources();
      assert.ok(resources.some(({ uri }) => uri === "demo://resource/static/document/features.md"));
      const { resourceTemplates } = await client.listResourceTemplates();
      assert.deepEqual(
        resourceTemplates.map(({ uriTemplate }) => uriTemplate).sort(),
        ["demo://resource/dynamic/blob/{resourceId}", "demo://resource/dynamic/text/{resourceId}"],
      );
      const { contents } = await client.readResource({ uri: "demo://resource/dynamic/text/7" });
      assert.match(contents[0].text, /^Resource 7: This is a plaintext resource/);
    });

    test("prompts are listed, completed and rendered", async () => {
      const { prompts } = await client.listPrompts();
      assert.ok(prompts.some(({ name }) => name === "args-prompt"));
      const { messages } = await client.getPrompt({ name: "args-prompt", arguments: { city: "Ghent", state: "BE" } });
      assert.equal(messages[0].content.text, "What's weather in Ghent, BE?");
      const { completion } = await client.complete({
        ref: { type: "ref/resource", uri: "demo://resource/dynamic/text/{resourceId}" },
        argument: { name: "resourceId", value: "12" },
      });
      assert.deepEqual(completion.values, ["12"]);
    });

    test("the server's own errors arrive unchanged", async () => {
      const unknown = await client.callTool({ name: "no-such-tool", arguments: {} });
      assert.equal(unknown.isError, true);
      assert.equal(text(unknown), "MCP error -32602: Tool no-such-tool not found");
      await assert.rejects(client.getPrompt({ name: "no-such-prompt" }), (error) => {
        assert.ok(error instanceof McpError);
        assert.equal(error.code, -32602);
        assert.match(error.message, /Prompt no-such-prompt not found/);
        return true;
      });
    });

    test("text of every kind survives, small and large", async () => {
      const odd = "\u0000\u001f\u007f\u2028\u2029\uFEFFé 漢字 \u{1F600} \\\" \r\n\t</script> \ud83d\ude00 data: x\n\nevent: y";
      assert.equal(await echo(client, odd), `Echo: ${odd}`);
      // The server refuses bodies over 4 MB; non-ASCII triples the bytes.
      const large = "漢".repeat(1_000_000);
      assert.equal(await echo(client, large), `Echo: ${large}`);
    });

    test("nothing stray was printed", () => {
      const late = /progress notification for an unknown token: .*"progress":4,"total":4/;
      assert.deepEqual(client.strayErrors.filter(({ message }) => !late.test(message)), []);
      assert.equal(client.stderrText, "");
    });
  });
}
