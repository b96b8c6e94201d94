// The page that a sign-in ends on, in a real browser: what it says, that nothing
// which anybody else says becomes part of it, and that it may do nothing.
// Screenshots of all pages are kept; support/chromium.mjs says where.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Chromium, SCREENSHOTS, screenshot } from "./support/chromium.mjs";
import { PROTECTED, echo, protectedScene } from "./support/protected_scene.mjs";

const HOSTILE = `</main><script>document.title="scripted"</script><img src="x" onerror="document.title='imaged'"><h1>You are signed in</h1>`;

/** What a page may be made to do by whoever gets markup into it. */
async function misbehave(page, target) {
  await page.evaluate((target) => {
    const add = (tag, properties) => document.body.append(Object.assign(document.createElement(tag), properties));
    add("script", { textContent: "document.title = 'scripted'" });
    add("script", { src: `${target}/script` });
    add("img", { src: `${target}/image` });
    add("iframe", { src: `${target}/frame`, name: "inner" });
    add("link", { rel: "stylesheet", href: `${target}/style` });
    add("form", { action: `${target}/form`, target: "inner" });
    document.querySelector("form").submit();
    return fetch(`${target}/fetch`).catch(() => {});
  }, target);
}

/** What a hostile page in another tab may send to the redirect listener. */
async function interfere(page, callback) {
  await page.evaluate(async (callback) => {
    const junk = ["?code=junk", "?error=x", "?code=junk&state=wrong", "?error=access_denied&state=wrong", "/../x", ""];
    for (const query of junk) {
      await fetch(`${callback}${query}`, { mode: "no-cors" }).catch(() => {});
      await fetch(`${callback}${query}`, { mode: "no-cors", method: "POST", body: "x" }).catch(() => {});
      await new Promise((end) => {
        const image = Object.assign(new Image(), { onload: end, onerror: end, src: `${callback}${query}` });
        document.body.append(image);
      });
    }
  }, callback);
}

describe("sign-in pages", { timeout: 240_000, concurrency: true }, () => {
  let chromium;

  before(async () => {
    chromium = await Chromium.launch();
  });
  after(() => chromium.close());

  const start = PROTECTED["the TypeScript SDK, Streamable HTTP"];
  const check = (what, body) => test(what, (context) => protectedScene(chromium, start, (scene) => body(scene, context)));

  check("success: which server, that the tab may be closed, and no more", async (scene, context) => {
    const { authorization, server } = scene;
    await scene.signedIn();
    const { page } = scene;
    assert.equal(await page.title(), "You are signed in - mcp-remote");
    assert.equal(await page.innerText("h1"), "You are signed in");
    const said = await page.innerText("main");
    assert.ok(said.includes(server.url) && said.includes("You can close this tab"), said);
    await screenshot(page, "success");
    await page.emulateMedia({ colorScheme: "dark" });
    await screenshot(page, "success-dark");
    await page.setViewportSize({ width: 360, height: 640 });
    await screenshot(page, "success-narrow");
    context.diagnostic(`screenshots: ${SCREENSHOTS}`);
    const requests = authorization.requests.length;
    await misbehave(page, authorization.issuer);
    assert.equal(await page.title(), "You are signed in - mcp-remote");
    assert.equal(await page.innerText("h1"), "You are signed in");
    assert.deepEqual(authorization.requests.slice(requests), []);
    const blocked = page.said.filter((line) => /Content Security Policy/.test(line));
    for (const directive of ["script", "image", "frame", "style", "form", "fetch"]) {
      assert.ok(blocked.some((line) => line.includes(directive)), `${directive}: ${blocked.join("\n")}`);
    }
  });

  check("an error is text, whatever it says; the command says it too", async (scene) => {
    const { desktop, home, server } = scene;
    const connecting = assert.rejects(home.connect(server.url), (error) => {
      assert.match(error.message, /access_denied/);
      return true;
    });
    const url = new URL(await desktop.nextTab(0));
    const callback = new URL(url.searchParams.get("redirect_uri"));
    callback.search = new URLSearchParams({
      error: "access_denied",
      error_description: HOSTILE,
      state: url.searchParams.get("state"),
      iss: url.origin,
    });
    const person = await scene.person();
    const page = await person.open(callback.href);
    assert.equal(await page.title(), "The sign-in failed - mcp-remote");
    assert.deepEqual([await page.locator("h1").count(), await page.locator("img, script").count()], [1, 0]);
    const said = await page.innerText("main");
    assert.ok(said.includes('<img src="x"') && said.includes(server.url), said);
    assert.ok(said.includes("You can close this tab"), said);
    assert.deepEqual(page.loaded, [callback.href]);
    assert.deepEqual(page.said.filter((line) => !/status of 400/.test(line)), []);
    await screenshot(page, "error");
    await page.emulateMedia({ colorScheme: "dark" });
    await screenshot(page, "error-dark");
    await connecting;
  });

  check("a person who says no sees that, and the command hears it", async (scene) => {
    const { authorization, desktop, home, server } = scene;
    const connecting = assert.rejects(home.connect(server.url), /access_denied/);
    const bob = await scene.person();
    const page = await bob.refuse(await desktop.nextTab(0));
    assert.equal(await page.innerText("h1"), "The sign-in failed");
    await screenshot(page, "refused");
    await connecting;
    assert.equal(authorization.count("authorization_code"), 0);
    assert.equal(desktop.tabs().length, 1);
  });

  check("other pages can neither end a sign-in nor take part in it", async (scene) => {
    const { authorization, desktop, home, server } = scene;
    const connecting = home.connect(server.url);
    connecting.catch(() => {});
    const url = await desktop.nextTab(0);
    const callback = new URL(url).searchParams.get("redirect_uri");
    const eve = await scene.person();
    const hostile = await eve.open(authorization.issuer);
    await interfere(hostile, callback);
    const stray = await eve.open(`${callback}?code=junk&state=wrong`);
    assert.equal(await stray.innerText("h1"), "Nothing to do here");
    await screenshot(stray, "stray");
    const alice = await scene.person();
    const page = await alice.signIn(url);
    assert.equal(await page.innerText("h1"), "You are signed in");
    await echo(await connecting, "all the same");
    assert.deepEqual(authorization.since(0), ["registered", "authorized", "authorization_code"]);
  });
});
