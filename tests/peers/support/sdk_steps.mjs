// What is said to the servers on the Python SDK and on rmcp, which have the
// same tools. A step that a server refuses compares the refusal.
import { EmptyResultSchema } from "@modelcontextprotocol/sdk/types.js";

const call = (name, args = {}, options) => (side) =>
  side.client.callTool({ name, arguments: args }, undefined, options).catch(() => {});

/** Requests that no client of the SDK could send; the odd ones keep every byte. */
export const ODD = [
  `{"jsonrpc":"2.0","id":"big","method":"tools/call","params":{"name":"echo","arguments":{"big":9007199254740993,"negative":-9223372036854775808,"unsigned":18446744073709551615,"id":7,"_meta":{"progressToken":9}}}}`,
  `{"params":{"arguments":{"z":1,"a":{"id":null,"method":"x"},"\\u00e9\\/":"\\ud83d\\ude00 \\u2028\\u0000","e":1.50e+2,"empty":[{},[],""]},"name":"echo"},"method":"tools/call","id":"odd é \\\" 2","jsonrpc":"2.0"}`,
  ` { "jsonrpc" : "2.0" , "method":"tools/call","id": 9007199254740993, "params" :{"_meta":{"vendor.example/x":[1,2.0,"3"],"progressToken":"tok en"},"name":"slow","arguments":{"steps":2,"ms":1}},"vendor":{"kept":true} } `,
  `{"jsonrpc":"2.0","id":"unknown","method":"vendor.example/unknown","params":{"x":null}}`,
  `{"jsonrpc":"2.0","id":"strange","method":"tools/call","params":{"name":"no_such_tool","arguments":{}}}`,
];

const LARGE = 12_000_000;

export const SDK_STEPS = [
  { name: "ping", run: (side) => side.client.ping() },
  {
    name: "tools, page by page",
    run: async ({ client }) => {
      let cursor;
      do ({ nextCursor: cursor } = await client.listTools({ cursor }));
      while (cursor);
    },
  },
  { name: "a call", run: call("echo", { text: "é \u2028 \u{1F600}", nested: { a: [null, true, 1.5] } }) },
  { name: "images, audio, links and resources", run: call("media") },
  { name: "a tool's own error", run: call("fail") },
  { name: "an error with data", run: call("refuse") },
  { name: "an unknown tool", run: call("no_such_tool") },
  { name: "progress", run: call("slow", { steps: 4, ms: 10 }, { onprogress: () => {} }) },
  {
    name: "cancellation",
    run: async (side, { stateless, json }) => {
      // A server without sessions cannot tell whose request is cancelled.
      if (stateless) return side.client.ping();
      const abort = new AbortController();
      const key = Math.random().toString();
      const options = { signal: abort.signal, onprogress: () => abort.abort("enough") };
      const cancelled = call("wait", { key }, options)(side);
      // There is no progress in a document.
      if (json) setTimeout(() => abort.abort("enough"), 300);
      await cancelled;
      await call("was_cancelled", { key })(side);
    },
    clean: (text) => text.replace(/0\.\d{5,}/g, "KEY"),
  },
  { name: "sampling", asks: true, run: call("sample", { prompt: "é \u{1F600}" }) },
  { name: "elicitation by form", asks: true, run: call("elicit") },
  { name: "elicitation by URL", asks: true, run: call("elicit_url") },
  { name: "roots", asks: true, run: call("roots") },
  { name: "a ping from the server", asks: true, run: call("ping") },
  { name: "the level of logging", run: (side) => side.client.setLoggingLevel("debug") },
  {
    name: "log messages",
    run: async (side, { logs }) => {
      await call("log")(side);
      await side.heard("notifications/message", side.mark, logs);
    },
    // One comes beside the answer and one apart from it.
    apart: true,
  },
  {
    name: "resources, page by page",
    run: async ({ client }) => {
      let cursor;
      do ({ nextCursor: cursor } = await client.listResources({ cursor }));
      while (cursor);
      await client.listResourceTemplates();
      await client.readResource({ uri: "test://resource/3" });
      await client.readResource({ uri: "test://no/such" }).catch(() => {});
    },
  },
  {
    name: "subscriptions",
    run: async (side, { unasked }) => {
      const uri = "test://resource/1";
      await side.client.subscribeResource({ uri });
      await call("touch", { uri })(side);
      if (unasked) await side.heard("notifications/resources/updated", side.mark);
      await side.client.unsubscribeResource({ uri });
      await call("touch", { uri })(side);
    },
  },
  {
    name: "lists that change",
    run: async (side, { unasked }) => {
      await call("change")(side);
      if (!unasked) return;
      for (const what of ["tools", "prompts", "resources"]) {
        await side.heard(`notifications/${what}/list_changed`, side.mark);
      }
    },
  },
  {
    name: "prompts and completion",
    run: async ({ client }) => {
      await client.listPrompts();
      await client.getPrompt({ name: "weather", arguments: { city: "Ghent" } });
      await client.getPrompt({ name: "no_such" }).catch(() => {});
      const ref = { type: "ref/prompt", name: "weather" };
      await client.complete({ ref, argument: { name: "city", value: "Ge" } });
    },
  },
  {
    name: "the client's own notifications",
    run: async (side) => {
      const from = side.recorder.toServer.length;
      await side.client.sendRootsListChanged();
      await side.serverHeard("notifications/roots/list_changed", from);
    },
  },
  {
    name: "methods that nobody knows",
    run: async ({ client }) => {
      await client.request({ method: "vendor.example/unknown", params: { x: null } }, EmptyResultSchema).catch(() => {});
    },
  },
  ...ODD.map((text, n) => ({ name: `odd JSON ${n + 1}`, run: (side) => side.ask(text) })),
  {
    name: "a hundred calls at once",
    run: (side) => Promise.all(Array.from({ length: 100 }, (_, n) => call("echo", { n })(side))),
    atOnce: true,
  },
  { name: "12 MB to the server", run: call("slow", { steps: 1, text: "x".repeat(LARGE) }) },
  { name: "12 MB from the server", run: call("large", { bytes: LARGE }) },
];
