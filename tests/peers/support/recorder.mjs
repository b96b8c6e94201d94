// A loopback pass-through in front of one real server that keeps every MCP
// message in both directions, byte for byte. Adds nothing, holds nothing back.
import { once } from "node:events";
import http from "node:http";
import { performance } from "node:perf_hooks";

import { Lines } from "./waiting.mjs";

/** Calls `take` with the data of each event of a stream of server-sent events. */
function eventsOf(take) {
  let event = { type: "message", data: [] };
  const lines = new Lines((ended) => {
    const line = ended.replace(/\r$/, "");
    if (line === "") {
      const data = event.data.join("\n");
      if (event.type === "message" && data !== "") take(data);
      event = { type: "message", data: [] };
      return;
    }
    const colon = line.indexOf(":");
    const value = line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (line.startsWith("data:")) event.data.push(value);
    if (line.startsWith("event:")) event.type = value;
  });
  return (chunk) => lines.push(chunk);
}

/** The pass-through. */
export class Recorder {
  #agent = new http.Agent({ keepAlive: true, maxSockets: Infinity });
  #messages = [];
  #server;
  /** The text of every message that the server sent, in order. */
  toClient = [];
  /** Every HTTP request: its method, its headers, the status it got, when it began and its answer ended. */
  requests = [];

  /** Starts one in front of the server at `url`. */
  static async start(url) {
    const recorder = new Recorder();
    const target = new URL(url);
    recorder.#server = http.createServer((request, response) => recorder.#pass(target, request, response));
    recorder.#server.listen(0, "127.0.0.1");
    await once(recorder.#server, "listening");
    recorder.url = `http://127.0.0.1:${recorder.#server.address().port}${target.pathname}`;
    return recorder;
  }

  #pass(target, request, response) {
    const noted = { method: request.method, headers: request.headers, status: undefined, begun: performance.now() };
    this.requests.push(noted);
    const { hostname, port } = target;
    const { method, headers, url: path } = request;
    const onward = http.request({ hostname, port, method, path, headers, agent: this.#agent });
    const body = [];
    request.on("data", (chunk) => body.push(chunk));
    const message = { text: "" };
    request.on("end", () => {
      message.text = Buffer.concat(body).toString("utf8");
      if (message.text !== "") this.#messages.push(message);
    });
    request.pipe(onward);
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    onward.on("response", (answer) => {
      noted.status = answer.statusCode;
      // A client that looks for the transport is sent elsewhere: nobody read it.
      message.refused = answer.statusCode === 404 || answer.statusCode === 405;
      response.writeHead(answer.statusCode, answer.rawHeaders);
      response.flushHeaders();
      answer.on("close", () => (noted.ended = performance.now()));
      this.#note(answer);
      answer.on("error", () => response.destroy());
      answer.pipe(response);
    });
  }

  #note(answer) {
    const type = answer.headers["content-type"] ?? "";
    if (type.startsWith("text/event-stream")) {
      answer.on("data", eventsOf((data) => this.toClient.push(data)));
    } else if (type.startsWith("application/json")) {
      const body = [];
      answer.on("data", (chunk) => body.push(chunk));
      answer.on("end", () => body.length > 0 && this.toClient.push(Buffer.concat(body).toString("utf8")));
    }
  }

  /** The text of every message that clients sent, in order of arrival. */
  get toServer() {
    return this.#messages.filter(({ refused }) => !refused).map(({ text }) => text);
  }

  /** Ends it and its connections. */
  async stop() {
    this.#server.closeAllConnections();
    this.#server.close();
    this.#agent.destroy();
    await once(this.#server, "close");
  }
}
