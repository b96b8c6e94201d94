// A real authorization server, oidc-provider, in this process: PKCE, dynamic
// registration, JWT access tokens for one resource, refresh tokens that are used
// once and take the whole grant with them when they come back. Owns what was
// counted; knows nothing of our programs.
import { once } from "node:events";
import http from "node:http";

import { exportJWK, generateKeyPair } from "jose";

// It says at length that what is done here is not for production.
for (const level of ["info", "warn"]) {
  const say = console[level];
  console[level] = (...said) => String(said[0]).startsWith("oidc-provider ") || say(...said);
}
/** The errors of its grants, for those who register more. */
export const { default: Provider, errors } = await import("oidc-provider");

/** What anybody who signs in may use, and what takes more. */
export const SCOPES = { usual: "tools", more: "admin" };

const HOUR = 3600;

function configuration(server, key) {
  return {
    scopes: ["openid", "offline_access", ...Object.values(SCOPES)],
    clientAuthMethods: ["none"],
    clientDefaults: { token_endpoint_auth_method: "none" },
    cookies: { keys: ["a key of the tests"] },
    features: {
      devInteractions: { enabled: true },
      registration: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, resource) => ({
          audience: resource,
          scope: Object.values(SCOPES).join(" "),
          accessTokenFormat: "jwt",
          accessTokenTTL: server.tokenLife,
        }),
        // Who asks for tokens without naming the resource again gets the same.
        useGrantedResource: () => true,
      },
      revocation: { enabled: true },
    },
    jwks: { keys: [key] },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    ttl: { Grant: 14 * 24 * HOUR, Interaction: HOUR, RefreshToken: 14 * 24 * HOUR, Session: HOUR },
  };
}

/** The server, for one test or a few. */
export class AuthorizationServer {
  #listener;
  #provider;
  #grants = new Set();
  /** What its tokens are signed with; RS256. */
  signingKey;
  /** Seconds that the next access tokens live. */
  tokenLife = HOUR;
  /** Every request, as `POST /token`. */
  requests = [];
  /** What happened, in order, in words. */
  events = [];

  /**
   * Starts it. `configure` may change what it offers; `prepare` gets the provider
   * before anybody else does, such as to register grants.
   */
  static async start({ configure = (usual) => usual, prepare = () => {} } = {}) {
    const server = new AuthorizationServer();
    server.#listener = http.createServer((request, response) => {
      server.requests.push(`${request.method} ${new URL(request.url, "http://h").pathname}`);
      server.#provider.callback()(request, response);
    });
    server.#listener.listen(0, "127.0.0.1");
    await once(server.#listener, "listening");
    const { privateKey } = await generateKeyPair("RS256", { extractable: true });
    const key = { ...(await exportJWK(privateKey)), alg: "RS256", use: "sig" };
    server.signingKey = privateKey;
    server.#provider = new Provider(server.issuer, configure(configuration(server, key), server));
    prepare(server.#provider, server);
    server.#count();
    return server;
  }

  get issuer() {
    return `http://127.0.0.1:${this.#listener.address().port}`;
  }

  /** What RFC 8414 makes public, for those who publish a copy. */
  async metadata() {
    const response = await fetch(`${this.issuer}/.well-known/oauth-authorization-server`);
    return response.json();
  }

  #count() {
    const provider = this.#provider;
    const say = (event) => this.events.push(event);
    provider.on("registration_create.error", (_context, error) => say(`not registered: ${error.error_detail ?? error.error_description}`));
    provider.on("registration_create.success", () => say("registered"));
    provider.on("authorization.success", () => say("authorized"));
    provider.on("authorization.error", (_context, error) => say(`not authorized: ${error.message}`));
    provider.on("grant.success", ({ oidc }) => say(oidc.params.grant_type));
    provider.on("grant.error", ({ oidc }, error) => say(`${oidc?.params?.grant_type} refused: ${error.error_detail ?? error.message}`));
    provider.on("grant.revoked", () => say("revoked"));
    provider.on("refresh_token.destroyed", () => say("refresh token destroyed"));
    provider.on("server_error", (_context, error) => say(`server error: ${error.stack}`));
    provider.on("grant.saved", (grant) => this.#grants.add(grant.jti));
  }

  /** How often somebody asked for tokens, whatever came of it. */
  get tokenRequests() {
    return this.requests.filter((request) => request === "POST /token").length;
  }

  /** How often this happened. */
  count(event) {
    return this.events.filter((said) => said === event).length;
  }

  /** What happened since `mark` (a former length of `events`). */
  since(mark) {
    return this.events.slice(mark);
  }

  /** Takes every grant back, as an administrator would. */
  async revokeEverything() {
    const { AccessToken, Grant, RefreshToken } = this.#provider;
    for (const id of this.#grants) {
      await RefreshToken.revokeByGrantId(id);
      await AccessToken.revokeByGrantId(id);
      await (await Grant.find(id))?.destroy();
    }
    this.#grants.clear();
  }

  async stop() {
    this.#listener.closeAllConnections();
    this.#listener.close();
    await once(this.#listener, "close");
  }
}
