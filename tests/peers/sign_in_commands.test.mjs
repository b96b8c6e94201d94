// What a person does about a sign-in beside using a server: signing in at a
// terminal and from another machine, giving more access or not, signing out.
import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";

import { Chromium } from "./support/chromium.mjs";
import { SHIM } from "./support/home.mjs";
import { PROTECTED, echo, protectedScene, text } from "./support/protected_scene.mjs";
import { until } from "./support/waiting.mjs";

/** Runs a program at a terminal of its own. */
const AT_A_TERMINAL = ["python3", "-c", "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"];

/** The files of the only grant, by the end of their names. */
function files(home) {
  const folder = path.join(home.folder, ".mcp-auth/mcp-remote-d1");
  const names = existsSync(folder) ? readdirSync(folder) : [];
  return Object.fromEntries(names.map((name) => [name.replace(/^[0-9a-f]{64}_/, ""), path.join(folder, name)]));
}

const administer = async (client) => text(await client.callTool({ name: "administer", arguments: {} }));

describe("sign-in commands", { timeout: 240_000, concurrency: true }, () => {
  let chromium, elsewhere;

  before(async () => {
    chromium = await Chromium.launch();
    elsewhere = await Chromium.launch({ elsewhere: true });
  });
  after(() => Promise.all([chromium.close(), elsewhere.close()]));

  const start = PROTECTED["the TypeScript SDK, Streamable HTTP"];
  const check = (what, body) => test(what, () => protectedScene(chromium, start, body));

  check("at a terminal: signs in, says who answers, and leaves", async (scene) => {
    const { authorization, desktop, home, server } = scene;
    const first = home.start([...AT_A_TERMINAL, SHIM, server.url]);
    const alice = await scene.person();
    await alice.signIn(await desktop.nextTab(0));
    const { code, stdout } = await first.ended();
    assert.equal(code, 0, stdout);
    assert.match(stdout, /Connected to protected-server 1\.0\.0 at http/);
    const again = await home.start([...AT_A_TERMINAL, SHIM, server.url]).ended();
    assert.equal(again.code, 0);
    assert.equal(again.stdout.trim().split("\n").length, 1, again.stdout);
    assert.equal(desktop.tabs().length, 1);
    assert.equal(authorization.count("authorization_code"), 1);
  });

  check("without a sign-in: a check says so, and opens nothing", async ({ authorization, desktop, home, server }) => {
    const { code, stderr, stdout } = await home.run([server.url]);
    assert.deepEqual({ code, stdout }, { code: 11, stdout: "" });
    assert.match(stderr, /401.*unauthorized.*mcp-remote login/i);
    assert.deepEqual([desktop.tabs(), authorization.events], [[], []]);
  });

  check("from another machine: the page's URL is pasted", async (scene) => {
    const { authorization, desktop, home, server } = scene;
    const login = home.start([SHIM, "login", server.url, "--no-browser"]);
    await until(15_000, "to be asked to paste", () => login.output.stderr.includes("paste the URL"));
    const [, url] = login.output.stderr.match(/Please authorize this client by visiting:\n(\S+)/);
    const page = await (await elsewhere.person()).signIn(url);
    const ended = page.loaded.at(-1);
    assert.match(ended, /^http:\/\/localhost:\d+\/oauth\/callback\?code=/);
    assert.deepEqual(authorization.since(0), ["registered", "authorized"]);
    login.child.stdin.write("not a URL\n");
    await until(10_000, "to hear that it is none", () => login.output.stderr.includes("belongs to no sign-in"));
    login.child.stdin.write(`${ended}\n`);
    const { code, stderr } = await login.ended();
    assert.equal(code, 0, stderr);
    assert.match(stderr, /Connected to protected-server/);
    const client = await home.connect(server.url);
    assert.equal(text(await client.callTool({ name: "whoami", arguments: {} })), "alice");
    assert.deepEqual(desktop.tabs(), []);
    assert.deepEqual(authorization.since(0), ["registered", "authorized", "authorization_code"]);
  });

  check("more access is given once, beside what works already", async (scene) => {
    const { authorization, desktop, home, server } = scene;
    const client = await scene.signedIn();
    const calls = [administer(client), administer(client)];
    for (const call of calls) call.catch(() => {});
    const url = await desktop.nextTab(1);
    const asked = new URL(url).searchParams.get("scope").split(" ");
    assert.deepEqual(asked.toSorted(), ["admin", "offline_access", "tools"]);
    await echo(client, "meanwhile");
    await scene.alice.signIn(url);
    assert.deepEqual(await Promise.all(calls), ["done by alice", "done by alice"]);
    await home.killDaemon();
    const [other] = await scene.connect(1);
    assert.equal(await administer(other), "done by alice");
    assert.equal(desktop.tabs().length, 2);
    assert.equal(server.refused[403], 2);
    assert.match((await scene.grant()).scopes, /\badmin\b/);
    assert.equal(authorization.count("authorization_code"), 2);
  });

  check("more access is refused once: nobody is asked again, the rest works", async (scene) => {
    const { authorization, desktop, home } = scene;
    authorization.tokenLife = 4;
    const client = await scene.signedIn();
    const refused = (error) => {
      assert.equal(error.code, -32001, String(error));
      assert.match(error.message, /access/);
      return true;
    };
    const call = administer(client);
    const first = assert.rejects(call, refused);
    await scene.alice.refuse(await desktop.nextTab(1));
    await first;
    await assert.rejects(administer(client), refused);
    await echo(client, "the rest");
    await scene.expired();
    await home.killDaemon();
    await echo(client, "with another token");
    assert.ok(authorization.count("refresh_token") > 0);
    assert.equal(authorization.count("authorization_code"), 1);
    assert.equal(desktop.tabs().length, 2);
  });

  check("logout revokes the grant, and the next command asks for a sign-in", async (scene) => {
    const { authorization, desktop, home, server } = scene;
    const client = await scene.signedIn();
    await client.close();
    const { refresh_token } = JSON.parse(readFileSync(files(home)["tokens.json"], "utf8"));
    const { client_id } = JSON.parse(readFileSync(files(home)["client_info.json"], "utf8"));
    const mark = authorization.events.length;
    const { code, stderr, stdout } = await home.run(["logout", server.url]);
    assert.deepEqual({ code, stderr, stdout }, { code: 0, stderr: "", stdout: `Signed out of ${server.url}.\n` });
    assert.ok(authorization.since(mark).includes("revoked"));
    assert.equal(files(home)["tokens.json"], undefined);
    const body = new URLSearchParams({ grant_type: "refresh_token", refresh_token, client_id });
    const answer = await (await fetch(`${authorization.issuer}/token`, { method: "POST", body })).json();
    assert.equal(answer.error, "invalid_grant");
    const again = await scene.signedIn();
    await echo(again, "signed in anew");
    assert.equal(desktop.tabs().length, 2);
  });

  check("status says who is signed in, with whom and for how long", async (scene) => {
    const { authorization, home, server } = scene;
    await scene.signedIn();
    const grant = await scene.grant();
    assert.deepEqual([grant.state, grant.issuer, grant.scopes], ["signed-in", authorization.issuer, "tools"]);
    const left = grant.expires_at_unix_ms - Date.now();
    assert.ok(left > 3_500_000 && left <= 3_600_000, `${left}`);
    assert.ok(grant.next_refresh_unix_ms < grant.expires_at_unix_ms);
    const { stdout } = await home.run(["status"]);
    assert.match(stdout, /signed-in 59m/);
    assert.ok(stdout.includes(`${server.url} is signed in at ${authorization.issuer} (tools)`), stdout);
  });
});
