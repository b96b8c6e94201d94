// Tokens that are bound to a key (DPoP), at real servers: proofs that jose takes,
// nonces of both servers that change when they like, and one key for one grant.
import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";

import { GRANTS } from "./support/grants.mjs";
import { inWorld, many } from "./support/grants_world.mjs";
import { echo } from "./support/protected_scene.mjs";
import { until } from "./support/waiting.mjs";

/** Shims at the same time. */
const MANY = 20;

/** Seconds that a short-lived token lives. */
const SHORT = 2;

describe("tokens bound to a key", { timeout: 120_000, concurrency: 4 }, () => {
  const check = (what, name, body) => test(what, () => inWorld(GRANTS[name], body));

  check("another nonce costs one refusal, and no call", "browser, DPoP", async (world) => {
    const { guard } = world.server;
    const client = await world.connect();
    await echo(client, "the first");
    await until(10_000, "the stream to be asked for", () => guard.proofs.some(({ htm }) => htm === "GET"));
    for (const round of [1, 2, 3]) {
      guard.rotate();
      const refused = guard.refusals.length;
      const shown = guard.proofs.length;
      for (let call = 0; call < 5; call += 1) await echo(client, `round ${round}, call ${call}`);
      assert.equal(guard.refusals.length - refused, 1, `${guard.refusals.slice(refused)}`);
      assert.equal(guard.proofs.length - shown, 5, "a request each");
    }
    const { proofs } = guard;
    assert.equal(new Set(proofs.map(({ jti }) => jti)).size, proofs.length);
    assert.deepEqual([...new Set(proofs.map(({ htm }) => htm))].sort(), ["GET", "POST"]);
  });

  check("many at once, while the nonce changes", "browser, DPoP", async (world) => {
    const clients = [await world.connect(), ...(await many(world, MANY - 1))];
    for (const round of [1, 2, 3]) {
      const calls = clients.map((client, n) => echo(client, `round ${round} from ${n}`));
      world.server.guard.rotate();
      await Promise.all(calls);
    }
    assert.deepEqual(world.since([0]).granted, ["authorization_code"]);
  });

  check("one key for one grant, whatever ends: tokens, daemons, nonces", "browser, DPoP", async (world) => {
    const { authorization, home, server } = world;
    authorization.tokenLife = SHORT;
    const client = await world.connect();
    await echo(client, "fresh");
    await world.expired(SHORT);
    await home.killDaemon();
    server.guard.rotate();
    await echo(client, "with another token, to another daemon");
    assert.equal(new Set(server.guard.proofs.map(({ thumbprint }) => thumbprint)).size, 1);
    const { granted } = world.since([0]);
    assert.equal(granted[0], "authorization_code");
    assert.ok(granted.length > 1 && granted.slice(1).every((event) => event === "refresh_token"), `${granted}`);
    const kept = path.join(home.folder, ".mcp-auth/mcp-remote-d1");
    for (const name of readdirSync(kept)) assert.equal(statSync(path.join(kept, name)).mode & 0o777, 0o600, name);
  });

  for (const name of ["client secret, DPoP", "platform's token, DPoP", "identity provider, ID token, DPoP"]) {
    check(`tokens that nobody signs in for are bound too: ${name}`, name, async (world) => {
      const { guard } = world.server;
      const { granted } = GRANTS[name];
      const mark = world.mark();
      await echo(await world.connect(), "bound");
      await world.home.killDaemon();
      await echo(await world.connect(), "and still");
      assert.deepEqual(world.since(mark).granted, granted);
      guard.distrustAll();
      const renewal = world.mark();
      await echo(await world.connect(), "and so is the next");
      assert.deepEqual(world.since(renewal).granted, granted);
      assert.equal(new Set(guard.proofs.map(({ thumbprint }) => thumbprint)).size, 1);
    });
  }
});
