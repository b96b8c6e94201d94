// Keys with which clients prove who they are: made here, written to files as
// people keep them, their public half for those who check.
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import path from "node:path";

const KINDS = {
  ES256: ["ec", { namedCurve: "P-256" }],
  RS256: ["rsa", { modulusLength: 2048 }],
  EdDSA: ["ed25519", {}],
};

/** How people keep keys, by name: which algorithm, and how it is written. */
export const FORMATS = {
  "ES256, PKCS#8": { algorithm: "ES256", as: { type: "pkcs8", format: "pem" } },
  "ES256, SEC 1": { algorithm: "ES256", as: { type: "sec1", format: "pem" } },
  "ES256, JWK": { algorithm: "ES256", as: { format: "jwk" } },
  "RS256, PKCS#8": { algorithm: "RS256", as: { type: "pkcs8", format: "pem" } },
  "RS256, PKCS#1": { algorithm: "RS256", as: { type: "pkcs1", format: "pem" } },
  "RS256, JWK": { algorithm: "RS256", as: { format: "jwk" } },
  "EdDSA, PKCS#8": { algorithm: "EdDSA", as: { type: "pkcs8", format: "pem" } },
  "EdDSA, JWK": { algorithm: "EdDSA", as: { format: "jwk" } },
};

/** A key pair, kept in one of the FORMATS. */
export class Key {
  #as;

  constructor(format) {
    const { algorithm, as } = FORMATS[format];
    this.#as = as;
    this.algorithm = algorithm;
    const [kind, options] = KINDS[algorithm];
    ({ privateKey: this.privateKey, publicKey: this.publicKey } = generateKeyPairSync(kind, options));
  }

  /** What the other side is told. */
  get publicJwk() {
    return { ...this.publicKey.export({ format: "jwk" }), alg: this.algorithm, use: "sig" };
  }

  /** Writes the private half, for its owner only unless `mode` says otherwise; returns the path. */
  write(folder, { mode = 0o600, name = "client-key" } = {}) {
    const file = path.join(folder, name);
    const exported = this.privateKey.export(this.#as);
    writeFileSync(file, typeof exported === "string" ? exported : JSON.stringify(exported), { mode });
    return file;
  }
}
