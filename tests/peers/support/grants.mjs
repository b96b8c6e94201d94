// Every way to come by a token without a browser here: what must be registered,
// how the shim is called, and what somebody elsewhere does. Owns no server.
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { Desktop } from "./desktop.mjs";
import { GRANTS as NAMES, client } from "./grants_authorization.mjs";
import { REDIRECT } from "./identity_provider.mjs";
import { FORMATS, Key } from "./keys.mjs";
import { freePort } from "./server_process.mjs";
import { basic, clientAssertion, serviceToken, token } from "./token_client.mjs";
import { Visitor } from "./visitor.mjs";
import { until } from "./waiting.mjs";

/** With characters that headers and forms write differently. */
const SECRET = "a secret/of: the+tests%";

/** The client at the identity provider, and what it is called at the authorization server. */
export const AT_HOME = { client_id: "agent at home", client_secret: SECRET };
export const AGENT = { client_id: "agent", client_secret: "the agent's secret" };

export const atHome = (more = { client_secret: AT_HOME.client_secret, token_endpoint_auth_method: "client_secret_basic" }) =>
  client(AT_HOME.client_id, {
    application_type: "native",
    grant_types: ["authorization_code", "refresh_token", NAMES.device, NAMES.exchange],
    redirect_uris: [REDIRECT, "http://localhost/oauth/callback"],
    response_types: ["code"],
    ...more,
  });

export const agent = (more) =>
  client(AGENT.client_id, {
    client_secret: AGENT.client_secret,
    grant_types: [NAMES.jwtBearer],
    token_endpoint_auth_method: "client_secret_basic",
    ...more,
  });

/** The client that other programs get tokens with. */
export const SERVICE = { client_id: "another program", client_secret: "its secret" };

const COMMAND = fileURLToPath(new URL("../token_command.mjs", import.meta.url));

const another = () => client(SERVICE.client_id, { client_secret: SERVICE.client_secret, token_endpoint_auth_method: "client_secret_basic" });

/** A client's registration as the flag takes it. */
const info = (registration) => ["--static-oauth-client-info", JSON.stringify(registration)];

/** A service account with a secret, said in one of the two ways. */
export function withSecret(method, { client_secret = SECRET, ...more } = {}) {
  const account = { client_id: "ci-bot", client_secret, token_endpoint_auth_method: method };
  return {
    clients: () => [client(account.client_id, { ...account, ...more })],
    enter: () => ({ flags: ["--client-credentials", ...info(account)] }),
  };
}

/** A service account with a key in a file. */
function withKey(format, more = {}) {
  const key = new Key(format);
  const jwks = { keys: [key.publicJwk] };
  return {
    key,
    clients: () => [client("ci-bot", { token_endpoint_auth_method: "private_key_jwt", jwks, ...more })],
    enter: ({ home }) => ({
      flags: ["--client-credentials", ...info({ client_id: "ci-bot" }), "--client-key", key.write(home.folder)],
    }),
  };
}

/** The page of a device code, as the shim names it. */
export const PAGE = /(http:\S+\/device\?user_code=\S+)/;

/** Somebody elsewhere who opens the page that the shim names, and does as `answer` says. */
export function elsewhere(answer = (visitor, url) => visitor.agree(url)) {
  return async (client, connecting) => {
    let connected = false;
    connecting.then(() => (connected = true), () => (connected = true));
    const named = () => client.stderrText.match(PAGE)?.[1];
    await until(20_000, "a page to open elsewhere, or none to be needed", () => connected || named());
    const url = named();
    if (url !== undefined) await answer(new Visitor(), url);
  };
}

/** Somebody signed in at the identity provider; what they came back with. */
export async function signedInAtHome({ issuer }, more = {}, headers = basic(AT_HOME.client_id, AT_HOME.client_secret)) {
  const verifier = randomBytes(32).toString("base64url");
  const query = new URLSearchParams({
    client_id: AT_HOME.client_id,
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
    prompt: "consent",
    redirect_uri: REDIRECT,
    response_type: "code",
    scope: "openid offline_access",
  });
  const { url } = await new Visitor().agree(`${issuer}/auth?${query}`);
  const code = new URL(url).searchParams.get("code");
  const parameters = { grant_type: "authorization_code", code, code_verifier: verifier, redirect_uri: REDIRECT };
  return token(issuer, { ...parameters, ...more }, headers);
}

