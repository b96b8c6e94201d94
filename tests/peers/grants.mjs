// Uses every grant that needs no browser here from an empty home, and prints
// what each costs: `npm run grants`, with MCP_REMOTE_BIN_DIR for another build,
// and names of grants for some of them only.
import { GRANTS } from "./support/grants.mjs";
import { inWorld, measure } from "./support/grants_world.mjs";

/** Warm calls, of which the median counts. */
const CALLS = 200;

const wanted = process.argv.slice(2);
const names = wanted.length === 0 ? Object.keys(GRANTS) : wanted;
const unknown = names.filter((name) => GRANTS[name] === undefined);
if (unknown.length > 0) {
  console.error(`no such grant: ${unknown.join("; ")}; there are: ${Object.keys(GRANTS).join("; ")}`);
  process.exit(2);
}

const COLUMNS = [
  ["grant", (_cost, name) => name],
  ["first call ms", ({ first }) => first.toFixed(0)],
  ["warm call ms", ({ warm }) => warm.toFixed(2)],
  ["less the server's check of the token", ({ unchecked }) => unchecked.toFixed(2)],
  ["first call of another client ms", ({ other }) => other.toFixed(0)],
  ["token requests, first call", ({ firstRequests }) => firstRequests],
  ["token requests, all others", ({ warmRequests }) => warmRequests],
];

const row = (cells) => console.log(`| ${cells.join(" | ")} |`);
row(COLUMNS.map(([title]) => title));
row(COLUMNS.map(() => "---"));
for (const name of names) {
  const cost = await inWorld(GRANTS[name], (world) => measure(world, CALLS));
  row(COLUMNS.map(([, cell]) => cell(cost, name)));
  // A warm call costs no token request.
  if (cost.warmRequests !== 0) process.exitCode = 1;
}
