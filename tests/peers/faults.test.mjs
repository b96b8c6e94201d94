// Real servers that are restarted, paused and killed under a real client: the
// next call works, one handshake serves all who wait, a call that may have been
// executed is answered once, with an error that says so, and executed once.
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { SERVERS, disturbed } from "./support/scene.mjs";
import { until, within } from "./support/waiting.mjs";

/** Calls at the same time after a loss. */
const WAITERS = 12;

const maybeExecuted = (error) => {
  assert.equal(error.code, -32001, String(error));
  assert.equal(error.data.maybeExecuted, true);
  return true;
};

for (const [name, kind] of Object.entries(SERVERS)) {
  describe(name, { timeout: 120_000 }, () => {
    const check = (what, body) => test(what, () => disturbed(kind, body));

    check("restarted: all who wait are served by one handshake", async ({ server, quick, executions, handshakes }) => {
      await quick("before");
      await server.restart();
      const before = handshakes();
      const keys = Array.from({ length: WAITERS }, (_, n) => `after ${n}`);
      const results = await within(20_000, "every answer", Promise.all(keys.map(quick)));
      assert.ok(results.every((result) => !result.isError));
      assert.deepEqual(keys.map(executions), keys.map(() => 1));
      assert.equal(handshakes() - before, 1);
    });

    check("restarted under calls: each is answered once, and executed once", async (scene) => {
      const { client, server, quick, slow, executions } = scene;
      const keys = Array.from({ length: WAITERS }, (_, n) => `lost ${n}`);
      const calls = keys.map((key) => slow(key, 30));
      const refused = calls.map((call) => assert.rejects(call, maybeExecuted));
      await until(10_000, "the calls to be executed", () => keys.every((key) => executions(key) === 1));
      await server.restart();
      await within(20_000, "every error", Promise.all(refused));
      await quick("after");
      assert.deepEqual([...keys, "after"].map(executions), Array(WAITERS + 1).fill(1));
      const answers = client.received.filter(({ method }) => method === undefined).map(({ id }) => id);
      assert.equal(new Set(answers).size, answers.length, "no answer came twice");
      assert.deepEqual(client.strayErrors, []);
    });

    check("killed in the middle of a call, away, and back", async ({ server, quick, slow, executions }) => {
      const lost = assert.rejects(slow("lost", 30), maybeExecuted);
      await until(10_000, "the call to be executed", () => executions("lost") === 1);
      await server.stop();
      await within(20_000, "the error", lost);
      await assert.rejects(within(20_000, "an error", quick("nobody")), { code: -32001 });
      assert.equal(executions("nobody"), 0);
      await server.start();
      await within(20_000, "the answer", quick("back"));
      assert.deepEqual(["lost", "nobody", "back"].map(executions), [1, 0, 1]);
    });

    check("paused and continued: what was asked is answered, once", async ({ server, quick, slow, executions, handshakes }) => {
      await quick("before");
      const running = slow("running", 0.5);
      await until(10_000, "the call to be executed", () => executions("running") === 1);
      const before = handshakes();
      await server.pause();
      const asked = ["a", "b", "c"].map(quick);
      const early = await Promise.race([running.then(() => "answered"), new Promise((end) => setTimeout(end, 1_000, "nothing"))]);
      assert.equal(early, "nothing", "a server that stands still has not answered");
      server.resume();
      await within(20_000, "every answer", Promise.all([running, ...asked]));
      assert.deepEqual(["running", "a", "b", "c"].map(executions), [1, 1, 1, 1]);
      assert.equal(handshakes() - before, 0);
    });

    check("restarted again and again: no session is lost to the client", async ({ server, quick, executions }) => {
      for (const round of [1, 2, 3]) {
        await server.restart();
        await within(20_000, "the answer", quick(`round ${round}`));
        assert.equal(executions(`round ${round}`), 1);
      }
    });
  });
}
