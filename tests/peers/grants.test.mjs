// Grants that need no browser here, through us: each works from an empty home,
// asks for no more tokens than it must, and goes on after expiry and crash.
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { GRANTS } from "./support/grants.mjs";
import { inWorld, many, measure } from "./support/grants_world.mjs";
import { echo } from "./support/protected_scene.mjs";
import { within } from "./support/waiting.mjs";

/** Shims at the same time. */
const MANY = 20;

/** Seconds that a short-lived token lives. */
const SHORT = 2;
const LONG = 3600;

/** Grants that are renewed in a way of their own; the others are as one of these. */
const distinct = Object.entries(GRANTS).filter(([, { alike, fixed }]) => !alike && !fixed);

/** Checks what `body` got from the servers that give tokens, to the request. */
async function costs(world, expected, body) {
  const mark = world.mark();
  const result = await body();
  const { granted, refused } = world.since(mark);
  assert.deepEqual(granted, expected);
  // Whoever does not know the nonce yet is told it, once.
  const nonces = refused.filter((event) => event.includes("nonce"));
  assert.deepEqual(refused, nonces);
  assert.ok(nonces.length <= 1, `${nonces}`);
  return result;
}

describe("from an empty home", { timeout: 120_000, concurrency: 3 }, () => {
  for (const [name, grant] of Object.entries(GRANTS)) {
    test(name, () =>
      inWorld(grant, async (world) => {
        const { warmRequests } = await costs(world, grant.granted, () => measure(world, 10));
        assert.equal(warmRequests, 0, "a warm call costs no token request");
        await world.home.killDaemon();
        await costs(world, grant.kept ? [] : grant.granted, async () => echo(await world.connect(), "to a new daemon"));
        assert.equal(world.authorization.count("registered"), grant.registers ? 1 : 0);
      }),
    );
  }
});

describe("many at once: what has expired, and what the server refuses, is replaced once", { timeout: 120_000, concurrency: 4 }, () => {
  for (const [name, grant] of distinct) {
    test(name, () =>
      inWorld(grant, async (world) => {
        const { authorization, entry, home, server } = world;
        const renewed = grant.renewed ?? grant.granted;
        authorization.tokenLife = SHORT;
        const client = await world.connect();
        await echo(client, "fresh");
        await client.close();
        await home.killDaemon();
        await world.expired(SHORT);
        authorization.tokenLife = LONG;
        await entry.renew?.();
        const clients = await costs(world, renewed, () => many(world, MANY));

        await entry.renew?.();
        server.guard.distrustAll();
        const again = () => Promise.all(clients.map((client, n) => echo(client, `again from ${n}`)));
        await costs(world, renewed, () => within(40_000, "every answer", again()));
      }),
    );
  }
});
