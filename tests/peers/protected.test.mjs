// Servers that want tokens: somebody signs in once, in a real browser, and every
// command of every client works from then on, whatever happens to tokens, daemon
// and grant.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Chromium } from "./support/chromium.mjs";
import { PROTECTED, echo, protectedScene, text } from "./support/protected_scene.mjs";
import { within } from "./support/waiting.mjs";

/** Clients at the same time, of the first server and of the others. */
const [MANY, FEWER] = [50, 20];

/** Seconds that a short-lived token lives: enough to connect many clients. */
const SHORT = 8;
const LONG = 3600;

for (const [index, [name, start]] of Object.entries(PROTECTED).entries()) {
  const clientsAtOnce = index === 0 ? MANY : FEWER;
  describe(name, { timeout: 240_000, concurrency: true }, () => {
    let chromium;

    before(async () => {
      chromium = await Chromium.launch();
    });
    after(() => chromium.close());

    const check = (what, body) => test(what, () => protectedScene(chromium, start, body));

    check("the first command signs in, and no other does", async (scene) => {
      const { authorization, desktop, home } = scene;
      const first = await scene.signedIn();
      assert.equal(text(await first.callTool({ name: "whoami", arguments: {} })), "alice");
      assert.equal(await scene.page.title(), "You are signed in - mcp-remote");
      assert.deepEqual(authorization.since(0), ["registered", "authorized", "authorization_code"]);
      const requests = authorization.requests.length;
      const [second, third] = await scene.connect(2);
      await first.close();
      await Promise.all([second, third].map((client) => echo(client, "again")));
      await home.killDaemon();
      await Promise.all([second, third].map((client) => echo(client, "and after a crash")));
      const [fourth] = await scene.connect(1);
      assert.equal(text(await fourth.callTool({ name: "whoami", arguments: {} })), "alice");
      const asked = authorization.requests.slice(requests).filter((request) => request !== "GET /jwks");
      assert.deepEqual(asked, [], "nobody asks the authorization server for anything");
      assert.equal(desktop.tabs().length, 1);
      assert.equal(first.stderrText.match(/Please authorize this client by visiting:\n(\S+)/)[1], desktop.tabs()[0]);
      assert.equal(fourth.stderrText, "");
    });

    check("many clients that meet an expired token cause one refresh", async (scene) => {
      const { authorization, desktop } = scene;
      authorization.tokenLife = SHORT;
      const clients = [await scene.signedIn(), ...(await scene.connect(clientsAtOnce - 1))];
      await scene.expired();
      authorization.tokenLife = LONG;
      const mark = authorization.events.length;
      await within(40_000, "every answer", Promise.all(clients.map((client, n) => echo(client, `from ${n}`))));
      assert.deepEqual(authorization.since(mark), ["refresh_token"]);
      assert.equal(desktop.tabs().length, 1);
    });

    check("used once, every refresh token: across expiry, kill -9 and both", async (scene) => {
      const { authorization, desktop, home } = scene;
      authorization.tokenLife = 4;
      const client = await scene.signedIn();
      await echo(client, "fresh");
      for (const round of [1, 2, 3]) {
        const refreshes = authorization.count("refresh_token");
        await scene.expired();
        if (round > 1) await home.killDaemon();
        await echo(client, `round ${round}`);
        assert.ok(authorization.count("refresh_token") > refreshes);
      }
      assert.deepEqual([...new Set(authorization.since(0))], ["registered", "authorized", "authorization_code", "refresh_token"]);
      assert.equal(desktop.tabs().length, 1);
    });

    check("many clients that meet a revoked grant cause one sign-in, in one tab", async (scene) => {
      const { authorization, desktop } = scene;
      authorization.tokenLife = SHORT;
      const clients = [await scene.signedIn(), ...(await scene.connect(clientsAtOnce - 1))];
      await scene.expired();
      await authorization.revokeEverything();
      authorization.tokenLife = LONG;
      const mark = authorization.events.length;
      const calls = clients.map((client, n) => echo(client, `from ${n}`));
      const answers = Promise.all(calls);
      answers.catch(() => {});
      const page = await scene.alice.signIn(await desktop.nextTab(1));
      assert.equal(await page.title(), "You are signed in - mcp-remote");
      await within(40_000, "every answer", answers);
      // Another test may be signing in on the port that the client was registered with.
      const happened = authorization.since(mark).filter((event) => event !== "registered");
      assert.deepEqual(happened, ["refresh_token refused: refresh token not found", "authorized", "authorization_code"]);
      assert.equal(desktop.tabs().length, 2);
    });
  });
}
