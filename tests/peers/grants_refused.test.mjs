// Grants that fail, at real servers: one sentence that says what happened and
// where, soon, with nothing secret in it, and the next attempt works once
// the cause is gone.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { chmodSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { performance } from "node:perf_hooks";
import { describe, test } from "node:test";

import { AT_HOME, GRANTS, PAGE, elsewhere } from "./support/grants.mjs";
import { inWorld } from "./support/grants_world.mjs";
import { SHIM } from "./support/home.mjs";
import { echo } from "./support/protected_scene.mjs";
import { Visitor } from "./support/visitor.mjs";
import { until } from "./support/waiting.mjs";
import { Platform } from "./support/workload.mjs";

/** Seconds within which everything is said, and how a program is waited for that hangs. */
const SOON = 12;
const HANGS = 25;

const withFlag = (flags, name, value) => flags.with(flags.indexOf(name) + 1, value);

/** Connects a client in vain; returns what it was told. */
async function inVain(world, secrets, options, limit = SOON) {
  const begun = performance.now();
  let said;
  await assert.rejects(world.connect(options), (error) => {
    said = error.message;
    return true;
  });
  const seconds = (performance.now() - begun) / 1000;
  assert.ok(seconds < limit, `it took ${seconds} s to say: ${said}`);
  for (const secret of secrets) {
    assert.ok(!said.includes(secret), `a secret in: ${said}`);
    assert.deepEqual(world.home.holds(secret), [], "a secret is written down");
  }
  return said;
}