/** Somebody at this machine's browser, who signs in whenever it is opened. */
function here(desktop) {
  let seen = 0;
  return async (_client, connecting) => {
    let connected = false;
    connecting.then(() => (connected = true), () => (connected = true));
    await until(20_000, "a browser to be opened, or none to be needed", () => connected || desktop.tabs().length > seen);
    if (desktop.tabs().length === seen) return;
    const { url } = await new Visitor().agree(desktop.tabs()[seen]);
    seen += 1;
    // A page of its own: what a script fetches is not taken for one.
    const [response] = await once(http.get(url), "response");
    response.resume();
  };
}

const DEVICE = { enter: () => ({ flags: ["--device-code", "--auth-timeout", "60"], person: elsewhere() }) };

/** How the shim is told of the identity provider. */
const provided = ({ provider }, more) => [
  ...["--identity-provider", provider.issuer],
  ...info({ ...AGENT, token_endpoint_auth_method: "client_secret_basic" }),
  ...more,
];

const withSecretAtHome = ["--identity-provider-client", JSON.stringify({ ...AT_HOME, token_endpoint_auth_method: "client_secret_basic" })];

/** What the identity provider says of somebody, for what they came back with. */
const asserted = (entry) => ({
  clients: () => [agent()],
  clientsAtHome: () => [atHome()],
  enter: entry,
  granted: [NAMES.exchange, NAMES.jwtBearer],
  kept: true,
});

/** A workload with the token of its platform; `more`: of its client. */
const withPlatform = (more) => ({
  clients: () => [client("workload", { grant_types: [NAMES.jwtBearer], token_endpoint_auth_method: "none", ...more })],
  enter: async ({ authorization, home, platform }) => {
    const file = path.join(home.folder, "platform-token");
    await platform.mount(file, authorization.issuer);
    return { flags: ["--workload-token-file", file, ...info({ client_id: "workload" })] };
  },
  granted: [NAMES.jwtBearer],
  kept: true,
});

/** Somebody's ID token from a file, shown with the secret of the client at home. */
const withIdToken = () =>
  asserted(async (world) => {
    const file = world.write("subject", (await signedInAtHome(world.provider)).id_token);
    return { flags: provided(world, [...withSecretAtHome, "--subject-token-file", file]) };
  });

/** Somebody signs in at home; `more`: flags, `registered`: the client, `client`: as the flag has it. */
function signingInAtHome({ client = AT_HOME, registered, more = () => [], person, granted = "authorization_code" }) {
  const entry = async (world) => ({
    // The usual port may be another test's.
    flags: [String(await freePort()), ...provided(world, ["--identity-provider-client", JSON.stringify(client), ...more(world)])],
    person: person(world),
  });
  return {
    ...asserted(entry),
    clientsAtHome: () => [atHome(registered)],
    granted: [granted, NAMES.exchange, NAMES.jwtBearer],
    renewed: [NAMES.exchange, NAMES.jwtBearer],
  };
}

/** With a browser here. */
const atPage = { person: (world) => here(new Desktop(world.home)) };

/** With one elsewhere. */
const byCode = { person: () => elsewhere(), granted: NAMES.device };

/** As a client that has no secret. */
const publicAtHome = { client: { client_id: AT_HOME.client_id }, registered: { token_endpoint_auth_method: "none" } };

/** As one that has a key instead. */
function keyAtHome() {
  const key = new Key("ES256, PKCS#8");
  return {
    client: { client_id: AT_HOME.client_id },
    registered: { token_endpoint_auth_method: "private_key_jwt", jwks: { keys: [key.publicJwk] } },
    more: ({ home }) => ["--identity-provider-key", key.write(home.folder)],
  };
}

/** Likewise, with a key instead of a secret. */
function withKeyAtHome() {
  const key = new Key("ES256, PKCS#8");
  const entry = async (world) => {
    const parameters = await clientAssertion(key, AT_HOME.client_id, world.provider.issuer);
    const file = world.write("subject", (await signedInAtHome(world.provider, parameters, {})).id_token);
    const client = ["--identity-provider-client", JSON.stringify({ client_id: AT_HOME.client_id })];
    return { flags: provided(world, [...client, "--identity-provider-key", key.write(world.home.folder), "--subject-token-file", file]) };
  };
  const registered = atHome({ token_endpoint_auth_method: "private_key_jwt", jwks: { keys: [key.publicJwk] } });
  return { ...asserted(entry), clientsAtHome: () => [registered] };
}

