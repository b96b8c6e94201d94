// Runs each step of a conversation directly and through us, and compares what
// each end received, byte for byte, but for what may differ.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";

import { Home } from "./home.mjs";
import { textAt, withoutIds, withoutServerIds } from "./raw_json.mjs";
import { Side } from "./sides.mjs";
import { until } from "./waiting.mjs";

/** Shows long messages by their ends, length and hash: a difference stays one. */
function shortened(text) {
  if (text.length <= 4_000) return text;
  const hash = createHash("sha256").update(text).digest("hex");
  return `${text.slice(0, 200)}… ${text.length} characters, ${hash} …${text.slice(-200)}`;
}

/**
 * The order among streams of a session is nobody's promise: messages are put
 * in groups, each of which has one order. What belongs to a request of the
 * client is one group, since its progress token is its id.
 */
function requestOf(text) {
  const method = textAt(text, "method");
  if (method === undefined) return textAt(text, "id");
  return method === '"notifications/progress"' ? textAt(text, "params", "progressToken") : undefined;
}

function group(text) {
  const request = requestOf(text);
  return request === undefined ? "the server's own" : `request ${request}`;
}

function ordered(texts, nameOf) {
  return texts
    .map((text, index) => ({ text, name: nameOf(text), index }))
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.index - b.index))
    .map(({ name, text }) => `${name}: ${shortened(text)}`);
}

/** What the step did at both ends. */
async function record(side, step, variant) {
  const fromClient = side.toClient.length;
  const fromServer = side.recorder.toServer.length;
  side.mark = fromClient;
  await step.run(side, variant);
  // Who hears of a cancelled request is up to everybody on the way.
  const counts = (text) => !side.cancelled.has(requestOf(text)) && (step.counts?.(text) ?? true);
  const clean = step.clean ?? ((text) => text);
  const toClient = side.toClient.slice(fromClient).filter(counts).map(withoutServerIds).map(clean);
  let toServer = side.recorder.toServer.slice(fromServer).map(withoutIds).map(clean);
  // How often a client asks how a task is depends on the clock.
  if (step.polls) toServer = [...new Set(toServer)];
  return {
    "what the client got": ordered(toClient, step.apart ? (text) => requestOf(text) ?? text : group),
    // Requests that run at the same time may come in any order.
    "what the server got": step.atOnce ? toServer.map(shortened).sort() : ordered(toServer, () => "in order"),
  };
}

/** Leaves a session that the next client may have; returns what recorded it. */
async function warmUp(server, home) {
  const first = await Side.through(server, home);
  await first.open();
  await first.client.ping();
  await first.client.close();
  await until(10_000, "the session to be free", async () => (await home.status()).servers[0].sessions_idle === 1);
  return first.recorder;
}

/** What the headers say of the protocol, of every request that was accepted. */
function protocolHeaders({ recorder }) {
  const said = ({ method, headers }) =>
    `${method} ${headers["content-type"]} ${headers["mcp-protocol-version"]}`;
  return [...new Set(recorder.requests.filter(({ status }) => status < 300).map(said))].sort();
}

/** Each request was answered once, and the session saw each id once. */
function assertTidy(side, { stateless }) {
  const ids = (texts, wanted) => texts.filter(wanted).map((text) => textAt(text, "id"));
  const answered = ids(side.toClient, (text) => textAt(text, "method") === undefined);
  assert.equal(new Set(answered).size, answered.length);
  const isRequest = (text) => textAt(text, "method") !== undefined && textAt(text, "id") !== undefined;
  const asked = ids(side.recorder.toServer, isRequest);
  assert.ok(stateless || new Set(asked).size === asked.length);
  assert.equal(side.stderr, "");
}

/**
 * Declares the tests of one server: `start` starts it, `variant` says what it
 * can do, `steps` what is said, in order and in one session each side.
 */
export function compare(start, variant, steps) {
  let home, server, direct, through;

  before(async () => {
    home = new Home();
    server = await start();
    direct = await Side.direct(server);
    const recorder = variant.warm && (await warmUp(server, home));
    through = await Side.through(server, home, recorder);
  });

  after(async () => {
    await Promise.all([direct?.close(), through?.close()]);
    await home.end();
    await server?.stop();
  });

  test("the handshake", async () => {
    const handshake = {
      run: async (side) => {
        await side.open();
        // What the server says unasked is lost before its stream is open.
        const opened = () => side.recorder.requests.some(({ method, status }) => method === "GET" && status !== undefined);
        await until(10_000, "the stream to be asked for", opened);
        await side.serverHeard("notifications/initialized");
        if (variant.greets) await side.heard("notifications/message");
      },
      ...variant.handshake,
    };
    const expected = await record(direct, handshake, variant);
    // Whoever finds the session warm is answered without the server.
    if (variant.warm) expected["what the server got"] = [];
    assert.deepEqual(await record(through, handshake, variant), expected);
  });

  for (const step of steps.filter(({ asks }) => !(asks && variant.hearsNothing))) {
    test(step.name, async () => {
      // What is slow and has a session to itself is done on both sides at once.
      const atOnce = step.slow && record(through, step, variant);
      const expected = await record(direct, step, variant);
      assert.notEqual(expected["what the client got"].length + expected["what the server got"].length, 0);
      assert.deepEqual(await (atOnce || record(through, step, variant)), expected);
    });
  }

  test("no id was used twice, and nothing stray was printed", () => assertTidy(through, variant));

  test("the headers are the same", () => {
    assert.deepEqual(protocolHeaders(through), protocolHeaders(direct));
  });
}
