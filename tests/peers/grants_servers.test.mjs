// The servers that the grants without a browser are tried against, tried
// themselves: a plain client of ours gets what it should, and nothing else.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { decodeJwt, decodeProtectedHeader } from "jose";

import { DpopGuard } from "./support/dpop_guard.mjs";
import { AGENT, AT_HOME, agent, atHome, signedInAtHome } from "./support/grants.mjs";
import { GRANTS, ID_JAG_HEADER, client, startForGrants } from "./support/grants_authorization.mjs";
import { TOKEN_TYPES, startIdentityProvider } from "./support/identity_provider.mjs";
import { FORMATS, Key } from "./support/keys.mjs";
import { ProtectedServer } from "./support/protected_server.mjs";
import { askForToken, basic, clientAssertion, initialize, proof, token } from "./support/token_client.mjs";
import { Visitor } from "./support/visitor.mjs";
import { Platform } from "./support/workload.mjs";

const SECRET = "a secret/of: the+tests";

describe("the servers of the grants", { timeout: 60_000 }, () => {
  const platform = new Platform();
  let authorization, keys, server, provider;
  const ask = (parameters, headers) => askForToken(authorization.issuer, { resource: server.url, scope: "tools", ...parameters }, headers);
  const get = (parameters, headers) => token(authorization.issuer, { resource: server.url, scope: "tools", ...parameters }, headers);
  const works = async (access_token) => {
    const { status } = await initialize(server.url, { authorization: `Bearer ${access_token}` });
    assert.equal(status, 200);
  };

  before(async () => {
    keys = Object.fromEntries(Object.keys(FORMATS).map((format) => [format, new Key(format)]));
    const ours = [
      client("basic", { client_secret: SECRET, token_endpoint_auth_method: "client_secret_basic" }),
      client("post", { client_secret: SECRET, token_endpoint_auth_method: "client_secret_post" }),
      ...Object.entries(keys).map(([format, key]) =>
        client(format, { token_endpoint_auth_method: "private_key_jwt", jwks: { keys: [key.publicJwk] } }),
      ),
      client("workload", { grant_types: [GRANTS.jwtBearer], token_endpoint_auth_method: "none" }),
      agent(),
      client("device", { grant_types: [GRANTS.device, "refresh_token"], token_endpoint_auth_method: "none" }),
    ];
    provider = await startIdentityProvider([atHome()]);
    authorization = await startForGrants({ clients: ours, trusted: [platform, provider] });
    provider.audiences.set(authorization.issuer, AGENT.client_id);
    server = await ProtectedServer.start(authorization);
  });

  after(() => Promise.all([server?.stop(), authorization?.stop(), provider?.stop()]));

  test("a client with a secret, in a header or in the body", async () => {
    const parameters = { grant_type: GRANTS.service };
    const { access_token, token_type } = await get(parameters, basic("basic", SECRET));
    assert.equal(token_type, "Bearer");
    assert.equal(decodeJwt(access_token).aud, server.url);
    await works(access_token);
    await works((await get({ ...parameters, client_id: "post", client_secret: SECRET })).access_token);
    assert.equal((await ask(parameters, basic("basic", "another"))).error, "invalid_client");
  });

  for (const format of Object.keys(FORMATS)) {
    test(`a client with a key: ${format}`, async () => {
      const grant = { grant_type: GRANTS.service };
      const assertion = await clientAssertion(keys[format], format, authorization.issuer);
      await works((await get({ ...grant, ...assertion })).access_token);
      assert.equal((await ask({ ...grant, ...assertion })).error, "invalid_client", "used once");
      const elsewhere = await clientAssertion(keys[format], format, "https://elsewhere.test");
      assert.equal((await ask({ ...grant, ...elsewhere })).error, "invalid_client");
    });
  }

  test("a workload with the token of its platform", async () => {
    const grant = { grant_type: GRANTS.jwtBearer, client_id: "workload" };
    const { access_token } = await get({ ...grant, assertion: await platform.token(authorization.issuer) });
    assert.equal(decodeJwt(access_token).sub, "system:serviceaccount:ci:bot");
    await works(access_token);
    const refused = [
      await platform.token("https://elsewhere.test"),
      await platform.token(authorization.issuer, { life: -60 }),
      await new Platform().token(authorization.issuer),
      "nonsense",
    ];
    for (const assertion of refused) assert.equal((await ask({ ...grant, assertion })).error, "invalid_grant");
  });

  test("a device code, when somebody has agreed elsewhere", async () => {
    const request = { client_id: "device", scope: "tools offline_access", resource: server.url };
    const begin = async () =>
      (await fetch(`${authorization.issuer}/device/auth`, { method: "POST", body: new URLSearchParams(request) })).json();
    const poll = (device_code) => askForToken(authorization.issuer, { grant_type: GRANTS.device, client_id: "device", device_code });
    const begun = await begin();
    assert.equal(begun.interval, 1);
    assert.equal((await poll(begun.device_code)).error, "authorization_pending");
    await new Visitor().agree(begun.verification_uri, { user_code: begun.user_code });
    const { access_token, refresh_token } = await poll(begun.device_code);
    assert.equal(decodeJwt(access_token).sub, "alice");
    assert.notEqual(refresh_token, undefined);
    await works(access_token);
    const refused = await begin();
    await new Visitor().refuse(refused.verification_uri_complete);
    assert.equal((await poll(refused.device_code)).error, "access_denied");
  });

  test("an assertion of the identity provider, for an ID token or a refresh token", async () => {
    const { id_token, refresh_token } = await signedInAtHome(provider);
    const exchange = (more) =>
      askForToken(
        provider.issuer,
        { grant_type: GRANTS.exchange, requested_token_type: TOKEN_TYPES.assertion, audience: authorization.issuer, resource: server.url, scope: "tools", ...more },
        basic(AT_HOME.client_id, AT_HOME.client_secret),
      );
    const subjects = [
      { subject_token: id_token, subject_token_type: TOKEN_TYPES.id },
      { subject_token: refresh_token, subject_token_type: TOKEN_TYPES.refresh },
    ];
    for (const subject of subjects) {
      const exchanged = await exchange(subject);
      assert.equal(exchanged.issued_token_type, TOKEN_TYPES.assertion, JSON.stringify(exchanged));
      assert.equal(exchanged.token_type, "N_A");
      assert.equal(decodeProtectedHeader(exchanged.access_token).typ, ID_JAG_HEADER);
      const grant = { grant_type: GRANTS.jwtBearer, assertion: exchanged.access_token };
      const { access_token } = await get(grant, basic(AGENT.client_id, AGENT.client_secret));
      assert.equal(decodeJwt(access_token).sub, "alice");
      await works(access_token);
      assert.equal((await ask(grant, basic(AGENT.client_id, AGENT.client_secret))).error, "invalid_grant", "used once");
    }
    assert.equal((await exchange({ ...subjects[0], audience: "https://elsewhere.test" })).error, "invalid_target");
    assert.equal((await exchange({ ...subjects[0], subject_token: "nonsense" })).error, "invalid_grant");
    const stolen = { grant_type: GRANTS.jwtBearer, client_id: "workload", assertion: (await exchange(subjects[0])).access_token };
    assert.equal((await ask(stolen)).error, "invalid_grant", "for another client");
  });
});

