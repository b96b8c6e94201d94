// A guard of ours for tokens that are bound to a key (RFC 9449), since the SDK
// knows bearers only: each request shows a proof, which jose verifies. Owns the
// nonce of the moment and every proof that was shown.
import { createHash, randomUUID } from "node:crypto";

import { getOAuthProtectedResourceMetadataUrl } from "@modelcontextprotocol/sdk/server/auth/router.js";
import { EmbeddedJWK, calculateJwkThumbprint, jwtVerify } from "jose";

import { verifier } from "./protected_server.mjs";

/** How proofs may be signed. */
const ALGORITHMS = ["ES256"];

/** Seconds that the clocks of both sides may differ. */
const SKEW = 30;

/** A request that is refused: the error of its challenge, and why. */
class Refusal extends Error {
  constructor(error, why) {
    super(why);
    this.error = error;
  }
}

/** The guard. */
export class DpopGuard {
  #distrusted = new Set();
  #nonces;
  #resource;
  #verifier;
  /** Every proof that did: its claims, the thumbprint of its key, and the method. */
  proofs = [];
  /** Why requests were refused, in order. */
  refusals = [];
  /** What proofs must say, if anything. */
  nonce;
  metadata = { dpop_bound_access_tokens_required: true, dpop_signing_alg_values_supported: ALGORITHMS };

  /** `nonces`: whether proofs need one of its own. */
  constructor({ nonces = true } = {}) {
    this.#nonces = nonces;
    this.rotate();
  }

  /** Wants another nonce from now on. */
  rotate() {
    if (this.#nonces) this.nonce = randomUUID();
  }

  /** Refuses every token that was used until now, though none has expired. */
  distrustAll() {
    for (const { ath } of this.proofs) this.#distrusted.add(ath);
  }

  /** The check of a server at `resource` for tokens with these scopes. */
  wanting(issuer, resource, requiredScopes) {
    this.#resource = resource;
    this.#verifier = verifier(issuer, resource);
    return async (request, response, next) => {
      if (this.nonce !== undefined) response.set("DPoP-Nonce", this.nonce);
      try {
        request.auth = await this.#check(request);
        if (!requiredScopes.every((scope) => request.auth.scopes.includes(scope))) throw new Refusal("insufficient_scope", "scope");
      } catch (error) {
        this.#refuse(response, error, requiredScopes);
        return;
      }
      next();
    };
  }

  async #check(request) {
    const [scheme, token] = (request.headers.authorization ?? "").split(" ");
    if (token === undefined) throw new Refusal(undefined, "no token");
    if (scheme.toLowerCase() !== "dpop") throw new Refusal("invalid_token", `a token under ${scheme}`);
    const proof = await this.#proof(request, token);
    const authInfo = await this.#verifier.verifyAccessToken(token).catch((error) => {
      throw new Refusal("invalid_token", error.message);
    });
    if (this.#distrusted.has(proof.ath)) throw new Refusal("invalid_token", "this token is trusted no more");
    if (authInfo.extra.key !== proof.thumbprint) throw new Refusal("invalid_token", "bound to another key");
    this.proofs.push(proof);
    return authInfo;
  }

  async #proof(request, token) {
    const refuse = (why) => {
      throw new Refusal("invalid_dpop_proof", why);
    };
    const shown = request.headers.dpop ?? refuse("no proof");
    const { payload, protectedHeader } = await jwtVerify(shown, EmbeddedJWK, { algorithms: ALGORITHMS, typ: "dpop+jwt" }).catch(
      (error) => refuse(error.message),
    );
    if (payload.nonce !== this.nonce) throw new Refusal("use_dpop_nonce", `nonce ${payload.nonce}`);
    if (payload.htm !== request.method) refuse(`htm ${payload.htm}`);
    if (payload.htu !== `${this.#resource.origin}${request.path}`) refuse(`htu ${payload.htu}`);
    if (payload.ath !== createHash("sha256").update(token).digest("base64url")) refuse("ath");
    if (!(Math.abs(Date.now() / 1000 - payload.iat) <= SKEW)) refuse(`iat ${payload.iat}`);
    if (typeof payload.jti !== "string" || payload.jti.length < 16) refuse(`jti ${payload.jti}`);
    if (this.proofs.some(({ jti }) => jti === payload.jti)) refuse("shown before");
    return { ...payload, thumbprint: await calculateJwkThumbprint(protectedHeader.jwk) };
  }

  #refuse(response, error, scopes) {
    if (!(error instanceof Refusal)) throw error;
    this.refusals.push(error.message);
    const parameters = { error: error.error, algs: ALGORITHMS.join(" "), scope: scopes.join(" ") };
    parameters.resource_metadata = getOAuthProtectedResourceMetadataUrl(this.#resource);
    const said = Object.entries(parameters).filter(([, value]) => value !== undefined);
    response.set("WWW-Authenticate", `DPoP ${said.map(([name, value]) => `${name}="${value}"`).join(", ")}`);
    const body = { error: error.error, error_description: error.message };
    response.status(error.error === "insufficient_scope" ? 403 : 401).json(body);
  }
}