describe("grants that fail", { timeout: 120_000, concurrency: 4 }, () => {
  const check = (what, name, body) => test(what, () => inWorld(GRANTS[name], body));

  for (const [what, script] of Object.entries({
    "prints a novel": 'process.stdout.write("a secret page ".repeat(1000000))',
    "prints nothing": "",
    "fails": 'console.error("a secret page"); process.exit(3)',
    "hangs": 'console.error("a secret page"); setInterval(() => {}, 1000)',
  })) {
    check(`a token command that ${what}`, "token command", async (world) => {
      const command = JSON.stringify([process.execPath, "-e", script]);
      world.configure(`[servers.guarded]\nurl = ${JSON.stringify(world.server.url)}\nbearer_token_command = ${command}\n`);
      const said = await inVain(world, ["a secret page"], {}, HANGS);
      assert.match(said, /command/);
      assert.equal(world.tokenRequests, 0);
    });
  }

  check("a wrong secret", "client secret, basic", async (world) => {
    const { flags } = world.entry;
    const wrong = withFlag(flags, "--static-oauth-client-info", JSON.stringify({ client_id: "ci-bot", client_secret: "the-wrong-one" }));
    const said = await inVain(world, ["the-wrong-one"], { flags: wrong });
    assert.match(said, /invalid_client|client/);
    assert.ok(said.includes(world.server.url) || said.includes(world.authorization.issuer), said);
    await echo(await world.connect(), "with the right one");
  });

  check("a key that everybody may read", "client key", async (world) => {
    const file = path.join(world.home.folder, "client-key");
    chmodSync(file, 0o644);
    const said = await inVain(world, []);
    assert.ok(said.includes(file), said);
    assert.equal(world.tokenRequests, 0);
    chmodSync(file, 0o600);
    await echo(await world.connect(), "once it is private");
  });

  check("a key of another client", "client key, EdDSA, PKCS#8", async (world) => {
    const key = GRANTS["client key, ES256, JWK"].key.write(world.home.folder, { name: "another-key" });
    const said = await inVain(world, [], { flags: withFlag(world.entry.flags, "--client-key", key) });
    assert.match(said, /invalid_client|client/);
    await echo(await world.connect(), "with its own");
  });

  check("no key at all", "client key, RS256, PKCS#8", async (world) => {
    const file = path.join(world.home.folder, "client-key");
    writeFileSync(file, "-----BEGIN PRIVATE KEY-----\nbm90aGluZw==\n-----END PRIVATE KEY-----\n");
    const said = await inVain(world, ["bm90aGluZw"]);
    assert.ok(said.includes(file), said);
    assert.equal(world.tokenRequests, 0);
  });

  check("a key of a type that nobody wants", "client key, ES256, SEC 1", async (world) => {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-384" });
    const file = world.write("client-key", privateKey.export({ type: "pkcs8", format: "pem" }));
    const said = await inVain(world, []);
    assert.ok(said.includes(file) && said.includes("not supported"), said);
    assert.equal(world.tokenRequests, 0);
  });

  check("a platform's token for somebody else", "platform's token", async (world) => {
    const file = path.join(world.home.folder, "platform-token");
    const { issuer } = world.authorization;
    const elsewhere = await world.platform.token("https://elsewhere.test");
    writeFileSync(file, elsewhere);
    assert.match(await inVain(world, [elsewhere]), /meant for https:\/\/elsewhere\.test/);
    assert.equal(world.tokenRequests, 0);
    const stranger = await new Platform().token(issuer);
    writeFileSync(file, stranger);
    const said = await inVain(world, [stranger]);
    assert.ok(said.includes(file) && said.includes(issuer), said);
    assert.equal(world.tokenRequests, 1);
    await world.platform.mount(file, issuer);
    // What is refused is not asked for again so soon, but by somebody who says so.
    const { code, stderr } = await world.home.run(["login", world.server.url, ...world.entry.flags]);
    assert.equal(code, 0, stderr);
    await echo(await world.connect(), "with one for this server");
  });

  for (const name of ["identity provider, ID token", "identity provider, refresh token", "identity provider, device code"]) {
    check(`an identity provider that is gone: ${name}`, name, async (world) => {
      const { issuer } = world.provider;
      world.entry.person = undefined;
      await world.provider.stop();
      world.provider = undefined;
      const said = await inVain(world, []);
      assert.ok(said.includes(`the identity provider ${issuer}`), said);
      assert.equal(world.tokenRequests, 0);
    });
  }

  check("a code of the identity provider's that is denied", "identity provider, device code", async (world) => {
    const { issuer } = world.provider;
    world.entry.person = elsewhere((visitor, url) => visitor.refuse(url));
    const said = await inVain(world, [AT_HOME.client_secret]);
    assert.ok(said.includes(`the identity provider ${issuer}`) && said.includes("access_denied"), said);
    assert.ok(said.includes(`mcp-remote login ${world.server.url}`), said);
    const login = world.home.start([SHIM, "login", "--device", world.server.url, ...world.entry.flags]);
    const named = await until(15_000, "a page to open elsewhere", () => login.output.stderr.match(PAGE)?.[1]);
    await new Visitor().agree(named);
    const { code, stderr } = await login.ended();
    assert.equal(code, 0, stderr);
    await echo(await world.connect({ person: undefined }), "when somebody has agreed");
  });

  check("nobody to ask at the identity provider", "identity provider, device code", async (world) => {
    const { code, stderr, stdout } = await world.home.run(["login", world.server.url, ...world.entry.flags, "--non-interactive"]);
    assert.deepEqual({ code, stdout }, { code: 11, stdout: "" });
    assert.match(stderr, /mcp-remote login .*--identity-provider/);
    assert.equal(world.tokenRequests, 0);
    assert.equal(world.provider.requests.filter((request) => request === "POST /device/auth").length, 0);
  });

  check("an identity provider that has never seen the token", "identity provider, refresh token", async (world) => {
    const file = world.write("subject", "a-token-of-somebody-else");
    const said = await inVain(world, ["a-token-of-somebody-else"]);
    assert.ok(said.includes(`the identity provider ${world.provider.issuer}`) && said.includes(file), said);
    assert.deepEqual(world.since([0, 0]).granted, ["authorization_code"]);
  });

  check("an assertion that the authorization server does not believe", "identity provider, ID token", async (world) => {
    // For another client than the one that shows it.
    world.provider.audiences.set(world.authorization.issuer, "somebody-else");
    const said = await inVain(world, []);
    assert.ok(said.includes(world.authorization.issuer), said);
    const [assertion] = world.provider.issued;
    for (const part of assertion.split(".").slice(1)) {
      assert.ok(!said.includes(part), said);
      assert.deepEqual(world.home.holds(part), [], "an assertion is written down");
    }
  });

  check("a token file that is not there", "token file", async (world) => {
    const file = path.join(world.home.folder, "token");
    rmSync(file);
    const said = await inVain(world, []);
    assert.ok(said.includes(file), said);
    await world.entry.renew();
    await echo(await world.connect(), "once it is there");
  });

  check("a device code that is denied", "device code", async (world) => {
    world.entry.person = elsewhere((visitor, url) => visitor.refuse(url));
    const said = await inVain(world, []);
    assert.match(said, /denied|refused|access_denied/);
    assert.ok(said.includes(`mcp-remote login ${world.server.url}`), said);
    const login = world.home.start([SHIM, "login", world.server.url, "--device-code"]);
    const named = await until(15_000, "a page to open elsewhere", () => login.output.stderr.match(PAGE)?.[1]);
    await new Visitor().agree(named);
    const { code, stderr } = await login.ended();
    assert.equal(code, 0, stderr);
    await echo(await world.connect(), "when somebody has agreed");
  });

  test("a device code that nobody enters in time", () =>
    inWorld({ ...GRANTS["device code"], deviceLife: 6 }, async (world) => {
      world.entry.person = elsewhere(() => {});
      const said = await inVain(world, []);
      assert.match(said, /expired|in time|ended/);
      assert.deepEqual(world.since([0]).granted, []);
    }));

  check("nobody to ask", "device code", async (world) => {
    const { code, stderr, stdout } = await world.home.run([world.server.url, "--non-interactive"]);
    assert.deepEqual({ code, stdout }, { code: 11, stdout: "" });
    assert.match(stderr, /mcp-remote login/);
    assert.equal(world.tokenRequests, 0);
    assert.equal(world.authorization.requests.filter((request) => request === "POST /device/auth").length, 0);
  });
});
