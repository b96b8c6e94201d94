// The real authorization server for those who have no browser here: device
// codes, clients with secrets or keys, DPoP with nonces, and tokens for the
// assertions of others. Owns its clients and whom it trusts.
import { randomBytes } from "node:crypto";

import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from "jose";
import validateDpop, { checkDpopReplay } from "oidc-provider/lib/helpers/validate_dpop.js";

import { AuthorizationServer, SCOPES, errors } from "./authorization_server.mjs";

/** The names of the grants, as they stand in requests. */
export const GRANTS = {
  device: "urn:ietf:params:oauth:grant-type:device_code",
  exchange: "urn:ietf:params:oauth:grant-type:token-exchange",
  jwtBearer: "urn:ietf:params:oauth:grant-type:jwt-bearer",
  service: "client_credentials",
};

/** The type of an identity assertion for another server, as its header says it. */
export const ID_JAG_HEADER = "oauth-id-jag+jwt";

/** Seconds that a device code lives, and between two looks at it. */
const DEVICE = { life: 300, interval: 1 };

/** A client that was registered by hand. */
export function client(client_id, more) {
  return { client_id, grant_types: [GRANTS.service], redirect_uris: [], response_types: [], ...more };
}

/** What oidc-provider is told beside the usual. */
function offering(usual, server, { clients, nonces, deviceLife }) {
  return {
    ...usual,
    // What is sent may be read by those who test.
    assertJwtClientAuthClaimsAndHeader: (_context, claims, header) => server.assertions.push({ ...header, ...claims }),
    clientAuthMethods: ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"],
    clients,
    features: {
      ...usual.features,
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => nonces },
    },
    ttl: { ...usual.ttl, DeviceCode: deviceLife },
  };
}

/** What a token request said, and how the client showed who it is. */
function withoutSecrets({ headers, oidc }) {
  const said = Object.entries(oidc.params).filter(([, value]) => value !== undefined);
  const hidden = new Set(["assertion", "client_assertion", "client_secret", "device_code", "refresh_token"]);
  const parameters = said.map(([name, value]) => [name, hidden.has(name) ? "hidden" : value]);
  return { ...Object.fromEntries(parameters), authorization: headers.authorization?.split(" ")[0] };
}

/** Checks what somebody trusted says of somebody; returns the claims. */
async function believed(assertion, client, server, trusted) {
  const refuse = (why) => {
    throw new errors.InvalidGrant(`assertion: ${why}`);
  };
  let issuer;
  try {
    issuer = trusted.get(decodeJwt(assertion).iss);
  } catch (error) {
    refuse(error.message);
  }
  if (issuer === undefined) refuse("an issuer that nobody trusts");
  const required = issuer.isIdentityProvider
    ? { typ: ID_JAG_HEADER, requiredClaims: ["client_id", "exp", "iat", "jti", "sub"] }
    : { requiredClaims: ["exp", "sub"] };
  const { payload } = await jwtVerify(assertion, createLocalJWKSet(await issuer.keys()), {
    audience: server.issuer,
    ...required,
  }).catch((error) => refuse(error.message));
  server.assertions.push({ ...decodeProtectedHeader(assertion), ...payload });
  if (!issuer.isIdentityProvider) return payload;
  if (payload.client_id !== client.clientId) refuse("for another client");
  if (server.spent.has(payload.jti)) refuse("used before");
  server.spent.add(payload.jti);
  return payload;
}

/** The grant of RFC 7523, section 2.1, which oidc-provider does not have. */
function registerJwtBearer(provider, server, trusted) {
  const handler = async (context) => {
    const { client, params } = context.oidc;
    if (!params.assertion) throw new errors.InvalidRequest("no assertion");
    // First, as for its own grants: who lacks the nonce comes again with the same assertion.
    const proof = await validateDpop(provider, context);
    if (client.dpopBoundAccessTokens && !proof) throw new errors.InvalidGrant("no proof of the key");
    const claims = await believed(params.assertion, client, server, trusted);
    const resource = claims.resource ?? params.resource;
    if (params.resource !== undefined && params.resource !== resource) throw new errors.InvalidTarget();
    if (resource === undefined) throw new errors.InvalidTarget("no resource");
    const granted = new Set((claims.scope ?? Object.values(SCOPES).join(" ")).split(" "));
    const scope = (params.scope ?? SCOPES.usual).split(" ").filter((name) => granted.has(name)).join(" ");
    const token = new provider.AccessToken({ accountId: claims.sub, client, gty: "jwt-bearer", scope });
    const description = { audience: resource, scope, accessTokenFormat: "jwt", accessTokenTTL: server.tokenLife };
    token.resourceServer = new provider.ResourceServer(resource, description);
    if (proof) {
      await checkDpopReplay(provider, context, proof, client.clientId);
      token.setThumbprint("jkt", proof.thumbprint);
    }
    context.body = { access_token: await token.save(), expires_in: token.expiration, scope, token_type: token.tokenType };
  };
  provider.registerGrantType(GRANTS.jwtBearer, handler, ["assertion", "resource", "scope"]);
}

/**
 * Starts it with these clients. `trusted`: whose assertions count, each with an
 * `issuer` and its `keys()`; `nonces`: whether proofs need one of its own;
 * `deviceLife`: seconds.
 */
export async function startForGrants({ clients = [], trusted = [], nonces = false, deviceLife = DEVICE.life } = {}) {
  const known = new Map(trusted.map((party) => [party.issuer, party]));
  return AuthorizationServer.start({
    configure: (usual, server) => offering(usual, server, { clients, nonces, deviceLife }),
    prepare: (provider, server) => {
      // Every assertion that counted: its header and its claims.
      server.assertions = [];
      server.spent = new Set();
      registerJwtBearer(provider, server, known);
      // What everybody said who got tokens, but for what is secret or used once.
      server.said = [];
      provider.on("grant.success", (context) => server.said.push(withoutSecrets(context)));
      provider.on("device_authorization.success", (_context, body) => (body.interval = DEVICE.interval));
    },
  });
}
