// Whoever signed in with the npm package need not do it again: its tokens and
// client are taken over, renewed by us, and its own files stay as they are.
import assert from "node:assert/strict";
import { readFileSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { Chromium } from "./support/chromium.mjs";
import { PROTECTED, echo, protectedScene, text } from "./support/protected_scene.mjs";

/** The folder in which npx finds the package. */
const folder = fileURLToPath(new URL(".", import.meta.url));
const NPX = { command: ["npx", "--no", "--", "mcp-remote"], folder };

/** Everything about the package's files that could change. */
function filesOfTheNpmPackage(home) {
  const store = path.join(home.folder, ".mcp-auth/mcp-remote-v1");
  const files = readdirSync(store).map((name) => {
    const file = path.join(store, name);
    const { mode, mtimeMs } = statSync(file);
    return [name, { mode, mtimeMs, content: readFileSync(file, "utf8") }];
  });
  return Object.fromEntries(files);
}

describe("after the npm package", { timeout: 240_000, concurrency: true }, () => {
  let chromium;

  before(async () => {
    chromium = await Chromium.launch();
  });
  after(() => chromium.close());

  for (const name of ["the TypeScript SDK, Streamable HTTP", "FastMCP"]) {
    test(name, () =>
      protectedScene(chromium, PROTECTED[name], async (scene) => {
        const { authorization, desktop, home, server } = scene;
        authorization.tokenLife = 8;
        const theirs = await scene.signedIn(NPX);
        assert.equal(text(await theirs.callTool({ name: "whoami", arguments: {} })), "alice");
        assert.match(theirs.stderrText, /Please authorize this client by visiting:/);
        await theirs.close();
        assert.equal(home.daemonPid(), undefined, "none of it was ours");
        const files = filesOfTheNpmPackage(home);
        assert.equal(Object.keys(files).filter((file) => /_(tokens|client_info)\.json$/.test(file)).length, 2);
        const mark = authorization.events.length;

        const ours = await home.connect(server.url);
        assert.equal(text(await ours.callTool({ name: "whoami", arguments: {} })), "alice");
        await scene.expired();
        await echo(ours, "with a token that we renewed");
        await scene.expired();
        await home.killDaemon();
        await echo(ours, "and once more");
        assert.equal(desktop.tabs().length, 1, "the npm package's");
        const happened = authorization.since(mark);
        assert.ok(happened.length >= 2 && happened.every((event) => event === "refresh_token"), `${happened}`);
        assert.deepEqual(filesOfTheNpmPackage(home), files);
      }),
    );
  }
});
