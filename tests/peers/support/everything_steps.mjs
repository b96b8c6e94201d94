// What is said to the reference server, server-everything.
import { CallToolResultSchema } from "@modelcontextprotocol/sdk/types.js";

import { ODD } from "./sdk_steps.mjs";

const call = (name, args = {}, options) => (side) =>
  side.client.callTool({ name, arguments: args }, undefined, options).catch(() => {});

const STATIC = "demo://resource/static/document/features.md";
const DYNAMIC = "demo://resource/dynamic/text/7";

/** The dynamic resources that are blobs say when they were made, too. */
const timeless = (whole, blob) => {
  const [said, time] = Buffer.from(blob, "base64").toString().split("created at ");
  return time ? `"blob":"of ${said}created at TIME"` : whole;
};

/** What the server makes of the time, its process and chance. */
const settled = (text) =>
  text
    .replace(/"blob":"([^"]*)"/g, timeless)
    .replace(/created at [^"\\]*/g, "created at TIME")
    .replace(/"(createdAt|lastUpdatedAt)":"[^"]*"/g, '"$1":"TIME"')
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{32}\b/g, "RANDOM");

/** Its echo needs a message; it takes no id that JavaScript cannot hold, and no member it does not know. */
const forEverything = (text) =>
  text
    .replace(/"arguments":\{(\}?)/, (_, end) => `"arguments":{"message":"odd"${end || ","}`)
    .replace('"id": 9007199254740993', '"id": 9007199254740991')
    .replace(',"vendor":{"kept":true}', "");

export const EVERYTHING_STEPS = [
  { name: "ping", run: (side) => side.client.ping() },
  { name: "tools", run: (side) => side.client.listTools() },
  { name: "a call", run: call("echo", { message: "é \u2028 \u{1F600} \u0000" }) },
  { name: "a sum", run: call("get-sum", { a: 2, b: 40.5 }) },
  { name: "structured content", run: call("get-structured-content", { location: "Chicago" }) },
  { name: "an image", run: call("get-tiny-image") },
  { name: "annotations", run: call("get-annotated-message", { messageType: "error", includeImage: true }) },
  { name: "links", run: call("get-resource-links", { count: 4 }) },
  { name: "a resource in a result", run: call("get-resource-reference", { resourceType: "Text", resourceId: 3 }) },
  { name: "wrong arguments", run: call("get-sum", { a: "two" }) },
  { name: "an unknown tool", run: call("no-such-tool") },
  {
    name: "progress",
    run: call("trigger-long-running-operation", { duration: 0.2, steps: 4 }, { onprogress: () => {} }),
  },
  {
    name: "cancellation",
    run: async (side) => {
      const abort = new AbortController();
      const options = { signal: abort.signal, onprogress: () => abort.abort("enough") };
      await call("trigger-long-running-operation", { duration: 0.4, steps: 4 }, options)(side);
      await side.serverHeard("notifications/cancelled");
    },
  },
  { name: "sampling", run: call("trigger-sampling-request", { prompt: "é \u{1F600}" }) },
  { name: "elicitation by form", run: call("trigger-elicitation-request") },
  {
    name: "elicitation by URL",
    run: call("trigger-url-elicitation", { url: "https://example.com/x?y=1", elicitationId: "e-1" }),
  },
  { name: "roots", run: call("get-roots-list") },
  {
    name: "new roots",
    run: async (side) => {
      await side.client.sendRootsListChanged();
      await side.heard("roots/list", side.mark);
      await side.heard("notifications/message", side.mark);
    },
  },
  { name: "a task of the client", run: call("trigger-sampling-request-async", { prompt: "x" }, { timeout: 15_000 }) },
  {
    name: "a task of the server",
    run: async ({ client }) => {
      const params = { name: "simulate-research-query", arguments: { topic: "bridges", ambiguous: false } };
      const stream = client.experimental.tasks.callToolStream(params, CallToolResultSchema, { task: { ttl: 60_000 } });
      for await (const message of stream) if (message.type === "error") throw message.error;
    },
    counts: (text) => !text.includes('"status":"working"'),
    polls: true,
    slow: true,
  },
  { name: "the level of logging", run: (side) => side.client.setLoggingLevel("debug") },
  {
    name: "resources",
    run: async ({ client }) => {
      await client.listResources();
      await client.listResourceTemplates();
      await client.readResource({ uri: STATIC });
      await client.readResource({ uri: DYNAMIC });
      await client.readResource({ uri: "demo://resource/dynamic/blob/8" });
      await client.readResource({ uri: "demo://no/such" }).catch(() => {});
    },
  },
  {
    name: "subscriptions",
    run: async (side) => {
      await side.client.subscribeResource({ uri: DYNAMIC });
      await call("toggle-subscriber-updates")(side);
      await side.heard("notifications/resources/updated", side.mark);
      await call("toggle-subscriber-updates")(side);
      await side.client.unsubscribeResource({ uri: DYNAMIC });
    },
  },
  {
    name: "lists that change",
    run: async (side) => {
      const data = "data:text/plain,hello";
      await call("gzip-file-as-resource", { name: `${side.mark}.gz`, data, outputType: "resourceLink" })(side);
      await side.heard("notifications/resources/list_changed", side.mark);
    },
    clean: (text) => text.replace(/\d+\.gz/g, "NAME.gz"),
  },
  {
    name: "prompts and completion",
    run: async ({ client }) => {
      await client.listPrompts();
      await client.getPrompt({ name: "args-prompt", arguments: { city: "Ghent", state: "BE" } });
      await client.getPrompt({ name: "no-such-prompt" }).catch(() => {});
      const ref = { type: "ref/prompt", name: "completable-prompt" };
      await client.complete({ ref, argument: { name: "department", value: "E" } });
    },
  },
  ...ODD.map((text, n) => ({ name: `odd JSON ${n + 1}`, run: (side) => side.ask(forEverything(text)) })),
  {
    name: "a hundred calls at once",
    run: (side) => Promise.all(Array.from({ length: 100 }, (_, n) => call("get-sum", { a: n, b: 1000 })(side))),
    atOnce: true,
  },
  // The server refuses more than 4 MB.
  { name: "a long line both ways", run: call("echo", { message: "漢".repeat(1_300_000) }) },
].map((step) => ({ ...step, clean: (text) => settled((step.clean ?? ((same) => same))(text)) }));