describe("the servers that bind tokens to keys", { timeout: 60_000 }, () => {
  const platform = new Platform();
  let authorization, guard, key, server;

  before(async () => {
    key = new Key("ES256, PKCS#8");
    const bound = { dpop_bound_access_tokens: true };
    authorization = await startForGrants({
      nonces: true,
      clients: [
        client("bound", { client_secret: SECRET, token_endpoint_auth_method: "client_secret_post", ...bound }),
        client("workload", { grant_types: [GRANTS.jwtBearer], token_endpoint_auth_method: "none", ...bound }),
      ],
      trusted: [platform],
    });
    guard = new DpopGuard();
    server = await ProtectedServer.start(authorization, "http", guard);
  });

  after(() => Promise.all([server?.stop(), authorization?.stop()]));

  test("say so in what they publish", async () => {
    const { challenge } = await initialize(server.url);
    assert.match(challenge, /^DPoP algs="ES256", scope="tools", resource_metadata="/);
    const [, url] = challenge.match(/resource_metadata="([^"]*)"/);
    const metadata = await (await fetch(url)).json();
    assert.equal(metadata.dpop_bound_access_tokens_required, true);
    assert.deepEqual(metadata.authorization_servers, [authorization.issuer]);
    assert.ok((await authorization.metadata()).dpop_signing_alg_values_supported.includes("ES256"));
  });

  test("bind what they give for an assertion, which the lack of a nonce does not spend", async () => {
    const assertion = await platform.token(authorization.issuer);
    const parameters = { grant_type: GRANTS.jwtBearer, client_id: "workload", assertion, resource: server.url, scope: "tools" };
    const ask = async (more) =>
      askForToken(authorization.issuer, parameters, { dpop: await proof(key, "POST", `${authorization.issuer}/token`, more) });
    assert.equal((await askForToken(authorization.issuer, parameters)).error, "invalid_grant");
    const first = await ask();
    assert.deepEqual([first.status, first.error], [400, "use_dpop_nonce"]);
    const { access_token: accessToken, token_type } = await ask({ nonce: first.nonce });
    assert.equal(token_type, "DPoP");
    const dpop = await proof(key, "POST", server.url, { accessToken, nonce: guard.nonce });
    assert.equal((await initialize(server.url, { authorization: `DPoP ${accessToken}`, dpop })).status, 200);
    guard.proofs.length = 0;
  });

  test("want a nonce each, a proof a request, and no proof twice", async () => {
    const parameters = { grant_type: GRANTS.service, client_id: "bound", client_secret: SECRET, resource: server.url, scope: "tools" };
    const endpoint = `${authorization.issuer}/token`;
    const ask = async (nonce) => askForToken(authorization.issuer, parameters, { dpop: await proof(key, "POST", endpoint, { nonce }) });
    const first = await ask();
    assert.deepEqual([first.status, first.error], [400, "use_dpop_nonce"]);
    const { access_token: accessToken, token_type } = await ask(first.nonce);
    assert.equal(token_type, "DPoP");

    const call = async (more = {}, scheme = "DPoP") => {
      const dpop = await proof(more.key ?? key, "POST", server.url, { accessToken, nonce: guard.nonce, ...more });
      return initialize(server.url, { authorization: `${scheme} ${accessToken}`, dpop });
    };
    const refused = async (why, more, scheme) => {
      const { status, challenge } = await call(more, scheme);
      assert.equal(status, 401);
      assert.match(challenge, new RegExp(`^DPoP error="${why}"`));
    };
    await refused("use_dpop_nonce", { nonce: undefined });
    assert.equal((await call({ jti: "the same identifier" })).status, 200);
    await refused("invalid_dpop_proof", { jti: "the same identifier" });
    guard.rotate();
    await refused("use_dpop_nonce", { nonce: "the former" });
    await refused("invalid_dpop_proof", { accessToken: "another" });
    await refused("invalid_token", { key: new Key("ES256, PKCS#8") });
    await refused("invalid_token", {}, "Bearer");
    assert.equal((await call()).status, 200);
    assert.equal(guard.proofs.length, 2);
  });
});
