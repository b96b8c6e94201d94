// Real servers that hang up before they answer, to make clients poll
// (2025-11-25): the rest of the stream is asked for by its last event id, and
// nothing of it is lost, repeated or asked for too early.
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Recorder } from "./support/recorder.mjs";
import { POLLING_SERVERS, disturbed } from "./support/scene.mjs";
import { until, within } from "./support/waiting.mjs";

/** What the servers ask for in `retry`, and how much sooner a client may come. */
const RETRY_MS = 200;
const TOLERANCE_MS = 50;
/** Long enough that every stream is resumed before the answer is there. */
const BUSY_MS = 1_000;

const poll = (client, key, options) =>
  client.callTool({ name: "poll", arguments: { key, ms: BUSY_MS } }, undefined, options);

for (const [name, kind] of Object.entries(POLLING_SERVERS)) {
  describe(`${name} server that makes clients poll`, { timeout: 60_000 }, () => {
    test("a call whose stream is closed before the answer is answered", () =>
      disturbed(kind, async ({ home, server, executions }) => {
        const recorder = await Recorder.start(server.url);
        try {
          const client = await home.connect(recorder.url);
          client.received.length = 0;
          const result = await within(20_000, "the answer", poll(client, "one", { onprogress: () => {} }));
          assert.equal(result.content[0].text, "polled");
          assert.equal(executions("one"), 1);
          const progress = client.received.filter(({ method }) => method === "notifications/progress");
          assert.deepEqual(progress.map(({ params }) => params.progress), [1, 2, 3]);
          resumedInTime(recorder);
          await client.close();
        } finally {
          await recorder.stop();
        }
      }));

    test("ten such calls at once are answered each by its own stream", () =>
      disturbed(kind, async ({ client, executions }) => {
        const keys = Array.from({ length: 10 }, (_, n) => `many ${n}`);
        const calls = keys.map((key) => poll(client, key));
        const results = await within(20_000, "every answer", Promise.all(calls));
        assert.ok(results.every((result) => result.content[0].text === "polled"));
        assert.deepEqual(keys.map(executions), keys.map(() => 1));
        const answers = client.received.filter(({ method }) => method === undefined).map(({ id }) => id);
        assert.equal(new Set(answers).size, answers.length, "no answer came twice");
      }));

    test("a call whose stream is not there any more is lost, once, and the next one works", () =>
      disturbed(kind, async ({ client, server, executions }) => {
        const lost = assert.rejects(poll(client, "lost", {}), (error) => {
          assert.equal(error.code, -32001);
          assert.equal(error.data.maybeExecuted, true);
          return true;
        });
        await until(10_000, "the call to be executed", () => executions("lost") === 1);
        // The events were in the memory of the server that is gone.
        await server.restart();
        await within(20_000, "the error", lost);
        assert.equal((await within(20_000, "the answer", poll(client, "next"))).content[0].text, "polled");
        assert.deepEqual(["lost", "next"].map(executions), [1, 1]);
      }));
  });
}

/** The streams were resumed by their last event ids, and not before they might be. */
function resumedInTime({ requests }) {
  const resumed = requests.filter(({ headers }) => headers["last-event-id"] !== undefined);
  assert.notEqual(resumed.length, 0);
  const call = requests.findLast(({ method, begun }) => method === "POST" && begun < resumed[0].begun);
  for (const { method, status } of resumed) assert.deepEqual([method, status], ["GET", 200]);
  const waited = resumed[0].begun - call.ended;
  assert.ok(waited >= RETRY_MS - TOLERANCE_MS, `came back after ${waited} ms`);
}
