// Servers that hang up before they answer, to make clients poll (2025-11-25):
// the rest of the stream is asked for by its last event id, and nothing of it
// is lost, repeated or asked for too early.
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { SERVERS, disturbed } from "./support/scene.mjs";
import { Recorder } from "./support/recorder.mjs";
import { within } from "./support/waiting.mjs";

const PROGRESS = ["before", "meanwhile", "after"];

describe("Python, stateful", { timeout: 60_000 }, () => {
  test("a call whose stream is closed before the answer is answered", () =>
    disturbed(SERVERS["Python, stateful"], async ({ home, server, executions }) => {
      const recorder = await Recorder.start(server.url);
      try {
        const client = await home.connect(recorder.url);
        client.received.length = 0;
        const call = { name: "poll", arguments: { key: "polled", ms: 300 } };
        const result = await within(
          20_000,
          "the answer",
          client.callTool(call, undefined, { onprogress: () => {} }),
        );
        assert.equal(result.content[0].text, "polled");
        assert.equal(executions("polled"), 1);
        const progress = client.received.filter(({ method }) => method === "notifications/progress");
        assert.deepEqual(progress.map(({ params }) => params.progress), PROGRESS.map((_, n) => n + 1));
        const resumed = recorder.requests.filter(({ headers }) => headers["last-event-id"] !== undefined);
        assert.ok(resumed.length >= 1 && resumed.every(({ method, status }) => method === "GET" && status === 200));
        await client.close();
      } finally {
        await recorder.stop();
      }
    }));

  test("ten such calls at once are answered each by its own stream", () =>
    disturbed(SERVERS["Python, stateful"], async ({ client, executions }) => {
      const keys = Array.from({ length: 10 }, (_, n) => `polled ${n}`);
      const call = (key) => client.callTool({ name: "poll", arguments: { key, ms: 300 } });
      const results = await within(20_000, "every answer", Promise.all(keys.map(call)));
      assert.ok(results.every((result) => result.content[0].text === "polled"));
      assert.deepEqual(keys.map(executions), keys.map(() => 1));
    }));
});
