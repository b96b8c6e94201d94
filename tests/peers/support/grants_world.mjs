// One user without a display, the servers that a grant needs, and what the grant
// costs there. Owns all of them for the length of one measurement or one test;
// the grants stand in grants.mjs.
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { performance } from "node:perf_hooks";

import { DpopGuard } from "./dpop_guard.mjs";
import { AGENT } from "./grants.mjs";
import { GRANTS, startForGrants } from "./grants_authorization.mjs";
import { Home } from "./home.mjs";
import { startIdentityProvider } from "./identity_provider.mjs";
import { echo } from "./protected_scene.mjs";
import { BearerGuard, ProtectedServer } from "./protected_server.mjs";
import { until, within } from "./waiting.mjs";
import { Platform } from "./workload.mjs";

/** What a grant may use. */
export class World {
  home = new Home();
  platform = new Platform();

  /**
   * Starts what `grant` needs. Its members: `clients` at the authorization server,
   * `clientsAtHome` at an identity provider, `bound` if tokens are bound to a key,
   * `enter`, which says how the shim is called.
   */
  static async start(grant) {
    const world = new World();
    try {
      const { bound = false, clients, clientsAtHome, deviceLife } = grant;
      if (clientsAtHome) world.provider = await startIdentityProvider(clientsAtHome());
      const trusted = [world.platform, world.provider].filter(Boolean);
      world.authorization = await startForGrants({ clients: clients?.(), deviceLife, nonces: bound, trusted });
      world.provider?.audiences.set(world.authorization.issuer, AGENT.client_id);
      const guard = bound ? new DpopGuard() : new BearerGuard();
      world.server = await ProtectedServer.start(world.authorization, "http", guard);
      world.entry = { target: world.server.url, flags: [], ...(await grant.enter(world)) };
      return world;
    } catch (error) {
      await world.end();
      throw error;
    }
  }

  /** Writes a file that is its owner's only; returns its path. */
  write(name, content) {
    const file = path.join(this.home.folder, name);
    writeFileSync(file, content, { mode: 0o600 });
    return file;
  }

  /** Writes the user's configuration. */
  configure = (text) => {
    const folder = path.join(this.home.folder, ".config", "mcp-remote");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(path.join(folder, "config.toml"), text, { mode: 0o600 });
  };

  /** Connects one client, as whoever uses the grant would; a person elsewhere does what is asked. */
  async connect(options) {
    const { flags, person, target } = this.entry;
    let client;
    const connecting = this.home.connect(target, { flags, configure: (made) => (client = made), ...options });
    if (person === undefined) return connecting;
    // Its failure is the caller's, but the person's may come first.
    connecting.catch(() => {});
    await person(client, connecting);
    return connecting;
  }

  /** How often tokens were asked for, at every server. */
  get tokenRequests() {
    return this.#givers.reduce((sum, server) => sum + server.tokenRequests, 0);
  }

  /** Every server that gives tokens. */
  get #givers() {
    return [this.provider, this.authorization].filter(Boolean);
  }

  /** How far the servers are, for `since`. */
  mark() {
    return this.#givers.map(({ events }) => events.length);
  }

  /**
   * What the servers said to those who asked for tokens since `mark`: what was
   * given, and what was refused, without the looks at a device code that nobody
   * has confirmed yet. Each is one token request.
   */
  since(mark) {
    const names = [...Object.values(GRANTS), "authorization_code", "refresh_token"];
    const events = this.#givers.flatMap((server, at) => server.since(mark[at]));
    const refused = events.filter((event) => event.includes(" refused: ") && !event.includes("authorization_pending"));
    return { granted: events.filter((event) => names.includes(event)), refused };
  }

  /** Waits until the token of the moment has ended by everybody's clock. */
  expired(seconds) {
    const end = Date.now() + (seconds + 1) * 1_000;
    return until(60_000, "the token to expire", () => Date.now() > end);
  }

  async end() {
    await this.home.end();
    await this.server?.stop();
    await this.authorization?.stop();
    await this.provider?.stop();
  }

  /** What the servers saw, for whoever wonders why. */
  get story() {
    const { assertions, events } = this.authorization ?? {};
    const seen = { events, assertions, provider: this.provider?.events, refusals: this.server?.guard.refusals };
    return `authorization server: ${JSON.stringify(seen)}`;
  }
}

/** Runs `body` in a new world for `grant`. */
export async function inWorld(grant, body) {
  const world = await World.start(grant);
  try {
    return await body(world);
  } catch (error) {
    error.message += `\n${world.story}`;
    throw error;
  } finally {
    await world.end();
  }
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}

/** Milliseconds that `body` takes. */
async function timed(body) {
  const begun = performance.now();
  await body();
  return performance.now() - begun;
}

/** Connects so many clients at the same time, and has each say something. */
export async function many(world, count) {
  const clients = Array.from({ length: count }, async (_, n) => {
    const client = await world.connect();
    await echo(client, `from ${n}`);
    return client;
  });
  return within(40_000, "every answer", Promise.all(clients));
}

/**
 * Uses a grant from an empty home: the first call, warm calls of the same client,
 * also without what the server needs to check the token, and the first call of
 * another client. Returns milliseconds and token requests.
 */
export async function measure(world, calls) {
  const before = world.tokenRequests;
  let client;
  const first = await timed(async () => {
    client = await world.connect();
    await echo(client, "the first");
  });
  const firstRequests = world.tokenRequests - before;
  const warm = [];
  const unchecked = [];
  for (let call = 0; call < calls; call += 1) {
    const { checking } = world.server;
    warm.push(await timed(() => echo(client, `call ${call}`)));
    unchecked.push(warm.at(-1) - (world.server.checking - checking));
  }
  const other = await timed(async () => echo(await world.connect(), "of another"));
  const warmRequests = world.tokenRequests - before - firstRequests;
  return { first, warm: median(warm), unchecked: median(unchecked), other, firstRequests, warmRequests };
}
