// One official client and one real server with a recorder between them: the
// client connected directly, or through our shim and daemon. Owns both ends of
// the comparison; what is said stands in the steps.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { InMemoryTaskStore } from "@modelcontextprotocol/sdk/experimental/tasks/stores/in-memory.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";

import { SHIM } from "./home.mjs";
import { textAt } from "./raw_json.mjs";
import { Recorder } from "./recorder.mjs";
import { linesOf, until } from "./waiting.mjs";

/** More than the longest line of any step. */
const LONGEST_LINE = 64 * 1024 * 1024;

const CAPABILITIES = {
  sampling: {},
  roots: { listChanged: true },
  elicitation: { form: {}, url: {} },
  tasks: { list: {}, cancel: {}, requests: { sampling: { createMessage: {} }, elicitation: { create: {} } } },
};

const SAMPLED = { role: "assistant", model: "test-model", content: { type: "text", text: "é \u2028 \u{1F600}" } };

/** Answers the server's requests the same way every time, at once or as a task. */
function answerTheServer(client) {
  const answer = (schema, result) =>
    client.setRequestHandler(schema, async ({ params }, extra) => {
      if (params?.task === undefined) return result(params);
      const task = await extra.taskStore.createTask({ ttl: params.task.ttl });
      await extra.taskStore.storeTaskResult(task.taskId, "completed", result(params));
      return { task };
    });
  answer(CreateMessageRequestSchema, () => SAMPLED);
  answer(ListRootsRequestSchema, () => ({ roots: [{ uri: "file:///r", name: "r", _meta: { x: null } }] }));
  answer(ElicitRequestSchema, (params) =>
    params.mode === "url" ? { action: "accept" } : { action: "accept", content: { colour: "blå" } },
  );
}

/** The shim's standard output, line by line, beside what the client makes of it. */
class RecordingStdio extends StdioClientTransport {
  constructor(parameters, lines) {
    super({ ...parameters, maxBufferSize: LONGEST_LINE });
    this.lines = lines;
  }

  async start() {
    await super.start();
    linesOf(this._process.stdout, (line) => this.lines.push(line));
  }

  /** Writes a line that the client could not, such as one with a big integer. */
  async sendText(text) {
    this._process.stdin.write(`${text}\n`);
  }
}

class RecordedHttp extends StreamableHTTPClientTransport {
  /** Posts a body that the client could not. */
  async sendText(text) {
    const headers = { "content-type": "application/json", accept: "application/json, text/event-stream" };
    if (this.sessionId) headers["mcp-session-id"] = this.sessionId;
    headers["mcp-protocol-version"] = this.protocolVersion;
    const response = await fetch(this._url, { method: "POST", headers, body: text });
    await response.arrayBuffer();
  }
}

class RecordedSse extends SSEClientTransport {
  /** Posts a body that the client could not. */
  async sendText(text) {
    const headers = { "content-type": "application/json", "mcp-protocol-version": this._protocolVersion };
    const response = await fetch(this._endpoint, { method: "POST", headers, body: text });
    await response.arrayBuffer();
  }
}

/** One side of the comparison. */
export class Side {
  /** What the client did not understand. */
  strayErrors = [];
  /** The ids (JSON text) of the requests that the client cancelled. */
  cancelled = new Set();
  /** What the shim said on standard error. */
  stderr = "";

  /** The client by itself. */
  static async direct(server) {
    const side = new Side();
    side.recorder = await Recorder.start(server.url);
    const Transport = server.url.endsWith("/sse") ? RecordedSse : RecordedHttp;
    // This client resumes streams whose answer it has, if that was an error, and
    // gets it and more a second time; resumption has a suite of its own.
    const reconnectionOptions = { maxRetries: 0, initialReconnectionDelay: 1, maxReconnectionDelay: 1, reconnectionDelayGrowFactor: 1 };
    side.transport = new Transport(new URL(side.recorder.url), { reconnectionOptions });
    // What the server sent is what the client gets.
    side.toClient = side.recorder.toClient;
    return side.#connect();
  }

  /** The client through the shim; on a recorder of another side, it may meet that one's session. */
  static async through(server, home, recorder) {
    const side = new Side();
    side.recorder = recorder ?? (await Recorder.start(server.url));
    side.toClient = [];
    const { environment, folder } = home;
    const command = { command: SHIM, args: [side.recorder.url], env: environment, cwd: folder, stderr: "pipe" };
    side.transport = new RecordingStdio(command, side.toClient);
    side.transport.stderr.on("data", (chunk) => (side.stderr += chunk));
    return side.#connect();
  }

  #connect() {
    this.tasks = new InMemoryTaskStore();
    const options = { capabilities: CAPABILITIES, taskStore: this.tasks };
    this.client = new Client({ name: "peers", version: "1.0.0" }, options);
    this.client.onerror = (error) => this.strayErrors.push(error);
    answerTheServer(this.client);
    const send = this.transport.send.bind(this.transport);
    this.transport.send = (message, options) => {
      if (message.method === "notifications/cancelled") this.cancelled.add(JSON.stringify(message.params.requestId));
      return send(message, options);
    };
    return this;
  }

  /** Begins the session. */
  async open() {
    await this.client.connect(this.transport).catch((error) => {
      error.message += this.stderr && `\n${this.stderr}`;
      throw error;
    });
  }

  /** Waits until `method` was said `times` times to the client since `from`. */
  heard(method, from = 0, times = 1) {
    const said = () => this.toClient.slice(from).filter((text) => textAt(text, "method") === JSON.stringify(method));
    return until(10_000, `${times} ${method}`, () => said().length >= times);
  }

  /** Waits until the server got a message that contains `text`, since `from`. */
  serverHeard(text, from = 0) {
    const got = () => this.recorder.toServer.slice(from).some((said) => said.includes(text));
    return until(10_000, `${text} to arrive`, got);
  }

  /** Sends a request as it stands, and waits for the answer to its id (JSON text). */
  async ask(text) {
    const id = textAt(text, "id");
    const answered = () => this.toClient.some((said) => textAt(said, "method") === undefined && textAt(said, "id") === id);
    await this.transport.sendText(text);
    await until(10_000, `an answer to ${id}`, answered);
  }

  async close() {
    await this.client.close();
    // It would hold each task, and this process, for the minutes that were asked for.
    this.tasks.cleanup();
    await this.recorder.stop();
  }
}