/**
 * The grants, by name. `granted`: what the servers give until the first call is
 * answered, and `renewed` when a token has had its time, if that is not the same;
 * `kept`: whether a new daemon still has the token; `fixed`: whether it has no
 * successor; `alike`: whether another one is renewed likewise; `registers`: whether a
 * client is registered on the way.
 */
export const GRANTS = {
  "header from the environment": {
    clients: () => [another()],
    enter: async ({ authorization, home, server }) => {
      home.variables.TOKEN = await serviceToken(authorization.issuer, server.url, SERVICE);
      return { flags: ["--header", "Authorization: Bearer ${TOKEN}"] };
    },
    fixed: true,
    granted: [],
  },
  "token file": {
    clients: () => [another()],
    enter: async (world) => {
      const { authorization, server } = world;
      const renew = async () => world.write("token", await serviceToken(authorization.issuer, server.url, SERVICE));
      return { flags: ["--bearer-token-file", await renew()], renew };
    },
    granted: [],
  },
  "token command": {
    clients: () => [another()],
    enter: ({ authorization, configure, server }) => {
      const command = [process.execPath, COMMAND, authorization.issuer, server.url];
      configure(`[servers.guarded]\nurl = ${JSON.stringify(server.url)}\nbearer_token_command = ${JSON.stringify(command)}\n`);
      return { target: "guarded" };
    },
    granted: ["client_credentials"],
  },
  "client secret, basic": { ...withSecret("client_secret_basic"), granted: ["client_credentials"], kept: true },
  "client secret, post": { ...withSecret("client_secret_post"), alike: true, granted: ["client_credentials"], kept: true },
  "client key": { ...withKey("ES256, PKCS#8"), granted: ["client_credentials"], kept: true },
  ...Object.fromEntries(
    Object.keys(FORMATS)
      .slice(1)
      .map((format) => [`client key, ${format}`, { ...withKey(format), alike: true, granted: ["client_credentials"], kept: true }]),
  ),
  "client secret, DPoP": {
    ...withSecret("client_secret_basic", { dpop_bound_access_tokens: true }),
    bound: true,
    granted: ["client_credentials"],
    kept: true,
  },
  "client key, DPoP": {
    ...withKey("ES256, PKCS#8", { dpop_bound_access_tokens: true }),
    bound: true,
    granted: ["client_credentials"],
    kept: true,
  },
  "platform's token": withPlatform(),
  "platform's token, DPoP": { ...withPlatform({ dpop_bound_access_tokens: true }), bound: true },
  "identity provider, ID token": withIdToken(),
  "identity provider, ID token, DPoP": {
    ...withIdToken(),
    clients: () => [agent({ dpop_bound_access_tokens: true })],
    bound: true,
  },
  "identity provider, ID token and key": { ...withKeyAtHome(), alike: true },
  "identity provider, refresh token": asserted(async (world) => {
    const file = world.write("subject", (await signedInAtHome(world.provider)).refresh_token);
    return { flags: provided(world, [...withSecretAtHome, "--subject-token-file", file, "--subject-token-type", "refresh-token"]) };
  }),
  "identity provider, browser": signingInAtHome(atPage),
  "identity provider, browser, no secret": { ...signingInAtHome({ ...atPage, ...publicAtHome }), alike: true },
  "identity provider, browser, key": { ...signingInAtHome({ ...atPage, ...keyAtHome() }), alike: true },
  "identity provider, device code": signingInAtHome(byCode),
  "identity provider, device code, no secret": { ...signingInAtHome({ ...byCode, ...publicAtHome }), alike: true },
  "identity provider, device code, key": { ...signingInAtHome({ ...byCode, ...keyAtHome() }), alike: true },
  "browser, DPoP": {
    enter: ({ home }) => ({ person: here(new Desktop(home)) }),
    bound: true,
    granted: ["authorization_code"],
    kept: true,
    registers: true,
    renewed: ["refresh_token"],
  },
  "device code, by itself": {
    ...DEVICE,
    enter: () => ({ flags: ["--auth-timeout", "60"], person: elsewhere() }),
    alike: true,
    granted: [NAMES.device],
    kept: true,
    registers: true,
    renewed: ["refresh_token"],
  },
  "device code, DPoP": {
    ...DEVICE,
    bound: true,
    granted: [NAMES.device],
    kept: true,
    registers: true,
    renewed: ["refresh_token"],
  },
  "device code": { ...DEVICE, granted: [NAMES.device], kept: true, registers: true, renewed: ["refresh_token"] },
};
