// A client of ours that asks for tokens directly: what any program may say to
// an authorization server. The servers of this suite are tried with it first.
import { createHash, randomUUID } from "node:crypto";

import { SignJWT } from "jose";

export const ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/** Asks the token endpoint; returns the status, the nonce and what it said. */
export async function askForToken(issuer, parameters, headers = {}) {
  const response = await fetch(`${issuer}/token`, { method: "POST", body: new URLSearchParams(parameters), headers });
  return { status: response.status, nonce: response.headers.get("dpop-nonce"), ...(await response.json()) };
}

/** Asks for a token, and insists on one. */
export async function token(issuer, parameters, headers) {
  const answer = await askForToken(issuer, parameters, headers);
  if (answer.access_token === undefined) throw new Error(`no token: ${JSON.stringify(answer)}`);
  return answer;
}

/** A client's statement that it is itself, for one request. */
export async function clientAssertion(key, clientId, audience) {
  const assertion = await new SignJWT({})
    .setProtectedHeader({ alg: key.algorithm })
    .setIssuer(clientId)
    .setSubject(clientId)
    .setAudience(audience)
    .setJti(randomUUID())
    .setIssuedAt()
    .setExpirationTime("60s")
    .sign(key.privateKey);
  return { client_assertion_type: ASSERTION_TYPE, client_assertion: assertion };
}

/** The header of a client that has a secret. */
export function basic(clientId, secret) {
  const encoded = [clientId, secret].map(encodeURIComponent).join(":");
  return { authorization: `Basic ${Buffer.from(encoded).toString("base64")}` };
}

/** A token of a service account for one resource. */
export async function serviceToken(issuer, resource, { client_id, client_secret }) {
  const parameters = { grant_type: "client_credentials", resource, scope: "tools" };
  return (await token(issuer, parameters, basic(client_id, client_secret))).access_token;
}

/** A proof that whoever sends this request has the key (RFC 9449). */
export async function proof(key, method, url, { nonce, accessToken, jti = randomUUID() } = {}) {
  const ath = accessToken && createHash("sha256").update(accessToken).digest("base64url");
  const { alg, use, ...jwk } = key.publicJwk;
  const claims = { htm: method, htu: url, jti, ...(nonce && { nonce }), ...(ath && { ath }) };
  return new SignJWT(claims).setProtectedHeader({ alg, typ: "dpop+jwt", jwk }).setIssuedAt().sign(key.privateKey);
}

/** Says `initialize` to an MCP server; returns the status, the challenge and the nonce. */
export async function initialize(url, headers) {
  const params = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "direct", version: "1" } };
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json, text/event-stream", ...headers },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params }),
  });
  await response.arrayBuffer();
  const { headers: said } = response;
  return { status: response.status, challenge: said.get("www-authenticate"), nonce: said.get("dpop-nonce") };
}
