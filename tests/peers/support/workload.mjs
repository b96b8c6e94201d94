// A platform that tells its workloads who they are, as Kubernetes does: tokens
// of its own in a file, written again before they expire. Owns its key.
import { renameSync, writeFileSync } from "node:fs";

import { SignJWT } from "jose";

import { Key } from "./keys.mjs";

/** The platform. */
export class Platform {
  #key = new Key("ES256, PKCS#8");
  issuer = "https://platform.test";
  isIdentityProvider = false;

  /** What those who trust it check its tokens with. */
  async keys() {
    return { keys: [this.#key.publicJwk] };
  }

  /** A token for one workload, meant for `audience`. */
  token(audience, { life = 600, subject = "system:serviceaccount:ci:bot" } = {}) {
    const now = Math.floor(Date.now() / 1000);
    return new SignJWT({})
      .setProtectedHeader({ alg: this.#key.algorithm })
      .setIssuer(this.issuer)
      .setSubject(subject)
      .setAudience(audience)
      .setIssuedAt(now)
      .setExpirationTime(now + life)
      .sign(this.#key.privateKey);
  }

  /** Mounts a new token at `file`, whole at any time. */
  async mount(file, audience, options) {
    writeFileSync(`${file}.new`, await this.token(audience, options), { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }
}
