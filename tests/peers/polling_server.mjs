// A server on the official TypeScript SDK that hangs up before it answers, to
// make clients poll: `polling_server.mjs` on PORT, with an event store.
import { randomUUID } from "node:crypto";
import { appendFileSync } from "node:fs";
import http from "node:http";

import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { z } from "zod";

const RETRY_MS = 200;

/** Every event of one session, in order; ids are positions. */
class MemoryEvents {
  #events = [];

  async storeEvent(streamId, message) {
    this.#events.push({ streamId, message });
    return `event/${this.#events.length - 1}`;
  }

  async getStreamIdForEventId(eventId) {
    return this.#events[this.#index(eventId)]?.streamId;
  }

  async replayEventsAfter(lastEventId, { send }) {
    const last = this.#index(lastEventId);
    const { streamId } = this.#events[last];
    for (const [index, event] of this.#events.entries()) {
      if (index <= last || event.streamId !== streamId) continue;
      // A priming event is an empty object here.
      if (event.message.jsonrpc) await send(`event/${index}`, event.message);
    }
    return streamId;
  }

  #index(eventId) {
    return Number(eventId.split("/")[1]);
  }
}

async function poll({ key, ms }, extra) {
  appendFileSync(process.env.COUNT_FILE, `call ${key}\n`);
  const progressToken = extra._meta?.progressToken;
  const progress = async (progress) => {
    if (progressToken === undefined) return;
    await extra.sendNotification({ method: "notifications/progress", params: { progressToken, progress, total: 3 } });
  };
  await progress(1);
  extra.closeSSEStream?.();
  await progress(2);
  await new Promise((resolve) => setTimeout(resolve, ms));
  await progress(3);
  return { content: [{ type: "text", text: "polled" }] };
}

const sessions = new Map();

async function open() {
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => sessions.set(id, transport),
    eventStore: new MemoryEvents(),
    retryInterval: RETRY_MS,
  });
  const server = new McpServer({ name: "polling-server", version: "1.0.0" });
  server.registerTool("poll", { inputSchema: { key: z.string(), ms: z.number() } }, poll);
  await server.connect(transport);
  return transport;
}

const server = http.createServer(async (request, response) => {
  const id = request.headers["mcp-session-id"];
  const transport = id === undefined ? await open() : sessions.get(id);
  if (transport === undefined) response.writeHead(404).end();
  else await transport.handleRequest(request, response);
});
server.listen(Number(process.env.PORT), "127.0.0.1", () => console.log("listening"));
