// A small identity provider on oidc-provider: people sign in there, and its
// clients exchange that (RFC 8693) for an assertion that another server takes,
// once. Owns who may be asserted to whom.
import { randomUUID } from "node:crypto";

import { SignJWT, createLocalJWKSet, jwtVerify } from "jose";

import { AuthorizationServer, errors } from "./authorization_server.mjs";
import { GRANTS, ID_JAG_HEADER } from "./grants_authorization.mjs";

const TYPE = "urn:ietf:params:oauth:token-type:";
export const TOKEN_TYPES = { assertion: `${TYPE}id-jag`, id: `${TYPE}id_token`, refresh: `${TYPE}refresh_token` };

/** Where people who sign in here come back to, if they do so by themselves. */
export const REDIRECT = "http://127.0.0.1/signed-in";

/** Seconds that an assertion lives. */
const LIFE = 120;

/** Seconds between two looks at a device code. */
const INTERVAL = 1;

/** Who the subject token is about, if it is a good one of this client. */
async function subjectOf({ client, params }, provider, server) {
  const token = params.subject_token;
  if (params.subject_token_type === TOKEN_TYPES.refresh) {
    const found = await provider.RefreshToken.find(token);
    if (found?.isValid && found.clientId === client.clientId) return found.accountId;
    throw new errors.InvalidGrant("subject_token: no valid refresh token of this client");
  }
  if (params.subject_token_type === TOKEN_TYPES.id) {
    const checks = { issuer: server.issuer, audience: client.clientId };
    const { payload } = await jwtVerify(token, createLocalJWKSet(await server.keys()), checks).catch((error) => {
      throw new errors.InvalidGrant(`subject_token: ${error.message}`);
    });
    return payload.sub;
  }
  throw new errors.InvalidRequest("subject_token_type is neither an ID token nor a refresh token");
}

function registerExchange(provider, server) {
  const handler = async (context) => {
    const { params } = context.oidc;
    if (params.requested_token_type !== TOKEN_TYPES.assertion) throw new errors.InvalidRequest("requested_token_type");
    const known = server.audiences.get(params.audience);
    if (known === undefined) throw new errors.CustomOIDCProviderError("invalid_target", "audience: nobody that is known here");
    const subject = await subjectOf(context.oidc, provider, server);
    const { resource, scope } = params;
    const assertion = await new SignJWT({ client_id: known, resource, scope })
      .setProtectedHeader({ alg: "RS256", typ: ID_JAG_HEADER })
      .setIssuer(server.issuer)
      .setSubject(subject)
      .setAudience(params.audience)
      .setJti(randomUUID())
      .setIssuedAt()
      .setExpirationTime(`${LIFE}s`)
      .sign(server.signingKey);
    server.issued.push(assertion);
    context.body = { access_token: assertion, expires_in: LIFE, issued_token_type: TOKEN_TYPES.assertion, scope, token_type: "N_A" };
  };
  const parameters = ["audience", "requested_token_type", "resource", "scope", "subject_token", "subject_token_type"];
  provider.registerGrantType(GRANTS.exchange, handler, parameters);
}

/** Starts it with these clients, each registered by hand. */
export async function startIdentityProvider(clients) {
  return AuthorizationServer.start({
    configure: (usual) => ({
      ...usual,
      clientAuthMethods: ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"],
      clients,
      features: { ...usual.features, deviceFlow: { enabled: true }, registration: { enabled: false }, resourceIndicators: { enabled: false } },
    }),
    prepare: (provider, server) => {
      // The client that it asserts, by the issuer of the server that trusts it.
      server.audiences = new Map();
      server.issued = [];
      server.isIdentityProvider = true;
      server.keys = async () => (await fetch(`${server.issuer}/jwks`)).json();
      registerExchange(provider, server);
      provider.on("device_authorization.success", (_context, body) => (body.interval = INTERVAL));
    },
  });
}
