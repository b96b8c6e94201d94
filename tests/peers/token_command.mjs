// A program that prints a token, for those who have one: a service account's,
// asked for at ISSUER for RESOURCE, as `token_command.mjs ISSUER RESOURCE`.
import { SERVICE } from "./support/grants.mjs";
import { serviceToken } from "./support/token_client.mjs";

const [issuer, resource] = process.argv.slice(2);
console.log(await serviceToken(issuer, resource, SERVICE));
