// What a service account says of itself through us is what the official client
// says for it; and the flags of the npm package mean the same to both.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { ClientCredentialsProvider, PrivateKeyJwtProvider } from "@modelcontextprotocol/sdk/client/auth-extensions.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

import { SCOPES } from "./support/authorization_server.mjs";
import { GRANTS, withSecret } from "./support/grants.mjs";
import { inWorld } from "./support/grants_world.mjs";
import { echo } from "./support/protected_scene.mjs";

/** Where npx finds the npm package. */
const NPX = { command: ["npx", "--no", "--", "mcp-remote"], folder: fileURLToPath(new URL(".", import.meta.url)) };

/** Without what neither it nor the npm package writes as headers have it. */
const PLAIN = "a-plain-secret";
const plain = (method) => withSecret(method, { client_secret: PLAIN });

/** Calls a tool with the official client itself. */
async function directly(world, provider) {
  const client = new Client({ name: "direct", version: "1.0.0" });
  await client.connect(new StreamableHTTPClientTransport(new URL(world.server.url), { authProvider: provider }));
  await echo(client, "directly");
  await client.close();
}

/** The names of the claims, without what is another each time, and how long it counts. */
function shape({ exp, iat, jti, nbf, ...rest }) {
  assert.ok(exp - iat <= 300 && jti.length >= 16, JSON.stringify({ exp, iat, jti }));
  return rest;
}

describe("a service account says what the official client says", { timeout: 60_000, concurrency: 2 }, () => {
  const alike = (what, grant, provider) =>
    test(what, () =>
      inWorld(grant, async (world) => {
        await directly(world, provider(world));
        await echo(await world.connect(), "through us");
        const { assertions, said } = world.authorization;
        const [theirs, ours] = said;
        assert.equal(said.length, 2);
        assert.deepEqual(ours, theirs);
        if (assertions.length > 0) assert.deepEqual(shape(assertions[1]), shape(assertions[0]));
      }),
    );

  alike("with a secret", plain("client_secret_basic"), ({ authorization }) =>
    new ClientCredentialsProvider({ clientId: "ci-bot", clientSecret: PLAIN, expectedIssuer: authorization.issuer, scope: SCOPES.usual }),
  );

  for (const name of ["client key", "client key, RS256, PKCS#8"]) {
    const grant = GRANTS[name];
    alike(`with a ${name}`, grant, ({ authorization }) =>
      new PrivateKeyJwtProvider({
        algorithm: grant.key.algorithm,
        clientId: "ci-bot",
        expectedIssuer: authorization.issuer,
        privateKey: grant.key.privateKey.export({ type: "pkcs8", format: "pem" }),
        scope: SCOPES.usual,
      }),
    );
  }
});

test("a token endpoint that is named is all that is asked, and whom the assertion is for", { timeout: 60_000 }, () =>
  inWorld(GRANTS["client key"], async (world) => {
    const { authorization, entry, server } = world;
    const endpoint = `${authorization.issuer}/token`;
    // Nobody else says for what, and with which scope.
    entry.flags.push("--token-endpoint", endpoint, "--resource", server.url);
    entry.flags.push("--static-oauth-client-metadata", JSON.stringify({ scope: SCOPES.usual }));
    const asked = authorization.requests.length;
    await echo(await world.connect(), "from there");
    assert.deepEqual(authorization.requests.slice(asked).filter((request) => request !== "GET /jwks"), ["POST /token"]);
    assert.equal(authorization.assertions[0].aud, endpoint);
  }),
);

describe("the flags of the npm package mean the same", { timeout: 60_000, concurrency: 2 }, () => {
  const service = { granted: ["client_credentials"], refused: [] };
  const grants = {
    "a secret in the header": [plain("client_secret_basic"), service],
    "a secret in the body": [plain("client_secret_post"), service],
    // Its tokens are taken over.
    "a device code": [GRANTS["device code"], { granted: [], refused: [] }],
  };
  for (const [what, [grant, expected]] of Object.entries(grants)) {
    test(what, () =>
      inWorld(grant, async (world) => {
        const theirs = await world.connect(NPX);
        await echo(theirs, "through it");
        await theirs.close();
        assert.equal(world.home.daemonPid(), undefined, "none of it was ours");
        const mark = world.mark();
        await echo(await world.connect(), "through us");
        assert.deepEqual(world.since(mark), expected);
      }),
    );
  }
});
